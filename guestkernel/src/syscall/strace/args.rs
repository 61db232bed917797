//! Arguments by their kind.

use super::{
    super::table::{Entry, Kind},
    call::{Call, Quote},
    control, events,
    names::{self, Names},
    out, process, signals, structs,
};
use crate::arch::uaccess;

/// Prints the arguments that are known when a call begins; gives the index of the first that is not.
pub(super) fn begin(call: &mut Call, entry: Option<&Entry>) -> usize {
    let Some(entry) = entry else {
        let nr = call.nr;
        out!(call, "syscall_{nr:#x}(");
        for index in 0..6 {
            call.push(if index == 0 { "" } else { ", " });
            call.hex(call.args[index]);
        }
        return 0;
    };
    call.push(entry.name);
    call.push("(");
    for (index, kind) in entry.args.iter().enumerate() {
        if is_late(*kind, call) {
            return index;
        }
        argument(call, *kind, index);
        separate(call, entry, index);
    }
    entry.args.len()
}

/// Prints the others.
pub(super) fn end(call: &mut Call, entry: Option<&Entry>, first: usize) {
    let Some(entry) = entry else { return };
    for index in first..entry.args.len() {
        argument(call, entry.args[index], index);
        separate(call, entry, index);
    }
    match call.nr {
        7 => events::found(call, 0),
        271 => events::found(call, call.args[2]),
        23 | 270 => events::selected(call),
        _ => {}
    }
}

fn separate(call: &mut Call, entry: &Entry, index: usize) {
    if entry.args.get(index + 1).is_some_and(|next| !is_tail(*next)) {
        call.push(", ");
    }
}

/// Whether the kind prints what stands before it, or nothing at all.
const fn is_tail(kind: Kind) -> bool {
    use Kind::{Clone3Rest, CloneRest, DeviceIf, FcntlRest, FutexRest, ModeIf, MoveTo, PrctlRest};
    matches!(kind, Clone3Rest | CloneRest | DeviceIf | FcntlRest | FutexRest | ModeIf | MoveTo | PrctlRest)
}

/// Whether the argument is known only when the call has ended.
const fn is_late(kind: Kind, call: &Call) -> bool {
    use Kind::{
        Clone3Rest, CloneRest, FcntlRest, IoctlArg, OutAction, OutBytes, OutCpus, OutEntries, OutEntries64,
        OutEpoll, OutFds, OutFileSystem, OutGroups, OutInfo, OutInt, OutInterval, OutIovec, OutLimit,
        OutNames, OutPath, OutRandom, OutRest, OutSet, OutSigStack, OutStat, OutStatus, OutStatx, OutSystem,
        OutTicks, OutTimespec, OutTimeval, OutUsage, OutWaitUsage, PrctlRest,
    };
    match kind {
        FcntlRest => control::fcntl_stores(call.args[1]),
        IoctlArg => control::ioctl_stores(call.args[1]),
        PrctlRest => control::prctl_stores(call.args[0]),
        Clone3Rest | CloneRest | OutAction | OutBytes | OutCpus | OutEntries | OutEntries64 | OutEpoll
        | OutFds | OutFileSystem | OutGroups | OutInfo | OutInt | OutInterval | OutIovec | OutLimit
        | OutNames | OutPath | OutRandom | OutRest | OutSet | OutSigStack | OutStat | OutStatus
        | OutStatx | OutSystem | OutTicks | OutTimespec | OutTimeval | OutUsage | OutWaitUsage => true,
        _ => false,
    }
}

/// A kind whose values have names.
const fn constants(kind: Kind) -> Option<&'static Names> {
    Some(match kind {
        Kind::Advice => &names::ADVICE,
        Kind::ArchPrctl => &names::ARCH_PRCTL,
        Kind::Clock => &names::CLOCKS,
        Kind::EpollOp => &names::EPOLL_OPS,
        Kind::Fcntl => &names::FCNTL,
        Kind::FileAdvice => &names::FILE_ADVICE,
        Kind::IdType => &names::IDS,
        Kind::Itimer => &names::ITIMERS,
        Kind::Policy => &names::POLICIES,
        Kind::Prctl => &names::PRCTL,
        Kind::Priority => &names::PRIORITIES,
        Kind::Resource => &names::RESOURCES,
        Kind::SigHow => &names::SIG_HOW,
        Kind::Usage => &names::RUSAGE,
        Kind::Whence => &names::WHENCE,
        _ => return None,
    })
}

