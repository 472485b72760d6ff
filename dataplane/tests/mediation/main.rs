//! Mediation against collecting: what slaves collect behind a proxy is what a collector would have
//! got straight from the exporters, record for record.

use proptest::prelude::*;
use weir_dataplane::Discard;
use weir_dataplane::mediate::Distribution;
use weir_dataplane::wire::fixed::LAYOUTS;
use weir_dataplane::wire::{Message, Protocol};

mod connected;
mod gate;
mod harness;
mod roster;

use harness::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn slaves_together_collect_what_one_collector_would(
        datagrams in streams(), slaves in 1u8..5, flow_source in any::<bool>(), every in 1usize..9,
    ) {
        let model = if flow_source { Distribution::FlowSource } else { Distribution::RoundRobin };
        let mut proxy = Proxy::new(model, slaves);
        for (at, (source, payload)) in datagrams.iter().enumerate() {
            proxy.take(*source, payload);
            if at % every == 0 {
                proxy.deliver();
            }
        }
        proxy.deliver();
        let straight = straight(&datagrams);
        prop_assert_eq!(proxy.rows(), sorted([&straight.rows].into_iter()));
        proxy.assert_conserved();
        for slave in &proxy.slaves {
            prop_assert_eq!(slave.counters.sequence_lost.get(), 0);
            prop_assert_eq!(slave.counters.sequence_resets.get(), 0);
            prop_assert_eq!(slave.counters.discarded(Discard::UnknownTemplate), 0);
        }
    }

    #[test]
    fn arbitrary_bytes_end_in_a_counter(
        datagrams in prop::collection::vec(
            (any::<u8>(), prop_oneof![0u8..11, any::<u8>()],
             prop::collection::vec(any::<u8>(), 0..200)), 0..50),
        flow_source in any::<bool>(),
    ) {
        let model = if flow_source { Distribution::FlowSource } else { Distribution::RoundRobin };
        let mut proxy = Proxy::new(model, 2);
        for (n, version, mut payload) in datagrams {
            if payload.len() > 1 {
                payload[..2].copy_from_slice(&[0, version]);
            }
            proxy.take(exporter(n), &payload);
        }
        proxy.deliver();
        proxy.assert_conserved();
    }

    #[test]
    fn records_of_a_slave_that_dies_unsent_go_to_the_others(datagrams in streams()) {
        let mut proxy = Proxy::new(Distribution::RoundRobin, 3);
        for (source, payload) in &datagrams {
            proxy.take(*source, payload);
        }
        // What left before is the dead slave's; what is open is dealt again.
        proxy.health(1, false, false);
        proxy.deliver();
        let straight = straight(&datagrams);
        prop_assert_eq!(proxy.rows(), sorted([&straight.rows].into_iter()));
        proxy.assert_conserved();
    }
}

#[test]
fn round_robin_gives_every_slave_its_share_to_within_a_message() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 4);
    for (source, payload) in
        stream(Version::V9, &[(24, true); 10]).iter().map(|payload| (exporter(1), payload))
    {
        proxy.take(source, payload);
    }
    proxy.deliver();
    let shares: Vec<_> = proxy.slaves.iter().map(|slave| slave.rows.rows()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 240);
    // Their record has 29 bytes, so a packet of 1,500 bytes holds 49 at most.
    assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 49, "{shares:?}");
}

