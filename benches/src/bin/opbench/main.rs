//! `opbench`: what one operation costs, measured from inside.
//!
//! The same static program runs on bare Linux and in every runtime's container. For each operation it makes what
//! the operation needs, runs a warm-up and several batches, and prints one line of JSON with the nanoseconds per
//! operation by `CLOCK_MONOTONIC`. In the test VM's count mode a nanosecond is an executed instruction.
//!
//! It starts from C's `main`, without Rust's runtime, so that it asks as little as possible of a young kernel before
//! the first operation: no signal stacks, no polling of descriptors, no reading of `/proc`.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, unused_imports, reason = "tests drive the harness, not the command line"))]

mod harness;
mod ops;
mod sys;

use harness::{Options, Settings, parse};

const USAGE: &str = "\
usage: opbench [--settle SECONDS] [--root DIR] [--tmp DIR] NAME [OPERATIONS]
       opbench [--settle SECONDS] [--root DIR] [--tmp DIR] --only NAME,NAME… | --all
       opbench --prepare DIR       make the files that the operations read
       opbench --list              names, one per line";

/// C's `main`: the arguments come from the C library's start code.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: libc::c_int, _argv: *const *const libc::c_char) -> libc::c_int {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = parse(&args).and_then(run);
    match outcome {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("opbench: {message}");
            2
        }
    }
}

/// Does what the command line asks for. Operations that fail are reported in their own line, not here.
fn run(options: Options) -> Result<(), String> {
    match options {
        Options::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Options::List => {
            ops::OPERATIONS.iter().for_each(|op| println!("{}", op.name));
            Ok(())
        }
        Options::Prepare(root) => ops::files::prepare(&root).map_err(|error| format!("{root}: {error}")),
        Options::Measure(settings) => measure(&settings),
    }
}

fn measure(settings: &Settings) -> Result<(), String> {
    if let Some(unknown) = settings.names.iter().find(|name| ops::find(name).is_none()) {
        return Err(format!("no operation is called {unknown:?}; --list names them"));
    }
    if settings.settle > 0 {
        // A kernel without nanosleep is still worth measuring.
        let _unsettled = sys::sleep(settings.settle);
    }
    for op in settings.names.iter().filter_map(|name| ops::find(name)) {
        println!("{}", harness::measure(op, settings));
    }
    Ok(())
}
