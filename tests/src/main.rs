//! Integration tests: real containers, started as users start them.
//!
//! Runs as root where there is KVM (the test VM, or a host). Each case makes its bundle, runs it under the
//! runtime, and where it makes sense under runc first: what a user sees must agree. Names given as arguments
//! choose cases; `--list` before them prints which. `RINGFENCE_RUNTIME` names another runtime, as a check on the cases; `RINGFENCE_TEST_SCALE` gives
//! the percentage of repetitions; `RINGFENCE_TEST_VERBOSE` shows why cases fail that are known to; `RINGFENCE_TEST_LONG` runs all that takes
//! long as well; `RINGFENCE_TEST_APPLICATIONS` names the root of the cases whose names begin with `application` or `work`.

mod bundle;
mod cases;
mod command;
mod fuse;
mod session;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let list = wanted.first().is_some_and(|word| word == "--list");
    if list {
        wanted.remove(0);
    }
    let (mut passed, mut failed, mut known) = (0, 0, 0);
    for &(name, case) in cases::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        if list {
            println!("{name}");
            continue;
        }
        let start = Instant::now();
        let reason = cases::KNOWN.iter().find(|(case, _)| *case == name).map(|(_, reason)| reason);
        match (case(), reason) {
            (Err(error), Some(reason)) => {
                known += 1;
                println!("known {name} ({:.1} s) {reason}", start.elapsed().as_secs_f32());
                if std::env::var_os("RINGFENCE_TEST_VERBOSE").is_some_and(|value| !value.is_empty()) {
                    println!("      {error:#}");
                }
            }
            (Ok(note), Some(_)) => {
                // Some fail most of the time only: what depends on timing must not fail a run by passing.
                passed += 1;
                println!(
                    "ok    {name} ({:.1} s) {note}; known to fail, yet it passes",
                    start.elapsed().as_secs_f32()
                );
            }
            (Ok(note), None) => {
                passed += 1;
                println!("ok    {name} ({:.1} s) {note}", start.elapsed().as_secs_f32());
            }
            (Err(error), None) => {
                failed += 1;
                println!("FAIL  {name} ({:.1} s)\n      {error:#}", start.elapsed().as_secs_f32());
            }
        }
    }
    cases::docker::stop();
    if list {
        return ExitCode::SUCCESS;
    }
    if known != 0 {
        println!("{known} known to fail");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
