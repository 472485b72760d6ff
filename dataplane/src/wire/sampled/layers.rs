//! The same bytes layer by layer, every field with its place: for people, where [`Packet::read`] is
//! for columns. What that reads is found here too, and tunnels in tunnels besides.
//!
//! [`Packet::read`]: super::Packet::read

use std::net::IpAddr;
use std::ops::Range;

use super::super::ethernet::{Mac, ethertype};
use super::super::{read_u16, read_u32};
use super::{EXTENSIONS_MAX, Ip, Start, Tunnel, link, protocol, tunnel};

/// Headers that are walked, tags and labels among them.
const LAYERS_MAX: usize = 64;
/// Tunnels that are gone into.
const TUNNELS_MAX: usize = 4;

/// The extension header of fragments.
const FRAGMENT: u8 = 44;

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is.
    pub name: &'static str,
    /// Where it stands, as far as it was captured.
    pub at: Range<usize>,
    /// How many tunnels are around it.
    pub depth: usize,
    /// Its fields in their order.
    pub items: Vec<Item>,
}

/// A field of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called, where no information element says the same.
    pub name: &'static str,
    /// The number of IANA's element that says the same, else 0.
    pub element: u16,
    /// The bytes that it is in; it may be some of their bits.
    pub at: Range<usize>,
    /// Its value.
    pub value: Content,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A number.
    Number(u64),
    /// A link-layer address.
    Mac(Mac),
    /// An IP address.
    Address(IpAddr),
    /// The bytes themselves.
    Bytes,
}

/// The layers of a packet that begins with `start`; what is behind the last known one is a layer
/// called "data".
pub fn layers(start: Start, bytes: &[u8]) -> Vec<Layer> {
    let mut walk = Walk { bytes, at: 0, depth: 0, layers: Vec::new() };
    let mut next = Some(start);
    while let Some(start) = next {
        if walk.layers.len() >= LAYERS_MAX {
            break;
        }
        next = walk.step(start);
    }
    let rest = walk.at.min(bytes.len())..bytes.len();
    if !rest.is_empty() {
        walk.layer("data", rest.end);
        walk.item("payload", 0, rest, Content::Bytes);
    }
    walk.layers
}

/// The walk through the bytes.
struct Walk<'a> {
    bytes: &'a [u8],
    /// Where the next header begins.
    at: usize,
    depth: usize,
    layers: Vec<Layer>,
}