/// What was sent to each slave, message by message.
fn dealt(proxy: &mut Proxy) -> Vec<(u8, Vec<u8>)> {
    proxy.mediator.flush_all(&mut proxy.io);
    proxy.mediator.settle(&mut proxy.io);
    let slave = |to: std::net::SocketAddr| match to.ip() {
        std::net::IpAddr::V4(to) => to.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    proxy.watch.take().into_iter().map(|sent| (slave(sent.to), sent.payload)).collect()
}

#[test]
fn fixed_versions_are_packed_up_to_their_own_limit_and_counted_by_their_own_rule() {
    for layout in LAYOUTS {
        let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
        let version = Version::Fixed(layout);
        for (at, n) in (0..120).step_by(20).enumerate() {
            proxy.take(exporter(1), &message(version, 0, at as u32 * 20, false, n..n + 20));
        }
        let mut expected = 0;
        for (_, payload) in dealt(&mut proxy) {
            let Message::Fixed(packet) = Message::parse(&payload).unwrap() else { panic!() };
            assert!(packet.count() <= layout.max_records);
            assert_eq!((packet.layout(), packet.uptime_ms()), (layout, 100_000));
            assert_eq!(payload.len(), packet.header().len() + packet.body().len());
            assert_eq!(packet.sequence(), expected);
            let counted = layout.protocol != Protocol::Netflow1;
            expected += if counted { u32::from(packet.count()) } else { 0 };
        }
        proxy.assert_conserved();
        assert_eq!(proxy.counters.records_delivered.get(), 120);
    }
}

#[test]
fn each_sample_goes_to_one_slave_under_its_agents_header() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    for at in 0..40 {
        proxy.take(exporter(1), &message(Version::Sflow, 0, at, true, at * 3..at * 3 + 3));
    }
    let mut sequence = [0; 3];
    let mut samples = Vec::new();
    for (slave, payload) in dealt(&mut proxy) {
        let Message::Sflow(datagram) = Message::parse(&payload).unwrap() else { panic!() };
        assert_eq!(datagram.agent(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!((datagram.sub_agent(), datagram.uptime_ms()), (77, 100_000));
        assert_eq!(datagram.sequence(), sequence[usize::from(slave)]);
        sequence[usize::from(slave)] += 1;
        samples.extend(datagram.samples().map(|sample| sample.unwrap().bytes().to_vec()));
    }
    assert!(sequence[1] > 0 && sequence[2] > 0, "{sequence:?}");
    assert_eq!(samples.len(), 160);
    let counters = samples.iter().filter(|sample| sample[3] == 2).count();
    assert_eq!(counters, 40);
    assert_eq!(proxy.counters.counter_samples.get(), 40);
    assert_eq!(proxy.counters.records_delivered.get(), 120);
    proxy.assert_conserved();
}

#[test]
fn samples_of_agents_behind_one_address_are_not_mixed() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    for at in 0..4u8 {
        let mut payload = message(Version::Sflow, 0, at.into(), false, 0..3);
        payload[11] = at % 2;
        proxy.take(exporter(1), &payload);
    }
    assert_eq!(dealt(&mut proxy).len(), 4);
}

#[test]
fn a_sample_that_no_packet_carries_leaves_alone_in_fragments() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let mut payload = message(Version::Sflow, 0, 0, false, 0..0);
    payload[27] = 1;
    [7u32 << 12, 2_000].into_iter().for_each(|word| be32(&mut payload, word));
    payload.resize(payload.len() + 2_000, 0xab);
    proxy.take(exporter(1), &payload);
    assert_eq!(dealt(&mut proxy), [(1, payload)]);
    assert_eq!(proxy.counters.samples_unknown.get(), 1);
}

#[test]
fn without_a_slave_everything_is_counted_as_such() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.health(0, false, false);
    proxy.take(exporter(1), &message(Version::Ipfix, 0, 0, true, 0..5));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::RecordNoSlave), 5);
    proxy.assert_conserved();

    let mut proxy = Proxy::new(Distribution::FlowSource, 1);
    proxy.health(0, false, false);
    proxy.take(exporter(1), &message(Version::Ipfix, 0, 0, true, 0..5));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::DatagramNoSlave), 1);
    proxy.assert_conserved();
}

#[test]
fn a_message_waits_no_longer_than_the_flush_interval() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..1));
    proxy.mediator.flush_due(&mut proxy.io, NOW.plus_ms(49));
    assert_eq!(proxy.watch.take(), []);
    proxy.mediator.flush_due(&mut proxy.io, NOW.plus_ms(50));
    proxy.mediator.settle(&mut proxy.io);
    assert_eq!(proxy.watch.take().len(), 1);
}

#[test]
fn no_packet_exceeds_the_path() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    for payload in stream(Version::Ipfix, &[(24, true); 50]) {
        proxy.take(exporter(1), &payload);
    }
    proxy.mediator.flush_all(&mut proxy.io);
    proxy.mediator.settle(&mut proxy.io);
    let sent = proxy.watch.take();
    assert!(sent.iter().all(|sent| sent.payload.len() <= 1472));
    let full = sent.iter().filter(|sent| sent.payload.len() > 1_200).count();
    assert!(full > 0, "messages are packed full");
}

