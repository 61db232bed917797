//! Calls that touch neither files nor memory: the bare cost of asking the kernel.

use std::io;

use crate::harness::{Body, Settings};
use crate::sys::{self, Fd};

/// The shortest call there is.
pub(crate) fn getpid(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            sys::getpid();
        }
        Ok(())
    }))
}

/// The clock by the system call.
pub(crate) fn clock_raw(_: &Settings) -> io::Result<Body> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::monotonic_by_call(&mut now)?;
        }
        Ok(())
    }))
}

/// The clock as programs read it.
pub(crate) fn clock_vdso(_: &Settings) -> io::Result<Body> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::monotonic_by_library(&mut now);
        }
        Ok(())
    }))
}

/// One byte of `/dev/zero`.
pub(crate) fn read_zero(_: &Settings) -> io::Result<Body> {
    let zero = Fd(sys::open(c"/dev/zero", libc::O_RDONLY)?);
    Ok(Box::new(move |runs| {
        let mut byte = [0u8];
        for _ in 0..runs {
            sys::read(&zero, &mut byte)?;
        }
        Ok(())
    }))
}

/// One byte to `/dev/null`.
pub(crate) fn write_null(_: &Settings) -> io::Result<Body> {
    let null = Fd(sys::open(c"/dev/null", libc::O_WRONLY)?);
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::write(&null, b"x")?;
        }
        Ok(())
    }))
}

/// Giving way when nobody else wants the CPU.
pub(crate) fn sched_yield(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            sys::sched_yield()?;
        }
        Ok(())
    }))
}

/// Signal an event, wait for it with epoll, consume it.
pub(crate) fn eventfd_epoll(_: &Settings) -> io::Result<Body> {
    let event = sys::eventfd()?;
    let epoll = sys::epoll_of(&event)?;
    Ok(Box::new(move |runs| {
        let mut count = [0u8; 8];
        for _ in 0..runs {
            sys::write(&event, &1u64.to_ne_bytes())?;
            sys::epoll_wait(&epoll)?;
            sys::read(&event, &mut count)?;
        }
        Ok(())
    }))
}
