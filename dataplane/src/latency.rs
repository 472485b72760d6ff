//! The delay that a proxy adds: from the burst that brought a message's first record to the flush
//! that sent it.

use hdrhistogram::Histogram;

/// Nanoseconds that the histogram tells apart at most; longer delays count as this one.
const LONGEST_NS: u64 = 60_000_000_000;

/// Delays in nanoseconds, to two significant digits, from 1 µs to a minute.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// Without a delay so far. All memory is taken now.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, LONGEST_NS, 2);
        Latency { histogram: histogram.expect("the bounds are two apart, the digits below six") }
    }

    /// Notes one delay.
    #[inline]
    pub fn note(&mut self, delay_ns: u64) {
        self.histogram.saturating_record(delay_ns);
    }

    /// What was noted.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

impl Default for Latency {
    fn default() -> Self {
        Latency::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_known_to_two_digits() {
        let mut latency = Latency::new();
        for delay in [0, 1_500_000, u64::MAX] {
            latency.note(delay);
        }
        let histogram = latency.histogram();
        let median = histogram.value_at_quantile(0.5);
        assert!((1_485_000..1_515_001).contains(&median), "{median}");
        assert!(histogram.max() >= LONGEST_NS);
        assert_eq!(histogram.len(), 3);
    }
}
