//! The seccomp filter of a sandbox process: an allow-list made from the hostcall table plus the little that the
//! threads need to live. Loaded into all threads before the guest's first instruction.
//!
//! The kernel runs the filter once for each system call when it is loaded, and at each `ioctl` thereafter, so it is a
//! search tree over the numbers and not a list.

use std::collections::BTreeMap;

use hostcall::Hostcall;
use seccompiler::{BpfProgram, sock_filter};

use crate::{error::Error, vcpu::KVM_PRE_FAULT_MEMORY};

/// What the threads need apart from serving hostcalls.
const ALWAYS: &[i64] = &[
    libc::SYS_exit_group,
    libc::SYS_exit,
    libc::SYS_futex,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_lseek,
    libc::SYS_fstat,
];

const KVM_RUN: u64 = 0xae80;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_GET_REGS: u64 = 0x8090_ae81;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;
const KVM_TRANSLATE: u64 = 0xc018_ae85;
const KVM_SET_CPUID2: u64 = 0x4008_ae90;
const KVM_SET_MP_STATE: u64 = 0x4004_ae99;
const KVM_SET_MSRS: u64 = 0x4008_ae89;
const KVM_GET_VCPU_EVENTS: u64 = 0x8040_ae9f;
const KVM_SET_VCPU_EVENTS: u64 = 0x4040_aea0;
const KVM_SET_XCRS: u64 = 0x4188_aea7;

/// Requests that ioctl may make.
const IOCTLS: &[u64] = &[
    KVM_RUN,
    KVM_CREATE_VCPU,
    KVM_GET_REGS,
    KVM_SET_REGS,
    KVM_GET_SREGS,
    KVM_SET_SREGS,
    KVM_TRANSLATE,
    KVM_SET_CPUID2,
    KVM_SET_MP_STATE,
    KVM_SET_MSRS,
    KVM_GET_VCPU_EVENTS,
    KVM_SET_VCPU_EVENTS,
    KVM_SET_XCRS,
    KVM_PRE_FAULT_MEMORY,
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
    libc::TIOCSWINSZ,
];

/// Numbers of the system calls that hostcalls name.
fn number(name: &str) -> Option<i64> {
    Some(match name {
        "exit_group" => libc::SYS_exit_group,
        "write" => libc::SYS_write,
        "read" => libc::SYS_read,
        "futex" => libc::SYS_futex,
        "sendto" => libc::SYS_sendto,
        "recvmsg" => libc::SYS_recvmsg,
        "sendmmsg" => libc::SYS_sendmmsg,
        "fallocate" => libc::SYS_fallocate,
        "madvise" => libc::SYS_madvise,
        "poll" => libc::SYS_poll,
        "ppoll" => libc::SYS_ppoll,
        "epoll_ctl" => libc::SYS_epoll_ctl,
        "ioctl" => libc::SYS_ioctl,
        "fstat" => libc::SYS_fstat,
        "openat2" => libc::SYS_openat2,
        "openat" => libc::SYS_openat,
        "statx" => libc::SYS_statx,
        "close" => libc::SYS_close,
        "fchmodat2" => libc::SYS_fchmodat2,
        "fchmodat" => libc::SYS_fchmodat,
        "fchmod" => libc::SYS_fchmod,
        "fchown" => libc::SYS_fchown,
        "fchownat" => libc::SYS_fchownat,
        "utimensat" => libc::SYS_utimensat,
        "ftruncate" => libc::SYS_ftruncate,
        "preadv" => libc::SYS_preadv,
        "pwritev2" => libc::SYS_pwritev2,
        "pwritev" => libc::SYS_pwritev,
        "getdents64" => libc::SYS_getdents64,
        "lseek" => libc::SYS_lseek,
        "readlinkat" => libc::SYS_readlinkat,
        "unlinkat" => libc::SYS_unlinkat,
        "mkdirat" => libc::SYS_mkdirat,
        "symlinkat" => libc::SYS_symlinkat,
        "mknodat" => libc::SYS_mknodat,
        "linkat" => libc::SYS_linkat,
        "renameat2" => libc::SYS_renameat2,
        "fsync" => libc::SYS_fsync,
        "fdatasync" => libc::SYS_fdatasync,
        "fstatfs" => libc::SYS_fstatfs,
        "fgetxattr" => libc::SYS_fgetxattr,
        "fsetxattr" => libc::SYS_fsetxattr,
        "flistxattr" => libc::SYS_flistxattr,
        "fremovexattr" => libc::SYS_fremovexattr,
        "mmap" => libc::SYS_mmap,
        _ => return None,
    })
}