/// A kind whose bits have names.
const fn flags(kind: Kind) -> Option<&'static Names> {
    Some(match kind {
        Kind::Access => &names::ACCESS,
        Kind::AtAccess => &names::AT_ACCESS,
        Kind::AtFlags => &names::AT_FLAGS,
        Kind::CloneFlags => &names::CLONE_FLAGS,
        Kind::CloseRange => &names::CLOSE_RANGE,
        Kind::EpollFlags => &names::EPOLL_CREATE,
        Kind::EventFlags => &names::EVENTFD,
        Kind::Fallocate => &names::FALLOCATE,
        Kind::FdFlags => &names::FILE_FLAGS,
        Kind::Flock => &names::FLOCK,
        Kind::MFlags => &names::MAP_FLAGS,
        Kind::LockAll => &names::MLOCKALL,
        Kind::Prot => &names::PROT,
        Kind::Random => &names::GETRANDOM,
        Kind::Remap => &names::MREMAP,
        Kind::Rename => &names::RENAME,
        Kind::RwFlags => &names::RW_FLAGS,
        Kind::StatxMask => &names::STATX_MASK,
        Kind::Sync => &names::MSYNC,
        Kind::TimerFlags => &names::TIMER,
        Kind::Wait => &names::WAIT,
        _ => return None,
    })
}

/// Prints an argument.
pub(super) fn argument(call: &mut Call, kind: Kind, index: usize) {
    let value = call.args.get(index).copied().unwrap_or(0);
    let next = call.args.get(index + 1).copied().unwrap_or(0);
    let int = value as i32;
    if let Some(names) = constants(kind) {
        return call.one_of(value & 0xffff_ffff, names);
    }
    if let Some(names) = flags(kind) {
        return call.bits(value & 0xffff_ffff, names);
    }
    match kind {
        Kind::Int | Kind::Fd => out!(call, "{int}"),
        Kind::Uint => out!(call, "{}", value as u32),
        Kind::Long => out!(call, "{}", value.cast_signed()),
        Kind::Size => out!(call, "{value}"),
        Kind::Hex => call.hex(value),
        Kind::DirFd if int == -100 => call.push("AT_FDCWD"),
        Kind::DirFd => out!(call, "{int}"),
        Kind::Path => call.path(value),
        Kind::Bytes => call.bytes(value, next, Quote::Text),
        Kind::Argv => process::argv(call, value),
        Kind::Envp => process::environment(call, value),
        Kind::Mode => structs::permissions(call, value as u32),
        Kind::FileMode => structs::file_mode(call, value as u32),
        Kind::OFlags => control::open_flags(call, value),
        Kind::ModeIf if call.args[index - 1] & 0x40_0040 != 0 => {
            call.push(", ");
            structs::permissions(call, value as u32);
        }
        Kind::DeviceIf if matches!(call.args[index - 1] & 0o170_000, 0o020_000 | 0o060_000) => {
            call.push(", ");
            structs::device(call, value);
        }
        Kind::MoveTo if call.args[index - 1] & 6 != 0 => {
            call.push(", ");
            call.addr(value);
        }
        Kind::Ioctl => control::ioctl(call, value),
        Kind::IoctlArg => control::ioctl_argument(call, value),
        Kind::FcntlRest => control::fcntl(call),
        Kind::PrctlRest => control::prctl(call),
        Kind::FutexOp => control::futex_op(call, value),
        Kind::FutexRest => control::futex(call),
        Kind::Clone => process::clone(call),
        Kind::CloneRest => process::clone_rest(call),
        Kind::Clone3 => process::clone3(call),
        Kind::Clone3Rest => process::clone3_rest(call),
        Kind::StatxFlags => {
            call.one_of(value & 0x6000, &names::STATX_SYNC);
            if value & 0xffff_9fff != 0 {
                call.push("|");
                call.bits(value & 0xffff_9fff, &names::AT_FLAGS);
            }
        }
        Kind::ModeIf | Kind::DeviceIf | Kind::MoveTo => {}
        _ => pointed_at(call, kind, value, next),
    }
}

