//! Signals that a program causes itself, and the stacks that handlers run on.

use std::sync::atomic::Ordering;

use crate::{
    Case, Out, case,
    signal::{USR1, child, count, me},
    signals::{self, Info, SIG_IGN, WORDS, describe},
    sys::{self, call},
};

pub(crate) const CASES: &[Case] = &[
    case("signal/faults", &["rt_sigaction"], |out| {
        #[allow(unsafe_code, reason = "the case makes faults")]
        let faults: [(&str, fn()); 6] = [
            // SAFETY: ends the child or reaches its handler.
            ("unmapped", || unsafe { core::arch::asm!("mov eax, [rcx]", in("rcx") 8u64, out("eax") _) }),
            // SAFETY: as above.
            ("write to text", || unsafe {
                core::arch::asm!("mov [rcx], eax", in("rcx") signals::note_address(), in("eax") 0)
            }),
            // SAFETY: as above.
            ("not canonical", || unsafe {
                core::arch::asm!("mov eax, [rcx]", in("rcx") 0x8000_0000_0000_0000u64, out("eax") _)
            }),
            // SAFETY: as above.
            ("bad instruction", || unsafe { core::arch::asm!("ud2") }),
            // SAFETY: as above.
            ("breakpoint", || unsafe { core::arch::asm!("int3") }),
            // SAFETY: as above.
            ("division", || unsafe {
                core::arch::asm!("div ecx", in("ecx") 0, inout("eax") 1 => _, inout("edx") 0 => _)
            }),
        ];
        for (what, fault) in faults {
            let (from, to) = sys::pipe();
            let pid = sys::fork(|| {
                for signo in [libc::SIGSEGV, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE, libc::SIGBUS] {
                    signals::action(signo, teller(to), libc::SA_SIGINFO as u64, 0);
                }
                fault();
                9
            });
            let mut info: Info = [0; 32];
            let mut bytes = [0u8; 24];
            sys::read(from, &mut bytes);
            for (word, bytes) in info.iter_mut().zip(bytes.chunks(4)) {
                *word = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            out.say(format_args!("{what}: {} address {}", describe(&info), info[4] != 0 || info[5] != 0));
            out.say(sys::status(sys::wait(pid)));
        }
    }),
    case("signal/forced-when-blocked-or-ignored", &["rt_sigprocmask"], |out| {
        let fault = || {
            #[allow(unsafe_code, reason = "the case makes faults")]
            // SAFETY: it ends the child.
            unsafe {
                core::arch::asm!("ud2");
            }
        };
        child(out, "blocked", |_| {
            signals::catch(libc::SIGILL, 0);
            signals::block(&[libc::SIGILL]);
            fault();
            0
        });
        child(out, "ignored", |_| {
            signals::action(libc::SIGILL, SIG_IGN, 0, 0);
            fault();
            0
        });
        child(out, "sent while blocked", |_| {
            signals::block(&[libc::SIGILL]);
            signals::kill(me(), libc::SIGILL);
            11
        });
    }),
    case("signal/altstack", &["sigaltstack"], |out| {
        let space = vec![0u8; 64 << 10];
        let base = space.as_ptr() as u64;
        let set = |base: u64, flags: u64, size: u64| call!(SYS_sigaltstack, [base, flags, size].as_ptr(), 0);
        let show = |out: &mut Out| {
            let mut old = [0u64; 3];
            out.ret("get", call!(SYS_sigaltstack, 0, old.as_mut_ptr()));
            out.say(format_args!("set {} flags {:x} size {}", old[0] != 0, old[1] as u32, old[2]));
        };
        show(out);
        for (flags, size) in
            [(0, 2047), (0, 2048), (1, 8192), (2, 0), (3, 8192), (4, 8192), (1 << 31, 8192), (1 << 31 | 2, 0)]
        {
            out.ret(&format!("flags {flags:x} size {size}"), set(base, flags, size));
            show(out);
        }
        out.ret("bad address", call!(SYS_sigaltstack, 8, 0));
        out.ret("bad address for the old", call!(SYS_sigaltstack, 0, 8));
        let _ = &WORDS;
    }),
    case("signal/altstack-unmapped", &["sigaltstack"], |out| {
        child(out, "unmapped", |_| {
            call!(SYS_sigaltstack, [0u64, 0, 1 << 20].as_ptr(), 0);
            signals::catch(USR1, libc::SA_ONSTACK as u64);
            signals::kill(me(), USR1);
            count()
        });
    }),
    case("signal/without-restorer", &["rt_sigaction"], |out| {
        child(out, "handler", |_| {
            let action = [signals::note_address(), 0, 0, 0];
            call!(SYS_rt_sigaction, USR1, action.as_ptr(), 0, 8);
            signals::kill(me(), USR1);
            0
        });
    }),
];

/// Where [`tell`] writes.
static TELL: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

/// A handler that writes the start of its information to `fd` and ends the process.
fn teller(fd: i32) -> u64 {
    extern "C" fn tell(_: i32, info: *const u8, _: u64) {
        call!(SYS_write, TELL.load(Ordering::SeqCst), info, 24);
        sys::exit(40);
    }
    TELL.store(fd, Ordering::SeqCst);
    tell as *const () as u64
}
