//! The flow-source model: which slave a datagram is forwarded to, what its frame is then, and what
//! goes to the socket or is dropped instead.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use weir_dataplane::io::packet;
use weir_dataplane::wire::ethernet::{self, ethertype};
use weir_dataplane::wire::{ipv4, ipv6};
use weir_ebpf::{
    Error, FORMAT_IPFIX, FORMAT_NETFLOW9, FORMAT_OTHER, FORMAT_SFLOW, Hop, IpVersion, Loaded,
    NO_SLAVE, PortRule, SLAVES_MAX, SourceKey, SourceRule, TABLE_LENGTH, Verdict, table_index,
};

use crate::frames::{self, EXPORTER_PORT, PAYLOAD, PORT, V4, V6, plain, table_v4, table_v6};
use crate::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX, give_socket, load, run, run_whole};

pub(crate) const EXPORTER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub(crate) const EXPORTER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7));
const SLAVE_PORT: u16 = PORT + 30_000;
const SLAVE_MAC: [u8; 6] = [0xa, 0xb, 0xc, 0xd, 0xe, 0xf];
const OUR_MAC: [u8; 6] = [1, 3, 5, 7, 9, 11];

/// The address of a slave, by the exporters' IP version.
fn slave_address(slave: u8, version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::new(203, 0, 113, slave).into(),
        IpVersion::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, slave.into()).into(),
    }
}

fn hop(slave: u8, version: IpVersion) -> Hop {
    Hop {
        address: slave_address(slave, version),
        destination_mac: SLAVE_MAC,
        source_mac: OUR_MAC,
        device: 0,
        mtu: 1500,
        bounce: true,
    }
}

fn v4(port: u16) -> SocketAddr {
    SocketAddr::new(V4.into(), port)
}

fn v6(port: u16) -> SocketAddr {
    SocketAddr::new(V6.into(), port)
}

/// Both IP versions: an exporter and where it sends to.
fn both() -> [(IpVersion, IpAddr, SocketAddr); 2] {
    [(IpVersion::V4, EXPORTER_V4, v4(PORT)), (IpVersion::V6, EXPORTER_V6, v6(PORT))]
}

/// Forwards all of [`PORT`] to slave 0.
pub(crate) fn load_forwarding() -> Option<Loaded> {
    let mut loaded = load()?;
    loaded.program.set_ports(&[(PORT, PortRule::FORWARD)]).unwrap();
    for version in IpVersion::BOTH {
        loaded.steering.set_table(version, &[0; TABLE_LENGTH]).unwrap();
        loaded.steering.set_slave(0, version, Some(&hop(0, version))).unwrap();
    }
    Some(loaded)
}

/// The Internet checksum over an IPv4 header is right when its sum is all ones.
fn assert_ipv4_header(packet: &[u8]) {
    let mut sealed = packet.to_vec();
    frames::seal(&mut sealed, ipv4::HEADER_LENGTH);
    assert_eq!(sealed[10..12], packet[10..12], "the IPv4 header's checksum");
    assert_eq!(packet[8], 64, "the time to live");
}

/// That `frame` is the datagram `payload` on its way to `to`, with nothing else changed.
fn assert_forwarded(frame: &[u8], from: IpAddr, to: IpAddr, payload: &[u8], name: &str) {
    let read = packet::parse(frame).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(read.source, SocketAddr::new(from, EXPORTER_PORT), "{name}");
    assert_eq!(read.destination, SocketAddr::new(to, SLAVE_PORT), "{name}");
    assert_eq!(read.payload, payload, "{name}");
    assert_eq!(frame[..6], SLAVE_MAC, "{name}");
    assert_eq!(frame[6..12], OUR_MAC, "{name}");
    let packet = &frame[ethernet::HEADER_LENGTH..];
    if to.is_ipv4() {
        assert_eq!(frame[12..14], ethertype::IPV4.to_be_bytes(), "{name}");
        assert_ipv4_header(packet);
    } else {
        assert_eq!(frame[12..14], ethertype::IPV6.to_be_bytes(), "{name}");
        assert_eq!(packet[7], 64, "{name}: the hop limit");
    }
}

