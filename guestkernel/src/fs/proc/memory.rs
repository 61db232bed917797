//! What `/proc/PID` says of memory: `maps`, `smaps`, `smaps_rollup`, `statm`, and the lines of `status`.

use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;

use super::pid::Id;
use crate::{
    errno::Result,
    mem::PAGE_SIZE,
    mm::{AddressSpace, Marks, Measure, Prot, Sizes, VmaFlags, VmaInfo},
};

const KB_PER_PAGE: u64 = PAGE_SIZE / 1024;

/// Pages of the program's code.
fn code_pages(marks: &Marks) -> u64 {
    (marks.end_code.next_multiple_of(PAGE_SIZE) - marks.start_code / PAGE_SIZE * PAGE_SIZE) / PAGE_SIZE
}

pub(super) fn statm(id: Id) -> Result<Vec<u8>> {
    let mm = id.task().ok().and_then(|task| task.address_space());
    let (sizes, code) = mm.map_or((Sizes::default(), 0), |mm| (mm.sizes(), code_pages(&mm.marks())));
    let data = sizes.data + sizes.stack;
    Ok(format!("{} {} {} {code} 0 {data} 0\n", sizes.total, sizes.resident, sizes.shared).into_bytes())
}

/// The lines of `status`.
pub(super) fn status(mm: &AddressSpace, out: &mut String) {
    let sizes = mm.sizes();
    let code = code_pages(&mm.marks()).min(sizes.code);
    let anonymous = sizes.resident.saturating_sub(sizes.shared);
    for (name, pages) in [
        ("VmPeak", sizes.total_peak),
        ("VmSize", sizes.total),
        ("VmLck", sizes.locked),
        ("VmPin", 0),
        ("VmHWM", sizes.peak),
        ("VmRSS", sizes.resident),
        ("RssAnon", anonymous),
        ("RssFile", sizes.shared),
        ("RssShmem", 0),
        ("VmData", sizes.data),
        ("VmStk", sizes.stack),
        ("VmExe", code),
        ("VmLib", sizes.code - code),
        ("VmPTE", sizes.tables / PAGE_SIZE),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ] {
        let _ = writeln!(out, "{name}:\t{:8} kB", pages * KB_PER_PAGE);
    }
}

/// The line of `maps`.
fn line(out: &mut String, area: &VmaInfo, marks: &Marks) {
    let bit = |set: bool, letter: char| if set { letter } else { '-' };
    let line = format!(
        "{:x}-{:x} {}{}{}{} {:08x}",
        area.start,
        area.end,
        bit(area.prot.contains(Prot::READ), 'r'),
        bit(area.prot.contains(Prot::WRITE), 'w'),
        bit(area.prot.contains(Prot::EXEC), 'x'),
        if area.flags.contains(VmaFlags::SHARED) { 's' } else { 'p' },
        area.offset,
    );
    let (dev, ino, path) = match &area.name {
        Some(name) => (name.dev, name.ino, String::from_utf8_lossy(&name.path).replace('\n', "\\012")),
        None if area.start < marks.brk && area.end > marks.start_brk => (0, 0, "[heap]".into()),
        None if (area.start..area.end).contains(&marks.start_stack) => (0, 0, "[stack]".into()),
        None => (0, 0, String::new()),
    };
    let line = format!("{line} {:02x}:{:02x} {ino} ", dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00));
    // Names start in one column.
    let _ = if path.is_empty() { writeln!(out, "{line}") } else { writeln!(out, "{line:<73}{path}") };
}

pub(super) fn auxv(id: Id) -> Result<Vec<u8>> {
    let auxv = id.task()?.address_space().and_then(|mm| mm.auxv());
    Ok(auxv.map_or_else(Vec::new, |auxv| auxv.to_vec()))
}

pub(super) fn maps(id: Id) -> Result<Vec<u8>> {
    let Some(mm) = id.task()?.address_space() else { return Ok(Vec::new()) };
    let marks = mm.marks();
    let mut out = String::new();
    mm.areas().iter().for_each(|area| line(&mut out, area, &marks));
    Ok(out.into_bytes())
}

