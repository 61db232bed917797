//! Memory after fork; stacks; what `/proc` says of memory.

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ};

use crate::{
    Case, case,
    memory::{
        ANON, PAGE, RW, anon, fine, in_child, limit, map, outcome, peek, poke, proc_kb, put, room, shape,
        shared,
    },
    sys::{self, call},
};

fn firsts(base: i64, pages: i64) -> String {
    (0..pages).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" ")
}

/// Fields of a line of smaps that do not depend on timing.
fn smaps(base: i64) -> String {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let start = format!("{base:x}-");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&start));
    let head = lines.next().and_then(|line| line.split_whitespace().nth(1)).unwrap_or("none").to_owned();
    let wanted = ["Size", "Rss", "Anonymous", "KernelPageSize", "MMUPageSize", "Swap", "Locked", "VmFlags"];
    let fields = lines
        .take_while(|line| line.split_whitespace().next().is_some_and(|word| word.ends_with(':')))
        .filter(|line| wanted.contains(&line.split(':').next().unwrap_or_default()))
        .map(|line| line.split_whitespace().filter(|word| *word != "sd").collect::<Vec<_>>().join(" "));
    format!("{head} {}", fields.collect::<Vec<_>>().join(" | "))
}

/// Uses about so many bytes of stack.
#[inline(never)]
fn deep(bytes: usize) -> u8 {
    let mut block = [0u8; 4096];
    std::hint::black_box(&mut block);
    let below = if bytes > 4096 { deep(bytes - 4096) } else { 1 };
    std::hint::black_box(&mut block)[0].wrapping_add(below)
}

