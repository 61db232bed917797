//! Processes, threads and signals.

use std::ffi::CStr;
use std::io;

use crate::harness::{Body, Settings};
use crate::sys;

/// A child that ends at once.
pub(crate) fn fork_exit_wait(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            sys::wait(sys::fork(|| 0)?)?;
        }
        Ok(())
    }))
}

/// A child that becomes a static program.
pub(crate) fn exec_static(settings: &Settings) -> io::Result<Body> {
    exec(&format!("{}/true-static", settings.root))
}

/// A child that becomes a program with shared libraries.
pub(crate) fn exec_dynamic(settings: &Settings) -> io::Result<Body> {
    exec(&format!("{}/true-dynamic", settings.root))
}

fn exec(program: &str) -> io::Result<Body> {
    let program = sys::path(program)?;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            run(&program, &[c"true"])?;
        }
        Ok(())
    }))
}

/// Python, which imports what it always does, and ends.
pub(crate) fn python(_: &Settings) -> io::Result<Body> {
    sys::stat(c"/usr/bin/python3", &mut sys::blank_stat())?;
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            run(c"/usr/bin/python3", &[c"python3", c"-c", c"pass"])?;
        }
        Ok(())
    }))
}

/// Runs a program to its end.
pub(crate) fn run(program: &CStr, args: &[&CStr]) -> io::Result<()> {
    let child = sys::fork(|| {
        sys::exec(program, args);
        127
    })?;
    sys::wait(child)
}

/// A thread that ends at once.
pub(crate) fn thread(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            sys::create_and_join_thread()?;
        }
        Ok(())
    }))
}

/// Send oneself a signal that a handler takes.
pub(crate) fn signal_self(_: &Settings) -> io::Result<Body> {
    sys::count_signals()?;
    let pid = sys::getpid();
    Ok(Box::new(move |runs| {
        let before = sys::signals_seen();
        for _ in 0..runs {
            sys::signal(pid)?;
        }
        match sys::signals_seen() - before {
            seen if seen == runs => Ok(()),
            seen => Err(io::Error::other(format!("{seen} of {runs} signals arrived"))),
        }
    }))
}
