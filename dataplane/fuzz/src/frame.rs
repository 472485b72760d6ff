//! Whole Ethernet frames: IP, UDP, checksums and fragments.

use std::net::{IpAddr, SocketAddr};

use weir_dataplane::io::packet;
use weir_dataplane::wire::ethernet::{self, ethertype};
use weir_dataplane::wire::{ipv4, ipv6, udp};

use super::watch;

/// The target's body.
pub fn run(input: &[u8]) {
    if let Ok(datagram) = watch::packet(|| packet::parse(input)) {
        again(datagram.source, datagram.destination, datagram.payload);
    }
    let Ok(frame) = ethernet::Frame::new_checked(input) else { return };
    assert!(frame.payload().len() <= input.len() - ethernet::HEADER_LENGTH);
    let _ = (frame.source(), frame.destination());
    match frame.ethertype() {
        ethertype::IPV4 => version4(frame.payload()),
        ethertype::IPV6 => version6(frame.payload()),
        _ => {}
    }
}

fn version4(bytes: &[u8]) {
    let strict = ipv4::Packet::new_checked(bytes);
    let Ok(packet) = ipv4::Packet::new_captured(bytes) else {
        assert!(strict.is_err(), "a good checksum mends nothing");
        return;
    };
    assert!(packet.payload().len() + ipv4::HEADER_LENGTH <= bytes.len());
    assert_eq!(packet.is_fragment(), packet.more_fragments() || packet.fragment_offset() > 0);
    segment(packet.source().into(), packet.destination().into(), packet.payload());
    let header = ipv4::Header {
        source: packet.source(),
        destination: packet.destination(),
        identification: packet.identification(),
        protocol: packet.protocol(),
    };
    // Sent on over a narrow path it is the same when put together.
    let mtu = packet.identification() % 512;
    let mut fragments = ipv4::Fragments::new(header, packet.payload(), mtu);
    let mut buffer = vec![0; ipv4::HEADER_LENGTH + packet.payload().len().max(512)];
    let mut whole: Vec<u8> = Vec::new();
    while let Some(length) = fragments.emit_next(&mut buffer) {
        let piece = ipv4::Packet::new_checked(&buffer[..length]).expect("a packet of our own");
        assert_eq!(piece.fragment_offset(), whole.len());
        whole.extend(piece.payload());
        assert_eq!(piece.more_fragments(), whole.len() < packet.payload().len());
    }
    assert_eq!(whole, packet.payload());
}

fn version6(bytes: &[u8]) {
    let Ok(packet) = ipv6::Packet::new_checked(bytes) else { return };
    assert!(packet.payload().len() + ipv6::HEADER_LENGTH <= bytes.len());
    segment(packet.source().into(), packet.destination().into(), packet.payload());
    // Further extension headers would be walked when it is read again.
    let header = ipv6::Header {
        source: packet.source(),
        destination: packet.destination(),
        protocol: ipv6::UDP,
    };
    let mtu = u16::from(packet.protocol()) * 4;
    let mut fragments = ipv6::Fragments::new(header, packet.payload(), mtu, 7);
    let mut buffer = vec![0; ipv6::HEADER_LENGTH + packet.payload().len().max(2_048)];
    let mut whole: Vec<u8> = Vec::new();
    while let Some(length) = fragments.emit_next(&mut buffer) {
        let piece = ipv6::Packet::new_checked(&buffer[..length]).expect("a packet of our own");
        let (offset, more) = piece.fragment().map_or((0, false), |f| (f.offset, f.more));
        assert_eq!(offset, whole.len());
        whole.extend(piece.payload());
        assert_eq!(more, whole.len() < packet.payload().len());
    }
    assert_eq!(whole, packet.payload());
}

fn segment(source: IpAddr, destination: IpAddr, bytes: &[u8]) {
    if let Ok(datagram) = udp::Packet::new_checked(bytes) {
        assert!(datagram.payload().len() + udp::HEADER_LENGTH <= bytes.len());
        let _ = datagram.checksum(source, destination);
    }
}

/// A datagram that was read is the same when it is written and read once more.
fn again(source: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let mut bytes = vec![0; udp::HEADER_LENGTH];
    bytes.extend(payload);
    udp::emit(&mut bytes, source, to);
    let read = udp::Packet::new_checked(&bytes).expect("a datagram of our own");
    assert_eq!((read.source_port(), read.destination_port()), (source.port(), to.port()));
    assert_eq!(read.payload(), payload);
    assert_eq!(read.checksum(source.ip(), to.ip()), udp::Checksum::Good);
}
