//! Integration tests: real containers, started as users start them.
//!
//! Runs as root where there is KVM (the test VM, or a host). Each case makes its bundle, runs it under the
//! runtime, and where it makes sense under runc first: what a user sees must agree. Names given as arguments
//! choose cases. `RINGFENCE_RUNTIME` names another runtime, as a check on the cases.

mod bundle;
mod cases;
mod command;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let start = Instant::now();
        match case() {
            Ok(note) => {
                passed += 1;
                println!("ok    {name} ({:.1} s) {note}", start.elapsed().as_secs_f32());
            }
            Err(error) => {
                failed += 1;
                println!("FAIL  {name} ({:.1} s)\n      {error:#}", start.elapsed().as_secs_f32());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