#[test]
fn every_kind_of_frame_is_forwarded_or_goes_where_nothing_is_lost() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    for (name, verdict, frame) in table_v4().into_iter().chain(table_v6()) {
        let rewritable = !name.contains("options") && !name.contains("extension");
        let expected = match verdict {
            Verdict::Redirected if rewritable => Verdict::Forwarded,
            Verdict::Redirected => Verdict::SocketHeaders,
            other => other,
        };
        let (ran, verdict) = run_whole(&mut loaded, &frame);
        assert_eq!(verdict, expected, "{name}");
        match verdict {
            Verdict::Forwarded => {
                assert_eq!(ran.action, XDP_TX, "{name}");
                let six = name.starts_with("v6");
                let (version, from) =
                    if six { (IpVersion::V6, EXPORTER_V6) } else { (IpVersion::V4, EXPORTER_V4) };
                assert_forwarded(&ran.frame, from, slave_address(0, version), PAYLOAD, name);
            }
            Verdict::SocketHeaders => {
                assert_eq!(ran.action, XDP_REDIRECT, "{name}");
                assert_eq!(ran.frame, frame, "{name}");
                assert_eq!(packet::parse(&ran.frame).expect(name).payload, PAYLOAD, "{name}");
            }
            _ => assert_eq!((ran.action, &ran.frame), (XDP_PASS, &frame), "{name}"),
        }
    }
}

#[test]
fn a_datagram_whose_lengths_lie_is_user_spaces_to_judge() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    let whole = [plain(EXPORTER_V4, v4(PORT), PAYLOAD), plain(EXPORTER_V6, v6(PORT), PAYLOAD)];
    for (frame, [ip, udp]) in whole.iter().zip([[17, 39], [19, 59]]) {
        for (at, by) in [(ip, 1), (ip, 0u8.wrapping_sub(1)), (udp, 1), (udp, 200), (udp, 0x80)] {
            let mut frame = frame.clone();
            frame[at] = frame[at].wrapping_add(by);
            let (action, verdict) = run(&mut loaded, &frame);
            assert_eq!((action, verdict), (XDP_REDIRECT, Verdict::SocketHeaders), "{at} {by}");
            assert!(packet::parse(&frame).is_err());
        }
        let mut frame = frame.clone();
        frame.pop();
        assert_eq!(run(&mut loaded, &frame).1, Verdict::SocketHeaders, "cut");
    }
}

#[test]
fn no_checksum_stays_none_under_ipv4_and_is_user_spaces_to_judge_under_ipv6() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    let mut frame = plain(EXPORTER_V4, v4(PORT), PAYLOAD);
    frame[40..42].fill(0);
    let (ran, verdict) = run_whole(&mut loaded, &frame);
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!(ran.frame[40..42], [0, 0]);
    assert_forwarded(&ran.frame, EXPORTER_V4, slave_address(0, IpVersion::V4), PAYLOAD, "v4");
    let mut frame = plain(EXPORTER_V6, v6(PORT), PAYLOAD);
    frame[60..62].fill(0);
    assert_eq!(run(&mut loaded, &frame), (XDP_REDIRECT, Verdict::SocketHeaders));
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (_, from, to) in both() {
        let mut frame = plain(from, to, PAYLOAD);
        *frame.last_mut().unwrap() ^= 1;
        let (ran, verdict) = run_whole(&mut loaded, &frame);
        assert_eq!(verdict, Verdict::Forwarded);
        assert_eq!(packet::parse(&ran.frame).unwrap_err(), weir_dataplane::Discard::BadChecksum);
    }
}

/// Every sum that a checksum can come to, 0 among them, which is sent as its other representation.
#[test]
fn checksums_are_right_whatever_they_come_to() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (version, from, to) in both() {
        let mut ones = 0;
        for value in 0..=u16::MAX {
            let frame = plain(from, to, &value.to_be_bytes());
            let after = loaded.program.run(&frame).unwrap().frame;
            let field = if from.is_ipv4() { 40 } else { 60 };
            assert_ne!(after[field..field + 2], [0, 0]);
            ones += u32::from(after[field..field + 2] == [0xff, 0xff]);
            let to = slave_address(0, version);
            assert_forwarded(&after, from, to, &value.to_be_bytes(), &value.to_string());
        }
        assert!(ones > 0, "a sum of zero was among them");
    }
}

