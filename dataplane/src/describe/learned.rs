//! What an exporter says of its own elements (RFC 5610): their names, types and units.
//!
//! Bounded, as exporters are untrusted. What the registry knows goes before what is learned.

use hashbrown::{HashMap, HashSet};

use super::description::Record;
use super::value::Value;
use crate::element::DataType;

/// Elements that are remembered of a session.
const ELEMENTS_MAX: usize = 4_096;
/// Octets of a name that is remembered.
const NAME_MAX: usize = 128;

/// The elements' numbers of the options data that describes elements (RFC 5610, Section 3).
mod element {
    pub(super) const ID: u16 = 303;
    pub(super) const DATA_TYPE: u16 = 339;
    pub(super) const NAME: u16 = 341;
    pub(super) const UNITS: u16 = 345;
    pub(super) const ENTERPRISE: u16 = 346;
}

/// An element as its exporter describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) kind: Option<DataType>,
    pub(super) units: &'static str,
}

/// What a session's exporter has said of its elements, by enterprise and number.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    elements: HashMap<(u32, u16), Described>,
    /// Tags of sFlow's structures that were complained of.
    unknown: HashSet<u32>,
}

impl Learned {
    pub(super) fn get(&self, enterprise: u32, id: u16) -> Option<&Described> {
        self.elements.get(&(enterprise, id))
    }

    /// Whether a structure was not complained of before.
    pub(super) fn is_news(&mut self, tag: u32) -> bool {
        self.unknown.len() < ELEMENTS_MAX && self.unknown.insert(tag)
    }

    /// Takes what a record of options data says, if it describes an element.
    pub(super) fn take(&mut self, record: &Record) {
        let number = |id| match record.field(0, id)?.value {
            Value::Unsigned(number) => Some(number),
            _ => None,
        };
        let name = match record.field(0, element::NAME).map(|field| &field.value) {
            Some(Value::String(name)) if !name.is_empty() && name.len() <= NAME_MAX => name,
            _ => return,
        };
        let Some(id) = number(element::ID) else { return };
        let key = (number(element::ENTERPRISE).unwrap_or(0) as u32, id as u16 & 0x7fff);
        if self.elements.len() >= ELEMENTS_MAX && !self.elements.contains_key(&key) {
            return;
        }
        let kind = number(element::DATA_TYPE).and_then(data_type);
        let units = number(element::UNITS).map_or("", units);
        self.elements.insert(key, Described { name: name.clone(), kind, units });
    }
}

/// By IANA's "IPFIX Information Element Data Types" (RFC 5610, Section 3.1; RFC 6313, Section 11).
fn data_type(number: u64) -> Option<DataType> {
    use DataType::*;
    Some(match number {
        0 => OctetArray,
        1 => Unsigned8,
        2 => Unsigned16,
        3 => Unsigned32,
        4 => Unsigned64,
        // Of numbers with a sign and of floating point the field's length says the rest.
        5..=8 => Signed32,
        9 | 10 => Float64,
        11 => Boolean,
        12 => MacAddress,
        13 => String,
        14 => DateTimeSeconds,
        15 => DateTimeMilliseconds,
        16 => DateTimeMicroseconds,
        17 => DateTimeNanoseconds,
        18 => Ipv4Address,
        19 => Ipv6Address,
        20 => BasicList,
        21 => SubTemplateList,
        22 => SubTemplateMultiList,
        _ => return None,
    })
}

/// By IANA's "IPFIX Information Element Units".
fn units(number: u64) -> &'static str {
    const UNITS: [&str; 17] = [
        "",
        "bits",
        "octets",
        "packets",
        "flows",
        "seconds",
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "4-octet words",
        "messages",
        "hops",
        "entries",
        "frames",
        "ports",
        "inferred",
        "",
    ];
    UNITS.get(number as usize).copied().unwrap_or("")
}
