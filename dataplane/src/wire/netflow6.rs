//! NetFlow version 6: version 5's header, and records of 52 bytes.
//!
//! Cisco made it for encapsulated traffic and documented it little: a record is version 5's, with
//! the sizes of both encapsulations where version 5 pads, and the next hop within the peer behind
//! it. The layout is the one that flow-tools reads.

use super::fixed::{Layout, Packet};
use super::{HeaderField, Protocol, netflow5};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 6;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 24;
/// Bytes of a record.
pub const RECORD_LENGTH: usize = 52;

/// The one layout of this version. Encapsulation sizes and the peer's next hop (46..52) have no
/// information element.
pub static LAYOUT: Layout = Layout {
    protocol: Protocol::Netflow6,
    scheme: 0,
    header_length: HEADER_LENGTH,
    record_length: RECORD_LENGTH,
    max_records: 27,
    fields: netflow5::LAYOUT.fields,
};

/// The fields without an information element.
pub static NAMED: [HeaderField; 3] = [
    HeaderField::new("encapsulationSizeIn", 46..47),
    HeaderField::new("encapsulationSizeOut", 47..48),
    HeaderField::new("peerNextHop", 48..52),
];

/// Checks the header and the count.
///
/// # Errors
/// As [`Packet::new_checked`].
pub fn new_checked(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    Packet::new_checked(bytes, &LAYOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_stand() {
        let mut bytes =
            vec![0, 6, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xab, 0xcd, 0, 0];
        bytes.extend([1; RECORD_LENGTH]);
        bytes.extend([2; RECORD_LENGTH]);
        let packet = new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.domain()), (4, 0xabcd));
        let records: Vec<_> = packet.records().collect();
        assert_eq!(records, [&[1; RECORD_LENGTH][..], &[2; RECORD_LENGTH]]);
    }
}
