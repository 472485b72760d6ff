//! Headers of packets, byte by byte, whole and cut short.

use super::*;
use proptest::prelude::*;

/// Ethernet from 02:…:01 to 02:…:02, with this type.
fn ethernet(kind: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(kind.to_be_bytes());
    bytes
}

/// 192.0.2.1 to 192.0.2.2, ToS 0xb8, with the flags and offset of a fragment.
fn v4_piece(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0xb8];
    bytes.extend((20 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend(payload);
    bytes
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_piece(protocol, 0, payload)
}

/// 2001:db8::1 to 2001:db8::2, traffic class 0xb8.
fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x6b, 0x80, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    for last in [1, 2] {
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend(payload);
    bytes
}

/// From port 50000 to 443, with all flags of an ending conversation.
fn tcp() -> Vec<u8> {
    let mut bytes = vec![0xc3, 0x50, 0x01, 0xbb];
    bytes.resize(20, 0);
    (bytes[12], bytes[13]) = (0x50, 0x19);
    bytes
}

fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc3, 0x50];
    bytes.extend(destination.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

const TCP_PORTS: Ports = Ports { source: 50_000, destination: 443, tcp_flags: 0x19 };

fn ip(start: Start, bytes: &[u8]) -> Ip {
    Packet::read(start, bytes).outer.ip.expect("an IP packet")
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn an_ipv4_packet_is_read_down_to_its_ports() {
    let bytes = concat(&[&ethernet(0x0800), &v4(6, &tcp())]);
    let packet = Packet::read(Start::Ethernet, &bytes);
    let header = packet.outer.ethernet.unwrap();
    assert_eq!((header.source, header.destination), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
    assert_eq!((header.vlan, header.inner_vlan, header.ethertype), (None, None, 0x0800));
    let expected = Ip {
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        protocol: 6,
        tos: 0xb8,
        length: 40,
        fragment: false,
        ports: Some(TCP_PORTS),
    };
    assert_eq!(packet.outer.ip, Some(expected));
    assert_eq!(packet.inner, None);
}

#[test]
fn ipv4_options_are_stepped_over() {
    let mut bytes = v4(6, &concat(&[&[1, 1, 1, 1], &tcp()]));
    bytes[0] = 0x46;
    assert_eq!(ip(Start::Ip, &bytes).ports, Some(TCP_PORTS));
    bytes[0] = 0x44;
    assert_eq!(Packet::read(Start::Ip, &bytes), Packet::default());
}

#[test]
fn an_ipv6_packet_is_read_through_its_extension_headers() {
    let options = [43, 0, 0, 0, 0, 0, 0, 0];
    let routing = [60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let destination = [51, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let all = concat(&[&options, &routing, &destination, &authentication, &tcp()]);
    let read = ip(Start::Ip, &v6(0, &all));
    let expected = Ip {
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
        protocol: 6,
        tos: 0xb8,
        length: 40 + 64,
        fragment: false,
        ports: Some(TCP_PORTS),
    };
    assert_eq!(read, expected);
    // What the last header leads to is known though it was not captured.
    let cut = ip(Start::Ip, &v6(0, &options)[..48]);
    assert_eq!((cut.protocol, cut.ports), (43, None));
}

#[test]
fn only_the_first_fragment_has_ports() {
    let first = ip(Start::Ip, &v4_piece(6, 0x2000, &tcp()));
    assert_eq!((first.fragment, first.ports), (true, Some(TCP_PORTS)));
    let later = ip(Start::Ip, &v4_piece(6, 0x0001, &tcp()));
    assert_eq!((later.fragment, later.ports), (true, None));
    let unfragmented = ip(Start::Ip, &v4_piece(6, 0x4000, &tcp()));
    assert!(!unfragmented.fragment);

    let first = concat(&[&[6, 0, 0, 1, 0, 0, 0, 9], &tcp()]);
    let first = ip(Start::Ip, &v6(44, &first));
    assert_eq!((first.fragment, first.protocol, first.ports), (true, 6, Some(TCP_PORTS)));
    let later = concat(&[&[6, 0, 0, 8, 0, 0, 0, 9], &tcp()]);
    let later = ip(Start::Ip, &v6(44, &later));
    assert_eq!((later.fragment, later.protocol, later.ports), (true, 6, None));
}

#[test]
fn every_protocol_with_ports_gives_them() {
    for protocol in [17, 33, 132, 136] {
        let ports = ip(Start::Ip, &v4(protocol, &udp(53, &[]))).ports;
        assert_eq!(ports, Some(Ports { source: 50_000, destination: 53, tcp_flags: 0 }));
    }
    for protocol in [1, 58] {
        let ports = ip(Start::Ip, &v4(protocol, &[3, 1, 0, 0])).ports;
        assert_eq!(ports, Some(Ports { source: 0, destination: 0x0301, tcp_flags: 0 }));
    }
    assert_eq!(ip(Start::Ip, &v4(89, &udp(53, &[]))).ports, None);
    // Flags that were not captured are none.
    let short = ip(Start::Ip, &v4(6, &tcp())[..32]);
    assert_eq!(short.ports, Some(Ports { tcp_flags: 0, ..TCP_PORTS }));
}

#[test]
fn padding_behind_the_packet_is_not_read() {
    let mut bytes = v4(6, &[]);
    bytes.extend([0; 26]);
    assert_eq!(ip(Start::Ip, &bytes).ports, None);
    // A length that the network card was yet to write hides nothing.
    let mut bytes = v4(6, &tcp());
    (bytes[2], bytes[3]) = (0, 0);
    assert_eq!(ip(Start::Ip, &bytes).ports, Some(TCP_PORTS));
}

#[test]
fn vlan_tags_of_both_kinds_are_kept() {
    let tagged = concat(&[&ethernet(0x8100), &[0xe0, 10, 0x08, 0x00], &v4(6, &tcp())]);
    let level = Packet::read(Start::Ethernet, &tagged).outer;
    let header = level.ethernet.unwrap();
    assert_eq!((header.vlan, header.inner_vlan, header.ethertype), (Some(10), None, 0x0800));
    assert_eq!(level.ip.unwrap().ports, Some(TCP_PORTS));

    for first in [0x88a8, 0x9100, 0x9200] {
        let tags = [0x01, 0x00, 0x81, 0x00, 0, 20, 0x86, 0xdd];
        let double = concat(&[&ethernet(first), &tags, &v6(6, &tcp())]);
        let level = Packet::read(Start::Ethernet, &double).outer;
        let header = level.ethernet.unwrap();
        assert_eq!((header.vlan, header.inner_vlan), (Some(256), Some(20)));
        assert_eq!(level.ip.unwrap().ports, Some(TCP_PORTS));
    }
}

#[test]
fn a_length_where_the_type_stands_may_hide_one() {
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x00];
    let bytes = concat(&[&ethernet(100), &snap, &v4(6, &tcp())]);
    assert_eq!(ip(Start::Ethernet, &bytes).ports, Some(TCP_PORTS));
    let bytes = concat(&[&ethernet(100), &[0x42, 0x42, 3, 0, 0], &v4(6, &tcp())]);
    assert_eq!(Packet::read(Start::Ethernet, &bytes).outer.ip, None);
}

#[test]
fn labels_are_stepped_over_to_the_bottom() {
    let labels = [0x00, 0x06, 0x40, 0x40, 0x00, 0x0c, 0x81, 0x40];
    for packet in [v4(6, &tcp()), v6(6, &tcp())] {
        for (start, before) in [
            (Start::Mpls, vec![]),
            (Start::Ethernet, ethernet(0x8847)),
            (Start::Ppp, vec![0x02, 0x81]),
        ] {
            let level = Packet::read(start, &concat(&[&before, &labels, &packet])).outer;
            assert_eq!(level.label, Some(100));
            assert_eq!(level.ip.unwrap().ports, Some(TCP_PORTS));
        }
    }
    // A pseudowire's payload is no IP packet.
    let level = Packet::read(Start::Mpls, &concat(&[&labels, &[0; 40]])).outer;
    assert_eq!((level.label, level.ip), (Some(100), None));
}

#[test]
fn ppp_is_read_alone_and_over_ethernet() {
    for before in [&[0x00, 0x21][..], &[0x21], &[0xff, 0x03, 0x00, 0x21]] {
        let bytes = concat(&[before, &v4(6, &tcp())]);
        assert_eq!(ip(Start::Ppp, &bytes).ports, Some(TCP_PORTS));
    }
    let session = [0x11, 0, 0, 1, 0, 42, 0x00, 0x57];
    let bytes = concat(&[&ethernet(0x8864), &session, &v6(6, &tcp())]);
    assert_eq!(ip(Start::Ethernet, &bytes).ports, Some(TCP_PORTS));
}

/// The tunnel in `outer`, and the ports of what is in it; outer and inner packet must differ.
fn tunnel(outer: &[u8]) -> Option<(Tunnel, Option<Ports>)> {
    let packet = Packet::read(Start::Ip, outer);
    assert!(packet.outer.ip.unwrap().source.is_ipv4());
    packet.inner.map(|(tunnel, level)| {
        let ip = level.ip;
        assert!(ip.is_none_or(|ip| ip.source.is_ipv6()));
        (tunnel, ip.and_then(|ip| ip.ports))
    })
}

#[test]
fn ip_in_ip_has_an_inside() {
    let expected = Some((Tunnel::Ip, Some(TCP_PORTS)));
    assert_eq!(tunnel(&v4(41, &v6(6, &tcp()))), expected);
    assert_eq!(tunnel(&v4(4, &v6(6, &tcp()))), expected);
    let outer = ip(Start::Ip, &v4(41, &v6(6, &tcp())));
    assert_eq!((outer.protocol, outer.ports), (41, None));
}

#[test]
fn gre_has_an_inside_whatever_its_options() {
    let inner = v6(6, &tcp());
    let plain = concat(&[&[0, 0, 0x86, 0xdd], &inner]);
    assert_eq!(tunnel(&v4(47, &plain)), Some((Tunnel::Gre(None), Some(TCP_PORTS))));
    let all = concat(&[&[0xb0, 0, 0x86, 0xdd], &[0; 4], &[0, 0, 0, 7], &[0; 4], &inner]);
    assert_eq!(tunnel(&v4(47, &all)), Some((Tunnel::Gre(Some(7)), Some(TCP_PORTS))));
    let bridged = concat(&[&[0, 0, 0x65, 0x58], &ethernet(0x86dd), &inner]);
    assert_eq!(tunnel(&v4(47, &bridged)), Some((Tunnel::Gre(None), Some(TCP_PORTS))));
    for refused in [0x40, 0x00] {
        // Routing, and PPTP's version.
        let version = u8::from(refused == 0);
        let bytes = concat(&[&[refused, version, 0x86, 0xdd], &inner]);
        assert_eq!(tunnel(&v4(47, &bytes)), None);
    }
}

#[test]
fn vxlan_has_an_inside_by_its_port_and_its_flag() {
    let inner = concat(&[&ethernet(0x86dd), &v6(6, &tcp())]);
    let vxlan = concat(&[&[8, 0, 0, 0, 0, 1, 2, 0], &inner]);
    for port in [4789, 8472] {
        let bytes = v4(17, &udp(port, &vxlan));
        assert_eq!(tunnel(&bytes), Some((Tunnel::Vxlan(0x102), Some(TCP_PORTS))));
        assert_eq!(ip(Start::Ip, &bytes).ports.unwrap().destination, port);
    }
    assert_eq!(tunnel(&v4(17, &udp(4790, &vxlan))), None);
    let flagless = concat(&[&[0, 0, 0, 0, 0, 1, 2, 0], &inner]);
    assert_eq!(tunnel(&v4(17, &udp(4789, &flagless))), None);
}

#[test]
fn gtp_has_an_inside_behind_its_extension_headers() {
    let inner = v6(6, &tcp());
    let plain = concat(&[&[0x30, 255, 0, 60, 0, 0, 0, 9], &inner]);
    let expected = Some((Tunnel::GtpU(9), Some(TCP_PORTS)));
    assert_eq!(tunnel(&v4(17, &udp(2152, &plain))), expected);
    let head = [0x34, 255, 0, 68, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 0, 0x40, 2, 0, 0, 0, 0, 0, 0, 0];
    let extended = concat(&[&head, &inner]);
    assert_eq!(tunnel(&v4(17, &udp(2152, &extended))), expected);
    let numbered = concat(&[&[0x32, 255, 0, 64, 0, 0, 0, 9, 0, 1, 0, 0x85], &inner]);
    assert_eq!(tunnel(&v4(17, &udp(2152, &numbered))), expected);
    let echo = concat(&[&[0x30, 1, 0, 60, 0, 0, 0, 9], &inner]);
    assert_eq!(tunnel(&v4(17, &udp(2152, &echo))), None);
    let endless = concat(&[&[0x34, 255, 0, 60, 0, 0, 0, 9, 0, 0, 0, 1], &[0; 40]]);
    assert_eq!(tunnel(&v4(17, &udp(2152, &endless))), None);
}

#[test]
fn a_tunnel_in_a_tunnel_is_left_alone() {
    let packet = Packet::read(Start::Ip, &v4(4, &v4(4, &v4(6, &tcp()))));
    let (_, inner) = packet.inner.unwrap();
    assert_eq!(inner.ip.unwrap().protocol, 4);
}

/// Everything at once, for what must hold wherever it is cut.
fn deep() -> Vec<u8> {
    let gtp = concat(&[&[0x30, 255, 0, 60, 0, 0, 0, 9], &v6(6, &tcp())]);
    let labels = [0x00, 0x06, 0x41, 0x40];
    let packet = v4(17, &udp(2152, &gtp));
    concat(&[&ethernet(0x8100), &[0, 10, 0x88, 0x47], &labels, &packet])
}

#[test]
fn what_stands_before_a_cut_is_read() {
    let bytes = deep();
    let whole = Packet::read(Start::Ethernet, &bytes);
    assert!(whole.inner.unwrap().1.ip.unwrap().ports.is_some());
    for length in 0..bytes.len() {
        let cut = Packet::read(Start::Ethernet, &bytes[..length]);
        assert_eq!(cut.outer.ip.is_some(), length >= 14 + 4 + 4 + 20, "{length}");
        assert_eq!(cut.outer.label.is_some(), length >= 14 + 4 + 4, "{length}");
    }
}

/// Whether the layers say the same as the columns are told, of the packet and of the one within.
fn assert_layers_agree(start: Start, bytes: &[u8]) {
    use super::layers::{Content, layers};
    let (packet, layers) = (Packet::read(start, bytes), layers(start, bytes));
    let levels = [Some(packet.outer), packet.inner.map(|(_, level)| level)];
    for (depth, level) in levels.into_iter().enumerate() {
        let find = |elements: &[u16]| {
            let items = layers.iter().filter(|l| l.depth == depth).flat_map(|layer| &layer.items);
            items.clone().find(|item| elements.contains(&item.element)).map(|item| item.value)
        };
        let number = |elements: &[u16]| match find(elements) {
            Some(Content::Number(number)) => Some(number),
            _ => None,
        };
        let level = level.unwrap_or_default();
        // A header that is cut short is none to people.
        let ethernet = level.ethernet.filter(|_| find(&[56]).is_some());
        assert!(ethernet.is_some() || level.ethernet.is_none_or(|e| e == Ethernet::default()));
        let macs = [ethernet.map(|e| e.source), ethernet.map(|e| e.destination)];
        let address = |address: IpAddr| Some(Content::Address(address));
        assert_eq!([find(&[56]), find(&[80])], macs.map(|mac| mac.map(Content::Mac)));
        let vlan = level.ethernet.and_then(|ethernet| ethernet.vlan);
        assert_eq!(number(&[243]), vlan.map(u64::from), "{bytes:02x?}");
        let Some(ip) = level.ip else { continue };
        assert_eq!(find(&[8, 27]), address(ip.source));
        assert_eq!(find(&[12, 28]), address(ip.destination));
        assert_eq!(number(&[4]), Some(ip.protocol.into()), "{bytes:02x?}");
        assert_eq!(number(&[5]), Some(ip.tos.into()));
        let icmp =
            number(&[176, 178]).zip(number(&[177, 179])).map(|(kind, code)| kind << 8 | code);
        let ports = [number(&[7]).or(icmp.map(|_| 0)), number(&[11]).or(icmp)];
        // Where a damaged length makes ports doubtful, people may still be shown them.
        let Some(expected) = ip.ports else { continue };
        let expected = [expected.source, expected.destination].map(u64::from);
        assert_eq!(ports, expected.map(Some), "{bytes:02x?}");
    }
}

#[test]
fn layers_lie_in_order_and_cover_the_packet() {
    let bytes = deep();
    let layers = layers::layers(Start::Ethernet, &bytes);
    let mut end = 0;
    for layer in &layers {
        assert_eq!(layer.at.start, end, "{layers:?}");
        end = layer.at.end;
    }
    assert_eq!(end, bytes.len());
    assert_layers_agree(Start::Ethernet, &bytes);
}

proptest! {
    #[test]
    fn no_bytes_panic(which in 0usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        let starts =
            [Start::Ethernet, Start::Ppp, Start::Mpls, Start::Ip, Start::Type(0x8847), Start::Type(0)];
        assert_layers_agree(starts[which], &bytes);
    }

    /// Noise within a packet that is otherwise right, so that the walk goes deep.
    #[test]
    fn no_damage_panics(at in 0usize..200, byte: u8, end in 0usize..200) {
        let mut bytes = deep();
        let (at, end) = (at % bytes.len(), end % bytes.len());
        bytes[at] = byte;
        assert_layers_agree(Start::Ethernet, &bytes);
        assert_layers_agree(Start::Ethernet, &bytes[..end]);
    }
}