/// `VmFlags` of an area.
fn flags(area: &VmaInfo) -> String {
    let shared = area.flags.contains(VmaFlags::SHARED);
    let may_write = !area.flags.contains(VmaFlags::NEVER_WRITE);
    let named = [
        (area.prot.contains(Prot::READ), "rd"),
        (area.prot.contains(Prot::WRITE), "wr"),
        (area.prot.contains(Prot::EXEC), "ex"),
        (shared, "sh"),
        (true, "mr"),
        (may_write, "mw"),
        (true, "me"),
        (shared && may_write, "ms"),
        (area.flags.contains(VmaFlags::GROWSDOWN), "gd"),
        (area.flags.contains(VmaFlags::LOCKED), "lo"),
        (area.flags.contains(VmaFlags::DONTFORK), "dc"),
        (area.name.is_none() && area.prot.contains(Prot::WRITE), "ac"),
        (area.flags.contains(VmaFlags::NORESERVE), "nr"),
        (area.flags.contains(VmaFlags::WIPEONFORK), "wf"),
    ];
    named.iter().filter(|(set, _)| *set).map(|(_, name)| format!("{name} ")).collect()
}

/// The counts of one area, or of all.
fn counts(out: &mut String, measure: &Measure, locked: u64) {
    let private_dirty = measure.dirty - measure.shared_dirty;
    let shared_clean = measure.shared - measure.shared_dirty;
    let private_clean =
        measure.resident - measure.shared - private_dirty.min(measure.resident - measure.shared);
    let kb = |pages: u64| pages * KB_PER_PAGE;
    for (name, size) in [
        ("Rss", kb(measure.resident)),
        ("Pss", measure.proportional / 1024),
        ("Shared_Clean", kb(shared_clean)),
        ("Shared_Dirty", kb(measure.shared_dirty)),
        ("Private_Clean", kb(private_clean)),
        ("Private_Dirty", kb(private_dirty)),
        ("Referenced", kb(measure.referenced)),
        ("Anonymous", kb(measure.anonymous)),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked / 1024),
    ] {
        let _ = writeln!(out, "{:<16}{size:>8} kB", format!("{name}:"));
    }
}

/// Bytes of an area that are locked, as Linux counts them: its part of what is resident.
fn locked(area: &VmaInfo, measure: &Measure) -> u64 {
    if area.flags.contains(VmaFlags::LOCKED) { measure.proportional } else { 0 }
}

pub(super) fn smaps(id: Id) -> Result<Vec<u8>> {
    let Some(mm) = id.task()?.address_space() else { return Ok(Vec::new()) };
    let marks = mm.marks();
    let mut out = String::new();
    for (area, measure) in &mm.measure() {
        line(&mut out, area, &marks);
        let size = (area.end - area.start) / 1024;
        for (name, size) in [("Size", size), ("KernelPageSize", KB_PER_PAGE), ("MMUPageSize", KB_PER_PAGE)] {
            let _ = writeln!(out, "{:<16}{size:>8} kB", format!("{name}:"));
        }
        counts(&mut out, measure, locked(area, measure));
        let _ = writeln!(out, "THPeligible:           0\nVmFlags: {}", flags(area));
    }
    Ok(out.into_bytes())
}

pub(super) fn smaps_rollup(id: Id) -> Result<Vec<u8>> {
    let Some(mm) = id.task()?.address_space() else { return Ok(Vec::new()) };
    let areas = mm.measure();
    let mut sum = Measure::default();
    let mut locked_bytes = 0;
    for (area, measure) in &areas {
        sum.resident += measure.resident;
        sum.anonymous += measure.anonymous;
        sum.shared += measure.shared;
        sum.dirty += measure.dirty;
        sum.shared_dirty += measure.shared_dirty;
        sum.proportional += measure.proportional;
        locked_bytes += locked(area, measure);
    }
    let (start, end) =
        (areas.first().map_or(0, |(area, _)| area.start), areas.last().map_or(0, |(area, _)| area.end));
    let head = format!("{start:x}-{end:x} ---p 00000000 00:00 0 ");
    let mut out = format!("{head:<73}[rollup]\n");
    counts(&mut out, &sum, locked_bytes);
    Ok(out.into_bytes())
}
