//! NetFlow version 5: a header of 24 bytes and up to 30 records of 48.
//!
//! The format is Cisco's ("NetFlow Export Datagram Format", tables B-3 and B-4). Its header alone
//! says how packets were sampled: two bits of mode, fourteen of interval.

use std::ops::Range;

use super::fixed::{Field, Layout, Packet};
use super::{Protocol, read_u16};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 5;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 24;
/// Bytes of a record.
pub const RECORD_LENGTH: usize = 48;

const SAMPLING: Range<usize> = 22..24;

/// The one layout of this version.
pub static LAYOUT: Layout = Layout {
    protocol: Protocol::Netflow5,
    scheme: 0,
    header_length: HEADER_LENGTH,
    record_length: RECORD_LENGTH,
    max_records: 30,
    fields: &[
        Field::new(0..4, 8),    // srcaddr
        Field::new(4..8, 12),   // dstaddr
        Field::new(8..12, 15),  // nexthop
        Field::new(12..14, 10), // input
        Field::new(14..16, 14), // output
        Field::new(16..20, 2),  // dPkts
        Field::new(20..24, 1),  // dOctets
        Field::new(24..28, 22), // first
        Field::new(28..32, 21), // last
        Field::new(32..34, 7),  // srcport
        Field::new(34..36, 11), // dstport; for ICMP type * 256 + code
        Field::new(37..38, 6),  // tcp_flags
        Field::new(38..39, 4),  // prot
        Field::new(39..40, 5),  // tos
        Field::new(40..42, 16), // src_as
        Field::new(42..44, 17), // dst_as
        Field::new(44..45, 9),  // src_mask
        Field::new(45..46, 13), // dst_mask
    ],
};

/// Checks the header and the count.
///
/// # Errors
/// As [`Packet::new_checked`].
pub fn new_checked(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    Packet::new_checked(bytes, &LAYOUT)
}

/// One packet in so many was looked at; 0 where the packet is of another version, or does not say
/// it. The mode beside it says how they were chosen, and some exporters leave it out.
pub fn sampling_interval(packet: &Packet<'_>) -> u16 {
    /// Two bits of mode stand above it.
    const INTERVAL: u16 = 0x3fff;
    match packet.layout().protocol {
        Protocol::Netflow5 => read_u16(packet.header(), SAMPLING) & INTERVAL,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_stand() {
        let mut bytes = vec![
            0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xab, 0xcd, 0x40, 0x0a,
        ];
        bytes.extend([192; RECORD_LENGTH]);
        let packet = new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.engine(), packet.domain()), (4, 0xabcd, 0xabcd));
        assert_eq!(sampling_interval(&packet), 10);
        assert_eq!(packet.header(), &bytes[..HEADER_LENGTH]);
        assert_eq!(packet.records().next().unwrap(), [192; RECORD_LENGTH]);
    }
}
