//! Checked, zero-copy views of what stands on the wire; one file a protocol.
//!
//! A view is checked once, when it is made, and borrows the datagram; its accessors cannot fail. A
//! byte offset of a protocol stands in that protocol's file and nowhere else. Views say what was
//! written, not what it means: elements are `element`'s, templates `template`'s.

use std::ops::Range;

use crate::Discard;

pub mod checksum;
pub mod ethernet;
pub mod fixed;
pub mod ipfix;
pub mod ipv4;
pub mod ipv6;
pub mod netflow1;
pub mod netflow5;
pub mod netflow6;
pub mod netflow7;
pub mod netflow8;
pub mod netflow9;
pub mod sampled;
pub mod set;
pub mod sflow;
pub mod udp;

/// The flow export protocols that weir reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// NetFlow version 1: fixed records, no sequence number.
    Netflow1,
    /// NetFlow version 5: fixed records of 48 bytes.
    Netflow5,
    /// NetFlow version 6: version 5 with encapsulation sizes.
    Netflow6,
    /// NetFlow version 7: version 5 as Catalyst switches write it.
    Netflow7,
    /// NetFlow version 8: aggregated flows, a fixed record for each aggregation scheme.
    Netflow8,
    /// NetFlow version 9 (RFC 3954).
    Netflow9,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// sFlow version 5 (sflow.org).
    Sflow,
}

/// What a protocol's sequence numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Nothing: there is no sequence number.
    Nothing,
    /// Data records, options data records among them.
    Records,
    /// Messages.
    Messages,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 8] = [
        Protocol::Netflow1,
        Protocol::Netflow5,
        Protocol::Netflow6,
        Protocol::Netflow7,
        Protocol::Netflow8,
        Protocol::Netflow9,
        Protocol::Ipfix,
        Protocol::Sflow,
    ];

    /// The name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Netflow1 => "netflow1",
            Protocol::Netflow5 => "netflow5",
            Protocol::Netflow6 => "netflow6",
            Protocol::Netflow7 => "netflow7",
            Protocol::Netflow8 => "netflow8",
            Protocol::Netflow9 => "netflow9",
            Protocol::Ipfix => "ipfix",
            Protocol::Sflow => "sflow",
        }
    }

    /// What the sequence number in its header counts (RFC 3954, Section 5.1; RFC 7011, Section 3.1;
    /// "sFlow Version 5", datagram header; versions 5 to 8 count flows, which are their records).
    pub const fn counted(self) -> Counted {
        match self {
            Protocol::Netflow1 => Counted::Nothing,
            Protocol::Netflow5
            | Protocol::Netflow6
            | Protocol::Netflow7
            | Protocol::Netflow8
            | Protocol::Ipfix => Counted::Records,
            Protocol::Netflow9 | Protocol::Sflow => Counted::Messages,
        }
    }
}

/// A datagram's payload, its header checked.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// NetFlow version 1, 5, 6, 7 or 8.
    Fixed(fixed::Packet<'a>),
    /// NetFlow version 9.
    Netflow9(netflow9::Packet<'a>),
    /// IPFIX.
    Ipfix(ipfix::Message<'a>),
    /// sFlow version 5.
    Sflow(sflow::Datagram<'a>),
}

impl<'a> Message<'a> {
    /// Checks the header of a UDP payload.
    ///
    /// # Errors
    /// [`Discard::Empty`], [`Discard::TooShort`], [`Discard::UnknownVersion`],
    /// [`Discard::UnknownAggregation`] or [`Discard::MessageLength`]; the datagram is then of no
    /// use.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Discard> {
        /// The upper half of sFlow's version field, which has four bytes.
        const SFLOW: u16 = 0;
        let version = match payload {
            [] => return Err(Discard::Empty),
            [_] => return Err(Discard::TooShort),
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
        };
        match version {
            netflow5::VERSION => netflow5::new_checked(payload).map(Message::Fixed),
            netflow9::VERSION => netflow9::Packet::new_checked(payload).map(Message::Netflow9),
            ipfix::VERSION => ipfix::Message::new_checked(payload).map(Message::Ipfix),
            SFLOW => sflow::Datagram::new_checked(payload).map(Message::Sflow),
            netflow1::VERSION => netflow1::new_checked(payload).map(Message::Fixed),
            netflow6::VERSION => netflow6::new_checked(payload).map(Message::Fixed),
            netflow7::VERSION => netflow7::new_checked(payload).map(Message::Fixed),
            netflow8::VERSION => netflow8::new_checked(payload).map(Message::Fixed),
            _ => Err(Discard::UnknownVersion),
        }
    }

    /// Which protocol the version field names.
    pub fn protocol(&self) -> Protocol {
        match self {
            Message::Fixed(packet) => packet.layout().protocol,
            Message::Netflow9(_) => Protocol::Netflow9,
            Message::Ipfix(_) => Protocol::Ipfix,
            Message::Sflow(_) => Protocol::Sflow,
        }
    }

    /// The observation domain: IPFIX's own, v9's source id, sFlow's sub-agent, the others'
    /// `engine_type << 8 | engine_id`, above which v8 has its aggregation scheme.
    pub fn domain(&self) -> u32 {
        match self {
            Message::Fixed(packet) => packet.domain(),
            Message::Netflow9(packet) => packet.source_id(),
            Message::Ipfix(message) => message.domain(),
            Message::Sflow(datagram) => datagram.sub_agent(),
        }
    }

    /// The sequence number, which counts what [`Protocol::counted`] says.
    pub fn sequence(&self) -> u32 {
        match self {
            Message::Fixed(packet) => packet.sequence(),
            Message::Netflow9(packet) => packet.sequence(),
            Message::Ipfix(message) => message.sequence(),
            Message::Sflow(datagram) => datagram.sequence(),
        }
    }

    /// The header.
    pub fn header(&self) -> &'a [u8] {
        match self {
            Message::Fixed(packet) => packet.header(),
            Message::Netflow9(packet) => packet.header(),
            Message::Ipfix(message) => message.header(),
            Message::Sflow(datagram) => datagram.header(),
        }
    }
}

/// A field of a header: what its protocol calls it, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The protocol's own name.
    pub name: &'static str,
    /// Bytes from the header's first.
    pub at: Range<usize>,
}

