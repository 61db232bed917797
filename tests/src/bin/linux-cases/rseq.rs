//! Restartable sequences.
#![allow(unsafe_code, reason = "critical sections are assembly")]

use std::{arch::asm, cell::UnsafeCell};

use crate::{
    Case, case,
    sys::{self, call},
};

const SIGNATURE: u32 = 0x5305_3053;
const UNREGISTER: i32 = 1;

/// `struct rseq`, with room.
#[repr(C, align(32))]
struct Area {
    cpu_id_start: u32,
    cpu_id: u32,
    section: u64,
    flags: u32,
    node_id: u32,
    mm_cid: u32,
    rest: [u32; 9],
}

/// An area that the kernel writes.
struct Shared(Box<UnsafeCell<Area>>);

impl Shared {
    fn new() -> Self {
        Self(Box::new(UnsafeCell::new(Area {
            cpu_id_start: 77,
            cpu_id: 78,
            section: 0,
            flags: 0,
            node_id: 79,
            mm_cid: 80,
            rest: [7; 9],
        })))
    }

    fn addr(&self) -> u64 {
        self.0.get() as u64
    }

    fn word(&self, index: usize) -> u32 {
        // SAFETY: within the area; the kernel changes it only while this thread is not in this line.
        unsafe { self.0.get().cast::<u32>().add(index).read_volatile() }
    }

    fn set_section(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.get().cast::<u64>().add(1).write_volatile(value) };
    }
}

/// `struct rseq_cs`.
#[repr(C, align(32))]
struct Section {
    version: u32,
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
}

fn rseq(area: u64, len: u32, flags: i32, signature: u32) -> i64 {
    call!(SYS_rseq, area, len, flags, signature)
}

/// A thread of a fresh process has no area: the C library registered the one of ours.
fn in_child(out: &mut crate::Out, body: impl FnOnce(&mut crate::Out, &Shared)) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        drop_own();
        body(&mut crate::Out::new(fd), &Shared::new());
        0
    });
    out.say(sys::status(sys::wait(pid) & !0x80));
}

/// Unregisters what the C library registered.
fn drop_own() {
    // SAFETY: variables of the C library that say where its area lies from the thread pointer on.
    unsafe extern "C" {
        #[link_name = "__rseq_offset"]
        static OFFSET: isize;
        #[link_name = "__rseq_size"]
        static SIZE: u32;
    }
    // SAFETY: plain numbers; reading the thread pointer.
    let area = unsafe {
        if SIZE == 0 {
            return;
        }
        let thread: u64;
        asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly));
        thread.wrapping_add_signed(OFFSET as i64)
    };
    for len in [32, 28, 64] {
        if rseq(area, len, UNREGISTER, SIGNATURE) == 0 {
            return;
        }
    }
}

/// Spins in a critical section until it is left: `true` when that was by its abort. `before` runs with the
/// section set.
#[inline(never)]
fn spin(area: &Shared, flags: u32, rounds: u64) -> bool {
    let mut section = Section { version: 0, flags, start: 0, len: 0, abort: 0 };
    let aborted: u64;
    // SAFETY: the section changes nothing but registers; its abort comes back here.
    unsafe {
        asm!(
            "lea {t}, [rip + 20f]",
            "mov [{cs} + 8], {t}",
            "lea {u}, [rip + 30f]",
            "sub {u}, {t}",
            "mov [{cs} + 16], {u}",
            "lea {t}, [rip + 40f]",
            "mov [{cs} + 24], {t}",
            "mov [{area} + 8], {cs}",
            "20:",
            "dec {rounds}",
            "jnz 20b",
            "30:",
            "xor {result:e}, {result:e}",
            "jmp 50f",
            ".long 0x53053053",
            "40:",
            "mov {result:e}, 1",
            "50:",
            t = out(reg) _,
            u = out(reg) _,
            cs = in(reg) &raw mut section,
            area = in(reg) area.addr(),
            rounds = inout(reg) rounds => _,
            result = out(reg) aborted,
        );
    }
    // The description goes away with this frame.
    area.set_section(0);
    aborted != 0
}

/// Arms a timer that sends `SIGALRM` soon, and again: the first may come before the section.
fn alarm_soon() {
    let time: [i64; 4] = [0, 20_000, 0, 20_000];
    call!(SYS_setitimer, libc::ITIMER_REAL, time.as_ptr(), 0);
}

