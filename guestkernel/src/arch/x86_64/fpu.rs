//! FPU state of user tasks, in XSAVE's standard format.
//!
//! The kernel never touches these registers. They are saved when a user task is left, and loaded when a user
//! task comes whose state they do not hold any more.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{
    alloc::Layout,
    arch::{
        asm,
        x86_64::{_xgetbv, _xsetbv},
    },
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use super::{context::ThreadContext, cpu};
use crate::{
    arch::xsave::{self, LEGACY, MINIMUM, u32_at},
    errno::{Errno, Result},
};

/// x87, SSE, AVX, the three AVX-512 components.
const SUPPORTED: u64 = 0xe7;
const MXCSR_MASK: usize = 28;
const NOWHERE: u32 = u32::MAX;

static FEATURES: AtomicU64 = AtomicU64::new(3);
static SIZE: AtomicU32 = AtomicU32::new(MINIMUM as u32);
static OPTIMIZED: AtomicBool = AtomicBool::new(false);
static MXCSR_VALID: AtomicU32 = AtomicU32::new(0xffff);

/// Enables the components that KVM reports, on this CPU.
pub(super) fn init(xcr0: u64) {
    let mut features = xcr0 & SUPPORTED | 3;
    // AVX-512 comes whole and with AVX, or not at all.
    if features & 0xe4 != 0xe4 {
        features &= 7;
    }
    // SAFETY: CR4.OSXSAVE is set; the components are ones that the CPU supports.
    unsafe {
        _xsetbv(0, features);
        features = _xgetbv(0);
    }
    FEATURES.store(features, Ordering::Relaxed);
    SIZE.store(cpu::cpuid(13, 0).ebx.max(MINIMUM as u32), Ordering::Relaxed);
    OPTIMIZED.store(cpu::cpuid(13, 1).eax & 1 != 0, Ordering::Relaxed);
    let mut image = Area([0; LEGACY]);
    #[repr(align(16))]
    struct Area([u8; LEGACY]);
    // SAFETY: the area is large and aligned enough.
    unsafe { asm!("fninit", "fxsave64 [{}]", in(reg) &raw mut image, options(nostack)) };
    let mask = u32_at(&image.0, MXCSR_MASK);
    MXCSR_VALID.store(if mask == 0 { 0xffbf } else { mask }, Ordering::Relaxed);
}

fn area_size() -> usize {
    SIZE.load(Ordering::Relaxed) as usize
}

/// State components that programs may use.
#[must_use]
pub fn components() -> u64 {
    FEATURES.load(Ordering::Relaxed)
}

/// Length of the image in a signal frame: the state and the second magic number.
#[must_use]
pub fn size() -> usize {
    area_size() + 4
}

/// A user task's FPU state; kernel tasks have none.
#[derive(Debug)]
pub struct FpuState {
    area: Option<NonNull<u8>>,
    /// The CPU that loaded it last, or [`NOWHERE`] when the area was changed since.
    cpu: AtomicU32,
}

// SAFETY: the area is used by the CPU that runs the task, or by who holds the task while it does not run.
unsafe impl Send for FpuState {}
// SAFETY: as above.
unsafe impl Sync for FpuState {}

fn layout() -> Result<Layout> {
    Layout::from_size_align(area_size(), 64).map_err(|_| Errno::ENOMEM)
}

impl FpuState {
    /// No state.
    pub(super) const fn none() -> Self {
        Self { area: None, cpu: AtomicU32::new(NOWHERE) }
    }

