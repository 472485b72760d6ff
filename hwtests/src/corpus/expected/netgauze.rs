//! NetGauze's decodes: `*-flow.json` beside a capture, a JSON object a line, one for each message.
//!
//! Messages come exporter by exporter, so each is paired with weir's by domain, sequence number and
//! export time. Within a message everything is compared in its order: header, sets, templates with
//! their fields, records with theirs.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value as Json;
use weir_dataplane::describe::{Content, Description, Field, Id, Message, Record, Set, Template};
use weir_dataplane::element::Element;

use super::super::claim::{Claim, shown};
use super::super::findings::{Findings, Place};
use super::moment::moment_ms;

/// What NetGauze's names of enumerated values stand for, by element.
const NAMES: &[(&str, &str, u64)] = &[
    ("protocolIdentifier", "ICMP", 1),
    ("protocolIdentifier", "IGMP", 2),
    ("protocolIdentifier", "IPv4", 4),
    ("protocolIdentifier", "TCP", 6),
    ("protocolIdentifier", "UDP", 17),
    ("protocolIdentifier", "IPv6", 41),
    ("protocolIdentifier", "GRE", 47),
    ("protocolIdentifier", "ESP", 50),
    ("protocolIdentifier", "IPv6ICMP", 58),
    ("protocolIdentifier", "OSPFIGP", 89),
    ("protocolIdentifier", "PIM", 103),
    ("protocolIdentifier", "VRRP", 112),
    ("protocolIdentifier", "SCTP", 132),
    ("flowDirection", "ingress", 0),
    ("flowDirection", "egress", 1),
    ("flowEndReason", "idletimeout", 1),
    ("flowEndReason", "activetimeout", 2),
    ("flowEndReason", "endofFlowdetected", 3),
    ("flowEndReason", "forcedend", 4),
    ("flowEndReason", "lackofresources", 5),
    ("mplsTopLabelType", "Unknown", 0),
    ("mplsTopLabelType", "TEMIDPT", 1),
    ("mplsTopLabelType", "Pseudowire", 2),
    ("mplsTopLabelType", "VPN", 3),
    ("mplsTopLabelType", "BGP", 4),
    ("mplsTopLabelType", "LDP", 5),
    ("selectorAlgorithm", "SystematiccountbasedSampling", 1),
    ("selectorAlgorithm", "SystematictimebasedSampling", 2),
    ("selectorAlgorithm", "RandomnoutofNSampling", 3),
    ("selectorAlgorithm", "UniformprobabilisticSampling", 4),
    ("forwardingStatus", "Unknown", 0),
    ("forwardingStatus", "ForwardedUnknown", 64),
    ("forwardingStatus", "ForwardedFragmented", 65),
    ("forwardingStatus", "ForwardedNotFragmented", 66),
    ("forwardingStatus", "DroppedUnknown", 128),
    ("forwardingStatus", "ConsumedUnknown", 192),
    ("forwardingStatus", "ConsumedPuntAdjacency", 193),
    ("forwardingStatus", "ConsumedIncompleteAdjacency", 194),
    ("forwardingStatus", "ConsumedForus", 195),
];

/// Bits of `tcpControlBits` (RFC 9293, Section 3.1).
const FLAGS: [(&str, u64); 8] = [
    ("FIN", 1),
    ("SYN", 2),
    ("RST", 4),
    ("PSH", 8),
    ("ACK", 16),
    ("URG", 32),
    ("ECE", 64),
    ("CWR", 128),
];

/// Enterprises by NetGauze's names.
const ENTERPRISES: [(&str, u32); 6] = [
    ("Cisco", 9),
    ("Huawei", 2011),
    ("Juniper", 2636),
    ("CERT", 6871),
    ("VMWare", 6876),
    ("NetGauze", 3746),
];

/// What tells a message from the exporter's others: domain, sequence, export time in seconds.
type Key = (u64, u64, u64);

