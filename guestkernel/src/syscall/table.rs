//! One line per Linux x86-64 system call.
//!
//! `number name(argument kinds) => handler, level, sentence;` An `R` before the handler gives it the
//! registers. A line without a handler is absent: `ENOSYS`, counted, logged once. `docs/syscalls.md` is made
//! from this by `cargo run -p guestkernel --bin syscall-table`.

use super::{
    Args, absent, cred, dirent, encode, fcntl, file, futex, handle, inotify, ioprio, ipc_msg, ipc_sem,
    ipc_shm, kcmp, mempolicy, misc, mm, mount, mount_api, namespace, pages, path, pidfd, pipe, poll,
    posix_timer, prctl, process, process_vm, resource, sched, seccomp, signal, signalfd, socket, stat, time,
    timerfd, transfer, xattr,
};
use crate::{arch::UserRegs, task::cred::Caps};

/// One more than the highest number.
pub const COUNT: usize = 470;

/// Calls that Linux refuses without a capability before it looks at anything else; absent or not, a caller
/// without it sees `EPERM`.
pub(super) const PRIVILEGED: [(u64, Caps); 16] = [
    (103, Caps::SYSLOG),
    (155, Caps::SYS_ADMIN),
    (163, Caps::SYS_PACCT),
    (165, Caps::SYS_ADMIN),
    (166, Caps::SYS_ADMIN),
    (167, Caps::SYS_ADMIN),
    (168, Caps::SYS_ADMIN),
    (169, Caps::SYS_BOOT),
    (172, Caps::SYS_RAWIO),
    (173, Caps::SYS_RAWIO),
    (175, Caps::SYS_MODULE),
    (176, Caps::SYS_MODULE),
    (246, Caps::SYS_BOOT),
    (300, Caps::SYS_ADMIN),
    (313, Caps::SYS_MODULE),
    (323, Caps::SYS_PTRACE),
];

/// How much of a call there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All that Linux has.
    Full,
    /// Some; the sentence says what is missing.
    Partial,
    /// Nothing: `ENOSYS`.
    Absent,
    /// Linux has no call of this number.
    Gap,
}

/// What an argument is, for strace lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the printed form is in strace/args.rs")]
pub enum Kind {
    Access,
    Action,
    Addr,
    Advice,
    ArchPrctl,
    Argv,
    AtAccess,
    AtFlags,
    /// Bytes whose count is the next argument.
    Bytes,
    Clock,
    Clone,
    Clone3,
    Clone3Rest,
    CloneFlags,
    CloneRest,
    CloseRange,
    Cpus,
    /// A device's numbers, where the mode before it makes one.
    DeviceIf,
    DirFd,
    Envp,
    EpollEvent,
    EpollFlags,
    EpollOp,
    EventFlags,
    Fallocate,
    Fcntl,
    FcntlRest,
    Fd,
    FdFlags,
    FdSet,
    FileAdvice,
    FileMode,
    FileTimes,
    FileTimevals,
    Flock,
    FutexOp,
    FutexRest,
    Groups,
    Hex,
    IdType,
    InInt,
    InLong,
    Int,
    Interval,
    Ioctl,
    IoctlArg,
    Iovec,
    Itimer,
    Limit,
    LockAll,
    Long,
    MFlags,
    Mode,
    /// Permissions, where the flags before it make a file.
    ModeIf,
    /// Where `mremap` moves to, if its flags say so.
    MoveTo,
    OFlags,
    Path,
    Policy,
    PollFds,
    Prctl,
    PrctlRest,
    Priority,
    Prot,
    Random,
    Remap,
    Rename,
    Resource,
    RwFlags,
    SelectMask,
    SetOfReturn,
    Sig,
    SigHow,
    SigInfo,
    SigSet,
    SigStack,
    Size,
    StatxFlags,
    StatxMask,
    Sync,
    TimerFlags,
    Timespec,
    Timeval,
    Uint,
    Usage,
    Wait,
    Whence,
    // What the call stores: printed when it has ended.
    OutAction,
    OutBytes,
    OutCpus,
    OutEntries,
    OutEntries64,
    OutEpoll,
    OutFds,
    OutFileSystem,
    OutGroups,
    OutInfo,
    OutInt,
    OutInterval,
    OutIovec,
    OutLimit,
    OutNames,
    OutPath,
    OutRandom,
    OutRest,
    OutSet,
    OutSigStack,
    OutStat,
    OutStatus,
    OutStatx,
    OutSystem,
    OutTicks,
    OutTimespec,
    OutTimeval,
    OutUsage,
    OutWaitUsage,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name.
    pub name: &'static str,
    /// How much of it there is.
    pub level: Level,
    /// What is missing or different.
    pub note: &'static str,
    /// Its arguments.
    pub args: &'static [Kind],
}

/// Runs a call and gives what goes into the result register.
pub type Handler = fn(&mut UserRegs) -> i64;

macro_rules! handler {
    () => {
        |regs| absent(regs.orig_rax)
    };
    (R $family:ident $name:ident) => {
        |regs| encode($family::$name(regs))
    };
    ($family:ident $name:ident) => {
        |regs| encode($family::$name(&Args(regs.args())))
    };
}

macro_rules! syscalls {
    ($($nr:literal $name:ident($($kind:ident),*) $(=> $($handler:ident)+ :: $function:ident)?, $level:ident, $note:literal;)*) => {
        /// Facts about each call.
        pub static TABLE: [Entry; COUNT] = {
            let mut table = [Entry { name: "", level: Level::Gap, note: "", args: &[] }; COUNT];
            $(table[$nr] = Entry {
                name: stringify!($name),
                level: Level::$level,
                note: $note,
                args: &[$(Kind::$kind),*],
            };)*
            table
        };

        /// What each call runs.
        pub static HANDLERS: [Handler; COUNT] = {
            let mut table: [Handler; COUNT] = [|regs| super::unknown(regs.orig_rax as usize); COUNT];
            $(table[$nr] = handler!($($($handler)+ $function)?);)*
            table
        };
    };
}

