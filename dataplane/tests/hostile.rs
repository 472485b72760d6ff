//! Whatever bytes come: no panic, every datagram in exactly one counter, and bounded work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::connection::Connection;
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::{SessionLimits, Transport};
use weir_dataplane::{Counters, Discard, Timestamp};

struct Lab {
    collector: Collector,
    counters: Arc<Counters>,
}

impl Lab {
    fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let sessions = SessionLimits {
            sessions: 4,
            templates_per_session: 8,
            template_bytes: 1 << 20,
            established_datagrams: 2,
            established_ms: 0,
            idle_ms: 10,
            ..SessionLimits::default()
        };
        let config = CollectorConfig { sessions, hold: HoldLimits::default(), batch_rows: 64 };
        Lab { collector: Collector::new(config, Arc::clone(&counters)), counters }
    }

    /// Sends a datagram from an exporter with this port.
    fn send(&mut self, port: u16, payload: &[u8], now: u64) {
        let datagram = Datagram {
            source: SocketAddr::from(([192, 0, 2, 1], port)),
            destination: SocketAddr::from(([192, 0, 2, 2], 2055)),
            payload,
        };
        self.collector.datagram(&datagram, Timestamp(now));
    }

    /// The invariants that hold whatever came; returns the rows.
    fn check(mut self) -> u64 {
        let counters = &self.counters;
        let ended = counters.datagrams_accepted.get() + counters.discarded_total(Unit::Datagram);
        assert_eq!(counters.datagrams_received.get(), ended);
        assert_eq!(counters.discarded_total(Unit::Record), 0);
        let rows = self.collector.take_batch().map_or(0, |batch| batch.rows() as u64);
        assert_eq!(counters.records_decoded.get(), rows);
        assert!(self.collector.sessions().len() <= 4);
        for (_, session) in self.collector.sessions().iter() {
            assert!(session.templates.len() <= 8);
        }
        rows
    }
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut set = id.to_be_bytes().to_vec();
    set.extend((4 + body.len() as u16).to_be_bytes());
    set.extend(body);
    set
}

/// A message of this version around these sets.
fn message(version: u16, sets: &[u8]) -> Vec<u8> {
    let mut message = version.to_be_bytes().to_vec();
    match version {
        10 => message.extend((16 + sets.len() as u16).to_be_bytes()),
        _ => message.extend([0, 1, 0, 0, 0, 9]),
    }
    message.extend([0x65, 0x53, 0xf1, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    message.extend(sets);
    message
}

/// Elements that the collector knows, and some that it does not.
fn field() -> impl Strategy<Value = (u16, u16)> {
    let element = prop_oneof![0u16..400, any::<u16>()];
    let length = prop_oneof![6 => 0u16..20, 1 => Just(u16::MAX), 1 => any::<u16>()];
    (element, length)
}

/// Messages with templates, options templates and data that mostly belong together.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let template = (256u16..260, vec(field(), 0..12)).prop_map(|(id, fields)| {
        let mut body = id.to_be_bytes().to_vec();
        body.extend((fields.len() as u16).to_be_bytes());
        for (element, length) in fields {
            body.extend([element.to_be_bytes(), length.to_be_bytes()].concat());
        }
        body
    });
    let data = (256u16..260, vec(any::<u8>(), 0..200));
    let id = prop_oneof![Just(0u16), Just(1), Just(2), Just(3)];
    let templates = (id, template).prop_map(|(id, body)| set(id, &body));
    let data = data.prop_map(|(id, body)| set(id, &body));
    let sets = vec(prop_oneof![templates, data], 0..8).prop_map(|sets| sets.concat());
    let version = prop_oneof![Just(9u16), Just(10)];
    (version, sets).prop_map(|(version, sets)| message(version, &sets))
}

