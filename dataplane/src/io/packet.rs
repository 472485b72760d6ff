//! Whole UDP packets in a frame: headers written in front of a payload, and read off a received
//! Ethernet frame.
//!
//! What [`parse`] accepts is what the XDP program redirects, and more exactly checked: the program
//! looks at what it must to find the destination port, this file at lengths and checksums too.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Datagram;
use crate::Discard;
use crate::wire::ethernet::{self, ethertype};
use crate::wire::{ipv4, ipv6, udp};

/// Bytes of IP and UDP headers of a packet to `to`.
pub(super) fn overhead(to: SocketAddr) -> usize {
    udp::HEADER_LENGTH + if to.is_ipv4() { ipv4::HEADER_LENGTH } else { ipv6::HEADER_LENGTH }
}

/// The identification of an IPv4 packet: never 0, which would ask a raw socket to choose one.
pub(super) fn short_identification(identification: u32) -> u16 {
    u16::try_from(identification % 0xffff).expect("below 65,535") + 1
}

/// The error of a packet whose two addresses are of different IP versions.
pub(super) fn families_differ() -> io::Error {
    io::Error::from_raw_os_error(libc::EAFNOSUPPORT)
}

/// Writes UDP and IP headers in front of the payload, which is `bytes[payload..]`; returns where the
/// packet starts, or `None` when the addresses' families differ.
pub(super) fn emit(
    bytes: &mut [u8],
    payload: usize,
    source: SocketAddr,
    to: SocketAddr,
    identification: u32,
) -> Option<usize> {
    let datagram = payload - udp::HEADER_LENGTH;
    let length = bytes.len() - datagram;
    let start = match (source.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let start = datagram - ipv4::HEADER_LENGTH;
            let identification = short_identification(identification);
            let header = ipv4::Header { source, destination, identification, protocol: ipv4::UDP };
            header.emit(&mut bytes[start..], length);
            start
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let start = datagram - ipv6::HEADER_LENGTH;
            let header = ipv6::Header { source, destination, protocol: ipv6::UDP };
            header.emit(&mut bytes[start..], length);
            start
        }
        _ => return None,
    };
    udp::emit(&mut bytes[datagram..], source, to);
    Some(start)
}

/// Reads a UDP datagram off an Ethernet frame.
///
/// A partial checksum counts as good: it is what a sender on this same machine leaves in place of
/// one when its virtual device offers to compute checksums, and such a packet was never on a wire.
///
/// # Errors
/// [`Discard::BadFrame`] when it is no unfragmented UDP datagram or a length lies,
/// [`Discard::BadChecksum`] when UDP's checksum does not match.
pub fn parse(frame: &[u8]) -> Result<Datagram<'_>, Discard> {
    let frame = ethernet::Frame::new_checked(frame)?;
    let (source, destination, segment): (IpAddr, IpAddr, &[u8]) = match frame.ethertype() {
        ethertype::IPV4 => {
            let packet = ipv4::Packet::new_checked(frame.payload())?;
            if packet.is_fragment() || packet.protocol() != ipv4::UDP {
                return Err(Discard::BadFrame);
            }
            (packet.source().into(), packet.destination().into(), packet.payload())
        }
        ethertype::IPV6 => {
            let packet = ipv6::Packet::new_checked(frame.payload())?;
            if packet.fragment().is_some() || packet.protocol() != ipv6::UDP {
                return Err(Discard::BadFrame);
            }
            (packet.source().into(), packet.destination().into(), packet.payload())
        }
        _ => return Err(Discard::BadFrame),
    };
    let segment = udp::Packet::new_checked(segment)?;
    if segment.checksum(source, destination) == udp::Checksum::Bad {
        return Err(Discard::BadChecksum);
    }
    Ok(Datagram {
        source: SocketAddr::new(source, segment.source_port()),
        destination: SocketAddr::new(destination, segment.destination_port()),
        payload: segment.payload(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An Ethernet frame around a packet of `payload` from `source` to `to`.
    fn frame(source: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 62];
        bytes.extend(payload);
        let start = emit(&mut bytes, 62, source, to, 1).unwrap() - ethernet::HEADER_LENGTH;
        let kind = if to.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        ethernet::emit(&mut bytes[start..], [1; 6], [2; 6], kind);
        bytes.split_off(start)
    }

    #[test]
    fn a_fragment_is_no_datagram() {
        let mut bytes =
            frame("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap(), &[1; 8]);
        bytes[14 + 6] = 0x20;
        bytes[14 + 10] = bytes[14 + 10].wrapping_sub(0x20);
        assert_eq!(parse(&bytes).unwrap_err(), Discard::BadFrame);
    }

    #[test]
    fn a_flipped_bit_in_the_payload_is_a_bad_checksum() {
        let mut bytes =
            frame("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap(), &[1; 8]);
        *bytes.last_mut().unwrap() ^= 4;
        assert_eq!(parse(&bytes).unwrap_err(), Discard::BadChecksum);
    }

    #[test]
    fn addresses_of_two_families_make_no_packet() {
        let mut bytes = [0; 70];
        let to = "[2001:db8::2]:2".parse().unwrap();
        assert_eq!(emit(&mut bytes, 62, "192.0.2.1:1".parse().unwrap(), to, 1), None);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            from: [u8; 16], to: [u8; 16], ports: (u16, u16), body: Vec<u8>, v4: bool,
        ) {
            let address = |octets: [u8; 16]| -> IpAddr {
                if v4 { <[u8; 4]>::try_from(&octets[..4]).unwrap().into() } else { octets.into() }
            };
            let source = SocketAddr::new(address(from), ports.0);
            let to = SocketAddr::new(address(to), ports.1);
            let bytes = frame(source, to, &body);
            let datagram = parse(&bytes).unwrap();
            prop_assert_eq!((datagram.source, datagram.destination), (source, to));
            prop_assert_eq!(datagram.payload, &body[..]);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0usize..80, value: u8, cut in 0usize..80) {
            let from = "[2001:db8::1]:1".parse().unwrap();
            let mut bytes = frame(from, "[2001:db8::2]:2".parse().unwrap(), &[1; 18]);
            bytes[at] = value;
            let _ = parse(&bytes);
            let _ = parse(&bytes[..cut]);
        }
    }
}
