//! What cases of signals share: masks, handlers that note what they are given, waiting.
#![allow(dead_code, reason = "a tool box: not every family uses every tool")]
#![allow(unsafe_code, reason = "the cases try the kernel, wrong arguments included")]

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::{
    Out,
    sys::{self, call},
};

pub(crate) const SIG_DFL: u64 = 0;
pub(crate) const SIG_IGN: u64 = 1;
const RESTORER: u64 = 0x0400_0000;

/// The mask of these signals.
pub(crate) fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |mask, signo| mask | 1 << (signo - 1))
}

pub(crate) fn mask(how: i32, mask: u64) -> u64 {
    let mut old = 0u64;
    call!(SYS_rt_sigprocmask, how, &raw const mask, &raw mut old, 8);
    old
}

pub(crate) fn block(signals: &[i32]) -> u64 {
    mask(libc::SIG_BLOCK, set(signals))
}

pub(crate) fn unblock(signals: &[i32]) -> u64 {
    mask(libc::SIG_UNBLOCK, set(signals))
}

pub(crate) fn blocked() -> u64 {
    let mut old = 0u64;
    call!(SYS_rt_sigprocmask, 0, 0, &raw mut old, 8);
    old
}

pub(crate) fn pending() -> u64 {
    let mut set = 0u64;
    call!(SYS_rt_sigpending, &raw mut set, 8);
    set
}

/// `siginfo_t` as words.
pub(crate) type Info = [i32; 32];

/// Waits for one of the signals, at most so long; its number or an error.
pub(crate) fn wait(signals: &[i32], milliseconds: i64, info: &mut Info) -> i64 {
    let wanted = set(signals);
    let time = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    call!(SYS_rt_sigtimedwait, &raw const wanted, info.as_mut_ptr(), time.as_ptr(), 8)
}

/// What an information says, with process ids as relations.
pub(crate) fn describe(info: &Info) -> String {
    let code = match info[2] {
        0 => "SI_USER".into(),
        0x80 => "SI_KERNEL".into(),
        -1 => "SI_QUEUE".into(),
        -2 => "SI_TIMER".into(),
        -6 => "SI_TKILL".into(),
        other => format!("code {other}"),
    };
    format!("{} {code}", sys::signal_name(info[0]))
}

/// Whether it names this process as its sender, and with which user.
pub(crate) fn sender(info: &Info) -> String {
    let who = match info[4] {
        0 => "nobody",
        pid if pid == sys::getpid() => "self",
        pid if i64::from(pid) == call!(SYS_getppid) => "parent",
        _ => "another",
    };
    format!("from {who} uid {}", info[5])
}

/// Takes everything that waits of these signals and says what it was.
pub(crate) fn drain(out: &mut Out, signals: &[i32]) {
    let mut info: Info = [0; 32];
    while wait(signals, 0, &mut info) > 0 {
        out.say(format_args!("took {} value {}", describe(&info), info[6]));
    }
}

#[repr(C)]
pub(crate) struct Action {
    pub(crate) handler: u64,
    pub(crate) flags: u64,
    pub(crate) restorer: u64,
    pub(crate) mask: u64,
}

core::arch::global_asm!(".globl linux_cases_restore", "linux_cases_restore:", "mov eax, 15", "syscall",);

unsafe extern "C" {
    fn linux_cases_restore();
}

pub(crate) fn action(signo: i32, handler: u64, flags: u64, mask: u64) -> i64 {
    let restorer = linux_cases_restore as *const () as u64;
    let action = Action { handler, flags: flags | RESTORER, restorer, mask };
    call!(SYS_rt_sigaction, signo, &raw const action, 0, 8)
}

pub(crate) fn old_action(signo: i32) -> Action {
    let mut old = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    call!(SYS_rt_sigaction, signo, 0, &raw mut old, 8);
    old
}

/// How often a handler ran.
pub(crate) static COUNT: AtomicI32 = AtomicI32::new(0);
/// The signals that it was called for, a byte each, the last one lowest.
pub(crate) static ORDER: AtomicU64 = AtomicU64::new(0);
/// The mask that it ran with.
pub(crate) static MASK: AtomicU64 = AtomicU64::new(0);
/// `si_code` and three words of the last information.
pub(crate) static WORDS: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];

/// A handler that notes what it is given.
pub(crate) extern "C" fn note(signo: i32, info: *const Info, _context: u64) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    ORDER.store(ORDER.load(Ordering::SeqCst) << 8 | signo as u64, Ordering::SeqCst);
    MASK.store(blocked(), Ordering::SeqCst);
    // SAFETY: the kernel gives a `siginfo_t`.
    let info = unsafe { &*info };
    for (to, from) in WORDS.iter().zip(info) {
        to.store(*from, Ordering::SeqCst);
    }
}

pub(crate) fn note_address() -> u64 {
    note as *const () as u64
}

/// Notes this signal.
pub(crate) fn catch(signo: i32, flags: u64) -> i64 {
    action(signo, note_address(), flags | libc::SA_SIGINFO as u64, 0)
}

/// Runs so long on the CPU.
pub(crate) fn burn_ms(milliseconds: i64) {
    let mut time = [0i64; 2];
    let mut now = || {
        call!(SYS_clock_gettime, libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time[0] * 1000 + time[1] / 1_000_000
    };
    let end = now() + milliseconds;
    while now() < end {
        for _ in 0..20_000 {
            std::hint::spin_loop();
        }
    }
}

/// A raw thread, whose id comes back: it runs `body` on a stack of its own and exits.
pub(crate) fn thread(body: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(body)
}

pub(crate) fn kill(pid: i32, signo: i32) -> i64 {
    call!(SYS_kill, pid, signo)
}

/// A `siginfo_t` for the `*queueinfo` calls.
pub(crate) fn queued(signo: i32, code: i32, value: i32) -> Info {
    let mut info: Info = [0; 32];
    (info[0], info[2], info[4], info[5], info[6]) = (signo, code, sys::getpid(), 0, value);
    info
}

pub(crate) fn queue(pid: i32, signo: i32, value: i32) -> i64 {
    call!(SYS_rt_sigqueueinfo, pid, signo, queued(signo, -1, value).as_ptr())
}
