//! What NetFlow versions 1, 5, 6, 7 and 8 have in common: a header that counts, then records of one
//! length.
//!
//! They have neither templates nor lengths; each version's file says in a [`Layout`] how long its
//! header and records are and which information element each field is. The header's record count is
//! all that can contradict the datagram. The rule: every record that the header counts must be
//! there, whole; what follows them is ignored, as some exporters pad. A count of zero describes
//! nothing and is refused.

use std::ops::Range;

use super::{
    HeaderField, Protocol, netflow1, netflow5, netflow6, netflow7, netflow8, read_u16, read_u32,
};
use super::{write_u16, write_u32};
use crate::Discard;

/// Bytes of the longest header, version 8's.
pub const HEADER_LENGTH_MAX: usize = netflow8::HEADER_LENGTH;

mod field {
    use std::ops::Range;

    pub(super) const COUNT: Range<usize> = 2..4;
    pub(super) const UPTIME: Range<usize> = 4..8;
    pub(super) const UNIX_SECS: Range<usize> = 8..12;
    pub(super) const UNIX_NSECS: Range<usize> = 12..16;
    /// Version 1 ends before it.
    pub(super) const SEQUENCE: Range<usize> = 16..20;
    /// Engine type and id; version 7 reserves it, and some switches fill it all the same.
    pub(super) const ENGINE: Range<usize> = 20..22;
}

/// A field of a record: where it stands, and the information element that says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the record's first.
    pub at: Range<usize>,
    /// IANA's number of the element.
    pub element: u16,
}

impl Field {
    pub(super) const fn new(at: Range<usize>, element: u16) -> Self {
        Field { at, element }
    }
}

/// How one version writes its packets; of version 8, one aggregation scheme.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The version.
    pub protocol: Protocol,
    /// Version 8's aggregation scheme; 0 of the others.
    pub scheme: u8,
    /// Bytes of the header.
    pub header_length: usize,
    /// Bytes of a record.
    pub record_length: usize,
    /// The most records that collectors in the field take in one packet.
    pub max_records: u16,
    /// The fields that an information element says as well, in their order.
    pub fields: &'static [Field],
}

/// How many layouts there are.
pub const LAYOUTS_COUNT: usize = 19;
/// Every layout, the commonest first.
pub static LAYOUTS: [&Layout; LAYOUTS_COUNT] = {
    let v8 = &netflow8::LAYOUTS;
    [
        &netflow5::LAYOUT,
        &netflow7::LAYOUT,
        &netflow1::LAYOUT,
        &netflow1::LAYOUT_LONG,
        &netflow6::LAYOUT,
        &v8[0],
        &v8[1],
        &v8[2],
        &v8[3],
        &v8[4],
        &v8[5],
        &v8[6],
        &v8[7],
        &v8[8],
        &v8[9],
        &v8[10],
        &v8[11],
        &v8[12],
        &v8[13],
    ]
};

/// The headers' fields: version 1 ends before the sequence number, versions 6 and 7 before the
/// aggregation, and what they have where version 5 says how it sampled is reserved.
static HEADER_FIELDS: [HeaderField; 14] = [
    HeaderField::new("version", 0..2),
    HeaderField::new("count", field::COUNT),
    HeaderField::new("sysUptime", field::UPTIME),
    HeaderField::new("unixSeconds", field::UNIX_SECS),
    HeaderField::new("unixNanoseconds", field::UNIX_NSECS),
    HeaderField::new("flowSequence", field::SEQUENCE),
    HeaderField::new("engineType", 20..21),
    HeaderField::new("engineId", 21..22),
    HeaderField::new("samplingInterval", 22..24),
    HeaderField::new("reserved", 22..24),
    HeaderField::new("aggregation", 22..23),
    HeaderField::new("aggregationVersion", 23..24),
    HeaderField::new("reserved", 24..28),
    HeaderField::new("reserved", 20..24),
];

