//! NetFlow version 9 (RFC 3954): a header of 20 bytes, then FlowSets.
//!
//! The header's count is of records, templates included, and many exporters get it wrong; no
//! collector can rely on it, so it is shown and not checked. There is no length field: the datagram
//! ends the packet.

use super::set::Sets;
use super::{HeaderField, read_u16, read_u32, write_u16, write_u32};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 9;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 20;
/// The FlowSet id of templates.
pub const SET_TEMPLATES: u16 = 0;
/// The FlowSet id of options templates.
pub const SET_OPTIONS_TEMPLATES: u16 = 1;

mod field {
    use std::ops::Range;

    pub(super) const COUNT: Range<usize> = 2..4;
    pub(super) const UPTIME: Range<usize> = 4..8;
    pub(super) const UNIX_SECS: Range<usize> = 8..12;
    pub(super) const SEQUENCE: Range<usize> = 12..16;
    pub(super) const SOURCE_ID: Range<usize> = 16..20;
}

/// The header's fields (RFC 3954, Section 5.1).
pub static HEADER_FIELDS: [HeaderField; 6] = [
    HeaderField::new("version", 0..2),
    HeaderField::new("count", field::COUNT),
    HeaderField::new("sysUptime", field::UPTIME),
    HeaderField::new("unixSeconds", field::UNIX_SECS),
    HeaderField::new("sequenceNumber", field::SEQUENCE),
    HeaderField::new("sourceId", field::SOURCE_ID),
];

/// A NetFlow v9 packet with a whole header.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// [`Discard::TooShort`] without a whole header.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < HEADER_LENGTH {
            return Err(Discard::TooShort);
        }
        Ok(Packet { bytes })
    }

    /// Records of every kind in this packet, as the exporter says.
    pub fn count(&self) -> u16 {
        read_u16(self.bytes, field::COUNT)
    }

    /// Milliseconds since the exporter started, when it sent this; wraps after 49.7 days.
    pub fn uptime_ms(&self) -> u32 {
        read_u32(self.bytes, field::UPTIME)
    }

    /// Seconds since 1970 when the exporter sent this.
    pub fn unix_secs(&self) -> u32 {
        read_u32(self.bytes, field::UNIX_SECS)
    }

    /// Packets exported before this one.
    pub fn sequence(&self) -> u32 {
        read_u32(self.bytes, field::SEQUENCE)
    }

    /// The exporter's observation domain.
    pub fn source_id(&self) -> u32 {
        read_u32(self.bytes, field::SOURCE_ID)
    }

    /// The header, [`HEADER_LENGTH`] bytes.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..HEADER_LENGTH]
    }

    /// The FlowSets in their order.
    pub fn sets(&self) -> Sets<'a> {
        Sets::new(&self.bytes[HEADER_LENGTH..])
    }
}

/// Whether records may move between messages under these two headers and keep their meaning:
/// whether their uptime and time agree.
pub fn same_context(a: &[u8], b: &[u8]) -> bool {
    a[field::UPTIME.start..field::UNIX_SECS.end] == b[field::UPTIME.start..field::UNIX_SECS.end]
}

/// Writes the record count into a header.
pub fn set_count(header: &mut [u8], count: u16) {
    write_u16(header, field::COUNT, count);
}

/// Writes the sequence number into a header.
pub fn set_sequence(header: &mut [u8], sequence: u32) {
    write_u32(header, field::SEQUENCE, sequence);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_stand() {
        let bytes = [0, 9, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5];
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.count(), packet.uptime_ms(), packet.unix_secs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.source_id()), (4, 5));
        assert_eq!(packet.sets().count(), 0);
    }

    #[test]
    fn half_a_header_is_too_short() {
        assert_eq!(Packet::new_checked(&[0; 19]).unwrap_err(), Discard::TooShort);
    }

    #[test]
    fn a_header_can_be_rewritten() {
        let mut bytes = [0; HEADER_LENGTH];
        set_count(&mut bytes, 7);
        set_sequence(&mut bytes, 9);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.count(), packet.sequence()), (7, 9));
    }
}