#[test]
fn checksums_are_right_for_any_addresses_and_payload() {
    let Some(loaded) = load_forwarding() else { return };
    let loaded = RefCell::new(loaded);
    let case = (any::<[u8; 16]>(), any::<[u8; 16]>(), prop::collection::vec(any::<u8>(), 0..1400));
    let mut runner = TestRunner::default();
    let result = runner.run(&(case, any::<bool>()), |((from, to, payload), six)| {
        let address = |octets: [u8; 16]| -> IpAddr {
            if six { octets.into() } else { <[u8; 4]>::try_from(&octets[..4]).unwrap().into() }
        };
        let (version, at) = if six { (IpVersion::V6, v6(PORT)) } else { (IpVersion::V4, v4(PORT)) };
        let (from, to) = (address(from), address(to));
        let way = Hop { address: to, ..hop(0, version) };
        let mut loaded = loaded.borrow_mut();
        loaded.steering.set_slave(0, version, Some(&way)).unwrap();
        let ran = loaded.program.run(&plain(from, at, &payload)).unwrap();
        prop_assert_eq!(ran.action, XDP_TX);
        assert_forwarded(&ran.frame, from, to, &payload, "random");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn the_kernel_steers_as_the_table_and_the_hash_say() {
    let Some(mut loaded) = load_forwarding() else { return };
    let mut table = [0; TABLE_LENGTH];
    for (index, entry) in table.iter_mut().enumerate() {
        *entry = u16::try_from(index * 7 % SLAVES_MAX).unwrap();
    }
    for version in IpVersion::BOTH {
        loaded.steering.set_table(version, &table).unwrap();
        for slave in 0..u8::try_from(SLAVES_MAX).unwrap() {
            let way = hop(slave, version);
            loaded.steering.set_slave(slave.into(), version, Some(&way)).unwrap();
        }
    }
    let loaded = RefCell::new(loaded);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(4096));
    let result = runner.run(&(any::<u32>(), any::<u128>()), |(four, six)| {
        let sources: [IpAddr; 2] = [Ipv4Addr::from(four).into(), Ipv6Addr::from(six).into()];
        for (from, (version, _, to)) in sources.into_iter().zip(both()) {
            let ran = loaded.borrow_mut().program.run(&plain(from, to, PAYLOAD)).unwrap();
            let slave = u8::try_from(table[table_index(from)]).unwrap();
            let reached = packet::parse(&ran.frame).unwrap().destination.ip();
            prop_assert_eq!(reached, slave_address(slave, version), "{}", from);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_table_with_a_slave_beyond_the_last_is_refused() {
    let Some(mut loaded) = load_forwarding() else { return };
    let mut table = [0; TABLE_LENGTH];
    table[9] = u16::try_from(SLAVES_MAX).unwrap();
    let refused = loaded.steering.set_table(IpVersion::V4, &table);
    assert!(matches!(refused, Err(Error::Slave(_))), "{refused:?}");
    let refused = loaded.steering.set_slave(64, IpVersion::V4, None);
    assert!(matches!(refused, Err(Error::Slave(_))), "{refused:?}");
    let refused = loaded.steering.set_slave(0, IpVersion::V6, Some(&hop(0, IpVersion::V4)));
    assert!(matches!(refused, Err(Error::Slave(_))), "{refused:?}");
}

#[test]
fn what_cannot_be_forwarded_goes_to_the_socket_and_without_one_to_the_kernel() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (version, from, to) in both() {
        let overhead = if from.is_ipv4() { 28 } else { 48 };
        let frame = |length: usize| plain(from, to, &vec![7; length]);
        let longest = usize::from(hop(0, version).mtu) - overhead;
        assert_eq!(run(&mut loaded, &frame(longest)), (XDP_TX, Verdict::Forwarded));
        let wide = frame(longest + 1);
        assert_eq!(run(&mut loaded, &wide), (XDP_PASS, Verdict::PassedQueue));
        let socket = give_socket(&mut loaded);
        assert_eq!(run(&mut loaded, &wide), (XDP_REDIRECT, Verdict::SocketMtu));
        loaded.steering.set_slave(0, version, None).unwrap();
        assert_eq!(run(&mut loaded, &frame(8)), (XDP_REDIRECT, Verdict::SocketUnresolved));
        let mut table = [0; TABLE_LENGTH];
        table[table_index(from)] = NO_SLAVE;
        loaded.steering.set_table(version, &table).unwrap();
        let (ran, verdict) = run_whole(&mut loaded, &frame(8));
        assert_eq!((ran.action, verdict), (XDP_REDIRECT, Verdict::SocketNoSlave));
        assert_eq!(ran.frame, frame(8));
        drop(socket);
        assert_eq!(run(&mut loaded, &frame(8)), (XDP_PASS, Verdict::PassedQueue));
    }
}

/// Longer than a page: the kernel gives the program its first part only.
#[test]
fn a_jumbo_frame_is_forwarded_whole() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    let payload: Vec<u8> = (0..8000u32).map(|n| n.to_le_bytes()[0]).collect();
    for (version, from, to) in both() {
        let frame = plain(from, to, &payload);
        assert_eq!(run(&mut loaded, &frame), (XDP_REDIRECT, Verdict::SocketMtu));
        let way = Hop { mtu: 9000, ..hop(0, version) };
        loaded.steering.set_slave(0, version, Some(&way)).unwrap();
        let (ran, verdict) = run_whole(&mut loaded, &frame);
        assert_eq!((ran.action, verdict), (XDP_TX, Verdict::Forwarded));
        assert_forwarded(&ran.frame, from, slave_address(0, version), &payload, "jumbo");
    }
}

#[test]
fn a_hop_by_another_device_is_redirected_there_and_one_that_is_not_there_is_refused() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (version, from, to) in both() {
        // The loopback device is number 1 in every namespace.
        let way = Hop { device: 1, bounce: false, ..hop(0, version) };
        loaded.steering.set_slave(0, version, Some(&way)).unwrap();
        let frame = plain(from, to, PAYLOAD);
        assert_eq!(run(&mut loaded, &frame), (XDP_REDIRECT, Verdict::Forwarded));
        let nowhere = Hop { device: 999_999, ..way };
        assert!(loaded.steering.set_slave(0, version, Some(&nowhere)).is_err());
        assert_eq!(run(&mut loaded, &frame), (XDP_REDIRECT, Verdict::Forwarded));
    }
}

#[test]
fn an_assigned_source_goes_to_its_slave_and_a_refused_one_nowhere() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    for (version, from, to) in both() {
        loaded.steering.set_slave(5, version, Some(&hop(5, version))).unwrap();
        let key = SourceKey { address: from, port: PORT };
        let frame = plain(from, to, PAYLOAD);
        let reached = |loaded: &mut Loaded| {
            let (ran, verdict) = run_whole(loaded, &frame);
            assert_eq!(verdict, Verdict::Forwarded);
            packet::parse(&ran.frame).unwrap().destination.ip()
        };
        loaded.sources.put(key, SourceRule::Assigned(5)).unwrap();
        assert_eq!(reached(&mut loaded), slave_address(5, version));
        // Another listening port is another source.
        let other = SourceKey { port: 9995, ..key };
        loaded.sources.put(other, SourceRule::Refused).unwrap();
        assert_eq!(reached(&mut loaded), slave_address(5, version));
        loaded.sources.put(key, SourceRule::ByTable).unwrap();
        assert_eq!(reached(&mut loaded), slave_address(0, version));
        loaded.sources.put(key, SourceRule::Refused).unwrap();
        assert_eq!(run(&mut loaded, &frame), (XDP_DROP, Verdict::RefusedSource));
        let beyond = loaded.sources.put(key, SourceRule::Assigned(64));
        assert!(matches!(beyond, Err(Error::Slave(_))), "{beyond:?}");
        assert!(loaded.sources.remove(key).unwrap());
        assert!(!loaded.sources.remove(key).unwrap());
        assert_eq!(reached(&mut loaded), slave_address(0, version));
    }
}

#[test]
fn a_gate_holds_unknown_sources_for_user_space_and_lets_known_ones_through() {
    let Some(mut loaded) = load_forwarding() else { return };
    let rule = PortRule { gated: true, ..PortRule::FORWARD };
    loaded.program.set_ports(&[(PORT, rule)]).unwrap();
    for (_, from, to) in both() {
        let frame = plain(from, to, PAYLOAD);
        assert_eq!(run(&mut loaded, &frame), (XDP_PASS, Verdict::PassedQueue));
        let socket = give_socket(&mut loaded);
        assert_eq!(run(&mut loaded, &frame), (XDP_REDIRECT, Verdict::SocketGate));
        loaded.sources.put(SourceKey { address: from, port: PORT }, SourceRule::ByTable).unwrap();
        assert_eq!(run(&mut loaded, &frame), (XDP_TX, Verdict::Forwarded));
        drop(socket);
    }
    assert_eq!(loaded.events.poll(99, &mut |event| panic!("{event:?}")), 0);
}

#[test]
fn formats_that_a_port_does_not_take_are_dropped_as_user_space_would_tell_them() {
    let Some(mut loaded) = load_forwarding() else { return };
    let rule = |formats| PortRule { formats, ..PortRule::FORWARD };
    let payloads: [&[u8]; 9] = [
        &[0, 5, 0, 1, 0],
        &[0, 9, 0, 1, 0],
        &[0, 10, 0, 1, 0],
        &[0, 0, 0, 5, 0],
        &[0, 0, 0, 4],
        &[5, 0, 0, 0],
        &[0, 9, 0],
        &[0, 9],
        &[],
    ];
    let sets = [FORMAT_NETFLOW9, FORMAT_IPFIX | FORMAT_SFLOW, FORMAT_OTHER, 0, 0xff, 1];
    for formats in sets {
        loaded.program.set_ports(&[(PORT, rule(formats))]).unwrap();
        for payload in payloads {
            for (_, from, to) in both() {
                // Ethernet pads short frames: that is no payload.
                let frame = [plain(from, to, payload), vec![0; 20]].concat();
                let expected = if weir_ebpf::format(payload) & formats != 0 {
                    (XDP_TX, Verdict::Forwarded)
                } else {
                    (XDP_DROP, Verdict::RefusedFormat)
                };
                assert_eq!(run(&mut loaded, &frame), expected, "{payload:?} {formats}");
            }
        }
    }
}

/// `CLOCK_MONOTONIC`, as the kernel shows it to everyone: what runs since the start, but for sleep.
fn now_ns() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1e9) as u64
}