impl HeaderField {
    pub(crate) const fn new(name: &'static str, at: Range<usize>) -> Self {
        HeaderField { name, at }
    }
}

/// Reads a big-endian number of two bytes; the view's check has made sure of the range.
#[inline]
pub(crate) fn read_u16(bytes: &[u8], field: Range<usize>) -> u16 {
    u16::from_be_bytes(bytes[field].try_into().expect("a field of two bytes"))
}

/// Reads a big-endian number of four bytes; the view's check has made sure of the range.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], field: Range<usize>) -> u32 {
    u32::from_be_bytes(bytes[field].try_into().expect("a field of four bytes"))
}

/// Writes a big-endian number of two bytes.
#[inline]
pub(crate) fn write_u16(bytes: &mut [u8], field: Range<usize>, value: u16) {
    bytes[field].copy_from_slice(&value.to_be_bytes());
}

/// Writes a big-endian number of four bytes.
#[inline]
pub(crate) fn write_u32(bytes: &mut [u8], field: Range<usize>, value: u32) {
    bytes[field].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_payload_is_named() {
        assert_eq!(Message::parse(&[]).unwrap_err(), Discard::Empty);
    }

    #[test]
    fn one_byte_is_no_version() {
        assert_eq!(Message::parse(&[0]).unwrap_err(), Discard::TooShort);
    }

    #[test]
    fn a_version_that_weir_does_not_read_is_named() {
        for version in [2u16, 3, 4, 11, u16::MAX] {
            let mut payload = [0u8; 64];
            payload[..2].copy_from_slice(&version.to_be_bytes());
            assert_eq!(Message::parse(&payload).unwrap_err(), Discard::UnknownVersion);
        }
    }

    #[test]
    fn of_sflow_version_5_alone_is_read() {
        for (version, expected) in [(2, None), (4, None), (5, Some(Protocol::Sflow)), (6, None)] {
            let mut payload = [0u8; 64];
            payload[3] = version;
            let read = Message::parse(&payload);
            assert_eq!(read.map(|message| message.protocol()).ok(), expected);
        }
    }

    #[test]
    fn every_name_is_a_protocols_own() {
        let names: std::collections::HashSet<_> = Protocol::ALL.map(Protocol::name).into();
        assert_eq!(names.len(), Protocol::ALL.len());
    }

    #[test]
    fn each_version_gives_its_view() {
        for version in [1, 5, 6, 7, 8] {
            let mut packet = [0u8; 128];
            (packet[1], packet[3], packet[22]) = (version, 1, 1);
            let message = Message::parse(&packet).unwrap();
            assert_eq!(message.protocol().name(), format!("netflow{version}"));
        }
        let mut v9 = [0u8; 20];
        v9[1] = 9;
        v9[15] = 3;
        v9[19] = 7;
        let message = Message::parse(&v9).unwrap();
        assert_eq!(message.protocol(), Protocol::Netflow9);
        assert_eq!((message.sequence(), message.domain()), (3, 7));
    }
}
