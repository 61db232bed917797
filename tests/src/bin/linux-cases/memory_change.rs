//! mremap(2), mprotect(2) and brk(2).

use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_PRIVATE, MAP_SHARED, MREMAP_DONTUNMAP, MREMAP_FIXED,
    MREMAP_MAYMOVE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};

use crate::{
    Case, case,
    memory::{
        ANON, PAGE, RW, Try, anon, attempt, file, fine, in_child, map, peek, place, poke, put, room, shape,
        shared,
    },
    sys::{self, call},
};

fn remap(addr: i64, old: i64, new: i64, flags: i32, target: i64) -> i64 {
    call!(SYS_mremap, addr, old * PAGE, new * PAGE, flags, target)
}

fn protect(addr: i64, pages: i64, prot: i32) -> i64 {
    call!(SYS_mprotect, addr, pages * PAGE, prot)
}

/// Pages filled with their numbers plus 1.
fn numbered(addr: i64, pages: i64) -> i64 {
    put(addr, pages, RW);
    (0..pages).for_each(|page| poke(addr + page * PAGE, page as u8 + 1));
    addr
}

pub(crate) const CASES: &[Case] = &[
    case("memory/mremap-errors", &["mremap"], |out| {
        let base = numbered(room(8), 4);
        out.ret("odd address", call!(SYS_mremap, base + 1, PAGE, PAGE, 0));
        out.ret("new length 0", remap(base, 1, 0, 0, 0));
        out.ret("unknown flag", remap(base, 1, 1, 8, 0));
        out.ret("unmapped", remap(base + 4 * PAGE, 1, 2, MREMAP_MAYMOVE, 0));
        out.ret("unmapped, same size", remap(base + 4 * PAGE, 1, 1, 0, 0));
        out.ret("unmapped, shrink", remap(base + 4 * PAGE, 2, 1, 0, 0));
        out.ret("beyond the area", remap(base + 2 * PAGE, 3, 4, MREMAP_MAYMOVE, 0));
        out.ret("private, old length 0", remap(base, 0, 1, MREMAP_MAYMOVE, 0));
        out.ret("FIXED alone", remap(base, 1, 1, MREMAP_FIXED, base + 5 * PAGE));
        out.ret("onto itself", remap(base, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, base + PAGE));
        out.ret("to an odd address", remap(base, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, base + 5 * PAGE + 3));
        out.ret("to 0", remap(base, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 0));
        out.ret("into the kernel", remap(base, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, -PAGE));
        out.ret("too long", call!(SYS_mremap, base, PAGE, 1i64 << 48, MREMAP_MAYMOVE));
        out.ret("overflow", call!(SYS_mremap, base, PAGE, -1i64, MREMAP_MAYMOVE));
        out.ret("DONTUNMAP alone", remap(base, 1, 1, MREMAP_DONTUNMAP, 0));
        out.ret("DONTUNMAP, other size", remap(base, 1, 2, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, 0));
        out.say(shape(base, 8));
    }),
    case("memory/mremap-in-place", &["mremap"], |out| {
        let base = numbered(room(16), 4);
        place(out, "same", remap(base, 4, 4, 0, 0), base);
        place(out, "shrink", remap(base, 4, 2, 0, 0), base);
        out.say(shape(base, 16));
        place(out, "grow", remap(base, 2, 6, 0, 0), base);
        out.say(format_args!("{} {} {}", peek(base + PAGE), peek(base + 2 * PAGE), peek(base + 5 * PAGE)));
        out.say(shape(base, 16));
        put(base + 8 * PAGE, 1, PROT_READ);
        out.ret("no room", remap(base, 6, 9, 0, 0));
        place(out, "up to the next", remap(base, 6, 8, 0, 0), base);
        out.ret("grow a part", remap(base, 2, 3, 0, 0));
        place(out, "shrink a part", remap(base, 4, 1, 0, 0), base);
        out.say(shape(base, 16));
        place(out, "odd lengths", call!(SYS_mremap, base, 10, 20, 0), base);
    }),
    case("memory/mremap-moves", &["mremap"], |out| {
        let base = numbered(room(16), 4);
        put(base + 4 * PAGE, 1, PROT_NONE);
        let to = remap(base, 4, 8, MREMAP_MAYMOVE, 0);
        out.say(format_args!("moved {}", to > 0 && to != base));
        out.say([0, 1, 2, 3, 4, 7].map(|page| peek(to + page * PAGE).to_string()).join(" "));
        attempt(out, "old place", base, Try::Read);
        out.say(shape(base, 16));
        out.say(shape(to, 8));
        poke(to + 7 * PAGE, 3);
        let middle = remap(to + 2 * PAGE, 2, 4, MREMAP_MAYMOVE, 0);
        out.say([0, 1, 2, 3].map(|page| peek(middle + page * PAGE).to_string()).join(" "));
        out.say(shape(to, 8));
    }),
    case("memory/mremap-fixed", &["mremap"], |out| {
        let base = numbered(room(16), 4);
        put(base + 8 * PAGE, 4, PROT_READ);
        let fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
        place(out, "over another", remap(base, 4, 4, fixed, base + 9 * PAGE), base);
        out.say(shape(base, 16));
        out.say(peek(base + 12 * PAGE));
        place(out, "smaller", remap(base + 9 * PAGE, 4, 2, fixed, base), base);
        out.say(shape(base, 16));
        out.say(format_args!("{} {}", peek(base), peek(base + PAGE)));
        place(out, "larger", remap(base, 2, 4, fixed, base + 4 * PAGE), base);
        out.say(format_args!(
            "{} {} {}",
            peek(base + 4 * PAGE),
            peek(base + 5 * PAGE),
            peek(base + 7 * PAGE)
        ));
        out.say(shape(base, 16));
    }),
    case("memory/mremap-dontunmap", &["mremap"], |out| {
        let base = numbered(room(8), 2);
        let to = remap(base, 2, 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
        out.say(format_args!("moved {}", to > 0 && to != base));
        if to > 0 {
            out.say(format_args!("{} {}", peek(to), peek(to + PAGE)));
        }
        out.say(format_args!("{} {}", peek(base), peek(base + PAGE)));
        out.say(shape(base, 8));
        poke(base, 9);
        let fixed = MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED;
        place(out, "fixed", remap(base, 1, 1, fixed, base + 5 * PAGE), base);
        out.say(format_args!("{} {}", peek(base), peek(base + 5 * PAGE)));
        let memory = shared(1);
        poke(memory, 4);
        let to = remap(memory, 1, 1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
        out.ok("shared", to);
        if to > 0 {
            out.say(format_args!("{} {}", peek(memory), peek(to)));
        }
    }),
    case("memory/mremap-shared-twice", &["mremap"], |out| {
        let base = shared(2);
        poke(base, 1);
        poke(base + PAGE, 2);
        let twin = remap(base, 0, 2, MREMAP_MAYMOVE, 0);
        out.say(format_args!("another place {}", twin > 0 && twin != base));
        out.say(format_args!("{} {}", peek(twin), peek(twin + PAGE)));
        poke(twin, 7);
        out.say(peek(base));
        let part = remap(base + PAGE, 0, 1, MREMAP_MAYMOVE, 0);
        out.say(peek(part));
        out.ret("not to be moved", remap(base, 0, 1, 0, 0));
        let longer = remap(base, 2, 4, MREMAP_MAYMOVE, 0);
        out.say(format_args!("{} {}", peek(longer), peek(longer + PAGE)));
        attempt(out, "beyond the object", longer + 2 * PAGE, Try::Read);
    }),
    case("memory/mremap-file", &["mremap"], |out| {
        let fd = file("f", 4);
        let base = room(8);
        fine(map(base, 2, RW, MAP_PRIVATE | MAP_FIXED, fd, 1));
        poke(base, 50);
        place(out, "grow", remap(base, 2, 3, 0, 0), base);
        out.say([0, 1, 2].map(|page| peek(base + page * PAGE).to_string()).join(" "));
        place(out, "beyond the file", remap(base, 3, 4, 0, 0), base);
        attempt(out, "there", base + 3 * PAGE, Try::Read);
        let to = remap(base + PAGE, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, base + 6 * PAGE);
        place(out, "move", to, base);
        out.say(format_args!("{} {}", peek(to), peek(to + PAGE)));
        out.say(shape(base, 8));
    }),
    case("memory/mremap-keeps-sharing", &["mremap", "clone"], |out| {
        let base = numbered(room(8), 2);
        in_child(out, |out| {
            let to = remap(base, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, base + 4 * PAGE);
            out.say(peek(to));
            poke(to, 9);
            out.say(peek(to));
        });
        out.say(peek(base));
    }),
    case("memory/mprotect-errors", &["mprotect"], |out| {
        let base = numbered(room(8), 2);
        put(base + 4 * PAGE, 2, RW);
        out.ret("odd address", call!(SYS_mprotect, base + 1, PAGE, RW));
        out.ret("length 0", protect(base, 0, PROT_NONE));
        out.ret("length 0, unmapped", protect(base + 2 * PAGE, 0, PROT_NONE));
        out.ret("unknown rights", protect(base, 1, 0x40));
        out.ret("unmapped", protect(base + 2 * PAGE, 1, RW));
        out.ret("across a hole", protect(base, 6, PROT_READ));
        out.say(shape(base, 8));
        out.ret("from a hole", protect(base + 3 * PAGE, 2, PROT_NONE));
        out.ret("overflow", call!(SYS_mprotect, base, -PAGE, RW));
        out.ret("overflow to 0", call!(SYS_mprotect, base, -base, RW));
        out.ret("in the kernel", call!(SYS_mprotect, -2 * PAGE, PAGE, RW));
        out.ret("odd length", call!(SYS_mprotect, base, 1, RW));
        out.say(shape(base, 8));
        out.ret("GROWSDOWN of what does not grow", protect(base, 1, RW | 0x0100_0000));
        out.ret("GROWSUP", protect(base, 1, RW | 0x0200_0000));
        out.ret("both", protect(base, 1, RW | 0x0300_0000));
        out.ret("PROT_SEM", protect(base, 1, RW | 8));
    }),
    case("memory/mprotect-split-and-join", &["mprotect"], |out| {
        let base = numbered(room(8), 8);
        out.ret("the middle", protect(base + 2 * PAGE, 3, PROT_READ));
        out.say(shape(base, 8));
        out.ret("a border", protect(base + 4 * PAGE, 2, PROT_NONE));
        out.say(shape(base, 8));
        out.ret("all but the last", protect(base, 7, PROT_READ | PROT_EXEC));
        out.say(shape(base, 8));
        out.ret("all", protect(base, 8, RW));
        out.say(shape(base, 8));
        out.say((0..8).all(|page| peek(base + page * PAGE) == page as u8 + 1));
    }),
    case("memory/mprotect-faults", &["mprotect"], |out| {
        let base = numbered(room(4), 2);
        poke(base, 0xc3);
        for (name, prot) in
            [("none", PROT_NONE), ("read", PROT_READ), ("write", PROT_WRITE), ("read write", RW)]
        {
            protect(base, 1, prot);
            attempt(out, &format!("{name}: read"), base, Try::Read);
            attempt(out, &format!("{name}: write"), base + 0x123, Try::Write);
            attempt(out, &format!("{name}: exec"), base, Try::Exec);
        }
        out.say(peek(base));
        attempt(out, "nothing there: read", base + 2 * PAGE, Try::Read);
        attempt(out, "nothing there: write", base + 3 * PAGE + 5, Try::Write);
        attempt(out, "nothing there: exec", base + 2 * PAGE, Try::Exec);
    }),
    case("memory/fault-addresses", &["rt_sigaction"], |out| {
        out.say(crate::memory::outcome(0, || peek(0).into()));
        out.say(crate::memory::outcome(0, || peek(0x1234).into()));
        // No such address can be: the processor does not say which it was.
        let end = crate::memory::outcome(0, || peek(1 << 62).into());
        out.say(end);
        let end = crate::memory::outcome(0, || peek(-PAGE).into());
        out.say(end.split(" at").next().unwrap_or_default());
    }),
    case("memory/mprotect-none-keeps-contents", &["mprotect"], |out| {
        let base = numbered(room(3), 3);
        out.ret("none", protect(base, 3, PROT_NONE));
        let (from, to) = sys::pipe();
        out.ret("write from it", call!(SYS_write, to, base, 1));
        sys::write(to, b"z");
        out.ret("read into it", call!(SYS_read, from, base, 1));
        in_child(out, |out| {
            out.ret("in a child", protect(base, 3, RW));
            out.say(peek(base + 2 * PAGE));
            poke(base, 100);
        });
        out.ret("back", protect(base, 3, RW));
        out.say(format_args!("{} {} {}", peek(base), peek(base + PAGE), peek(base + 2 * PAGE)));
    }),
    case("memory/mprotect-grown-stack", &["mprotect"], |out| {
        let base = room(64);
        let top = base + 64 * PAGE;
        fine(map(top - 4 * PAGE, 4, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
        out.ret("down", call!(SYS_mprotect, top - PAGE, PAGE, PROT_READ | 0x0100_0000));
        out.say(shape(top - 6 * PAGE, 6));
    }),
    case("memory/mprotect-shared-read-only-file", &["mprotect"], |out| {
        file("f", 1);
        let fd = call!(SYS_open, sys::c("f"), libc::O_RDONLY) as i32;
        let base = room(4);
        put(base, 1, RW);
        fine(map(base + PAGE, 1, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
        put(base + 2 * PAGE, 1, RW);
        out.ret("to write", protect(base + PAGE, 1, RW));
        out.ret("to execute", protect(base + PAGE, 1, PROT_READ | PROT_EXEC));
        out.ret("all to write", protect(base, 3, PROT_WRITE));
        out.say(shape(base, 4));
    }),
    case("memory/brk", &["brk"], |out| {
        let start = call!(SYS_brk, 0);
        let brk = |pages: i64| (call!(SYS_brk, start + pages * PAGE) - start) / PAGE;
        out.say(format_args!("grow {}", brk(4)));
        poke(start, 1);
        poke(start + 4 * PAGE - 1, 2);
        out.say(format_args!("shrink {}", brk(1)));
        attempt(out, "above", start + 2 * PAGE, Try::Read);
        out.say(format_args!("grow {}", brk(4)));
        out.say(format_args!("zero again {}", peek(start + 4 * PAGE - 1)));
        out.say(format_args!("odd {}", call!(SYS_brk, start + 100) - start));
        out.say(format_args!("odd, again {}", call!(SYS_brk, start + 200) - start));
        poke(start + 4095, 1);
        out.say(format_args!("too low {}", call!(SYS_brk, 1) - start));
        out.say(format_args!("too high {}", call!(SYS_brk, -1i64) - start));
        out.say(format_args!("huge {}", call!(SYS_brk, 1i64 << 46) - start));
        out.say(format_args!("back {}", brk(0)));
    }),
    case("memory/brk-into-a-mapping", &["brk"], |out| {
        let start = (call!(SYS_brk, 0) + PAGE - 1) / PAGE * PAGE;
        call!(SYS_brk, start);
        let brk = |pages: i64| (call!(SYS_brk, start + pages * PAGE) - start) / PAGE;
        put(start + 600 * PAGE, 1, RW);
        out.say(format_args!("near {}", brk(300)));
        out.say(format_args!("through {}", brk(700)));
        out.say(format_args!("to it {}", brk(600)));
        out.say(format_args!("short of it {}", brk(599)));
        out.say(format_args!("well below {}", brk(344)));
        out.say(format_args!("back {}", brk(0)));
    }),
    case("memory/brk-area", &["brk", "mprotect", "munmap"], |out| {
        let start = (call!(SYS_brk, 0) + PAGE - 1) / PAGE * PAGE;
        call!(SYS_brk, start + 4 * PAGE);
        let heap = |from, pages| {
            let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            format!("{} {}", shape(from, pages), text.contains("[heap]"))
        };
        out.say(heap(start, 6));
        out.ret("read-only page", protect(start + PAGE, 1, PROT_READ));
        out.say(heap(start, 6));
        out.ret("unmapped page", call!(SYS_munmap, start + 2 * PAGE, PAGE));
        out.say(heap(start, 6));
        call!(SYS_brk, start + 6 * PAGE);
        out.say(heap(start, 6));
        call!(SYS_brk, start);
        out.say(shape(start, 6));
    }),
    case("memory/brk-after-fork", &["brk", "clone"], |out| {
        let start = (call!(SYS_brk, 0) + PAGE - 1) / PAGE * PAGE;
        call!(SYS_brk, start + PAGE);
        poke(start, 5);
        in_child(out, |out| {
            out.say(format_args!("same end {}", call!(SYS_brk, 0) == start + PAGE));
            out.say(peek(start));
            call!(SYS_brk, start + 2 * PAGE);
            poke(start + PAGE, 1);
        });
        out.say(format_args!("unchanged {}", call!(SYS_brk, 0) == start + PAGE));
        attempt(out, "above", start + PAGE, Try::Read);
    }),
    case("memory/mremap-limits", &["mremap"], |out| {
        let base = anon(2);
        put(base, 1, PROT_READ);
        // Two areas are not one mapping.
        out.ret("two areas", remap(base, 2, 4, MREMAP_MAYMOVE, 0));
        place(out, "two areas, shrink", remap(base, 2, 1, 0, 0), base);
        out.say(shape(base, 2));
        let huge = fine(map(0, 1, PROT_NONE, ANON, -1, 0));
        out.ret("200 TiB", remap(huge, 1, 50 << 30, MREMAP_MAYMOVE, 0));
    }),
];
