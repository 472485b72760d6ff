//! What an answer is made of: which slaves were asked, and how each fared.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// How one slave fared with a question.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnitAnswer {
    /// The slave.
    pub name: String,
    /// The proxy that asked it; empty when it was asked directly.
    pub through: String,
    /// Whether its flows are in the answer.
    pub answered: bool,
    /// Why not; empty when it answered.
    pub reason: String,
    /// How long that took, ms.
    pub elapsed_ms: u32,
}

/// Every slave that should have answered, once.
///
/// In JSON `asked` and `answered` stand beside `units`, for readers that only count.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Coverage {
    /// In the order of the topology.
    pub units: Vec<UnitAnswer>,
}

impl Coverage {
    /// How many slaves should have answered.
    pub fn asked(&self) -> usize {
        self.units.len()
    }

    /// How many did.
    pub fn answered(&self) -> usize {
        self.units.iter().filter(|unit| unit.answered).count()
    }

    /// Whether all did.
    pub fn is_complete(&self) -> bool {
        self.units.iter().all(|unit| unit.answered)
    }

    /// Adds the slaves of another part of the topology.
    pub fn extend(&mut self, other: Coverage) {
        self.units.extend(other.units);
    }

    /// Whether this covers a larger share of its slaves than `other` of its own.
    pub fn is_better_than(&self, other: &Coverage) -> bool {
        self.answered() * other.asked().max(1) > other.answered() * self.asked().max(1)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, asked) = (self.answered(), self.asked());
        write!(f, "{answered} of {asked} slave{} answered", if asked == 1 { "" } else { "s" })?;
        let mut missing = self.units.iter().filter(|unit| !unit.answered).peekable();
        if missing.peek().is_some() {
            let reasons: Vec<_> =
                missing.map(|unit| format!("{}: {}", unit.name, unit.reason)).collect();
            write!(f, " ({})", reasons.join("; "))?;
        }
        Ok(())
    }
}

impl Serialize for Coverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Coverage", 3)?;
        object.serialize_field("asked", &self.asked())?;
        object.serialize_field("answered", &self.answered())?;
        object.serialize_field("units", &self.units)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, reason: &str) -> UnitAnswer {
        UnitAnswer {
            name: name.into(),
            through: "p1".into(),
            answered: reason.is_empty(),
            reason: reason.into(),
            elapsed_ms: 1,
        }
    }

    #[test]
    fn the_missing_are_named_with_their_reason() {
        let coverage = Coverage { units: vec![unit("s1", ""), unit("s2", "connection refused")] };
        assert_eq!(coverage.to_string(), "1 of 2 slaves answered (s2: connection refused)");
        let complete = Coverage { units: vec![unit("s1", "")] };
        assert_eq!(complete.to_string(), "1 of 1 slave answered");
    }

    #[test]
    fn the_better_answer_is_the_one_with_the_larger_share() {
        let half = Coverage { units: vec![unit("s1", ""), unit("s2", "gone")] };
        let all = Coverage { units: vec![unit("s3", "")] };
        assert!(all.is_better_than(&half) && !half.is_better_than(&all));
        assert!(!half.is_better_than(&half));
    }
}
