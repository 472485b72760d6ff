//! NetFlow version 8: a header of 28 bytes, then records of an aggregation's own layout.
//!
//! A router that aggregates before it exports says in the header which of fourteen schemes it used;
//! a record then counts many flows, and has only the fields that the scheme keeps. Cisco's formats:
//! "NetFlow Aggregation" (router schemes 1 to 5), "NetFlow ToS-Based Router Aggregation" (9 to 14)
//! and the Catalyst's three flow masks (6 to 8). Readers differ in two places. Of a prefix pair
//! (5, 13, 14) the destination's mask stands first here, as flow-tools and pmacct read it, both in
//! use with routers for years; Wireshark takes the source's for the first, and no capture or figure
//! of Cisco's was found that decides it. The ToS of scheme 9 stands behind the interfaces, as in
//! Cisco's figure.
//!
//! Each aggregation is a stream with a sequence number of its own, which counts records. How many
//! flows a record stands for has an element and no column: a record is one row.

use super::fixed::{Field, Layout, Packet};
use super::{HeaderField, Protocol};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 8;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 28;

mod field {
    pub(super) const AGGREGATION: usize = 22;
}

const fn layout(scheme: u8, record_length: usize, fields: &'static [Field]) -> Layout {
    /// Bytes of a version 5 packet of 30 records, which collectors make room for.
    const ROOM: usize = 1_464;
    let max_records = ((ROOM - HEADER_LENGTH) / record_length) as u16;
    let (protocol, header_length) = (Protocol::Netflow8, HEADER_LENGTH);
    Layout { protocol, scheme, header_length, record_length, max_records, fields }
}

/// Flows, packets, bytes, first and last: what every router scheme begins with; then its own.
macro_rules! router {
    ($($field:expr),* $(,)?) => {
        &[
            Field::new(0..4, 3),     // dFlows
            Field::new(4..8, 2),     // dPkts
            Field::new(8..12, 1),    // dOctets
            Field::new(12..16, 22),  // First
            Field::new(16..20, 21),  // Last
            $($field),*
        ]
    };
}

/// The schemes in the order of their numbers, from 1.
pub static LAYOUTS: [Layout; 14] = [
    // RouterAS
    layout(
        1,
        28,
        router![
            Field::new(20..22, 16), // src_as
            Field::new(22..24, 17), // dst_as
            Field::new(24..26, 10), // input
            Field::new(26..28, 14), // output
        ],
    ),
    // RouterProtoPort
    layout(
        2,
        28,
        router![
            Field::new(20..21, 4),  // prot
            Field::new(24..26, 7),  // srcport
            Field::new(26..28, 11), // dstport
        ],
    ),
    // RouterSrcPrefix
    layout(
        3,
        32,
        router![
            Field::new(20..24, 44), // src_prefix
            Field::new(24..25, 9),  // src_mask
            Field::new(26..28, 16), // src_as
            Field::new(28..30, 10), // input
        ],
    ),
    // RouterDstPrefix
    layout(
        4,
        32,
        router![
            Field::new(20..24, 45), // dst_prefix
            Field::new(24..25, 13), // dst_mask
            Field::new(26..28, 17), // dst_as
            Field::new(28..30, 14), // output
        ],
    ),
    // RouterPrefix
    layout(
        5,
        40,
        router![
            Field::new(20..24, 44), // src_prefix
            Field::new(24..28, 45), // dst_prefix
            Field::new(28..29, 13), // dst_mask
            Field::new(29..30, 9),  // src_mask
            Field::new(32..34, 16), // src_as
            Field::new(34..36, 17), // dst_as
            Field::new(36..38, 10), // input
            Field::new(38..40, 14), // output
        ],
    ),
    // DestOnly (Catalyst). Packets beyond the contract (24..28) and the bypassed router (28..32)
    // have no element, here and in the next two.
    layout(
        6,
        32,
        &[
            Field::new(0..4, 12),   // dstaddr
            Field::new(4..8, 2),    // dPkts
            Field::new(8..12, 1),   // dOctets
            Field::new(12..16, 22), // First
            Field::new(16..20, 21), // Last
            Field::new(20..22, 14), // output
            Field::new(22..23, 5),  // tos
            Field::new(23..24, 55), // marked_tos
        ],
    ),
    // SrcDst (Catalyst)
    layout(
        7,
        40,
        &[
            Field::new(0..4, 12),   // dstaddr
            Field::new(4..8, 8),    // srcaddr
            Field::new(8..12, 2),   // dPkts
            Field::new(12..16, 1),  // dOctets
            Field::new(16..20, 22), // First
            Field::new(20..24, 21), // Last
            Field::new(24..26, 14), // output
            Field::new(26..28, 10), // input
            Field::new(28..29, 5),  // tos
            Field::new(29..30, 55), // marked_tos
        ],
    ),
    // FullFlow (Catalyst)
    layout(
        8,
        44,
        &[
            Field::new(0..4, 12),   // dstaddr
            Field::new(4..8, 8),    // srcaddr
            Field::new(8..10, 11),  // dstport
            Field::new(10..12, 7),  // srcport
            Field::new(12..16, 2),  // dPkts
            Field::new(16..20, 1),  // dOctets
            Field::new(20..24, 22), // First
            Field::new(24..28, 21), // Last
            Field::new(28..30, 14), // output
            Field::new(30..32, 10), // input
            Field::new(32..33, 5),  // tos
            Field::new(33..34, 4),  // prot
            Field::new(34..35, 55), // marked_tos
        ],
    ),
    // RouterASTos
    layout(
        9,
        32,
        router![
            Field::new(20..22, 16), // src_as
            Field::new(22..24, 17), // dst_as
            Field::new(24..26, 10), // input
            Field::new(26..28, 14), // output
            Field::new(28..29, 5),  // tos
        ],
    ),
    // RouterProtoPortTos
    layout(
        10,
        32,
        router![
            Field::new(20..21, 4),  // prot
            Field::new(21..22, 5),  // tos
            Field::new(24..26, 7),  // srcport
            Field::new(26..28, 11), // dstport
            Field::new(28..30, 10), // input
            Field::new(30..32, 14), // output
        ],
    ),
    // RouterSrcPrefixTos
    layout(
        11,
        32,
        router![
            Field::new(20..24, 44), // src_prefix
            Field::new(24..25, 9),  // src_mask
            Field::new(25..26, 5),  // tos
            Field::new(26..28, 16), // src_as
            Field::new(28..30, 10), // input
        ],
    ),
    // RouterDstPrefixTos
    layout(
        12,
        32,
        router![
            Field::new(20..24, 45), // dst_prefix
            Field::new(24..25, 13), // dst_mask
            Field::new(25..26, 5),  // tos
            Field::new(26..28, 17), // dst_as
            Field::new(28..30, 14), // output
        ],
    ),
    // RouterPrefixTos
    layout(
        13,
        40,
        router![
            Field::new(20..24, 44), // src_prefix
            Field::new(24..28, 45), // dst_prefix
            Field::new(28..29, 13), // dst_mask
            Field::new(29..30, 9),  // src_mask
            Field::new(30..31, 5),  // tos
            Field::new(32..34, 16), // src_as
            Field::new(34..36, 17), // dst_as
            Field::new(36..38, 10), // input
            Field::new(38..40, 14), // output
        ],
    ),
    // RouterPrePortProtocol
    layout(
        14,
        40,
        router![
            Field::new(20..24, 44), // src_prefix
            Field::new(24..28, 45), // dst_prefix
            Field::new(28..29, 13), // dst_mask
            Field::new(29..30, 9),  // src_mask
            Field::new(30..31, 5),  // tos
            Field::new(31..32, 4),  // prot
            Field::new(32..34, 7),  // srcport
            Field::new(34..36, 11), // dstport
            Field::new(36..38, 10), // input
            Field::new(38..40, 14), // output
        ],
    ),
];

