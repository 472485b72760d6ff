//! What all slaves read together is what was sent, record for record with the same times, but for
//! what was counted as lost: whatever slaves, configuration and the network do meanwhile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::bounded;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::Unit;
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};

use crate::exporter::{Exporter, Habits};
use crate::harness::{PORT, SlaveEnd, Version, sorted, straight};
use crate::siege::Random;
use crate::wire::{Packet, Wire, WireFrame};

const SLAVES: usize = 4;
const STEPS: usize = 120;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug)]
struct Night {
    model: Distribution,
    /// Packets are refused, and frames run out.
    refusals: bool,
    habits: Habits,
}

/// A proxy, slaves that keep their memory unless they start anew, and exporters.
struct Run {
    night: Night,
    random: Random,
    mediator: Mediator<WireFrame>,
    wire: Wire,
    counters: Arc<Counters>,
    slaves: Vec<SlaveEnd>,
    /// What slaves had read before they started anew.
    before: Vec<SlaveEnd>,
    configured: Configuration,
    sent: Vec<(SocketAddr, Vec<u8>)>,
    now: u64,
}

/// A slave, by its place; two have an IPv6 address.
fn slave(at: usize, weight: u16, mtu: u16) -> SlaveConfig {
    let number = at as u8 + 1;
    let v4 = Ipv4Addr::new(10, 0, 0, number);
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into());
    let path = Path { v4: Some(v4), v6: (at < 2).then_some(v6), mtu };
    SlaveConfig { identity: v4.into(), path, weight }
}

