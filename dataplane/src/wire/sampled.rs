//! The first bytes of a packet, as sFlow agents and PSAMP devices cut them out of the wire: from the
//! link layer down to the ports, through VLAN tags, MPLS labels and one tunnel.
//!
//! Unlike the views beside it, this one never refuses: a packet that is cut short, or a protocol
//! that weir does not know, ends the walk, and what stood before is good. What stands around a
//! tunnel and what stands in it are kept apart as two [`Level`]s; what is inside a tunnel in a
//! tunnel is left alone. Every walk is bounded by the bytes and by a number of steps. Fragments but
//! the first have no ports, and nothing is put together again.

use std::net::IpAddr;

use super::ethernet::{Mac, ethertype};
use super::{read_u16, read_u32};

pub mod layers;
mod link;
mod tunnel;

pub use tunnel::Tunnel;

/// Extension headers of IPv6 that are walked.
const EXTENSIONS_MAX: usize = 8;

/// The numbers of protocols that are looked into.
mod protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const IPV6: u8 = 41;
    pub(super) const GRE: u8 = 47;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const SCTP: u8 = 132;
    pub(super) const UDP_LITE: u8 = 136;
}

/// What the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// An Ethernet header, its preamble left out.
    Ethernet,
    /// A PPP frame, with or without its address and control bytes.
    Ppp,
    /// An MPLS label.
    Mpls,
    /// An IP header of either version.
    Ip,
    /// What this Ethernet type says.
    Type(u16),
}

/// What a packet says, as far as its bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The packet itself, around a tunnel if there is one.
    pub outer: Level,
    /// The tunnel, and the packet within.
    pub inner: Option<(Tunnel, Level)>,
}

/// One set of headers, from the link layer to the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The Ethernet header.
    pub ethernet: Option<Ethernet>,
    /// The label on top of the MPLS stack.
    pub label: Option<u32>,
    /// The IP header and what follows it.
    pub ip: Option<Ip>,
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// The sender's address.
    pub source: Mac,
    /// The receiver's.
    pub destination: Mac,
    /// The VLAN id of the first tag (802.1ad: the provider's).
    pub vlan: Option<u16>,
    /// The VLAN id of the second.
    pub inner_vlan: Option<u16>,
    /// The type behind all tags; 0 when they were cut short.
    pub ethertype: u16,
}

/// An IP header, and the ports behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's.
    pub destination: IpAddr,
    /// The protocol within, behind the extension headers of IPv6 (as far as they were captured).
    pub protocol: u8,
    /// Type of service, or the traffic class.
    pub tos: u8,
    /// Bytes of the whole packet by its own header.
    pub length: u32,
    /// Whether it is a piece of a larger packet.
    pub fragment: bool,
    /// What the protocol within says; `None` when it has no ports, or they were not captured.
    pub ports: Option<Ports>,
}

/// Ports of TCP, UDP and their like. Of ICMP the destination is type * 256 + code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
    /// TCP's flags.
    pub tcp_flags: u8,
}

/// What stands behind a level: how to go on, and with which bytes.
type Rest<'a> = Option<(Start, &'a [u8])>;
/// A tunnel, and what stands in it.
type Within<'a> = Option<(Tunnel, Start, &'a [u8])>;

impl Packet {
    /// Reads what can be read.
    pub fn read(start: Start, bytes: &[u8]) -> Packet {
        let (outer, tunnel) = Level::read(start, bytes);
        let inner = tunnel.map(|(tunnel, start, within)| (tunnel, Level::read(start, within).0));
        Packet { outer, inner }
    }
}

impl Level {
    /// Reads one level; also the tunnel that it carries, if any, and what is in it.
    fn read(start: Start, bytes: &[u8]) -> (Level, Within<'_>) {
        let mut level = Level::default();
        let mut rest = Some((start, bytes));
        // Link headers follow each other; Ethernet, PPPoE, PPP, MPLS and IP is the longest order.
        for _ in 0..5 {
            let Some((start, bytes)) = rest else { break };
            rest = match start {
                Start::Ethernet => level.read_ethernet(bytes),
                Start::Ppp => link::ppp(bytes),
                Start::Mpls => level.read_labels(bytes),
                Start::Type(ethertype::IPV4 | ethertype::IPV6) | Start::Ip => {
                    let within = level.read_ip(bytes);
                    return (level, within);
                }
                Start::Type(kind) => link::by_type(kind, bytes),
            };
        }
        (level, None)
    }

