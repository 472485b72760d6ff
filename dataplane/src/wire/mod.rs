//! Checked, zero-copy views of what stands on the wire; one file a protocol.
//!
//! A view is checked once, when it is made, and borrows the datagram; its accessors cannot fail. A
//! byte offset of a protocol stands in that protocol's file and nowhere else. Views say what was
//! written, not what it means: elements are `element`'s, templates `template`'s.

use std::ops::Range;

use crate::Discard;

pub mod checksum;
pub mod ethernet;
pub mod ipfix;
pub mod ipv4;
pub mod ipv6;
pub mod netflow5;
pub mod netflow9;
pub mod set;
pub mod udp;

/// The flow export protocols that weir reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// NetFlow version 5: fixed records of 48 bytes.
    Netflow5,
    /// NetFlow version 9 (RFC 3954).
    Netflow9,
    /// IPFIX (RFC 7011).
    Ipfix,
}

impl Protocol {
    /// The name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Netflow5 => "netflow5",
            Protocol::Netflow9 => "netflow9",
            Protocol::Ipfix => "ipfix",
        }
    }
}

/// A datagram's payload, its header checked.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// NetFlow version 5.
    Netflow5(netflow5::Packet<'a>),
    /// NetFlow version 9.
    Netflow9(netflow9::Packet<'a>),
    /// IPFIX.
    Ipfix(ipfix::Message<'a>),
}

impl<'a> Message<'a> {
    /// Checks the header of a UDP payload.
    ///
    /// # Errors
    /// [`Discard::Empty`], [`Discard::TooShort`], [`Discard::UnknownVersion`] or
    /// [`Discard::MessageLength`]; the datagram is then of no use.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Discard> {
        let version = match payload {
            [] => return Err(Discard::Empty),
            [_] => return Err(Discard::TooShort),
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
        };
        match version {
            netflow5::VERSION => netflow5::Packet::new_checked(payload).map(Message::Netflow5),
            netflow9::VERSION => netflow9::Packet::new_checked(payload).map(Message::Netflow9),
            ipfix::VERSION => ipfix::Message::new_checked(payload).map(Message::Ipfix),
            _ => Err(Discard::UnknownVersion),
        }
    }

    /// Which protocol the version field names.
    pub fn protocol(&self) -> Protocol {
        match self {
            Message::Netflow5(_) => Protocol::Netflow5,
            Message::Netflow9(_) => Protocol::Netflow9,
            Message::Ipfix(_) => Protocol::Ipfix,
        }
    }

    /// The observation domain: IPFIX's own, v9's source id, v5's `engine_type << 8 | engine_id`.
    pub fn domain(&self) -> u32 {
        match self {
            Message::Netflow5(packet) => u32::from(packet.engine()),
            Message::Netflow9(packet) => packet.source_id(),
            Message::Ipfix(message) => message.domain(),
        }
    }

    /// The sequence number: v5 counts flows, v9 packets, IPFIX data records.
    pub fn sequence(&self) -> u32 {
        match self {
            Message::Netflow5(packet) => packet.sequence(),
            Message::Netflow9(packet) => packet.sequence(),
            Message::Ipfix(message) => message.sequence(),
        }
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
        for version in [0u16, 1, 7, 8, 11, u16::MAX] {
            let mut payload = [0u8; 64];
            payload[..2].copy_from_slice(&version.to_be_bytes());
            assert_eq!(Message::parse(&payload).unwrap_err(), Discard::UnknownVersion);
        }
    }

    #[test]
    fn each_version_gives_its_view() {
        let mut v9 = [0u8; 20];
        v9[1] = 9;
        v9[15] = 3;
        v9[19] = 7;
        let message = Message::parse(&v9).unwrap();
        assert_eq!(message.protocol(), Protocol::Netflow9);
        assert_eq!((message.sequence(), message.domain()), (3, 7));
    }
}
