//! A proxy on the memory backend with a collector behind each slave, and exporters' messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use proptest::prelude::*;
use weir_dataplane::Timestamp;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::{Counters, Unit};
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::memory::{MemoryTransmit, Watch};
use weir_dataplane::io::{Datagram, Transmit};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::news::News;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::wire::fixed::{LAYOUTS, LAYOUTS_COUNT, Layout};
use weir_store::column::Values;
use weir_store::{Address, Batch, Column};

pub(crate) const PORT: u16 = 2055;
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn exporter(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 50_000 + u16::from(n)))
}

pub(crate) fn slave_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// Slaves of these weights.
pub(crate) fn configuration(weights: &[u16]) -> Configuration {
    let slave = |(n, &weight)| {
        let path = Path { v4: Some(slave_address(n)), v6: None, mtu: 1500 };
        Some(SlaveConfig { identity: IpAddr::V4(slave_address(n)), path, weight })
    };
    Configuration { slaves: (1..).zip(weights).map(slave).collect(), ..Configuration::default() }
}

/// A proxy on the memory backend, with a collector for each slave.
pub(crate) struct Proxy {
    pub(crate) mediator: Mediator<<MemoryTransmit as Transmit>::Frame>,
    pub(crate) io: MemoryTransmit,
    pub(crate) watch: Watch,
    pub(crate) counters: Arc<Counters>,
    pub(crate) slaves: Vec<SlaveEnd>,
    pub(crate) news: Receiver<News>,
}

pub(crate) struct SlaveEnd {
    pub(crate) collector: Collector,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rows: Batch,
}

impl SlaveEnd {
    pub(crate) fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 65_536,
        };
        let collector = Collector::new(config, Arc::clone(&counters));
        SlaveEnd { collector, counters, rows: Batch::default() }
    }

    pub(crate) fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([10, 0, 0, 1], PORT));
        self.collector.datagram(&Datagram { source, destination, payload }, NOW);
        if let Some(batch) = self.collector.take_batch() {
            self.rows.append(&batch);
        }
    }
}

impl Proxy {
    pub(crate) fn new(distribution: Distribution, slaves: u8) -> Self {
        let counters = Arc::new(Counters::default());
        let configuration = configuration(&vec![1; usize::from(slaves)]);
        let config = MediatorConfig {
            distribution,
            configuration: Arc::new(configuration),
            port_offset: 30_000,
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            flush_ms: 50,
            messages: 256,
        };
        let (io, watch) = MemoryTransmit::new(256);
        let (herald, news) = bounded(16);
        let mediator = Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), herald);
        let slave_ends = (0..slaves).map(|_| SlaveEnd::new()).collect();
        let mut proxy = Proxy { mediator, io, watch, counters, slaves: slave_ends, news };
        (0..u16::from(slaves)).for_each(|slave| proxy.health(slave, true, true));
        proxy
    }

    pub(crate) fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([198, 51, 100, 1], PORT));
        self.mediator.datagram(&mut self.io, &Datagram { source, destination, payload }, NOW);
    }

    pub(crate) fn health(&mut self, slave: u16, healthy: bool, greet: bool) {
        self.mediator.health(&mut self.io, slave, healthy, greet, NOW);
    }

    /// Closes what is open and lets the slaves collect what was sent.
    pub(crate) fn deliver(&mut self) {
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
    pub(crate) fn rows(&self) -> Vec<String> {
        sorted(self.slaves.iter().map(|slave| &slave.rows))
    }

    pub(crate) fn assert_conserved(&self) {
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

/// All rows, whole but for the time at which they came, in an order of their own.
pub(crate) fn sorted<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<String> {
    let columns = || Column::ALL.iter().filter(|&&column| column != Column::Received);
    let mut rows = Vec::new();
    for batch in batches {
        let present: Vec<_> = columns().filter(|&&column| batch.has(column)).collect();
        let values: Vec<_> = present.iter().map(|&&column| batch.column(column)).collect();
        rows.extend((0..batch.rows()).map(|row| {
            let mut said = String::new();
            for (column, values) in present.iter().zip(&values) {
                let value = match values {
                    Values::Address(values) => values[row].to_string(),
                    values => values.number(row).to_string(),
                };
                // A column that is absent from one batch may be there, and say nothing, in another.
                if value != "0" && value != Address::ABSENT.to_string() {
                    said += &format!("{column:?} {value} ");
                }
            }
            said
        }));
    }
    rows.sort();
    rows
}

/// What a collector gets from the same datagrams without a proxy.
pub(crate) fn straight(datagrams: &[(SocketAddr, Vec<u8>)]) -> SlaveEnd {
    let mut end = SlaveEnd::new();
    for (source, payload) in datagrams {
        end.take(*source, payload);
    }
    end
}

/// Writes messages as an exporter would.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    V5,
    V9,
    Ipfix,
    /// Of another version whose records have a fixed layout.
    Fixed(&'static Layout),
    Sflow,
}

pub(crate) fn be16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

pub(crate) fn be32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_be_bytes());
}

