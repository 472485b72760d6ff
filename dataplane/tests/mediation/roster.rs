//! Slaves that come, go, return and change while records are on their way.

use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use weir_dataplane::Discard;
use weir_dataplane::mediate::Distribution;

use crate::harness::*;

/// One of very many exporters.
fn many(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0xc633_0000 + n), 2_000))
}

#[test]
fn a_returning_slave_gets_the_templates_before_the_first_record() {
    for model in [Distribution::RoundRobin, Distribution::FlowSource] {
        let mut proxy = Proxy::new(model, 2);
        proxy.health(0, false, false);
        proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..3));
        proxy.deliver();
        proxy.health(0, true, true);
        proxy.health(1, false, false);
        proxy.take(exporter(1), &message(Version::V9, 1, 1, false, 3..10));
        proxy.deliver();
        assert_eq!(proxy.slaves[0].rows.rows(), 7, "{model:?}");
        assert_eq!(proxy.slaves[0].counters.discarded(Discard::UnknownTemplate), 0);
        assert_eq!(proxy.slaves[0].counters.sequence_lost.get(), 0);
        proxy.assert_conserved();
    }
}

#[test]
fn a_source_that_moves_brings_its_slave_no_false_gap() {
    let mut proxy = Proxy::new(Distribution::FlowSource, 2);
    let unread = set_of(999, &[1; 8]);
    let sets = [set_of(2, &template_of(256, &[(1, 8)])), unread].concat();
    proxy.take(exporter(1), &ipfix(5_000_000, &sets));
    proxy.deliver();
    let first = u16::from(proxy.slaves[0].counters.datagrams_received.get() == 0);
    proxy.health(first, false, false);
    proxy.take(exporter(1), &ipfix(5_000_002, &set_of(256, &[7; 80])));
    proxy.deliver();
    let other = &proxy.slaves[usize::from(1 - first)];
    assert_eq!(other.rows.rows(), 10);
    assert_eq!(other.counters.sequence_lost.get(), 0);
    assert_eq!(other.counters.sequence_resets.get(), 0);
}

#[test]
fn templates_of_many_messages_end_right_before_the_exporters_next() {
    for v9 in [true, false] {
        let mut proxy = Proxy::new(Distribution::FlowSource, 2);
        // A hundred templates of 33 fields: some 14 kB.
        let fields: Vec<(u16, u16)> = (0..33).map(|_| (1, 4)).collect();
        for id in 0..100 {
            let set = set_of(if v9 { 0 } else { 2 }, &template_of(300 + id, &fields));
            let payload =
                if v9 { netflow9(7_000 + u32::from(id), &set) } else { ipfix(7_000, &set) };
            proxy.take(exporter(1), &payload);
        }
        proxy.deliver();
        let first = u16::from(proxy.slaves[0].counters.datagrams_received.get() == 0);
        proxy.health(first, false, false);
        let data = set_of(399, &[7; 132 * 3]);
        let payload = if v9 { netflow9(7_100, &data) } else { ipfix(7_000, &data) };
        proxy.take(exporter(1), &payload);
        proxy.deliver();
        let other = &proxy.slaves[usize::from(1 - first)];
        assert!(other.counters.datagrams_received.get() > 5);
        assert_eq!(other.rows.rows(), 3);
        assert_eq!(other.counters.sequence_lost.get(), 0);
        assert_eq!(other.counters.sequence_resets.get(), 0);
        proxy.assert_conserved();
    }
}

#[test]
fn a_silent_source_of_a_slave_that_lost_its_memory_is_told_before_its_next_record() {
    let mut proxy = Proxy::new(Distribution::FlowSource, 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..3));
    proxy.deliver();
    proxy.slaves[0] = SlaveEnd::new();
    proxy.health(0, true, true);
    proxy.take(exporter(1), &message(Version::V9, 1, 1, false, 3..10));
    proxy.deliver();
    assert_eq!(proxy.slaves[0].rows.rows(), 7);
    assert_eq!(proxy.slaves[0].counters.sequence_lost.get(), 0);
    proxy.assert_conserved();
}

#[test]
fn a_slave_is_greeted_step_by_step_and_gets_no_record_before_its_template() {
    const SESSIONS: u32 = 1_000;
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    proxy.health(1, false, false);
    for n in 0..SESSIONS {
        proxy.take(many(n), &message(Version::V9, 0, 0, true, 0..1));
    }
    proxy.deliver();
    proxy.health(1, true, true);
    proxy.deliver();
    let told = proxy.slaves[1].counters.templates_received.get();
    assert!(told < u64::from(SESSIONS), "{told} told at once");
    let mut turns = 0;
    while proxy.mediator.turn(&mut proxy.io, NOW) {
        // New ones, changed ones and old ones go on meanwhile.
        for n in (0..SESSIONS).step_by(10).chain([SESSIONS + turns]) {
            let announces = n % 20 == 0 || n >= SESSIONS;
            proxy.take(many(n), &message(Version::V9, turns + 1, turns + 1, announces, 1..3));
        }
        proxy.deliver();
        turns += 1;
    }
    assert_eq!(proxy.slaves[1].rows.rows(), 0);
    for n in 0..SESSIONS + turns {
        proxy.take(many(n), &message(Version::V9, 9, 9, false, 10..20));
    }
    proxy.deliver();
    assert!(proxy.slaves[1].rows.rows() > 4_000);
    assert_eq!(proxy.slaves[1].counters.discarded(Discard::UnknownTemplate), 0);
    proxy.assert_conserved();
}

