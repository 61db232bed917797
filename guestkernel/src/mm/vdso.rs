//! The two areas that every program gets from the kernel: `[vvar]`, the parameters of the clocks, and `[vdso]`,
//! the code that reads them ([`crate::arch::vdso`]).

use alloc::sync::Arc;

use super::{
    Access,
    map::{MapFlags, MapRequest},
    space::AddressSpace,
    vma::{Backing, Mappable, ObjectName, PageSource, Prot, VmaFlags},
};
use crate::{
    arch::{self, clock, vdso},
    errno::{Errno, Result},
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
    sync::Once,
};

/// Pages that are the same in all programs.
#[derive(Debug)]
struct Pages {
    name: &'static [u8],
    frames: alloc::vec::Vec<Frame>,
}

impl Mappable for Pages {
    fn page(&self, index: u64, _write: bool) -> Result<PageSource> {
        let frame = usize::try_from(index).ok().and_then(|index| self.frames.get(index));
        frame.cloned().map(PageSource::Frame).ok_or(Errno::ENXIO)
    }

    fn resident(&self, index: u64) -> bool {
        index < self.frames.len() as u64
    }

    fn name(&self) -> ObjectName {
        ObjectName { path: self.name.to_vec(), ..ObjectName::default() }
    }
}

/// The objects behind the two areas.
struct Objects {
    data: Arc<Pages>,
    code: Arc<Pages>,
}

fn objects() -> Result<&'static Objects> {
    static OBJECTS: Once<Option<Objects>> = Once::new();
    OBJECTS.call_once(|| build().ok()).as_ref().ok_or(Errno::ENOMEM)
}

fn build() -> Result<Objects> {
    let frame = || frame::alloc_zeroed().ok_or(Errno::ENOMEM);
    let data = frame()?;
    vdso::publish(data.addr(), &clock::params());
    let mut code = alloc::vec::Vec::new();
    for piece in vdso::image().chunks(PAGE_SIZE as usize) {
        let page = frame()?;
        arch::write_phys(page.addr(), piece);
        code.push(page);
    }
    Ok(Objects {
        data: Arc::new(Pages { name: b"[vvar]", frames: alloc::vec![data] }),
        code: Arc::new(Pages { name: b"[vdso]", frames: code }),
    })
}

/// Maps both where there is room; gives the address of the ELF image.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn map(mm: &AddressSpace) -> Result<u64> {
    let objects = objects()?;
    let data_len = vdso::DATA_PAGES * PAGE_SIZE;
    let code_len = objects.code.frames.len() as u64 * PAGE_SIZE;
    let at = super::exec::free_place(mm, data_len + code_len)?;
    let map = |addr: u64, len: u64, prot: Prot, flags: VmaFlags, object: &Arc<Pages>| {
        mm.map(MapRequest {
            addr,
            len,
            prot,
            place: MapFlags::FIXED,
            flags,
            backing: Backing::Object(object.clone()),
            offset: 0,
        })
    };
    map(at, data_len, Prot::READ, VmaFlags::NEVER_WRITE, &objects.data)?;
    let code = at + data_len;
    map(code, code_len, Prot::READ | Prot::EXEC, VmaFlags::empty(), &objects.code)?;
    // Every dynamic linker reads it at once. If there is no memory, the access shows it.
    let _ = mm.handle_fault(code, Access::Read);
    Ok(code)
}