/// Template 256: source, destination, ports, protocol, packets, bytes and, for v9, uptimes, for
/// IPFIX absolute times and a string of variable length.
pub(crate) fn template(version: Version) -> Vec<u8> {
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

pub(crate) fn record(version: Version, n: u32) -> Vec<u8> {
    let mut out = Vec::new();
    if let Version::Fixed(layout) = version {
        return (0..layout.record_length as u32).map(|at| (n * 31 + at * 7) as u8).collect();
    }
    if version == Version::Sflow {
        return flow_sample(n);
    }
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

/// A flow sample of either form, with an IP header and what a switch knows.
fn flow_sample(n: u32) -> Vec<u8> {
    let ip = [1_000 + n, 6, 0x0a00_0000 + n, 0x0b00_0000 + n, 1024, 443, 0x1b, 0];
    let records = [&[3, 32][..], &ip, &[1001, 16, n % 4_000, 0, 7, 0]].concat();
    let fixed: &[u32] = match n % 3 {
        0 => &[n, 0, 5, 512, 1000, 0, 0, 5, 0, 6, 2],
        _ => &[n, 5, 512, 1000, 0, 5, 6, 2],
    };
    let tag = if n.is_multiple_of(3) { 3 } else { 1 };
    let length = (fixed.len() + records.len()) as u32 * 4;
    let words = [&[tag, length], fixed, &records].concat();
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

pub(crate) fn set_of(id: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    be16(&mut out, id);
    be16(&mut out, body.len() as u16 + 4);
    out.extend(body);
    out
}

/// A message of `records`, the template before them when `announce`.
pub(crate) fn message(
    version: Version,
    seconds: u32,
    sequence: u32,
    announce: bool,
    records: std::ops::Range<u32>,
) -> Vec<u8> {
    let count = records.len() as u16;
    let body: Vec<u8> = records.flat_map(|n| record(version, n)).collect();
    let mut out = Vec::new();
    if let Version::Fixed(layout) = version {
        let version = layout.protocol.name().strip_prefix("netflow").and_then(|v| v.parse().ok());
        be16(&mut out, version.expect("a version of NetFlow"));
        be16(&mut out, count);
        be32(&mut out, 100_000 + seconds);
        be32(&mut out, 1_600_000_000 + seconds);
        be32(&mut out, 0);
        out.resize(layout.header_length, 0);
        if layout.header_length > 22 {
            out[16..20].copy_from_slice(&sequence.to_be_bytes());
            out[20..24].copy_from_slice(&[0, 3, layout.scheme, 0]);
        }
        out.extend(body);
        return out;
    }
    if version == Version::Sflow {
        let samples = u32::from(count) + u32::from(announce);
        let words = [5, 1, 0xc000_0201, 77, sequence, 100_000 + seconds, samples];
        words.into_iter().for_each(|word| be32(&mut out, word));
        if announce {
            // A counter sample.
            [2u32, 12, 1, 5, 0].into_iter().for_each(|word| be32(&mut out, word));
        }
        out.extend(body);
        return out;
    }
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
pub(crate) fn stream(version: Version, messages: &[(u8, bool)]) -> Vec<Vec<u8>> {
    let (mut sequence, mut n) = (500u32, 0u32);
    let mut out = Vec::new();
    for (at, &(count, announce)) in messages.iter().enumerate() {
        let at_least = u32::from(matches!(version, Version::V5 | Version::Fixed(_)));
        let count = u32::from(count % 25) + at_least;
        let payload = message(version, at as u32 / 3, sequence, announce || at == 0, n..n + count);
        let is_by_message = matches!(version, Version::V9 | Version::Sflow);
        sequence += if is_by_message { 1 } else { count };
        n += count;
        out.push(payload);
    }
    out
}

pub(crate) fn streams() -> impl Strategy<Value = Vec<(SocketAddr, Vec<u8>)>> {
    let one = (
        prop_oneof![
            1 => Just(Version::V5),
            2 => Just(Version::V9),
            2 => Just(Version::Ipfix),
            2 => Just(Version::Sflow),
            3 => (0..LAYOUTS_COUNT).prop_map(|at| Version::Fixed(LAYOUTS[at])),
        ],
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

/// A template record of these fields.
pub(crate) fn template_of(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let words = [id, fields.len() as u16];
    let fields = fields.iter().flat_map(|&(element, length)| [element, length]);
    words.into_iter().chain(fields).flat_map(u16::to_be_bytes).collect()
}

pub(crate) fn ipfix(sequence: u32, sets: &[u8]) -> Vec<u8> {
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
pub(crate) fn ten_records() -> Vec<u8> {
    let records = 7u64.to_be_bytes().repeat(10);
    ipfix(0, &[set_of(2, &template_of(256, &[(1, 8)])), set_of(256, &records)].concat())
}

/// A NetFlow v9 packet of these sets.
pub(crate) fn netflow9(sequence: u32, sets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    be16(&mut out, 9);
    be16(&mut out, 1);
    be32(&mut out, 100_000);
    be32(&mut out, 1_600_000_000);
    be32(&mut out, sequence);
    be32(&mut out, 1);
    out.extend(sets);
    out
}