/// A v5 packet of so many records.
fn netflow5() -> impl Strategy<Value = Vec<u8>> {
    (0u8..40, vec(any::<u8>(), 22 + 48 * 3)).prop_map(|(count, mut packet)| {
        packet.splice(0..2, [0, 5, 0, count]);
        packet
    })
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![Just(5u8), Just(9), Just(10), any::<u8>()];
    let noise = (version, vec(any::<u8>(), 0..300)).prop_map(|(version, mut bytes)| {
        bytes.splice(0..0, [0, version]);
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..40), noise, netflow5(), plausible()]
}

proptest! {
    #[test]
    fn arbitrary_datagrams_end_in_one_counter_each(
        datagrams in vec((50_000u16..50_006, any_payload(), 0u64..30), 1..30)
    ) {
        let mut lab = Lab::new();
        let mut now = 0;
        for (port, payload, later) in &datagrams {
            now += later;
            lab.send(*port, payload, now);
        }
        prop_assert_eq!(lab.counters.datagrams_received.get(), datagrams.len() as u64);
        lab.check();
    }

    #[test]
    fn a_mutated_message_harms_nobody(
        messages in vec(plausible(), 1..6),
        changes in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..10),
        cut in any::<Index>(),
    ) {
        let mut messages = messages;
        for (which, byte, value) in changes {
            let message = which.get_mut(&mut messages);
            *byte.get_mut(message) = value;
        }
        let mut lab = Lab::new();
        for message in &messages {
            lab.send(50_000, message, 1);
        }
        let last = messages.last().unwrap();
        lab.send(50_000, &last[..cut.index(last.len())], 1);
        lab.check();
    }

    #[test]
    fn records_of_a_known_template_are_all_rows(
        specifiers in vec((1u16..400, 1u16..9), 1..20),
        count in 0usize..20,
    ) {
        let length: usize = specifiers.iter().map(|(_, length)| usize::from(*length)).sum();
        let mut template = vec![1, 0, 0, specifiers.len() as u8];
        for (element, length) in &specifiers {
            template.extend([element.to_be_bytes(), length.to_be_bytes()].concat());
        }
        let sets = [set(2, &template), set(256, &vec![7; length * count])].concat();
        let mut lab = Lab::new();
        lab.send(50_000, &message(10, &sets), 1);
        prop_assert_eq!(lab.check(), count as u64);
    }
}

#[test]
fn every_truncation_of_a_message_is_survived() {
    let template = [1, 0, 0, 2, 0, 82, 255, 255, 0, 1, 0, 4];
    let data = [2, 9, 9, 0, 0, 0, 1, 0, 0, 0, 0, 2];
    for version in [9, 10] {
        let sets = [set(if version == 10 { 2 } else { 0 }, &template), set(256, &data)].concat();
        let whole = message(version, &sets);
        for length in 0..=whole.len() {
            let mut lab = Lab::new();
            let mut bytes = whole[..length].to_vec();
            if version == 10 && length >= 4 {
                bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            }
            lab.send(50_000, &bytes, 1);
            let rows = lab.check();
            assert_eq!(rows, if length == whole.len() { 2 } else { 0 });
        }
    }
}

#[test]
fn a_new_template_in_every_datagram_stays_within_its_bounds() {
    let mut lab = Lab::new();
    for id in 256..=u16::MAX {
        let mut template = id.to_be_bytes().to_vec();
        template.extend([0, 1, 0, 1, 0, 4]);
        lab.send(50_000, &message(9, &set(0, &template)), 1);
    }
    let full = lab.counters.discarded(Discard::TemplateTableFull);
    assert_eq!(full, u64::from(u16::MAX) - 255 - 8);
    lab.check();
}

#[test]
fn a_sweep_of_sources_takes_no_session_from_one_in_use() {
    let mut lab = Lab::new();
    let template = set(0, &[1, 0, 0, 1, 0, 4, 0, 1]);
    lab.send(1, &message(9, &template), 0);
    lab.send(1, &message(9, &template), 0);
    for now in 0..1_000 {
        for port in 2..22 {
            lab.send(port, &message(9, &template), now);
        }
        lab.send(1, &message(9, &set(256, &[6])), now);
    }
    assert_eq!(lab.counters.discarded(Discard::UnknownTemplate), 0);
    assert_eq!(lab.check(), 1_000);
}

