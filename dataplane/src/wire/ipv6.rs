//! IPv6 packets (RFC 8200): a checked view that walks the extension headers, headers without any,
//! and fragmenting by the sender.
//!
//! There is no reassembly here: fragments that come in are the kernel's. Headers that weir cannot
//! walk (ESP, unknown ones) end the walk: the packet is then no UDP packet.

use std::net::Ipv6Addr;

use crate::Discard;

/// Bytes of the fixed header.
pub const HEADER_LENGTH: usize = 40;
/// Bytes of a Fragment header (RFC 8200, Section 4.5).
pub const FRAGMENT_HEADER_LENGTH: usize = 8;
/// The next-header number of UDP.
pub const UDP: u8 = 17;
/// Extension headers that are walked; the XDP program has the same bound.
pub const EXTENSIONS_MAX: usize = 6;
/// The smallest MTU that [`Fragments`] takes: both headers and one unit of eight octets. Every real
/// link carries 1,280 octets (RFC 8200, Section 5).
pub const MTU_MIN: u16 = 56;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const HOP_LIMIT: u8 = 64;

/// A checked view of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    upper: u8,
    payload: usize,
    fragment: Option<FragmentHeader>,
}

/// What a Fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Where the payload stands in the whole packet's, in bytes.
    pub offset: usize,
    /// Whether further fragments follow.
    pub more: bool,
    /// The identification that the fragments of one packet share.
    pub identification: u32,
}

impl<'a> Packet<'a> {
    /// Views the start of `bytes` as a packet; what follows the packet's length (Ethernet's
    /// padding) is cut off. The walk over the extension headers ends at a Fragment header.
    ///
    /// # Errors
    /// [`Discard::BadFrame`] when version or lengths are wrong, or there are more than
    /// [`EXTENSIONS_MAX`] extension headers.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < HEADER_LENGTH || bytes[0] >> 4 != 6 {
            return Err(Discard::BadFrame);
        }
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        let bytes = bytes.get(..HEADER_LENGTH + length).ok_or(Discard::BadFrame)?;
        let mut packet = Packet { bytes, upper: bytes[6], payload: HEADER_LENGTH, fragment: None };
        for _ in 0..EXTENSIONS_MAX {
            if !packet.step()? {
                return Ok(packet);
            }
        }
        if is_extension(packet.upper) { Err(Discard::BadFrame) } else { Ok(packet) }
    }

    /// Steps over one extension header; false when there is none or the walk ends with it.
    fn step(&mut self) -> Result<bool, Discard> {
        if !is_extension(self.upper) {
            return Ok(false);
        }
        let header = &self.bytes[self.payload..];
        if header.len() < 8 {
            return Err(Discard::BadFrame);
        }
        let length = match self.upper {
            FRAGMENT => FRAGMENT_HEADER_LENGTH,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if header.len() < length {
            return Err(Discard::BadFrame);
        }
        let walked = self.upper;
        self.upper = header[0];
        self.payload += length;
        if walked == FRAGMENT {
            let field = u16::from_be_bytes([header[2], header[3]]);
            self.fragment = Some(FragmentHeader {
                offset: usize::from(field & !7),
                more: field & 1 != 0,
                identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            });
        }
        Ok(walked != FRAGMENT)
    }

    /// The sender's address.
    pub fn source(&self) -> Ipv6Addr {
        let field: [u8; 16] = self.bytes[8..24].try_into().expect("checked length");
        field.into()
    }

    /// The receiver's address.
    pub fn destination(&self) -> Ipv6Addr {
        let field: [u8; 16] = self.bytes[24..40].try_into().expect("checked length");
        field.into()
    }

    /// The protocol behind the extension headers; of a fragment, what its Fragment header says.
    pub fn protocol(&self) -> u8 {
        self.upper
    }

    /// The Fragment header, if there is one.
    pub fn fragment(&self) -> Option<FragmentHeader> {
        self.fragment
    }

    /// What follows the extension headers.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload..]
    }
}

fn is_extension(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// What a header without extension headers says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's address.
    pub source: Ipv6Addr,
    /// The receiver's address.
    pub destination: Ipv6Addr,
    /// The number of the protocol within.
    pub protocol: u8,
}

impl Header {
    /// Writes the header of a packet with `payload` bytes behind it into the first
    /// [`HEADER_LENGTH`] bytes of `buffer`. Traffic class and flow label are 0.
    pub fn emit(&self, buffer: &mut [u8], payload: usize) {
        self.emit_next(buffer, payload, self.protocol);
    }