    fn read_ethernet<'a>(&mut self, bytes: &'a [u8]) -> Rest<'a> {
        let ethernet = self.ethernet.insert(Ethernet::default());
        link::ethernet(bytes, ethernet)
    }

    fn read_labels<'a>(&mut self, bytes: &'a [u8]) -> Rest<'a> {
        link::labels(bytes, &mut self.label)
    }

    /// Reads an IP packet, its ports and the head of a tunnel in it.
    fn read_ip<'a>(&mut self, bytes: &'a [u8]) -> Within<'a> {
        let (mut ip, payload) = match bytes.first()? >> 4 {
            4 => ipv4(bytes)?,
            6 => ipv6(bytes)?,
            _ => return None,
        };
        ip.ports = payload.and_then(|payload| ports(ip.protocol, payload));
        self.ip = Some(ip);
        tunnel::within(&ip, payload?)
    }
}

/// Reads an IPv4 header (RFC 791); no payload of a fragment but the first.
fn ipv4(bytes: &[u8]) -> Option<(Ip, Option<&[u8]>)> {
    let fixed = bytes.first_chunk::<20>()?;
    let header = usize::from(fixed[0] & 0x0f) * 4;
    if header < fixed.len() {
        return None;
    }
    let (total, fragment) = (read_u16(fixed, 2..4), read_u16(fixed, 6..8));
    let offset = fragment & 0x1fff;
    let address = |at: usize| IpAddr::from(read_u32(fixed, at..at + 4).to_be_bytes());
    let ip = Ip {
        source: address(12),
        destination: address(16),
        protocol: fixed[9],
        tos: fixed[1],
        length: total.into(),
        // "More fragments" is the bit above the offset.
        fragment: fragment & 0x3fff != 0,
        ports: None,
    };
    // What follows the packet is Ethernet's padding. A total of zero is a large packet that the
    // network card was yet to cut.
    let end = if usize::from(total) < header { bytes.len() } else { total.into() };
    let payload = bytes.get(header..end.min(bytes.len())).filter(|_| offset == 0);
    Some((ip, payload))
}

/// Reads an IPv6 header and its extension headers (RFC 8200); no payload of a fragment but the
/// first.
fn ipv6(bytes: &[u8]) -> Option<(Ip, Option<&[u8]>)> {
    let fixed = bytes.first_chunk::<40>()?;
    let length = usize::from(read_u16(fixed, 4..6));
    let address = |at: usize| -> IpAddr {
        <[u8; 16]>::try_from(&fixed[at..at + 16]).expect("sixteen bytes of forty").into()
    };
    let mut ip = Ip {
        source: address(8),
        destination: address(24),
        protocol: fixed[6],
        tos: (read_u16(fixed, 0..2) >> 4) as u8,
        length: length as u32 + 40,
        fragment: false,
        ports: None,
    };
    // A length of zero is a jumbogram (RFC 2675), or one that the network card was yet to cut.
    let end = if length == 0 { bytes.len() } else { bytes.len().min(40 + length) };
    let payload = extensions(&mut ip, &bytes[40..end]);
    Some((ip, payload))
}

/// Walks the extension headers; returns what is behind them, if that is a packet's beginning.
fn extensions<'a>(ip: &mut Ip, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    for _ in 0..EXTENSIONS_MAX {
        let length = |bytes: &[u8]| bytes.get(1).map(|&length| usize::from(length));
        let length = match ip.protocol {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (length(bytes)? + 1) * 8,
            // Fragment (RFC 8200, Section 4.5).
            44 => {
                let field = read_u16(bytes.get(..8)?, 2..4);
                ip.fragment = true;
                if field & !7 != 0 {
                    ip.protocol = bytes[0];
                    return None;
                }
                8
            }
            // Authentication (RFC 4302, Section 2.2).
            51 => (length(bytes)? + 2) * 4,
            _ => return Some(bytes),
        };
        let behind = bytes.get(length..);
        ip.protocol = bytes[0];
        bytes = behind?;
    }
    None
}

/// Reads the ports at the head of a payload.
fn ports(protocol: u8, payload: &[u8]) -> Option<Ports> {
    let head = payload.first_chunk::<4>()?;
    let (source, destination) = (read_u16(head, 0..2), read_u16(head, 2..4));
    match protocol {
        protocol::TCP => {
            let tcp_flags = payload.get(13).copied().unwrap_or(0);
            Some(Ports { source, destination, tcp_flags })
        }
        protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE => {
            Some(Ports { source, destination, tcp_flags: 0 })
        }
        // Type and code are the first two bytes (RFC 792, RFC 4443).
        protocol::ICMP | protocol::ICMPV6 => {
            Some(Ports { source: 0, destination: source, tcp_flags: 0 })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
