//! IPv4 packets (RFC 791): a checked view, headers without options, and fragmenting.
//!
//! Options are skipped on the way in and never written. There is no reassembly here: fragments that
//! come in are the kernel's, which hands the whole datagram to an ordinary socket.

use std::net::Ipv4Addr;

use super::checksum;
use crate::Discard;

/// Bytes of a header without options, as [`Header::emit`] writes it.
pub const HEADER_LENGTH: usize = 20;
/// The protocol number of UDP.
pub const UDP: u8 = 17;
/// The smallest MTU that [`Fragments`] takes: a header and one unit of eight octets. Every real
/// link carries more (RFC 791, Section 3.2: 68 octets).
pub const MTU_MIN: u16 = 28;

const TIME_TO_LIVE: u8 = 64;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A checked view of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    header: usize,
}

impl<'a> Packet<'a> {
    /// Views the start of `bytes` as a packet; what follows the packet's total length (Ethernet's
    /// padding) is cut off.
    ///
    /// # Errors
    /// [`Discard::BadFrame`] when version, lengths or the header's checksum are wrong.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        let packet = Packet::new_captured(bytes)?;
        if checksum::fold(checksum::sum(0, &bytes[..packet.header])) != 0xffff {
            return Err(Discard::BadFrame);
        }
        Ok(packet)
    }

    /// As [`Packet::new_checked`], whatever the header's checksum says: a capture may hold packets
    /// whose checksum the network card was yet to compute, or whose addresses were made anonymous.
    ///
    /// # Errors
    /// [`Discard::BadFrame`] when version or lengths are wrong.
    pub fn new_captured(bytes: &'a [u8]) -> Result<Self, Discard> {
        let first = *bytes.first().ok_or(Discard::BadFrame)?;
        let header = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header < HEADER_LENGTH || bytes.len() < header {
            return Err(Discard::BadFrame);
        }
        let total = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        if total < header || total > bytes.len() {
            return Err(Discard::BadFrame);
        }
        Ok(Packet { bytes: &bytes[..total], header })
    }

    /// The sender's address.
    pub fn source(&self) -> Ipv4Addr {
        let field: [u8; 4] = self.bytes[12..16].try_into().expect("checked length");
        field.into()
    }

    /// The receiver's address.
    pub fn destination(&self) -> Ipv4Addr {
        let field: [u8; 4] = self.bytes[16..20].try_into().expect("checked length");
        field.into()
    }

    /// The number of the protocol within.
    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// The identification that the fragments of one packet share.
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Where the payload stands in the whole packet's, in bytes.
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_and_offset() & OFFSET_MASK) * 8
    }

    /// Whether further fragments follow.
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & MORE_FRAGMENTS != 0
    }

    /// Whether this is a piece of a larger packet.
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// What follows the header and its options.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header..]
    }

    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }
}

/// What a header without options says. "Don't fragment" is never set: an ICMP "too big" would go
/// to the exporter whose address the packet bears, not to weir, and could not be heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's address.
    pub source: Ipv4Addr,
    /// The receiver's address.
    pub destination: Ipv4Addr,
    /// Unique per source, destination and protocol while a packet may be under way (RFC 6864).
    pub identification: u16,
    /// The number of the protocol within.
    pub protocol: u8,
}

impl Header {
    /// Writes the header of an unfragmented packet with `payload` bytes behind it into the first
    /// [`HEADER_LENGTH`] bytes of `buffer`.
    pub fn emit(&self, buffer: &mut [u8], payload: usize) {
        self.emit_flagged(buffer, payload, 0);
    }

    fn emit_flagged(&self, buffer: &mut [u8], payload: usize, flags_and_offset: u16) {
        let total = u16::try_from(HEADER_LENGTH + payload).expect("a packet of at most 65,535");
        let header = &mut buffer[..HEADER_LENGTH];
        header[0] = 0x45;
        header[1] = 0;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[4..6].copy_from_slice(&self.identification.to_be_bytes());
        header[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        header[8] = TIME_TO_LIVE;
        header[9] = self.protocol;
        header[10..12].fill(0);
        header[12..16].copy_from_slice(&self.source.octets());
        header[16..20].copy_from_slice(&self.destination.octets());
        let check = !checksum::fold(checksum::sum(0, header));
        header[10..12].copy_from_slice(&check.to_be_bytes());
    }
}

/// The packets that carry one payload over a path whose MTU is `mtu` (RFC 791, Section 3.2): one
/// unfragmented packet where it fits, else fragments in order.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    header: Header,
    payload: &'a [u8],
    piece: usize,
    offset: usize,
    done: bool,
}

impl<'a> Fragments<'a> {
    /// Splits `payload`, at most 65,515 bytes, into packets of at most `mtu` bytes (and never below
    /// [`MTU_MIN`]).
    pub fn new(header: Header, payload: &'a [u8], mtu: u16) -> Self {
        let room = usize::from(mtu.max(MTU_MIN)) - HEADER_LENGTH;
        let piece = if payload.len() <= room { payload.len() } else { room & !7 };
        Fragments { header, payload, piece, offset: 0, done: false }
    }

