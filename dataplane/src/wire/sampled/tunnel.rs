//! Tunnels whose inside is read: IP in IP, GRE, VXLAN, GTP-U.

use super::super::{read_u16, read_u32};
use super::{Ip, Start, Within, protocol};

/// The tunnel that a packet is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP (RFC 2003, RFC 4213, RFC 2473).
    Ip,
    /// GRE, with its key if it has one (RFC 2784, RFC 2890).
    Gre(Option<u32>),
    /// VXLAN, with its network identifier (RFC 7348).
    Vxlan(u32),
    /// GTP-U, with its tunnel endpoint identifier (3GPP TS 29.281).
    GtpU(u32),
}

/// IANA's port, and the one that Linux used before there was one.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GTPU_PORT: u16 = 2152;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Extension headers of GTP-U that are walked.
const EXTENSIONS_MAX: usize = 8;

/// The tunnel in an IP packet with this payload, and what is in it.
pub(super) fn within<'a>(ip: &Ip, payload: &'a [u8]) -> Within<'a> {
    match ip.protocol {
        protocol::IPV4 | protocol::IPV6 => Some((Tunnel::Ip, Start::Ip, payload)),
        protocol::GRE => gre(payload),
        protocol::UDP => {
            let ports = ip.ports?;
            let payload = payload.get(UDP_HEADER..)?;
            if VXLAN_PORTS.contains(&ports.destination) {
                vxlan(payload)
            } else if ports.destination == GTPU_PORT {
                gtpu(payload)
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Reads GRE's version 0; a packet with RFC 1701's routing is left alone.
fn gre(bytes: &[u8]) -> Within<'_> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    /// Transparent Ethernet bridging.
    const ETHERNET: u16 = 0x6558;
    let (fixed, mut rest) = bytes.split_first_chunk::<4>()?;
    let (flags, kind) = (read_u16(fixed, 0..2), read_u16(fixed, 2..4));
    if flags & (ROUTING | VERSION) != 0 {
        return None;
    }
    if flags & CHECKSUM != 0 {
        rest = rest.get(4..)?;
    }
    let mut key = None;
    if flags & KEY != 0 {
        key = Some(u32::from_be_bytes(*rest.first_chunk()?));
        rest = &rest[4..];
    }
    if flags & SEQUENCE != 0 {
        rest = rest.get(4..)?;
    }
    let start = if kind == ETHERNET { Start::Ethernet } else { Start::Type(kind) };
    Some((Tunnel::Gre(key), start, rest))
}

/// Reads VXLAN's header; without its one flag there is no identifier (RFC 7348, Section 5).
fn vxlan(bytes: &[u8]) -> Within<'_> {
    let (fixed, rest) = bytes.split_first_chunk::<8>()?;
    (fixed[0] & 0x08 != 0)
        .then(|| (Tunnel::Vxlan(read_u32(fixed, 4..8) >> 8), Start::Ethernet, rest))
}

/// Reads GTP-U's header; only G-PDUs hold a user's packet (TS 29.281, Sections 5.1 and 5.2).
fn gtpu(bytes: &[u8]) -> Within<'_> {
    /// Version 1 and "protocol type" GTP.
    const VERSION: u8 = 0b0011_0000;
    const G_PDU: u8 = 255;
    let (fixed, mut rest) = bytes.split_first_chunk::<8>()?;
    if fixed[0] & 0b1111_0000 != VERSION || fixed[1] != G_PDU {
        return None;
    }
    // Any of the three flags brings all three optional fields.
    if fixed[0] & 0b111 != 0 {
        let optional = rest.first_chunk::<4>()?;
        let mut next = if fixed[0] & 0b100 != 0 { optional[3] } else { 0 };
        rest = &rest[4..];
        for _ in 0..EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            let length = usize::from(*rest.first()?) * 4;
            next = *rest.get(length.checked_sub(1)?)?;
            rest = &rest[length..];
        }
        if next != 0 {
            return None;
        }
    }
    Some((Tunnel::GtpU(read_u32(fixed, 4..8)), Start::Ip, rest))
}
