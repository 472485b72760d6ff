//! Messages byte by byte, and a collector, alone and behind a proxy, to read them.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::connection::Connection;
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::mediate::Distribution;
use weir_dataplane::session::{SessionLimits, Transport};
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::{Batch, Column};

use crate::harness::{Proxy, exporter, straight};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_060_000);
/// The export time of every message, seconds since 1970.
pub(crate) const EXPORT: u32 = 1_700_000_000;

/// A set.
pub(crate) fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = 4 + body.len() as u16;
    [&id.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A template set with one template of these elements and lengths.
pub(crate) fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let fields_of = fields.iter().flat_map(|&(element, length)| [element, length]);
    let body: Vec<u16> = [id, fields.len() as u16].into_iter().chain(fields_of).collect();
    set(2, &words(&body))
}

/// An options template set: the first `scopes` of these elements are the scope.
pub(crate) fn options_template(id: u16, scopes: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let fields_of = fields.iter().flat_map(|&(element, length)| [element, length]);
    let body: Vec<u16> = [id, fields.len() as u16, scopes].into_iter().chain(fields_of).collect();
    set(3, &words(&body))
}

/// A withdrawal of a template or, with the set's own id, of all of them.
pub(crate) fn withdrawal(set_id: u16, id: u16) -> Vec<u8> {
    set(set_id, &words(&[id, 0]))
}

/// A message of observation domain 1.
pub(crate) fn message(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    in_domain(1, sequence, sets)
}

pub(crate) fn in_domain(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    at(EXPORT, domain, sequence, sets)
}

pub(crate) fn at(export: u32, domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let mut message = words(&[10, 16 + sets.len() as u16]);
    for word in [export, sequence, domain] {
        message.extend(word.to_be_bytes());
    }
    message.extend(sets);
    message
}

/// A collector and what it counts.
pub(crate) struct Lab {
    pub(crate) collector: Collector,
    pub(crate) counters: Arc<Counters>,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 65_536,
        };
        Lab { collector: Collector::new(config, Arc::clone(&counters)), counters }
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.send_from(exporter(1), payload);
    }

    pub(crate) fn send_from(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([10, 0, 0, 1], 4739));
        self.collector.datagram(&Datagram { source, destination, payload }, NOW);
    }

    pub(crate) fn hear(&mut self, connection: &Connection, payload: &[u8]) {
        self.collector.message(connection, payload, NOW);
    }

    pub(crate) fn rows(&mut self) -> Batch {
        self.collector.take_batch().unwrap_or_default()
    }

    pub(crate) fn discarded(&self, reason: Discard) -> u64 {
        self.counters.discarded(reason)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.collector.sessions().iter().filter(|(_, session)| !session.ended).count()
    }
}

/// A connection of the same exporter.
pub(crate) fn connection() -> Connection {
    Connection::new(exporter(1), SocketAddr::from(([10, 0, 0, 1], 4739)), Transport::Tcp)
}

/// What a collector reads of these datagrams of one exporter. Slaves behind a proxy, in both models,
/// together read the same.
pub(crate) fn read(payloads: &[Vec<u8>]) -> Batch {
    let datagrams: Vec<_> = payloads.iter().map(|payload| (exporter(1), payload.clone())).collect();
    let alone = straight(&datagrams);
    for model in [Distribution::RoundRobin, Distribution::FlowSource] {
        let mut proxy = Proxy::new(model, 3);
        for (source, payload) in &datagrams {
            proxy.take(*source, payload);
            proxy.deliver();
        }
        let behind = proxy.slaves.iter().flat_map(|slave| lines(&slave.rows));
        let mut behind: Vec<_> = behind.collect();
        behind.sort();
        let mut expected = lines(&alone.rows);
        expected.sort();
        assert_eq!(behind, expected, "behind a proxy, {model:?}");
        proxy.assert_conserved();
    }
    let counters = &alone.counters;
    let ended = counters.datagrams_accepted.get() + counters.discarded_total(Unit::Datagram);
    assert_eq!(counters.datagrams_received.get(), ended);
    alone.rows
}

/// What the cases here say of each row.
fn lines(rows: &Batch) -> Vec<String> {
    fn at<T: Copy + Default>(column: &[T], row: usize) -> T {
        column.get(row).copied().unwrap_or_default()
    }
    let line = |row| {
        format!(
            "{} {} {} {} {} {} {} {} {} {}",
            at(&rows.exporter, row),
            at(&rows.observation_domain, row),
            at(&rows.source_address, row),
            at(&rows.destination_address, row),
            at(&rows.source_port, row),
            at(&rows.protocol, row),
            at(&rows.packets, row),
            at(&rows.bytes, row),
            at(&rows.first_ms, row),
            at(&rows.last_ms, row),
        )
    };
    (0..rows.rows()).map(line).collect()
}

/// The one row of a message with this template and record.
pub(crate) fn row(fields: &[(u16, u16)], record: &[u8]) -> Batch {
    let rows = read(&[message(0, &[template(256, fields), set(256, record)])]);
    assert_eq!(rows.rows(), 1);
    rows
}

/// A column of numbers as the store gives it, zeroes where nothing was said.
pub(crate) fn numbers(rows: &Batch, column: Column) -> Vec<u64> {
    match column {
        Column::Packets => padded(&rows.packets, rows.rows()),
        Column::Bytes => padded(&rows.bytes, rows.rows()),
        other => panic!("no number is asked of {other:?} here"),
    }
}

fn padded(values: &[u64], rows: usize) -> Vec<u64> {
    let mut values = values.to_vec();
    values.resize(rows, 0);
    values
}

/// Packets of each row.
pub(crate) fn packets(rows: &Batch) -> Vec<u64> {
    numbers(rows, Column::Packets)
}

/// Bytes of each row.
pub(crate) fn bytes(rows: &Batch) -> Vec<u64> {
    numbers(rows, Column::Bytes)
}
