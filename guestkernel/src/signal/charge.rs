//! How many signals wait for each user, for `RLIMIT_SIGPENDING`.

use alloc::collections::BTreeMap;

use crate::sync::SpinLock;

/// Most that one user has, whatever the limit says: they cost the sentry memory.
const MAX: u64 = 65_536;

static COUNTS: SpinLock<BTreeMap<u32, u64>> = SpinLock::new(BTreeMap::new());

/// One waiting signal, or one timer that will need one; given back when dropped.
#[derive(Debug)]
pub struct Charge(u32);

impl Charge {
    /// One more for this user, unless that is more than `limit`.
    #[must_use]
    pub fn new(uid: u32, limit: u64) -> Option<Self> {
        let mut counts = COUNTS.lock();
        let count = counts.entry(uid).or_insert(0);
        if *count >= limit.min(MAX) {
            return None;
        }
        *count += 1;
        Some(Self(uid))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut counts = COUNTS.lock();
        if let Some(count) = counts.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 && self.0 != 0 {
                counts.remove(&self.0);
            }
        }
    }
}

/// How many this user has.
#[must_use]
pub fn count(uid: u32) -> u64 {
    COUNTS.lock().get(&uid).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_at_most_its_limit() {
        const USER: u32 = 77_001;
        let first = Charge::new(USER, 2).unwrap();
        let second = Charge::new(USER, 2).unwrap();
        assert!(Charge::new(USER, 2).is_none());
        assert_eq!(count(USER), 2);
        drop(first);
        assert!(Charge::new(USER, 2).is_some());
        drop(second);
        assert_eq!(count(USER), 0);
    }
}