syscalls! {
    0 read(Fd, OutBytes, Size) => file::read, Full, "As Linux.";
    1 write(Fd, Bytes, Size) => file::write, Full, "As Linux.";
    2 open(Path, OFlags, ModeIf) => path::open, Full, "As Linux.";
    3 close(Fd) => file::close, Full, "As Linux.";
    4 stat(Path, OutStat) => stat::stat, Full, "As Linux.";
    5 fstat(Fd, OutStat) => stat::fstat, Full, "As Linux.";
    6 lstat(Path, OutStat) => stat::lstat, Full, "As Linux.";
    7 poll(PollFds, Size, Int) => poll::poll, Full, "As Linux.";
    8 lseek(Fd, Long, Whence) => file::lseek, Full, "As Linux.";
    9 mmap(Addr, Size, Prot, MFlags, Fd, Hex) => mm::mmap, Full, "As Linux.";
    10 mprotect(Addr, Size, Prot) => mm::mprotect, Full, "As Linux.";
    11 munmap(Addr, Size) => mm::munmap, Full, "As Linux.";
    12 brk(Addr) => mm::brk, Full, "As Linux.";
    13 rt_sigaction(Sig, Action, OutAction, Size) => signal::rt_sigaction, Full, "As Linux.";
    14 rt_sigprocmask(SigHow, SigSet, OutSet, Size) => signal::rt_sigprocmask, Full, "As Linux.";
    15 rt_sigreturn(SetOfReturn) => R signal::rt_sigreturn, Full, "As Linux.";
    16 ioctl(Fd, Ioctl, IoctlArg) => file::ioctl, Full, "As Linux.";
    17 pread64(Fd, OutBytes, Size, Long) => file::pread64, Full, "As Linux.";
    18 pwrite64(Fd, Bytes, Size, Long) => file::pwrite64, Full, "As Linux.";
    19 readv(Fd, OutIovec, Size) => file::readv, Full, "As Linux.";
    20 writev(Fd, Iovec, Size) => file::writev, Full, "As Linux.";
    21 access(Path, Access) => path::access, Full, "As Linux.";
    22 pipe(OutFds) => pipe::pipe, Full, "As Linux.";
    23 select(Int, FdSet, FdSet, FdSet, Timeval) => poll::select, Full, "As Linux.";
    24 sched_yield() => sched::sched_yield, Full, "As Linux.";
    25 mremap(Addr, Size, Size, Remap, MoveTo) => mm::mremap, Full, "As Linux.";
    26 msync(Addr, Size, Sync) => mm::msync, Full, "As Linux.";
    27 mincore(Addr, Size, Addr) => mm::mincore, Full, "As Linux.";
    28 madvise(Addr, Size, Advice) => mm::madvise, Full, "As Linux.";
    29 shmget(Int, Size, Hex) => ipc_shm::shmget, Full, "As Linux.";
    30 shmat(Int, Addr, Hex) => ipc_shm::shmat, Full, "As Linux.";
    31 shmctl(Int, Int, Addr) => ipc_shm::shmctl, Full, "As Linux.";
    32 dup(Fd) => file::dup, Full, "As Linux.";
    33 dup2(Fd, Fd) => file::dup2, Full, "As Linux.";
    34 pause() => signal::pause, Full, "As Linux.";
    35 nanosleep(Timespec, OutRest) => time::nanosleep, Full, "As Linux.";
    36 getitimer(Itimer, OutInterval) => time::getitimer, Full, "As Linux.";
    37 alarm(Uint) => time::alarm, Full, "As Linux.";
    38 setitimer(Itimer, Interval, OutInterval) => time::setitimer, Full, "As Linux.";
    39 getpid() => process::getpid, Full, "As Linux.";
    40 sendfile(Fd, Fd, InLong, Size) => transfer::sendfile, Full, "As Linux.";
    41 socket(Int, Hex, Int) => socket::socket, Partial, "AF_UNIX; AF_INET and AF_INET6 (TCP, UDP, ICMP echo, raw); AF_NETLINK with NETLINK_ROUTE and NETLINK_SOCK_DIAG (sockets are not destroyed). Other families are EAFNOSUPPORT.";
    42 connect(Fd, Addr, Size) => socket::connect, Full, "As Linux.";
    43 accept(Fd, Addr, Addr) => socket::accept, Full, "As Linux.";
    44 sendto(Fd, Bytes, Size, Hex, Addr, Size) => socket::sendto, Partial, "No MSG_OOB on AF_UNIX (EOPNOTSUPP), no SIGURG; MSG_MORE does not hold back.";
    45 recvfrom(Fd, Addr, Size, Hex, Addr, Addr) => socket::recvfrom, Full, "As Linux.";
    46 sendmsg(Fd, Addr, Hex) => socket::sendmsg, Partial, "As sendto; no UDP_SEGMENT (EINVAL).";
    47 recvmsg(Fd, Addr, Hex) => socket::recvmsg, Full, "As Linux.";
    48 shutdown(Fd, Int) => socket::shutdown, Full, "As Linux.";
    49 bind(Fd, Addr, Size) => socket::bind, Full, "As Linux.";
    50 listen(Fd, Int) => socket::listen, Full, "As Linux.";
    51 getsockname(Fd, Addr, Addr) => socket::getsockname, Full, "As Linux.";
    52 getpeername(Fd, Addr, Addr) => socket::getpeername, Full, "As Linux.";
    53 socketpair(Int, Hex, Int, Addr) => socket::socketpair, Full, "As Linux: AF_UNIX alone.";
    54 setsockopt(Fd, Int, Int, Addr, Size) => socket::setsockopt, Partial, "No filters, SO_TIMESTAMPNS, SO_PASSPIDFD, SO_PASSSEC: ENOPROTOOPT. No groups can be joined (ENODEV). TCP_CORK holds nothing back; options of lost or late segments are kept and mean nothing on the loopback.";
    55 getsockopt(Fd, Int, Int, Addr, Addr) => socket::getsockopt, Partial, "No filters, SO_PEERPIDFD, SO_PASSSEC: ENOPROTOOPT.";
    56 clone(Clone, CloneRest) => R process::clone, Partial, "UTS, IPC, cgroup and mount namespaces; others are EINVAL. CLONE_PTRACE is ignored, CLONE_IO has no effect.";
    57 fork() => R process::fork, Full, "As Linux.";
    58 vfork() => R process::vfork, Full, "As Linux.";
    59 execve(Path, Argv, Envp) => R process::execve, Partial, "ELF programs and `#!` scripts; no binfmt_misc.";
    60 exit(Int) => process::exit, Full, "As Linux.";
    61 wait4(Int, OutStatus, Wait, OutWaitUsage) => process::wait4, Full, "As Linux.";
    62 kill(Int, Sig) => signal::kill, Full, "As Linux.";
    63 uname(OutNames) => misc::uname, Full, "Says Linux 6.12 and x86_64.";
    64 semget(Int, Int, Hex) => ipc_sem::semget, Full, "As Linux.";
    65 semop(Int, Addr, Size) => ipc_sem::semop, Full, "As Linux.";
    66 semctl(Int, Int, Int, Hex) => ipc_sem::semctl, Full, "As Linux.";
    67 shmdt(Addr) => ipc_shm::shmdt, Full, "As Linux.";
    68 msgget(Int, Hex) => ipc_msg::msgget, Full, "As Linux.";
    69 msgsnd(Int, Addr, Size, Hex) => ipc_msg::msgsnd, Full, "As Linux.";
    70 msgrcv(Int, Addr, Size, Long, Hex) => ipc_msg::msgrcv, Partial, "As Linux; of several who wait for one message, any may get it.";
    71 msgctl(Int, Int, Addr) => ipc_msg::msgctl, Full, "As Linux.";
    72 fcntl(Fd, Fcntl, FcntlRest) => fcntl::fcntl, Partial, "leases are on regular files of directories of the host and of tmpfs.";
    73 flock(Fd, Flock) => file::flock, Full, "As Linux.";
    74 fsync(Fd) => file::fsync, Full, "As Linux.";
    75 fdatasync(Fd) => file::fdatasync, Full, "As Linux.";
    76 truncate(Path, Long) => stat::truncate, Full, "As Linux.";
    77 ftruncate(Fd, Long) => file::ftruncate, Full, "As Linux.";
    78 getdents(Fd, OutEntries, Size) => dirent::getdents, Full, "As Linux.";
    79 getcwd(OutPath, Size) => path::getcwd, Full, "As Linux.";
    80 chdir(Path) => path::chdir, Full, "As Linux.";
    81 fchdir(Fd) => file::fchdir, Full, "As Linux.";
    82 rename(Path, Path) => path::rename, Full, "As Linux.";
    83 mkdir(Path, Mode) => path::mkdir, Full, "As Linux.";
    84 rmdir(Path) => path::rmdir, Full, "As Linux.";
    85 creat(Path, Mode) => path::creat, Full, "As Linux.";
    86 link(Path, Path) => path::link, Full, "As Linux.";
    87 unlink(Path) => path::unlink, Full, "As Linux.";
    88 symlink(Path, Path) => path::symlink, Full, "As Linux.";
    89 readlink(Path, OutBytes, Size) => path::readlink, Full, "As Linux.";
    90 chmod(Path, Mode) => stat::chmod, Full, "As Linux.";
    91 fchmod(Fd, Mode) => stat::fchmod, Full, "As Linux.";
    92 chown(Path, Int, Int) => stat::chown, Full, "As Linux.";
    93 fchown(Fd, Int, Int) => stat::fchown, Full, "As Linux.";
    94 lchown(Path, Int, Int) => stat::lchown, Full, "As Linux.";
    95 umask(Mode) => path::umask, Full, "As Linux.";
    96 gettimeofday(OutTimeval, Addr) => time::gettimeofday, Full, "As Linux.";
    97 getrlimit(Resource, OutLimit) => resource::getrlimit, Full, "As Linux.";
    98 getrusage(Usage, OutUsage) => resource::getrusage, Partial, "Times, context switches and page faults; the other counters are zero.";
    99 sysinfo(OutSystem) => misc::sysinfo, Partial, "Load averages are zero.";
    100 times(OutTicks) => resource::times, Full, "As Linux.";
    101 ptrace(Int, Int, Addr, Addr), Absent, "Not implemented yet.";
    102 getuid() => cred::getuid, Full, "As Linux.";
    103 syslog(Int, Addr, Int), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    104 getgid() => cred::getgid, Full, "As Linux.";
    105 setuid(Int) => cred::setuid, Full, "As Linux.";
    106 setgid(Int) => cred::setgid, Full, "As Linux.";
    107 geteuid() => cred::geteuid, Full, "As Linux.";
    108 getegid() => cred::getegid, Full, "As Linux.";
    109 setpgid(Int, Int) => process::setpgid, Full, "As Linux.";
    110 getppid() => process::getppid, Full, "As Linux.";
    111 getpgrp() => process::getpgrp, Full, "As Linux.";
    112 setsid() => process::setsid, Full, "As Linux.";
    113 setreuid(Int, Int) => cred::setreuid, Full, "As Linux.";
    114 setregid(Int, Int) => cred::setregid, Full, "As Linux.";
    115 getgroups(Int, OutGroups) => cred::getgroups, Full, "As Linux.";
    116 setgroups(Size, Groups) => cred::setgroups, Full, "As Linux.";
    117 setresuid(Int, Int, Int) => cred::setresuid, Full, "As Linux.";
    118 getresuid(OutInt, OutInt, OutInt) => cred::getresuid, Full, "As Linux.";
    119 setresgid(Int, Int, Int) => cred::setresgid, Full, "As Linux.";
    120 getresgid(OutInt, OutInt, OutInt) => cred::getresgid, Full, "As Linux.";
    121 getpgid(Int) => process::getpgid, Full, "As Linux.";
    122 setfsuid(Int) => cred::setfsuid, Full, "As Linux.";
    123 setfsgid(Int) => cred::setfsgid, Full, "As Linux.";
    124 getsid(Int) => process::getsid, Full, "As Linux.";
    125 capget(Addr, Addr) => cred::capget, Full, "As Linux.";
    126 capset(Addr, Addr) => cred::capset, Full, "As Linux.";
    127 rt_sigpending(OutSet, Size) => signal::rt_sigpending, Full, "As Linux.";
    128 rt_sigtimedwait(SigSet, OutInfo, Timespec, Size) => signal::rt_sigtimedwait, Full, "As Linux.";
    129 rt_sigqueueinfo(Int, Sig, SigInfo) => signal::rt_sigqueueinfo, Full, "As Linux.";
    130 rt_sigsuspend(SigSet, Size) => signal::rt_sigsuspend, Full, "As Linux.";
    131 sigaltstack(SigStack, OutSigStack) => signal::sigaltstack, Full, "As Linux.";
    132 utime(Path, Addr) => stat::utime, Full, "As Linux.";
    133 mknod(Path, FileMode, DeviceIf) => path::mknod, Full, "As Linux.";
    134 uselib(Path), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    135 personality(Hex) => misc::personality, Partial, "Kept; ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC and UNAME26 have their effect.";
    136 ustat(Hex, Addr), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    137 statfs(Path, OutFileSystem) => stat::statfs, Full, "As Linux.";
    138 fstatfs(Fd, OutFileSystem) => stat::fstatfs, Full, "As Linux.";
    139 sysfs(Int, Hex, Hex), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    140 getpriority(Priority, Int) => sched::getpriority, Full, "As Linux.";
    141 setpriority(Priority, Int, Int) => sched::setpriority, Full, "As Linux.";
    142 sched_setparam(Int, InInt) => sched::sched_setparam, Full, "As Linux.";
    143 sched_getparam(Int, OutInt) => sched::sched_getparam, Full, "As Linux.";
    144 sched_setscheduler(Int, Policy, InInt) => sched::sched_setscheduler, Full, "As Linux.";
    145 sched_getscheduler(Int) => sched::sched_getscheduler, Full, "As Linux.";
    146 sched_get_priority_max(Policy) => sched::sched_get_priority_max, Full, "As Linux.";
    147 sched_get_priority_min(Policy) => sched::sched_get_priority_min, Full, "As Linux.";
    148 sched_rr_get_interval(Int, OutTimespec) => sched::sched_rr_get_interval, Full, "The time slice.";
    149 mlock(Addr, Size) => mm::mlock, Full, "As Linux.";
    150 munlock(Addr, Size) => mm::munlock, Full, "As Linux.";
    151 mlockall(LockAll) => mm::mlockall, Full, "As Linux.";
    152 munlockall() => mm::munlockall, Full, "As Linux.";
    153 vhangup(), Absent, "Not implemented yet.";
    154 modify_ldt(Int, Addr, Size), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    155 pivot_root(Path, Path) => mount::pivot_root, Full, "As Linux.";
    156 _sysctl(Addr), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    157 prctl(Prctl, PrctlRest) => prctl::prctl, Partial, "No PR_SET_MM, MDWE, names of memory, user dispatch of calls; speculation cannot be changed.";
    158 arch_prctl(ArchPrctl, Addr) => misc::arch_prctl, Partial, "FS and GS bases; others are EINVAL.";
    159 adjtimex(Addr) => time::adjtimex, Partial, "Reads; changes are EPERM: a sandbox does not set the clock.";
    160 setrlimit(Resource, Limit) => resource::setrlimit, Full, "As Linux.";
    161 chroot(Path) => path::chroot, Full, "As Linux.";
    162 sync() => file::sync, Full, "As Linux.";
    163 acct(Path), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    164 settimeofday(Addr, Addr) => time::settimeofday, Partial, "Always EPERM: a sandbox does not set the clock.";
    165 mount(Path, Path, Path, Hex, Addr) => mount::mount, Partial, "New mounts are of tmpfs, ramfs, proc (without options), sysfs or devpts.";
    166 umount2(Path, Hex) => mount::umount2, Full, "As Linux.";
    167 swapon(Path, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    168 swapoff(Path), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    169 reboot(Hex, Hex, Hex, Addr), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    170 sethostname(Bytes, Size) => misc::sethostname, Full, "As Linux.";
    171 setdomainname(Bytes, Size) => misc::setdomainname, Full, "As Linux.";
    172 iopl(Int), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    173 ioperm(Hex, Size, Int), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    174 create_module(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    175 init_module(Addr, Size, Path), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    176 delete_module(Path, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    177 get_kernel_syms(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    178 query_module(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    179 quotactl(Hex, Path, Int, Addr), Absent, "Not implemented yet.";
    180 nfsservctl(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    181 getpmsg(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    182 putpmsg(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    183 afs_syscall(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    184 tuxcall(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    185 security(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    186 gettid() => process::gettid, Full, "As Linux.";
    187 readahead(Fd, Long, Size) => file::readahead, Full, "As Linux.";
    188 setxattr(Path, Path, Addr, Size, Hex) => xattr::setxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    189 lsetxattr(Path, Path, Addr, Size, Hex) => xattr::lsetxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    190 fsetxattr(Fd, Path, Addr, Size, Hex) => xattr::fsetxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    191 getxattr(Path, Path, Addr, Size) => xattr::getxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    192 lgetxattr(Path, Path, Addr, Size) => xattr::lgetxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    193 fgetxattr(Fd, Path, Addr, Size) => xattr::fgetxattr, Partial, "Host files: user., security.capability and access control lists alone.";
    194 listxattr(Path, Addr, Size) => xattr::listxattr, Full, "As Linux.";
    195 llistxattr(Path, Addr, Size) => xattr::llistxattr, Full, "As Linux.";
    196 flistxattr(Fd, Addr, Size) => xattr::flistxattr, Full, "As Linux.";
    197 removexattr(Path, Path) => xattr::removexattr, Partial, "Host files: user., security.capability and access control lists alone.";
    198 lremovexattr(Path, Path) => xattr::lremovexattr, Partial, "Host files: user., security.capability and access control lists alone.";
    199 fremovexattr(Fd, Path) => xattr::fremovexattr, Partial, "Host files: user., security.capability and access control lists alone.";
    200 tkill(Int, Sig) => signal::tkill, Full, "As Linux.";
    201 time(Addr) => time::time, Full, "As Linux.";
    202 futex(Addr, FutexOp, FutexRest) => futex::futex, Full, "As Linux; a priority that was inherited is kept until the last lock that others wait for is handed on.";
    203 sched_setaffinity(Int, Size, Cpus) => sched::sched_setaffinity, Full, "As Linux.";
    204 sched_getaffinity(Int, Size, OutCpus) => sched::sched_getaffinity, Full, "As Linux.";
    205 set_thread_area(Addr), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    206 io_setup(Uint, Addr), Absent, "Not implemented yet.";
    207 io_destroy(Addr), Absent, "Not implemented yet.";
    208 io_getevents(Addr, Long, Long, Addr, Timespec), Absent, "Not implemented yet.";
    209 io_submit(Addr, Long, Addr), Absent, "Not implemented yet.";
    210 io_cancel(Addr, Addr, Addr), Absent, "Not implemented yet.";
    211 get_thread_area(Addr), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    212 lookup_dcookie(Hex, Addr, Size), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    213 epoll_create(Int) => poll::epoll_create, Full, "As Linux.";
    214 epoll_ctl_old(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    215 epoll_wait_old(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    216 remap_file_pages(Addr, Size, Hex, Size, Hex) => pages::remap_file_pages, Full, "As Linux.";
    217 getdents64(Fd, OutEntries64, Size) => dirent::getdents64, Full, "As Linux.";
    218 set_tid_address(Addr) => process::set_tid_address, Full, "As Linux.";
    219 restart_syscall() => signal::restart_syscall, Full, "As Linux.";
    220 semtimedop(Int, Addr, Size, Timespec) => ipc_sem::semtimedop, Full, "As Linux.";
    221 fadvise64(Fd, Long, Size, FileAdvice) => file::fadvise64, Full, "As Linux.";
    222 timer_create(Clock, Addr, Addr) => posix_timer::timer_create, Full, "As Linux.";
    223 timer_settime(Int, Hex, Addr, Addr) => posix_timer::timer_settime, Full, "As Linux.";
    224 timer_gettime(Int, Addr) => posix_timer::timer_gettime, Full, "As Linux.";
    225 timer_getoverrun(Int) => posix_timer::timer_getoverrun, Full, "As Linux.";
    226 timer_delete(Int) => posix_timer::timer_delete, Full, "As Linux.";
    227 clock_settime(Clock, Timespec) => time::clock_settime, Partial, "Always EPERM or EINVAL: a sandbox does not set the clock.";
    228 clock_gettime(Clock, OutTimespec) => time::clock_gettime, Full, "As Linux.";
    229 clock_getres(Clock, OutTimespec) => time::clock_getres, Full, "As Linux.";
    230 clock_nanosleep(Clock, TimerFlags, Timespec, OutRest) => time::clock_nanosleep, Full, "As Linux.";
    231 exit_group(Int) => process::exit_group, Full, "As Linux.";
    232 epoll_wait(Fd, OutEpoll, Int, Int) => poll::epoll_wait, Full, "As Linux.";
    233 epoll_ctl(Fd, EpollOp, Fd, EpollEvent) => poll::epoll_ctl, Full, "As Linux.";
    234 tgkill(Int, Int, Sig) => signal::tgkill, Full, "As Linux.";
    235 utimes(Path, FileTimevals) => stat::utimes, Full, "As Linux.";
    236 vserver(), Absent, "Not offered; obsolete or not in 64-bit Linux.";
    237 mbind(Addr, Size, Int, Addr, Size, Hex) => mempolicy::mbind, Full, "One node of memory.";
    238 set_mempolicy(Int, Addr, Size) => mempolicy::set_mempolicy, Full, "One node of memory.";
    239 get_mempolicy(Addr, Addr, Size, Addr, Hex) => mempolicy::get_mempolicy, Full, "One node of memory.";
    240 mq_open(Path, OFlags, Mode, Addr), Absent, "Not implemented yet.";
    241 mq_unlink(Path), Absent, "Not implemented yet.";
    242 mq_timedsend(Fd, Bytes, Size, Uint, Timespec), Absent, "Not implemented yet.";
    243 mq_timedreceive(Fd, Addr, Size, Addr, Timespec), Absent, "Not implemented yet.";
    244 mq_notify(Fd, Addr), Absent, "Not implemented yet.";
    245 mq_getsetattr(Fd, Addr, Addr), Absent, "Not implemented yet.";
    246 kexec_load(Addr, Size, Addr, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    247 waitid(IdType, Int, OutInfo, Wait, OutWaitUsage) => process::waitid, Full, "As Linux.";
    248 add_key(Path, Path, Addr, Size, Int), Absent, "Not implemented yet.";
    249 request_key(Path, Path, Path, Int), Absent, "Not implemented yet.";
    250 keyctl(Int, Hex, Hex, Hex, Hex), Absent, "Not implemented yet.";
    251 ioprio_set(Int, Int, Hex) => ioprio::ioprio_set, Partial, "The priority is kept but does not weigh: the host orders I/O.";
    252 ioprio_get(Int, Int) => ioprio::ioprio_get, Full, "As Linux.";
    253 inotify_init() => inotify::inotify_init, Full, "As Linux.";
    254 inotify_add_watch(Fd, Path, Hex) => inotify::inotify_add_watch, Full, "As Linux.";
    255 inotify_rm_watch(Fd, Int) => inotify::inotify_rm_watch, Full, "As Linux.";
    256 migrate_pages(Int, Size, Addr, Addr) => pages::migrate_pages, Full, "As Linux.";
    257 openat(DirFd, Path, OFlags, ModeIf) => path::openat, Full, "As Linux.";
    258 mkdirat(DirFd, Path, Mode) => path::mkdirat, Full, "As Linux.";
    259 mknodat(DirFd, Path, FileMode, DeviceIf) => path::mknodat, Full, "As Linux.";
    260 fchownat(DirFd, Path, Int, Int, AtFlags) => stat::fchownat, Full, "As Linux.";
    261 futimesat(DirFd, Path, FileTimevals) => stat::futimesat, Full, "As Linux.";
    262 newfstatat(DirFd, Path, OutStat, AtFlags) => stat::newfstatat, Full, "As Linux.";
    263 unlinkat(DirFd, Path, AtFlags) => path::unlinkat, Full, "As Linux.";
    264 renameat(DirFd, Path, DirFd, Path) => path::renameat, Full, "As Linux.";
    265 linkat(DirFd, Path, DirFd, Path, AtFlags) => path::linkat, Full, "As Linux.";
    266 symlinkat(Path, DirFd, Path) => path::symlinkat, Full, "As Linux.";
    267 readlinkat(DirFd, Path, OutBytes, Size) => path::readlinkat, Full, "As Linux.";
    268 fchmodat(DirFd, Path, Mode) => stat::fchmodat, Full, "As Linux.";
    269 faccessat(DirFd, Path, Access) => path::faccessat, Full, "As Linux.";
    270 pselect6(Int, FdSet, FdSet, FdSet, Timespec, SelectMask) => poll::pselect6, Full, "As Linux.";
    271 ppoll(PollFds, Size, Timespec, SigSet, Size) => poll::ppoll, Full, "As Linux.";
    272 unshare(CloneFlags) => namespace::unshare, Partial, "CLONE_FS, CLONE_FILES, UTS, IPC, cgroup and mount namespaces; other namespaces are EINVAL.";
    273 set_robust_list(Addr, Size) => futex::set_robust_list, Full, "As Linux.";
    274 get_robust_list(Int, Addr, Addr) => futex::get_robust_list, Full, "As Linux.";
    275 splice(Fd, InLong, Fd, InLong, Size, Hex) => transfer::splice, Full, "As Linux.";
    276 tee(Fd, Fd, Size, Hex) => transfer::tee, Full, "As Linux.";
    277 sync_file_range(Fd, Long, Size, Hex) => file::sync_file_range, Full, "As Linux.";
    278 vmsplice(Fd, Addr, Size, Hex) => transfer::vmsplice, Partial, "The pages are copied.";
    279 move_pages(Int, Size, Addr, Addr, Addr, Hex) => pages::move_pages, Full, "As Linux.";
    280 utimensat(DirFd, Path, FileTimes, AtFlags) => stat::utimensat, Full, "As Linux.";
    281 epoll_pwait(Fd, OutEpoll, Int, Int, SigSet, Size) => poll::epoll_pwait, Full, "As Linux.";
    282 signalfd(Fd, SigSet, Size) => signalfd::signalfd, Full, "As Linux.";
    283 timerfd_create(Clock, Hex) => timerfd::timerfd_create, Full, "As Linux.";
    284 eventfd(Uint) => pipe::eventfd, Full, "As Linux.";
    285 fallocate(Fd, Fallocate, Long, Long) => file::fallocate, Full, "As Linux.";
    286 timerfd_settime(Fd, Hex, Addr, Addr) => timerfd::timerfd_settime, Full, "As Linux; nobody in a sandbox sets the clock.";
    287 timerfd_gettime(Fd, Addr) => timerfd::timerfd_gettime, Full, "As Linux.";
    288 accept4(Fd, Addr, Addr, Hex) => socket::accept4, Full, "As Linux.";
    289 signalfd4(Fd, SigSet, Size, Hex) => signalfd::signalfd4, Full, "As Linux.";
    290 eventfd2(Uint, EventFlags) => pipe::eventfd2, Full, "As Linux.";
    291 epoll_create1(EpollFlags) => poll::epoll_create1, Full, "As Linux.";
    292 dup3(Fd, Fd, FdFlags) => file::dup3, Full, "As Linux.";
    293 pipe2(OutFds, FdFlags) => pipe::pipe2, Full, "As Linux.";
    294 inotify_init1(Hex) => inotify::inotify_init1, Full, "As Linux.";
    295 preadv(Fd, OutIovec, Size, Long) => file::preadv, Full, "As Linux.";
    296 pwritev(Fd, Iovec, Size, Long) => file::pwritev, Full, "As Linux.";
    297 rt_tgsigqueueinfo(Int, Int, Sig, SigInfo) => signal::rt_tgsigqueueinfo, Full, "As Linux.";
    298 perf_event_open(Addr, Int, Int, Fd, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    299 recvmmsg(Fd, Addr, Size, Hex, Timespec) => socket::recvmmsg, Full, "As Linux.";
    300 fanotify_init(Hex, Hex), Absent, "Not implemented yet.";
    301 fanotify_mark(Fd, Hex, Hex, DirFd, Path), Absent, "Not implemented yet.";
    302 prlimit64(Int, Resource, Limit, OutLimit) => resource::prlimit64, Full, "As Linux.";
    303 name_to_handle_at(DirFd, Path, Addr, Addr, Hex) => handle::name_to_handle_at, Partial, "Only with AT_HANDLE_FID; else EOPNOTSUPP, as where a file system has no handles.";
    304 open_by_handle_at(Fd, Addr, OFlags) => handle::open_by_handle_at, Partial, "There are no handles to open: ESTALE.";
    305 clock_adjtime(Clock, Addr) => time::clock_adjtime, Partial, "Reads; changes are EPERM: a sandbox does not set the clock.";
    306 syncfs(Fd) => file::syncfs, Full, "As Linux.";
    307 sendmmsg(Fd, Addr, Size, Hex) => socket::sendmmsg, Full, "As Linux.";
    308 setns(Fd, CloneFlags) => namespace::setns, Partial, "UTS, IPC, cgroup and mount namespaces; of the others there is one each.";
    309 getcpu(OutInt, OutInt, Addr) => sched::getcpu, Full, "Node 0.";
    310 process_vm_readv(Int, Addr, Size, Addr, Size, Hex) => process_vm::process_vm_readv, Full, "As Linux.";
    311 process_vm_writev(Int, Addr, Size, Addr, Size, Hex) => process_vm::process_vm_writev, Full, "As Linux.";
    312 kcmp(Int, Int, Int, Hex, Hex) => kcmp::kcmp, Partial, "No KCMP_EPOLL_TFD.";
    313 finit_module(Fd, Path, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    314 sched_setattr(Int, Addr, Hex) => sched::sched_setattr, Partial, "No bandwidth for SCHED_DEADLINE (EBUSY), no utilisation clamps (EOPNOTSUPP).";
    315 sched_getattr(Int, Addr, Size, Hex) => sched::sched_getattr, Full, "As Linux.";
    316 renameat2(DirFd, Path, DirFd, Path, Rename) => path::renameat2, Partial, "No RENAME_WHITEOUT: EINVAL.";
    317 seccomp(Hex, Hex, Addr) => seccomp::seccomp, Full, "As Linux; without a tracer.";
    318 getrandom(OutRandom, Size, Random) => misc::getrandom, Full, "ChaCha20 seeded by the host and the CPU.";
    319 memfd_create(Path, Hex) => process_vm::memfd_create, Partial, "No huge pages: ENOSYS.";
    320 kexec_file_load(Fd, Fd, Size, Path, Hex), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    321 bpf(Int, Addr, Size), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    322 execveat(DirFd, Path, Argv, Envp, AtFlags) => R process::execveat, Partial, "As execve.";
    323 userfaultfd(Hex), Absent, "Not offered: EPERM, as for the unprivileged on Linux.";
    324 membarrier(Int, Hex, Int) => process_vm::membarrier, Full, "A barrier for the sequences of one CPU ends those of all.";
    325 mlock2(Addr, Size, Hex) => mm::mlock2, Full, "As Linux.";
    326 copy_file_range(Fd, InLong, Fd, InLong, Size, Hex) => transfer::copy_file_range, Full, "As Linux.";
    327 preadv2(Fd, OutIovec, Size, Long, RwFlags) => file::preadv2, Partial, "RWF_NOWAIT on pipes and sockets alone; elsewhere EOPNOTSUPP.";
    328 pwritev2(Fd, Iovec, Size, Long, RwFlags) => file::pwritev2, Partial, "RWF_NOWAIT on pipes and sockets alone; elsewhere EOPNOTSUPP.";
    329 pkey_mprotect(Addr, Size, Prot, Int) => mm::pkey_mprotect, Partial, "No protection keys, as on a processor without them.";
    330 pkey_alloc(Hex, Hex) => mm::pkey_alloc, Partial, "No protection keys: ENOSPC.";
    331 pkey_free(Int) => mm::pkey_free, Partial, "No protection keys: EINVAL.";
    332 statx(DirFd, Path, StatxFlags, StatxMask, OutStatx) => stat::statx, Full, "As Linux.";
    333 io_pgetevents(Addr, Long, Long, Addr, Timespec, Addr), Absent, "Not implemented yet.";
    334 rseq(Addr, Hex, Hex, Hex) => sched::rseq, Full, "The concurrency id is the CPU's number.";
    335 uretprobe(), Absent, "Not offered: there is no machine to administer inside a sandbox.";
    424 pidfd_send_signal(Fd, Sig, Addr, Hex) => pidfd::pidfd_send_signal, Full, "As Linux.";
    425 io_uring_setup(Uint, Addr), Absent, "Not implemented yet.";
    426 io_uring_enter(Fd, Uint, Uint, Hex, SigSet, Size), Absent, "Not implemented yet.";
    427 io_uring_register(Fd, Uint, Addr, Uint), Absent, "Not implemented yet.";
    428 open_tree(DirFd, Path, Hex) => mount_api::open_tree, Full, "As Linux.";
    429 move_mount(DirFd, Path, DirFd, Path, Hex) => mount_api::move_mount, Partial, "Not beneath another mount, and peers are not set: `EINVAL`.";
    430 fsopen(Path, Hex) => mount_api::fsopen, Partial, "Types as for mount.";
    431 fsconfig(Fd, Uint, Path, Addr, Int) => mount_api::fsconfig, Full, "As Linux.";
    432 fsmount(Fd, Hex, Hex) => mount_api::fsmount, Full, "As Linux.";
    433 fspick(DirFd, Path, Hex) => mount_api::fspick, Full, "As Linux.";
    434 pidfd_open(Int, Hex) => pidfd::pidfd_open, Full, "As Linux.";
    435 clone3(Clone3, Size, Clone3Rest) => R process::clone3, Partial, "As clone; no cgroup to start in: EBADF.";
    436 close_range(Uint, Uint, CloseRange) => file::close_range, Full, "As Linux.";
    437 openat2(DirFd, Path, Addr, Size) => path::openat2, Partial, "RESOLVE_CACHED is always EAGAIN.";
    438 pidfd_getfd(Fd, Fd, Hex) => pidfd::pidfd_getfd, Full, "As Linux.";
    439 faccessat2(DirFd, Path, Access, AtAccess) => path::faccessat2, Full, "As Linux.";
    440 process_madvise(Fd, Addr, Size, Int, Hex), Absent, "Not implemented yet.";
    441 epoll_pwait2(Fd, OutEpoll, Int, Timespec, SigSet, Size) => poll::epoll_pwait2, Full, "As Linux.";
    442 mount_setattr(DirFd, Path, Hex, Addr, Size) => mount_api::mount_setattr, Partial, "Owners are not mapped: `EINVAL`.";
    443 quotactl_fd(Fd, Hex, Int, Addr), Absent, "Not implemented yet.";
    444 landlock_create_ruleset(Addr, Size, Hex), Absent, "Not implemented yet.";
    445 landlock_add_rule(Fd, Int, Addr, Hex), Absent, "Not implemented yet.";
    446 landlock_restrict_self(Fd, Hex), Absent, "Not implemented yet.";
    447 memfd_secret(Hex), Absent, "Not implemented yet.";
    448 process_mrelease(Fd, Hex), Absent, "Not implemented yet.";
    449 futex_waitv(Addr, Uint, Hex, Timespec, Int) => futex::futex_waitv, Full, "As Linux.";
    450 set_mempolicy_home_node(Addr, Size, Int, Hex) => pages::set_mempolicy_home_node, Full, "As Linux.";
    451 cachestat(Fd, Addr, Addr, Hex) => pages::cachestat, Partial, "Nothing is known of the host\'s page cache.";
    452 fchmodat2(DirFd, Path, Mode, AtFlags) => stat::fchmodat2, Full, "As Linux.";
    453 map_shadow_stack(Addr, Size, Hex) => pages::map_shadow_stack, Partial, "As on a processor without shadow stacks.";
    454 futex_wake(Addr, Hex, Int, Hex) => futex::futex_wake, Full, "As Linux.";
    455 futex_wait(Addr, Hex, Hex, Hex, Timespec, Int) => futex::futex_wait, Full, "As Linux.";
    456 futex_requeue(Addr, Hex, Int, Int) => futex::futex_requeue, Full, "As Linux.";
    457 statmount(Addr, Addr, Size, Hex), Absent, "Not implemented yet.";
    458 listmount(Addr, Addr, Size, Hex), Absent, "Not implemented yet.";
    459 lsm_get_self_attr(Uint, Addr, Addr, Hex), Absent, "Not implemented yet.";
    460 lsm_set_self_attr(Uint, Addr, Size, Hex), Absent, "Not implemented yet.";
    461 lsm_list_modules(Addr, Addr, Hex), Absent, "Not implemented yet.";
    462 mseal(Addr, Size, Hex) => pages::mseal, Full, "As Linux.";
    463 setxattrat(DirFd, Path, AtFlags, Path, Addr, Size) => xattr::setxattrat, Partial, "Host files: user., security.capability and access control lists alone.";
    464 getxattrat(DirFd, Path, AtFlags, Path, Addr, Size) => xattr::getxattrat, Partial, "Host files: user., security.capability and access control lists alone.";
    465 listxattrat(DirFd, Path, AtFlags, Addr, Size) => xattr::listxattrat, Full, "As Linux.";
    466 removexattrat(DirFd, Path, AtFlags, Path) => xattr::removexattrat, Partial, "Host files: user., security.capability and access control lists alone.";
    467 open_tree_attr(), Absent, "Not implemented yet.";
    468 file_getattr(), Absent, "Not implemented yet.";
    469 file_setattr(), Absent, "Not implemented yet.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_linux_number_is_listed() {
        for (nr, entry) in TABLE.iter().enumerate() {
            let gap = (336..424).contains(&nr);
            assert_eq!(entry.level == Level::Gap, gap, "number {nr}");
            assert!(gap || entry.note.ends_with('.'), "{} has no sentence", entry.name);
        }
        assert_eq!((TABLE[0].name, TABLE[39].name, TABLE[462].name), ("read", "getpid", "mseal"));
    }

    #[test]
    fn absent_calls_give_enosys() {
        let mut regs = UserRegs { orig_rax: 175, ..UserRegs::default() };
        crate::syscall::dispatch(&mut regs);
        assert_eq!(regs.rax as i64, -38);
        let mut x32 = UserRegs { orig_rax: 0x4000_0000 + 39, ..UserRegs::default() };
        crate::syscall::dispatch(&mut x32);
        assert_eq!(x32.rax as i64, -38);
    }
}