/// The Catalyst's schemes, 6 to 8: packets beyond the contract, and the bypassed router.
static NAMED: [HeaderField; 6] = [
    HeaderField::new("extraPackets", 24..28),
    HeaderField::new("bypassedRouter", 28..32),
    HeaderField::new("extraPackets", 32..36),
    HeaderField::new("bypassedRouter", 36..40),
    HeaderField::new("extraPackets", 36..40),
    HeaderField::new("bypassedRouter", 40..44),
];

/// The fields of a scheme's record that have no information element.
pub(super) fn named(scheme: u8) -> &'static [HeaderField] {
    match scheme {
        6 => &NAMED[..2],
        7 => &NAMED[2..4],
        8 => &NAMED[4..],
        _ => &[],
    }
}

/// Checks the header and the count, and tells the aggregation scheme.
///
/// # Errors
/// [`Discard::UnknownAggregation`] of a scheme beyond the fourteen, else as
/// [`Packet::new_checked`].
pub fn new_checked(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    if bytes.len() < HEADER_LENGTH {
        return Err(Discard::TooShort);
    }
    let scheme = usize::from(bytes[field::AGGREGATION]);
    let layout = scheme.checked_sub(1).and_then(|at| LAYOUTS.get(at));
    Packet::new_checked(bytes, layout.ok_or(Discard::UnknownAggregation)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(scheme: u8, record: &[u8]) -> Vec<u8> {
        let mut bytes = vec![
            0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xab, 0xcd, scheme, 2, 0,
            0, 0, 0,
        ];
        bytes.extend(record);
        bytes
    }

    #[test]
    fn fields_are_read_where_they_stand() {
        let bytes = packet(5, &[9; 40]);
        let packet = new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.engine(), packet.domain()), (4, 0xabcd, 0x5_abcd));
        assert_eq!(packet.records().next().unwrap(), [9; 40]);
    }

    #[test]
    fn each_scheme_has_its_own_record() {
        let lengths = [28, 28, 32, 32, 40, 32, 40, 44, 32, 32, 32, 32, 40, 40];
        for (scheme, length) in (1..).zip(lengths) {
            let bytes = packet(scheme, &vec![7; length]);
            let packet = new_checked(&bytes).unwrap();
            assert_eq!((packet.layout().scheme, packet.body().len()), (scheme, length));
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(new_checked(cut).unwrap_err(), Discard::MessageLength);
        }
    }

    /// As flow-tools and pmacct read it; Wireshark has it the other way round.
    #[test]
    fn of_a_prefix_pair_the_destinations_mask_stands_first() {
        const SOURCE_MASK: u16 = 9;
        const DESTINATION_MASK: u16 = 13;
        for scheme in [5, 13, 14] {
            let bytes = packet(scheme, &[0; 40]);
            let layout = new_checked(&bytes).unwrap().layout();
            let at = |element| {
                layout.fields.iter().find(|field| field.element == element).map(|f| f.at.clone())
            };
            assert_eq!((at(DESTINATION_MASK), at(SOURCE_MASK)), (Some(28..29), Some(29..30)));
        }
    }

    #[test]
    fn an_unknown_scheme_is_named() {
        for scheme in [0, 15, 255] {
            let refused = new_checked(&packet(scheme, &[0; 44])).unwrap_err();
            assert_eq!(refused, Discard::UnknownAggregation);
        }
        assert_eq!(new_checked(&packet(1, &[])[..27]).unwrap_err(), Discard::TooShort);
    }
}
