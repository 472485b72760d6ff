//! The frames that both models and the user-space parser are asked about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_dataplane::wire::ethernet::{self, ethertype};
use weir_dataplane::wire::{ipv4, ipv6, udp};
use weir_ebpf::Verdict;

pub(crate) const PORT: u16 = 2055;
pub(crate) const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const PAYLOAD: &[u8] = b"payload";
pub(crate) const EXPORTER_PORT: u16 = 4000;

/// A UDP datagram between two addresses, both of one family.
pub(crate) fn datagram(from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; udp::HEADER_LENGTH];
    bytes.extend(PAYLOAD);
    udp::emit(&mut bytes, SocketAddr::new(from, EXPORTER_PORT), to);
    bytes
}

/// A plain frame with a datagram from `from` to `to`.
pub(crate) fn plain(from: IpAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; udp::HEADER_LENGTH];
    body.extend(payload);
    udp::emit(&mut body, SocketAddr::new(from, EXPORTER_PORT), to);
    let (kind, mut packet) = match (from, to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header =
                ipv4::Header { source, destination, identification: 1, protocol: ipv4::UDP };
            let mut packet = vec![0; ipv4::HEADER_LENGTH];
            header.emit(&mut packet, body.len());
            (ethertype::IPV4, packet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; ipv6::HEADER_LENGTH];
            ipv6::Header { source, destination, protocol: ipv6::UDP }.emit(&mut packet, body.len());
            (ethertype::IPV6, packet)
        }
        _ => panic!("addresses of two IP versions"),
    };
    packet.extend(body);
    framed(&[], kind, &packet)
}

/// An Ethernet header with `tags` in front of `type`, then `packet`.
pub(crate) fn framed(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::HEADER_LENGTH];
    ethernet::emit(&mut bytes, [2; 6], [4; 6], tags.first().copied().unwrap_or(kind));
    for next in 1..=tags.len() {
        bytes.extend([0, 7]);
        bytes.extend(tags.get(next).copied().unwrap_or(kind).to_be_bytes());
    }
    bytes.extend(packet);
    bytes
}