pub(crate) const CASES: &[Case] = &[
    case("memory/fork-copies", &["clone"], |out| {
        let base = anon(3);
        (0..3).for_each(|page| poke(base + page * PAGE, 1));
        let (from, to) = sys::pipe();
        let (ready, set) = sys::pipe();
        let child = sys::fork(|| {
            poke(base, 2);
            sys::write(set, &[0]);
            sys::read(from, &mut [0]);
            // What the parent wrote meanwhile is not seen.
            i32::from(peek(base)) * 16 + i32::from(peek(base + PAGE))
        });
        sys::read(ready, &mut [0]);
        out.say(firsts(base, 3));
        poke(base + PAGE, 3);
        poke(base + 2 * PAGE, 3);
        sys::write(to, &[0]);
        out.say(sys::status(sys::wait(child)));
        out.say(firsts(base, 3));
    }),
    case("memory/fork-generations", &["clone"], |out| {
        let base = anon(4);
        poke(base, 1);
        in_child(out, |out| {
            poke(base + PAGE, 2);
            in_child(out, |out| {
                poke(base, 10);
                poke(base + 2 * PAGE, 3);
                in_child(out, |out| {
                    poke(base + PAGE, 20);
                    out.say(format_args!("great-grandchild {}", firsts(base, 4)));
                });
                out.say(format_args!("grandchild {}", firsts(base, 4)));
            });
            out.say(format_args!("child {}", firsts(base, 4)));
        });
        out.say(format_args!("parent {}", firsts(base, 4)));
    }),
    case("memory/fork-many", &["clone"], |out| {
        let base = anon(2);
        poke(base, 5);
        let children: Vec<i32> = (0..8)
            .map(|index| {
                sys::fork(|| {
                    poke(base, peek(base) + index);
                    peek(base).into()
                })
            })
            .collect();
        for child in children {
            out.say(sys::status(sys::wait(child)));
        }
        out.say(peek(base));
    }),
    case("memory/fork-parent-writes-after-child-ends", &["clone"], |out| {
        let base = anon(1);
        poke(base, 1);
        in_child(out, |_| poke(base, 2));
        poke(base, peek(base) + 10);
        in_child(out, |out| out.say(peek(base)));
        out.say(peek(base));
    }),
    case("memory/fork-zero-page", &["clone"], |out| {
        let base = anon(2);
        out.say(peek(base));
        in_child(out, |out| {
            poke(base, 1);
            out.say(firsts(base, 2));
        });
        out.say(firsts(base, 2));
        poke(base, 3);
        out.say(peek(anon(1)));
    }),
    case("memory/fork-kernel-writes", &["clone", "read"], |out| {
        // The kernel's own writes to shared pages make copies, too.
        let base = anon(2);
        poke(base, 1);
        let (from, to) = sys::pipe();
        sys::write(to, b"abcd");
        in_child(out, |out| {
            out.ret("read", call!(SYS_read, from, base, 4));
            out.say(peek(base));
        });
        out.say(peek(base));
    }),
    case("memory/fork-shared-and-private", &["clone", "mmap"], |out| {
        let (private, common) = (anon(1), shared(1));
        poke(private, 1);
        in_child(out, |out| {
            poke(private, 2);
            poke(common, 3);
            in_child(out, |_| {
                poke(private, 4);
                poke(common + 1, 5);
            });
            out.say(format_args!("{} {} {}", peek(private), peek(common), peek(common + 1)));
        });
        out.say(format_args!("{} {} {}", peek(private), peek(common), peek(common + 1)));
    }),
    case("memory/vfork-shares", &["clone"], |out| {
        let base = anon(1);
        poke(base, 1);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let stack = anon(16) + 16 * PAGE;
        // SAFETY: the child has a stack of its own and only writes to its argument.
        let child = unsafe {
            extern "C" fn body(base: *mut libc::c_void) -> i32 {
                poke(base as i64, 42);
                0
            }
            libc::clone(body, stack as *mut libc::c_void, flags, base as *mut libc::c_void)
        };
        out.say(sys::status(sys::wait(child)));
        out.say(peek(base));
    }),
    case("memory/stack-grows", &["prlimit64"], |out| {
        out.say(outcome(0, || deep(1 << 20).into()));
        out.say(outcome(0, || deep(6 << 20).into()));
    }),
    case("memory/stack-limit", &["prlimit64"], |out| {
        out.ret("limit", limit(libc::RLIMIT_STACK, 1 << 20));
        out.say(outcome(0, || deep(512 << 10).into()));
        let end = outcome(0, || deep(2 << 20).into());
        out.say(end.split(" at").next().unwrap_or_default());
        out.ret("raise", limit(libc::RLIMIT_STACK, 8 << 20));
        out.say(outcome(0, || deep(2 << 20).into()));
    }),
    case("memory/stack-without-end", &["sigaltstack"], |out| {
        // Without an alternate stack there is no handler: the signal kills.
        let child = sys::fork(|| {
            // SAFETY: the default action needs no handler.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
            deep(64 << 20).into()
        });
        out.say(sys::status(sys::wait(child) & !0x80));
    }),
    case("memory/stack-far-access", &["mmap"], |out| {
        // Far below the stack pointer is still the stack, within the limit.
        let local = 0u8;
        let here = (&raw const local) as i64;
        out.say(outcome(here, || peek(here - (4 << 20)).into()));
        let end = outcome(here, || peek(here - (20 << 20)).into());
        out.say(end.split(" at").next().unwrap_or_default());
    }),
    case("memory/stack-area", &["prlimit64"], |out| {
        let local = 0u8;
        let here = (&raw const local) as i64;
        let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let line = text.lines().find(|line| line.ends_with("[stack]")).unwrap_or_default();
        let fields: Vec<&str> = line.split_whitespace().collect();
        out.say(fields[1..].join(" "));
        let (low, high) = fields[0].split_once('-').unwrap_or_default();
        let number = |text| i64::from_str_radix(text, 16).unwrap_or_default();
        out.say((number(low)..number(high)).contains(&here));
    }),
    case("memory/maps-rights", &["mmap"], |out| {
        let base = room(10);
        put(base, 1, PROT_NONE);
        put(base + PAGE, 1, PROT_READ);
        put(base + 2 * PAGE, 1, RW);
        put(base + 3 * PAGE, 1, PROT_READ | PROT_EXEC);
        put(base + 4 * PAGE, 1, PROT_EXEC);
        put(base + 5 * PAGE, 1, libc::PROT_WRITE);
        fine(map(base + 6 * PAGE, 1, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        fine(map(base + 7 * PAGE, 1, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        out.say(shape(base, 10));
        let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for page in [0, 2, 6] {
            let start = format!("{:x}-", base + page * PAGE);
            let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let rest = if page == 6 { words[5..].join(" ") } else { words[1..].join(" ") };
            out.say(format_args!("{rest} line of {}", line.len() - words[0].len()));
        }
    }),
    case("memory/maps-program", &["execve"], |out| {
        let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let names: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let name = *words.get(5)?;
                (name != "[vvar]" && name != "[vdso]" && name != "[vvar_vclock]")
                    .then(|| format!("{} {}", words[1], name.rsplit('/').next().unwrap_or(name)))
            })
            .collect();
        out.say(names.join("\n"));
        let starts: Vec<i64> = text
            .lines()
            .filter_map(|line| i64::from_str_radix(line.split('-').next()?, 16).ok())
            .filter(|&start| start > 0)
            .collect();
        out.say(starts.is_sorted());
    }),
    case("memory/smaps", &["mmap"], |out| {
        let base = room(8);
        put(base, 4, RW);
        poke(base, 1);
        poke(base + 2 * PAGE, 1);
        out.say(smaps(base));
        put(base + 5 * PAGE, 2, PROT_READ);
        peek(base + 5 * PAGE);
        out.say(smaps(base + 5 * PAGE).split(" | VmFlags").next().unwrap_or_default().to_owned());
        call!(SYS_mlock, base, 4 * PAGE);
        out.say(smaps(base));
        call!(SYS_munlock, base, 4 * PAGE);
        call!(SYS_madvise, base, 4 * PAGE, libc::MADV_DONTFORK);
        out.say(smaps(base));
        call!(SYS_madvise, base, 4 * PAGE, libc::MADV_DOFORK);
        call!(SYS_madvise, base, 4 * PAGE, libc::MADV_WIPEONFORK);
        out.say(smaps(base));
        let fd = crate::memory::file("f", 2);
        fine(map(base, 2, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
        out.say(smaps(base).split(" | ").next().unwrap_or_default().to_owned());
    }),
    case("memory/smaps-rollup", &["mmap"], |out| {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        out.say(
            text.lines().next().unwrap_or_default().split_whitespace().skip(1).collect::<Vec<_>>().join(" "),
        );
        let before = proc_kb("/proc/self/smaps_rollup", "Anonymous").unwrap_or(-1);
        let base = anon(200);
        (0..200).for_each(|page| poke(base + page * PAGE, 1));
        let after = proc_kb("/proc/self/smaps_rollup", "Anonymous").unwrap_or(-1);
        out.say((790..1000).contains(&(after - before)));
    }),
    case("memory/status-sizes", &["mmap"], |out| {
        let field = |name| proc_kb("/proc/self/status", name).unwrap_or(-1);
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(':').next())
            .filter(|name| name.starts_with("Vm"))
            .collect();
        out.say(names.join(" "));
        let before = ["VmSize", "VmData", "VmRSS"].map(field);
        let base = anon(500);
        let mapped = ["VmSize", "VmData", "VmRSS"].map(field);
        out.say(format_args!("size {} data {}", mapped[0] - before[0], mapped[1] - before[1]));
        (0..500).for_each(|page| poke(base + page * PAGE, 1));
        let touched = field("VmRSS");
        out.say((1400..2600).contains(&(touched - mapped[2])));
        call!(SYS_munmap, base, 500 * PAGE);
        out.say(format_args!("size {}", field("VmSize") - before[0]));
        let gone = field("VmRSS");
        out.say((1400..2600).contains(&(touched - gone)));
        out.say(field("VmPeak") - field("VmSize") >= 1900 && field("VmHWM") - gone >= 1400);
        out.say(format_args!("read-only {}", {
            let before = field("VmData");
            fine(map(0, 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
            field("VmData") - before
        }));
    }),
    case("memory/statm", &["mmap"], |out| {
        let statm = || -> Vec<i64> {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let before = statm();
        out.say(before.len());
        let base = shared(1000);
        (0..1000).for_each(|page| poke(base + page * PAGE, 1));
        let after = statm();
        out.say(format_args!("size {}", after[0] - before[0]));
        out.say((800..1200).contains(&(after[1] - before[1])));
        out.say((800..1200).contains(&(after[2] - before[2])));
        out.say(format_args!(
            "text {} data {} zero {} {}",
            after[3] > 0,
            after[5] - before[5],
            after[4],
            after[6]
        ));
        anon(64);
        out.say(format_args!("data {}", statm()[5] - after[5]));
    }),
    case("memory/stat-addresses", &["brk"], |out| {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let rest = text.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> =
            rest.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
        // Field N of proc(5) is at N - 4.
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
        let code = crate::sys::raw as *const () as u64;
        let data = crate::main as *const () as u64;
        let local = 0u8;
        let here = (&raw const local) as u64;
        out.say(field(23).is_multiple_of(4096) && field(23) > 0 && field(24) > 0);
        out.say(format_args!("code {}", (field(26)..field(27)).contains(&code)));
        out.say(format_args!("code {}", (field(26)..field(27)).contains(&data)));
        out.say(format_args!("stack {}", here < field(28) && field(28) - here < 8 << 20));
        out.say(format_args!("data {}", field(45) < field(46) && field(45) > field(26)));
        let end = call!(SYS_brk, 0) as u64;
        out.say(format_args!("heap {}", field(47) > field(46) && field(47) <= end));
        out.say(format_args!(
            "arguments {}",
            field(48) < field(49) && field(49) == field(50) && field(50) < field(51)
        ));
        out.say(format_args!("above the stack {}", field(48) > field(28)));
    }),
    case("memory/exec-starts-afresh", &["execve", "mlockall"], |out| {
        let fd = out.fd();
        call!(SYS_mlockall, 2);
        let base = anon(1);
        poke(base, 1);
        let child = sys::fork(|| {
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["words", "x"]) as i32
        });
        out.say(sys::status(sys::wait(child)));
        call!(SYS_munlockall);
        out.say(peek(base));
        fine(map(0, 1, RW, ANON, -1, 0));
    }),
];
