//! What proc says of the whole system.

use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;

use crate::{
    arch::{clock, cpu},
    mem::frame,
    mm::commit,
    task::{self, sched},
};

/// Clock ticks per second in proc's times.
pub(super) const HZ: u64 = 100;

/// Boot time is when the sandbox started.
fn up_ns() -> u64 {
    clock::monotonic_ns().saturating_sub(boot_ns())
}

/// CLOCK_MONOTONIC when the first process started; its zero is the host's.
pub(super) fn boot_ns() -> u64 {
    task::process(1).map_or(0, |process| process.start_ns)
}

pub(super) fn uptime() -> Vec<u8> {
    let up = up_ns() / 10_000_000;
    let mut used = 0;
    task::for_each_process(|process| {
        let usage = process.usage();
        used += usage.user_ns + usage.system_ns;
    });
    let idle = (up * cpu::count() as u64).saturating_sub(used / 10_000_000);
    format!("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100).into_bytes()
}

pub(super) fn loadavg() -> Vec<u8> {
    let (mut tasks, mut last) = (0, 0);
    task::for_each_process(|process| {
        tasks += process.threads().len();
        last = last.max(process.pid);
    });
    format!("0.00 0.00 0.00 {}/{tasks} {last}\n", sched::runnable()).into_bytes()
}

pub(super) fn version() -> Vec<u8> {
    format!("Linux version {} (ringfence) {}\n", super::settings::release(), super::settings::version())
        .into_bytes()
}

pub(super) fn filesystems() -> Vec<u8> {
    b"nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevpts\nnodev\tramfs\nnodev\tmqueue\n\text4\n"
        .to_vec()
}

pub(super) fn devices() -> Vec<u8> {
    b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"
        .to_vec()
}

pub(super) fn meminfo() -> Vec<u8> {
    let stats = frame::stats();
    let mut out = String::new();
    let rows = [
        ("MemTotal", stats.total),
        ("MemFree", stats.free),
        ("MemAvailable", stats.free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", stats.total - stats.free),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", stats.total - stats.free),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("CommitLimit", commit::limit()),
        ("Committed_AS", commit::committed()),
        ("VmallocTotal", 34_359_738_367 << 10),
        ("HugePages_Total", 0),
        ("HugePages_Free", 0),
    ];
    for (name, bytes) in rows {
        if name.starts_with("HugePages") {
            let _ = writeln!(out, "{:<15} {:>8}", format!("{name}:"), bytes);
        } else {
            let _ = writeln!(out, "{:<15} {:>8} kB", format!("{name}:"), bytes >> 10);
        }
    }
    out.push_str("Hugepagesize:       2048 kB\n");
    out.into_bytes()
}

pub(super) fn vmstat() -> Vec<u8> {
    format!("nr_free_pages {}\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n", frame::stats().free >> 12)
        .into_bytes()
}

pub(super) fn stat() -> Vec<u8> {
    let (mut user, mut system, mut tasks) = (0, 0, 0);
    task::for_each_process(|process| {
        let usage = process.usage();
        user += usage.user_ns;
        system += usage.system_ns;
        tasks += 1;
    });
    let tick = 1_000_000_000 / HZ;
    let cpus = cpu::count() as u64;
    let total = up_ns() * cpus / tick;
    let (user, system) = (user / tick, system / tick);
    let idle = total.saturating_sub(user + system);
    let mut out = String::new();
    let _ = writeln!(out, "cpu  {user} 0 {system} {idle} 0 0 0 0 0 0");
    for index in 0..cpus {
        let _ = writeln!(out, "cpu{index} {} 0 {} {} 0 0 0 0 0 0", user / cpus, system / cpus, idle / cpus);
    }
    let boot = clock::realtime_ns().saturating_sub(up_ns()) / 1_000_000_000;
    let _ = write!(
        out,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {tasks}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        sched::runnable()
    );
    out.into_bytes()
}

pub(super) fn cpuinfo() -> Vec<u8> {
    let mut out = String::new();
    let khz = clock::tsc_khz();
    for index in 0..cpu::count() {
        let _ = write!(
            out,
            "processor\t: {index}\nvendor_id\t: ringfence\nmodel name\t: ringfence virtual CPU\ncpu MHz\t\t: {}.{:03}\nphysical id\t: 0\nsiblings\t: {}\ncore id\t\t: {index}\ncpu cores\t: {}\nfpu\t\t: yes\nfpu_exception\t: yes\nwp\t\t: yes\nbogomips\t: {}.{:02}\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\n\n",
            khz / 1000,
            khz % 1000,
            cpu::count(),
            cpu::count(),
            khz / 500,
            khz / 5 % 100,
        );
    }
    out.into_bytes()
}
