//! Sequence numbers: what was lost on the way here, each version by its own rule.

/// What a sequence number says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The expected one, or the first.
    InOrder,
    /// So many units are missing before this message.
    Lost(u32),
    /// Older than what was seen: overtaken on the way, and counted as lost already.
    Late,
    /// The exporter has started anew.
    Reset,
}

/// Follows a session's sequence numbers: v5 counts flows, v9 packets, IPFIX data records.
///
/// The number in a message counts the units *before* it, modulo 2³², so what must come next is
/// known only with the number of units in the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    expected: Option<u32>,
    /// What follows the last late message: two in a row are a restart, not a detour.
    after_late: Option<u32>,
}

impl Sequence {
    /// A gap of more units than this is a restart with another number, not a loss.
    pub const GAP_LIMIT: u32 = 1 << 24;

    /// Takes note of a message's number and of the units it adds.
    ///
    /// `units` is `None` when they cannot be counted (a data set lacked its template): the next
    /// message is then taken as it comes.
    pub fn observe(&mut self, got: u32, units: Option<u32>) -> Observation {
        let next = units.map(|n| got.wrapping_add(n));
        let observation = match self.expected {
            None => Observation::InOrder,
            Some(expected) => self.compare(expected, got),
        };
        if observation == Observation::Late && next.is_some() {
            self.after_late = next;
        } else {
            self.expected = next;
            self.after_late = None;
        }
        observation
    }

    /// The number that the next message should bear, where that can be told.
    pub fn next(&self) -> Option<u32> {
        self.expected
    }

    fn compare(&self, expected: u32, got: u32) -> Observation {
        let ahead = got.wrapping_sub(expected);
        let behind = expected.wrapping_sub(got);
        match ahead {
            0 => Observation::InOrder,
            1..=Self::GAP_LIMIT => Observation::Lost(ahead),
            _ if behind <= Self::GAP_LIMIT && self.after_late != Some(got) => Observation::Late,
            _ => Observation::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_in_units() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.observe(100, Some(30)), Observation::InOrder);
        assert_eq!(sequence.observe(130, Some(30)), Observation::InOrder);
        assert_eq!(sequence.observe(190, Some(1)), Observation::Lost(30));
        assert_eq!(sequence.observe(191, Some(1)), Observation::InOrder);
    }

    #[test]
    fn the_number_wraps_without_a_gap() {
        let mut sequence = Sequence::default();
        sequence.observe(u32::MAX, Some(2));
        assert_eq!(sequence.observe(1, Some(1)), Observation::InOrder);
    }

    #[test]
    fn after_unknown_units_the_next_number_is_taken_as_it_comes() {
        let mut sequence = Sequence::default();
        sequence.observe(10, None);
        assert_eq!(sequence.observe(500, Some(1)), Observation::InOrder);
        assert_eq!(sequence.observe(502, Some(1)), Observation::Lost(1));
    }

    #[test]
    fn an_overtaken_message_is_late_and_no_restart() {
        let mut sequence = Sequence::default();
        sequence.observe(1, Some(1));
        assert_eq!(sequence.observe(3, Some(1)), Observation::Lost(1));
        assert_eq!(sequence.observe(2, Some(1)), Observation::Late);
        assert_eq!(sequence.observe(4, Some(1)), Observation::InOrder);
    }

    #[test]
    fn a_restart_is_seen_at_its_second_message() {
        let mut sequence = Sequence::default();
        sequence.observe(1000, Some(1));
        assert_eq!(sequence.observe(0, Some(1)), Observation::Late);
        assert_eq!(sequence.observe(1, Some(1)), Observation::Reset);
        assert_eq!(sequence.observe(2, Some(1)), Observation::InOrder);
    }

    #[test]
    fn a_leap_is_a_restart() {
        let mut sequence = Sequence::default();
        sequence.observe(0, Some(1));
        assert_eq!(sequence.observe(1 << 30, Some(1)), Observation::Reset);
        assert_eq!(sequence.observe((1 << 30) + 1, Some(1)), Observation::InOrder);
    }
}
