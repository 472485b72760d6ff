//! NetFlow version 1: a header of 16 bytes, then records of 48 or 52.
//!
//! The format is Cisco's ("NetFlow Export Datagram Format", tables B-1 and B-2). It has no sequence
//! number: what is lost on the way cannot be told. Cisco's records end in unused bytes, of which
//! exporters write seven (48 bytes a record, as softflowd does) or eleven (52); the datagram's
//! length says which. The format allows for 24 records, but senders of more are known, and length
//! alone decides here.

use super::Protocol;
use super::fixed::{self, Field, Layout, Packet};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 16;

/// The most records in a packet by the format's definition.
const MAX_RECORDS: u16 = 24;

const FIELDS: &[Field] = &[
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
    Field::new(34..36, 11), // dstport
    Field::new(38..39, 4),  // prot
    Field::new(39..40, 5),  // tos
    Field::new(40..41, 6),  // flags
];

/// With records of 48 bytes.
pub static LAYOUT: Layout = layout(48);
/// With records of 52 bytes.
pub static LAYOUT_LONG: Layout = layout(52);

const fn layout(record_length: usize) -> Layout {
    Layout {
        protocol: Protocol::Netflow1,
        scheme: 0,
        header_length: HEADER_LENGTH,
        record_length,
        max_records: MAX_RECORDS,
        fields: FIELDS,
    }
}

/// Checks the header and the count, and tells the records' length.
///
/// # Errors
/// As [`Packet::new_checked`].
pub fn new_checked(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    let long = HEADER_LENGTH + fixed::count(bytes) * LAYOUT_LONG.record_length;
    let layout = if bytes.len() == long { &LAYOUT_LONG } else { &LAYOUT };
    Packet::new_checked(bytes, layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One record; `rest` zeroes follow its flags.
    fn packet(count: u16, records: usize, record_length: usize) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        for number in 0..records {
            let mut record = vec![0; record_length];
            record[3] = number as u8;
            bytes.extend(record);
        }
        bytes
    }

    #[test]
    fn fields_are_read_where_they_stand() {
        let bytes = packet(1, 1, 48);
        let packet = new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.domain()), (0, 0));
        assert_eq!(packet.records().next().unwrap().len(), 48);
    }

    #[test]
    fn the_datagrams_length_tells_the_records_length() {
        for (length, count) in [(48, 1), (52, 1), (48, 30), (52, 24)] {
            let bytes = packet(count, usize::from(count), length);
            let packet = new_checked(&bytes).unwrap();
            assert_eq!(packet.layout().record_length, length);
            let numbers: Vec<u8> = packet.records().map(|record| record[3]).collect();
            assert_eq!(numbers, (0..count as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn more_records_than_the_format_allows_are_read() {
        assert_eq!(new_checked(&packet(30, 30, 48)).unwrap().count(), 30);
    }

    #[test]
    fn fewer_records_than_counted_are_refused() {
        assert_eq!(new_checked(&packet(3, 2, 52)).unwrap_err(), Discard::MessageLength);
        assert_eq!(new_checked(&[0, 1, 0]).unwrap_err(), Discard::TooShort);
    }
}