    /// The state in which programs start.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: the layout has a size.
        let area = unsafe { alloc_zeroed(layout()?) };
        let area = NonNull::new(area).ok_or(Errno::ENOMEM)?;
        let state = Self { area: Some(area), cpu: AtomicU32::new(NOWHERE) };
        state.clear();
        Ok(state)
    }

    /// The area. Callers run on the task's behalf: it is current, or does not run.
    #[allow(clippy::mut_from_ref, reason = "the area is not part of the struct; see the comment")]
    fn bytes(&self) -> &mut [u8] {
        match self.area {
            // SAFETY: the area has this size and is this state's own; access is exclusive as said above.
            Some(area) => unsafe { core::slice::from_raw_parts_mut(area.as_ptr(), area_size()) },
            None => &mut [],
        }
    }

    fn clear(&self) {
        xsave::clear(self.bytes());
        self.cpu.store(NOWHERE, Ordering::Relaxed);
    }

    /// Back to the state in which programs start.
    pub(super) fn reset(&self, live: bool) {
        self.clear();
        if live {
            self.load();
        }
    }

    /// A copy, with the registers' content when they hold this state.
    pub(super) fn duplicate(&self, live: bool) -> Result<Self> {
        if live {
            self.save();
        }
        let copy = Self::new()?;
        let (to, from) = (copy.bytes(), self.bytes());
        if to.len() == from.len() {
            to.copy_from_slice(from);
        }
        Ok(copy)
    }

    /// Saves the registers.
    pub(super) fn save(&self) {
        let Some(area) = self.area else { return };
        let features = FEATURES.load(Ordering::Relaxed);
        let (low, high) = (features as u32, (features >> 32) as u32);
        // SAFETY: the area is aligned to 64 and has the size that CPUID gives for the enabled components.
        unsafe {
            if OPTIMIZED.load(Ordering::Relaxed) {
                asm!("xsaveopt64 [{}]", in(reg) area.as_ptr(), in("eax") low, in("edx") high, options(nostack));
            } else {
                asm!("xsave64 [{}]", in(reg) area.as_ptr(), in("eax") low, in("edx") high, options(nostack));
            }
        }
    }

    fn load(&self) {
        let Some(area) = self.area else { return };
        let features = FEATURES.load(Ordering::Relaxed);
        // SAFETY: as in `save`; the content was saved by the CPU or checked by `take_image`, so it is valid.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area.as_ptr(), in("eax") features as u32,
                in("edx") (features >> 32) as u32, options(nostack));
        }
    }

    /// Loads the registers of `owner`, whose state this is, unless they hold it.
    pub(super) fn load_for(&self, owner: &ThreadContext) {
        let cpu = cpu::this();
        let index = cpu::current_index() as u32;
        let owner = core::ptr::from_ref(owner).cast_mut();
        if self.cpu.load(Ordering::Relaxed) != index || cpu.fpu_owner.load(Ordering::Relaxed) != owner {
            self.load();
            self.cpu.store(index, Ordering::Relaxed);
            cpu.fpu_owner.store(owner, Ordering::Relaxed);
        }
    }

    /// `owner` goes away.
    pub(super) fn forget_owner(&self, owner: &ThreadContext) {
        let index = self.cpu.load(Ordering::Relaxed);
        let owner = core::ptr::from_ref(owner).cast_mut();
        if let Some(cpu) = cpu::get(index as usize) {
            let null = core::ptr::null_mut();
            let _ = cpu.fpu_owner.compare_exchange(owner, null, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Writes the image for a signal frame, as Linux lays it out; gives its length.
    pub(super) fn to_bytes(&self, live: bool, out: &mut [u8]) -> usize {
        if live {
            self.save();
        }
        xsave::export(self.bytes(), FEATURES.load(Ordering::Relaxed), out)
    }

    /// Takes an image from a signal frame. Whatever it holds, loading it does not fault.
    pub(super) fn take_image(&self, live: bool, image: &[u8]) -> Result<()> {
        let features = FEATURES.load(Ordering::Relaxed);
        xsave::import(self.bytes(), image, features, MXCSR_VALID.load(Ordering::Relaxed))?;
        self.cpu.store(NOWHERE, Ordering::Relaxed);
        if live {
            self.load();
        }
        Ok(())
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        if let (Some(area), Ok(layout)) = (self.area, layout()) {
            // SAFETY: allocated with the same layout; the size does not change after boot.
            unsafe { dealloc(area.as_ptr(), layout) };
        }
    }
}
