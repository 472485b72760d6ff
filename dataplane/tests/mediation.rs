//! Mediation against collecting: what slaves collect behind a proxy is what a collector would have
//! got straight from the exporters, record for record.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::bounded;
use proptest::prelude::*;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::{Counters, Unit};
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::io::Transmit;
use weir_dataplane::io::memory::{MemoryTransmit, Watch};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Discard, Timestamp};
use weir_store::Batch;

const PORT: u16 = 2055;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn exporter(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 50_000 + u16::from(n)))
}

fn slave_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// A proxy on the memory backend, with a collector for each slave.
struct Proxy {
    mediator: Mediator<<MemoryTransmit as Transmit>::Frame>,
    io: MemoryTransmit,
    watch: Watch,
    counters: Arc<Counters>,
    slaves: Vec<SlaveEnd>,
}

struct SlaveEnd {
    collector: Collector,
    counters: Arc<Counters>,
    rows: Batch,
}

impl SlaveEnd {
    fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 65_536,
        };
        let collector = Collector::new(config, Arc::clone(&counters));
        SlaveEnd { collector, counters, rows: Batch::default() }
    }

    fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([10, 0, 0, 1], PORT));
        self.collector.datagram(&Datagram { source, destination, payload }, NOW);
        if let Some(batch) = self.collector.take_batch() {
            self.rows.append(&batch);
        }
    }
}

impl Proxy {
    fn new(distribution: Distribution, slaves: u8) -> Self {
        let counters = Arc::new(Counters::default());
        let slave = |n| SlaveConfig {
            identity: IpAddr::V4(slave_address(n)),
            path: Path { v4: Some(slave_address(n)), v6: None, mtu: 1500 },
            weight: 1,
        };
        let configuration = Configuration {
            slaves: (1..=slaves).map(|n| Some(slave(n))).collect(),
            ..Configuration::default()
        };
        let config = MediatorConfig {
            distribution,
            configuration: Arc::new(configuration),
            port_offset: 30_000,
            sessions: SessionLimits::default(),
            flush_ms: 50,
            messages: 256,
        };
        let (io, watch) = MemoryTransmit::new(256);
        let (news, _) = bounded(16);
        let mediator = Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), news);
        let slave_ends = (0..slaves).map(|_| SlaveEnd::new()).collect();
        let mut proxy = Proxy { mediator, io, watch, counters, slaves: slave_ends };
        (0..u16::from(slaves)).for_each(|slave| proxy.health(slave, true, true));
        proxy
    }

    fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([198, 51, 100, 1], PORT));
        self.mediator.datagram(&mut self.io, &Datagram { source, destination, payload }, NOW);
    }

    fn health(&mut self, slave: u16, healthy: bool, greet: bool) {
        self.mediator.health(&mut self.io, slave, healthy, greet, NOW);
    }

    /// Closes what is open and lets the slaves collect what was sent.
    fn deliver(&mut self) {
        self.mediator.flush_all(&mut self.io);
        self.mediator.settle(&mut self.io);
        for sent in self.watch.take() {
            assert_eq!(sent.to.port(), PORT + 30_000);
            let IpAddr::V4(to) = sent.to.ip() else { panic!("slaves have IPv4 addresses") };
            let slave = usize::from(to.octets()[3]) - 1;
            self.slaves[slave].take(sent.source, &sent.payload);
        }
    }

    /// The rows of all slaves, in an order that doesn't depend on the dealing.
    fn rows(&self) -> Vec<String> {
        sorted(self.slaves.iter().map(|slave| &slave.rows))
    }

    fn assert_conserved(&self) {
        let c = &self.counters;
        assert_eq!(
            c.datagrams_received.get(),
            c.datagrams_accepted.get() + c.discarded_total(Unit::Datagram)
        );
        assert_eq!(
            c.records_decoded.get(),
            c.records_delivered.get() + c.records_in_flight.get() + c.discarded_total(Unit::Record)
        );
    }
}

fn sorted<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<String> {
    let mut rows: Vec<String> = batches
        .flat_map(|b| {
            (0..b.rows()).map(|i| {
                format!(
                    "{:?} {}:{} > {}:{} {} {} {} {} {} {}",
                    b.exporter[i],
                    b.source_address[i],
                    b.source_port[i],
                    b.destination_address[i],
                    b.destination_port[i],
                    b.protocol[i],
                    b.packets[i],
                    b.bytes[i],
                    b.first_ms[i],
                    b.last_ms[i],
                    b.observation_domain[i],
                )
            })
        })
        .collect();
    rows.sort();
    rows
}

/// What a collector gets from the same datagrams without a proxy.
fn straight(datagrams: &[(SocketAddr, Vec<u8>)]) -> SlaveEnd {
    let mut end = SlaveEnd::new();
    for (source, payload) in datagrams {
        end.take(*source, payload);
    }
    end
}

/// Writes messages as an exporter would.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    V5,
    V9,
    Ipfix,
}

fn be16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

fn be32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_be_bytes());
}

/// Template 256: source, destination, ports, protocol, packets, bytes and, for v9, uptimes, for
/// IPFIX absolute times and a string of variable length.
fn template(version: Version) -> Vec<u8> {
    let times: &[(u16, u16)] = match version {
        Version::Ipfix => &[(152, 8), (153, 8), (82, 65_535)],
        _ => &[(22, 4), (21, 4)],
    };
    let fields = [&[(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4)], times].concat();
    let mut out = Vec::new();
    be16(&mut out, 256);
    be16(&mut out, fields.len() as u16);
    for (element, length) in fields {
        be16(&mut out, element);
        be16(&mut out, length);
    }
    out
}