#[test]
fn a_slave_that_is_removed_loses_nothing_and_its_slot_serves_another() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 3);
    let payloads = stream(Version::V9, &[(20, true); 30]);
    let (first, rest) = payloads.split_at(10);
    let (second, third) = rest.split_at(10);
    let take = |proxy: &mut Proxy, payloads: &[Vec<u8>]| {
        payloads.iter().for_each(|payload| proxy.take(exporter(1), payload));
    };
    take(&mut proxy, first);
    let mut configured = configuration(&[1, 1, 1]);
    configured.slaves[1] = None;
    proxy.mediator.configure(&mut proxy.io, &configured, NOW);
    take(&mut proxy, second);
    configured.slaves[1] = configuration(&[1, 1, 1, 1]).slaves[3];
    proxy.slaves.push(SlaveEnd::new());
    proxy.mediator.configure(&mut proxy.io, &configured, NOW);
    proxy.health(1, true, true);
    take(&mut proxy, third);
    proxy.deliver();
    let all: Vec<_> = payloads.iter().map(|payload| (exporter(1), payload.clone())).collect();
    assert_eq!(proxy.rows(), sorted([&straight(&all).rows].into_iter()));
    let newcomer = &proxy.slaves[3];
    assert!(newcomer.rows.rows() > 20);
    assert_eq!(newcomer.counters.discarded(Discard::UnknownTemplate), 0);
    assert_eq!(newcomer.counters.sequence_lost.get(), 0);
    proxy.assert_conserved();
}

#[test]
fn a_drained_slave_gets_templates_and_no_more_records() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..10));
    proxy.mediator.configure(&mut proxy.io, &configuration(&[0, 1]), NOW);
    proxy.deliver();
    let before = proxy.slaves[0].rows.rows();
    proxy.take(exporter(1), &message(Version::V9, 1, 1, true, 10..60));
    proxy.deliver();
    assert_eq!(proxy.slaves[0].rows.rows(), before);
    assert_eq!(proxy.slaves[0].counters.templates_received.get(), 2);
    assert_eq!(proxy.slaves[1].rows.rows() + before, 60);
    proxy.assert_conserved();
}

#[test]
fn weights_are_shares() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    proxy.mediator.configure(&mut proxy.io, &configuration(&[1, 3]), NOW);
    for payload in stream(Version::V9, &[(24, true); 100]) {
        proxy.take(exporter(1), &payload);
    }
    proxy.deliver();
    let shares = [0, 1].map(|slave: usize| proxy.slaves[slave].rows.rows());
    assert!(shares[0].abs_diff(600) <= 49 && shares[1].abs_diff(1_800) <= 49, "{shares:?}");
}

#[test]
fn a_shorter_path_is_kept_to_from_the_next_message_on() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..30));
    let mut configured = configuration(&[1]);
    configured.slaves[0].as_mut().unwrap().path.mtu = 600;
    proxy.mediator.configure(&mut proxy.io, &configured, NOW);
    proxy.mediator.settle(&mut proxy.io);
    proxy.watch.take();
    proxy.take(exporter(1), &message(Version::V9, 0, 1, false, 30..60));
    proxy.mediator.flush_all(&mut proxy.io);
    let sent = proxy.watch.take();
    assert!(sent.len() > 1 && sent.iter().all(|sent| sent.payload.len() <= 572));
}

#[test]
fn a_source_whose_templates_could_not_be_handed_on_is_told_them_again() {
    let mut proxy = Proxy::new(Distribution::FlowSource, 1);
    proxy.watch.refuse_next(1);
    proxy.take(exporter(1), &message(Version::V9, 0, 0, true, 0..3));
    proxy.deliver();
    proxy.take(exporter(1), &message(Version::V9, 1, 1, false, 3..10));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::DatagramSend), 1);
    assert_eq!(proxy.slaves[0].rows.rows(), 7);
    assert_eq!(proxy.slaves[0].counters.sets_held.get(), 0);
    proxy.assert_conserved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_slaves_do_records_are_conserved(
        datagrams in streams(),
        events in prop::collection::vec((0u16..4, 0u8..6, any::<u8>()), 0..20),
        flow_source in any::<bool>(),
    ) {
        let model = if flow_source { Distribution::FlowSource } else { Distribution::RoundRobin };
        let mut proxy = Proxy::new(model, 4);
        let mut weights = [1u16; 4];
        let mut events = events.into_iter();
        for (at, (source, payload)) in datagrams.iter().enumerate() {
            proxy.take(*source, payload);
            if at % 2 == 0 && let Some((slave, event, number)) = events.next() {
                let place = usize::from(slave);
                match event {
                    0 => proxy.health(slave, false, false),
                    1 | 2 => proxy.health(slave, true, event == 1),
                    3 => weights[place] = u16::from(number % 3),
                    4 => proxy.watch.refuse_next(usize::from(number % 2)),
                    _ => proxy.deliver(),
                }
                let mut configured = configuration(&weights);
                if event == 3 && number > 200 {
                    configured.slaves[place] = None;
                }
                proxy.mediator.configure(&mut proxy.io, &configured, NOW);
            }
        }
        proxy.deliver();
        proxy.assert_conserved();
    }
}
