//! How a unit is, and the units behind it: what `weir status` shows and `--json` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_dataplane::counter::{Counters, Discard, Unit as Ended};

use crate::topology::Role;

pub mod path;
pub mod streams;

pub use path::{Device, Latency, Source, Verdict, Worker};
pub use streams::{StreamConnection, StreamPort, Streams};

/// At most so many transport sessions of a unit are reported, the busiest; the rest is counted.
pub const MOST_SESSIONS: usize = 1_000;

/// How a unit is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Option<Role>,
    /// Where it serves control and queries.
    pub address: String,
    /// Whether it could be asked.
    pub up: bool,
    /// Why not; empty when it could.
    pub reason: String,
    /// Software version.
    pub version: String,
    /// Random for each start of the process; hexadecimal in JSON, whose numbers are too short.
    #[serde(with = "hexadecimal")]
    pub instance: u64,
    /// When the process started, ms since 1970.
    pub started_ms: u64,
    /// The packet backend in use; empty where there is none.
    pub backend: String,
    /// What the packet backend became, and why nothing better, in a sentence.
    pub backend_sentence: String,
    /// UDP listening ports.
    pub listen: Vec<u16>,
    /// Connections of exporters; `None` where none can come.
    pub streams: Option<Streams>,
    /// Counters of the packet path; `None` where there is none.
    pub traffic: Option<Traffic>,
    /// A slave's second stage, from the ring to the store.
    pub storing: Option<Traffic>,
    /// Whether both stages conserve what they took; `None` without a packet path.
    pub conserved: Option<bool>,
    /// A proxy's view of its slaves.
    pub slaves: Vec<Delivery>,
    /// The threads of the packet path.
    pub workers: Vec<Worker>,
    /// What the XDP program did with frames, without what never was.
    pub verdicts: Vec<Verdict>,
    /// The delay that the unit adds; `None` where nothing is passed on.
    pub latency: Option<Latency>,
    /// The network devices in use, and what they lost themselves.
    pub devices: Vec<Device>,
    /// What is forwarded in the kernel by source, the busiest first.
    pub sources: Vec<Source>,
    /// Sources over [`MOST_SESSIONS`].
    pub sources_omitted: u32,
    /// Transport sessions, the busiest first.
    pub sessions: Vec<Session>,
    /// Transport sessions over [`MOST_SESSIONS`].
    pub sessions_omitted: u32,
    /// The store; `None` where nothing is stored.
    pub store: Option<StoreStatus>,
    /// The RPC listeners.
    pub service: Service,
    /// The units behind it.
    pub units: Vec<UnitStatus>,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u64, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

impl UnitStatus {
    /// A unit that could not be asked.
    pub fn down(unit: &crate::topology::Unit, reason: String) -> Self {
        UnitStatus {
            name: unit.name.clone(),
            role: Some(unit.role),
            address: unit.address.to_string(),
            reason,
            ..UnitStatus::default()
        }
    }

    /// Sets [`UnitStatus::conserved`] from the two stages.
    pub fn judge(&mut self) {
        let mut stages = self.traffic.iter().chain(&self.storing).peekable();
        let streams = self.streams.as_ref().is_none_or(Streams::is_conserved);
        let any = stages.peek().is_some();
        self.conserved = any.then(|| streams && stages.all(Traffic::is_conserved));
    }

    /// Keeps the busiest sources, and counts the others.
    pub fn set_sources(&mut self, mut sources: Vec<Source>) {
        sources.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.address.cmp(&b.address)));
        self.sources_omitted =
            u32::try_from(sources.len().saturating_sub(MOST_SESSIONS)).unwrap_or(u32::MAX);
        sources.truncate(MOST_SESSIONS);
        self.sources = sources;
    }

    /// Keeps the busiest sessions, and counts the others.
    pub fn set_sessions(&mut self, mut sessions: Vec<Session>) {
        sessions.sort_by(|a, b| {
            b.datagrams.cmp(&a.datagrams).then_with(|| a.exporter.cmp(&b.exporter))
        });
        self.sessions_omitted =
            u32::try_from(sessions.len().saturating_sub(MOST_SESSIONS)).unwrap_or(u32::MAX);
        sessions.truncate(MOST_SESSIONS);
        self.sessions = sessions;
    }
}

