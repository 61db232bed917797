//! `hostile`: what a container does that wants to harm whoever runs it. The first process of its container.
//!
//! usage: hostile fork|threads|memory|signals SECONDS, hostile calls|elves SECONDS SEED
//!
//! It goes on for that long (or until it is killed), then writes what it has done and ends with status 0.
#![allow(missing_docs, unsafe_code, clippy::expect_used, reason = "a program of the tests")]

mod bombs;
mod calls;
mod elves;
mod random;

use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| args.get(place).and_then(|word| word.parse::<u64>().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(number(1));
    println!("up");
    match args.first().map_or("", String::as_str) {
        "fork" => bombs::fork(end),
        "threads" => bombs::threads(end),
        "memory" => bombs::memory(end),
        "signals" => bombs::signals(end),
        // What a malformed file of this program does that runs after all.
        "nothing" => return,
        "elves" => elves::run(end, number(2)),
        "calls" => calls::run(end, number(2)),
        other => {
            eprintln!("{other:?} is no attack");
            std::process::exit(2);
        }
    }
    println!("done");
}

/// Ends everything but the first process, and buries it.
fn clear() {
    // SAFETY: no pointers.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
        while libc::waitpid(-1, std::ptr::null_mut(), 0) > 0 {}
    }
}