/// Compares with what weir makes of the capture; `place` is the file's.
pub(super) fn compare(text: &str, ours: &[Description], place: &Place) -> Findings {
    let mut findings = Findings::default();
    let mut messages: BTreeMap<Key, VecDeque<(u64, &Message)>> = BTreeMap::new();
    for description in ours {
        if let Some(message) = &description.message {
            let seconds = message.export_ms.unwrap_or_default() / 1_000;
            let sequence = message.sequence.unwrap_or_default();
            let key = (message.domain.into(), sequence.into(), seconds);
            messages.entry(key).or_default().push_back((description.number, message));
        }
    }
    for (number, line) in (1..).zip(text.lines().filter(|line| !line.trim().is_empty())) {
        let Some((protocol, said)) = parsed(line) else {
            let odd = line.chars().take(60).collect();
            findings.judged(&place.packet(number), false, odd, "a JSON object".into());
            continue;
        };
        findings.compared.packets += 1;
        let key = key(&said);
        match messages.get_mut(&key).and_then(VecDeque::pop_front) {
            Some((packet, message)) => {
                let place = place.packet(packet);
                compare_message(&protocol, &said, message, &place, &mut findings);
            }
            None => {
                let which = format!("domain {}, sequence {}, at {}", key.0, key.1, key.2);
                findings.judged(&place.packet(number), false, which, "no such message".into());
            }
        }
    }
    for (packet, message) in messages.into_values().flatten() {
        let which = format!("domain {}, sequence {:?}", message.domain, message.sequence);
        findings.judged(&place.packet(packet), false, "no message".into(), which);
    }
    findings
}

fn parsed(line: &str) -> Option<(String, Json)> {
    let Json::Object(object) = serde_json::from_str(line).ok()? else { return None };
    object.into_iter().next()
}

fn key(said: &Json) -> Key {
    let number = |name: &str| said.get(name).and_then(Json::as_u64);
    let time = |name: &str| said.get(name).and_then(Json::as_str).and_then(moment_ms);
    let domain = number("observation_domain_id").or(number("source_id"));
    let export = time("export_time").or(time("unix_time"));
    let sequence = number("sequence_number");
    (domain.unwrap_or_default(), sequence.unwrap_or_default(), export.unwrap_or_default() / 1_000)
}

fn compare_message(
    protocol: &str,
    said: &Json,
    message: &Message,
    place: &Place,
    findings: &mut Findings,
) {
    let version = if protocol == "IPFIX" { "ipfix" } else { "netflow9" };
    findings.field(&place.field("version"), version, message.protocol.name());
    // Domain, sequence and export time are equal, or the message would not be this one.
    findings.compared.fields += 3;
    if let Some(uptime) = said.get("sys_up_time").and_then(Json::as_u64) {
        let ours = message.uptime_ms.map_or(String::new(), |uptime| uptime.to_string());
        findings.field(&place.field("sys_up_time"), uptime, ours);
    }
    let sets = array(said, "sets");
    findings.field(&place.field("sets"), sets.len(), message.sets.len());
    let mut records = 0;
    for (set, ours) in sets.iter().zip(&message.sets) {
        let Some((kind, body)) = set.as_object().and_then(|set| set.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "Template" | "OptionsTemplate" => {
                compare_templates(kind, body, ours, place, findings);
            }
            _ => {
                records = compare_records(body, ours, records, place, findings);
            }
        }
    }
}

fn compare_templates(kind: &str, body: &Json, ours: &Set, place: &Place, findings: &mut Findings) {
    let said = body.as_array().map(Vec::as_slice).unwrap_or_default();
    let options = kind == "OptionsTemplate";
    findings.field(&place.field(kind), said.len(), ours.templates().len());
    for (said, ours) in said.iter().zip(ours.templates()) {
        let id = said.get("id").and_then(Json::as_u64).unwrap_or_default();
        let place = place.record(format!("template {id}"));
        findings.field(&place.field("id"), id, ours.id);
        findings.field(&place.field("options"), options, ours.options);
        compare_specifiers(said, ours, &place, findings);
    }
}