#[test]
fn sources_and_slaves_are_counted_and_sources_have_a_bound() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (version, from, to) in both() {
        loaded.sources.put(SourceKey { address: from, port: PORT }, SourceRule::ByTable).unwrap();
        for _ in 0..3 {
            run(&mut loaded, &plain(from, to, PAYLOAD));
        }
        let headers = if version == IpVersion::V4 { 28 } else { 48 };
        let entry = loaded.sources.get(SourceKey { address: from, port: PORT }).unwrap().unwrap();
        assert_eq!((entry.packets, entry.bytes), (3, 3 * (headers + 7)));
        // Within a tick or two.
        let since = now_ns().abs_diff(entry.last_seen_ns);
        assert!(since < 1_000_000_000, "{since} ns");
        let listed = loaded.sources.list().unwrap();
        assert!(listed.contains(&entry), "{listed:?}");
    }
    let tally = loaded.tallies.read().unwrap().slave(0);
    assert_eq!((tally.packets, tally.bytes), (6, 3 * (28 + 48 + 14)));
    let fill = |n: u32| SourceKey { address: Ipv4Addr::from(n).into(), port: PORT };
    for n in 1..=6 {
        loaded.sources.put(fill(n), SourceRule::ByTable).unwrap();
    }
    assert_eq!(loaded.sources.len(), 8);
    assert!(matches!(loaded.sources.put(fill(7), SourceRule::ByTable), Err(Error::Full(8))));
    loaded.sources.put(fill(6), SourceRule::Refused).unwrap();
    assert!(loaded.sources.remove(fill(6)).unwrap());
    let other = loaded.sources.clone();
    other.put(fill(7), SourceRule::ByTable).unwrap();
    assert_eq!(loaded.sources.list().unwrap().len(), 8);
}

