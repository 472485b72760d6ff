//! What a capture was full of, and what was wrong with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value as Json, json};
use weir_dataplane::describe::{Content, Description, Kind, SampleKind, Severity};
use weir_dataplane::wire::Protocol;

use super::text::count;
use super::{Decoder, Packet};
use crate::capture::Skipped;
use crate::cli::paint::Paint;
use crate::cli::table::Table;

/// Sessions that are told apart; what others send is only in the sums.
const SESSIONS_MAX: usize = 10_000;
/// Sessions that are shown as text.
const SHOWN: usize = 40;

/// What was counted, of all or of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Messages.
    pub messages: u64,
    /// Flow records.
    pub flows: u64,
    /// Options data records.
    pub options: u64,
    /// Samples of counters and of discarded packets.
    pub other_samples: u64,
    /// Template records.
    pub templates: u64,
    /// Complaints that are more than notes.
    pub complaints: u64,
}

/// Whose messages: the exporter's address, protocol and observation domain.
type Who = (Option<IpAddr>, Protocol, u32);

/// The sum of a capture.
#[derive(Debug, Default)]
pub struct Summary {
    all: Totals,
    sessions: BTreeMap<Who, Totals>,
    /// How often, and in which packet first.
    complaints: BTreeMap<Kind, (u64, u64)>,
    first_ms: Option<u64>,
    last_ms: Option<u64>,
}

impl Totals {
    fn take(&mut self, description: &Description) {
        self.packets += 1;
        self.messages += u64::from(description.message.is_some());
        self.templates += description.templates().count() as u64;
        let own = description.message.iter().flat_map(|message| &message.sets);
        for set in own.chain(description.late.iter().map(|late| &late.set)) {
            let records = set.records().len() as u64;
            match &set.content {
                Content::Data { options: true, .. } => self.options += records,
                Content::Sample(SampleKind::Flow, _) => self.flows += 1,
                Content::Sample(..) => self.other_samples += 1,
                _ => self.flows += records,
            }
        }
        let complaints = description.complaints.iter();
        let serious = complaints.filter(|complaint| complaint.kind.severity() > Severity::Note);
        self.complaints += serious.count() as u64;
    }
}

impl Summary {
    /// Takes a packet into account.
    pub fn take(&mut self, packet: &Packet) {
        let (datagram, description) = (&packet.captured.datagram, &packet.description);
        self.all.take(description);
        if let Some(message) = &description.message {
            let who = (datagram.source.map(|s| s.ip()), message.protocol, message.domain);
            if self.sessions.len() < SESSIONS_MAX || self.sessions.contains_key(&who) {
                self.sessions.entry(who).or_default().take(description);
            }
        }
        for complaint in &description.complaints {
            let (count, _) =
                self.complaints.entry(complaint.kind).or_insert((0, description.number));
            *count += 1;
        }
        self.first_ms = self.first_ms.or(datagram.time_ms);
        self.last_ms = datagram.time_ms.or(self.last_ms);
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.all
    }

    /// As text.
    pub fn text(&self, decoder: &Decoder, paint: Paint) -> String {
        let mut lines = vec![paint.head("summary")];
        if let (Some(first), Some(last)) = (self.first_ms, self.last_ms) {
            let [first, last] = [first, last].map(super::form::time_in_text);
            lines.push(format!("  captured {first} to {last}"));
        }
        let all = self.all;
        lines.push(format!(
            "  {}, {}, {}; {} of flows, {} of options{}",
            count(all.packets as usize, "packet"),
            count(all.messages as usize, "message"),
            count(all.templates as usize, "template"),
            count(all.flows as usize, "record"),
            all.options,
            match all.other_samples {
                0 => String::new(),
                samples => format!(", {samples} counter and other samples"),
            }
        ));
        if !self.sessions.is_empty() {
            lines.extend(self.session_lines());
        }
        if self.complaints.is_empty() {
            lines.push(format!("  {}", paint.good("no complaints")));
        } else {
            lines.extend(self.complaint_lines(paint));
        }
        match decoder.describer().waiting() {
            0 => {}
            sets => lines.push(format!("  {sets} data sets wait for a template that never came")),
        }
        lines.extend(
            skipped(decoder)
                .into_iter()
                .map(|(_, count, what)| format!("  passed over: {count} {what}")),
        );
        lines.join("\n") + "\n"
    }