fn compare_specifiers(said: &Json, ours: &Template, place: &Place, findings: &mut Findings) {
    let scope = array(said, "scope_field_specifiers");
    let fields = array(said, "field_specifiers");
    findings.field(&place.field("fields"), scope.len() + fields.len(), ours.fields.len());
    let all = scope.iter().map(|field| (field, true)).chain(fields.iter().map(|f| (f, false)));
    for ((said, scope), ours) in all.zip(&ours.fields) {
        let name = said.get("element_id").map(element);
        let (name, number) = name.unwrap_or_default();
        let place = place.field(&name);
        let own = match ours.what.id {
            Id::Element { enterprise, id } => Some((enterprise, id)),
            _ => None,
        };
        findings.judged(&place, number == own, format!("{number:?}"), format!("{own:?}"));
        let length = said.get("length").and_then(Json::as_u64).unwrap_or_default();
        let own = ours.length.unwrap_or(u16::MAX);
        findings.judged(&place, u64::from(own) == length, length.to_string(), own.to_string());
        findings.judged(
            &place,
            scope == ours.scope,
            format!("scope {scope}"),
            ours.scope.to_string(),
        );
    }
}

/// Compares a data set's records, of which `before` came in the packet's earlier sets; returns how
/// many there are now.
fn compare_records(
    body: &Json,
    ours: &Set,
    before: u64,
    place: &Place,
    findings: &mut Findings,
) -> u64 {
    let said = array(body, "records");
    if let Some(id) = body.get("id").and_then(Json::as_u64) {
        findings.field(&place.field("set id"), id, ours.id);
    }
    let records: &[Record] = match &ours.content {
        Content::Data { records, .. } => records,
        _ => &[],
    };
    findings.field(&place.field("records"), said.len(), records.len());
    let mut number = before;
    for (said, ours) in said.iter().zip(records) {
        number += 1;
        findings.compared.records += 1;
        compare_record(said, ours, &place.record(number), findings);
    }
    number
}

fn compare_record(said: &Json, ours: &Record, place: &Place, findings: &mut Findings) {
    let (scope, fields) = (array(said, "scope_fields"), array(said, "fields"));
    findings.field(&place.field("fields"), scope.len() + fields.len(), ours.fields.len());
    for (said, ours) in scope.iter().chain(fields).zip(&ours.fields) {
        compare_field(said, ours, place, findings);
    }
}

fn compare_field(said: &Json, ours: &Field, place: &Place, findings: &mut Findings) {
    let Some((name, value)) = said.as_object().and_then(|said| said.iter().next()) else {
        findings.judged(place, false, said.to_string(), ours.what.name.to_string());
        return;
    };
    let (name, number, claim) = claimed(name, value);
    let place = place.field(&name);
    if number != ours.element() {
        let own = format!("{:?} {}", ours.element(), ours.what.name);
        findings.judged(&place, false, format!("{number:?}"), own);
        return;
    }
    findings.judged(&place, claim.agrees(ours), claim.to_string(), shown(ours));
}

/// A field's name, element and value.
fn claimed(name: &str, value: &Json) -> (String, Option<(u32, u16)>, Claim) {
    let Some(&(_, enterprise)) = ENTERPRISES.iter().find(|(known, _)| *known == name) else {
        let (name, number) = element(&Json::String(name.into()));
        let claim = claim(&name, value);
        return (name, number, claim);
    };
    let unknown = value.get("Unknown");
    let id = unknown.and_then(|unknown| unknown.get("id")).and_then(Json::as_u64);
    let octets = unknown.and_then(|unknown| unknown.get("value"));
    let id = id.and_then(|id| u16::try_from(id).ok());
    let claim = octets.map_or(Claim::Odd(value.to_string()), |octets| claim("", octets));
    let name = id.map_or(name.into(), |id| format!("{enterprise}/{id}"));
    (name, id.map(|id| (enterprise, id)), claim)
}