/// A structure or array that is read from user memory.
fn pointed_at(call: &mut Call, kind: Kind, value: u64, next: u64) {
    match kind {
        Kind::Sig => signals::name(call, value as i32),
        Kind::SigSet => signals::set(call, value),
        Kind::Action => call.value(value, signals::action),
        Kind::OutAction => call.stored(value, signals::action),
        Kind::SigStack => call.value(value, signals::stack),
        Kind::OutSigStack => call.stored(value, signals::stack),
        Kind::SigInfo => call.value(value, signals::info),
        Kind::OutInfo => call.stored(value, signals::info),
        Kind::OutSet => call.stored(value, |call, set: &u64| signals::bits(call, *set)),
        Kind::SetOfReturn => {
            call.push("{mask=");
            signals::set(call, value);
            call.push("}");
        }
        Kind::Timespec => timed(call, value, "tv_nsec"),
        Kind::Timeval => timed(call, value, "tv_usec"),
        Kind::OutTimespec => call.stored(value, |call, time: &[i64; 2]| structs::time(call, time, "tv_nsec")),
        Kind::OutTimeval => call.stored(value, |call, time: &[i64; 2]| structs::time(call, time, "tv_usec")),
        // What was left, which only an interrupted call says.
        Kind::OutRest if call.ret.is_some_and(|ret| (-516..-511).contains(&ret)) => {
            timed(call, value, "tv_nsec")
        }
        Kind::FileTimes => {
            call.value(value, |call, times: &[i64; 4]| structs::file_times(call, times, "tv_nsec"))
        }
        Kind::FileTimevals => {
            call.value(value, |call, times: &[i64; 4]| structs::file_times(call, times, "tv_usec"));
        }
        Kind::Interval => call.value(value, structs::interval),
        Kind::OutInterval => call.stored(value, structs::interval),
        Kind::Limit => call.value(value, structs::limit),
        Kind::OutLimit => call.stored(value, structs::limit),
        Kind::PollFds => events::wanted(call, value, next),
        Kind::FdSet => events::descriptors(call, value),
        Kind::SelectMask => events::select_mask(call, value),
        Kind::EpollEvent => events::epoll_event(call, value),
        Kind::OutEpoll => events::epoll_found(call, value),
        Kind::Iovec => structs::vectors(call, value, next, u64::MAX),
        Kind::OutIovec => match call.ret {
            Some(count @ 0..) => structs::vectors(call, value, next, count as u64),
            _ => call.addr(value),
        },
        Kind::OutBytes => match call.ret {
            Some(count @ 0..) => call.bytes(value, count as u64, Quote::Text),
            _ => call.addr(value),
        },
        Kind::OutRandom => control::random(call, value),
        Kind::OutPath if !call.failed() => call.path(value),
        Kind::OutFds => call.stored(value, |call, [one, other]: &[i32; 2]| out!(call, "[{one}, {other}]")),
        Kind::OutInt => call.stored(value, |call, number: &i32| out!(call, "[{number}]")),
        Kind::InInt => call.value(value, |call, number: &i32| out!(call, "[{number}]")),
        Kind::InLong => call.value(value, |call, number: &i64| out!(call, "[{number}]")),
        Kind::Groups => groups(call, value, call.args[0]),
        Kind::OutGroups => match call.ret {
            Some(count @ 0..) if call.args[0] != 0 => groups(call, value, count as u64),
            _ => call.addr(value),
        },
        Kind::Cpus => cpus(call, value, call.args[1]),
        Kind::OutCpus => match call.ret {
            Some(size @ 1..) => cpus(call, value, size as u64),
            _ => call.addr(value),
        },
        Kind::OutStat => structs::file(call, value),
        Kind::OutStatx => structs::file_extended(call, value),
        Kind::OutFileSystem => structs::file_system(call, value),
        Kind::OutEntries | Kind::OutEntries64 => structs::entries(call, value, 16),
        Kind::OutStatus => process::status(call, value),
        Kind::OutUsage => structs::usage(call, value),
        Kind::OutWaitUsage => process::waited_usage(call, value),
        Kind::OutNames => structs::names(call, value),
        Kind::OutSystem => structs::system(call, value),
        Kind::OutTicks => structs::ticks(call, value),
        _ => call.addr(value),
    }
}

fn timed(call: &mut Call, addr: u64, part: &str) {
    call.value(addr, |call, time: &[i64; 2]| structs::time(call, time, part));
}

fn groups(call: &mut Call, addr: u64, count: u64) {
    call.array(addr, count, |call, group: &u32| out!(call, "{group}"));
}

fn cpus(call: &mut Call, addr: u64, size: u64) {
    let mut bytes = [0u8; 128];
    let count = (size as usize).min(bytes.len());
    if addr == 0 || uaccess::copy_from_user(&mut bytes[..count], addr).is_err() {
        return call.addr(addr);
    }
    call.push("[");
    let mut space = "";
    for cpu in (0..count * 8).filter(|cpu| bytes[cpu / 8] >> (cpu % 8) & 1 != 0) {
        out!(call, "{space}{cpu}");
        space = " ";
    }
    call.push("]");
}
