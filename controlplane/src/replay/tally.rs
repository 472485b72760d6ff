//! What a collector must come to: weir's own Collecting Process over what is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};

use super::Report;
use crate::generate::Totals;

/// Sums over what has been sent.
pub(super) struct Tally {
    collector: Collector,
    counters: Arc<Counters>,
    totals: Totals,
    exporters: BTreeMap<SocketAddr, Totals>,
}

impl Default for Tally {
    fn default() -> Self {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 4_096,
        };
        let collector = Collector::new(config, Arc::clone(&counters));
        Tally { collector, counters, totals: Totals::default(), exporters: BTreeMap::new() }
    }
}

impl Tally {
    /// Counts a datagram that has left.
    pub(super) fn count(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let datagram = Datagram { source, destination, payload };
        self.collector.datagram(&datagram, Timestamp::now());
        let mut sum = Totals { datagrams: 1, ..Totals::default() };
        while let Some(batch) = self.collector.take_batch() {
            sum.flows += batch.rows() as u64;
            sum.packets += batch.packets.iter().sum::<u64>();
            sum.bytes += batch.bytes.iter().sum::<u64>();
        }
        self.totals += sum;
        *self.exporters.entry(source).or_default() += sum;
    }

    /// Datagrams so far.
    pub(super) fn datagrams(&self) -> u64 {
        self.totals.datagrams
    }

    /// The report, but for what only the sender knows.
    pub(super) fn report(mut self) -> Report {
        self.collector.finish();
        let discarded = Discard::ALL
            .iter()
            .map(|&reason| (reason.name().to_owned(), self.counters.discarded(reason)))
            .filter(|(_, count)| *count > 0);
        Report {
            totals: self.totals,
            exporters: self.exporters,
            discarded: discarded.collect(),
            options: self.counters.options_decoded.get(),
            ..Report::default()
        }
    }
}
