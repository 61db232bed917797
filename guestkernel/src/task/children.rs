//! The children of a process, in the order in which it got them.
//!
//! Taking one out and finding one that has ended cost the same however many there are: a process that left its forks
//! alone has tens of thousands.

use alloc::collections::BTreeMap;

/// Where a child stands among its siblings.
pub(super) type Place = u64;

/// The children of one process.
#[derive(Debug, Default)]
pub struct Children {
    all: BTreeMap<Place, u32>,
    ended: BTreeMap<Place, u32>,
    next: Place,
}

impl Children {
    /// Adds a child as the youngest. Its place.
    pub fn add(&mut self, pid: u32, ended: bool) -> Place {
        let place = self.next;
        self.next += 1;
        self.all.insert(place, pid);
        if ended {
            self.ended.insert(place, pid);
        }
        place
    }

    /// Takes a child out.
    pub fn remove(&mut self, place: Place) {
        self.all.remove(&place);
        self.ended.remove(&place);
    }

    /// A child has become a zombie.
    pub fn end(&mut self, place: Place) {
        if let Some(&pid) = self.all.get(&place) {
            self.ended.insert(place, pid);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, oldest first, zombies included.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.all.values().copied()
    }

    /// Those that are zombies, oldest first.
    pub fn ended(&self) -> impl Iterator<Item = u32> {
        self.ended.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn order_is_that_of_coming() {
        let mut children = Children::default();
        let places: Vec<Place> = [5, 9, 7].map(|pid| children.add(pid, false)).into();
        children.end(places[2]);
        children.end(places[1]);
        assert_eq!(children.iter().collect::<Vec<_>>(), [5, 9, 7]);
        assert_eq!(children.ended().collect::<Vec<_>>(), [9, 7]);
        children.remove(places[1]);
        children.end(places[1]);
        assert_eq!(children.ended().collect::<Vec<_>>(), [7]);
        children.remove(places[0]);
        children.remove(places[2]);
        assert!(children.is_empty() && children.ended().next().is_none());
    }
}
