//! What waits to run on one vCPU, in the order in which it is to run.
//!
//! A binary heap: the number of waiting tasks is small as a rule, and an entry is put in and taken out at every
//! switch. Ties are broken by arrival.

use alloc::{sync::Arc, vec::Vec};

use super::super::Task;

/// When a task's turn comes; the least runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Real-time priorities come first: 99 less the priority. [`FAIR`] for time sharing.
    pub(super) rank: u32,
    /// Virtual time in ns for time sharing; 0 for real time.
    pub(super) vtime: u64,
}

/// The rank of time-sharing tasks.
pub(super) const FAIR: u32 = 100;

/// Which end of the tasks of its own key a task joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was there before the others.
    Head,
    /// It has come last.
    Tail,
}

/// One waiting task.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    order: u64,
    pub(super) task: Arc<Task>,
}

impl Entry {
    fn before(&self, other: &Self) -> bool {
        (self.key, self.order) < (other.key, other.order)
    }
}

/// The queue of one vCPU.
#[derive(Debug)]
pub(super) struct RunQueue {
    heap: Vec<Entry>,
    /// No time-sharing task that is here is placed long before this virtual time. Never goes back.
    pub(super) floor: u64,
    next_order: u64,
    previous_order: u64,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), floor: 0, next_order: 1 << 63, previous_order: (1 << 63) - 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The key of the task whose turn is next.
    pub(super) fn first(&self) -> Option<Key> {
        self.heap.first().map(|entry| entry.key)
    }

    /// That task, and its key.
    pub(super) fn peek(&self) -> Option<(Key, &Task)> {
        self.heap.first().map(|entry| (entry.key, &*entry.task))
    }

    /// Moves the floor up to the virtual time of who runs or the first who waits, whichever is less.
    pub(super) fn advance(&mut self, running: Option<u64>) {
        let first = self.first().filter(|key| key.rank == FAIR).map(|key| key.vtime);
        if let Some(least) = running.into_iter().chain(first).min() {
            self.floor = self.floor.max(least);
        }
    }

    pub(super) fn push(&mut self, key: Key, task: Arc<Task>, end: End) {
        let order = match end {
            End::Head => {
                self.previous_order -= 1;
                self.previous_order
            }
            End::Tail => {
                self.next_order += 1;
                self.next_order
            }
        };
        self.heap.push(Entry { key, order, task });
        self.rise(self.heap.len() - 1);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        if self.heap.is_empty() { None } else { Some(self.remove(0)) }
    }

    /// Takes the first task, in the order of their turns, that `may` accepts.
    pub(super) fn take(&mut self, mut may: impl FnMut(&Task) -> bool) -> Option<Entry> {
        let mut best: Option<usize> = None;
        for (place, entry) in self.heap.iter().enumerate() {
            if best.is_none_or(|other| entry.before(&self.heap[other])) && may(&entry.task) {
                best = Some(place);
            }
        }
        best.map(|place| self.remove(place))
    }

    fn remove(&mut self, place: usize) -> Entry {
        let entry = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.sink(place);
            self.rise(place);
        }
        entry
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.heap[place].before(&self.heap[parent]) {
                break;
            }
            self.heap.swap(place, parent);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && self.heap[child].before(&self.heap[least]) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn task() -> Arc<Task> {
        crate::mem::init_for_tests();
        Task::idle()
    }

    #[test]
    fn real_time_comes_first_and_equals_in_the_order_of_arrival() {
        let mut queue = RunQueue::new();
        let tasks: Vec<_> = (0..5).map(|_| task()).collect();
        let fair = |vtime| Key { rank: FAIR, vtime };
        let real = Key { rank: 9, vtime: 0 };
        queue.push(fair(7), tasks[0].clone(), End::Tail);
        queue.push(fair(3), tasks[1].clone(), End::Tail);
        queue.push(real, tasks[2].clone(), End::Tail);
        queue.push(real, tasks[3].clone(), End::Tail);
        queue.push(real, tasks[4].clone(), End::Head);
        let order: Vec<_> = core::iter::from_fn(|| queue.pop())
            .map(|entry| tasks.iter().position(|task| Arc::ptr_eq(task, &entry.task)).unwrap())
            .collect();
        assert_eq!(order, [4, 2, 3, 1, 0]);
    }

    #[test]
    fn the_floor_follows_the_slowest_and_never_falls() {
        let mut queue = RunQueue::new();
        queue.push(Key { rank: FAIR, vtime: 50 }, task(), End::Tail);
        queue.advance(Some(80));
        assert_eq!(queue.floor, 50);
        queue.pop();
        queue.advance(Some(80));
        assert_eq!(queue.floor, 80);
        queue.advance(Some(60));
        queue.advance(None);
        assert_eq!(queue.floor, 80);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn gives_back_what_was_put_in_by_turn(
            vtimes in prop::collection::vec(0u64..50, 1..60),
            taken in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut queue = RunQueue::new();
            let tasks: Vec<_> = vtimes.iter().map(|_| task()).collect();
            for (task, &vtime) in tasks.iter().zip(&vtimes) {
                queue.push(Key { rank: FAIR, vtime }, task.clone(), End::Tail);
            }
            let mut left: Vec<usize> = (0..tasks.len()).collect();
            for index in taken {
                let wanted = &tasks[index.index(tasks.len())];
                let entry = queue.take(|task| core::ptr::eq(task, &**wanted));
                let there = left.iter().position(|&at| Arc::ptr_eq(&tasks[at], wanted));
                prop_assert_eq!(entry.is_some(), there.is_some());
                if let Some(there) = there {
                    left.remove(there);
                }
            }
            left.sort_by_key(|&at| (vtimes[at], at));
            for at in left {
                prop_assert!(Arc::ptr_eq(&queue.pop().unwrap().task, &tasks[at]));
            }
            prop_assert!(queue.pop().is_none());
        }
    }
}