/// With room for 8 there are 16 slots: some of these 40 sources, 8 at a time, have to share one.
#[test]
fn sources_that_share_a_slot_are_all_known() {
    let Some(mut loaded) = load_forwarding() else { return };
    loaded.steering.set_slave(5, IpVersion::V4, Some(&hop(5, IpVersion::V4))).unwrap();
    let addresses: Vec<IpAddr> = (1..=40u32).map(|n| Ipv4Addr::from(n * 77).into()).collect();
    let key = |address| SourceKey { address, port: PORT };
    for known in addresses.chunks(8) {
        for &address in known {
            loaded.sources.put(key(address), SourceRule::Assigned(5)).unwrap();
        }
        for &address in &addresses {
            let (ran, _) = run_whole(&mut loaded, &plain(address, v4(PORT), PAYLOAD));
            let slave = if known.contains(&address) { 5 } else { 0 };
            let reached = packet::parse(&ran.frame).unwrap().destination.ip();
            assert_eq!(reached, slave_address(slave, IpVersion::V4), "{address}");
        }
        let listed = loaded.sources.list().unwrap();
        assert!(listed.iter().all(|entry| entry.packets == 1) && listed.len() == 8, "{listed:?}");
        for &address in known {
            loaded.sources.put(key(address), SourceRule::Refused).unwrap();
            let frame = plain(address, v4(PORT), PAYLOAD);
            assert_eq!(run(&mut loaded, &frame), (XDP_DROP, Verdict::RefusedSource));
            assert_eq!(loaded.sources.get(key(address)).unwrap().unwrap().packets, 2);
            assert!(loaded.sources.remove(key(address)).unwrap());
        }
        assert!(loaded.sources.is_empty());
    }
}

