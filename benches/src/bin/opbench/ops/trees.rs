//! Trees of small files: made by ourselves, packed and unpacked by busybox's `tar`.

use std::ffi::{CStr, CString};
use std::io;

use super::processes::run;
use crate::harness::{Body, Settings};
use crate::sys::{self, Fd};

/// Files of a tree.
pub(crate) const FILES: u64 = FOLDERS * PER_FOLDER;
const FOLDERS: u64 = 8;
const PER_FOLDER: u64 = 50;
/// Bytes of each.
const LEN: usize = 1500;

const BUSYBOX: &CStr = c"/bin/busybox";

/// Where the trees are.
#[derive(Clone, Debug)]
struct Place {
    tree: CString,
    copy: CString,
    archive: CString,
}

impl Place {
    fn new(settings: &Settings) -> io::Result<Place> {
        let path = |name: &str| sys::path(&format!("{}/{name}", settings.root));
        let place = Place { tree: path("tree")?, copy: path("tree-copy")?, archive: path("tree.tar")? };
        place.clear()?;
        Ok(place)
    }

    fn clear(&self) -> io::Result<()> {
        run(BUSYBOX, &[c"rm", c"-rf", &self.tree, &self.copy, &self.archive])
    }

    fn make(&self) -> io::Result<()> {
        let tree = self.tree.to_string_lossy();
        let bytes = [b'x'; LEN];
        sys::mkdir(&self.tree)?;
        for folder in 0..FOLDERS {
            sys::mkdir(&sys::path(&format!("{tree}/d{folder}"))?)?;
            for file in 0..PER_FOLDER {
                let name = sys::path(&format!("{tree}/d{folder}/f{file}"))?;
                sys::write(&Fd(sys::open(&name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?), &bytes)?;
            }
        }
        Ok(())
    }

    fn pack(&self) -> io::Result<()> {
        run(BUSYBOX, &[c"tar", c"-cf", &self.archive, c"-C", &self.tree, c"."])
    }
}

/// Make a tree and remove it with `rm -rf`.
pub(crate) fn make(settings: &Settings) -> io::Result<Body> {
    let place = Place::new(settings)?;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            place.make()?;
            place.clear()?;
        }
        Ok(())
    }))
}

/// Pack a tree into an archive.
pub(crate) fn pack(settings: &Settings) -> io::Result<Body> {
    let place = Place::new(settings)?;
    place.make()?;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            place.pack()?;
        }
        Ok(())
    }))
}

/// Unpack the archive and remove what came out with `rm -rf`.
pub(crate) fn unpack(settings: &Settings) -> io::Result<Body> {
    let place = Place::new(settings)?;
    place.make()?;
    place.pack()?;
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            sys::mkdir(&place.copy)?;
            run(BUSYBOX, &[c"tar", c"-xf", &place.archive, c"-C", &place.copy])?;
            run(BUSYBOX, &[c"rm", c"-rf", &place.copy])?;
        }
        Ok(())
    }))
}
