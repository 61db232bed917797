//! Tables of objects: places, ids and keys.
//!
//! An id is a place in the table and a count of how often the table was gone through, so that an id is not soon used
//! again. Places are taken in turn, as Linux takes them: programs see the same ids.

use alloc::collections::BTreeMap;

use super::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, perm::Perm};
use crate::{
    errno::{Errno, Result},
    task::cred::Cred,
};

/// Places that a table can have.
pub const PLACES: u32 = 1 << 15;
/// Places that are gone through before one is used again.
const CYCLE: u32 = 64;
/// Counts of rounds.
const ROUNDS: u32 = i32::MAX as u32 / PLACES;

/// What a table holds.
pub trait Object {
    /// Owner and mode.
    fn perm(&self) -> &Perm;
}

#[derive(Debug)]
struct Slot<T> {
    round: u32,
    object: T,
}

/// A table.
#[derive(Debug)]
pub struct Ids<T> {
    slots: BTreeMap<u32, Slot<T>>,
    keys: BTreeMap<i32, u32>,
    /// Where the search for a free place starts.
    next: u32,
    last: Option<u32>,
    round: u32,
}

const fn place(id: i32) -> u32 {
    id as u32 % PLACES
}

const fn id(place: u32, round: u32) -> i32 {
    (round * PLACES + place) as i32
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ids<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: BTreeMap::new(), keys: BTreeMap::new(), next: 0, last: None, round: 0 }
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The highest place taken; 0 if none is.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(&place, _)| place.into())
    }

    /// The object with this id.
    #[must_use]
    pub fn get(&self, wanted: i32) -> Option<&T> {
        let slot = self.slots.get(&place(wanted)).filter(|_| wanted >= 0)?;
        (id(place(wanted), slot.round) == wanted).then_some(&slot.object)
    }

    /// As [`Self::get`], to be changed.
    pub fn get_mut(&mut self, wanted: i32) -> Option<&mut T> {
        let slot = self.slots.get_mut(&place(wanted)).filter(|_| wanted >= 0)?;
        (id(place(wanted), slot.round) == wanted).then_some(&mut slot.object)
    }

    /// The object in the place that an id has, whatever its round, and its id.
    #[must_use]
    pub fn at(&self, wanted: i32) -> Option<(i32, &T)> {
        let slot = self.slots.get(&place(wanted)).filter(|_| wanted >= 0)?;
        Some((id(place(wanted), slot.round), &slot.object))
    }

    /// All objects with their ids, in the order of places.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        self.slots.iter().map(|(&place, slot)| (id(place, slot.round), &slot.object))
    }

    /// All objects, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.values_mut().map(|slot| &mut slot.object)
    }

    /// Adds what `make` gives for its id.
    ///
    /// # Errors
    /// `ENOSPC` when there are `limit` objects.
    pub fn add(&mut self, key: i32, limit: usize, make: impl FnOnce(i32) -> T) -> Result<i32> {
        if self.slots.len() >= limit.min(PLACES as usize) {
            return Err(Errno::ENOSPC);
        }
        let used = self.slots.len() as u32;
        let end = (used + used / 2).clamp(CYCLE, PLACES);
        let found = self.free(self.next, end).or_else(|| self.free(0, end)).ok_or(Errno::ENOSPC)?;
        if self.last.is_some_and(|last| found <= last) {
            self.round = if self.round + 1 >= ROUNDS { 0 } else { self.round + 1 };
        }
        (self.last, self.next) = (Some(found), found + 1);
        let id = id(found, self.round);
        self.slots.insert(found, Slot { round: self.round, object: make(id) });
        if key != IPC_PRIVATE {
            self.keys.insert(key, found);
        }
        Ok(id)
    }

    /// The first free place of a range.
    fn free(&self, start: u32, end: u32) -> Option<u32> {
        let mut at = start;
        for (&taken, _) in self.slots.range(start..end.max(start)) {
            if taken != at {
                break;
            }
            at += 1;
        }
        (at < end).then_some(at)
    }
}

/// What a `…get` call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An object with this id.
    Old(i32),
    /// Nothing: one is to be made.
    Make,
}

impl<T: Object> Ids<T> {
    /// Looks a key up with the flags of a `…get` call; `check` is what else the object must be.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, or what `check` says.
    pub fn find(
        &self,
        key: i32,
        flags: u32,
        cred: &Cred,
        check: impl FnOnce(&T) -> Result<()>,
    ) -> Result<Found> {
        if key == IPC_PRIVATE {
            return Ok(Found::Make);
        }
        let place = self.keys.get(&key).copied();
        let Some((place, slot)) = place.and_then(|place| Some((place, self.slots.get(&place)?))) else {
            return if flags & IPC_CREAT != 0 { Ok(Found::Make) } else { Err(Errno::ENOENT) };
        };
        if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        check(&slot.object)?;
        slot.object.perm().check(cred, flags)?;
        Ok(Found::Old(id(place, slot.round)))
    }

    /// Takes an object out of the table.
    pub fn remove(&mut self, wanted: i32) -> Option<T> {
        self.get(wanted)?;
        self.forget_key(wanted);
        self.slots.remove(&place(wanted)).map(|slot| slot.object)
    }

    /// No key finds the object any more.
    pub fn forget_key(&mut self, wanted: i32) {
        let key = self.get(wanted).map_or(IPC_PRIVATE, |object| object.perm().key);
        if self.keys.get(&key) == Some(&place(wanted)) {
            self.keys.remove(&key);
        }
    }
}