/// Every octet of the hop number `n` says `n`.
fn uniform(n: u8, version: IpVersion) -> Hop {
    let address = match version {
        IpVersion::V4 => Ipv4Addr::from([n; 4]).into(),
        IpVersion::V6 => Ipv6Addr::from([n; 16]).into(),
    };
    Hop { address, destination_mac: [n; 6], source_mac: [n; 6], ..hop(0, version) }
}

#[test]
fn a_hop_that_changes_while_frames_come_in_is_never_mixed() {
    let Some(mut loaded) = load_forwarding() else { return };
    let _socket = give_socket(&mut loaded);
    for (version, from, to) in both() {
        loaded.steering.set_slave(0, version, Some(&uniform(1, version))).unwrap();
        let Loaded { program, steering, .. } = &mut loaded;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..60_000u32 {
                    let way = uniform(u8::try_from(n % 250).unwrap() + 1, version);
                    steering.set_slave(0, version, Some(&way)).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            let (mut forwarded, mut seen) = (0, [false; 256]);
            while !done.load(Ordering::Relaxed) {
                let ran = program.run(&plain(from, to, PAYLOAD)).unwrap();
                if ran.action == XDP_REDIRECT {
                    // It met the very change, and went to the socket as it was.
                    assert_eq!(packet::parse(&ran.frame).unwrap().destination, to);
                    continue;
                }
                let n = ran.frame[0];
                assert_eq!(ran.frame[..12], [n; 12]);
                let reached = packet::parse(&ran.frame).unwrap().destination.ip();
                assert_eq!(reached, uniform(n, version).address);
                seen[usize::from(n)] = true;
                forwarded += 1;
            }
            let different = seen.iter().filter(|&&seen| seen).count();
            assert!(forwarded > 100 && different > 20, "{forwarded} frames by {different} hops");
        });
    }
}

#[test]
fn a_tag_of_the_exporters_network_does_not_reach_the_slaves() {
    let Some(mut loaded) = load_forwarding() else { return };
    for (_, from, to) in both() {
        let bare = plain(from, to, PAYLOAD);
        let kind = u16::from_be_bytes([bare[12], bare[13]]);
        let packet = &bare[ethernet::HEADER_LENGTH..];
        for tags in [&[ethertype::VLAN][..], &[ethertype::SERVICE_VLAN, ethertype::VLAN]] {
            let tagged = frames::framed(tags, kind, packet);
            let (tagged, verdict) = run_whole(&mut loaded, &tagged);
            assert_eq!(verdict, Verdict::Forwarded);
            assert_eq!(tagged.frame, run_whole(&mut loaded, &bare).0.frame);
        }
    }
}

#[test]
fn an_address_and_port_that_share_their_slot_are_found_too() {
    let Some(mut loaded) = load_forwarding() else { return };
    // So many that some share a slot.
    let addresses: Vec<IpAddr> =
        (0..1000u32).map(|n| Ipv4Addr::from(0x0a00_0000 + n * 4099).into()).collect();
    loaded.program.set_addresses(&addresses).unwrap();
    for &address in &addresses {
        let frame = plain(EXPORTER_V4, SocketAddr::new(address, PORT), PAYLOAD);
        assert_eq!(run(&mut loaded, &frame), (XDP_TX, Verdict::Forwarded), "{address}");
    }
    loaded.program.set_addresses(&addresses[500..]).unwrap();
    for (n, &address) in addresses.iter().enumerate() {
        let frame = plain(EXPORTER_V4, SocketAddr::new(address, PORT), PAYLOAD);
        let expected = if n < 500 { Verdict::PassedAddress } else { Verdict::Forwarded };
        assert_eq!(run(&mut loaded, &frame).1, expected, "{address}");
    }
}

const _: () = assert!(ipv6::HEADER_LENGTH == 40 && ipv4::HEADER_LENGTH == 20);
