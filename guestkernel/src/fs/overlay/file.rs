//! Contents of an overlay's files: those below until somebody may write them, then those above.
//!
//! Who has had a file open since before reads what is above as well. What was mapped before stays what it was, as in
//! Linux's overlayfs.

use alloc::{sync::Arc, vec};
use core::sync::atomic::Ordering;

use super::OverlayInode;
use crate::{
    errno::{Errno, Result},
    fs::{
        file::{File, FileOps},
        inode::Inode,
        tmpfs::TmpInode,
    },
    mem::PAGE_SIZE,
    mm::Mappable,
    task::sched,
    uio::{Sink, Source},
};

/// Bytes that are copied in one piece.
const PIECE: usize = 16 * PAGE_SIZE as usize;

/// Copies the first `limit` bytes of the contents below; pages of zeros become holes.
pub(super) fn copy(from: &dyn FileOps, inode: &Arc<OverlayInode>, to: &TmpInode, limit: u64) -> Result<()> {
    let size = Inode::size(to)?.min(limit);
    let file = File::anonymous(inode.clone(), inode.clone(), b"", 0);
    let mut bytes = vec![0; PIECE.min(size.next_multiple_of(PAGE_SIZE) as usize)];
    let mut at = 0;
    while at < size {
        let want = bytes.len().min((size - at) as usize);
        let mut done = 0;
        while done < want {
            match from.read_at(&file, &mut Sink::Kernel(&mut bytes[done..want]), at + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(error) => {
                    to.discard();
                    return Err(error);
                }
            }
        }
        // Others cut it short.
        bytes[done..].fill(0);
        for (page, bytes) in
            bytes.chunks(PAGE_SIZE as usize).take(done.div_ceil(PAGE_SIZE as usize)).enumerate()
        {
            if bytes.iter().any(|&byte| byte != 0) {
                to.put_page(at / PAGE_SIZE + page as u64, bytes).inspect_err(|_| to.discard())?;
            }
        }
        at += want as u64;
        sched::yield_now();
    }
    if limit < u64::MAX {
        to.cut_to(size);
    }
    Ok(())
}

impl OverlayInode {
    /// Whatever has the contents.
    pub(super) fn contents(&self) -> Result<Arc<dyn FileOps>> {
        if self.contents_below.load(Ordering::SeqCst)
            && let Some(lower) = self.lower()
        {
            return lower.open(0);
        }
        Ok(self.upper().ok_or(Errno::ESTALE)?.clone())
    }

    /// The contents above, to be changed.
    fn own(&self) -> Result<&Arc<TmpInode>> {
        self.raise_contents(u64::MAX)?;
        self.upper().ok_or(Errno::ESTALE)
    }
}

impl FileOps for OverlayInode {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        self.contents()?.read_at(file, sink, offset)
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        self.own()?.write_at(file, source, offset)
    }

    fn append(&self, file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        self.own()?.append(file, source)
    }

    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        self.contents()?.mappable(file)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn seek_data(&self, file: &File, offset: u64, hole: bool) -> Result<u64> {
        self.contents()?.seek_data(file, offset, hole)
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.own()?.allocate(mode, offset, len)
    }
}
