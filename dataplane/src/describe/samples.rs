//! The samples of sFlow, their records, and sampled packets layer by layer.

use std::borrow::Cow;

use super::complaint::Kind;
use super::description::{Content, Field, Octets, Record, SampleKind, Set, What};
use super::learned::Learned;
use super::names;
use super::sets::Described;
use super::teller::{Step, Teller};
use super::value::{self, Items, List, Value};
use crate::element::DataType;
use crate::wire::sampled::layers::{self, Layer};
use crate::wire::sflow::structure::{self, Form, Found, Structure, sample};
use crate::wire::sflow::{self, Datagram, Interface, Tagged};

/// The specification, for complaints.
const RULE: &str = "sFlow Version 5, Section 5";

/// The fields of a datagram's header.
pub(super) fn header(datagram: &Datagram<'_>, octets: &Octets) -> Vec<Field> {
    datagram.header_fields().map(|field| names::header_field(&field, octets)).collect()
}

/// Describes the samples of a datagram, one set each.
pub(super) fn describe(
    datagram: &Datagram<'_>,
    octets: &Octets,
    learned: &mut Learned,
    teller: &mut Teller,
) -> Described {
    let mut end = datagram.header().len();
    let mut sets = Vec::new();
    let mut flows = 0;
    for sample in datagram.samples() {
        teller.enter(Step::Sample(sets.len() + 1));
        let Ok(sample) = sample else {
            let rest = octets.from(end);
            let count = datagram.count();
            let text =
                format!("the header counts {count} samples, and this one leaves the datagram");
            teller.say(Kind::SampleMalformed, rest.range(), &text, RULE);
            end = octets.len();
            teller.leave();
            break;
        };
        let whole = octets.part(end..end + sample.bytes().len());
        end += whole.len();
        let body_end = Tagged::HEADER_LENGTH + sample.body().len();
        let body = whole.part(Tagged::HEADER_LENGTH..body_end);
        let content = Reader { learned, teller }.sample(&sample, &body);
        flows += u32::from(matches!(&content, Content::Sample(SampleKind::Flow, _)));
        let padding = whole.from(body_end);
        sets.push(Set { id: sample.tag(), octets: whole, content, padding });
        teller.leave();
    }
    (sets, Some(flows), end)
}

/// What one sample is described with.
struct Reader<'a> {
    learned: &'a mut Learned,
    teller: &'a mut Teller,
}