    /// Writes the next packet to the start of `buffer` (at least the MTU long) and returns its
    /// length, or `None` after the last.
    pub fn emit_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.done {
            return None;
        }
        let end = (self.offset + self.piece).min(self.payload.len());
        let body = &self.payload[self.offset..end];
        self.done = end == self.payload.len();
        let units = u16::try_from(self.offset / 8).expect("an offset below 65,536");
        let flags = if self.done { units } else { units | MORE_FRAGMENTS };
        self.header.emit_flagged(buffer, body.len(), flags);
        buffer[HEADER_LENGTH..HEADER_LENGTH + body.len()].copy_from_slice(body);
        self.offset = end;
        Some(HEADER_LENGTH + body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A UDP packet's header as tcpdump shows it: 192.0.2.1 > 198.51.100.2, id 0x1234, ttl 64.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x18, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0x7c, 0x6a, 192, 0, 2, 1, 198,
        51, 100, 2,
    ];

    fn header() -> Header {
        Header {
            source: Ipv4Addr::new(192, 0, 2, 1),
            destination: Ipv4Addr::new(198, 51, 100, 2),
            identification: 0x1234,
            protocol: UDP,
        }
    }

    fn whole() -> Vec<u8> {
        [&HEADER[..], &[9, 8, 7, 6]].concat()
    }

    #[test]
    fn a_header_is_written_byte_for_byte() {
        let mut bytes = [0xff; 20];
        header().emit(&mut bytes, 4);
        assert_eq!(bytes, HEADER);
    }

    #[test]
    fn padding_behind_the_packet_is_cut_off() {
        let padded = [&whole()[..], &[0; 22]].concat();
        assert_eq!(Packet::new_checked(&padded).unwrap().payload(), [9, 8, 7, 6]);
    }

    #[test]
    fn options_are_skipped() {
        let mut bytes = whole();
        bytes[0] = 0x46;
        bytes[3] = 0x1c;
        bytes.splice(20..20, [1, 1, 1, 1]);
        bytes[10..12].fill(0);
        let check = !checksum::fold(checksum::sum(0, &bytes[..24]));
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        assert_eq!(Packet::new_checked(&bytes).unwrap().payload(), [9, 8, 7, 6]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let good = whole();
        for (at, value) in [(0, 0x65), (0, 0x44), (0, 0x4f), (3, 0x19), (3, 0x13), (11, 0x6b)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Packet::new_checked(&bad).unwrap_err(), Discard::BadFrame, "byte {at}");
        }
        for length in 0..good.len() {
            assert!(Packet::new_checked(&good[..length]).is_err(), "cut to {length}");
        }
    }

    fn reassemble(payload: &[u8], mtu: u16) -> Vec<u8> {
        let mut out = vec![0; payload.len()];
        let mut covered = 0;
        let mut fragments = Fragments::new(header(), payload, mtu);
        let mut buffer = vec![0; 65_535];
        let mut last = false;
        while let Some(length) = fragments.emit_next(&mut buffer) {
            assert!(length <= usize::from(mtu));
            assert!(!last, "nothing follows the last fragment");
            let packet = Packet::new_checked(&buffer[..length]).unwrap();
            assert_eq!(packet.identification(), 0x1234);
            let at = packet.fragment_offset();
            out[at..at + packet.payload().len()].copy_from_slice(packet.payload());
            covered += packet.payload().len();
            last = !packet.more_fragments();
        }
        assert!(last && covered == payload.len());
        out
    }

    #[test]
    fn what_fits_is_no_fragment() {
        let mut buffer = [0; 100];
        let mut fragments = Fragments::new(header(), &[1; 80], 100);
        assert_eq!(fragments.emit_next(&mut buffer), Some(100));
        assert!(!Packet::new_checked(&buffer).unwrap().is_fragment());
        assert_eq!(fragments.emit_next(&mut buffer), None);
    }

    #[test]
    fn the_largest_udp_datagram_is_fragmented() {
        let payload: Vec<u8> = (0..65_515u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(reassemble(&payload, 1500), payload);
    }

    proptest! {
        #[test]
        fn fragments_reassemble_to_the_original(
            payload in proptest::collection::vec(any::<u8>(), 0..5000),
            mtu in MTU_MIN..2000,
        ) {
            prop_assert_eq!(reassemble(&payload, mtu), payload);
        }

        #[test]
        fn what_is_emitted_is_parsed(
            source: [u8; 4], destination: [u8; 4], identification: u16, protocol: u8,
            body: Vec<u8>,
        ) {
            let (source, destination) = (source.into(), destination.into());
            let mut bytes = vec![0; HEADER_LENGTH];
            Header { source, destination, identification, protocol }.emit(&mut bytes, body.len());
            bytes.extend(&body);
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!((packet.source(), packet.destination()), (source, destination));
            prop_assert_eq!(packet.identification(), identification);
            prop_assert_eq!(packet.protocol(), protocol);
            prop_assert_eq!(packet.payload(), &body[..]);
        }

        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x45 + (*first & 1);
            }
            let _ = Packet::new_checked(&bytes).map(|packet| packet.payload().len());
        }
    }
}
