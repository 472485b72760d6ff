//! What the XDP program does with each kind of frame, asked of the kernel itself
//! (`BPF_PROG_TEST_RUN`), and that user space reads every frame that the program redirects.
//!
//! Needs: root. Skips with a sentence without.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::Command;

use weir_dataplane::io::packet;
use weir_dataplane::wire::ethernet::{self, ethertype};
use weir_dataplane::wire::{ipv4, ipv6, udp};
use weir_ebpf::{LoadConfig, Loaded, PortRule, Program, Verdict};

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

const PORT: u16 = 2055;
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PAYLOAD: &[u8] = b"payload";

/// `None`, with a sentence, without root; with root a program that does not load is a failure.
fn load() -> Option<Loaded> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        eprintln!("skipped: loading BPF programs needs root");
        return None;
    }
    let config = LoadConfig { sources: 8, ..LoadConfig::default() };
    let mut loaded = Program::load(&config).unwrap_or_else(|error| panic!("{error}"));
    loaded.program.set_ports(&[(9995, PortRule::SOCKET), (PORT, PortRule::SOCKET)]).unwrap();
    loaded.program.set_addresses(&[V4.into(), V6.into()]).unwrap();
    Some(loaded)
}

/// Runs one frame; returns its action and the verdict whose counter rose.
fn run(loaded: &mut Loaded, frame: &[u8]) -> (u32, Verdict) {
    let before = loaded.tallies.read().unwrap();
    let action = loaded.program.run(frame).unwrap().action;
    let after = loaded.tallies.read().unwrap();
    let mut risen = Verdict::ALL.into_iter().filter(|&v| after.get(v) != before.get(v));
    let verdict = risen.next().expect("one counter rises");
    assert!(risen.next().is_none() && after.get(verdict) == before.get(verdict) + 1);
    (action, verdict)
}

/// A UDP datagram between two addresses, both of one family.
fn datagram(from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; udp::HEADER_LENGTH];
    bytes.extend(PAYLOAD);
    udp::emit(&mut bytes, SocketAddr::new(from, 4000), to);
    bytes
}

/// An Ethernet header with `tags` in front of `type`, then `packet`.
fn framed(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::HEADER_LENGTH];
    ethernet::emit(&mut bytes, [2; 6], [4; 6], tags.first().copied().unwrap_or(kind));
    for next in 1..=tags.len() {
        bytes.extend([0, 7]);
        bytes.extend(tags.get(next).copied().unwrap_or(kind).to_be_bytes());
    }
    bytes.extend(packet);
    bytes
}

fn packet_v4(to: Ipv4Addr, port: u16, protocol: u8) -> Vec<u8> {
    let source = Ipv4Addr::new(198, 51, 100, 7);
    let body = datagram(source.into(), SocketAddr::new(to.into(), port));
    let mut bytes = vec![0; ipv4::HEADER_LENGTH];
    let header = ipv4::Header { source, destination: to, identification: 1, protocol };
    header.emit(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

/// Redoes the checksum of a header of `length` bytes.
fn seal(packet: &mut [u8], length: usize) {
    packet[10..12].fill(0);
    let words = packet[..length].chunks_exact(2);
    let mut sum: u32 = words.map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let check = !u16::try_from(sum).unwrap();
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

fn with_options(mut packet: Vec<u8>, words: u8) -> Vec<u8> {
    let options = usize::from(words) * 4;
    packet.splice(20..20, vec![1; options]);
    packet[0] += words;
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    seal(&mut packet, 20 + options);
    packet
}

fn with_flags(mut packet: Vec<u8>, flags_and_offset: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    seal(&mut packet, 20);
    packet
}

/// A packet whose extension headers are `extensions`, each with its own number, in order.
fn packet_v6(to: Ipv6Addr, port: u16, extensions: &[(u8, &[u8])], last: u8) -> Vec<u8> {
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
const EIGHT: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
const SIXTEEN: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AUTHENTICATION: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const FRAGMENT: &[u8] = &[0, 0, 1, 0, 0, 0, 1];

fn table_v4() -> Vec<(&'static str, Verdict, Vec<u8>)> {
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

fn table_v6() -> Vec<(&'static str, Verdict, Vec<u8>)> {
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

#[test]
fn every_kind_of_frame_goes_its_way_and_user_space_reads_what_is_redirected() {
    let Some(mut loaded) = load() else { return };
    let socket = socket2::Socket::new(libc::AF_XDP.into(), socket2::Type::RAW, None)
        .expect("the kernel has AF_XDP");
    loaded.program.set_socket(0, socket.as_raw_fd()).unwrap();
    for (name, expected, frame) in table_v4().into_iter().chain(table_v6()) {
        let (action, verdict) = run(&mut loaded, &frame);
        assert_eq!(verdict, expected, "{name}");
        let redirected = expected == Verdict::Redirected;
        assert_eq!(action, if redirected { XDP_REDIRECT } else { XDP_PASS }, "{name}");
        let read = packet::parse(&frame);
        match verdict {
            Verdict::Redirected => assert_eq!(read.expect(name).payload, PAYLOAD, "{name}"),
            // Ports and addresses are the program's to know.
            Verdict::PassedPort | Verdict::PassedAddress => assert!(read.is_ok(), "{name}"),
            _ => assert!(read.is_err(), "{name}"),
        }
    }
}

#[test]
fn a_frame_cut_within_its_headers_passes() {
    let Some(mut loaded) = load() else { return };
    for (name, verdict, frame) in table_v4().into_iter().chain(table_v6()) {
        if verdict != Verdict::Redirected {
            continue;
        }
        let headers = frame.windows(PAYLOAD.len()).position(|window| window == PAYLOAD).unwrap();
        for length in ethernet::HEADER_LENGTH..headers {
            let (action, verdict) = run(&mut loaded, &frame[..length]);
            let expected = (XDP_PASS, Verdict::PassedTruncated);
            assert_eq!((action, verdict), expected, "{name}, cut to {length}");
        }
    }
}

#[test]
fn a_queue_without_a_socket_passes() {
    let Some(mut loaded) = load() else { return };
    let (_, _, frame) = &table_v4()[0];
    assert_eq!(run(&mut loaded, frame), (XDP_PASS, Verdict::PassedQueue));
}

#[test]
fn ports_and_addresses_change_while_the_program_runs() {
    let Some(mut loaded) = load() else { return };
    let (_, _, frame) = &table_v4()[0];
    loaded.program.set_ports(&[(9995, PortRule::SOCKET)]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedPort);
    loaded.program.set_ports(&[(PORT, PortRule::SOCKET), (65_535, PortRule::SOCKET)]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedQueue);
    loaded.program.set_addresses(&[V6.into()]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedAddress);
}