fn record(version: Version, n: u32) -> Vec<u8> {
    let mut out = Vec::new();
    if version == Version::V5 {
        be32(&mut out, 0x0a00_0000 + n);
        be32(&mut out, 0x0b00_0000 + n);
        be32(&mut out, 0);
        be32(&mut out, 0x0001_0002);
        be32(&mut out, n % 7 + 1);
        be32(&mut out, n * 100);
        be32(&mut out, 1_000 + n);
        be32(&mut out, 2_000 + n);
        be16(&mut out, 1024);
        be16(&mut out, 443);
        out.extend([0, 0x1b, 6, 0]);
        out.extend([0; 8]);
        return out;
    }
    be32(&mut out, 0x0a00_0000 + n);
    be32(&mut out, 0x0b00_0000 + n);
    be16(&mut out, 1024);
    be16(&mut out, 443);
    out.push(6);
    be32(&mut out, n % 7 + 1);
    be32(&mut out, n * 100);
    if version == Version::Ipfix {
        out.extend((1_600_000_000_000u64 + u64::from(n)).to_be_bytes());
        out.extend((1_600_000_001_000u64 + u64::from(n)).to_be_bytes());
        let name = vec![b'x'; n as usize % 40];
        out.push(name.len() as u8);
        out.extend(name);
    } else {
        be32(&mut out, 1_000 + n);
        be32(&mut out, 2_000 + n);
    }
    out
}

fn set_of(id: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    be16(&mut out, id);
    be16(&mut out, body.len() as u16 + 4);
    out.extend(body);
    out
}

/// A message of `records`, the template before them when `announce`.
fn message(
    version: Version,
    seconds: u32,
    sequence: u32,
    announce: bool,
    records: std::ops::Range<u32>,
) -> Vec<u8> {
    let count = records.len() as u16;
    let body: Vec<u8> = records.flat_map(|n| record(version, n)).collect();
    let mut out = Vec::new();
    if version == Version::V5 {
        be16(&mut out, 5);
        be16(&mut out, count);
        be32(&mut out, 100_000 + seconds);
        be32(&mut out, 1_600_000_000 + seconds);
        be32(&mut out, 0);
        be32(&mut out, sequence);
        out.extend([0, 3, 0, 0]);
        out.extend(body);
        return out;
    }
    let mut sets = Vec::new();
    if announce {
        let id = if version == Version::V9 { 0 } else { 2 };
        sets.extend(set_of(id, &template(version)));
    }
    if count > 0 {
        sets.extend(set_of(256, &body));
    }
    if version == Version::V9 {
        be16(&mut out, 9);
        be16(&mut out, count + u16::from(announce));
        be32(&mut out, 100_000 + seconds * 999);
    } else {
        be16(&mut out, 10);
        be16(&mut out, 16 + sets.len() as u16);
    }
    be32(&mut out, 1_600_000_000 + seconds);
    be32(&mut out, sequence);
    be32(&mut out, 77);
    out.extend(sets);
    out
}

/// An exporter's whole stream, its sequence numbers right.
fn stream(version: Version, messages: &[(u8, bool)]) -> Vec<Vec<u8>> {
    let (mut sequence, mut n) = (500u32, 0u32);
    let mut out = Vec::new();
    for (at, &(count, announce)) in messages.iter().enumerate() {
        let count = u32::from(count % 25) + u32::from(version == Version::V5);
        let payload = message(version, at as u32 / 3, sequence, announce || at == 0, n..n + count);
        sequence += if version == Version::V9 { 1 } else { count };
        n += count;
        out.push(payload);
    }
    out
}

fn streams() -> impl Strategy<Value = Vec<(SocketAddr, Vec<u8>)>> {
    let one = (
        prop_oneof![Just(Version::V5), Just(Version::V9), Just(Version::Ipfix)],
        prop::collection::vec((any::<u8>(), any::<bool>()), 1..12),
    );
    prop::collection::vec(one, 1..5).prop_map(|exporters| {
        let streams: Vec<_> = exporters.iter().map(|(v, m)| stream(*v, m)).collect();
        let longest = streams.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = Vec::new();
        for at in 0..longest {
            for (n, stream) in (1u8..).zip(&streams) {
                out.extend(stream.get(at).map(|payload| (exporter(n), payload.clone())));
            }
        }
        out
    })
}

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
            (any::<u8>(), prop_oneof![Just(5u8), Just(9), Just(10), any::<u8>()],
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
fn round_robin_gives_every_slave_its_share() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 4);
    for (source, payload) in
        stream(Version::V9, &[(24, true); 10]).iter().map(|payload| (exporter(1), payload))
    {
        proxy.take(source, payload);
    }
    proxy.deliver();
    let shares: Vec<_> = proxy.slaves.iter().map(|slave| slave.rows.rows()).collect();
    assert_eq!(shares, [60, 60, 60, 60]);
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
    assert_eq!(proxy.counters.discarded(Discard::RecordSend), 5);
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

/// A template record of these fields.
fn template_of(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let words = [id, fields.len() as u16];
    let fields = fields.iter().flat_map(|&(element, length)| [element, length]);
    words.into_iter().chain(fields).flat_map(u16::to_be_bytes).collect()
}

fn ipfix(sequence: u32, sets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    be16(&mut out, 10);
    be16(&mut out, 16 + sets.len() as u16);
    be32(&mut out, 1_600_000_000);
    be32(&mut out, sequence);
    be32(&mut out, 1);
    out.extend(sets);
    out
}

/// Ten records of eight bytes after their template.
fn ten_records() -> Vec<u8> {
    let records = 7u64.to_be_bytes().repeat(10);
    ipfix(0, &[set_of(2, &template_of(256, &[(1, 8)])), set_of(256, &records)].concat())
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
