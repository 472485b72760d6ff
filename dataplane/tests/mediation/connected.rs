//! What comes by connections: messages of any length in, datagrams under the MTU out.

use proptest::prelude::*;
use weir_dataplane::Discard;
use weir_dataplane::connection::{Connection, Verdict};
use weir_dataplane::mediate::Distribution;
use weir_dataplane::session::Transport;

use crate::harness::*;

const MODELS: [Distribution; 2] = [Distribution::RoundRobin, Distribution::FlowSource];

fn connection(n: u8) -> Connection {
    let to = ([198, 51, 100, 1], PORT).into();
    Connection::new(exporter(n), to, Transport::Tcp)
}

impl Proxy {
    fn hear(&mut self, connection: &Connection, payload: &[u8]) {
        self.mediator.message(&mut self.io, connection, payload, NOW);
    }

    fn end(&mut self, connection: &Connection) {
        self.mediator.end(&mut self.io, connection);
    }

    /// Delivers, and checks that every packet fits the slaves' path; returns how many there were.
    fn deliver_under_mtu(&mut self) -> usize {
        self.mediator.flush_all(&mut self.io);
        self.mediator.settle(&mut self.io);
        let sent = self.watch.take();
        for packet in &sent {
            assert!(packet.payload.len() <= 1_500 - 28, "{} bytes", packet.payload.len());
            let std::net::IpAddr::V4(to) = packet.to.ip() else { panic!("IPv4") };
            let slave = usize::from(to.octets()[3]) - 1;
            self.slaves[slave].take(packet.source, &packet.payload);
        }
        sent.len()
    }

    fn assert_slaves_read_all(&self) {
        for slave in &self.slaves {
            assert_eq!(slave.counters.sequence_lost.get(), 0);
            assert_eq!(slave.counters.discarded(Discard::UnknownTemplate), 0);
            assert_eq!(slave.counters.sets_held.get(), 0);
        }
        self.assert_conserved();
    }
}

#[test]
fn the_longest_message_leaves_in_packets_under_the_mtu_and_nothing_is_lost() {
    for model in MODELS {
        let mut proxy = Proxy::new(model, 3);
        let connection = connection(1);
        let mut long = message(Version::Ipfix, 0, 0, true, 0..900);
        assert!(long.len() > 50_000);
        // Padding to the very end of what a message can be.
        let padding = 65_535 - long.len();
        long.extend(set_of(256, &[]));
        long.extend(set_of(2, &vec![0; padding - 8]));
        let length = long.len() as u16;
        long[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(length, 65_535);
        proxy.hear(&connection, &long);
        let packets = proxy.deliver_under_mtu();
        assert!((36..70).contains(&packets), "{packets} packets");
        assert_eq!(proxy.rows(), sorted([&straight(&[(exporter(1), long)]).rows].into_iter()));
        proxy.assert_slaves_read_all();
    }
}

#[test]
fn under_flow_source_one_slave_gets_all_of_a_connection_and_its_templates_when_it_moves() {
    let mut proxy = Proxy::new(Distribution::FlowSource, 3);
    let connection = connection(1);
    proxy.hear(&connection, &message(Version::Ipfix, 0, 0, true, 0..100));
    proxy.deliver_under_mtu();
    let owner = proxy.slaves.iter().position(|slave| slave.rows.rows() > 0).unwrap();
    assert_eq!(proxy.slaves[owner].rows.rows(), 100);
    // What is open for it when it goes is dealt to the one that inherits.
    proxy.hear(&connection, &message(Version::Ipfix, 0, 100, false, 100..110));
    proxy.health(owner as u16, false, false);
    proxy.hear(&connection, &message(Version::Ipfix, 0, 110, false, 110..200));
    proxy.deliver_under_mtu();
    let heirs: Vec<_> = proxy.slaves.iter().filter(|slave| slave.rows.rows() > 0).collect();
    assert_eq!(heirs.len(), 2);
    assert_eq!(proxy.rows().len(), 200);
    proxy.assert_slaves_read_all();
    proxy.health(owner as u16, true, true);
    proxy.hear(&connection, &message(Version::Ipfix, 0, 200, false, 200..300));
    proxy.deliver_under_mtu();
    assert!(proxy.slaves[owner].rows.rows() >= 200);
    assert_eq!(proxy.rows().len(), 300);
}

#[test]
fn templates_end_with_their_connection() {
    for model in MODELS {
        let mut proxy = Proxy::new(model, 2);
        let (first, again) = (connection(1), connection(1));
        proxy.hear(&first, &message(Version::Ipfix, 0, 0, true, 0..10));
        proxy.end(&first);
        proxy.hear(&again, &message(Version::Ipfix, 0, 0, false, 10..20));
        assert_eq!(proxy.counters.sets_held.get(), 0, "counted once a burst");
        proxy.deliver_under_mtu();
        assert_eq!(proxy.counters.sets_held.get(), 1);
        proxy.end(&again);
        assert_eq!(proxy.counters.discarded(Discard::UnknownTemplate), 1);
        assert_eq!(proxy.rows().len(), 10);
        assert_eq!(proxy.mediator.sessions().count(), 0);
        proxy.assert_conserved();
    }
}

#[test]
fn a_connection_and_datagrams_from_one_port_share_no_template() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    proxy.take(exporter(1), &message(Version::Ipfix, 0, 0, true, 0..10));
    proxy.hear(&connection(1), &message(Version::Ipfix, 0, 0, false, 10..20));
    proxy.deliver();
    assert_eq!(proxy.counters.sets_held.get(), 1);
    assert_eq!(proxy.mediator.sessions().count(), 2);
}

