//! Mapping memory and touching it for the first time.

use std::io;

use super::files;
use crate::harness::{Body, Settings};
use crate::sys::{self, Fd, Mapping, PAGE};

/// Pages of the anonymous mapping: 16 MiB, so that huge pages can come in.
pub(crate) const ANON_PAGES: u64 = 4096;
/// Pages of the mapped file.
pub(crate) const FILE_PAGES: u64 = (files::DATA / PAGE) as u64;

/// Map private memory, write to each page, unmap; per page.
pub(crate) fn anonymous(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            Mapping::anonymous(ANON_PAGES as usize * PAGE)?.write_pages();
        }
        Ok(())
    }))
}

/// The same in small pages only.
pub(crate) fn anonymous_small(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            let mapping = Mapping::anonymous(ANON_PAGES as usize * PAGE)?;
            mapping.no_huge_pages()?;
            mapping.write_pages();
        }
        Ok(())
    }))
}

/// Map a cached file, read a byte of each page, unmap; per page.
pub(crate) fn file(settings: &Settings) -> io::Result<Body> {
    let file = Fd(sys::open(&files::data(settings)?, libc::O_RDONLY)?);
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            Mapping::file(&file, files::DATA)?.read_pages();
        }
        Ok(())
    }))
}

/// The life of one page.
pub(crate) fn map_touch_unmap(_: &Settings) -> io::Result<Body> {
    Ok(Box::new(|runs| {
        for _ in 0..runs {
            Mapping::anonymous(PAGE)?.write_pages();
        }
        Ok(())
    }))
}

/// Make a page read-only, make it writable again, write to it.
pub(crate) fn protect_touch(_: &Settings) -> io::Result<Body> {
    let page = Mapping::anonymous(PAGE)?;
    page.write_pages();
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            page.protect(libc::PROT_READ)?;
            page.protect(libc::PROT_READ | libc::PROT_WRITE)?;
            page.write_pages();
        }
        Ok(())
    }))
}
