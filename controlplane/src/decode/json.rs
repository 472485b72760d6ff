//! A packet as a line of JSON. README, "A capture, packet by packet", documents the shape; what it
//! has stays, and further members may come.

use serde::Serialize;
use serde_json::{Value as Json, json};
use weir_dataplane::describe::{
    Complaint, Content, Field, Id, Items, Record, SampleKind, Set, Specifier, Template, Value,
};

use super::{Packet, form};

#[derive(Serialize)]
struct Line<'a> {
    packet: u64,
    frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<std::net::SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<std::net::SocketAddr>,
    octets: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    late: Vec<Late<'a>>,
    complaints: Vec<Complained<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    protocol: &'static str,
    domain: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    export_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_ms: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    header: Vec<Json>,
    sets: Vec<SetOf<'a>>,
}

#[derive(Serialize)]
struct Late<'a> {
    packet: u64,
    set: SetOf<'a>,
}

#[derive(Serialize)]
struct SetOf<'a> {
    kind: &'static str,
    id: Json,
    offset: usize,
    length: usize,
    padding: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    templates: Option<Vec<TemplateOf<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<RecordOf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    octets: Option<String>,
}

#[derive(Serialize)]
struct TemplateOf<'a> {
    id: u16,
    options: bool,
    withdrawal: bool,
    effect: &'static str,
    offset: usize,
    length: usize,
    fields: Vec<SpecifierOf<'a>>,
}

#[derive(Serialize)]
struct SpecifierOf<'a> {
    #[serde(flatten)]
    number: Number,
    name: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    length: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scope: bool,
}

#[derive(Serialize)]
struct RecordOf {
    offset: usize,
    length: usize,
    fields: Vec<Json>,
}

#[derive(Default, Serialize)]
struct Number {
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_type: Option<u16>,
}

#[derive(Serialize)]
struct FieldOf<'a> {
    #[serde(flatten)]
    number: Number,
    name: &'a str,
    value: Json,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scope: bool,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    octets: Option<String>,
}

#[derive(Serialize)]
struct Complained<'a> {
    kind: &'static str,
    severity: &'static str,
    offset: usize,
    length: usize,
    place: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
}

/// A packet as one line; `explain` adds each field's type, place and octets.
///
/// # Errors
/// Those of the serializer.
pub fn packet(packet: &Packet, explain: bool) -> serde_json::Result<String> {
    let (datagram, description) = (&packet.captured.datagram, &packet.description);
    let message = description.message.as_ref().map(|message| Message {
        protocol: message.protocol.name(),
        domain: message.domain,
        sequence: message.sequence,
        export_time: message.export_ms.map(form::time_ms),
        uptime_ms: message.uptime_ms,
        header: if explain { fields(&message.header, explain) } else { Vec::new() },
        sets: message.sets.iter().map(|one| set(one, explain)).collect(),
    });
    let late = description.late.iter();
    let line = Line {
        packet: description.number,
        frame: packet.captured.frame,
        time: datagram.time_ms.map(form::time_ms),
        source: datagram.source,
        destination: datagram.destination,
        octets: description.octets.len(),
        message,
        late: late.map(|late| Late { packet: late.number, set: set(&late.set, explain) }).collect(),
        complaints: description.complaints.iter().map(complained).collect(),
    };
    serde_json::to_string(&line)
}

/// The templates of a session as one line.
///
/// # Errors
/// Those of the serializer.
pub fn templates(
    exporter: &str,
    protocol: &str,
    domain: u32,
    known: &[Template],
) -> serde_json::Result<String> {
    let known: Vec<_> = known.iter().map(template).collect();
    let session = json!({
        "exporter": exporter, "protocol": protocol, "domain": domain, "templates": known,
    });
    serde_json::to_string(&json!({ "session": session }))
}