impl Reader<'_> {
    fn sample(&mut self, sample: &sflow::Sample<'_>, body: &Octets) -> Content {
        let (kind, fixed) = match sample.kind() {
            Ok(sflow::Kind::Flow(_)) if sample.is_expanded() => {
                (SampleKind::Flow, sample::FLOW_EXPANDED)
            }
            Ok(sflow::Kind::Flow(_)) => (SampleKind::Flow, sample::FLOW),
            Ok(sflow::Kind::Counters(_)) if sample.is_expanded() => {
                (SampleKind::Counters, sample::COUNTERS_EXPANDED)
            }
            Ok(sflow::Kind::Counters(_)) => (SampleKind::Counters, sample::COUNTERS),
            Ok(sflow::Kind::Other) if sample.tag() == sample::DISCARDED_TAG => {
                (SampleKind::Discarded, sample::DISCARDED)
            }
            Ok(sflow::Kind::Other) => {
                self.note(sample.tag(), "sample", body);
                return Content::Opaque;
            }
            Err(_) => {
                let text = format!("its fixed fields do not fit its {} octets", body.len());
                self.teller.say(Kind::SampleMalformed, body.range(), &text, RULE);
                return Content::Opaque;
            }
        };
        let (found, end) = structure::walk(fixed, body);
        if !self.teller.may_describe(found.len(), body.range()) {
            let record = Record { fields: Vec::new(), octets: body.clone() };
            return Content::Sample(kind, record);
        }
        let mut fields: Vec<_> = found.iter().map(|found| self.field(found, body, 0)).collect();
        let of: fn(u32) -> Option<&'static Structure> = match kind {
            SampleKind::Counters => structure::of_counters,
            _ => structure::of_flow,
        };
        self.records(&body.from(end), count(&fields), of, &mut fields);
        Content::Sample(kind, Record { fields, octets: body.clone() })
    }

    /// The structures in `body`, of which there are to be `count`.
    fn records(
        &mut self,
        body: &Octets,
        count: u32,
        of: fn(u32) -> Option<&'static Structure>,
        fields: &mut Vec<Field>,
    ) {
        let mut end = 0;
        for (at, record) in Tagged::new(body, count).enumerate() {
            self.teller.enter(Step::Record(at + 1));
            let Ok(record) = record else {
                let rest = body.from(end).range();
                let text = format!("the sample counts {count} records, and this one leaves it");
                self.teller.say(Kind::SampleMalformed, rest, &text, RULE);
                self.teller.leave();
                return;
            };
            let whole = body.part(end..end + record.whole.len());
            end += whole.len();
            let inside = Tagged::HEADER_LENGTH..Tagged::HEADER_LENGTH + record.body.len();
            let inside = whole.part(inside);
            let field = match of(record.tag) {
                Some(structure) => self.structure(structure, &inside, whole),
                None => {
                    self.note(record.tag, "record", &inside);
                    Field {
                        what: What { kind: None, ..What::numbered(tag_name(record.tag)) },
                        scope: false,
                        value: Value::Octets,
                        octets: inside,
                    }
                }
            };
            fields.push(field);
            self.teller.leave();
        }
        let rest = body.from(end);
        if !rest.is_empty() {
            let text = format!("{} octets follow the last record", rest.len());
            self.teller.say(Kind::TrailingOctets, rest.range(), &text, RULE);
        }
    }

    fn structure(&mut self, structure: &Structure, body: &Octets, whole: Octets) -> Field {
        self.teller.enter(Step::Field(Cow::Borrowed(structure.name)));
        let (found, end) = structure::walk(structure.fields, body);
        let mut fields = Vec::with_capacity(found.len());
        if self.teller.may_describe(found.len() + body.len() / 8, body.range()) {
            for found in &found {
                // A sampled packet says itself what it begins with: in the structure's first field.
                let first = fields.first().map_or(0, |field: &Field| number(&field.value));
                fields.push(self.field(found, body, first));
            }
        }
        if let Some(missing) = structure.fields.get(found.len()) {
            let text = format!("{} leaves the record's {} octets", missing.0, body.len());
            self.teller.say(Kind::SampleMalformed, body.range(), &text, RULE);
        } else if end < body.len() {
            let rest = body.from(end);
            if self.learned.is_news(structure.tag) {
                let text = format!("{} octets behind its last known field", rest.len());
                self.teller.say(Kind::UnknownStructure, rest.range(), &text, "");
            }
            fields.push(octets_field("unknown", rest));
        }
        self.teller.leave();
        let what = What::named(structure.name, DataType::OctetArray);
        Field { what, scope: false, value: Value::Fields(fields), octets: whole }
    }

    /// A field that was found in `body`; `first` is the value of the structure's first.
    fn field(&mut self, found: &Found, body: &Octets, first: u64) -> Field {
        let octets = body.part(found.at.clone());
        let what = match found.element {
            0 => What::named(found.name, kind(found.form, octets.len())),
            element => names::of_element(element),
        };
        let plain = |what: What, octets: Octets| {
            let kind = what.kind.unwrap_or(DataType::OctetArray);
            let value = value::read(kind, &octets).unwrap_or(Value::Octets);
            Field { what, scope: false, value, octets }
        };
        let value = match found.form {
            Form::Interface | Form::InterfaceExpanded => {
                return interface(found.name, what, octets);
            }
            Form::Packet => packet(first, &octets),
            Form::Numbers => {
                let number =
                    |at| plain(What::named("number", DataType::Unsigned32), octets.part(at));
                let numbers = (0..octets.len() / 4).map(|n| number(n * 4..n * 4 + 4));
                ordered(numbers.collect())
            }
            Form::Path | Form::Adapters => lists(found.form, body, found.at.clone()),
            Form::Text if std::str::from_utf8(&octets).is_err() => {
                let text = format!("{} is no text", found.name);
                self.teller.say(Kind::Value, octets.range(), &text, RULE);
                Value::Octets
            }
            _ => return plain(what, octets),
        };
        Field { what, scope: false, value, octets }
    }

    /// Says once for each exporter that a structure is not known.
    fn note(&mut self, tag: u32, what: &str, body: &Octets) {
        if self.learned.is_news(tag) {
            let text = format!(
                "{what} {} is not known; its {} octets are skipped, and so are later ones",
                tag_name(tag),
                body.len()
            );
            self.teller.say(Kind::UnknownStructure, body.range(), &text, "");
        }
    }
}

/// `enterprise/format`.
pub(super) fn tag_name(tag: u32) -> String {
    format!("{}/{}", tag >> 12, tag & 0xfff)
}

/// How many records a sample's last fixed field counts.
fn count(fields: &[Field]) -> u32 {
    fields.last().map_or(0, |field| number(&field.value) as u32)
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Unsigned(number) => *number,
        _ => 0,
    }
}