#[test]
fn what_the_system_refuses_to_send_is_counted() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    proxy.watch.refuse_next(1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..10));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::RecordSend), 10);
    proxy.take(exporter(1), &message(Version::V9, 0, 1, false, 10..15));
    proxy.deliver();
    assert_eq!(proxy.counters.records_delivered.get(), 5);
    assert_eq!(proxy.counters.messages_failed.get(), 1);
    proxy.assert_conserved();

    let mut proxy = Proxy::new(Distribution::FlowSource, 2);
    proxy.watch.refuse_next(1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..10));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::DatagramSend), 1);
    assert_eq!(proxy.counters.datagrams_accepted.get(), 0);
    proxy.assert_conserved();
}

/// A message with one record of template 300: bytes in (element 1) and a string (element 82).
fn long_message(sequence: u32, length: u16) -> Vec<u8> {
    let announced: Vec<u8> =
        [300u16, 2, 1, 4, 82, 65_535].into_iter().flat_map(u16::to_be_bytes).collect();
    let mut sets = set_of(2, &announced);
    let mut body = 77u32.to_be_bytes().to_vec();
    body.push(255);
    be16(&mut body, length);
    body.resize(body.len() + usize::from(length), b'y');
    sets.extend(set_of(300, &body));
    let mut out = Vec::new();
    be16(&mut out, 10);
    be16(&mut out, 16 + sets.len() as u16);
    be32(&mut out, 1_600_000_000);
    be32(&mut out, sequence);
    be32(&mut out, 1);
    out.extend(sets);
    out
}

#[test]
fn a_record_longer_than_the_path_travels_in_fragments_after_its_template() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &long_message(0, 3_000));
    proxy.mediator.flush_all(&mut proxy.io);
    proxy.mediator.settle(&mut proxy.io);
    let mut slave = SlaveEnd::new();
    let sent = proxy.watch.take();
    assert_eq!(sent.iter().map(|s| s.mtu).collect::<Vec<_>>(), [None, Some(1500)]);
    sent.iter().for_each(|s| slave.take(s.source, &s.payload));
    assert_eq!(slave.rows.bytes, [77]);
    assert_eq!(slave.counters.sequence_lost.get(), 0);
}

#[test]
fn a_refused_redefinition_leaves_no_message_that_cannot_be_read() {
    for new_meaning in [false, true] {
        let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
        proxy.take(exporter(1), &ten_records());
        proxy.take(exporter(1), &ipfix(10, &set_of(2, &template_of(256, &[(1, 0)]))));
        if new_meaning {
            proxy.take(exporter(1), &ipfix(10, &set_of(2, &template_of(256, &[(1, 2)]))));
        }
        proxy.health(1, false, false);
        proxy.deliver();
        assert_eq!(proxy.counters.records_delivered.get(), 10);
        proxy.assert_conserved();
    }
}

#[test]
fn templates_of_a_refused_message_are_told_again_before_the_next_record() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &ipfix(0, &set_of(2, &template_of(256, &[(1, 8)]))));
    proxy.watch.refuse_next(1);
    proxy.deliver();
    assert_eq!(proxy.counters.broadcasts_failed.get(), 1);
    proxy.take(exporter(1), &ipfix(0, &set_of(256, &7u64.to_be_bytes().repeat(5))));
    proxy.deliver();
    assert_eq!(proxy.slaves[0].rows.bytes, [7; 5]);
}

#[test]
fn a_faulty_set_without_data_hides_no_loss() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let template = set_of(2, &template_of(256, &[(1, 8)]));
    let sets = [template, set_of(256, &[7; 80]), set_of(7, &[0; 4])].concat();
    proxy.take(exporter(1), &ipfix(0, &sets));
    proxy.take(exporter(1), &ipfix(1_000, &sets));
    assert_eq!(proxy.counters.sequence_lost.get(), 990);
}

#[test]
fn withdrawals_of_what_nobody_knows_cause_no_packet() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 8);
    proxy.take(exporter(1), &ipfix(0, &set_of(3, &[0, 3, 0, 0].repeat(300))));
    proxy.deliver();
    assert_eq!(proxy.counters.messages_sent.get(), 0);
}

#[test]
fn a_packet_leaves_in_one_message_however_many_slaves_there_are() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 8);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..0));
    proxy.deliver();
    let sent = proxy.counters.messages_sent.get();
    proxy.take(exporter(1), &message(Version::V9, 0, 1, false, 0..25));
    proxy.deliver();
    assert_eq!(proxy.counters.messages_sent.get(), sent + 1);
}