    fn session_lines(&self) -> Vec<String> {
        let mut table = Table::new(&[
            "exporter",
            "<protocol",
            "domain",
            "packets",
            "templates",
            "flows",
            "options",
            "complaints",
        ]);
        for ((source, protocol, domain), totals) in self.sessions.iter().take(SHOWN) {
            table.row(vec![
                source.map_or("-".to_owned(), |source| source.to_string()),
                protocol.name().to_owned(),
                domain.to_string(),
                totals.packets.to_string(),
                totals.templates.to_string(),
                totals.flows.to_string(),
                totals.options.to_string(),
                totals.complaints.to_string(),
            ]);
        }
        let mut lines = table.lines(2);
        if self.sessions.len() > SHOWN {
            lines.push(format!("  and {} further ones", self.sessions.len() - SHOWN));
        }
        lines
    }

    fn complaint_lines(&self, paint: Paint) -> Vec<String> {
        let mut by_severity: Vec<_> = self.complaints.iter().collect();
        by_severity.sort_by_key(|(kind, _)| (std::cmp::Reverse(kind.severity()), **kind));
        let mut lines = Vec::new();
        for (kind, (count, first)) in by_severity {
            let severity = format!("{:<8}", kind.severity().name());
            let severity = match kind.severity() {
                Severity::Error => paint.bad(&severity),
                Severity::Warning => paint.warning(&severity),
                Severity::Note => severity,
            };
            let meaning = kind.meaning();
            lines.push(format!("  {severity}{count:>7} × {meaning}; first in packet {first}"));
        }
        lines
    }

    /// As JSON.
    pub fn json(&self, decoder: &Decoder) -> Json {
        let sessions = self.sessions.iter().map(|((source, protocol, domain), totals)| {
            let mut session = counts(totals);
            session["exporter"] = json!(source);
            session["protocol"] = json!(protocol.name());
            session["domain"] = json!(domain);
            session
        });
        let complaints = self.complaints.iter().map(|(kind, (count, first))| {
            json!({
                "kind": kind.name(), "severity": kind.severity().name(), "count": count,
                "first_packet": first,
            })
        });
        let passed_over: serde_json::Map<_, _> = skipped(decoder)
            .into_iter()
            .map(|(name, count, _)| (name.to_owned(), json!(count)))
            .collect();
        let mut summary = counts(&self.all);
        summary["sessions"] = sessions.collect();
        summary["complaints_by_kind"] = complaints.collect();
        summary["sets_without_template"] = json!(decoder.describer().waiting());
        summary["passed_over"] = json!(passed_over);
        json!({ "summary": summary })
    }
}

fn counts(totals: &Totals) -> Json {
    json!({
        "packets": totals.packets, "messages": totals.messages, "templates": totals.templates,
        "flows": totals.flows, "options": totals.options,
        "other_samples": totals.other_samples, "complaints": totals.complaints,
    })
}

/// What of the capture was passed over, how often, and in words.
fn skipped(decoder: &Decoder) -> Vec<(&'static str, u64, &'static str)> {
    let Skipped { not_ip, not_udp, cut_short, malformed, fragments } = decoder.stream().skipped();
    let all = [
        ("udp", decoder.passed_over(), "UDP datagrams that are no flow export, or not chosen"),
        ("not_ip", not_ip, "frames that are not IP"),
        ("not_udp", not_udp, "IP packets that are not UDP"),
        ("cut_short", cut_short, "frames cut short by the capture"),
        ("malformed", malformed, "frames with malformed IP or UDP headers"),
        ("fragments", fragments, "fragments without the rest of their packet"),
    ];
    all.into_iter().filter(|(_, count, _)| *count > 0).collect()
}
