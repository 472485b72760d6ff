//! Sums over flows, of everything or of one group.

use serde::{Deserialize, Serialize};

/// Sums over flows and the time that they span; adding is associative and commutative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// Packets, as the exporters counted them.
    pub packets: u64,
    /// Layer-3 bytes, as the exporters counted them.
    pub bytes: u64,
    /// When the first flow began, ms since 1970; `u64::MAX` without flows.
    pub first_ms: u64,
    /// When the last flow ended, ms since 1970; 0 without flows.
    pub last_ms: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { flows: 0, packets: 0, bytes: 0, first_ms: u64::MAX, last_ms: 0 }
    }
}

impl Totals {
    /// Adds the sums of `other`; sums stop at the largest number instead of wrapping.
    pub fn add(&mut self, other: &Totals) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }

    /// From the first beginning to the last end, in ms; 0 without flows.
    pub fn duration_ms(&self) -> u64 {
        self.last_ms.saturating_sub(self.first_ms)
    }

    /// Packets a second; 0 when there is no duration, as in nfdump.
    pub fn pps(&self) -> u64 {
        per_second(self.packets, self.duration_ms())
    }

    /// Bits a second; 0 when there is no duration, as in nfdump.
    pub fn bps(&self) -> u64 {
        bits_per_second(self.bytes, self.duration_ms())
    }

    /// Bytes a packet; 0 without packets.
    pub fn bpp(&self) -> u64 {
        self.bytes.checked_div(self.packets).unwrap_or(0)
    }
}

/// `count` in `duration_ms` as a rate a second, 0 when there is no duration.
pub(crate) fn per_second(count: u64, duration_ms: u64) -> u64 {
    narrow((u128::from(count) * 1000).checked_div(duration_ms.into()).unwrap_or(0))
}

/// `bytes` in `duration_ms` as bits a second, 0 when there is no duration.
pub(crate) fn bits_per_second(bytes: u64, duration_ms: u64) -> u64 {
    narrow((u128::from(bytes) * 8000).checked_div(duration_ms.into()).unwrap_or(0))
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_without_duration_is_zero() {
        let totals = Totals { flows: 1, packets: 5, bytes: 500, first_ms: 7, last_ms: 7 };
        assert_eq!((totals.pps(), totals.bps(), totals.bpp()), (0, 0, 100));
        assert_eq!(Totals::default().bpp(), 0);
    }

    #[test]
    fn rates_of_the_largest_counters_do_not_overflow() {
        let totals =
            Totals { flows: 1, packets: u64::MAX, bytes: u64::MAX, first_ms: 0, last_ms: 1 };
        assert_eq!(totals.bps(), u64::MAX);
    }
}
