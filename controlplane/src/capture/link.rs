//! From a frame of some link type to what it carries: UDP, a fragment, or something else.
//!
//! Link types are tcpdump's (<https://www.tcpdump.org/linktypes.html>).

use std::net::IpAddr;

use weir_dataplane::wire::{ethernet, ipv4, ipv6};

use super::reassembly::Piece;

const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const RAW_BSD: u32 = 12;
const RAW_OPENBSD: u32 = 14;
const RAW: u32 = 101;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_SLL2: u32 = 276;

/// What a frame carries.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A UDP header and payload.
    Udp {
        from: IpAddr,
        to: IpAddr,
        segment: &'a [u8],
    },
    /// A fragment of one.
    Piece(Piece<'a>),
    NotIp,
    NotUdp,
    Malformed,
}

/// What a frame of link type `link` carries.
pub(super) fn content(link: u32, bytes: &[u8]) -> Content<'_> {
    let packet = match link {
        ETHERNET => return from_ethernet(bytes),
        // The protocol type stands at the end of SLL's header and at the start of SLL2's.
        LINUX_SLL => return from_type(bytes.get(14..16), bytes.get(16..)),
        LINUX_SLL2 => return from_type(bytes.get(0..2), bytes.get(20..)),
        // Four bytes of address family, whose numbers and byte order depend on the system that
        // captured; the packet's own version field says the same.
        NULL | LOOP => bytes.get(4..),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => Some(bytes),
        _ => return Content::NotIp,
    };
    match packet {
        Some(packet @ [first, ..]) if first >> 4 == 4 => from_ipv4(packet),
        Some(packet @ [first, ..]) if first >> 4 == 6 => from_ipv6(packet),
        Some([_, ..]) => Content::NotIp,
        Some([]) | None => Content::Malformed,
    }
}

fn from_ethernet(bytes: &[u8]) -> Content<'_> {
    match ethernet::Frame::new_checked(bytes) {
        Ok(frame) => from_ethertype(frame.ethertype(), frame.payload()),
        Err(_) => Content::Malformed,
    }
}

fn from_type<'a>(kind: Option<&[u8]>, packet: Option<&'a [u8]>) -> Content<'a> {
    match (kind, packet) {
        (Some(&[high, low]), Some(packet)) => {
            from_ethertype(u16::from_be_bytes([high, low]), packet)
        }
        _ => Content::Malformed,
    }
}

fn from_ethertype(kind: u16, packet: &[u8]) -> Content<'_> {
    match kind {
        ethernet::ethertype::IPV4 => from_ipv4(packet),
        ethernet::ethertype::IPV6 => from_ipv6(packet),
        _ => Content::NotIp,
    }
}

fn from_ipv4(bytes: &[u8]) -> Content<'_> {
    let Ok(packet) = ipv4::Packet::new_captured(bytes) else { return Content::Malformed };
    let (source, destination) = (packet.source().into(), packet.destination().into());
    if packet.protocol() != ipv4::UDP {
        return Content::NotUdp;
    }
    if !packet.is_fragment() {
        return Content::Udp { from: source, to: destination, segment: packet.payload() };
    }
    Content::Piece(Piece {
        source,
        destination,
        identification: u32::from(packet.identification()),
        offset: packet.fragment_offset(),
        more: packet.more_fragments(),
        bytes: packet.payload(),
    })
}

fn from_ipv6(bytes: &[u8]) -> Content<'_> {
    let Ok(packet) = ipv6::Packet::new_checked(bytes) else { return Content::Malformed };
    let (source, destination) = (packet.source().into(), packet.destination().into());
    match packet.fragment() {
        _ if packet.protocol() != ipv6::UDP => Content::NotUdp,
        None => Content::Udp { from: source, to: destination, segment: packet.payload() },
        Some(fragment) => Content::Piece(Piece {
            source,
            destination,
            identification: fragment.identification,
            offset: fragment.offset,
            more: fragment.more,
            bytes: packet.payload(),
        }),
    }
}