impl Walk<'_> {
    /// Begins a layer that ends at `end`, and goes there.
    fn layer(&mut self, name: &'static str, end: usize) {
        let end = end.min(self.bytes.len());
        self.layers.push(Layer { name, at: self.at..end, depth: self.depth, items: Vec::new() });
        self.at = end;
    }

    fn item(&mut self, name: &'static str, element: u16, at: Range<usize>, value: Content) {
        let layer = self.layers.last_mut().expect("a layer was begun");
        layer.items.push(Item { name, element, at, value });
    }

    /// Adds a number of up to eight bytes, if it was captured.
    fn number(&mut self, name: &'static str, element: u16, at: Range<usize>) {
        let Some(bytes) = self.bytes.get(at.clone()) else { return };
        let number = bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        self.item(name, element, at, Content::Number(number));
    }

    /// Adds some bits of a number: those of `mask`, so many to the right.
    fn bits(&mut self, name: &'static str, element: u16, at: Range<usize>, mask: u64, shift: u32) {
        let Some(bytes) = self.bytes.get(at.clone()) else { return };
        let number = bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        self.item(name, element, at, Content::Number(number >> shift & mask));
    }

    fn mac(&mut self, name: &'static str, element: u16, at: usize) {
        if let Some(mac) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            self.item(name, element, at..at + 6, Content::Mac(*mac));
        }
    }

    fn address<const N: usize>(&mut self, name: &'static str, element: u16, at: usize)
    where
        IpAddr: From<[u8; N]>,
    {
        if let Some(octets) = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<N>) {
            self.item(name, element, at..at + N, Content::Address(IpAddr::from(*octets)));
        }
    }

    /// Reads one header; returns what follows it.
    fn step(&mut self, start: Start) -> Option<Start> {
        match start {
            Start::Ethernet => self.ethernet(),
            Start::Ppp => self.ppp(),
            Start::Mpls => self.labels(),
            Start::Ip => self.ip(),
            Start::Type(ethertype::IPV4 | ethertype::IPV6) => self.ip(),
            Start::Type(kind) => self.by_type(kind),
        }
    }

    fn ethernet(&mut self) -> Option<Start> {
        let at = self.at;
        self.bytes.get(at..at + 14)?;
        self.layer("ethernet", at + 14);
        self.mac("destination", 80, at);
        self.mac("source", 56, at + 6);
        let mut kind = read_u16(self.bytes, at + 12..at + 14);
        let mut tags = 0;
        while link::is_tag(kind) && tags < link::TAGS_MAX {
            self.number("tagType", 0, self.at - 2..self.at);
            let at = self.at;
            self.bytes.get(at..at + 4)?;
            self.layer("vlan", at + 4);
            // The outer tag's elements, then the inner's (IEEE 802.1Q).
            let [priority, id] = if tags == 0 { [244, 243] } else { [246, 245] };
            self.bits("priority", priority, at..at + 1, 0b111, 5);
            self.bits("dropEligible", 0, at..at + 1, 1, 4);
            self.bits("vlanId", id, at..at + 2, 0x0fff, 0);
            kind = read_u16(self.bytes, at + 2..at + 4);
            tags += 1;
        }
        let written = self.at - 2..self.at;
        if kind >= link::TYPE_MIN {
            self.number("ethernetType", 256, written);
            return Some(Start::Type(kind));
        }
        self.number("length", 0, written);
        let (kind, _) = link::snap(&self.bytes[self.at..])?;
        let at = self.at;
        self.layer("snap", at + 8);
        self.number("organization", 0, at + 3..at + 6);
        self.number("ethernetType", 256, at + 6..at + 8);
        Some(Start::Type(kind))
    }

    fn by_type(&mut self, kind: u16) -> Option<Start> {
        let (start, rest) = link::by_type(kind, &self.bytes[self.at..])?;
        let (at, end) = (self.at, self.bytes.len() - rest.len());
        if end > at {
            self.layer("pppoe", end);
            self.number("code", 0, at + 1..at + 2);
            self.number("sessionId", 0, at + 2..at + 4);
            self.number("length", 0, at + 4..at + 6);
        }
        Some(start)
    }

    fn ppp(&mut self) -> Option<Start> {
        let (at, bytes) = (self.at, &self.bytes[self.at..]);
        let (start, rest) = link::ppp(bytes)?;
        // Address and control bytes may stand before the protocol.
        let skipped = if bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
        let end = self.bytes.len() - rest.len();
        self.layer("ppp", end);
        self.number("protocol", 0, at + skipped..end);
        Some(start)
    }

    fn labels(&mut self) -> Option<Start> {
        for label in 0..link::LABELS_MAX {
            let top = |element| if label == 0 { element } else { 0 };
            let at = self.at;
            let entry = read_u32(self.bytes.get(at..at + 4)?, 0..4);
            self.layer("mpls", at + 4);
            self.bits("label", 0, at..at + 3, 0xf_ffff, 4);
            self.bits("trafficClass", top(203), at + 2..at + 3, 0b111, 1);
            self.bits("bottomOfStack", 0, at + 2..at + 3, 1, 0);
            self.number("ttl", top(200), at + 3..at + 4);
            if entry & 0x100 != 0 {
                let version = self.bytes.get(self.at)? >> 4;
                return matches!(version, 4 | 6).then_some(Start::Ip);
            }
        }
        None
    }

    /// An IP packet, the head of what it carries, and of a tunnel.
    fn ip(&mut self) -> Option<Start> {
        let (ip, end) = match self.bytes.get(self.at)? >> 4 {
            4 => self.ipv4()?,
            6 => self.ipv6()?,
            _ => return None,
        };
        // What follows the packet is Ethernet's padding, and no payload of anything here.
        let payload = &self.bytes[self.at..end.max(self.at)];
        let ports = super::ports(ip.protocol, payload);
        let ip = Ip { ports, ..ip };
        let within = tunnel::within(&ip, payload);
        let end = end.max(self.at);
        let inside = within.map(|(tunnel, start, rest)| (tunnel, start, end - rest.len()));
        self.transport(&ip, end);
        let (tunnel, start, begins) = inside.filter(|_| self.depth < TUNNELS_MAX)?;
        self.tunnel(tunnel, begins);
        self.at = begins;
        self.depth += 1;
        Some(start)
    }

    /// Returns the header, and where the packet ends.
    fn ipv4(&mut self) -> Option<(Ip, usize)> {
        let at = self.at;
        let (ip, payload) = super::ipv4(&self.bytes[at..])?;
        let header = usize::from(self.bytes[at] & 0x0f) * 4;
        let first = payload.is_some();
        self.layer("ipv4", at + header);
        self.bits("version", 60, at..at + 1, 0xf, 4);
        self.bits("headerLength", 207, at..at + 1, 0xf, 0);
        self.number("typeOfService", 5, at + 1..at + 2);
        self.number("totalLength", 190, at + 2..at + 4);
        self.number("identification", 54, at + 4..at + 6);
        self.bits("flags", 197, at + 6..at + 7, 0b111, 5);
        self.bits("fragmentOffset", 88, at + 6..at + 8, 0x1fff, 0);
        self.number("ttl", 192, at + 8..at + 9);
        self.number("protocol", 4, at + 9..at + 10);
        self.number("checksum", 0, at + 10..at + 12);
        self.address::<4>("source", 8, at + 12);
        self.address::<4>("destination", 12, at + 16);
        let end = payload.map_or(self.at, |payload| self.at + payload.len());
        // Fragments but the first begin in the middle of something.
        let protocol = if first { ip.protocol } else { u8::MAX };
        Some((Ip { protocol, ..ip }, end))
    }

    fn ipv6(&mut self) -> Option<(Ip, usize)> {
        let at = self.at;
        let (ip, payload) = super::ipv6(&self.bytes[at..])?;
        let mut next = self.bytes[at + 6];
        self.layer("ipv6", at + 40);
        self.bits("version", 60, at..at + 1, 0xf, 4);
        self.bits("trafficClass", 5, at..at + 2, 0xff, 4);
        self.bits("flowLabel", 31, at + 1..at + 4, 0xf_ffff, 0);
        self.number("payloadLength", 191, at + 4..at + 6);
        self.next_header(next, at + 6);
        self.number("hopLimit", 192, at + 7..at + 8);
        self.address::<16>("source", 27, at + 8);
        self.address::<16>("destination", 28, at + 24);
        let length = usize::from(read_u16(self.bytes, at + 4..at + 6));
        let most = self.bytes.len();
        let limit = if length == 0 { most } else { most.min(at + 40 + length) };
        for _ in 0..EXTENSIONS_MAX {
            let rest = &self.bytes[self.at..limit];
            let Some(length) = extension_length(next, rest) else { break };
            let (at, whole) = (self.at, length <= rest.len());
            let is_fragment = next == FRAGMENT;
            if is_fragment && !whole {
                break;
            }
            self.layer("ipv6 extension", at + length.min(rest.len()));
            next = self.bytes[at];
            self.next_header(next, at);
            if is_fragment {
                self.bits("fragmentOffset", 88, at + 2..at + 4, 0x1fff, 3);
                self.bits("moreFragments", 0, at + 3..at + 4, 1, 0);
                self.number("identification", 54, at + 4..at + 8);
            }
            // Behind the head of a fragment but the first stands the middle of something.
            if !whole || (is_fragment && read_u16(self.bytes, at + 2..at + 4) & !7 != 0) {
                break;
            }
        }
        let end = payload.map_or(self.at, |payload| self.at + payload.len());
        let protocol = if payload.is_some() { ip.protocol } else { u8::MAX };
        Some((Ip { protocol, ..ip }, end.min(self.bytes.len())))
    }

    /// The number of the header that follows: a protocol's, or that of an extension header.
    fn next_header(&mut self, next: u8, at: usize) {
        let element = if is_extension(next) { 193 } else { 4 };
        self.number("nextHeader", element, at..at + 1);
    }

    /// The header of what an IP packet carries that ends at `end`.
    fn transport(&mut self, ip: &Ip, end: usize) {
        let at = self.at;
        if end <= at || (ip.ports.is_none() && ip.protocol != protocol::GRE) {
            return;
        }
        let left = end - at;
        match ip.protocol {
            protocol::TCP => {
                let words = self.bytes.get(at + 12).map_or(5, |byte| usize::from(byte >> 4));
                self.layer("tcp", at + (words * 4).clamp(20, 60).min(left));
                self.ports();
                self.number("sequenceNumber", 184, at + 4..at + 8);
                self.number("acknowledgementNumber", 185, at + 8..at + 12);
                self.bits("headerLength", 188, at + 12..at + 13, 0xf, 4);
                self.number("flags", 6, at + 13..at + 14);
                self.number("window", 186, at + 14..at + 16);
                self.number("checksum", 0, at + 16..at + 18);
                self.number("urgentPointer", 187, at + 18..at + 20);
            }
            protocol::UDP | protocol::UDP_LITE => {
                self.layer("udp", at + left.min(8));
                self.ports();
                self.number("length", 205, at + 4..at + 6);
                self.number("checksum", 0, at + 6..at + 8);
            }
            protocol::SCTP | protocol::DCCP => {
                let name = if ip.protocol == protocol::SCTP { "sctp" } else { "dccp" };
                self.layer(name, at + left.min(12));
                self.ports();
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let v4 = ip.protocol == protocol::ICMP;
                let (name, elements) =
                    if v4 { ("icmp", [176, 177]) } else { ("icmpv6", [178, 179]) };
                self.layer(name, at + left.min(8));
                self.number("type", elements[0], at..at + 1);
                self.number("code", elements[1], at + 1..at + 2);
                self.number("checksum", 0, at + 2..at + 4);
            }
            _ => {}
        }
    }

    fn ports(&mut self) {
        let at = self.layers.last().expect("a layer was begun").at.start;
        self.number("sourcePort", 7, at..at + 2);
        self.number("destinationPort", 11, at + 2..at + 4);
    }

    /// The header of a tunnel, between what was read and where its inside begins.
    fn tunnel(&mut self, tunnel: Tunnel, begins: usize) {
        let at = self.at;
        match tunnel {
            Tunnel::Ip => {}
            Tunnel::Gre(_) => {
                self.layer("gre", begins);
                let flags = read_u16(self.bytes, at..at + 2);
                self.number("flags", 0, at..at + 2);
                self.number("protocolType", 0, at + 2..at + 4);
                let mut field = at + 4;
                for (bit, name) in [(0x8000, "checksum"), (0x2000, "key"), (0x1000, "sequence")] {
                    if flags & bit != 0 {
                        self.number(name, 0, field..field + 4);
                        field += 4;
                    }
                }
            }
            Tunnel::Vxlan(_) => {
                self.layer("vxlan", begins);
                self.number("flags", 0, at..at + 1);
                self.number("networkIdentifier", 0, at + 4..at + 7);
            }
            Tunnel::GtpU(_) => {
                self.layer("gtp-u", begins);
                self.number("flags", 0, at..at + 1);
                self.number("messageType", 0, at + 1..at + 2);
                self.number("length", 0, at + 2..at + 4);
                self.number("tunnelEndpointId", 0, at + 4..at + 8);
            }
        }
    }
}

/// Whether this is an extension header of IPv6 that is walked.
fn is_extension(kind: u8) -> bool {
    matches!(kind, 0 | 43 | FRAGMENT | 51 | 60)
}

/// Bytes of the extension header at the head of `bytes`; `None` when it is none or is cut short.
fn extension_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let length = usize::from(*bytes.get(1)?);
    match kind {
        FRAGMENT => Some(8),
        // Authentication (RFC 4302, Section 2.2).
        51 => Some((length + 2) * 4),
        _ if is_extension(kind) => Some((length + 1) * 8),
        _ => None,
    }
}
