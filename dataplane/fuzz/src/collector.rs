//! The collector as a whole: several exporters, little room, time that passes.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::Batch;

use super::stream::{self, PORT, Step};
use super::watch;

/// When the first datagram comes.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Room for a few exporters that keep to the rules.
pub const NARROW: SessionLimits = SessionLimits {
    sessions: 4,
    sessions_per_source: 3,
    templates_per_session: 8,
    template_bytes: 1 << 20,
    template_bytes_per_source: 64 << 10,
    option_bytes: 64 << 10,
    option_bytes_per_source: 16 << 10,
    option_bytes_per_session: 8 << 10,
    established_datagrams: 2,
    established_ms: 0,
    idle_ms: 10,
};

/// Room for whatever an input can hold.
pub const WIDE: SessionLimits = SessionLimits {
    sessions: 256,
    sessions_per_source: 256,
    templates_per_session: 20_000,
    template_bytes: 256 << 20,
    template_bytes_per_source: 32 << 20,
    option_bytes: 64 << 20,
    option_bytes_per_source: 32 << 20,
    option_bytes_per_session: 16 << 20,
    established_datagrams: 3,
    established_ms: 10_000,
    idle_ms: 1_000_000,
};

/// A collector, its counters and its rows.
#[derive(Debug)]
pub struct Lab {
    /// The collector.
    pub collector: Collector,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// What it has decoded.
    pub rows: Batch,
    limits: SessionLimits,
    hold: HoldLimits,
    sent: u64,
}

impl Lab {
    /// A collector within these bounds.
    pub fn new(limits: SessionLimits, hold_bytes: usize) -> Self {
        let counters = Arc::new(Counters::default());
        let hold = HoldLimits {
            bytes: hold_bytes,
            bytes_per_source: hold_bytes,
            bytes_per_session: hold_bytes,
            ms: 30_000,
        };
        let config = CollectorConfig { sessions: limits, hold, batch_rows: 64 };
        let collector = Collector::new(config, Arc::clone(&counters));
        Lab { collector, counters, rows: Batch::default(), limits, hold, sent: 0 }
    }

    /// Takes a datagram; returns how many rows came of it.
    pub fn take(&mut self, source: SocketAddr, payload: &[u8], now: Timestamp) -> usize {
        let destination = SocketAddr::from(([192, 0, 2, 99], PORT));
        let datagram = Datagram { source, destination, payload };
        watch::packet(|| self.collector.datagram(&datagram, now));
        self.sent += 1;
        self.check();
        let Some(batch) = self.collector.take_batch() else { return 0 };
        self.rows.append(&batch);
        batch.rows()
    }

    /// What holds after every datagram.
    fn check(&self) {
        let c = &self.counters;
        let ended = c.datagrams_accepted.get() + c.discarded_total(Unit::Datagram);
        assert_eq!(c.datagrams_received.get(), self.sent, "every datagram is counted");
        assert_eq!(ended, self.sent, "every datagram ends in one counter");
        assert_eq!(c.discarded_total(Unit::Record), 0, "a collector loses no record");
        assert!(self.collector.sessions().len() <= self.limits.sessions, "sessions are bounded");
        for (_, session) in self.collector.sessions().iter() {
            assert!(session.templates.len() <= self.limits.templates_per_session);
        }
        // A chunk is 512 bytes, and a set takes one at least.
        assert!(c.sets_held.get() <= self.hold.bytes as u64 / 512, "what is held is bounded");
    }

    /// Data sets that were given up for want of a template.
    pub fn given_up(&self) -> u64 {
        self.counters.discarded(Discard::UnknownTemplate)
    }

    /// Ends the collector; returns its rows.
    pub fn finish(mut self) -> Batch {
        self.collector.finish();
        assert_eq!(self.counters.sets_held.get(), 0, "nothing is held after the end");
        let rows = self.rows.rows() as u64;
        assert_eq!(self.counters.records_decoded.get(), rows, "every record is a row");
        self.rows
    }
}

/// The target's body.
pub fn run(input: &[u8]) {
    let mut lab = Lab::new(NARROW, 32 << 10);
    let mut now = NOW;
    for Step { source, wait_ms, event, payload } in stream::steps(input) {
        now = now.plus_ms(wait_ms);
        if event == 1 {
            lab.collector.expire(now);
        }
        lab.take(source, &payload, now);
    }
    lab.finish();
}

/// One payload from one exporter, twice: what the first one taught helps the second. Returns the
/// rows of each.
pub fn twice(payload: &[u8]) -> [usize; 2] {
    let mut lab = Lab::new(WIDE, 1 << 20);
    let source = stream::exporter(0);
    let rows = [0; 2].map(|_: u8| lab.take(source, payload, NOW));
    lab.finish();
    rows
}
