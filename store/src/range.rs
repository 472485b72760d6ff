//! The times that the rows of a batch or segment span, by which a query can pass it over.

use serde::{Deserialize, Serialize};

use crate::Batch;

/// Smallest and largest of the three times of some rows, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The earliest beginning of a flow; `u64::MAX` without rows.
    pub first_min_ms: u64,
    /// The latest beginning of a flow.
    pub first_max_ms: u64,
    /// The earliest end of a flow; `u64::MAX` without rows.
    pub last_min_ms: u64,
    /// The latest end of a flow.
    pub last_max_ms: u64,
    /// The earliest arrival; `u64::MAX` without rows.
    pub received_min_ms: u64,
    /// The latest arrival.
    pub received_max_ms: u64,
}

impl Default for TimeRange {
    fn default() -> Self {
        TimeRange {
            first_min_ms: u64::MAX,
            first_max_ms: 0,
            last_min_ms: u64::MAX,
            last_max_ms: 0,
            received_min_ms: u64::MAX,
            received_max_ms: 0,
        }
    }
}

impl TimeRange {
    /// Widens the range to the rows of `batch`.
    pub fn cover(&mut self, batch: &Batch) {
        let smallest = |values: &[u64], so_far: u64| values.iter().copied().fold(so_far, u64::min);
        let largest = |values: &[u64], so_far: u64| values.iter().copied().fold(so_far, u64::max);
        self.first_min_ms = smallest(&batch.first_ms, self.first_min_ms);
        self.first_max_ms = largest(&batch.first_ms, self.first_max_ms);
        self.last_min_ms = smallest(&batch.last_ms, self.last_min_ms);
        self.last_max_ms = largest(&batch.last_ms, self.last_max_ms);
        self.received_min_ms = smallest(&batch.received_ms, self.received_min_ms);
        self.received_max_ms = largest(&batch.received_ms, self.received_max_ms);
    }

    /// The range of both.
    #[must_use]
    pub fn union(self, other: TimeRange) -> TimeRange {
        TimeRange {
            first_min_ms: self.first_min_ms.min(other.first_min_ms),
            first_max_ms: self.first_max_ms.max(other.first_max_ms),
            last_min_ms: self.last_min_ms.min(other.last_min_ms),
            last_max_ms: self.last_max_ms.max(other.last_max_ms),
            received_min_ms: self.received_min_ms.min(other.received_min_ms),
            received_max_ms: self.received_max_ms.max(other.received_max_ms),
        }
    }

    /// Whether some row may lie wholly between the two moments, both inclusive.
    pub fn may_lie_within(&self, from_ms: u64, until_ms: u64) -> bool {
        self.first_max_ms >= from_ms && self.last_min_ms <= until_ms
    }

    /// Whether every row lies wholly between the two moments, both inclusive.
    pub fn lies_within(&self, from_ms: u64, until_ms: u64) -> bool {
        self.first_min_ms >= from_ms && self.last_max_ms <= until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_rows_holds_nothing() {
        assert!(!TimeRange::default().may_lie_within(1, u64::MAX - 1));
    }

    #[test]
    fn a_flow_that_reaches_over_the_edge_is_not_within() {
        let mut batch = Batch::default();
        batch.first_ms.push(10);
        batch.last_ms.push(30);
        batch.fill(1);
        let mut range = TimeRange::default();
        range.cover(&batch);
        assert!(range.lies_within(10, 30));
        assert!(!range.may_lie_within(10, 29));
        assert!(!range.may_lie_within(11, 30));
    }
}