impl Layout {
    /// The fields of a record that have no information element.
    pub fn named(&self) -> &'static [HeaderField] {
        match self.protocol {
            Protocol::Netflow6 => &netflow6::NAMED,
            Protocol::Netflow7 => &netflow7::NAMED,
            Protocol::Netflow8 => netflow8::named(self.scheme),
            _ => &[],
        }
    }

    /// The header's fields in their order.
    pub fn header_fields(&self) -> impl Iterator<Item = &'static HeaderField> + use<> {
        let (common, own) = match self.protocol {
            Protocol::Netflow1 => (0..5, 0..0),
            Protocol::Netflow5 => (0..9, 0..0),
            Protocol::Netflow7 => (0..6, 13..14),
            Protocol::Netflow8 => (0..8, 10..13),
            _ => (0..8, 9..10),
        };
        HEADER_FIELDS[common].iter().chain(&HEADER_FIELDS[own])
    }
}

/// A packet whose counted records are all present.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    layout: &'static Layout,
}

impl<'a> Packet<'a> {
    /// Checks the header and the count; the version is the caller's.
    ///
    /// # Errors
    /// [`Discard::TooShort`] without a whole header, [`Discard::MessageLength`] when the count is
    /// zero or the datagram ends before the last counted record does.
    pub fn new_checked(bytes: &'a [u8], layout: &'static Layout) -> Result<Self, Discard> {
        if bytes.len() < layout.header_length {
            return Err(Discard::TooShort);
        }
        let count = usize::from(read_u16(bytes, field::COUNT));
        if count == 0 {
            return Err(Discard::MessageLength);
        }
        match bytes.get(..layout.header_length + count * layout.record_length) {
            Some(bytes) => Ok(Packet { bytes, layout }),
            None => Err(Discard::MessageLength),
        }
    }

    /// How it is written.
    pub fn layout(&self) -> &'static Layout {
        self.layout
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

    /// Flows exported before this packet; 0 in version 1, which does not count them.
    pub fn sequence(&self) -> u32 {
        if self.has_sequence() { read_u32(self.bytes, field::SEQUENCE) } else { 0 }
    }

    /// `engine_type << 8 | engine_id`; 0 in version 1, which has none.
    pub fn engine(&self) -> u16 {
        if self.has_sequence() { read_u16(self.bytes, field::ENGINE) } else { 0 }
    }

    /// What tells the exporter's streams apart: `scheme << 16 | engine`. Each aggregation of version
    /// 8 counts its own flows.
    pub fn domain(&self) -> u32 {
        u32::from(self.layout.scheme) << 16 | u32::from(self.engine())
    }

    /// The header.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..self.layout.header_length]
    }

    /// The counted records as one slice, each as long as the layout says.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.layout.header_length..]
    }

    /// The counted records.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.body().chunks_exact(self.layout.record_length)
    }

    fn has_sequence(&self) -> bool {
        self.layout.header_length >= field::ENGINE.end
    }
}

/// The record count in what begins with a header; 0 without.
pub(super) fn count(bytes: &[u8]) -> usize {
    bytes.get(field::COUNT).map_or(0, |_| usize::from(read_u16(bytes, field::COUNT)))
}

/// Whether records may move between messages under these two headers of one layout and keep their
/// meaning: whether all but count and sequence number agree (uptime, time, engine, sampling,
/// aggregation).
pub fn same_context(a: &[u8], b: &[u8]) -> bool {
    a[field::UPTIME.start..field::UNIX_NSECS.end] == b[field::UPTIME.start..field::UNIX_NSECS.end]
        && a.get(field::SEQUENCE.end..) == b.get(field::SEQUENCE.end..)
}

/// Writes the record count into a header.
pub fn set_count(header: &mut [u8], count: u16) {
    write_u16(header, field::COUNT, count);
}

