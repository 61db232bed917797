//! The seccomp filter of a sandbox process: an allow-list made from the hostcall table plus the little that the
//! threads need to live. Loaded into all threads before the guest's first instruction.

use std::collections::BTreeMap;

use hostcall::Hostcall;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

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

/// A rule that holds when `argument & mask == value`.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, Error> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value).map_err(bad)?;
    SeccompRule::new(vec![condition]).map_err(bad)
}

/// The rules: no entry, forbidden; an empty list, allowed; otherwise one of the rules must hold.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALWAYS.iter().map(|nr| (*nr, Vec::new())).collect();
    for call in Hostcall::ALL {
        for name in call.host_syscalls() {
            let nr =
                number(name).ok_or_else(|| bad(format!("{}: unknown system call {name}", call.name())))?;
            rules.insert(nr, Vec::new());
        }
    }
    let requests = IOCTLS.iter().map(|request| masked(1, 0xffff_ffff, *request));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    // Memory is never executable.
    let executable = libc::PROT_EXEC as u64;
    rules.insert(libc::SYS_mmap, vec![masked(2, executable, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![masked(2, executable, 0)?]);
    Ok(rules)
}

/// The filter as a program.
pub(crate) fn program() -> Result<BpfProgram, Error> {
    SeccompFilter::new(rules()?, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(TryInto::try_into)
        .map_err(bad)
}

/// Loads the filter into every thread of the process.
pub(crate) fn load() -> Result<(), Error> {
    seccompiler::apply_filter_all_threads(&program()?).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_table_is_allowed() {
        let rules = rules().unwrap();
        for call in Hostcall::ALL {
            for name in call.host_syscalls() {
                assert!(rules.contains_key(&number(name).unwrap()), "{}: {name}", call.name());
            }
        }
    }

    #[test]
    fn nothing_that_leaves_the_jail_is_allowed() {
        let rules = rules().unwrap();
        let forbidden = [
            libc::SYS_socket,
            libc::SYS_connect,
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
            assert!(!rules.contains_key(&nr), "{nr}");
        }
        assert!(!rules[&libc::SYS_ioctl].is_empty());
        assert!(!rules[&libc::SYS_mmap].is_empty());
        assert!(program().is_ok());
    }
}