/// Discards of one kind: reason → count, without the zeroes.
pub type Reasons = BTreeMap<String, u64>;

/// Discards by what ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Discarded {
    /// Whole datagrams.
    pub datagram: Reasons,
    /// Sets of datagrams that were otherwise accepted.
    pub set: Reasons,
    /// Records.
    pub record: Reasons,
}

/// The counters of one stage of a unit's packet path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Datagrams taken from the network.
    pub datagrams_received: u64,
    /// Datagrams that the system dropped before.
    pub datagrams_dropped: u64,
    /// Datagrams that were understood.
    pub datagrams_accepted: u64,
    /// Messages to slaves.
    pub messages_sent: u64,
    /// Messages that the system refused to send.
    pub messages_failed: u64,
    /// Template records read.
    pub templates_received: u64,
    /// Records decoded; in the store's stage, rows taken from the ring.
    pub records_decoded: u64,
    /// Records handed on; in the store's stage, rows that queries can see.
    pub records_delivered: u64,
    /// Records neither handed on nor discarded yet.
    pub records_in_flight: u64,
    /// Options data records read.
    pub options_decoded: u64,
    /// sFlow counter samples read; none is kept.
    pub counter_samples: u64,
    /// sFlow samples of a kind that weir does not know.
    pub samples_unknown: u64,
    /// Templates and options data that could not be sent to a slave.
    pub broadcasts_failed: u64,
    /// Upstream units that sequence numbers say were lost.
    pub sequence_lost: u64,
    /// Sequence numbers that started anew.
    pub sequence_resets: u64,
    /// Datagrams that the kernel forwarded by itself; among the received and the accepted.
    pub datagrams_forwarded: u64,
    /// Datagrams that one worker handed over to another, which counts them.
    pub handed_over: u64,
    /// Data sets that wait for their template.
    pub sets_held: u64,
    /// Copies of datagrams that were sent.
    pub copies_sent: u64,
    /// Copies that the system refused to send.
    pub copies_failed: u64,
    /// Messages with templates, forwarded in the kernel, that no worker could listen in to.
    pub templates_unheard: u64,
    /// Sampling rates of exporters that have told too many.
    pub rates_refused: u64,
    /// Names that the store could not take in time.
    pub names_lost: u64,
    /// News of a worker that found no room on their way.
    pub news_lost: u64,
    /// What ended, and why.
    pub discarded: Discarded,
}

impl std::ops::AddAssign<&Traffic> for Traffic {
    fn add_assign(&mut self, other: &Traffic) {
        self.datagrams_received += other.datagrams_received;
        self.datagrams_dropped += other.datagrams_dropped;
        self.datagrams_accepted += other.datagrams_accepted;
        self.messages_sent += other.messages_sent;
        self.messages_failed += other.messages_failed;
        self.templates_received += other.templates_received;
        self.records_decoded += other.records_decoded;
        self.records_delivered += other.records_delivered;
        self.records_in_flight += other.records_in_flight;
        self.options_decoded += other.options_decoded;
        self.counter_samples += other.counter_samples;
        self.samples_unknown += other.samples_unknown;
        self.broadcasts_failed += other.broadcasts_failed;
        self.sequence_lost += other.sequence_lost;
        self.sequence_resets += other.sequence_resets;
        self.datagrams_forwarded += other.datagrams_forwarded;
        self.handed_over += other.handed_over;
        self.sets_held += other.sets_held;
        self.copies_sent += other.copies_sent;
        self.copies_failed += other.copies_failed;
        self.templates_unheard += other.templates_unheard;
        self.rates_refused += other.rates_refused;
        self.names_lost += other.names_lost;
        self.news_lost += other.news_lost;
        let Discarded { datagram, set, record } = &other.discarded;
        let own = &mut self.discarded;
        for (own, reasons) in
            [(&mut own.datagram, datagram), (&mut own.set, set), (&mut own.record, record)]
        {
            for (reason, count) in reasons {
                *own.entry(reason.clone()).or_default() += count;
            }
        }
    }
}

