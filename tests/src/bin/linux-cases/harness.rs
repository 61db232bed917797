//! Runs cases one after another, each in a process of its own with a time limit.

use std::time::{Duration, Instant};

use crate::{
    Case, FAMILIES, Out,
    sys::{self, call},
};

/// Longest that a case may take; the test VM is slow.
const LIMIT: Duration = Duration::from_secs(20);

fn all() -> impl Iterator<Item = &'static Case> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// Every name, one a line.
pub(crate) fn list() {
    all().for_each(|case| println!("{}", case.name));
}

/// The list for readers: cases by system call.
pub(crate) fn document() {
    println!(
        "# Conformance cases\n\nMade by `cargo run -p tests --bin linux-cases document`. Each case runs on Linux and \
         then in ringfence (`scripts/integration linux-cases`); what it writes must agree.\n"
    );
    let mut calls: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    let mut count = 0;
    for case in all() {
        count += 1;
        case.calls.iter().for_each(|call| calls.entry(call).or_default().push(case.name));
    }
    println!("{count} cases, {} system calls.\n\n| call | cases |\n| --- | --- |", calls.len());
    for (call, names) in calls {
        println!("| `{call}` | {} |", names.join(", "));
    }
}

/// Runs the named cases, or all. For each: `=== NAME`, its lines, `--- END`.
pub(crate) fn run(names: &[String]) {
    for case in all().filter(|case| names.is_empty() || names.iter().any(|name| name == case.name)) {
        let mut out = Out::new(1);
        out.say(format_args!("=== {}", case.name));
        let end = run_one(case, &mut out);
        out.say(format_args!("--- {end}"));
    }
}

/// Runs one case; says how its process ended.
fn run_one(case: &Case, out: &mut Out) -> String {
    let (from, to) = sys::pipe();
    let place = format!("/tmp/case-{}", case.name.replace('/', "-"));
    if let Err(error) = std::fs::create_dir_all(&place) {
        return format!("no directory {place}: {error}");
    }
    let pid = sys::fork(|| {
        call!(SYS_setpgid, 0, 0);
        call!(SYS_chdir, sys::c(&place));
        sys::close(from);
        (case.run)(&mut Out::new(to));
        0
    });
    sys::close(to);
    let end = attend(pid, from, out);
    call!(SYS_kill, -pid, libc::SIGKILL);
    while sys::wait(-1) >= 0 {}
    sys::close(from);
    // The next run of the same case must find nothing.
    let _ = std::fs::remove_dir_all(&place);
    end
}

/// Copies what the case writes until its process has ended.
fn attend(pid: i32, from: i32, out: &mut Out) -> String {
    let start = Instant::now();
    let mut ended = None;
    loop {
        let mut entry = libc::pollfd { fd: from, events: libc::POLLIN, revents: 0 };
        let ready = call!(SYS_poll, &raw mut entry, 1, 10);
        let mut bytes = [0; 4096];
        if ready > 0 {
            let got = sys::read(from, &mut bytes);
            if got > 0 {
                sys::write(out.fd(), &bytes[..got as usize]);
                continue;
            }
        } else if ended.is_some() {
            break;
        }
        if ended.is_none() {
            let mut status = 0i32;
            if call!(SYS_wait4, pid, &raw mut status, libc::WNOHANG, 0) == i64::from(pid) {
                ended = Some(i64::from(status));
            } else if ready > 0 {
                // The pipe is closed, the process lives on: do not spin.
                sys::sleep_ms(5);
            }
        } else if ready > 0 {
            break;
        }
        if start.elapsed() > LIMIT {
            call!(SYS_kill, -pid, libc::SIGKILL);
            call!(SYS_kill, pid, libc::SIGKILL);
            return format!("no end within {} s", LIMIT.as_secs());
        }
    }
    ended.map_or_else(String::new, sys::status)
}

/// What a program started by a case does: `exit N`, or says what it was given.
pub(crate) fn child(words: &[String]) -> i32 {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exit", status] => status.parse().unwrap_or(99),
        ["words", ref rest @ ..] => {
            let env: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            println!("words {rest:?} environment {env:?}");
            0
        }
        ["bomb", kind] => crate::bomb::explode(kind),
        ["come-and-go", mib] => crate::bomb::come_and_go(mib),
        ["vdso"] => crate::vdso::child(),
        ["rseq"] => crate::rseq::child(),
        ref words => crate::exec_tools::child(words).unwrap_or(98),
    }
}