    fn emit_next(&self, buffer: &mut [u8], payload: usize, next: u8) {
        let length = u16::try_from(payload).expect("a payload of at most 65,535");
        buffer[0..4].copy_from_slice(&[0x60, 0, 0, 0]);
        buffer[4..6].copy_from_slice(&length.to_be_bytes());
        buffer[6] = next;
        buffer[7] = HOP_LIMIT;
        buffer[8..24].copy_from_slice(&self.source.octets());
        buffer[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// The packets that carry one payload over a path whose MTU is `mtu` (RFC 8200, Section 4.5): one
/// packet without a Fragment header where it fits, else fragments in order.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    header: Header,
    payload: &'a [u8],
    identification: u32,
    /// Bytes a fragment; `None` when the payload goes whole.
    piece: Option<usize>,
    offset: usize,
    done: bool,
}

impl<'a> Fragments<'a> {
    /// Splits `payload`, at most 65,535 bytes, into packets of at most `mtu` bytes (and never below
    /// [`MTU_MIN`]).
    pub fn new(header: Header, payload: &'a [u8], mtu: u16, identification: u32) -> Self {
        let mtu = usize::from(mtu.max(MTU_MIN));
        let whole = payload.len() <= mtu - HEADER_LENGTH;
        let piece = (mtu - HEADER_LENGTH - FRAGMENT_HEADER_LENGTH) & !7;
        let piece = if whole { None } else { Some(piece) };
        Fragments { header, payload, identification, piece, offset: 0, done: false }
    }

    /// Writes the next packet to the start of `buffer` (at least the MTU long) and returns its
    /// length, or `None` after the last.
    pub fn emit_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.done {
            return None;
        }
        let Some(piece) = self.piece else {
            self.done = true;
            self.header.emit(buffer, self.payload.len());
            buffer[HEADER_LENGTH..HEADER_LENGTH + self.payload.len()].copy_from_slice(self.payload);
            return Some(HEADER_LENGTH + self.payload.len());
        };
        let end = (self.offset + piece).min(self.payload.len());
        let body = &self.payload[self.offset..end];
        self.done = end == self.payload.len();
        self.header.emit_next(buffer, FRAGMENT_HEADER_LENGTH + body.len(), FRAGMENT);
        self.emit_fragment_header(&mut buffer[HEADER_LENGTH..]);
        let at = HEADER_LENGTH + FRAGMENT_HEADER_LENGTH;
        buffer[at..at + body.len()].copy_from_slice(body);
        self.offset = end;
        Some(at + body.len())
    }

    fn emit_fragment_header(&self, buffer: &mut [u8]) {
        let offset = u16::try_from(self.offset).expect("an offset below 65,536");
        let field = offset | u16::from(!self.done);
        buffer[0] = self.header.protocol;
        buffer[1] = 0;
        buffer[2..4].copy_from_slice(&field.to_be_bytes());
        buffer[4..8].copy_from_slice(&self.identification.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            protocol: UDP,
        }
    }

    fn packet(next: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LENGTH];
        header().emit_next(&mut bytes, body.len(), next);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_header_is_written_byte_for_byte() {
        let bytes = packet(UDP, &[7, 7]);
        assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 2, 17, 64]);
        assert_eq!(bytes[8..12], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(bytes[39], 2);
    }

    #[test]
    fn extension_headers_are_walked_each_by_its_own_length_rule() {
        let hop_by_hop = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        let options = [AUTHENTICATION, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let authentication = [UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let body = [&hop_by_hop[..], &options, &authentication, &[42]].concat();
        let bytes = packet(HOP_BY_HOP, &body);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.protocol(), packet.payload()), (UDP, &[42][..]));
        assert_eq!(packet.fragment(), None);
    }

    #[test]
    fn a_chain_without_end_is_refused() {
        let body = [HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(EXTENSIONS_MAX + 1);
        assert_eq!(Packet::new_checked(&packet(HOP_BY_HOP, &body)).unwrap_err(), Discard::BadFrame);
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused() {
        let good = packet(HOP_BY_HOP, &[UDP, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(Packet::new_checked(&good).is_ok());
        for length in 0..good.len() {
            assert!(Packet::new_checked(&good[..length]).is_err(), "cut to {length}");
        }
        let lying = packet(HOP_BY_HOP, &[UDP, 1, 0, 0, 0, 0, 0, 0]);
        assert!(Packet::new_checked(&lying).is_err());
    }

    fn reassemble(payload: &[u8], mtu: u16) -> Vec<u8> {
        let mut out = vec![0; payload.len()];
        let mut covered = 0;
        let mut fragments = Fragments::new(header(), payload, mtu, 77);
        let mut buffer = vec![0; 66_000];
        let mut last = false;
        while let Some(length) = fragments.emit_next(&mut buffer) {
            assert!(length <= usize::from(mtu));
            assert!(!last, "nothing follows the last fragment");
            let packet = Packet::new_checked(&buffer[..length]).unwrap();
            assert_eq!(packet.protocol(), UDP);
            let at = packet.fragment().map_or(0, |fragment| fragment.offset);
            assert!(packet.fragment().is_none_or(|fragment| fragment.identification == 77));
            out[at..at + packet.payload().len()].copy_from_slice(packet.payload());
            covered += packet.payload().len();
            last = packet.fragment().is_none_or(|fragment| !fragment.more);
        }
        assert!(last && covered == payload.len());
        out
    }

    #[test]
    fn what_fits_bears_no_fragment_header() {
        let mut buffer = [0; 100];
        let mut fragments = Fragments::new(header(), &[1; 60], 100, 1);
        assert_eq!(fragments.emit_next(&mut buffer), Some(100));
        assert_eq!(Packet::new_checked(&buffer).unwrap().fragment(), None);
        assert_eq!(fragments.emit_next(&mut buffer), None);
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
        fn what_is_emitted_is_parsed(source: [u8; 16], destination: [u8; 16], body: Vec<u8>) {
            let (source, destination) = (source.into(), destination.into());
            let mut bytes = vec![0; HEADER_LENGTH];
            Header { source, destination, protocol: UDP }.emit(&mut bytes, body.len());
            bytes.extend(&body);
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!((packet.source(), packet.destination()), (source, destination));
            prop_assert_eq!(packet.payload(), &body[..]);
        }

        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>, next in 0u8..64) {
            if bytes.len() > 6 {
                bytes[0] = 0x60;
                bytes[4] = 0;
                bytes[6] = next;
            }
            let _ = Packet::new_checked(&bytes).map(|packet| packet.payload().len());
        }
    }
}