/// A hostile exporter and an honest one at the same collector, with the bounds of a real unit.
struct Siege {
    collector: Collector,
    counters: Arc<Counters>,
    limits: SessionLimits,
    now: u64,
    /// Records that the honest exporter has sent, and rows that bear its address.
    sent: u64,
    arrived: u64,
    /// The connection by which one attacks.
    connection: Option<Connection>,
}

impl Siege {
    const HONEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 2055);

    fn new() -> Self {
        Siege::within(SessionLimits::default())
    }

    fn within(limits: SessionLimits) -> Self {
        let counters = Arc::new(Counters::default());
        let config =
            CollectorConfig { sessions: limits, hold: HoldLimits::default(), batch_rows: 1 << 14 };
        let collector = Collector::new(config, Arc::clone(&counters));
        Siege { collector, counters, limits, now: 1_000_000, sent: 0, arrived: 0, connection: None }
    }

    fn send(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([192, 0, 2, 2], 2055));
        let datagram = Datagram { source, destination, payload };
        self.collector.datagram(&datagram, Timestamp(self.now));
        self.collector.expire(Timestamp(self.now));
        if self.collector.is_full() {
            self.take();
        }
    }

    fn take(&mut self) {
        let Some(batch) = self.collector.take_batch() else { return };
        let honest = weir_store::Address::from(Self::HONEST.ip());
        self.arrived +=
            batch.exporter.iter().filter(|&&exporter| exporter == honest).count() as u64;
        self.counters.records_delivered.add(batch.rows() as u64);
    }

    /// One address that means ill, from this port.
    fn attack(&mut self, port: u16, payload: &[u8]) {
        self.send(SocketAddr::from(([203, 0, 113, 1], port)), payload);
    }

    /// One address that means ill, by a connection from this port.
    fn attack_connected(&mut self, port: u16, payload: &[u8]) {
        let source = SocketAddr::from(([203, 0, 113, 1], port));
        let to = SocketAddr::from(([192, 0, 2, 2], 2055));
        let connection =
            self.connection.get_or_insert_with(|| Connection::new(source, to, Transport::Tcp));
        self.collector.message(connection, payload, Timestamp(self.now));
    }

    /// The honest exporter's template.
    fn honest_template(&mut self) {
        self.send(Self::HONEST, &message(9, &set(0, &[1, 0, 0, 2, 0, 4, 0, 1, 0, 1, 0, 4])));
    }

    /// Three honest records.
    fn honest_data(&mut self) {
        let records = [6, 0, 0, 0, 1, 17, 0, 0, 0, 2, 1, 0, 0, 0, 3];
        self.send(Self::HONEST, &message(9, &set(256, &records)));
        self.sent += 3;
    }

    /// An honest exporter that has been there for long.
    fn establish(&mut self) {
        for _ in 0..3 {
            self.honest_template();
            self.now += 10_000;
        }
    }

    /// What holds whatever came.
    fn end(mut self) -> Arc<Counters> {
        self.take();
        let held = self.counters.sets_held.get();
        assert!(held <= HoldLimits::default().bytes as u64 / 512);
        self.collector.finish();
        let counters = self.counters;
        assert_eq!(counters.sets_held.get(), 0);
        let ended = counters.datagrams_accepted.get() + counters.discarded_total(Unit::Datagram);
        assert_eq!(counters.datagrams_received.get(), ended);
        assert_eq!(counters.records_decoded.get(), counters.records_delivered.get());
        assert!(self.collector.sessions().len() <= self.limits.sessions);
        assert_eq!(self.arrived, self.sent, "every honest record arrives");
        counters
    }
}

/// A template record with this id, of one field of this element.
fn one_field(id: u16, element: u16) -> [u8; 8] {
    let [[a, b], [c, d]] = [id, element].map(u16::to_be_bytes);
    [a, b, 0, 1, c, d, 0, 4]
}

