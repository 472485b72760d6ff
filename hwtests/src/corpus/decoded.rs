//! Captures as weir reads them, both ways: described field by field, and collected into columns.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use weir_controlplane::capture::Skipped;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::describe::{Content, Describer, Description, Set};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::wire::Protocol;
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::Batch;

use super::file;

/// The exporter of a payload that nothing is known of: a documentation address (RFC 5737).
const EXPORTER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);
/// Where it sends to.
const COLLECTOR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2_055);
/// When it sent: 2023-11-14, ms since 1970.
const THEN_MS: u64 = 1_700_000_000_000;
/// Rows for which there is room at first.
const ROWS: usize = 1_024;

/// What one exporter's files say.
#[derive(Debug)]
pub struct Decoded {
    /// Each datagram's description, in order.
    pub descriptions: Vec<Description>,
    /// The rows of columns.
    pub rows: Batch,
    /// Frames of the files that gave no datagram.
    pub skipped: Skipped,
    /// Files that could not be read, with the reason.
    pub unread: Vec<(PathBuf, String)>,
    /// Why datagrams, sets and records ended, and how often, as the collector counts it.
    pub discarded: Vec<(Discard, u64)>,
    /// Which transport sessions' messages use templates that no file gave.
    pub missing: BTreeSet<TemplateKey>,
    /// The templates that the files give.
    pub given: BTreeSet<TemplateKey>,
}

/// A template of an exporter: address if the files say it, protocol, domain and id.
pub type TemplateKey = (Option<SocketAddr>, Protocol, u32, u16);

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// UDP datagrams.
    pub datagrams: u64,
    /// Those whose header makes sense.
    pub messages: u64,
    /// Template records, options templates among them.
    pub templates: u64,
    /// Data records that are flows.
    pub records: u64,
    /// Data records of options templates, and samples that are no flows.
    pub options: u64,
    /// Fields of both.
    pub fields: u64,
    /// Complaints.
    pub complaints: u64,
}

impl Decoded {
    /// Of these files of one exporter, in order.
    pub fn of(files: &[PathBuf]) -> Decoded {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: ROWS,
        };
        let mut collector = Collector::new(config, Arc::clone(&counters));
        let mut describer = Describer::default();
        let mut decoded = Decoded {
            descriptions: Vec::new(),
            rows: Batch::with_capacity(0),
            skipped: Skipped::default(),
            unread: Vec::new(),
            discarded: Vec::new(),
            missing: BTreeSet::new(),
            given: BTreeSet::new(),
        };
        for path in files {
            let capture = match file::read(path) {
                Ok(capture) => capture,
                Err(reason) => {
                    decoded.unread.push((path.clone(), reason));
                    continue;
                }
            };
            decoded.skipped += capture.skipped;
            for datagram in capture.datagrams {
                let source = datagram.source.unwrap_or(EXPORTER);
                let destination = datagram.destination.unwrap_or(COLLECTOR);
                let now = Timestamp(datagram.time_ms.unwrap_or(THEN_MS));
                let payload = &datagram.payload;
                collector.datagram(&Datagram { source, destination, payload }, now);
                decoded.rows.append(&collector.take_batch().unwrap_or_default());
                let description = describer.datagram(source, destination, payload, now);
                decoded.note_templates(datagram.source, &description);
                decoded.descriptions.push(description);
            }
        }
        collector.finish();
        decoded.rows.append(&collector.take_batch().unwrap_or_default());
        let counted = Discard::ALL.iter().map(|&reason| (reason, counters.discarded(reason)));
        decoded.discarded = counted.filter(|(_, count)| *count > 0).collect();
        decoded
    }

    /// Takes down which templates a description gives and which it lacks.
    fn note_templates(&mut self, source: Option<SocketAddr>, description: &Description) {
        let Some(message) = &description.message else { return };
        let key = |id: u16| (source, message.protocol, message.domain, id);
        for template in description.templates().filter(|template| !template.withdrawal) {
            self.given.insert(key(template.id));
            self.missing.remove(&key(template.id));
        }
        for set in message.sets.iter().filter(|set| matches!(set.content, Content::Unknown)) {
            let missing = u16::try_from(set.id).ok().map(key);
            self.missing.extend(missing.filter(|missing| !self.given.contains(missing)));
        }
    }

    /// How many of each there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { datagrams: self.descriptions.len() as u64, ..Counts::default() };
        for description in &self.descriptions {
            counts.messages += u64::from(description.message.is_some());
            counts.templates += description.templates().count() as u64;
            counts.complaints += description.complaints.len() as u64;
            let own = description.message.iter().flat_map(|message| &message.sets);
            for set in own.chain(description.late.iter().map(|late| &late.set)) {
                let records = set.records();
                let count = if is_flows(set) { &mut counts.records } else { &mut counts.options };
                *count += records.len() as u64;
                counts.fields +=
                    records.iter().map(|record| record.fields.len() as u64).sum::<u64>();
            }
        }
        counts
    }
}

/// Whether a set's records are flows, and not options data, nor an sFlow sample of counters or of a
/// discarded packet.
pub fn is_flows(set: &Set) -> bool {
    const NO_FLOWS: [u32; 3] = [2, 4, 5];
    !matches!(set.content, Content::Data { options: true, .. }) && !NO_FLOWS.contains(&set.id)
}
