//! UDP (RFC 768; over IPv6 RFC 8200, Section 8.1): a checked view, and headers with a computed
//! checksum.
//!
//! The checksum is always written, over IPv4 too: whoever rewrites a packet's source is the last
//! who can vouch for it.

use std::net::{IpAddr, SocketAddr};

use super::{checksum, ipv4};
use crate::Discard;

/// Bytes of the header.
pub const HEADER_LENGTH: usize = 8;
/// The largest payload that IPv4 carries: 65,535 less both headers.
pub const PAYLOAD_MAX: usize = 65_507;

/// What a received checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It matches.
    Good,
    /// The sender computed none; legal over IPv4 only.
    Absent,
    /// It is the pseudo header's sum alone: the sender on this same machine left the rest to a
    /// network card that is not there (veth with checksum offload). The packet was never on a wire.
    Partial,
    /// It does not match.
    Bad,
}

/// A checked view of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Views the start of `bytes` as a datagram.
    ///
    /// # Errors
    /// [`Discard::BadFrame`] when its length field is below 8 or beyond `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < HEADER_LENGTH {
            return Err(Discard::BadFrame);
        }
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        if length < HEADER_LENGTH {
            return Err(Discard::BadFrame);
        }
        let bytes = bytes.get(..length).ok_or(Discard::BadFrame)?;
        Ok(Packet { bytes })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LENGTH..]
    }

    /// Checks the checksum for a datagram from `source` to `destination`.
    pub fn checksum(&self, source: IpAddr, destination: IpAddr) -> Checksum {
        let field = u16::from_be_bytes([self.bytes[6], self.bytes[7]]);
        if field == 0 {
            return if source.is_ipv4() { Checksum::Absent } else { Checksum::Bad };
        }
        let pseudo = pseudo_header(source, destination, self.bytes.len());
        if checksum::fold(checksum::sum(pseudo, self.bytes)) == 0xffff {
            Checksum::Good
        } else if checksum::fold(pseudo) == field {
            Checksum::Partial
        } else {
            Checksum::Bad
        }
    }
}

/// The sum of the pseudo header (RFC 768; RFC 8200, Section 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u64 {
    let length = u64::try_from(length).expect("a length fits 64 bits");
    let mut total = length + u64::from(ipv4::UDP);
    for address in [source, destination] {
        total = match address {
            IpAddr::V4(address) => checksum::sum(total, &address.octets()),
            IpAddr::V6(address) => checksum::sum(total, &address.octets()),
        };
    }
    total
}

/// Writes the header, checksum included, in front of a payload that already stands in
/// `datagram[8..]`; the datagram is all of `datagram`, at most 65,535 bytes.
pub fn emit(datagram: &mut [u8], source: SocketAddr, destination: SocketAddr) {
    let length = u16::try_from(datagram.len()).expect("a datagram of at most 65,535");
    datagram[0..2].copy_from_slice(&source.port().to_be_bytes());
    datagram[2..4].copy_from_slice(&destination.port().to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram[6..8].fill(0);
    let pseudo = pseudo_header(source.ip(), destination.ip(), datagram.len());
    let check = !checksum::fold(checksum::sum(pseudo, datagram));
    // RFC 768: a computed zero is transmitted as all ones, since zero means "none".
    let check = if check == 0 { 0xffff } else { check };
    datagram[6..8].copy_from_slice(&check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn emitted(source: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xee; HEADER_LENGTH];
        bytes.extend(payload);
        emit(&mut bytes, source, to);
        bytes
    }

    #[test]
    fn a_datagram_is_written_byte_for_byte() {
        // Pseudo header c000 0201 c633 6402 0011 000a, datagram 0807 7d37 000a 0000 0102: their sum
        // folds to 729d, whose inverse is 8d62.
        let bytes = emitted(
            "192.0.2.1:2055".parse().unwrap(),
            "198.51.100.2:32055".parse().unwrap(),
            &[1, 2],
        );
        assert_eq!(bytes, [0x08, 0x07, 0x7d, 0x37, 0x00, 0x0a, 0x8d, 0x62, 1, 2]);
    }

    #[test]
    fn a_computed_zero_goes_out_as_all_ones() {
        let (source, to) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        let mut bytes = emitted(source, to, &[0, 0]);
        // Adding the checksum itself as data makes the sum all ones, its inverse zero.
        let check = [bytes[6], bytes[7]];
        bytes[8..10].copy_from_slice(&check);
        emit(&mut bytes, source, to);
        assert_eq!(bytes[6..8], [0xff, 0xff]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!(packet.checksum(source.ip(), to.ip()), Checksum::Good);
    }

    #[test]
    fn every_kind_of_checksum_is_told_apart() {
        let (source, to) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        let (from6, to6) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let mut bytes = emitted(source, to, &[1, 2, 3]);
        let verdict = |bytes: &[u8], source: SocketAddr, to: SocketAddr| {
            Packet::new_checked(bytes).unwrap().checksum(source.ip(), to.ip())
        };
        assert_eq!(verdict(&bytes, source, to), Checksum::Good);
        bytes[9] ^= 1;
        assert_eq!(verdict(&bytes, source, to), Checksum::Bad);
        let partial = checksum::fold(pseudo_header(source.ip(), to.ip(), bytes.len()));
        bytes[6..8].copy_from_slice(&partial.to_be_bytes());
        assert_eq!(verdict(&bytes, source, to), Checksum::Partial);
        bytes[6..8].fill(0);
        assert_eq!(verdict(&bytes, source, to), Checksum::Absent);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!(packet.checksum(from6, to6), Checksum::Bad);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let good =
            emitted("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap(), &[1, 2, 3]);
        for length in 0..good.len() {
            assert!(Packet::new_checked(&good[..length]).is_err(), "cut to {length}");
        }
        let mut bad = good;
        bad[5] = 7;
        assert_eq!(Packet::new_checked(&bad).unwrap_err(), Discard::BadFrame);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            source: [u8; 16], to: [u8; 16], from_port: u16, to_port: u16, body: Vec<u8>, v4: bool,
        ) {
            let address = |octets: [u8; 16]| -> IpAddr {
                if v4 { <[u8; 4]>::try_from(&octets[..4]).unwrap().into() } else { octets.into() }
            };
            let source = SocketAddr::new(address(source), from_port);
            let to = SocketAddr::new(address(to), to_port);
            let bytes = emitted(source, to, &body);
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!((packet.source_port(), packet.destination_port()), (from_port, to_port));
            prop_assert_eq!(packet.payload(), &body[..]);
            prop_assert_eq!(packet.checksum(source.ip(), to.ip()), Checksum::Good);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, source: [u8; 16], to: [u8; 16]) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                packet.checksum(IpAddr::from(source), IpAddr::from(to));
            }
        }
    }
}