#[test]
fn another_template_in_every_datagram_is_the_liars_own_affair() {
    let mut siege = Siege::new();
    siege.establish();
    for n in 0..20_000u16 {
        siege.attack(9, &message(9, &set(0, &one_field(256, n))));
        siege.attack(9, &message(9, &set(256, &[7; 40])));
        siege.honest_data();
    }
    let counters = siege.end();
    assert_eq!(counters.records_decoded.get(), 20_000 * (10 + 3));
}

#[test]
fn all_template_ids_from_every_port_use_up_one_address_share() {
    let mut siege = Siege::new();
    let ids: Vec<u16> = (256..=u16::MAX).collect();
    for port in 1..100 {
        for ids in ids.chunks(8_000) {
            let records: Vec<u8> = ids.iter().flat_map(|&id| one_field(id, 1)).collect();
            siege.attack(port, &message(9, &set(0, &records)));
        }
        siege.now += 10_000;
    }
    siege.honest_template();
    siege.honest_data();
    let counters = siege.end();
    assert!(counters.discarded(Discard::TemplateTableFull) > 0, "of one session");
    assert!(counters.discarded(Discard::SourceTemplatesFull) > 0, "of the address");
}

#[test]
fn a_session_for_every_port_and_domain_is_bounded_by_the_address() {
    let mut siege = Siege::new();
    siege.establish();
    for n in 0..100_000u32 {
        let mut payload = message(9, &set(0, &one_field(256, 1)));
        payload[16..20].copy_from_slice(&(n / 60_000).to_be_bytes());
        siege.attack((n % 60_000) as u16, &payload);
        if n % 100 == 0 {
            siege.honest_data();
        }
    }
    assert_eq!(siege.collector.sessions().len(), 1 + siege.limits.sessions_per_source);
    siege.end();
}

/// Four kinds of message that a sweep may bring.
fn sweep_payload(n: u32) -> Vec<u8> {
    match n % 4 {
        0 => [vec![0, 5, 0, 1], vec![0; 20 + 48]].concat(),
        1 => message(9, &set(256, &[1; 12])),
        2 => message(9, &set(0, &one_field(256, 1))),
        _ => message(10, &set(2, &one_field(256, 1))),
    }
}

#[test]
fn a_sweep_of_addresses_harms_neither_the_established_nor_the_new() {
    let mut siege = Siege::within(SessionLimits { sessions: 8_192, ..SessionLimits::default() });
    siege.establish();
    let sweep = |siege: &mut Siege, from: u32| {
        for n in from..from + 100_000 {
            siege.send(SocketAddr::from((n.to_be_bytes(), 2055)), &sweep_payload(n));
            if n % 1_000 == 0 {
                siege.honest_data();
            }
        }
    };
    sweep(&mut siege, 0);
    let known = siege.counters.discarded(Discard::SessionTableFull);
    assert_eq!(known, 0, "whoever is new finds a place");
    // One that begins in the midst of it and sends as little.
    let new = SocketAddr::from(([198, 51, 100, 2], 1));
    siege.send(new, &message(9, &set(0, &one_field(256, 1))));
    siege.send(new, &message(9, &set(256, &[1; 4])));
    let before = siege.counters.records_decoded.get();
    for n in 0..100 {
        for address in 0..1_000u32 {
            let source = 0x0b00_0000 + n * 1_000 + address;
            siege.send(SocketAddr::from((source.to_be_bytes(), 2055)), &message(9, &[]));
        }
        siege.now += 1_000;
        siege.send(new, &message(9, &set(256, &[1; 4])));
    }
    assert_eq!(siege.counters.records_decoded.get() - before, 100);
    siege.end();
}