/// An element's name and number: a name of IANA's, or `{"Huawei": {"Unknown": {"id": 232}}}`.
fn element(said: &Json) -> (String, Option<(u32, u16)>) {
    if let Json::String(name) = said {
        let found = Element::from_name(name).map(|element| (0, element.id));
        return (name.clone(), found);
    }
    let Some((name, rest)) = said.as_object().and_then(|said| said.iter().next()) else {
        return (said.to_string(), None);
    };
    let enterprise = ENTERPRISES.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
    let id = rest.get("Unknown").and_then(|unknown| unknown.get("id")).and_then(Json::as_u64);
    let number = enterprise.zip(id.and_then(|id| u16::try_from(id).ok()));
    (number.map_or(said.to_string(), |(enterprise, id)| format!("{enterprise}/{id}")), number)
}

fn claim(element: &str, value: &Json) -> Claim {
    let odd = || Claim::Odd(value.to_string());
    match value {
        Json::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(number), _) => Claim::Number(number),
            (_, Some(number)) => Claim::Float(number),
            _ => odd(),
        },
        Json::Bool(value) => Claim::Number(if *value { 1 } else { 2 }),
        Json::String(text) => of_text(element, text),
        Json::Array(octets) => {
            let octet = |octet: &Json| octet.as_u64().and_then(|octet| u8::try_from(octet).ok());
            let octets: Option<Vec<u8>> = octets.iter().map(octet).collect();
            octets.map_or_else(odd, Claim::Octets)
        }
        Json::Object(object) if element == "tcpControlBits" => {
            let is_set = |name: &str| object.get(name).and_then(Json::as_bool).unwrap_or_default();
            Claim::Number(FLAGS.iter().filter(|(name, _)| is_set(name)).map(|(_, bit)| bit).sum())
        }
        Json::Object(object) => match object.iter().next() {
            Some((name, Json::Number(number))) if name == "Unassigned" => {
                number.as_u64().map_or_else(odd, Claim::Number)
            }
            // A name within a name: {"Consumed": "Forus"}; one within which the number is left.
            Some((name, Json::String(inner))) => of_text(element, &format!("{name}{inner}")),
            Some((_, inner @ Json::Object(_))) => claim(element, inner),
            _ => odd(),
        },
        Json::Null => odd(),
    }
}

/// What a text stands for: an enumerated value, a moment, an address, or itself.
fn of_text(element: &str, text: &str) -> Claim {
    let named = NAMES.iter().find(|(of, name, _)| *of == element && *name == text);
    if let Some((_, _, number)) = named {
        return Claim::Number(*number);
    }
    let moment = || moment_ms(text).map(Claim::Moment);
    let address = || text.parse().ok().map(Claim::Address);
    match Element::from_name(element).map(|element| element.kind) {
        Some(weir_dataplane::element::DataType::String) | None => Claim::Text(text.into()),
        _ => moment().or_else(address).unwrap_or(Claim::Text(text.into())),
    }
}

fn array<'a>(of: &'a Json, name: &str) -> &'a [Json] {
    of.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_claimed_as_they_are_meant() {
        let of = |text: &str| {
            let said: Json = serde_json::from_str(text).expect("JSON");
            let (name, value) =
                said.as_object().expect("an object").iter().next().expect("a field");
            claimed(name, value)
        };
        assert_eq!(of(r#"{"protocolIdentifier":"TCP"}"#).2, Claim::Number(6));
        assert_eq!(of(r#"{"forwardingStatus":{"Consumed":"Forus"}}"#).2, Claim::Number(195));
        assert_eq!(of(r#"{"flowDirection":{"Unassigned":255}}"#).2, Claim::Number(255));
        assert_eq!(of(r#"{"forwardingStatus":{"Unknown":{"Unassigned":0}}}"#).2, Claim::Number(0));
        assert_eq!(of(r#"{"tcpControlBits":{"SYN":true,"ACK":true}}"#).2, Claim::Number(18));
        assert_eq!(of(r#"{"VRFname":"2001"}"#).2, Claim::Text("2001".into()));
        let huawei = of(r#"{"Huawei":{"Unknown":{"id":232,"value":[0,1]}}}"#);
        assert_eq!((huawei.1, huawei.2), (Some((2011, 232)), Claim::Octets(vec![0, 1])));
    }
}
