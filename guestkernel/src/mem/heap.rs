//! The kernel heap: size classes over frames.
//!
//! `Layout` tells the size at both ends, so an object needs no header. Each vCPU has a free list per class;
//! a class takes whole frames and carves them on demand. Larger objects are blocks of frames, or frames
//! that only their addresses join. Frames of a
//! class are not given back: the kernel's objects come and go in similar numbers.
#![allow(unsafe_code, reason = "a global allocator hands out raw memory")]

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
};

use super::{PAGE_SIZE, frame, scattered};
use crate::{
    arch::{self, PhysAddr},
    sync::SpinLock,
};

/// Sizes of the classes, bytes. Each is a multiple of 16; powers of two are aligned to themselves.
const SIZES: [u16; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1360, 2048];
const LARGEST: usize = 2048;

/// Class of a size in units of 16 bytes, rounded up.
const CLASS_OF: [u8; LARGEST / 16 + 1] = {
    let mut table = [0; LARGEST / 16 + 1];
    let mut units = 0;
    let mut class = 0;
    while units < table.len() {
        if units * 16 > SIZES[class] as usize {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
};

/// Free objects of one class: a list threaded through them, and an uncarved rest of a frame.
struct Class {
    free: Option<NonNull<Link>>,
    next: usize,
    end: usize,
}

struct Link {
    next: Option<NonNull<Link>>,
}

// SAFETY: the pointers are to memory that the class owns; access is under its lock.
unsafe impl Send for Class {}

type Classes = [SpinLock<Class>; SIZES.len()];

static HEAPS: [Classes; hostcall::MAX_CPUS] =
    [const { [const { SpinLock::new(Class { free: None, next: 0, end: 0 }) }; SIZES.len()] };
        hostcall::MAX_CPUS];

/// See the module's comment.
#[derive(Debug)]
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The class that serves `layout`; `None` for a block of frames.
fn class_of(layout: Layout) -> Option<usize> {
    let size = if layout.align() > 16 {
        layout.size().max(layout.align()).next_power_of_two()
    } else {
        layout.size()
    };
    (size <= LARGEST).then(|| CLASS_OF[size.div_ceil(16)] as usize)
}

/// The order of the block that serves a large `layout`.
fn order_of(layout: Layout) -> u32 {
    layout.size().max(layout.align()).div_ceil(PAGE_SIZE as usize).next_power_of_two().trailing_zeros()
}

/// An object in scattered frames, which is aligned to a page only.
#[cold]
fn scattered_for(layout: Layout, order: u32) -> Option<*mut u8> {
    if layout.align() <= PAGE_SIZE as usize { scattered::alloc(order) } else { None }
}

impl Class {
    fn take(&mut self, size: usize) -> Option<*mut u8> {
        if let Some(first) = self.free {
            // SAFETY: a list entry is a free object that starts with an initialised link.
            self.free = unsafe { first.as_ref().next };
            return Some(first.as_ptr().cast());
        }
        if self.next + size > self.end {
            let frame = frame::alloc_for_kernel()?;
            self.next = arch::phys_to_virt(frame.into_raw()) as usize;
            self.end = self.next + PAGE_SIZE as usize;
        }
        let object = self.next;
        self.next += size;
        Some(object as *mut u8)
    }

    fn put(&mut self, object: NonNull<Link>) {
        // SAFETY: the caller freed the object, which is at least 16 bytes and aligned to 16.
        unsafe { object.as_ptr().write(Link { next: self.free }) };
        self.free = Some(object);
    }
}

// SAFETY: objects come from frames that this allocator owns, at least as large and as aligned as asked, and
// never twice.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => HEAPS[arch::cpu::current_index()][class]
                .lock()
                .take(SIZES[class] as usize)
                .unwrap_or(ptr::null_mut()),
            None => {
                let order = order_of(layout);
                let block = frame::alloc_order(order).map(|(addr, _)| arch::phys_to_virt(addr));
                block.or_else(|| scattered_for(layout, order)).unwrap_or(ptr::null_mut())
            }
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        match class_of(layout) {
            Some(class) => {
                if let Some(object) = NonNull::new(object.cast::<Link>()) {
                    HEAPS[arch::cpu::current_index()][class].lock().put(object);
                }
            }
            // SAFETY: the caller frees an object that `alloc` gave for this layout.
            None if scattered::contains(object) => unsafe { scattered::free(object, order_of(layout)) },
            None => frame::free_order(PhysAddr(arch::virt_to_phys(object)), order_of(layout)),
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the rounded-up new size does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let fits = match (class_of(layout), class_of(new)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => order_of(layout) == order_of(new),
            _ => false,
        };
        if fits {
            return object;
        }
        // SAFETY: as the caller of this method guarantees for `layout` and `new_size`.
        let fresh = unsafe { self.alloc(new) };
        if !fresh.is_null() {
            // SAFETY: both objects are live and do not overlap; the old one is freed with its own layout.
            unsafe {
                ptr::copy_nonoverlapping(object, fresh, layout.size().min(new_size));
                self.dealloc(object, layout);
            }
        }
        fresh
    }
}