/// Writes the sequence number into a message, if its version has one.
pub fn set_sequence(layout: &Layout, message: &mut [u8], sequence: u32) {
    if layout.header_length >= field::SEQUENCE.end {
        write_u32(message, field::SEQUENCE, sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use proptest::prelude::*;

    /// A packet that counts so many records and holds so many, of zeroes.
    fn packet(layout: &Layout, count: u16, records: usize) -> Vec<u8> {
        let mut bytes = vec![0; layout.header_length + records * layout.record_length];
        set_count(&mut bytes, count);
        bytes
    }

    #[test]
    fn fewer_records_than_counted_are_refused() {
        for layout in LAYOUTS {
            let refused = |bytes: &[u8]| Packet::new_checked(bytes, layout).unwrap_err();
            assert_eq!(refused(&packet(layout, 2, 1)), Discard::MessageLength);
            assert_eq!(refused(&packet(layout, u16::MAX, 1)), Discard::MessageLength);
        }
    }

    #[test]
    fn bytes_behind_the_counted_records_are_ignored() {
        for layout in LAYOUTS {
            let bytes = packet(layout, 1, 2);
            assert_eq!(Packet::new_checked(&bytes, layout).unwrap().records().len(), 1);
        }
    }

    #[test]
    fn a_count_of_zero_is_refused() {
        for layout in LAYOUTS {
            let bytes = packet(layout, 0, 0);
            assert_eq!(Packet::new_checked(&bytes, layout).unwrap_err(), Discard::MessageLength);
        }
    }

    #[test]
    fn half_a_header_is_too_short() {
        for layout in LAYOUTS {
            let bytes = packet(layout, 1, 1);
            let refused = Packet::new_checked(&bytes[..layout.header_length - 1], layout);
            assert_eq!(refused.unwrap_err(), Discard::TooShort);
        }
    }

    #[test]
    fn a_sequence_number_is_written_where_it_is_read() {
        for layout in LAYOUTS {
            let mut bytes = packet(layout, 1, 1);
            set_sequence(layout, &mut bytes, 7);
            let expected = if layout.protocol == Protocol::Netflow1 { 0 } else { 7 };
            assert_eq!(Packet::new_checked(&bytes, layout).unwrap().sequence(), expected);
        }
    }

    #[test]
    fn only_count_and_sequence_may_differ_within_a_context() {
        for layout in LAYOUTS {
            let header = vec![0; layout.header_length];
            for at in 0..layout.header_length {
                let mut other = header.clone();
                other[at] = 1;
                // The version and the count stand before the uptime.
                let free = at < field::UPTIME.start || field::SEQUENCE.contains(&at);
                assert_eq!(same_context(&header, &other), free, "byte {at} of {layout:?}");
            }
        }
    }

    #[test]
    fn fields_stand_in_their_record_in_order_and_have_their_elements_width() {
        for layout in LAYOUTS {
            let mut fields = layout.fields.to_vec();
            fields.sort_by_key(|field| field.at.start);
            let mut end = 0;
            for field in &fields {
                assert!(field.at.start >= end && field.at.end <= layout.record_length);
                assert!(Element::from_id(field.element).is_some(), "{}", field.element);
                end = field.at.end;
            }
        }
    }

    #[test]
    fn a_full_packet_fits_an_ethernet_frame() {
        for layout in LAYOUTS {
            let records = usize::from(layout.max_records) * layout.record_length;
            assert!((1_168..=1_472).contains(&(layout.header_length + records)), "{layout:?}");
        }
    }

    proptest! {
        #[test]
        fn every_accepted_view_stays_within_its_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..4_000),
            which in 0..LAYOUTS.len(),
            count in 0u16..90,
        ) {
            let (layout, mut bytes) = (LAYOUTS[which], bytes);
            if bytes.len() >= 4 {
                set_count(&mut bytes, count);
            }
            if let Ok(packet) = Packet::new_checked(&bytes, layout) {
                let read = (packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs());
                prop_assert_eq!(read.0, read_u32(&bytes, 4..8));
                prop_assert_eq!(packet.domain() >> 16, u32::from(layout.scheme));
                prop_assert_eq!(packet.records().len(), usize::from(count));
                let body: usize = packet.records().map(<[u8]>::len).sum();
                prop_assert_eq!(packet.header().len() + body, layout.header_length + packet.body().len());
            }
        }
    }
}
