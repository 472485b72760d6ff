//! Sums over flows, of everything or of one group.

use serde::{Deserialize, Serialize};

/// Sums over flows and the time that they span; adding is associative and commutative.
///
/// The estimates are what the counts stand for: a flow's packets and bytes times the rate at which
/// its exporter sampled packets, and all three times the rate at which the collector kept flow
/// records. How many flows an exporter's sampling did not see at all nobody can tell, so that rate
/// does not count for flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// Packets, as the exporters counted them.
    pub packets: u64,
    /// Layer-3 bytes, as the exporters counted them.
    pub bytes: u64,
    /// What the flows stand for.
    pub flows_estimated: u64,
    /// What the packets stand for.
    pub packets_estimated: u64,
    /// What the bytes stand for.
    pub bytes_estimated: u64,
    /// When the first flow began, ms since 1970; `u64::MAX` without flows.
    pub first_ms: u64,
    /// When the last flow ended, ms since 1970; 0 without flows.
    pub last_ms: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            flows: 0,
            packets: 0,
            bytes: 0,
            flows_estimated: 0,
            packets_estimated: 0,
            bytes_estimated: 0,
            first_ms: u64::MAX,
            last_ms: 0,
        }
    }
}

impl Totals {
    /// Of one flow that nothing was left out of.
    #[inline]
    pub fn of_flow(packets: u64, bytes: u64, first_ms: u64, last_ms: u64) -> Self {
        Totals {
            flows: 1,
            packets,
            bytes,
            flows_estimated: 1,
            packets_estimated: packets,
            bytes_estimated: bytes,
            first_ms,
            last_ms,
        }
    }

    /// The sums of one flow of which one packet in `packets` was looked at, and of whose like one in
    /// `flows` was kept; 0 and 1 are all.
    #[inline]
    #[must_use]
    pub fn sampled(self, packets: u32, flows: u32) -> Self {
        let flows = u128::from(flows.max(1));
        let both = flows * u128::from(packets.max(1));
        let times = |count: u64, rate: u128| narrow(u128::from(count).saturating_mul(rate));
        Totals {
            flows_estimated: times(self.flows, flows),
            packets_estimated: times(self.packets, both),
            bytes_estimated: times(self.bytes, both),
            ..self
        }
    }

    /// Whether an estimate differs from its count.
    pub fn is_sampled(&self) -> bool {
        (self.flows, self.packets, self.bytes)
            != (self.flows_estimated, self.packets_estimated, self.bytes_estimated)
    }

    /// Adds the sums of `other`; sums stop at the largest number instead of wrapping.
    pub fn add(&mut self, other: &Totals) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.flows_estimated = self.flows_estimated.saturating_add(other.flows_estimated);
        self.packets_estimated = self.packets_estimated.saturating_add(other.packets_estimated);
        self.bytes_estimated = self.bytes_estimated.saturating_add(other.bytes_estimated);
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
        let totals = Totals::of_flow(5, 500, 7, 7);
        assert_eq!((totals.pps(), totals.bps(), totals.bpp()), (0, 0, 100));
        assert_eq!(Totals::default().bpp(), 0);
    }

    #[test]
    fn rates_of_the_largest_counters_do_not_overflow() {
        let totals = Totals::of_flow(u64::MAX, u64::MAX, 0, 1);
        assert_eq!(totals.bps(), u64::MAX);
    }

    #[test]
    fn estimates_are_counts_times_their_rates() {
        let mut totals = Totals::of_flow(5, 500, 7, 7).sampled(100, 10);
        let estimates = |t: &Totals| (t.flows_estimated, t.packets_estimated, t.bytes_estimated);
        assert_eq!(estimates(&totals), (10, 5_000, 500_000));
        assert_eq!((totals.flows, totals.packets, totals.bytes), (1, 5, 500));
        assert!(totals.is_sampled());
        let plain = Totals::of_flow(5, 500, 7, 7);
        assert!(!plain.is_sampled() && !plain.sampled(1, 0).is_sampled());
        totals.add(&plain);
        assert_eq!(estimates(&totals), (11, 5_005, 500_500));
        let most = Totals::of_flow(u64::MAX, 1, 0, 0).sampled(u32::MAX, u32::MAX);
        assert_eq!(most.packets_estimated, u64::MAX);
    }
}
