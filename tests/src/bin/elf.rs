//! A program for containers: what a language's runtime does at its start, threads, memory, time, files.

use std::{
    collections::HashMap,
    env, fs,
    sync::{Arc, Barrier, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// In a read-only page, and relocated in a position-independent program.
static WORDS: [&str; 3] = ["static", "data", "here"];
/// In a page of zeroes.
static TOTAL: Mutex<u64> = Mutex::new(0);

thread_local! {
    static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(41) };
}

fn main() {
    println!("{:?} {WORDS:?}", env::args().skip(1).collect::<Vec<_>>());
    let barrier = Arc::new(Barrier::new(4));
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..4u64)
        .map(|number| {
            let (barrier, sender) = (barrier.clone(), sender.clone());
            thread::spawn(move || {
                OWN.set(OWN.get() + number);
                barrier.wait();
                for step in 0..1000 {
                    if let Ok(mut total) = TOTAL.lock() {
                        *total += step;
                    }
                }
                let _ = sender.send((number, OWN.get()));
            })
        })
        .collect();
    drop(sender);
    let mut seen: Vec<_> = receiver.iter().collect();
    seen.sort_unstable();
    println!("{seen:?} {}", threads.into_iter().filter_map(|thread| thread.join().ok()).count());
    println!("{:?} {}", TOTAL.lock().map(|total| *total).ok(), OWN.get());

    let memory: Vec<u64> = (0..4 << 20).collect();
    println!("{}", memory.iter().step_by(511).sum::<u64>());
    let map: HashMap<_, _> = (0..1000).map(|i| (i, i * i)).collect();
    println!("{}", map.values().sum::<i32>());

    let start = Instant::now();
    thread::sleep(Duration::from_millis(30));
    println!("{}", start.elapsed() >= Duration::from_millis(30));
    let (_keep, empty) = mpsc::channel::<()>();
    println!("{:?}", empty.recv_timeout(Duration::from_millis(20)));

    println!("{:?}", fs::write("/tmp/elf", "text").and_then(|()| fs::read_to_string("/tmp/elf")).ok());
    println!("{:?}", fs::read("/no/such/file").map_err(|error| error.kind()));
    println!("{}", (1..=20).map(|n| f64::from(n).sqrt()).sum::<f64>());
    std::process::exit(42);
}
