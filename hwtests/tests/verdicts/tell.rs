//! What user space is told of datagrams that are forwarded past it.

use std::net::SocketAddr;

use weir_ebpf::{Loaded, PortRule, SourceKey, SourceRule, Verdict, abi};

use crate::forward::{EXPORTER_V4, EXPORTER_V6, load_forwarding};
use crate::frames::{EXPORTER_PORT, PORT, V4, V6, plain};
use crate::{XDP_PASS, XDP_TX, run};

/// An event, owned.
#[derive(Debug, PartialEq)]
struct Told {
    source: SocketAddr,
    port: u16,
    unknown: bool,
    payload: Option<Vec<u8>>,
    length: u32,
}

fn told(loaded: &mut Loaded) -> Vec<Told> {
    let mut all = Vec::new();
    loaded.events.poll(usize::MAX, &mut |event| {
        let payload = event.payload.map(<[u8]>::to_vec);
        let (source, port, unknown) = (event.source, event.port, event.unknown);
        all.push(Told { source, port, unknown, payload, length: event.length });
    });
    all
}

/// A message with sets of these ids, each of so many octets.
fn message(version: u16, sets: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.resize(if version == 9 { 20 } else { 16 }, 1);
    for &(id, length) in sets {
        bytes.extend(id.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(bytes.len() + usize::from(length).saturating_sub(4), 3);
    }
    bytes
}

/// Forwards a known source's message; what user space is told of it.
fn tell_of(loaded: &mut Loaded, payload: &[u8]) -> Option<Told> {
    let frame = plain(EXPORTER_V4, SocketAddr::new(V4.into(), PORT), payload);
    assert_eq!(run(loaded, &frame), (XDP_TX, Verdict::Forwarded));
    let mut all = told(loaded);
    assert!(all.len() <= 1, "{all:?}");
    all.pop()
}

fn know(loaded: &Loaded) {
    let key = SourceKey { address: EXPORTER_V4, port: PORT };
    loaded.sources.put(key, SourceRule::ByTable).unwrap();
}

#[test]
fn a_new_source_is_told_of_with_every_datagram_until_it_is_known() {
    let Some(mut loaded) = load_forwarding() else { return };
    let both = [(EXPORTER_V4, V4.into()), (EXPORTER_V6, V6.into())];
    for (from, to) in both {
        let frame = plain(from, SocketAddr::new(to, PORT), &message(9, &[(256, 100)]));
        run(&mut loaded, &frame);
        run(&mut loaded, &frame);
        let expected = || Told {
            source: SocketAddr::new(from, EXPORTER_PORT),
            port: PORT,
            unknown: true,
            payload: None,
            length: 120,
        };
        assert_eq!(told(&mut loaded), [expected(), expected()]);
        loaded.sources.put(SourceKey { address: from, port: PORT }, SourceRule::ByTable).unwrap();
        run(&mut loaded, &frame);
        assert_eq!(told(&mut loaded), []);
    }
}

#[test]
fn messages_with_templates_come_whole_and_others_not_at_all() {
    let Some(mut loaded) = load_forwarding() else { return };
    know(&loaded);
    for (version, templates, other) in [(9, [0, 1], [2, 3]), (10, [2, 3], [0, 1])] {
        for id in templates {
            for sets in [&[(id, 40)][..], &[(256, 400), (id, 24)], &[(300, 4), (999, 80), (id, 4)]]
            {
                let payload = message(version, sets);
                let event = tell_of(&mut loaded, &payload).expect("it has templates");
                assert_eq!(event.payload.as_deref(), Some(&payload[..]), "{version} {sets:?}");
                assert!(!event.unknown);
            }
        }
        for id in other {
            assert_eq!(tell_of(&mut loaded, &message(version, &[(256, 40), (id, 40)])), None);
        }
        let padded = [message(version, &[(256, 40)]), vec![0; 3]].concat();
        assert_eq!(tell_of(&mut loaded, &padded), None);
        assert_eq!(tell_of(&mut loaded, &message(version, &[])), None);
    }
    assert_eq!(tell_of(&mut loaded, &message(5, &[(0, 40), (2, 40)])), None);
}

#[test]
fn what_cannot_be_walked_to_its_end_counts_as_bearing_templates() {
    let Some(mut loaded) = load_forwarding() else { return };
    know(&loaded);
    let sixteen = message(9, &[(256, 8); 16]);
    assert_eq!(tell_of(&mut loaded, &sixteen), None);
    assert!(tell_of(&mut loaded, &message(9, &[(256, 8); 17])).is_some());
    // A length that leads nowhere.
    assert!(tell_of(&mut loaded, &message(10, &[(256, 0), (300, 40)])).is_some());
    assert!(tell_of(&mut loaded, &message(10, &[(256, 3), (300, 40)])).is_some());
}

/// The program sees the first part only of a frame that is longer than a page.
#[test]
fn a_set_behind_the_first_part_of_a_jumbo_frame_counts_as_a_template_set() {
    let Some(mut loaded) = load_forwarding() else { return };
    know(&loaded);
    let address = V4.into();
    let way = weir_ebpf::Hop {
        address,
        destination_mac: [1; 6],
        source_mac: [2; 6],
        device: 0,
        mtu: 9000,
        bounce: true,
    };
    loaded.steering.set_slave(0, weir_ebpf::IpVersion::V4, Some(&way)).unwrap();
    let payload = message(9, &[(256, 8000), (257, 100)]);
    let event = tell_of(&mut loaded, &payload).expect("it cannot be walked");
    assert_eq!(event.payload.as_deref(), Some(&payload[..abi::COPY_MAX]));
    assert_eq!(event.length, 8120);
    assert_eq!(tell_of(&mut loaded, &message(9, &[(256, 8000)])), None);
}

#[test]
fn what_finds_the_ring_full_is_forwarded_and_counted() {
    let Some(mut loaded) = load_forwarding() else { return };
    know(&loaded);
    let payload = message(9, &[(0, 1400)]);
    let frame = plain(EXPORTER_V4, SocketAddr::new(V4.into(), PORT), &payload);
    let mut sent = 0u64;
    while loaded.tallies.read().unwrap().unheard() == 0 {
        for _ in 0..100 {
            assert_eq!(loaded.program.run(&frame).unwrap().action, XDP_TX);
        }
        sent += 100;
        assert!(sent < 10_000, "the ring has an end");
    }
    let tallies = loaded.tallies.read().unwrap();
    let heard = told(&mut loaded);
    assert_eq!(heard.len() as u64 + tallies.unheard(), sent);
    assert_eq!(tallies.get(Verdict::Forwarded), sent);
    assert!(heard.iter().all(|told| told.payload.as_deref() == Some(&payload[..])));
    // There is room again.
    assert!(tell_of(&mut loaded, &payload).is_some());
}

#[test]
fn what_goes_past_the_program_is_not_told_of() {
    let Some(mut loaded) = load_forwarding() else { return };
    let frame = plain(EXPORTER_V4, SocketAddr::new(V4.into(), PORT), &message(9, &[(0, 40)]));
    loaded.program.set_ports(&[(PORT, PortRule::SOCKET)]).unwrap();
    assert_eq!(run(&mut loaded, &frame), (XDP_PASS, Verdict::PassedQueue));
    assert_eq!(told(&mut loaded), []);
}