impl Traffic {
    /// Reads a page of counters. Its numbers move while they are read; [`Traffic::settled`] waits
    /// for a moment at which they fit.
    pub fn read(counters: &Counters) -> Self {
        let mut discarded = Discarded::default();
        for &reason in Discard::ALL {
            let count = counters.discarded(reason);
            let kind = match reason.unit() {
                Ended::Datagram => &mut discarded.datagram,
                Ended::Set => &mut discarded.set,
                Ended::Record => &mut discarded.record,
            };
            if count > 0 {
                kind.insert(reason.name().to_owned(), count);
            }
        }
        Traffic {
            datagrams_received: counters.datagrams_received.get(),
            datagrams_dropped: counters.datagrams_dropped.get(),
            datagrams_accepted: counters.datagrams_accepted.get(),
            messages_sent: counters.messages_sent.get(),
            messages_failed: counters.messages_failed.get(),
            templates_received: counters.templates_received.get(),
            records_decoded: counters.records_decoded.get(),
            records_delivered: counters.records_delivered.get(),
            records_in_flight: counters.records_in_flight.get(),
            options_decoded: counters.options_decoded.get(),
            counter_samples: counters.counter_samples.get(),
            samples_unknown: counters.samples_unknown.get(),
            broadcasts_failed: counters.broadcasts_failed.get(),
            sequence_lost: counters.sequence_lost.get(),
            sequence_resets: counters.sequence_resets.get(),
            datagrams_forwarded: 0,
            handed_over: counters.handed_over.get(),
            sets_held: counters.sets_held.get(),
            copies_sent: counters.copies_sent.get(),
            copies_failed: counters.copies_failed.get(),
            templates_unheard: counters.templates_unheard.get(),
            rates_refused: counters.rates_refused.get(),
            names_lost: counters.names_lost.get(),
            news_lost: counters.news_lost.get(),
            discarded,
        }
    }

    /// Reads a page of counters that its worker keeps adding to: again until what it shows is
    /// conserved, at most `attempts` times. A worker whose counters never fit is shown as it is.
    pub async fn settled(counters: &Counters, attempts: u32) -> Self {
        let mut traffic = Traffic::read(counters);
        for _ in 1..attempts {
            if traffic.is_conserved() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            traffic = Traffic::read(counters);
        }
        traffic
    }

    /// Adds what the kernel did by itself: it received these datagrams too, forwarded some, and
    /// dropped the others by rule, for reasons that workers count by the same names.
    pub fn add_kernel(&mut self, forwarded: u64, dropped: &[(&str, u64)]) {
        self.datagrams_forwarded += forwarded;
        self.datagrams_accepted += forwarded;
        self.datagrams_received += forwarded;
        for &(reason, count) in dropped.iter().filter(|(_, count)| *count > 0) {
            self.datagrams_received += count;
            *self.discarded.datagram.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Whether everything that came in is accounted for: datagrams received = accepted + Σ
    /// discarded, and records decoded = delivered + in flight + Σ discarded.
    pub fn is_conserved(&self) -> bool {
        let datagrams = self.datagrams_accepted + self.discarded.datagram.values().sum::<u64>();
        let records = self.records_delivered
            + self.records_in_flight
            + self.discarded.record.values().sum::<u64>();
        self.datagrams_received == datagrams && self.records_decoded == records
    }
}

/// A proxy's view of a slave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// The slave.
    pub name: String,
    /// Its address.
    pub address: String,
    /// A foreign collector: not watched, not asked.
    pub external: bool,
    /// Whether it gets records.
    pub healthy: bool,
    /// Why not.
    pub reason: String,
    /// Messages sent to it.
    pub messages: u64,
    /// Data records sent to it.
    pub records: u64,
    /// Options data records sent to it.
    pub options: u64,
    /// Since when it is healthy or not, ms since 1970.
    pub changed_ms: u64,
    /// How often it went away.
    pub losses: u64,
    /// Its share beside the others'.
    pub weight: u16,
    /// Whether it gets no new records, only templates.
    pub drained: bool,
    /// Datagrams that the kernel forwarded to it.
    pub forwarded: u64,
}

/// A transport session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// The exporter's address and port.
    pub exporter: String,
    /// The listening port.
    pub port: u16,
    /// The protocol's name.
    pub protocol: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// Observation domain, source id, or v5 engine.
    pub domain: u32,
    /// Datagrams accepted.
    pub datagrams: u64,
    /// Data records decoded.
    pub records: u64,
    /// Upstream units lost, by the protocol's own count.
    pub lost: u64,
    /// Restarts of the sequence.
    pub resets: u64,
    /// Live templates.
    pub templates: u32,
    /// When it was last heard of, ms since 1970.
    pub last_seen_ms: u64,
}