fn bad(error: impl std::fmt::Display) -> Error {
    Error::Config(format!("seccomp filter: {error}"))
}

/// When a system call is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Always,
    /// When the low half of an argument, masked, is one of the values.
    Argument {
        index: u32,
        mask: u32,
        values: Vec<u32>,
    },
}

/// The rules; what has none is forbidden.
fn rules() -> Result<BTreeMap<u32, Rule>, Error> {
    let mut rules = BTreeMap::new();
    let mut add = |nr: i64, rule| u32::try_from(nr).map(|nr| rules.insert(nr, rule)).map_err(bad);
    for nr in ALWAYS {
        add(*nr, Rule::Always)?;
    }
    for call in Hostcall::ALL {
        for name in call.host_syscalls() {
            let nr =
                number(name).ok_or_else(|| bad(format!("{}: unknown system call {name}", call.name())))?;
            add(nr, Rule::Always)?;
        }
    }
    // The kernel looks at the low half of a request alone; all that are listed fit.
    let requests = IOCTLS.iter().map(|request| u32::try_from(*request).map_err(bad));
    let requests = requests.collect::<Result<_, _>>()?;
    add(libc::SYS_ioctl, Rule::Argument { index: 1, mask: u32::MAX, values: requests })?;
    // Memory is never executable.
    let plain = Rule::Argument { index: 2, mask: libc::PROT_EXEC.cast_unsigned(), values: vec![0] };
    add(libc::SYS_mmap, plain.clone())?;
    add(libc::SYS_mprotect, plain)?;
    Ok(rules)
}

/// Instructions of classic BPF as seccomp(2) has them, and where `struct seccomp_data` has its parts.
mod bpf {
    pub(super) const LOAD: u16 = 0x20;
    pub(super) const AND: u16 = 0x54;
    pub(super) const IF_EQUAL: u16 = 0x15;
    pub(super) const IF_AT_LEAST: u16 = 0x35;
    pub(super) const RETURN: u16 = 0x06;
    pub(super) const NUMBER: u32 = 0;
    pub(super) const ARCHITECTURE: u32 = 4;
    pub(super) const ARGUMENTS: u32 = 16;
    /// `AUDIT_ARCH_X86_64`.
    pub(super) const X86_64: u32 = 0xc000_003e;
}

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// A jump over `yes` or `no` instructions.
fn branch(code: u16, k: u32, yes: usize, no: usize) -> Result<sock_filter, Error> {
    let short = |distance| u8::try_from(distance).map_err(|_| bad("too long"));
    Ok(sock_filter { code, jt: short(yes)?, jf: short(no)?, k })
}

/// What is done for system calls from a number on.
type Span<'a> = (u32, Option<&'a Rule>);

/// All numbers as spans that are treated alike, in order.
fn spans(rules: &BTreeMap<u32, Rule>) -> Vec<Span<'_>> {
    let mut spans: Vec<Span<'_>> = vec![(0, None)];
    let mut next = 0;
    for (nr, rule) in rules {
        if *nr > next {
            spans.push((next, None));
        }
        spans.push((*nr, Some(rule)));
        next = nr + 1;
    }
    spans.push((next, None));
    // A later one that starts at the same number replaces the one before it; one that is like it goes on.
    let mut merged: Vec<Span<'_>> = Vec::new();
    for span in spans {
        if merged.last().is_some_and(|last| last.0 == span.0) {
            merged.pop();
        }
        if merged.last().is_none_or(|last| last.1 != span.1) {
            merged.push(span);
        }
    }
    merged
}