#[test]
fn a_sweep_that_fills_the_memory_for_templates_keeps_nobody_new_out() {
    let limits = SessionLimits { template_bytes: 16 << 20, ..SessionLimits::default() };
    let mut siege = Siege::within(limits);
    let wide: Vec<u8> =
        (0..300u16).flat_map(|n| [n + 1, 4].map(u16::to_be_bytes).concat()).collect();
    let wide = [vec![1, 0, 1, 44], wide].concat();
    for n in 0..20_000u32 {
        siege.send(SocketAddr::from((n.to_be_bytes(), 1)), &message(9, &set(0, &wide)));
    }
    siege.honest_template();
    siege.honest_data();
    let counters = siege.end();
    assert_eq!(counters.discarded(Discard::TemplateTableFull), 0);
}

#[test]
fn withdrawals_of_all_in_every_datagram_are_harmless() {
    let mut siege = Siege::new();
    siege.establish();
    let templates: Vec<u8> = (256..1_279).flat_map(|id| one_field(id, 1)).collect();
    let all = [0u8, 2, 0, 0].repeat(200);
    let options = [0u8, 3, 0, 0].repeat(4_000);
    for _ in 0..50 {
        siege.attack_connected(9, &message(10, &set(2, &templates)));
        siege.attack_connected(9, &message(10, &set(3, &options)));
        let anew = [set(2, &all), set(2, &one_field(256, 1))].concat();
        siege.attack_connected(9, &message(10, &anew));
        siege.honest_data();
    }
    let counters = siege.end();
    assert_eq!(counters.discarded_total(Unit::Set), 0);
}

#[test]
fn huge_tables_of_options_are_counted_and_no_more() {
    let mut siege = Siege::new();
    siege.establish();
    let template = [1, 0, 0, 2, 0, 1, 0, 149, 0, 4, 0, 82, 255, 255];
    for n in 0..200u32 {
        let mut records = Vec::new();
        for scope in 0..6_000u32 {
            records.extend((n * 6_000 + scope).to_be_bytes());
            records.extend([3, 1, 2, 3]);
        }
        siege.attack(9, &message(10, &[set(3, &template), set(256, &records)].concat()));
        siege.honest_data();
    }
    let counters = siege.end();
    assert_eq!(counters.options_decoded.get(), 200 * 6_000);
}

#[test]
fn data_without_templates_at_full_rate_leaves_room_for_what_honest_ones_hold() {
    let mut siege = Siege::new();
    for n in 0..20_000u16 {
        siege.attack(n % 500, &message(9, &set(256 + n % 9, &[7; 1_300])));
        if n % 1_000 == 0 {
            siege.honest_data();
        }
    }
    siege.now += 10_000;
    siege.honest_template();
    siege.honest_data();
    let honest = siege.sent;
    let counters = siege.end();
    assert_eq!(honest, 63);
    assert_eq!(counters.discarded(Discard::UnknownTemplate), 20_000);
}

#[test]
fn templates_and_data_in_turn_end_in_one_counter_each() {
    let mut siege = Siege::new();
    siege.establish();
    for n in 0..2_000u16 {
        let id = 256 + n % 3;
        let body = [
            set(id, &[1; 9]),
            set(2, &one_field(id, n)),
            set(id, &[2; 8]),
            set(2, &[id.to_be_bytes(), [0, 0]].concat()),
            set(id, &[3; 4]),
        ];
        siege.attack_connected(9, &message(10, &body.concat()));
        siege.honest_data();
    }
    let counters = siege.end();
    // Two records of the first set, two of the second, and one of the third of an earlier datagram
    // with the same id; the last three of those wait in vain.
    assert_eq!(counters.records_decoded.get(), 2_000 * (2 + 2 + 3) + (2_000 - 3));
    assert_eq!(counters.discarded(Discard::UnknownTemplate), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_neighbour_sends_every_honest_record_arrives(
        payloads in vec((1u16..4, any_payload()), 1..100),
    ) {
        let mut siege = Siege::new();
        siege.honest_data();
        siege.honest_template();
        for (port, payload) in &payloads {
            siege.attack(*port, payload);
            siege.honest_data();
        }
        siege.end();
    }
}