fn octets_field(name: &'static str, octets: Octets) -> Field {
    let what = What::named(name, DataType::OctetArray);
    Field { what, scope: false, value: Value::Octets, octets }
}

/// The type of a field that no element describes.
fn kind(form: Form, length: usize) -> DataType {
    match (form, length) {
        (Form::Number(1), _) => DataType::Unsigned8,
        (Form::Number(8), _) => DataType::Unsigned64,
        (Form::Number(_), _) => DataType::Unsigned32,
        (Form::Float, _) => DataType::Float64,
        (Form::Mac, _) => DataType::MacAddress,
        (Form::Ipv4, _) | (Form::Address, 4) => DataType::Ipv4Address,
        (Form::Ipv6, _) | (Form::Address, 16) => DataType::Ipv6Address,
        (Form::Text, _) => DataType::String,
        (Form::Numbers | Form::Path | Form::Adapters, _) => DataType::BasicList,
        _ => DataType::OctetArray,
    }
}

/// An interface's index; where a packet took none or many, words for it.
fn interface(name: &'static str, what: What, octets: Octets) -> Field {
    let words = match Interface::read(&octets) {
        Some(Interface::Index(index)) => {
            let value = Value::Unsigned(index.into());
            return Field { what, scope: false, value, octets };
        }
        Some(Interface::Discarded(reason)) => format!("discarded, reason {reason}"),
        Some(Interface::Multiple(0)) => "several interfaces".to_owned(),
        Some(Interface::Multiple(count)) => format!("{count} interfaces"),
        Some(Interface::Own) => "the agent itself".to_owned(),
        Some(Interface::Unknown(form, value)) => format!("form {form}, value {value}"),
        None => return octets_field(name, octets),
    };
    let what = What::named(name, DataType::String);
    Field { what, scope: false, value: Value::String(words), octets }
}

fn ordered(fields: Vec<Field>) -> Value {
    Value::List(List { semantic: List::ORDERED, items: Items::Basic(fields) })
}

/// An AS path's segments, or a host's adapters.
fn lists(form: Form, body: &Octets, at: std::ops::Range<usize>) -> Value {
    let lists = structure::listed(form, body, at).into_iter().map(|(head, items)| {
        let start = items.first().map_or(0, |item| item.start);
        let end = items.last().map_or(start, |item| item.end);
        let octets = body.part(start..end);
        let (name, item, kind) = match (form, head) {
            (Form::Adapters, _) => ("adapter", "macAddress", DataType::MacAddress),
            (_, 1) => ("asSet", "as", DataType::Unsigned32),
            (_, 2) => ("asSequence", "as", DataType::Unsigned32),
            _ => ("asSegment", "as", DataType::Unsigned32),
        };
        let items = items.into_iter().map(|at| {
            // Link-layer addresses are padded to eight octets.
            let padding = if form == Form::Adapters { 2 } else { 0 };
            let octets = body.part(at.start..at.end - padding);
            let value = value::read(kind, &octets).unwrap_or(Value::Octets);
            Field { what: What::named(item, kind), scope: false, value, octets }
        });
        let what = What::named(name, DataType::BasicList);
        Field { what, scope: false, value: ordered(items.collect()), octets }
    });
    ordered(lists.collect())
}

/// A packet's first octets, layer by layer.
fn packet(protocol: u64, octets: &Octets) -> Value {
    let start = u32::try_from(protocol).ok().and_then(sflow::record::start);
    let Some(start) = start else { return Value::Octets };
    Value::Fields(layers::layers(start, octets).iter().map(|l| layer(l, octets)).collect())
}

fn layer(layer: &Layer, octets: &Octets) -> Field {
    let fields = layer.items.iter().map(|item| {
        let octets = octets.part(item.at.clone());
        let kind = match item.value {
            layers::Content::Number(_) => DataType::Unsigned32,
            layers::Content::Mac(_) => DataType::MacAddress,
            layers::Content::Address(address) if address.is_ipv4() => DataType::Ipv4Address,
            layers::Content::Address(_) => DataType::Ipv6Address,
            layers::Content::Bytes => DataType::OctetArray,
        };
        let what = match item.element {
            0 => What::named(item.name, kind),
            element => names::of_element(element),
        };
        let value = match item.value {
            layers::Content::Number(number) => Value::Unsigned(number),
            layers::Content::Mac(mac) => Value::Mac(mac),
            layers::Content::Address(address) => Value::Address(address),
            layers::Content::Bytes => Value::Octets,
        };
        Field { what, scope: false, value, octets }
    });
    let what = What::named(layer.name, DataType::OctetArray);
    let value = Value::Fields(fields.collect());
    Field { what, scope: false, value, octets: octets.part(layer.at.clone()) }
}
