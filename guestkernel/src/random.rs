//! Random bytes: ChaCha20 seeded by the host and the CPU.
//!
//! The generator's key is replaced by its own output after every request, so that what was given out cannot be
//! computed from a later state.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{arch, sync::SpinLock};

static GENERATOR: SpinLock<Option<ChaCha20Rng>> = SpinLock::new(None);

fn seeded() -> ChaCha20Rng {
    let mut seed = arch::take_seed().unwrap_or_default();
    for chunk in seed.chunks_exact_mut(8) {
        let word = arch::hardware_random().unwrap_or(0) ^ arch::clock::tsc().rotate_left(32);
        chunk.iter_mut().zip(word.to_le_bytes()).for_each(|(byte, more)| *byte ^= more);
    }
    ChaCha20Rng::from_seed(seed)
}

/// Fills `bytes`. Bounded pieces at a time: the generator is locked meanwhile.
pub fn fill(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(4096) {
        let mut generator = GENERATOR.lock();
        let generator = generator.get_or_insert_with(seeded);
        generator.fill_bytes(piece);
        let mut key = [0; 32];
        generator.fill_bytes(&mut key);
        *generator = ChaCha20Rng::from_seed(key);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn output_does_not_repeat() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        super::fill(&mut one);
        super::fill(&mut two);
        assert_ne!(one, two);
        assert_ne!(one, [0; 32]);
    }
}
