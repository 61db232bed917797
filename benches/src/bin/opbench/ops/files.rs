//! Files on the container's root and on a tmpfs.

use std::ffi::CString;
use std::{fs, io};

use crate::harness::{Body, Settings};
use crate::sys::{self, Fd};

const BLOCK: usize = 4096;
const PIECE: usize = 64 * 1024;
/// Size of the file that is read.
pub(crate) const DATA: usize = 1024 * 1024;
const ENTRIES: usize = 100;

/// Makes what the operations read: a file of one MiB and a folder of a hundred entries.
pub(crate) fn prepare(root: &str) -> io::Result<()> {
    let folder = format!("{root}/entries");
    fs::create_dir_all(&folder)?;
    for entry in 0..ENTRIES {
        fs::write(format!("{folder}/f{entry}"), b"")?;
    }
    let pattern: Vec<u8> = (0..DATA).map(|byte| (byte / 7) as u8).collect();
    fs::write(format!("{root}/data"), pattern)
}

/// The file to read, made when nobody did so before.
pub(crate) fn data(settings: &Settings) -> io::Result<CString> {
    let data = sys::path(&format!("{}/data", settings.root))?;
    let mut status = sys::blank_stat();
    if sys::stat(&data, &mut status).is_err() {
        prepare(&settings.root)?;
    }
    Ok(data)
}

/// Open a file for reading and close it.
pub(crate) fn open_close(settings: &Settings) -> io::Result<Body> {
    let data = data(settings)?;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::close(sys::open(&data, libc::O_RDONLY)?);
        }
        Ok(())
    }))
}

/// Attributes by path.
pub(crate) fn stat(settings: &Settings) -> io::Result<Body> {
    let data = data(settings)?;
    let mut status = sys::blank_stat();
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::stat(&data, &mut status)?;
        }
        Ok(())
    }))
}

/// Attributes by descriptor.
pub(crate) fn fstat(settings: &Settings) -> io::Result<Body> {
    let file = Fd(sys::open(&data(settings)?, libc::O_RDONLY)?);
    let mut status = sys::blank_stat();
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::fstat(&file, &mut status)?;
        }
        Ok(())
    }))
}

/// 4 KiB of a file that is in memory.
pub(crate) fn pread(settings: &Settings) -> io::Result<Body> {
    let file = Fd(sys::open(&data(settings)?, libc::O_RDONLY)?);
    let mut buffer = vec![0u8; BLOCK];
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::pread(&file, &mut buffer, 0)?;
        }
        Ok(())
    }))
}

/// 4 KiB over what a file already holds.
pub(crate) fn pwrite(settings: &Settings) -> io::Result<Body> {
    let scratch = Scratch::new(&format!("{}/overwritten", settings.root))?;
    let file = Fd(sys::open(&scratch.0, libc::O_RDWR | libc::O_CREAT)?);
    let block = vec![7u8; BLOCK];
    Ok(Box::new(move |runs| {
        let _kept = &scratch;
        for _ in 0..runs {
            sys::pwrite(&file, &block, 0)?;
        }
        Ok(())
    }))
}

/// One MiB in order, 64 KiB at a time.
pub(crate) fn sequential(settings: &Settings) -> io::Result<Body> {
    let file = Fd(sys::open(&data(settings)?, libc::O_RDONLY)?);
    let mut buffer = vec![0u8; PIECE];
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            read_whole(&file, &mut buffer)?;
        }
        Ok(())
    }))
}

/// Open one of many files of one MiB, read it as above, close it. Each is read once.
pub(crate) fn cold(settings: &Settings) -> io::Result<Body> {
    let mut buffer = vec![0u8; PIECE];
    let folder = format!("{}/cold", settings.root);
    let mut next = 0;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            let file = Fd(sys::open(&sys::path(&format!("{folder}/{next}"))?, libc::O_RDONLY)?);
            next += 1;
            read_whole(&file, &mut buffer)?;
        }
        Ok(())
    }))
}

fn read_whole(file: &Fd, buffer: &mut [u8]) -> io::Result<()> {
    let mut offset = 0;
    while offset < DATA {
        match sys::pread(file, buffer, offset as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => offset += count,
        }
    }
    Ok(())
}

/// The short life of a small file, on the root file system.
pub(crate) fn create_unlink_root(settings: &Settings) -> io::Result<Body> {
    create_unlink(&settings.root)
}

/// The same on a tmpfs.
pub(crate) fn create_unlink_tmp(settings: &Settings) -> io::Result<Body> {
    create_unlink(&settings.tmp)
}

fn create_unlink(folder: &str) -> io::Result<Body> {
    let scratch = Scratch::new(&format!("{folder}/short-lived"))?;
    let block = vec![7u8; BLOCK];
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            let file = Fd(sys::open(&scratch.0, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?);
            sys::write(&file, &block)?;
            drop(file);
            sys::unlink(&scratch.0)?;
        }
        Ok(())
    }))
}

/// All names of a folder of a hundred files.
pub(crate) fn getdents(settings: &Settings) -> io::Result<Body> {
    data(settings)?;
    let folder = sys::path(&format!("{}/entries", settings.root))?;
    let mut buffer = vec![0u8; 32 * 1024];
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            let folder = Fd(sys::open(&folder, libc::O_RDONLY | libc::O_DIRECTORY)?);
            while sys::getdents(&folder, &mut buffer)? > 0 {}
        }
        Ok(())
    }))
}

/// A name that is free before and after.
#[derive(Debug)]
struct Scratch(CString);

impl Scratch {
    fn new(name: &str) -> io::Result<Scratch> {
        let scratch = Scratch(sys::path(name)?);
        let _was_not_there = sys::unlink(&scratch.0);
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _already_gone = sys::unlink(&self.0);
    }
}
