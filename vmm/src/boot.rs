//! Laying out a guest for its first instruction: page of misses, boot page, event page, call pages, boot stack, image, page
//! tables, in that order from 0 up, so that all of them lie in a few consecutive host pages.

use hostcall::{BOOT_MAGIC, BOOT_VERSION, BootFlags, BootInfo, MAX_REGIONS, MemoryRegion};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    cpu::{Features, Start},
    error::{Context, Error},
    image::{Image, Program},
    memory::Memory,
    paging::{Access, Tables},
};

const PAGE: u64 = hostcall::PAGE_SIZE as u64;
const BOOT_INFO: u64 = PAGE;
const EVENTS: u64 = 2 * PAGE;
const MISSES: u64 = 0;
const CALLS: u64 = 3 * PAGE;
const STACK: u64 = 64 * 1024;
/// First address of the region in which the direct map's base is chosen, and how many 512 GiB steps there are.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const DIRECT_STEP: u64 = 1 << 39;
const DIRECT_CHOICES: u64 = 64;
/// The image lies in the last 2 GiB, below the last 16 MiB, at a multiple of 2 MiB.
const IMAGE_FIRST: u64 = 0xffff_ffff_8000_0000;
const IMAGE_END: u64 = 0xffff_ffff_ff00_0000;
const IMAGE_STEP: u64 = 2 << 20;

/// What the caller decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) cpus: u32,
    pub(crate) log_level: u32,
    pub(crate) strace: bool,
}

/// Clocks and TSC read at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    pub(crate) tsc_khz: u64,
    pub(crate) tsc: u64,
    pub(crate) realtime_ns: u64,
    pub(crate) monotonic_ns: u64,
}

/// A laid-out guest.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Start of vCPU 0.
    pub(crate) start: Start,
    /// Guest-physical address of the first call page.
    pub(crate) calls: u64,
    /// Guest-physical address of the event page.
    pub(crate) events: u64,
    /// What was added to the image's addresses.
    pub(crate) slide: u64,
    info: BootInfo,
}

/// Random choices of a sandbox.
#[derive(Debug)]
struct Chance {
    image: u64,
    direct_map: u64,
    seed: [u8; 32],
}

impl Chance {
    fn draw() -> Result<Self, Error> {
        let mut bytes = [0; 48];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .system("getrandom")?;
        }
        let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let mut seed = [0; 32];
        seed.copy_from_slice(&bytes[16..]);
        Ok(Self { image: word(0), direct_map: word(8), seed })
    }
}

impl Boot {
    /// Loads `image`, which lies in `program`, into `memory` and builds everything around it.
    pub(crate) fn build(
        memory: &Memory,
        image: &Image<'_>,
        features: &Features,
        settings: Settings,
        program: Option<&Program>,
    ) -> Result<Self, Error> {
        let chance = Chance::draw()?;
        let stack = CALLS + u64::from(settings.cpus) * PAGE;
        let image_phys = stack + STACK;
        let places = (IMAGE_END - IMAGE_FIRST - image.len().min(1 << 30)) / IMAGE_STEP;
        let image_virt = IMAGE_FIRST + chance.image % places * IMAGE_STEP;
        let slide = image_virt.wrapping_sub(image.start());
        let direct_map = DIRECT_MAP + chance.direct_map % DIRECT_CHOICES * DIRECT_STEP;
        image.load(memory, image_phys, slide, program)?;
        let mut tables = Tables::new(memory, image_phys + image.len());
        map_image(&mut tables, image, image_virt, image_phys)?;
        map_direct(&mut tables, memory, features, direct_map)?;
        let (window_start, window_len) = memory.window();
        let mut info = BootInfo::new_zeroed();
        info.magic = BOOT_MAGIC;
        info.version = BOOT_VERSION;
        info.flags = if settings.strace { BootFlags::STRACE.bits() } else { 0 };
        info.cpus = settings.cpus;
        info.log_level = settings.log_level;
        for (region, (start, len)) in info.regions.iter_mut().zip(memory.ram_regions()) {
            *region = MemoryRegion { start, len };
        }
        info.free_start = tables.end();
        info.direct_map = direct_map;
        info.image_virt = image_virt;
        info.image_len = image.len();
        info.image_phys = image_phys;
        info.calls = CALLS;
        info.events = EVENTS;
        info.misses = MISSES;
        info.window_start = window_start;
        info.window_len = window_len;
        info.xcr0 = features.xcr0;
        info.seed = chance.seed;
        let start = Start {
            index: 0,
            entry: image.entry.wrapping_add(slide),
            stack: direct_map + stack + STACK,
            boot_info: direct_map + BOOT_INFO,
            page_table: tables.root(),
            misses: Some(MISSES),
        };
        Ok(Self { start, calls: CALLS, events: EVENTS, slide, info })
    }

    /// Completes the boot page once the clocks are known.
    pub(crate) fn finish(&mut self, memory: &Memory, clocks: Clocks) -> Result<(), Error> {
        self.info.tsc_khz = clocks.tsc_khz;
        self.info.tsc_base = clocks.tsc;
        self.info.realtime_ns = clocks.realtime_ns;
        self.info.monotonic_ns = clocks.monotonic_ns;
        memory.write(BOOT_INFO, self.info.as_bytes()).system("write the boot page")?;
        self.info.seed = [0; 32];
        Ok(())
    }
}

const _: () = assert!(MAX_REGIONS >= 2);

fn map_image(tables: &mut Tables<'_>, image: &Image<'_>, virt: u64, phys: u64) -> Result<(), Error> {
    for segment in &image.segments {
        let first = segment.start / PAGE * PAGE - image.start();
        let len = (segment.start + segment.memory_len).next_multiple_of(PAGE) - image.start() - first;
        let access = match (segment.rights.write, segment.rights.execute) {
            (true, _) => Access::ReadWrite,
            (false, true) => Access::ReadExecute,
            (false, false) => Access::Read,
        };
        tables.map(virt + first, phys + first, len, 0, access)?;
    }
    Ok(())
}

/// Maps all memory, leaving out the hole below 4 GiB.
fn map_direct(tables: &mut Tables<'_>, memory: &Memory, features: &Features, base: u64) -> Result<(), Error> {
    let level = if features.huge_pages { 2 } else { 1 };
    for slot in memory.slots() {
        tables.map(base + slot.gpa, slot.gpa, slot.len, level, Access::ReadWrite)?;
    }
    Ok(())
}