pub(crate) fn packet_v4(to: Ipv4Addr, port: u16, protocol: u8) -> Vec<u8> {
    let source = Ipv4Addr::new(198, 51, 100, 7);
    let body = datagram(source.into(), SocketAddr::new(to.into(), port));
    let mut bytes = vec![0; ipv4::HEADER_LENGTH];
    let header = ipv4::Header { source, destination: to, identification: 1, protocol };
    header.emit(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

/// Redoes the checksum of a header of `length` bytes.
pub(crate) fn seal(packet: &mut [u8], length: usize) {
    packet[10..12].fill(0);
    let words = packet[..length].chunks_exact(2);
    let mut sum: u32 = words.map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let check = !u16::try_from(sum).unwrap();
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

pub(crate) fn with_options(mut packet: Vec<u8>, words: u8) -> Vec<u8> {
    let options = usize::from(words) * 4;
    packet.splice(20..20, vec![1; options]);
    packet[0] += words;
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    seal(&mut packet, 20 + options);
    packet
}

pub(crate) fn with_flags(mut packet: Vec<u8>, flags_and_offset: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    seal(&mut packet, 20);
    packet
}

/// A packet whose extension headers are `extensions`, each with its own number, in order.
pub(crate) fn packet_v6(to: Ipv6Addr, port: u16, extensions: &[(u8, &[u8])], last: u8) -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8:7::7".parse().unwrap();
    let mut body = Vec::new();
    for (index, (_, bytes)) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(last, |(number, _)| *number);
        body.push(next);
        body.extend(*bytes);
    }
    body.extend(datagram(source.into(), SocketAddr::new(to.into(), port)));
    let protocol = extensions.first().map_or(last, |(number, _)| *number);
    let mut bytes = vec![0; ipv6::HEADER_LENGTH];
    ipv6::Header { source, destination: to, protocol }.emit(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

/// Hop-by-hop, destination options and routing headers, each as short as it can be.
pub(crate) const EIGHT: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
const SIXTEEN: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AUTHENTICATION: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const FRAGMENT: &[u8] = &[0, 0, 1, 0, 0, 0, 1];

pub(crate) fn table_v4() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let good = packet_v4(V4, PORT, ipv4::UDP);
    let frame = |packet: &[u8]| framed(&[], ethertype::IPV4, packet);
    let (vlan, service) = (ethertype::VLAN, ethertype::SERVICE_VLAN);
    let mut version = good.clone();
    version[0] = 0x55;
    let mut short = good.clone();
    short[0] = 0x44;
    vec![
        ("v4", Verdict::Redirected, frame(&good)),
        ("v4, padded", Verdict::Redirected, [frame(&good), vec![0; 9]].concat()),
        ("v4, options", Verdict::Redirected, frame(&with_options(good.clone(), 1))),
        ("v4, most options", Verdict::Redirected, frame(&with_options(good.clone(), 10))),
        ("v4, don't fragment", Verdict::Redirected, frame(&with_flags(good.clone(), 0x4000))),
        ("v4, VLAN", Verdict::Redirected, framed(&[vlan], ethertype::IPV4, &good)),
        ("v4, two VLANs", Verdict::Redirected, framed(&[service, vlan], ethertype::IPV4, &good)),
        ("v4, three", Verdict::PassedOther, framed(&[service, vlan, vlan], 0x0800, &good)),
        ("v4, first fragment", Verdict::PassedFragment, frame(&with_flags(good.clone(), 0x2000))),
        ("v4, later fragment", Verdict::PassedFragment, frame(&with_flags(good.clone(), 0x2010))),
        ("v4, last fragment", Verdict::PassedFragment, frame(&with_flags(good, 0x0010))),
        ("v4, TCP", Verdict::PassedOther, frame(&packet_v4(V4, PORT, 6))),
        ("v4, other port", Verdict::PassedPort, frame(&packet_v4(V4, 2056, ipv4::UDP))),
        (
            "v4, other host",
            Verdict::PassedAddress,
            frame(&packet_v4(Ipv4Addr::new(192, 0, 2, 2), PORT, ipv4::UDP)),
        ),
        ("v4, wrong version", Verdict::PassedTruncated, frame(&version)),
        ("v4, header too short", Verdict::PassedTruncated, frame(&short)),
        ("ARP", Verdict::PassedOther, framed(&[], 0x0806, &[0; 28])),
    ]
}

pub(crate) fn table_v6() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let packet = |extensions: &[(u8, &[u8])]| packet_v6(V6, PORT, extensions, ipv6::UDP);
    let frame = |packet: &[u8]| framed(&[], ethertype::IPV6, packet);
    let all: &[(u8, &[u8])] = &[(0, EIGHT), (60, SIXTEEN), (43, EIGHT), (51, AUTHENTICATION)];
    let six: &[(u8, &[u8])] = &[(60, EIGHT); 6];
    let seven: &[(u8, &[u8])] = &[(60, EIGHT); 7];
    let tagged = framed(&[ethertype::VLAN], ethertype::IPV6, &packet(all));
    vec![
        ("v6", Verdict::Redirected, frame(&packet(&[]))),
        ("v6, every extension", Verdict::Redirected, frame(&packet(all))),
        ("v6, six extensions", Verdict::Redirected, frame(&packet(six))),
        ("v6, VLAN, extensions", Verdict::Redirected, tagged),
        ("v6, seven extensions", Verdict::PassedOther, frame(&packet(seven))),
        ("v6, fragment", Verdict::PassedFragment, frame(&packet(&[(44, FRAGMENT)]))),
        (
            "v6, behind options",
            Verdict::PassedFragment,
            frame(&packet(&[(0, EIGHT), (44, FRAGMENT)])),
        ),
        ("v6, TCP", Verdict::PassedOther, frame(&packet_v6(V6, PORT, &[], 6))),
        ("v6, ESP", Verdict::PassedOther, frame(&packet_v6(V6, PORT, &[], 50))),
        ("v6, other port", Verdict::PassedPort, frame(&packet_v6(V6, 2056, &[], ipv6::UDP))),
        (
            "v6, other host",
            Verdict::PassedAddress,
            frame(&packet_v6("2001:db8::2".parse().unwrap(), PORT, &[], ipv6::UDP)),
        ),
    ]
}
