//! What an sFlow agent says of a packet that it took: the records of a flow sample.

use std::net::IpAddr;

use super::address;
use crate::Discard;
use crate::wire::ethernet::Mac;
use crate::wire::read_u32;
use crate::wire::sampled::{Packet, Ports, Start};

/// A record of a flow sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The packet's first bytes.
    Header(Header<'a>),
    /// Its Ethernet header.
    Ethernet(Ethernet),
    /// Its IP header and ports.
    Ip(Ip),
    /// The VLANs that a switch gave it.
    Switch(Switch),
    /// Where a router sent it.
    Router(Router),
    /// What BGP knows of it.
    Gateway(Gateway),
    /// A structure that weir does not know.
    Other(u32),
}

/// A packet's first bytes as the agent saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// What they begin with, by sFlow's number (1 = Ethernet).
    pub protocol: u32,
    /// Bytes of the whole frame, its check sequence among them.
    pub frame_length: u32,
    /// Bytes that the agent took off the frame (at either end) before these.
    pub stripped: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Header<'_> {
    /// What these bytes say.
    pub fn packet(&self) -> Packet {
        start(self.protocol).map_or_else(Packet::default, |start| Packet::read(start, self.bytes))
    }
}

/// What a packet of this header protocol begins with, if weir knows it.
pub fn start(protocol: u32) -> Option<Start> {
    match protocol {
        1 => Some(Start::Ethernet),
        7 => Some(Start::Ppp),
        11 | 12 => Some(Start::Ip),
        13 => Some(Start::Mpls),
        _ => None,
    }
}

/// An Ethernet header without its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Bytes of the frame.
    pub length: u32,
    /// The sender's address.
    pub source: Mac,
    /// The receiver's.
    pub destination: Mac,
    /// Its type.
    pub ethertype: u32,
}

/// An IP header and ports without their packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Bytes of the IP packet, lower layers left out.
    pub length: u32,
    /// The protocol's number.
    pub protocol: u8,
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's.
    pub destination: IpAddr,
    /// Ports and TCP flags.
    pub ports: Ports,
    /// Type of service, or the traffic class.
    pub tos: u8,
}

/// The VLANs that a switch gave a packet; 0 = none known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// As it came in.
    pub source_vlan: u32,
    /// As it went out.
    pub destination_vlan: u32,
}

/// Where a router sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// The next hop's address.
    pub next_hop: Option<IpAddr>,
    /// Bits of the source's prefix.
    pub source_mask: u32,
    /// Bits of the destination's.
    pub destination_mask: u32,
}

/// What BGP knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The border router's address.
    pub next_hop: Option<IpAddr>,
    /// The agent's own autonomous system.
    pub own_as: u32,
    /// The source's.
    pub source_as: u32,
    /// The neighbour's on the way to the source.
    pub source_peer_as: u32,
    /// The destination's: the path's last; 0 when the path is empty.
    pub destination_as: u32,
    /// The neighbour's on the way to the destination: the path's first.
    pub destination_peer_as: u32,
}

impl<'a> Record<'a> {
    /// Reads a record's body by its tag, `enterprise << 12 | format`.
    ///
    /// # Errors
    /// [`Discard::SampleMalformed`] when a known structure is cut short.
    pub(super) fn new_checked(tag: u32, body: &'a [u8]) -> Result<Self, Discard> {
        let record = match tag {
            1 => header(body).map(Record::Header),
            2 => ethernet(body).map(Record::Ethernet),
            3 => ip::<4>(body).map(Record::Ip),
            4 => ip::<16>(body).map(Record::Ip),
            1001 => switch(body).map(Record::Switch),
            1002 => router(body).map(Record::Router),
            1003 => gateway(body).map(Record::Gateway),
            _ => Some(Record::Other(tag)),
        };
        record.ok_or(Discard::SampleMalformed)
    }
}

/// The numbers that a body begins with.
fn words<const N: usize>(body: &[u8]) -> Option<[u32; N]> {
    let body = body.get(..N * 4)?;
    Some(std::array::from_fn(|at| read_u32(body, at * 4..at * 4 + 4)))
}

fn header(body: &[u8]) -> Option<Header<'_>> {
    let [protocol, frame_length, stripped, length] = words(body)?;
    let bytes = body[16..].get(..length as usize)?;
    Some(Header { protocol, frame_length, stripped, bytes })
}

/// XDR pads each address to eight bytes.
fn ethernet(body: &[u8]) -> Option<Ethernet> {
    let [length, .., ethertype] = words::<6>(body)?;
    let source = *body[4..].first_chunk()?;
    let destination = *body[12..].first_chunk()?;
    Some(Ethernet { length, source, destination, ethertype })
}

/// Of addresses of `N` bytes.
fn ip<const N: usize>(body: &[u8]) -> Option<Ip>
where
    IpAddr: From<[u8; N]>,
{
    let [length, protocol] = words(body)?;
    let source: [u8; N] = *body[8..].first_chunk()?;
    let destination: [u8; N] = *body[8 + N..].first_chunk()?;
    let [source_port, destination_port, tcp_flags, tos] = words(&body[8 + 2 * N..])?;
    // Each has four bytes, of which the protocols themselves fill one or two.
    let ports = Ports {
        source: source_port as u16,
        destination: destination_port as u16,
        tcp_flags: tcp_flags as u8,
    };
    let (protocol, tos) = (protocol as u8, tos as u8);
    Some(Ip {
        length,
        protocol,
        source: source.into(),
        destination: destination.into(),
        ports,
        tos,
    })
}

fn switch(body: &[u8]) -> Option<Switch> {
    let [source_vlan, _, destination_vlan, _] = words(body)?;
    Some(Switch { source_vlan, destination_vlan })
}

fn router(body: &[u8]) -> Option<Router> {
    let (next_hop, length) = address(body)?;
    let [source_mask, destination_mask] = words(&body[length..])?;
    Some(Router { next_hop, source_mask, destination_mask })
}

/// The path is a list of segments, each a type and a list of systems; communities and local
/// preference follow it.
fn gateway(body: &[u8]) -> Option<Gateway> {
    let (next_hop, length) = address(body)?;
    let mut rest = &body[length..];
    let [own_as, source_as, source_peer_as, segments] = words(rest)?;
    rest = &rest[16..];
    let mut path = [0, 0];
    for segment in 0..segments {
        let [_, systems] = words(rest)?;
        let length = (systems as usize).checked_mul(4)?;
        let listed = rest[8..].get(..length)?;
        if let (0, Some([first])) = (segment, words(listed)) {
            path[0] = first;
        }
        if let Some(last) = listed.last_chunk() {
            path[1] = u32::from_be_bytes(*last);
        }
        rest = &rest[8 + length..];
    }
    let [destination_peer_as, destination_as] = path;
    Some(Gateway {
        next_hop,
        own_as,
        source_as,
        source_peer_as,
        destination_as,
        destination_peer_as,
    })
}
