//! NetFlow version 5: a header of 24 bytes and up to 30 records of 48.
//!
//! The format is Cisco's ("NetFlow Export Datagram Format", tables B-3 and B-4); it has neither
//! templates nor lengths, so the header's record count is all that can contradict the datagram. The
//! rule: every record that the header counts must be there, whole; what follows them is ignored, as
//! some exporters pad. A count of zero describes nothing and is refused.

use super::{read_u16, read_u32, write_u16, write_u32};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 5;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 24;
/// Bytes of a record.
pub const RECORD_LENGTH: usize = 48;
/// The most records that collectors in the field accept in one packet.
pub const MAX_RECORDS: usize = 30;

mod field {
    use std::ops::Range;

    pub(super) const COUNT: Range<usize> = 2..4;
    pub(super) const UPTIME: Range<usize> = 4..8;
    pub(super) const UNIX_SECS: Range<usize> = 8..12;
    pub(super) const UNIX_NSECS: Range<usize> = 12..16;
    pub(super) const SEQUENCE: Range<usize> = 16..20;
    pub(super) const ENGINE: Range<usize> = 20..22;
    pub(super) const SAMPLING: Range<usize> = 22..24;
}

/// Where a record's fields stand, in bytes from the record's first.
pub mod record {
    use std::ops::Range;

    /// Source IPv4 address.
    pub const SOURCE_ADDRESS: Range<usize> = 0..4;
    /// Destination IPv4 address.
    pub const DESTINATION_ADDRESS: Range<usize> = 4..8;
    /// Next hop's IPv4 address.
    pub const NEXT_HOP: Range<usize> = 8..12;
    /// SNMP index of the input interface.
    pub const INPUT: Range<usize> = 12..14;
    /// SNMP index of the output interface.
    pub const OUTPUT: Range<usize> = 14..16;
    /// Packets of the flow.
    pub const PACKETS: Range<usize> = 16..20;
    /// Layer-3 bytes of the flow.
    pub const BYTES: Range<usize> = 20..24;
    /// Uptime at the flow's first packet, ms.
    pub const FIRST: Range<usize> = 24..28;
    /// Uptime at the flow's last packet, ms.
    pub const LAST: Range<usize> = 28..32;
    /// Source port.
    pub const SOURCE_PORT: Range<usize> = 32..34;
    /// Destination port; for ICMP type * 256 + code.
    pub const DESTINATION_PORT: Range<usize> = 34..36;
    /// Union of the TCP flags.
    pub const TCP_FLAGS: Range<usize> = 37..38;
    /// IP protocol number.
    pub const PROTOCOL: Range<usize> = 38..39;
    /// Type of service.
    pub const TOS: Range<usize> = 39..40;
    /// Source autonomous system.
    pub const SOURCE_AS: Range<usize> = 40..42;
    /// Destination autonomous system.
    pub const DESTINATION_AS: Range<usize> = 42..44;
    /// Source prefix length.
    pub const SOURCE_MASK: Range<usize> = 44..45;
    /// Destination prefix length.
    pub const DESTINATION_MASK: Range<usize> = 45..46;
}

/// A NetFlow v5 packet whose counted records are all present.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks the header and the count.
    ///
    /// # Errors
    /// [`Discard::TooShort`] without a whole header, [`Discard::MessageLength`] when the count is
    /// zero or the datagram ends before the last counted record does.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < HEADER_LENGTH {
            return Err(Discard::TooShort);
        }
        let count = usize::from(read_u16(bytes, field::COUNT));
        if count == 0 {
            return Err(Discard::MessageLength);
        }
        match bytes.get(..HEADER_LENGTH + count * RECORD_LENGTH) {
            Some(bytes) => Ok(Packet { bytes }),
            None => Err(Discard::MessageLength),
        }
    }

    /// Records in this packet.
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

    /// The remaining nanoseconds of [`Packet::unix_secs`].
    pub fn unix_nsecs(&self) -> u32 {
        read_u32(self.bytes, field::UNIX_NSECS)
    }

    /// Flows exported before this packet.
    pub fn sequence(&self) -> u32 {
        read_u32(self.bytes, field::SEQUENCE)
    }

    /// `engine_type << 8 | engine_id`.
    pub fn engine(&self) -> u16 {
        read_u16(self.bytes, field::ENGINE)
    }

    /// Two bits of sampling mode and fourteen of interval.
    pub fn sampling(&self) -> u16 {
        read_u16(self.bytes, field::SAMPLING)
    }

    /// The header, [`HEADER_LENGTH`] bytes.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..HEADER_LENGTH]
    }

    /// The counted records as one slice, [`RECORD_LENGTH`] bytes each.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_LENGTH..]
    }

    /// The counted records.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8; RECORD_LENGTH]> + use<'a> {
        self.body().as_chunks::<RECORD_LENGTH>().0.iter()
    }
}

/// Whether records may move between messages under these two headers and keep their meaning:
/// whether their uptime, time and sampling agree.
pub fn same_context(a: &[u8], b: &[u8]) -> bool {
    a[field::UPTIME.start..field::UNIX_NSECS.end] == b[field::UPTIME.start..field::UNIX_NSECS.end]
        && a[field::SAMPLING] == b[field::SAMPLING]
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

    fn packet(count: u16, records: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LENGTH + records * RECORD_LENGTH];
        bytes[1] = 5;
        set_count(&mut bytes, count);
        bytes
    }

    #[test]
    fn fields_are_read_where_they_stand() {
        let mut bytes = packet(1, 1);
        bytes[4..24].copy_from_slice(&[
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xab, 0xcd, 0x40, 0x0a,
        ]);
        bytes[24] = 192;
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.engine(), packet.sampling()), (4, 0xabcd, 0x400a));
        assert_eq!(packet.header().len(), HEADER_LENGTH);
        assert_eq!(packet.records().next().unwrap()[0], 192);
    }

    #[test]
    fn fewer_records_than_counted_are_refused() {
        assert_eq!(Packet::new_checked(&packet(2, 1)).unwrap_err(), Discard::MessageLength);
        assert_eq!(Packet::new_checked(&packet(u16::MAX, 1)).unwrap_err(), Discard::MessageLength);
    }

    #[test]
    fn bytes_behind_the_counted_records_are_ignored() {
        let bytes = packet(1, 2);
        assert_eq!(Packet::new_checked(&bytes).unwrap().records().len(), 1);
    }

    #[test]
    fn a_count_of_zero_is_refused() {
        assert_eq!(Packet::new_checked(&packet(0, 0)).unwrap_err(), Discard::MessageLength);
    }

    #[test]
    fn half_a_header_is_too_short() {
        assert_eq!(Packet::new_checked(&packet(1, 1)[..23]).unwrap_err(), Discard::TooShort);
    }
}
