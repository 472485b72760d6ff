//! What a comparison has found: how much was compared, and what differs.

use std::fmt;

/// Where something was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file that is compared with, within its folder; `tshark:` and the like of a collector.
    pub file: String,
    /// The packet: its number in the capture, or what the origin tells it by.
    pub packet: String,
    /// The record: its number in the packet, or what the origin tells it by.
    pub record: String,
    /// The field.
    pub field: String,
}

impl Place {
    /// Of a whole file.
    pub fn of(file: &str) -> Place {
        Place { file: file.into(), ..Place::default() }
    }

    /// In it, this packet.
    pub fn packet(&self, packet: impl fmt::Display) -> Place {
        Place { packet: packet.to_string(), ..self.clone() }
    }

    /// In it, this record.
    pub fn record(&self, record: impl fmt::Display) -> Place {
        Place { record: record.to_string(), ..self.clone() }
    }

    /// In it, this field.
    pub fn field(&self, field: impl fmt::Display) -> Place {
        Place { field: field.to_string(), ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, packet, record, field } = self;
        let parts = [("packet ", packet), ("record ", record), ("", field)];
        write!(f, "{file}")?;
        for (what, part) in parts.iter().filter(|(_, part)| !part.is_empty()) {
            write!(f, ", {what}{part}")?;
        }
        Ok(())
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// What the origin, or the other collector, has there.
    pub expected: String,
    /// What weir has.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, weir {}", self.place, self.expected, self.ours)
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Packets.
    pub packets: u64,
    /// Records.
    pub records: u64,
    /// Fields, those of headers and templates among them.
    pub fields: u64,
}

impl std::ops::AddAssign for Compared {
    fn add_assign(&mut self, other: Compared) {
        self.packets += other.packets;
        self.records += other.records;
        self.fields += other.fields;
    }
}

/// What has been found so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How much was compared.
    pub compared: Compared,
    /// What differs.
    pub differences: Vec<Difference>,
}

impl Findings {
    /// Compares a field's two forms.
    pub fn field(&mut self, place: &Place, expected: impl fmt::Display, ours: impl fmt::Display) {
        let (expected, ours) = (expected.to_string(), ours.to_string());
        let agrees = expected == ours;
        self.judged(place, agrees, expected, ours);
    }

    /// Takes down a comparison that was made already.
    pub fn judged(&mut self, place: &Place, agrees: bool, expected: String, ours: String) {
        self.compared.fields += 1;
        if !agrees {
            self.differences.push(Difference { place: place.clone(), expected, ours });
        }
    }

    /// Adds what another comparison has found.
    pub fn add(&mut self, other: Findings) {
        self.compared += other.compared;
        self.differences.extend(other.differences);
    }
}
