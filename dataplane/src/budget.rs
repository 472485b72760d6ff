//! Memory that many sessions share, in bytes.
//!
//! A bound for each session alone would be no bound: exporters are untrusted, and sessions many.
//! What a session remembers is paid twice: out of the share of its exporter's address, so that one
//! address can't use up what is there for others, and out of a purse for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that may still be used.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Budget { left: AtomicUsize::new(bytes) })
    }

    /// Bytes that nobody has taken.
    #[inline]
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if there are so many. Only the worker that owns the sessions calls this.
    fn take(&self, bytes: usize) -> bool {
        let left = self.left().checked_sub(bytes);
        left.map(|left| self.left.store(left, Ordering::Relaxed)).is_some()
    }

    fn give_back(&self, bytes: usize) {
        self.left.store(self.left() + bytes, Ordering::Relaxed);
    }
}

/// Which budget lacks what a session needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// That of the exporter's address.
    Source,
    /// That of all.
    All,
}

/// What one session pays from. What it has taken it gives back by name, not when it is dropped.
#[derive(Clone, Debug)]
pub struct Purse {
    source: Arc<Budget>,
    all: Arc<Budget>,
}

impl Purse {
    /// A purse that takes from the exporter's share and from what is there for all.
    pub fn new(source: Arc<Budget>, all: Arc<Budget>) -> Self {
        Purse { source, all }
    }

    /// Takes `bytes` of both budgets, or of none.
    ///
    /// # Errors
    /// Which budget lacks them.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Lacking> {
        if !self.source.take(bytes) {
            return Err(Lacking::Source);
        }
        if !self.all.take(bytes) {
            self.source.give_back(bytes);
            return Err(Lacking::All);
        }
        Ok(())
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.source.give_back(bytes);
        self.all.give_back(bytes);
    }

    /// Pays `held` bytes out of another budget for all from now on, if that has so many.
    pub(crate) fn move_to(&mut self, all: &Arc<Budget>, held: usize) -> bool {
        if Arc::ptr_eq(&self.all, all) {
            return true;
        }
        let taken = all.take(held);
        if taken {
            self.all.give_back(held);
            self.all = Arc::clone(all);
        }
        taken
    }
}

/// Bytes that an allocation of `bytes` takes of the heap, by the measure of common allocators: a
/// header and steps of 16.
pub(crate) const fn heap(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_where_one_budget_lacks_it() {
        let (source, all) = (Budget::new(10), Budget::new(6));
        let purse = Purse::new(Arc::clone(&source), Arc::clone(&all));
        assert_eq!(purse.take(11), Err(Lacking::Source));
        assert_eq!(purse.take(7), Err(Lacking::All));
        assert_eq!((source.left(), all.left()), (10, 6));
        assert_eq!(purse.take(6), Ok(()));
        assert_eq!((source.left(), all.left()), (4, 0));
    }

    #[test]
    fn what_is_held_moves_whole_or_not_at_all() {
        let (source, probation) = (Budget::new(10), Budget::new(10));
        let mut purse = Purse::new(Arc::clone(&source), Arc::clone(&probation));
        assert_eq!(purse.take(4), Ok(()));
        assert!(!purse.move_to(&Budget::new(3), 4));
        assert_eq!(probation.left(), 6);
        let all = Budget::new(5);
        assert!(purse.move_to(&all, 4));
        assert_eq!((source.left(), probation.left(), all.left()), (6, 10, 1));
        purse.give_back(4);
        assert_eq!((source.left(), all.left()), (10, 5));
    }
}
