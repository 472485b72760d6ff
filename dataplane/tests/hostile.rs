//! Whatever bytes come: no panic, every datagram in exactly one counter, and bounded work.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
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