fn set(set: &Set, explain: bool) -> SetOf<'_> {
    let kind = match &set.content {
        Content::Templates(_) => "templates",
        Content::Data { options: false, .. } => "data",
        Content::Data { options: true, .. } => "options",
        Content::Unknown => "unknown",
        Content::Reserved => "reserved",
        Content::Fixed(_) => "records",
        Content::Sample(SampleKind::Flow, _) => "flow_sample",
        Content::Sample(SampleKind::Counters, _) => "counter_sample",
        Content::Sample(SampleKind::Discarded, _) => "discarded_sample",
        Content::Opaque => "opaque",
    };
    let (templates, records, octets) = match &set.content {
        Content::Templates(known) => (Some(known.iter().map(template).collect()), None, None),
        Content::Unknown | Content::Reserved | Content::Opaque => {
            (None, None, Some(form::hex(&set.octets)))
        }
        _ => (None, Some(set.records().iter().map(|one| record(one, explain)).collect()), None),
    };
    let sample = matches!(set.content, Content::Sample(..) | Content::Opaque);
    let id =
        if sample { json!(format!("{}/{}", set.id >> 12, set.id & 0xfff)) } else { json!(set.id) };
    let (offset, length) = (set.octets.offset(), set.octets.len());
    SetOf { kind, id, offset, length, padding: set.padding.len(), templates, records, octets }
}

fn template(template: &Template) -> TemplateOf<'_> {
    TemplateOf {
        id: template.id,
        options: template.options,
        withdrawal: template.withdrawal,
        effect: template.effect.name(),
        offset: template.octets.offset(),
        length: template.octets.len(),
        fields: template.fields.iter().map(specifier).collect(),
    }
}

fn specifier(field: &Specifier) -> SpecifierOf<'_> {
    SpecifierOf {
        number: number(field.what.id),
        name: &field.what.name,
        kind: field.what.type_name(),
        length: field.length,
        scope: field.scope,
    }
}

fn record(record: &Record, explain: bool) -> RecordOf {
    RecordOf {
        offset: record.octets.offset(),
        length: record.octets.len(),
        fields: fields(&record.fields, explain),
    }
}

fn fields(of: &[Field], explain: bool) -> Vec<Json> {
    of.iter().map(|one| json!(field(one, explain))).collect()
}

fn field(field: &Field, explain: bool) -> FieldOf<'_> {
    FieldOf {
        number: number(field.what.id),
        name: &field.what.name,
        value: value(field, explain),
        scope: field.scope,
        kind: if explain { field.what.type_name() } else { None },
        offset: explain.then(|| field.octets.offset()),
        octets: explain.then(|| form::hex(&field.octets)),
    }
}

fn value(field: &Field, explain: bool) -> Json {
    match &field.value {
        Value::Unsigned(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        Value::Mac(address) => json!(form::mac(*address)),
        Value::Address(address) => json!(address),
        Value::Time(moment) => json!(form::time(*moment)),
        Value::String(text) => json!(text),
        Value::Octets => json!(form::hex(&field.octets)),
        Value::Fields(within) => json!(fields(within, explain)),
        Value::List(list) => {
            let semantic = list.semantic_name().map_or(json!(list.semantic), |name| json!(name));
            match &list.items {
                Items::Basic(values) => {
                    json!({ "semantic": semantic, "values": fields(values, explain) })
                }
                Items::Templates(runs) => {
                    let run = |(id, records): &(u16, Vec<Record>)| {
                        let records: Vec<_> = records.iter().map(|r| record(r, explain)).collect();
                        json!({ "template": id, "records": records })
                    };
                    json!({ "semantic": semantic, "runs": runs.iter().map(run).collect::<Vec<_>>() })
                }
            }
        }
    }
}

fn number(id: Id) -> Number {
    match id {
        Id::Element { enterprise, id } => {
            Number { enterprise: Some(enterprise), id: Some(id), scope_type: None }
        }
        Id::Scope(kind) => Number { scope_type: Some(kind), ..Number::default() },
        Id::Named => Number::default(),
    }
}

fn complained(complaint: &Complaint) -> Complained<'_> {
    Complained {
        kind: complaint.kind.name(),
        severity: complaint.kind.severity().name(),
        offset: complaint.at.start,
        length: complaint.at.len(),
        place: &complaint.place,
        text: &complaint.text,
        rule: complaint.rule,
    }
}
