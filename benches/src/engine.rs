//! The proxy's engine alone, in memory: datagrams in, frames ready to send out; no system call.
//!
//! One place knows how a mediator is made, for Criterion (time) and callgrind (instructions) alike.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::bounded;
use weir_dataplane::Timestamp;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::Counters;
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::{Datagram, Tag, Transmit};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;

use crate::exporter;
use crate::traffic::{Load, Protocol};

/// Packets between two flushes, as a backend hands them over.
pub const BURST: u32 = 64;
/// How far the next packet's source is from this one's: as good as random, and every source's turn
/// comes.
const STRIDE: u32 = 7_919;
const FRAMES: usize = 8_192;

/// What is measured: one point of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The distribution model.
    pub distribution: Distribution,
    /// The sources' packets.
    pub load: Load,
    /// Slaves, all healthy.
    pub slaves: u8,
    /// Sources that send in turn.
    pub sources: u32,
}

/// What all others differ from in one respect.
pub const BASE: Point = Point {
    distribution: Distribution::RoundRobin,
    load: Load::new(Protocol::V9, 25),
    slaves: 4,
    sources: 8,
};

impl Point {
    /// Its name in Criterion's report: model, protocol, records, slaves, sources, templates.
    pub fn name(&self) -> String {
        let model = match self.distribution {
            Distribution::RoundRobin => "round-robin",
            Distribution::FlowSource => "flow-source",
        };
        let Load { records, templates, .. } = self.load;
        let (slaves, sources) = (self.slaves, self.sources);
        format!("{model} {} {records}r {slaves}s {sources}x {templates}t", self.load.name())
    }
}

/// The points along one axis, the base among them, by their value.
pub fn axis(name: &str) -> Vec<(String, Point)> {
    let load = |load: Load| Point { load, ..BASE };
    let points: Vec<(String, Point)> = match name {
        "protocol" => [Protocol::V5, Protocol::V9, Protocol::Ipfix]
            .map(|protocol| Load { protocol, ..BASE.load })
            .map(|of| (of.name().to_owned(), load(of)))
            .to_vec(),
        "records" => [1, 5, 25]
            .map(|records| (records.to_string(), load(Load { records, ..BASE.load })))
            .to_vec(),
        "slaves" => {
            [1, 4, 16, 64].map(|slaves: u8| (slaves.to_string(), Point { slaves, ..BASE })).to_vec()
        }
        "sources" => [1, 8, 1_000, 100_000]
            .map(|sources: u32| (sources.to_string(), Point { sources, ..BASE }))
            .to_vec(),
        "templates" => [1, 16]
            .map(|templates| (templates.to_string(), load(Load { templates, ..BASE.load })))
            .to_vec(),
        "flow-source" => [(4, 8), (64, 8), (4, 100_000)]
            .map(|(slaves, sources)| {
                let distribution = Distribution::FlowSource;
                let name = format!("{slaves} slaves, {sources} sources");
                (name, Point { distribution, slaves, sources, ..BASE })
            })
            .to_vec(),
        _ => Vec::new(),
    };
    points
}

/// The axes, in the order of the report.
pub const AXES: [&str; 6] =
    ["protocol", "records", "slaves", "sources", "templates", "flow-source"];

/// Every point once.
pub fn points() -> Vec<Point> {
    let mut all: Vec<Point> = vec![BASE];
    for (_, point) in AXES.iter().flat_map(|name| axis(name)) {
        if !all.contains(&point) {
            all.push(point);
        }
    }
    all
}

/// Frames that are written and then forgotten: the engine's own cost is all that is left.
#[derive(Debug)]
struct Nowhere {
    frames: Vec<Box<[u8]>>,
}

impl Transmit for Nowhere {
    type Frame = Box<[u8]>;

    fn take(&mut self) -> Option<Box<[u8]>> {
        self.frames.pop()
    }

    fn room(&self) -> usize {
        2_048
    }

    fn payload<'a>(&'a mut self, frame: &'a mut Box<[u8]>) -> &'a mut [u8] {
        frame
    }

    fn send(&mut self, frame: Box<[u8]>, length: usize, _: SocketAddr, _: SocketAddr, _: Tag) {
        black_box(&frame[..length]);
        self.frames.push(frame);
    }

