//! tcpdump's print of sFlow: a line for each packet, and of `-v` for each sample and record below it.
//!
//! A record's numbers come in the order in which they stand on the wire, so they are compared in that
//! order with weir's fields.

use weir_dataplane::describe::{Description, Field, Record, Value};

use super::super::claim::{number, shown};
use super::super::findings::{Findings, Place};

/// What a sample's line calls its fixed fields, and which of them that is: of flow samples.
const FLOW: [(&str, usize); 9] = [
    ("seqnum ", 0),
    ("type ", 1),
    ("idx ", 2),
    ("rate ", 3),
    ("pool ", 4),
    ("drops ", 5),
    ("input ", 6),
    ("output ", 7),
    ("records ", 8),
];
/// Of counter samples.
const COUNTERS: [(&str, usize); 4] = [("seqnum ", 0), ("type ", 1), ("idx ", 2), ("records ", 3)];

/// Octets of the tag and length before a sample or record.
const HEAD: usize = 8;

/// Compares with what weir makes of the capture.
pub(super) fn compare(text: &str, ours: &[Description], place: &Place) -> Findings {
    let mut findings = Findings::default();
    let mut packets: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        if line.contains(": sFlow") {
            packets.push(vec![line]);
        } else if let (true, Some(packet)) = (line.starts_with('\t'), packets.last_mut()) {
            packet.push(line);
        }
    }
    findings.field(&place.field("packets"), packets.len(), ours.len());
    for (lines, description) in packets.iter().zip(ours) {
        findings.compared.packets += 1;
        let place = place.packet(description.number);
        let Some((head, below)) = lines.split_first() else { continue };
        header(head, description, &place, &mut findings);
        if !below.is_empty() {
            samples(below, description, &place, &mut findings);
        }
    }
    findings
}

/// `sFlowv5, IPv4 agent 15.184.8.4, agent-id 2, seqnum 204720, uptime 2612972293, samples 7, length
/// 1288`, or less of it; `sFlow version 327681 packet not supported`; `sFlowv5 [length 8 < 28]`.
fn header(line: &str, description: &Description, place: &Place, findings: &mut Findings) {
    let Some((_, said)) = line.split_once(": sFlow") else { return };
    if said.contains("(invalid)") || said.contains("not supported") {
        let is_sflow = |name: &str| name == "sflow";
        let read = description.message.as_ref().map(|message| message.protocol.name());
        let agrees = !read.is_some_and(is_sflow);
        let ours = read.unwrap_or("no message").to_owned();
        findings.judged(&place.field("version"), agrees, said.trim().into(), ours);
        return;
    }
    let own = |name: &str| {
        let message = description.message.as_ref()?;
        let field = message.header.iter().find(|field| field.what.name == name)?;
        Some(shown(field))
    };
    let names = [
        ("IPv4 agent ", "agentAddress"),
        ("agent-id ", "subAgentId"),
        ("seqnum ", "sequenceNumber"),
        ("uptime ", "sysUptime"),
        ("samples ", "samples"),
    ];
    let parts: Vec<_> = said.split(", ").collect();
    for (theirs, ours) in names {
        let Some(value) = parts.iter().find_map(|part| part.strip_prefix(theirs)) else { continue };
        findings.field(&place.field(ours), value, own(ours).unwrap_or_default());
    }
    if let Some(length) = parts.iter().find_map(|part| part.strip_prefix("length ")) {
        findings.field(&place.field("length"), length, description.octets.len());
    }
}