extern "C" fn handler(_: i32) {}

fn catch_alarm() {
    // SAFETY: a handler that does nothing.
    unsafe { libc::signal(libc::SIGALRM, handler as *const () as usize) };
}

pub(crate) const CASES: &[Case] = &[
    case("rseq/auxv", &["rseq", "execve"], |out| {
        out.say(format_args!("{:?} {:?}", crate::vdso::auxv(27), crate::vdso::auxv(28)));
    }),
    case("rseq/the-c-library-uses-it", &["rseq"], |out| {
        // SAFETY: as in `drop_own`.
        unsafe extern "C" {
            #[link_name = "__rseq_size"]
            static SIZE: u32;
        }
        // SAFETY: a number.
        out.say(format_args!("{}", unsafe { SIZE }));
        // SAFETY: asks for the CPU.
        out.say(format_args!("{}", unsafe { libc::sched_getcpu() } >= 0));
    }),
    case("rseq/register", &["rseq"], |out| {
        in_child(out, |out, area| {
            out.ret("register", rseq(area.addr(), 32, 0, SIGNATURE));
            let cpu = area.word(1);
            out.say(format_args!("same {} real {} node {}", area.word(0) == cpu, cpu < 4096, area.word(5)));
            out.say(format_args!("id {} flags {} rest {}", area.word(6) < 4096, area.word(4), area.word(8)));
            out.ret("again", rseq(area.addr(), 32, 0, SIGNATURE));
            out.ret("another signature", rseq(area.addr(), 32, 0, 1));
            out.ret("another length", rseq(area.addr(), 64, 0, SIGNATURE));
            out.ret("another place", rseq(area.addr() + 32, 32, 0, SIGNATURE));
        });
    }),
    case("rseq/unregister", &["rseq"], |out| {
        in_child(out, |out, area| {
            out.ret("before", rseq(area.addr(), 32, UNREGISTER, SIGNATURE));
            out.ret("nothing", rseq(0, 32, UNREGISTER, SIGNATURE));
            out.ret("register", rseq(area.addr(), 32, 0, SIGNATURE));
            out.ret("another signature", rseq(area.addr(), 32, UNREGISTER, 1));
            out.ret("another length", rseq(area.addr(), 28, UNREGISTER, SIGNATURE));
            out.ret("another place", rseq(area.addr() + 32, 32, UNREGISTER, SIGNATURE));
            out.ret("more flags", rseq(area.addr(), 32, 3, SIGNATURE));
            out.ret("unregister", rseq(area.addr(), 32, UNREGISTER, SIGNATURE));
            out.say(format_args!("{} {} {} {}", area.word(0), area.word(1), area.word(5), area.word(6)));
            out.ret("once more", rseq(area.addr(), 32, UNREGISTER, SIGNATURE));
        });
    }),
    case("rseq/bad-arguments", &["rseq"], |out| {
        in_child(out, |out, area| {
            for len in [0, 16, 20, 27, 28, 31] {
                out.ret(&format!("length {len}"), rseq(area.addr(), len, 0, SIGNATURE));
            }
            out.ret("not aligned", rseq(area.addr() + 8, 32, 0, SIGNATURE));
            out.ret("not aligned, longer", rseq(area.addr() + 16, 48, 0, SIGNATURE));
            out.ret("unknown flags", rseq(area.addr(), 32, 2, SIGNATURE));
            out.ret("the kernel's memory", rseq(0xffff_8000_0000_0000, 32, 0, SIGNATURE));
            out.ret("longer", rseq(area.addr(), 33, 0, SIGNATURE));
            out.ret("and away", rseq(area.addr(), 33, UNREGISTER, SIGNATURE));
        });
    }),
    case("rseq/cpu-follows", &["rseq", "sched_setaffinity"], |out| {
        in_child(out, |out, area| {
            rseq(area.addr(), 32, 0, SIGNATURE);
            let mut all = [0u64; 16];
            call!(SYS_sched_getaffinity, 0, 128, all.as_mut_ptr());
            let mut wrong = 0;
            for cpu in (0..64u32).filter(|cpu| all[0] & 1 << cpu != 0) {
                let one = [1u64 << cpu];
                call!(SYS_sched_setaffinity, 0, 8, one.as_ptr());
                wrong += usize::from(area.word(1) != cpu || area.word(0) != cpu);
            }
            out.say(format_args!("{wrong} wrong"));
        });
    }),
    case("rseq/finished-section", &["rseq"], |out| {
        in_child(out, |out, area| {
            rseq(area.addr(), 32, 0, SIGNATURE);
            let aborted = (0..50).filter(|_| spin(area, 0, 3)).count();
            out.say(format_args!("mostly finished {}", aborted < 25));
        });
    }),
    case("rseq/abort-by-signal", &["rseq", "setitimer"], |out| {
        in_child(out, |out, area| {
            rseq(area.addr(), 32, 0, SIGNATURE);
            catch_alarm();
            alarm_soon();
            out.say(format_args!("aborted {}", spin(area, 0, u64::MAX)));
            // The area goes away with this function, the timer does not.
            rseq(area.addr(), 32, UNREGISTER, SIGNATURE);
        });
    }),
    case("rseq/abort-by-preemption", &["rseq"], |out| {
        in_child(out, |out, area| {
            let one = [1u64];
            call!(SYS_sched_setaffinity, 0, 8, one.as_ptr());
            let other = sys::fork(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            rseq(area.addr(), 32, 0, SIGNATURE);
            out.say(format_args!("aborted {}", spin(area, 0, u64::MAX)));
            call!(SYS_kill, other, libc::SIGKILL);
            sys::wait(other);
        });
    }),
    case("rseq/wrong-signature", &["rseq", "setitimer"], |out| {
        in_child(out, |out, area| {
            rseq(area.addr(), 32, 0, 0x1234_5678);
            catch_alarm();
            alarm_soon();
            out.say(format_args!("aborted {}", spin(area, 0, u64::MAX)));
        });
    }),
    case("rseq/bad-sections", &["rseq", "setitimer"], |out| {
        let code = handler as *const () as u64;
        let descriptions: [(&str, u32, u64, u64, u64); 6] = [
            ("version", 1, code, 16, code + 64),
            ("abort inside", 0, code, 256, code + 64),
            ("kernel start", 0, 1 << 63, 16, code + 64),
            ("kernel abort", 0, code, 16, 1 << 63),
            ("wraps", 0, code, u64::MAX, code + 64),
            ("abort unreadable", 0, code, 16, 4096),
        ];
        for (what, version, start, len, abort) in descriptions {
            out.say(what);
            in_child(out, |out, area| {
                rseq(area.addr(), 32, 0, SIGNATURE);
                let section = Section { version, flags: 0, start, len, abort };
                catch_alarm();
                area.set_section(&raw const section as u64);
                alarm_soon();
                (0..u32::MAX).for_each(|round| {
                    std::hint::black_box(round);
                });
                out.say("goes on");
            });
        }
        for pointer in [8u64, 1 << 63] {
            in_child(out, |out, area| {
                rseq(area.addr(), 32, 0, SIGNATURE);
                catch_alarm();
                area.set_section(pointer);
                alarm_soon();
                (0..u32::MAX).for_each(|round| {
                    std::hint::black_box(round);
                });
                out.say("goes on");
            });
        }
    }),
    case("rseq/fork-keeps-threads-do-not", &["rseq", "clone"], |out| {
        in_child(out, |out, area| {
            rseq(area.addr(), 32, 0, SIGNATURE);
            let fd = out.fd();
            let pid = sys::fork(|| {
                let mut out = crate::Out::new(fd);
                out.ret("in a fork", rseq(area.addr(), 32, 0, SIGNATURE));
                out.say(format_args!("{}", area.word(1) < 4096));
                0
            });
            sys::wait(pid);
            out.ret("here", rseq(area.addr(), 32, 0, SIGNATURE));
        });
    }),
    case("rseq/exec-forgets", &["rseq", "execve"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            drop_own();
            let area = Shared::new();
            rseq(area.addr(), 32, 0, SIGNATURE);
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["rseq"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
];

/// A fresh program: what the C library registered can be given back, and another area be registered.
pub(crate) fn child() -> i32 {
    drop_own();
    let area = Shared::new();
    println!("register {}", rseq(area.addr(), 32, 0, SIGNATURE));
    rseq(area.addr(), 32, UNREGISTER, SIGNATURE);
    0
}