#[test]
fn a_template_of_another_id_lets_a_message_go_on() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let record = 7u64.to_be_bytes();
    proxy.take(exporter(1), &ipfix(0, &set_of(2, &template_of(256, &[(1, 8)]))));
    proxy.take(exporter(1), &ipfix(0, &set_of(256, &record)));
    for id in 257..260 {
        let sets = [set_of(2, &template_of(id, &[(1, 8)])), set_of(id, &record)].concat();
        proxy.take(exporter(1), &ipfix(u32::from(id) - 256, &sets));
        // Said again, it changes nothing.
        proxy.take(exporter(1), &ipfix(0, &set_of(2, &template_of(256, &[(1, 8)]))));
    }
    proxy.deliver();
    assert_eq!(proxy.counters.messages_sent.get(), 1);
    assert_eq!(proxy.slaves[0].rows.bytes, [7; 4]);
    proxy.assert_conserved();
}

#[test]
fn a_template_that_changes_back_and_forth_is_read_as_it_was_meant() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 3);
    let mut datagrams = Vec::new();
    for n in 0..40u32 {
        let (length, record) =
            if n % 2 == 0 { (8, vec![0, 0, 0, 0, 0, 0, 0, 8]) } else { (2, vec![0, 2]) };
        let sets = [
            set_of(2, &template_of(256, &[(1, length)])),
            set_of(256, &record.repeat(9)),
            set_of(2, &template_of(300, &[(2, 4), (1, 4)])),
            set_of(300, &[0, 0, 0, 1, 0, 0, 0, 4].repeat(5)),
        ];
        datagrams.push((exporter(1), ipfix(n * 14, &sets.concat())));
    }
    datagrams.iter().for_each(|(source, payload)| proxy.take(*source, payload));
    proxy.health(1, false, false);
    proxy.deliver();
    assert_eq!(proxy.rows(), sorted([&straight(&datagrams).rows].into_iter()));
    proxy.assert_conserved();
}

#[test]
fn records_that_hang_on_no_header_share_a_message_with_those_that_do() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..0));
    // Another uptime: the template goes along under the records' header.
    proxy.take(exporter(1), &message(Version::V9, 7, 1, false, 0..5));
    proxy.deliver();
    assert_eq!(proxy.counters.messages_sent.get(), 1);
    assert_eq!(proxy.slaves[0].rows.rows(), 5);
}

#[test]
fn a_quiet_worker_sends_at_once_and_its_delays_are_known() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.mediator.set_clock(1_000_000);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..1));
    proxy.mediator.flush_idle(&mut proxy.io, NOW.plus_ms(1));
    assert!(proxy.mediator.is_waiting());
    proxy.mediator.flush_idle(&mut proxy.io, NOW.plus_ms(2));
    assert!(!proxy.mediator.is_waiting());
    proxy.mediator.settle(&mut proxy.io);
    proxy.mediator.note_delays(3_000_000);
    let latency = proxy.mediator.latency();
    assert_eq!(latency.len(), 1);
    assert!((1_980_000..2_020_001).contains(&latency.max()), "{}", latency.max());
}

/// Options template 512: scope interface (element 10), option its name (element 82).
fn options_template() -> Vec<u8> {
    set_of(
        3,
        &[512u16, 2, 1, 10, 4, 82, 4].into_iter().flat_map(u16::to_be_bytes).collect::<Vec<_>>(),
    )
}

#[test]
fn data_before_its_template_is_dealt_when_that_comes_under_its_own_header() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    let early = message(Version::V9, 3, 0, false, 0..7);
    let late = message(Version::V9, 40, 1, true, 7..9);
    proxy.take(exporter(1), &early);
    proxy.deliver();
    assert_eq!(proxy.counters.sets_held.get(), 1);
    assert_eq!(proxy.counters.records_decoded.get(), 0);
    proxy.take(exporter(1), &late);
    proxy.deliver();
    assert_eq!(proxy.counters.sets_held.get(), 0);
    assert_eq!(proxy.counters.records_decoded.get(), 9);
    // A collector that had the template from the start sees the same times.
    let announced = message(Version::V9, 0, 0, true, 0..0);
    let straight = straight(&[announced, early, late].map(|payload| (exporter(1), payload)));
    assert_eq!(proxy.rows(), sorted([&straight.rows].into_iter()));
    for slave in &proxy.slaves {
        assert_eq!(slave.counters.discarded(Discard::UnknownTemplate), 0);
        assert_eq!(slave.counters.sequence_lost.get(), 0);
    }
    proxy.assert_conserved();
}