/// The instructions that decide among spans; the number is loaded.
fn search(spans: &[Span<'_>]) -> Result<BpfProgram, Error> {
    let allow = step(bpf::RETURN, libc::SECCOMP_RET_ALLOW);
    let kill = step(bpf::RETURN, libc::SECCOMP_RET_KILL_PROCESS);
    match spans {
        [] | [(_, None)] => Ok(vec![kill]),
        [(_, Some(Rule::Always))] => Ok(vec![allow]),
        [(_, Some(Rule::Argument { index, mask, values }))] => {
            let mut program = vec![step(bpf::LOAD, bpf::ARGUMENTS + 8 * index), step(bpf::AND, *mask)];
            for (at, value) in values.iter().enumerate() {
                program.push(branch(bpf::IF_EQUAL, *value, values.len() - at, 0)?);
            }
            program.extend([kill, allow]);
            Ok(program)
        }
        _ => {
            let (below, above) = spans.split_at(spans.len() / 2);
            let from = above.first().map_or(0, |span| span.0);
            let (below, above) = (search(below)?, search(above)?);
            let mut program = vec![branch(bpf::IF_AT_LEAST, from, below.len(), 0)?];
            program.extend(below);
            program.extend(above);
            Ok(program)
        }
    }
}

/// The filter as a program.
pub(crate) fn program() -> Result<BpfProgram, Error> {
    let mut program = vec![
        step(bpf::LOAD, bpf::ARCHITECTURE),
        branch(bpf::IF_EQUAL, bpf::X86_64, 1, 0)?,
        step(bpf::RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        step(bpf::LOAD, bpf::NUMBER),
    ];
    program.extend(search(&spans(&rules()?))?);
    Ok(program)
}

/// Loads the filter into every thread of the process.
pub(crate) fn load() -> Result<(), Error> {
    seccompiler::apply_filter_all_threads(&program()?).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers, and in how many steps.
    fn ask(program: &[sock_filter], architecture: u32, nr: u32, arguments: [u64; 6]) -> (u32, usize) {
        let (mut at, mut value) = (0, 0);
        for steps in 1.. {
            let sock_filter { code, jt, jf, k } = program[at];
            let take = |holds: bool| usize::from(if holds { jt } else { jf });
            at += 1;
            match code {
                bpf::LOAD if k == bpf::NUMBER => value = nr,
                bpf::LOAD if k == bpf::ARCHITECTURE => value = architecture,
                bpf::LOAD => value = arguments[((k - bpf::ARGUMENTS) / 8) as usize] as u32,
                bpf::AND => value &= k,
                bpf::IF_EQUAL => at += take(value == k),
                bpf::IF_AT_LEAST => at += take(value >= k),
                bpf::RETURN => return (k, steps),
                _ => panic!("{code:#x}"),
            }
        }
        unreachable!()
    }

    #[test]
    fn every_call_of_the_table_is_allowed() {
        let rules = rules().unwrap();
        for call in Hostcall::ALL {
            for name in call.host_syscalls() {
                let nr = u32::try_from(number(name).unwrap()).unwrap();
                assert!(rules.contains_key(&nr), "{}: {name}", call.name());
            }
        }
    }

    #[test]
    fn the_program_is_the_rules() {
        let (rules, program) = (rules().unwrap(), program().unwrap());
        for nr in (0..2000).chain([0x4000_0000, 0x4000_0010, u32::MAX]) {
            for argument in [0, 1, 3, 4, 7, KVM_RUN, 0xae01, 0xffff_0000_0000_0000 | KVM_RUN] {
                let expected = match rules.get(&nr) {
                    None => false,
                    Some(Rule::Always) => true,
                    Some(Rule::Argument { mask, values, .. }) => values.contains(&(argument as u32 & mask)),
                };
                let (answer, steps) = ask(&program, bpf::X86_64, nr, [argument; 6]);
                assert_eq!(answer == libc::SECCOMP_RET_ALLOW, expected, "{nr} {argument:#x}");
                assert!(steps < 40);
                assert_ne!(ask(&program, 0x4000_0003, nr, [argument; 6]).0, libc::SECCOMP_RET_ALLOW);
            }
        }
    }

    #[test]
    fn nothing_that_leaves_the_jail_is_allowed() {
        let program = program().unwrap();
        let forbidden = [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_setsockopt,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_fork,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_move_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_readv,
        ];
        for nr in forbidden {
            let (answer, _) = ask(&program, bpf::X86_64, u32::try_from(nr).unwrap(), [0; 6]);
            assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS, "{nr}");
        }
    }
}
