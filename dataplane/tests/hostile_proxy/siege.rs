//! A proxy under siege: honest exporters, slaves that read what they get of these, and whatever else
//! comes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::configuration::Configuration;
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::{Datagram, Purpose};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::news::News;
use weir_dataplane::session::{SessionLimits, SessionTable};
use weir_dataplane::{Counters, Discard, Timestamp};

use crate::counting::{self, counted};
use crate::harness::{self, Version};
use crate::wire::{Packet, Wire, WireFrame};

/// Slaves of a siege.
pub(crate) const SLAVES: u16 = 3;
/// Open messages, and frames beside.
const MESSAGES: usize = 256;
/// Datagrams a burst.
const BURST: u64 = 64;

/// Numbers that look random, the same every time (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// An exporter that keeps to the rules.
struct Honest {
    version: Version,
    source: SocketAddr,
    messages: u32,
    sequence: u32,
    records: u32,
    /// How often each of its records has arrived.
    arrived: Vec<u8>,
}

impl Honest {
    /// Its next message, of so many records.
    fn message(&mut self, records: u32, announce: bool) -> Vec<u8> {
        let (from, to) = (self.records, self.records + records);
        let seconds = self.messages / 5;
        let payload = harness::message(self.version, seconds, self.sequence, announce, from..to);
        self.messages += 1;
        self.records = to;
        self.sequence += if self.version == Version::V9 { 1 } else { records };
        self.arrived.resize(to as usize, 0);
        payload
    }
}

/// A slave that reads what honest exporters sent, and holds nothing back: data without its template
/// is lost at once.
struct Slave {
    collector: Collector,
    counters: Arc<Counters>,
}

impl Slave {
    fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let hold = HoldLimits { bytes: 0, ..HoldLimits::default() };
        let config =
            CollectorConfig { sessions: SessionLimits::default(), hold, batch_rows: 65_536 };
        Slave { collector: Collector::new(config, Arc::clone(&counters)), counters }
    }

    fn assert_whole(&self) {
        assert_eq!(self.counters.discarded(Discard::UnknownTemplate), 0, "templates come first");
        assert_eq!(self.counters.sequence_lost.get(), 0);
        assert_eq!(self.counters.sequence_resets.get(), 0);
        assert_eq!(self.counters.discarded_total(Unit::Set), 0);
        assert_eq!(self.counters.discarded_total(Unit::Datagram), 0);
    }
}

/// A proxy under siege.
pub(crate) struct Siege {
    model: Distribution,
    pub(crate) mediator: Mediator<WireFrame>,
    pub(crate) wire: Wire,
    pub(crate) counters: Arc<Counters>,
    limits: SessionLimits,
    honest: Vec<Honest>,
    by_source: HashMap<SocketAddr, usize>,
    slaves: Vec<Slave>,
    pub(crate) copies: u64,
    pub(crate) now: u64,
    datagrams: u64,
    _news: Receiver<News>,
}

impl Siege {
    pub(crate) const HOLD: HoldLimits = HoldLimits {
        bytes: 1 << 20,
        bytes_per_source: 128 << 10,
        bytes_per_session: 64 << 10,
        ms: 30_000,
    };

    /// Limits under which a siege soon fills everything.
    pub(crate) fn narrow() -> SessionLimits {
        SessionLimits {
            sessions: 4_096,
            sessions_per_source: 512,
            template_bytes: 16 << 20,
            template_bytes_per_source: 1 << 20,
            option_bytes: 4 << 20,
            option_bytes_per_source: 256 << 10,
            ..SessionLimits::default()
        }
    }

