//! What fields are called, and which type their values have.

use std::borrow::Cow;

use super::description::{Field, Id, Octets, What};
use super::learned::Learned;
use super::value::{self, Value};
use crate::element::{DataType, Element};
use crate::wire::set::FieldSpecifier;
use crate::wire::{HeaderField, Protocol, fixed, ipfix, netflow1, netflow5, netflow6};
use crate::wire::{netflow7, netflow8, netflow9};

/// The enterprise number of reverse elements (RFC 5103, Section 6.1).
const REVERSE: u32 = 29305;

/// What a field specifier says.
pub(super) fn of_specifier(
    protocol: Protocol,
    field: &FieldSpecifier,
    scope: bool,
    learned: &Learned,
) -> What {
    if scope
        && protocol == Protocol::Netflow9
        && let Some(what) = scope_of_v9(field.element)
    {
        return what;
    }
    let (enterprise, id) = (field.enterprise, field.element);
    if enterprise == REVERSE
        && let Some(element) = Element::from_id(id)
    {
        return what(enterprise, id, reversed(element.name), element.kind, element.units);
    }
    if let Some(element) = Element::find(enterprise, id) {
        return what(enterprise, id, Cow::Borrowed(element.name), element.kind, element.units);
    }
    let number = Id::Element { enterprise, id };
    match learned.get(enterprise, id) {
        Some(described) => What {
            id: number,
            name: Cow::Owned(described.name.clone()),
            kind: described.kind,
            units: Cow::Borrowed(described.units),
        },
        None => What {
            id: number,
            name: Cow::Owned(format!("{enterprise}/{id}")),
            kind: None,
            units: Cow::Borrowed(""),
        },
    }
}

/// What IANA's element says; for protocols whose fields have no numbers of their own.
pub(super) fn of_element(id: u16) -> What {
    match Element::from_id(id) {
        Some(element) => what(0, id, Cow::Borrowed(element.name), element.kind, element.units),
        None => What::named("unknown", DataType::OctetArray),
    }
}

fn what(
    enterprise: u32,
    id: u16,
    name: Cow<'static, str>,
    kind: DataType,
    units: &'static str,
) -> What {
    What { id: Id::Element { enterprise, id }, name, kind: Some(kind), units: Cow::Borrowed(units) }
}

/// RFC 5103, Section 6.1: "reverse" before the name, whose first letter becomes a capital.
fn reversed(name: &str) -> Cow<'static, str> {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    Cow::Owned(["reverse", &first.into_iter().chain(letters).collect::<String>()].concat())
}

/// RFC 3954, Section 6.1.
fn scope_of_v9(id: u16) -> Option<What> {
    let name = match id {
        1 => "System",
        2 => "Interface",
        3 => "LineCard",
        4 => "Cache",
        5 => "Template",
        _ => return None,
    };
    Some(What { id: Id::Scope(id), ..What::named(name, DataType::Unsigned32) })
}

/// A field of a header that stands at the head of `octets`.
pub(super) fn header_field(field: &HeaderField, octets: &Octets) -> Field {
    let kind = of_named(field);
    let octets = octets.part(field.at.clone());
    let value = value::read(kind, &octets).unwrap_or(Value::Octets);
    Field { what: What::named(field.name, kind), scope: false, value, octets }
}

/// The type of a field that has no element.
pub(super) fn of_named(field: &HeaderField) -> DataType {
    match (field.name, field.at.len()) {
        ("unixSeconds" | "exportTime", _) => DataType::DateTimeSeconds,
        ("peerNextHop" | "bypassedRouter" | "agentAddress", 4) => DataType::Ipv4Address,
        ("agentAddress", 16) => DataType::Ipv6Address,
        _ => DataType::Unsigned32,
    }
}

/// What the version field names, and where its header is defined.
pub(super) fn version(payload: &[u8]) -> (&'static str, &'static str) {
    match number(payload, 0..2) {
        Some(0) => (Protocol::Sflow.name(), "sFlow Version 5, Section 5"),
        Some(1) => (Protocol::Netflow1.name(), ""),
        Some(5) => (Protocol::Netflow5.name(), ""),
        Some(6) => (Protocol::Netflow6.name(), ""),
        Some(7) => (Protocol::Netflow7.name(), ""),
        Some(8) => (Protocol::Netflow8.name(), ""),
        Some(9) => (Protocol::Netflow9.name(), "RFC 3954, Section 5.1"),
        Some(10) => (Protocol::Ipfix.name(), "RFC 7011, Section 3.1"),
        _ => ("any protocol", ""),
    }
}

/// What stands in a field of a header that may be cut short.
pub(super) fn in_header(payload: &[u8], name: &str) -> Option<u64> {
    let layout: &fixed::Layout = match number(payload, 0..2)? as u16 {
        netflow9::VERSION => return find(netflow9::HEADER_FIELDS.iter(), payload, name),
        ipfix::VERSION => return find(ipfix::HEADER_FIELDS.iter(), payload, name),
        netflow1::VERSION => &netflow1::LAYOUT,
        netflow5::VERSION => &netflow5::LAYOUT,
        netflow6::VERSION => &netflow6::LAYOUT,
        netflow7::VERSION => &netflow7::LAYOUT,
        netflow8::VERSION => &netflow8::LAYOUTS[0],
        _ => return None,
    };
    find(layout.header_fields(), payload, name)
}

fn find<'a>(
    mut fields: impl Iterator<Item = &'a HeaderField>,
    payload: &[u8],
    name: &str,
) -> Option<u64> {
    number(payload, fields.find(|field| field.name == name)?.at.clone())
}

fn number(payload: &[u8], at: std::ops::Range<usize>) -> Option<u64> {
    match value::read(DataType::Unsigned64, payload.get(at)?) {
        Ok(Value::Unsigned(number)) => Some(number),
        _ => None,
    }
}

/// The type's name in the registry's spelling.
pub(super) fn data_type(kind: DataType) -> &'static str {
    use DataType::*;
    match kind {
        Unsigned8 => "unsigned8",
        Unsigned16 => "unsigned16",
        Unsigned32 => "unsigned32",
        Unsigned64 => "unsigned64",
        Unsigned256 => "unsigned256",
        Signed32 => "signed32",
        Float64 => "float64",
        Boolean => "boolean",
        OctetArray => "octetArray",
        String => "string",
        MacAddress => "macAddress",
        Ipv4Address => "ipv4Address",
        Ipv6Address => "ipv6Address",
        DateTimeSeconds => "dateTimeSeconds",
        DateTimeMilliseconds => "dateTimeMilliseconds",
        DateTimeMicroseconds => "dateTimeMicroseconds",
        DateTimeNanoseconds => "dateTimeNanoseconds",
        BasicList => "basicList",
        SubTemplateList => "subTemplateList",
        SubTemplateMultiList => "subTemplateMultiList",
    }
}