/// A slave's store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// Its folder.
    pub directory: String,
    /// Sealed segments.
    pub segments: u64,
    /// Rows in them.
    pub sealed_rows: u64,
    /// Rows in memory.
    pub memory_rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Seals that failed since the start.
    pub seal_failures: u64,
    /// Names of exporters' interfaces, applications and VRFs.
    pub names: u64,
    /// Names refused, of exporters that have told too many.
    pub refused_names: u64,
    /// The last failure; empty when all is well.
    pub last_error: String,
}

/// A unit's RPC listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Connections open now.
    pub connections: u32,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because too many were open.
    pub refused: u64,
    /// Connections closed for garbage, oversize, too many calls, or silence.
    pub broken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conservation_counts_what_is_in_flight() {
        let counters = Counters::default();
        counters.records_decoded.add(10);
        counters.records_delivered.add(6);
        counters.discard(Discard::RingFull, 3);
        assert!(!Traffic::read(&counters).is_conserved());
        counters.records_in_flight.set(1);
        assert!(Traffic::read(&counters).is_conserved());
    }

    #[test]
    fn a_lost_datagram_breaks_conservation() {
        let counters = Counters::default();
        counters.datagrams_received.add(2);
        counters.datagrams_accepted.add(1);
        assert!(!Traffic::read(&counters).is_conserved());
        counters.discard(Discard::TooShort, 1);
        let traffic = Traffic::read(&counters);
        assert!(traffic.is_conserved());
        assert_eq!(traffic.discarded.datagram["too_short"], 1);
    }

    #[test]
    fn the_traffic_of_workers_is_summed_reason_by_reason() {
        let mut sum = Traffic::default();
        for (received, short) in [(5, 2), (7, 3)] {
            let counters = Counters::default();
            counters.datagrams_received.add(received);
            counters.datagrams_accepted.add(received - short);
            counters.discard(Discard::TooShort, short);
            sum += &Traffic::read(&counters);
        }
        assert_eq!((sum.datagrams_received, sum.datagrams_accepted), (12, 7));
        assert_eq!(sum.discarded.datagram["too_short"], 5);
        assert!(sum.is_conserved());
    }

    #[test]
    fn what_the_kernel_forwards_and_drops_is_part_of_the_traffic() {
        let mut traffic =
            Traffic { datagrams_received: 3, datagrams_accepted: 3, ..Traffic::default() };
        traffic.add_kernel(100, &[("source_not_allowed", 7), ("format_not_allowed", 0)]);
        assert_eq!((traffic.datagrams_received, traffic.datagrams_accepted), (110, 103));
        assert_eq!(traffic.datagrams_forwarded, 100);
        assert_eq!(traffic.discarded.datagram.len(), 1);
        assert!(traffic.is_conserved());
    }

    #[test]
    fn json_is_read_back_as_written() {
        let mut status = UnitStatus { instance: u64::MAX - 1, ..UnitStatus::default() };
        status.units.push(UnitStatus { role: Some(Role::Slave), ..UnitStatus::default() });
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<UnitStatus>(&json).unwrap(), status);
    }

    #[test]
    fn the_busiest_sessions_are_kept() {
        let mut status = UnitStatus::default();
        let session = |n: u64| Session { datagrams: n, ..Session::default() };
        status.set_sessions((0..1_200).map(session).collect());
        assert_eq!(status.sessions.len(), MOST_SESSIONS);
        assert_eq!((status.sessions[0].datagrams, status.sessions_omitted), (1_199, 200));
    }
}