/// The lines of samples, of their records and of what is in them, each further to the right.
fn samples(lines: &[&str], description: &Description, place: &Place, findings: &mut Findings) {
    let Some(message) = &description.message else {
        findings.judged(place, false, "samples".into(), "no message".into());
        return;
    };
    let mut samples = message.sets.iter();
    let mut at = 0;
    let mut records: &[Field] = &[];
    let mut leaves: Vec<&Field> = Vec::new();
    let mut is_told = false;
    for line in lines {
        let text = line.trim();
        // Octets that it does not read either.
        if text.starts_with("0x") {
            continue;
        }
        let indent = line.trim_start_matches('\t').len() - text.len();
        if indent == 0 {
            at += 1;
            (records, leaves) = (&[], Vec::new());
            let place = place.record(at);
            let Some(set) = samples.next() else {
                findings.judged(&place, false, text.into(), "no sample".into());
                continue;
            };
            findings.compared.records += 1;
            let length = set.octets.len() - HEAD;
            compare_number(text, "length ", Some(length as u64), &place, findings);
            is_told = !set.records().is_empty();
            if let [record] = set.records() {
                records = fixed(text, record, &place, findings);
            }
        } else if !is_told {
            // A sample of a kind that weir skips.
        } else if text.starts_with("enterprise ") {
            let Some((first, rest)) = records.split_first() else {
                findings.judged(&place.record(at), false, text.into(), "no record".into());
                continue;
            };
            records = rest;
            let place = place.record(format!("{at} {}", first.what.name));
            let tag = number(first.octets.get(..4).unwrap_or_default());
            findings.field(&place.field("tag"), tag_of(text), tag.map_or(String::new(), tag_name));
            let length = text.rsplit(' ').next().unwrap_or_default();
            findings.field(&place.field("length"), length, first.octets.len().saturating_sub(HEAD));
            leaves = match &first.value {
                Value::Fields(fields) => fields.iter().collect(),
                _ => Vec::new(),
            };
        } else {
            for claimed in numbers(text) {
                if leaves.is_empty() {
                    let ours = "no further field".to_owned();
                    findings.judged(&place.record(at), false, claimed.to_string(), ours);
                    break;
                }
                let field = leaves.remove(0);
                let own = match (&field.value, number(&field.octets)) {
                    // A packet's first octets are said by their length.
                    (Value::Fields(_), _) | (_, None) => field.octets.len() as u64,
                    (_, Some(own)) => own,
                };
                findings.field(&place.record(at).field(&field.what.name), claimed, own);
            }
        }
    }
    let left = samples.count();
    findings.field(&place.field("samples"), 0, left);
}

/// Compares a sample's fixed fields; returns what follows them.
fn fixed<'a>(
    text: &str,
    record: &'a Record,
    place: &Place,
    findings: &mut Findings,
) -> &'a [Field] {
    let names: &[_] = if text.contains("flow sample") { &FLOW } else { &COUNTERS };
    for &(name, index) in names {
        let octets = record.fields.get(index).map(|field| &field.octets[..]).unwrap_or_default();
        let own = match (name, octets.len()) {
            // An interface has a form and a value, in brackets and before them.
            ("input " | "output ", 8) => number(&octets[4..]),
            ("input " | "output ", 4) => number(octets).map(|both| both & 0x3fff_ffff),
            _ => number(octets),
        };
        compare_number(text, name, own, place, findings);
    }
    record.fields.get(names.len()..).unwrap_or_default()
}

/// Compares the number behind a name of a line, if it is there.
fn compare_number(
    text: &str,
    name: &str,
    own: Option<u64>,
    place: &Place,
    findings: &mut Findings,
) {
    let Some(value) = text.split(", ").find_map(|part| part.strip_prefix(name)) else { return };
    let claimed = value.split(' ').next().unwrap_or_default();
    let own = own.map_or("nothing".to_owned(), |own| own.to_string());
    findings.field(&place.field(name.trim()), claimed, own);
}

/// `enterprise 0, Generic counter (1) length 88` as `0/1`.
fn tag_of(text: &str) -> String {
    let enterprise = text.split([' ', ',']).nth(1).unwrap_or_default();
    let format = text.rsplit_once('(').and_then(|(_, rest)| rest.split(')').next());
    format!("{enterprise}/{}", format.unwrap_or_default())
}

fn tag_name(tag: u64) -> String {
    format!("{}/{}", tag >> 12, tag & 0xfff)
}

/// The numbers of a line, one of each phrase between commas; that in brackets where there is no
/// other.
fn numbers(text: &str) -> Vec<u64> {
    let of_phrase = |phrase: &str| {
        let words = || phrase.split_whitespace().rev();
        let plain = words().find_map(|word| word.parse().ok());
        plain.or_else(|| words().find_map(|word| word.trim_matches(['(', ')']).parse().ok()))
    };
    text.split(',').filter_map(of_phrase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_number_a_phrase() {
        assert_eq!(numbers("ifindex 55, iftype 117, ifdirection 1 (full-duplex)"), [55, 117, 1]);
        assert_eq!(numbers("ifstatus 3, adminstatus: up, operstatus: up"), [3]);
        assert_eq!(numbers("protocol Ethernet (1), length 126, header_size 122"), [1, 126, 122]);
    }

    #[test]
    fn a_records_tag_is_enterprise_and_format() {
        assert_eq!(tag_of("enterprise 0, Generic counter (1) length 88"), "0/1");
        assert_eq!(tag_of("enterprise 0 Raw packet (1) length 140"), "0/1");
    }
}
