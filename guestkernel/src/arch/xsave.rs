//! FPU state as bytes: XSAVE's standard format, and Linux's signal-frame image of it.

use crate::errno::{Errno, Result};

/// Length of the legacy (FXSAVE) part.
pub(super) const LEGACY: usize = 512;
/// Length of the legacy part and the header.
pub(super) const MINIMUM: usize = LEGACY + 64;
/// Place of MXCSR.
const MXCSR: usize = 24;
/// Place of what Linux stores for software in the legacy part.
const SOFTWARE: usize = 464;
/// Linux's marks around the extended part of a signal frame's image.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// x87 and SSE.
const LEGACY_FEATURES: u64 = 3;

/// A little-endian word; 0 outside of `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Sets the state in which programs start.
pub(super) fn clear(area: &mut [u8]) {
    area.fill(0);
    put(area, 0, &0x37fu16.to_le_bytes());
    put(area, MXCSR, &0x1f80u32.to_le_bytes());
}

/// Writes the signal-frame image of `area`; gives its length, 0 when it does not fit.
pub(super) fn export(area: &[u8], features: u64, out: &mut [u8]) -> usize {
    let length = area.len() + 4;
    let Some(out) = out.get_mut(..length).filter(|_| area.len() >= MINIMUM) else { return 0 };
    out[..area.len()].copy_from_slice(area);
    out[SOFTWARE..LEGACY].fill(0);
    put(out, SOFTWARE, &MAGIC1.to_le_bytes());
    put(out, SOFTWARE + 4, &(length as u32).to_le_bytes());
    put(out, SOFTWARE + 8, &features.to_le_bytes());
    put(out, SOFTWARE + 16, &(area.len() as u32).to_le_bytes());
    put(out, area.len(), &MAGIC2.to_le_bytes());
    length
}

/// Takes a signal-frame image into `area`, made such that XRSTOR of `features` cannot fault on it: no
/// component that is not enabled, no compaction, reserved bytes zero, no invalid MXCSR bit. An image without
/// Linux's marks has the legacy part only.
///
/// # Errors
/// `EINVAL` when there is not even that.
pub(super) fn import(area: &mut [u8], image: &[u8], features: u64, mxcsr_mask: u32) -> Result<()> {
    let size = area.len();
    if image.len() < LEGACY || size < MINIMUM {
        return Err(Errno::EINVAL);
    }
    let extended = u32_at(image, SOFTWARE) == MAGIC1
        && image.len() >= size + 4
        && u32_at(image, SOFTWARE + 16) as usize == size
        && u32_at(image, size) == MAGIC2;
    let count = if extended { size } else { LEGACY };
    area[count..].fill(0);
    area[..count].copy_from_slice(&image[..count]);
    let mxcsr = u32_at(area, MXCSR) & mxcsr_mask;
    put(area, MXCSR, &mxcsr.to_le_bytes());
    let present = if extended { u64_at(area, LEGACY) & features } else { LEGACY_FEATURES };
    area[LEGACY..MINIMUM].fill(0);
    put(area, LEGACY, &present.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    const SIZE: usize = MINIMUM + 256;
    const FEATURES: u64 = 7;

    fn sample() -> Vec<u8> {
        let mut area = vec![0; SIZE];
        clear(&mut area);
        area[160..176].fill(0xab);
        area[600] = 0xcd;
        put(&mut area, LEGACY, &7u64.to_le_bytes());
        area
    }

    #[test]
    fn image_round_trips() {
        let area = sample();
        let mut image = vec![0xff; SIZE + 4];
        assert_eq!(export(&area, FEATURES, &mut image), SIZE + 4);
        let mut back = vec![0x11; SIZE];
        import(&mut back, &image, FEATURES, 0xffff).unwrap();
        assert_eq!(back[..SOFTWARE], area[..SOFTWARE]);
        assert_eq!(back[LEGACY..], area[LEGACY..]);
    }

    #[test]
    fn legacy_image_resets_the_rest() {
        let area = sample();
        let mut back = vec![0x11; SIZE];
        import(&mut back, &area[..LEGACY], FEATURES, 0xffff).unwrap();
        assert_eq!(back[160..176], [0xab; 16]);
        assert_eq!(u64_at(&back, LEGACY), LEGACY_FEATURES);
        assert!(back[MINIMUM..].iter().all(|byte| *byte == 0));
        assert_eq!(import(&mut back, &area[..LEGACY - 1], FEATURES, 0xffff), Err(Errno::EINVAL));
        assert_eq!(export(&area, FEATURES, &mut back), 0);
    }

    proptest! {
        #[test]
        fn import_never_gives_what_faults(
            mut image in proptest::collection::vec(any::<u8>(), LEGACY..SIZE + 64),
            marks: bool,
        ) {
            if marks {
                put(&mut image, SOFTWARE, &MAGIC1.to_le_bytes());
                put(&mut image, SOFTWARE + 16, &(SIZE as u32).to_le_bytes());
                put(&mut image, SIZE, &MAGIC2.to_le_bytes());
            }
            let mut area = vec![0; SIZE];
            import(&mut area, &image, FEATURES, 0xffff).unwrap();
            prop_assert_eq!(u64_at(&area, LEGACY) & !FEATURES, 0);
            prop_assert!(area[LEGACY + 8..MINIMUM].iter().all(|byte| *byte == 0));
            prop_assert_eq!(u32_at(&area, MXCSR) & !0xffff, 0);
        }
    }
}