#[test]
fn data_whose_template_never_comes_ends_as_such() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, false, 0..7));
    proxy.mediator.turn(&mut proxy.io, NOW.plus_ms(29_999));
    assert_eq!(proxy.counters.discarded(Discard::UnknownTemplate), 0);
    proxy.mediator.turn(&mut proxy.io, NOW.plus_ms(30_000));
    assert_eq!(proxy.counters.discarded(Discard::UnknownTemplate), 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 1, false, 0..7));
    proxy.mediator.finish(&mut proxy.io);
    assert_eq!(proxy.counters.discarded(Discard::UnknownTemplate), 2);
    assert_eq!(proxy.counters.sets_held.get(), 0);
}

#[test]
fn a_slave_that_returns_is_told_options_data_too() {
    for model in [Distribution::RoundRobin, Distribution::FlowSource] {
        let mut proxy = Proxy::new(model, 1);
        let name = |interface: u32, name: &[u8; 4]| [&interface.to_be_bytes()[..], name].concat();
        let data = [name(1, b"eth0"), name(2, b"eth1"), name(1, b"wan0")].concat();
        proxy.take(exporter(1), &ipfix(0, &[options_template(), set_of(512, &data)].concat()));
        proxy.deliver();
        assert_eq!(proxy.slaves[0].counters.options_decoded.get(), 3);
        proxy.slaves[0] = SlaveEnd::new();
        proxy.health(0, false, false);
        proxy.health(0, true, true);
        proxy.take(exporter(1), &ipfix(3, &set_of(2, &template_of(256, &[(1, 8)]))));
        proxy.deliver();
        let slave = &proxy.slaves[0].counters;
        assert_eq!(slave.options_decoded.get(), 2, "{model:?}: the newest of each interface");
        assert_eq!(slave.discarded(Discard::UnknownTemplate), 0);
        assert_eq!((slave.sequence_lost.get(), slave.sequence_resets.get()), (0, 0), "{model:?}");
        proxy.assert_conserved();
    }
}

#[test]
fn a_proxy_that_starts_anew_forwards_the_first_data_it_sees() {
    for model in [Distribution::RoundRobin, Distribution::FlowSource] {
        let mut proxy = Proxy::new(model, 2);
        proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..3));
        proxy.deliver();
        let remembered = proxy.mediator.remember(256);
        assert_eq!(remembered.len(), 1);
        assert_eq!(proxy.mediator.remember(256), []);
        let mut proxy = Proxy::new(model, 2);
        for session in &remembered {
            proxy.mediator.recall_session(&mut proxy.io, session, NOW);
        }
        proxy.take(exporter(1), &message(Version::V9, 1, 1, false, 3..10));
        proxy.deliver();
        assert_eq!(proxy.slaves.iter().map(|slave| slave.rows.rows()).sum::<usize>(), 7);
        for slave in &proxy.slaves {
            assert_eq!(slave.counters.discarded(Discard::UnknownTemplate), 0);
        }
        proxy.assert_conserved();
    }
}

#[test]
fn a_recalled_session_that_stays_silent_is_told_to_nobody() {
    let mut earlier = Proxy::new(Distribution::RoundRobin, 2);
    earlier.take(exporter(1), &message(Version::V9, 0, 0, true, 0..3));
    let remembered = earlier.mediator.remember(256);
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    for session in &remembered {
        proxy.mediator.recall_session(&mut proxy.io, session, NOW);
    }
    proxy.mediator.health(&mut proxy.io, 1, true, true, NOW);
    proxy.deliver();
    assert_eq!(proxy.counters.messages_sent.get(), 0);
}

#[test]
fn where_many_messages_are_open_a_nearly_full_one_leaves_at_once() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let nearly_full = message(Version::V9, 0, 0, true, 0..43);
    proxy.take(exporter(200), &nearly_full);
    proxy.mediator.settle(&mut proxy.io);
    assert_eq!(proxy.counters.records_in_flight.get(), 43, "it waits for more");
    // More than half of the 256 places.
    for n in 0..130 {
        proxy.take(exporter(n), &message(Version::V9, 0, 0, true, 0..1));
    }
    proxy.take(exporter(201), &nearly_full);
    proxy.mediator.settle(&mut proxy.io);
    assert_eq!(proxy.counters.records_in_flight.get(), 43 + 130);
    assert_eq!(proxy.counters.records_delivered.get(), 43);
    proxy.deliver();
    proxy.assert_conserved();
}