    pub(crate) fn new(model: Distribution, limits: SessionLimits) -> Self {
        let counters = Arc::new(Counters::default());
        let configuration = harness::configuration(&[1; SLAVES as usize]);
        let (herald, news) = bounded(16);
        let mediator = counted(|| {
            let config = MediatorConfig {
                distribution: model,
                configuration: Arc::new(configuration),
                port_offset: 30_000,
                sessions: limits,
                hold: Self::HOLD,
                flush_ms: 50,
                messages: MESSAGES,
            };
            Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), herald)
        });
        let mut siege = Siege {
            model,
            mediator,
            wire: Wire::new(MESSAGES + 64),
            counters,
            limits,
            honest: Vec::new(),
            by_source: HashMap::new(),
            slaves: (0..SLAVES).map(|_| Slave::new()).collect(),
            copies: 0,
            now: 1_700_000_000_000,
            datagrams: 0,
            _news: news,
        };
        for (n, version) in (1..).zip([Version::V5, Version::V9, Version::Ipfix]) {
            siege.add(harness::exporter(n), version);
        }
        (0..SLAVES).for_each(|slave| siege.health(slave, true));
        siege.establish();
        siege
    }

    /// Adds an exporter that keeps to the rules.
    pub(crate) fn add(&mut self, source: SocketAddr, version: Version) {
        let (messages, sequence, records) = (0, 0, 0);
        self.by_source.insert(source, self.honest.len());
        self.honest.push(Honest {
            version,
            source,
            messages,
            sequence,
            records,
            arrived: Vec::new(),
        });
    }

    /// Exporters that have been there for long are what a siege must not harm.
    fn establish(&mut self) {
        for _ in 0..4 {
            self.everyone(3, true);
            self.now += 5_000;
            self.deliver();
        }
    }

    pub(crate) fn configure(&mut self, configuration: &Configuration) {
        let (mediator, wire, now) = (&mut self.mediator, &mut self.wire, Timestamp(self.now));
        counted(|| mediator.configure(wire, configuration, now));
    }

    /// A slave that is lost, or comes back with nothing in its memory.
    pub(crate) fn health(&mut self, slave: u16, healthy: bool) {
        self.read();
        if healthy {
            let old = std::mem::replace(&mut self.slaves[usize::from(slave)], Slave::new());
            old.assert_whole();
        }
        let (mediator, wire, now) = (&mut self.mediator, &mut self.wire, Timestamp(self.now));
        counted(|| mediator.health(wire, slave, healthy, healthy, now));
    }

    /// One datagram, whoever sends it.
    pub(crate) fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([198, 51, 100, 1], harness::PORT));
        let datagram = Datagram { source, destination, payload };
        let (mediator, wire, now) = (&mut self.mediator, &mut self.wire, Timestamp(self.now));
        counted(|| mediator.datagram(wire, &datagram, now));
        self.datagrams += 1;
        if self.datagrams.is_multiple_of(BURST) {
            self.turn();
        }
    }

    /// A message of so many records from every honest exporter.
    pub(crate) fn everyone(&mut self, records: u32, announce: bool) {
        for at in 0..self.honest.len() {
            let payload = self.honest[at].message(records, announce);
            self.take(self.honest[at].source, &payload);
        }
    }

    /// The end of a burst, as a worker has it; says whether a slave is still being greeted.
    pub(crate) fn turn(&mut self) -> bool {
        self.now += 1;
        let (mediator, wire, now) = (&mut self.mediator, &mut self.wire, Timestamp(self.now));
        let more = counted(|| {
            let more = mediator.turn(wire, now);
            mediator.flush_due(wire, now);
            mediator.settle(wire);
            mediator.note_delays(0);
            more
        });
        self.read();
        more
    }

    /// Closes what is open.
    pub(crate) fn deliver(&mut self) {
        let (mediator, wire) = (&mut self.mediator, &mut self.wire);
        counted(|| mediator.flush_all(wire));
        self.turn();
    }

    /// Lets the slaves read what was sent.
    fn read(&mut self) {
        for Packet { source, to, tag, payload } in std::mem::take(&mut self.wire.sent) {
            if tag.purpose == Purpose::Copy {
                self.copies += 1;
                continue;
            }
            let Some(&honest) = self.by_source.get(&source) else { continue };
            let honest = &mut self.honest[honest];
            let IpAddr::V4(address) = to.ip() else { panic!("slaves have IPv4 addresses") };
            let slave = &mut self.slaves[usize::from(address.octets()[3]) - 1];
            let destination = SocketAddr::new(to.ip(), harness::PORT);
            let datagram = Datagram { source, destination, payload: &payload };
            slave.collector.datagram(&datagram, Timestamp(self.now));
            let Some(batch) = slave.collector.take_batch() else { continue };
            for bytes in batch.bytes {
                honest.arrived[(bytes / 100) as usize] += 1;
            }
        }
    }

    /// The memory that a proxy with these limits may use, bytes.
    fn bound(&self) -> usize {
        // Ways to the slaves, the open messages' places and what a burst sends are the rest.
        let table = SessionTable::<[u8; 64]>::memory(&self.limits);
        table + Self::HOLD.bytes + self.limits.sessions * 64 + (2 << 20)
    }

    /// What holds whatever came.
    pub(crate) fn end(mut self) -> Arc<Counters> {
        let (mediator, wire) = (&mut self.mediator, &mut self.wire);
        counted(|| mediator.finish(wire));
        self.turn();
        let c = &*self.counters;
        assert_eq!(c.sets_held.get(), 0);
        assert_eq!(c.datagrams_received.get(), self.datagrams);
        let ended = c.datagrams_accepted.get() + c.discarded_total(Unit::Datagram);
        assert_eq!(c.datagrams_received.get(), ended);
        assert_eq!(c.records_in_flight.get(), 0);
        let ended = c.records_delivered.get() + c.discarded_total(Unit::Record);
        if self.model == Distribution::RoundRobin {
            assert_eq!(c.records_decoded.get(), ended);
        }
        assert_eq!(self.wire.taken(), 0, "every frame comes home");
        for slave in &self.slaves {
            slave.assert_whole();
        }
        for honest in &self.honest {
            let wrong = honest.arrived.iter().filter(|&&times| times != 1).count();
            let (all, source) = (honest.records, honest.source);
            assert_eq!(wrong, 0, "of {all} records of {source} have not arrived once");
        }
        let (used, bound) = (counting::most(), self.bound());
        assert!(used <= bound, "a proxy of {bound} bytes used {used}");
        self.counters
    }
}