#[test]
fn slaves_are_sent_no_withdrawal_and_read_the_id_anew() {
    for model in MODELS {
        let mut proxy = Proxy::new(model, 2);
        let connection = connection(1);
        let withdrawal = set_of(2, &[1, 0, 0, 0]);
        let message = |sequence, sets: &[Vec<u8>]| ipfix(sequence, &sets.concat());
        let first = set_of(2, &template_of(256, &[(1, 8)]));
        proxy.hear(&connection, &message(0, &[first, set_of(256, &[7; 16])]));
        proxy.deliver_under_mtu();
        proxy.hear(&connection, &message(2, &[withdrawal]));
        assert_eq!(proxy.deliver_under_mtu(), 0);
        let second = set_of(2, &template_of(256, &[(2, 4)]));
        proxy.hear(&connection, &message(2, &[second, set_of(256, &[0, 0, 0, 9])]));
        proxy.deliver_under_mtu();
        assert_eq!(connection.misuses.load(std::sync::atomic::Ordering::Relaxed), 0);
        let packets: u64 = proxy.slaves.iter().flat_map(|slave| &slave.rows.packets).sum();
        assert_eq!((proxy.rows().len(), packets), (3, 9));
        proxy.assert_slaves_read_all();
    }
}

#[test]
fn an_id_redefined_without_a_withdrawal_and_a_withdrawal_of_nothing_are_noted() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let connection = connection(1);
    let define = |field| set_of(2, &template_of(256, &[field]));
    let withdrawal = set_of(2, &[1, 1, 0, 0]);
    let sets = [define((1, 8)), define((2, 4)), define((2, 4)), withdrawal].concat();
    proxy.hear(&connection, &ipfix(0, &sets));
    assert_eq!(connection.misuses.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn an_exporter_of_nonsense_is_to_be_closed() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let connection = connection(1);
    let cut = set_of(2, &[1, 0, 0, 9, 0, 1]);
    for sequence in 0..3 {
        assert_eq!(connection.verdict(), Verdict::Fine);
        proxy.hear(&connection, &ipfix(sequence, &cut));
    }
    assert_eq!(connection.verdict(), Verdict::Malformed);
    proxy.assert_conserved();
}

#[test]
fn a_record_that_no_datagram_can_carry_is_counted() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let connection = connection(1);
    let template = set_of(2, &template_of(256, &[(82, 65_535)]));
    proxy.hear(&connection, &ipfix(0, &template));
    for (length, sent) in [(65_484u16, 1), (65_485, 0)] {
        let mut record = vec![255];
        record.extend(length.to_be_bytes());
        record.resize(3 + usize::from(length), b'x');
        proxy.hear(&connection, &ipfix(0, &set_of(256, &record)));
        let before = proxy.rows().len();
        proxy.deliver();
        assert_eq!(proxy.rows().len() - before, sent, "{length} bytes");
    }
    assert_eq!(proxy.counters.discarded(Discard::RecordTooLong), 1);
    proxy.assert_conserved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slaves_together_collect_what_one_collector_would_of_connections(
        counts in prop::collection::vec((0u8..4, 0u32..400), 1..20), slaves in 1u8..5,
        flow_source in any::<bool>(), every in 1usize..9,
    ) {
        let model = MODELS[usize::from(flow_source)];
        let mut proxy = Proxy::new(model, slaves);
        let connections: Vec<_> = (0..4).map(connection).collect();
        let (mut sent, mut all) = ([0u32; 4], Vec::new());
        for (at, &(n, count)) in counts.iter().enumerate() {
            let from = sent[usize::from(n)];
            let payload = message(Version::Ipfix, 0, from, from == 0, from..from + count);
            // A first message without records announces the template again with the next.
            sent[usize::from(n)] += count;
            proxy.hear(&connections[usize::from(n)], &payload);
            all.push((exporter(n), payload));
            if at % every == 0 {
                proxy.deliver_under_mtu();
            }
        }
        proxy.deliver_under_mtu();
        prop_assert_eq!(proxy.rows(), sorted([&straight(&all).rows].into_iter()));
        proxy.assert_slaves_read_all();
    }
}