    fn send_copy(&mut self, payload: &[u8], _: SocketAddr, _: SocketAddr, _: u16, _: Tag) {
        black_box(payload);
    }

    fn give_back(&mut self, frame: Box<[u8]>) {
        self.frames.push(frame);
    }

    fn flush(&mut self, _failed: &mut dyn FnMut(Tag, std::io::Error)) {}
}

/// A mediator whose sources have told their templates, and the packets that they send.
#[derive(Debug)]
pub struct Engine {
    mediator: Mediator<Box<[u8]>>,
    io: Nowhere,
    counters: Arc<Counters>,
    now: Timestamp,
    packets: Vec<Vec<u8>>,
    records: u64,
    sources: u32,
    next: u32,
}

impl Engine {
    /// Ready to be measured.
    pub fn new(point: &Point) -> Engine {
        let counters = Arc::new(Counters::default());
        let mediator = mediator(point, Arc::clone(&counters));
        let frames = (0..FRAMES).map(|_| vec![0; 2_048].into()).collect();
        let load = point.load;
        let packets = (0..BURST).map(|n| load.data_packet(n, n as u16 % load.templates)).collect();
        let mut engine = Engine {
            mediator,
            io: Nowhere { frames },
            counters,
            now: Timestamp(1_700_000_000_000),
            packets,
            records: u64::from(BURST) * u64::from(load.records),
            sources: point.sources,
            next: 0,
        };
        for slave in 0..u16::from(point.slaves) {
            engine.mediator.health(&mut engine.io, slave, true, true, engine.now);
        }
        if let Some(template) = load.template_packet() {
            (0..point.sources).for_each(|n| engine.take(exporter(n), &template));
        }
        engine
    }

    /// Records in one burst.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What the mediator has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// One packet of any source.
    pub fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([10, 255, 1, 1], 2_055));
        let datagram = Datagram { source, destination, payload };
        self.mediator.datagram(&mut self.io, &datagram, self.now);
    }

    /// A burst of data packets, and the flush after it.
    pub fn burst(&mut self) {
        for at in 0..self.packets.len() {
            let packet = std::mem::take(&mut self.packets[at]);
            self.take(exporter(self.next % self.sources), &packet);
            self.packets[at] = packet;
            self.next = self.next.wrapping_add(STRIDE);
        }
        self.settle();
    }

    /// The end of a burst.
    pub fn settle(&mut self) {
        self.mediator.flush_due(&mut self.io, self.now);
        self.mediator.settle(&mut self.io);
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// Some bursts: what callgrind counts, by this function's name.
    #[inline(never)]
    pub fn measured(&mut self, bursts: u32) {
        (0..bursts).for_each(|_| self.burst());
    }
}

fn mediator(point: &Point, counters: Arc<Counters>) -> Mediator<Box<[u8]>> {
    let slave = |n| {
        let address = Ipv4Addr::new(10, 255, 0, n);
        let path = Path { v4: Some(address), v6: None, mtu: 1_500 };
        Some(SlaveConfig { identity: address.into(), path, weight: 1 })
    };
    let slaves = (0..point.slaves).map(slave).collect();
    let config = MediatorConfig {
        distribution: point.distribution,
        configuration: Arc::new(Configuration { slaves, ..Configuration::default() }),
        port_offset: 30_000,
        // Room for 100,000 sources.
        sessions: SessionLimits { sessions: 131_072, ..SessionLimits::default() },
        flush_ms: 50,
        messages: FRAMES,
        hold: HoldLimits::default(),
    };
    let (news, _nobody_listens) = bounded(1);
    Mediator::new(config, counters, SlaveCounters::page(), news)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_deals_all_its_records() {
        for point in points().into_iter().filter(|point| point.sources < 10_000) {
            let mut engine = Engine::new(&point);
            engine.measured(2);
            let decoded = engine.counters().records_decoded.get();
            let name = point.name();
            if point.distribution == Distribution::RoundRobin {
                assert_eq!(decoded, 2 * engine.records(), "{name}");
            }
            assert_eq!(engine.counters().discarded_total(weir_dataplane::counter::Unit::Set), 0);
        }
    }
}