impl Run {
    fn new(night: Night, seed: u64) -> Self {
        let slaves = (0..SLAVES).map(|at| Some(slave(at, 1, 1_500))).collect();
        let configured = Configuration { slaves, ..Configuration::default() };
        let counters = Arc::new(Counters::default());
        let messages = if night.refusals { 6 } else { 64 };
        let config = MediatorConfig {
            distribution: night.model,
            configuration: Arc::new(configured.clone()),
            port_offset: 30_000,
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            flush_ms: 5,
            messages,
        };
        let herald = bounded(16).0;
        let mediator = Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), herald);
        let mut wire = Wire::new(if night.refusals { 12 } else { 64 });
        wire.scarce = night.refusals;
        let mut run = Run {
            night,
            random: Random(seed),
            mediator,
            wire,
            counters,
            slaves: (0..SLAVES).map(|_| SlaveEnd::new()).collect(),
            before: Vec::new(),
            configured,
            sent: Vec::new(),
            now: 1_700_000_000_000,
        };
        (0..SLAVES as u16).for_each(|slave| run.health(slave, true, true));
        run
    }

    fn health(&mut self, slave: u16, healthy: bool, greet: bool) {
        self.mediator.health(&mut self.wire, slave, healthy, greet, Timestamp(self.now));
    }

    fn take(&mut self, source: SocketAddr, payload: Vec<u8>) {
        let destination = SocketAddr::from(([198, 51, 100, 1], PORT));
        let datagram = Datagram { source, destination, payload: &payload };
        self.mediator.datagram(&mut self.wire, &datagram, Timestamp(self.now));
        self.sent.push((source, payload));
    }

    /// The end of a burst.
    fn settle(&mut self) {
        self.mediator.turn(&mut self.wire, Timestamp(self.now));
        self.mediator.flush_due(&mut self.wire, Timestamp(self.now));
        self.mediator.settle(&mut self.wire);
        self.mediator.note_delays(0);
        for Packet { source, to, payload, .. } in std::mem::take(&mut self.wire.sent) {
            let number = match to.ip() {
                IpAddr::V4(v4) => v4.octets()[3],
                IpAddr::V6(v6) => v6.octets()[15],
            };
            self.slaves[usize::from(number) - 1].take(source, &payload);
        }
    }

    /// Slave 0 stays: under flow source a datagram without a slave ends uncounted records.
    fn disturb(&mut self) {
        let at = 1 + self.random.below(SLAVES as u64 - 1) as usize;
        match self.random.below(12) {
            0 | 1 => self.health(at as u16, false, false),
            2..=4 => self.health(at as u16, true, false),
            5 => self.start_anew(at),
            6..=9 => self.configure(at),
            _ if self.night.refusals => {
                self.wire.refuse_next = self.random.below(4) as usize;
            }
            _ => self.mediator.flush_all(&mut self.wire),
        }
    }

    /// A slave forgets all it knew. What it holds for want of a template would be lost with it.
    fn start_anew(&mut self, at: usize) {
        self.settle();
        if self.slaves[at].counters.sets_held.get() == 0 {
            let old = std::mem::replace(&mut self.slaves[at], SlaveEnd::new());
            self.before.push(old);
            self.health(at as u16, true, true);
        }
    }

    fn configure(&mut self, at: usize) {
        let weight = self.random.below(3) as u16;
        let mtu = [300, 576, 1_500, 9_000][self.random.below(4) as usize];
        let was_there = self.configured.slaves[at].is_some();
        self.configured.slaves[at] = match self.random.below(4) {
            0 => None,
            _ => Some(slave(at, weight, mtu)),
        };
        let configured = self.configured.clone();
        self.mediator.configure(&mut self.wire, &configured, Timestamp(self.now));
        if !was_there && self.random.below(2) == 0 {
            self.health(at as u16, true, true);
        }
    }

    fn exporters(habits: Habits) -> Vec<Exporter> {
        let v4 = |n: u8| SocketAddr::from(([192, 0, 2, n], 2_000));
        let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9), 2_000));
        vec![
            Exporter::new(v4(1), Version::V5, 1, habits),
            Exporter::new(v4(2), Version::V9, 1, habits),
            Exporter::new(v4(2), Version::V9, 2, habits),
            Exporter::new(v4(3), Version::Ipfix, 1, habits),
            Exporter::new(v4(3), Version::Ipfix, 2, habits),
            Exporter::new(v6, Version::Ipfix, 1, habits),
            Exporter::new(v6, Version::V9, 1, habits),
        ]
    }

    fn go(mut self) {
        let mut exporters = Self::exporters(self.night.habits);
        for _ in 0..STEPS {
            for _ in 0..self.random.below(6) {
                let at = self.random.below(exporters.len() as u64) as usize;
                let payload = exporters[at].message(&mut self.random);
                self.take(exporters[at].source, payload);
            }
            match self.random.below(3) {
                0 => self.disturb(),
                _ => self.settle(),
            }
            self.now += self.random.below(4);
        }
        for exporter in &mut exporters {
            if let Some(payload) = exporter.last() {
                self.take(exporter.source, payload);
            }
        }
        self.wire.refuse_next = 0;
        self.mediator.flush_all(&mut self.wire);
        // What a refused message was to tell is told anew, which may take a few rounds.
        for _ in 0..20 {
            while self.mediator.turn(&mut self.wire, Timestamp(self.now)) {}
            self.settle();
        }
        self.check();
    }

    fn check(&self) {
        let c = &self.counters;
        let ended = c.datagrams_accepted.get() + c.discarded_total(Unit::Datagram);
        assert_eq!(c.datagrams_received.get(), ended);
        assert_eq!(c.discarded_total(Unit::Datagram), 0);
        let lost = c.discarded_total(Unit::Record);
        assert_eq!(self.wire.taken(), 0);
        let expected = sorted([&straight(&self.sent).rows].into_iter());
        let ends = || self.slaves.iter().chain(&self.before);
        let got = sorted(ends().map(|end| &end.rows));
        for end in ends() {
            assert_eq!(end.counters.sets_held.get(), 0, "a template is missing");
            assert_eq!(end.counters.discarded_total(Unit::Set), 0);
            if self.night.model == Distribution::RoundRobin && !self.night.refusals {
                let seen = &end.counters;
                assert_eq!((seen.sequence_lost.get(), seen.sequence_resets.get()), (0, 0));
            }
        }
        if self.night.model == Distribution::RoundRobin {
            assert_eq!(c.records_decoded.get(), c.records_delivered.get() + lost);
            assert_eq!(c.discarded(Discard::RecordNoSlave), 0);
        }
        let mut rest = expected.iter();
        let foreign = got.iter().filter(|row| !rest.any(|other| other == *row)).count();
        assert_eq!(foreign, 0, "rows that nobody sent");
        assert_eq!((got.len() as u64 + lost), expected.len() as u64, "of {lost} counted as lost");
    }
}

fn runs(model: Distribution, refusals: bool, habits: Habits) {
    for seed in 0..40 {
        let night = Night { model, refusals, habits };
        let run = Run::new(night, seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.go()));
        assert!(outcome.is_ok(), "seed {seed} of {night:?}");
    }
}

#[test]
fn round_robin_changes_no_record() {
    runs(Distribution::RoundRobin, false, Habits::default());
}

#[test]
fn round_robin_changes_no_record_that_came_before_its_template() {
    runs(Distribution::RoundRobin, false, Habits { early: true, steady: false });
}

/// Where a message that redefines an id is refused, what follows it in the same burst is read under
/// the old meaning, as it is behind any network that loses packets: ids keep theirs here.
#[test]
fn round_robin_loses_what_is_counted_as_lost_and_nothing_else() {
    runs(Distribution::RoundRobin, true, Habits { early: true, steady: true });
}

#[test]
fn flow_source_changes_no_record() {
    runs(Distribution::FlowSource, false, Habits::default());
}
