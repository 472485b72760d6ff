//! What a description is made of: a datagram's message, its sets, templates, records and fields.
//!
//! Everything knows the octets that it was read from ([`Octets`]), and with them its place in the
//! datagram. Nothing here borrows, so that descriptions can be kept, compared and sent elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::complaint::Complaint;
use super::names;
use super::value::Value;
use crate::element::DataType;
use crate::wire::Protocol;

/// A piece of a datagram, which knows where in it it stands. Clones share the datagram.
#[derive(Clone)]
pub struct Octets {
    whole: Arc<[u8]>,
    at: Range<usize>,
}

impl Octets {
    /// All of a datagram's payload.
    pub fn new(payload: &[u8]) -> Octets {
        Octets { whole: payload.into(), at: 0..payload.len() }
    }

    /// Octets from the payload's first to the first of these.
    pub fn offset(&self) -> usize {
        self.at.start
    }

    /// Where these stand in the payload.
    pub fn range(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Octets of the whole payload.
    pub(super) fn whole_length(&self) -> usize {
        self.whole.len()
    }

    /// A part of these; `within` counts from the first of these.
    ///
    /// # Panics
    /// When `within` is not within.
    pub fn part(&self, within: Range<usize>) -> Octets {
        assert!(within.start <= within.end && within.end <= self.len(), "a part is within");
        let start = self.at.start;
        Octets { whole: Arc::clone(&self.whole), at: start + within.start..start + within.end }
    }

    /// The part from `start` to the end; `start` counts from the first of these.
    ///
    /// # Panics
    /// When `start` is beyond the end.
    pub fn from(&self, start: usize) -> Octets {
        self.part(start..self.len())
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole[self.at.clone()]
    }
}

impl PartialEq for Octets {
    fn eq(&self, other: &Octets) -> bool {
        self.at == other.at && **self == **other
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:02x?}", self.at, &**self)
    }
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Which datagram of its describer this is, from 1.
    pub number: u64,
    /// The payload.
    pub octets: Octets,
    /// Its message; `None` when not even the header makes sense, and a complaint says why.
    pub message: Option<Message>,
    /// Data sets of earlier datagrams of the session whose template came with this one.
    pub late: Vec<Late>,
    /// What was not understood or is contradictory, in the order of the payload.
    pub complaints: Vec<Complaint>,
}

impl Description {
    /// The data records, options data and all of sFlow's samples among them, in their order: first
    /// those of the datagram itself, then the late ones.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let own = self.message.iter().flat_map(|message| &message.sets);
        own.chain(self.late.iter().map(|late| &late.set)).flat_map(|set| set.records())
    }

    /// The template records, withdrawals among them.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.message.iter().flat_map(|message| &message.sets).flat_map(|set| set.templates())
    }
}

/// A data set that came before its template.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// The datagram in which it stood; offsets are of that one.
    pub number: u64,
    /// The set, its records read.
    pub set: Set,
}

/// A message of any protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its protocol.
    pub protocol: Protocol,
    /// The fields of its header.
    pub header: Vec<Field>,
    /// The observation domain, as [`crate::wire::Message::domain`] has it.
    pub domain: u32,
    /// The sequence number; `None` in NetFlow v1, which has none.
    pub sequence: Option<u32>,
    /// When it was exported, by its own clock, milliseconds since 1970; `None` in sFlow.
    pub export_ms: Option<u64>,
    /// The exporter's uptime when it was exported, milliseconds; `None` in IPFIX.
    pub uptime_ms: Option<u32>,
    /// The sets of NetFlow v9 and IPFIX, the samples of sFlow (one set each); the records of the
    /// other versions are one set.
    pub sets: Vec<Set>,
    /// What follows the message in its datagram.
    pub rest: Octets,
}

/// A set; also what stands for one in protocols that have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its id; of an sFlow sample the tag, `enterprise << 12 | format`; 0 of fixed records.
    pub id: u32,
    /// All of it, its header included.
    pub octets: Octets,
    /// What it holds.
    pub content: Content,
    /// What is left at its end.
    pub padding: Octets,
}

impl Set {
    /// Its data records.
    pub fn records(&self) -> &[Record] {
        match &self.content {
            Content::Data { records, .. } | Content::Fixed(records) => records,
            Content::Sample(_, record) => std::slice::from_ref(record),
            _ => &[],
        }
    }

    /// Its template records.
    pub fn templates(&self) -> &[Template] {
        match &self.content {
            Content::Templates(templates) => templates,
            _ => &[],
        }
    }
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Template records, or options template records.
    Templates(Vec<Template>),
    /// Data records of a known template.
    Data {
        /// Whether they are options data.
        options: bool,
        /// The records.
        records: Vec<Record>,
    },
    /// Data records whose template has not come yet.
    Unknown,
    /// An id that the protocol keeps for itself.
    Reserved,
    /// The records of NetFlow v1, v5, v6, v7 or v8.
    Fixed(Vec<Record>),
    /// A sample of sFlow that weir knows.
    Sample(SampleKind, Record),
    /// A sample of sFlow of a kind that weir does not know, or that cannot be read.
    Opaque,
}

/// What a sample of sFlow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// A packet that was taken: what weir stores as a flow.
    Flow,
    /// Counters of an interface or of the agent's host.
    Counters,
    /// A packet that was discarded on its way.
    Discarded,
}

/// What a template record did to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its id is described for the first time, or again after a withdrawal.
    New,
    /// It was known, byte for byte.
    Same,
    /// Its id meant something else before.
    Changed,
    /// It withdrew one template or more.
    Withdrawn,
    /// It withdrew what was not there.
    Nothing,
    /// It is not used, and a complaint says why.
    Refused,
}

impl Effect {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Effect::New => "new",
            Effect::Same => "same",
            Effect::Changed => "changed",
            Effect::Withdrawn => "withdrawn",
            Effect::Nothing => "nothing",
            Effect::Refused => "refused",
        }
    }
}

/// A template record.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its id; of a withdrawal of all templates the set's.
    pub id: u16,
    /// Whether it is an options template.
    pub options: bool,
    /// Whether it withdraws.
    pub withdrawal: bool,
    /// The fields in their order, scope first.
    pub fields: Vec<Specifier>,
    /// The record.
    pub octets: Octets,
    /// What it did.
    pub effect: Effect,
}

/// A field of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Specifier {
    /// What it is.
    pub what: What,
    /// Octets of a value; `None` when each value bears its own length.
    pub length: Option<u16>,
    /// Whether it belongs to the scope.
    pub scope: bool,
    /// The specifier.
    pub octets: Octets,
}

/// What a field is: its number, its name and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// The number that the exporter wrote, or that says the same where it wrote none.
    pub id: Id,
    /// The name; of an unknown element its number.
    pub name: Cow<'static, str>,
    /// The abstract data type; `None` when it is not known, and the value is shown as it stands.
    pub kind: Option<DataType>,
    /// What a value counts; empty for identifiers and the like.
    pub units: Cow<'static, str>,
}

/// The number of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// An information element; enterprise 0 is IANA, and 29305 the reverse of IANA's (RFC 5103).
    Element {
        /// The private enterprise number.
        enterprise: u32,
        /// The element, without the enterprise bit.
        id: u16,
    },
    /// A scope field of NetFlow v9 (RFC 3954, Section 6.1).
    Scope(u16),
    /// A field that has a name and no number.
    Named,
}

impl What {
    /// The abstract data type in the registry's spelling, if it is known.
    pub fn type_name(&self) -> Option<&'static str> {
        self.kind.map(names::data_type)
    }

    /// A field whose name is a number.
    pub(super) fn numbered(name: String) -> What {
        let name = Cow::Owned(name);
        What { id: Id::Named, name, kind: None, units: Cow::Borrowed("") }
    }

    /// A field without a number.
    pub(super) const fn named(name: &'static str, kind: DataType) -> What {
        What {
            id: Id::Named,
            name: Cow::Borrowed(name),
            kind: Some(kind),
            units: Cow::Borrowed(""),
        }
    }
}

/// A data record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its fields in their order.
    pub fields: Vec<Field>,
    /// The record.
    pub octets: Octets,
}

impl Record {
    /// The first field with this element, within structures too: of a sampled packet in a tunnel
    /// what stands around it.
    pub fn find(&self, enterprise: u32, id: u16) -> Option<&Field> {
        find(&self.fields, Id::Element { enterprise, id })
    }

    /// The first field with this element, at the record's top level.
    pub fn field(&self, enterprise: u32, id: u16) -> Option<&Field> {
        self.fields.iter().find(|field| field.what.id == Id::Element { enterprise, id })
    }
}

/// A field with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// What it is.
    pub what: What,
    /// Whether it belongs to the scope of options data.
    pub scope: bool,
    /// The value.
    pub value: Value,
    /// The value's octets; those of a length before it are not among them.
    pub octets: Octets,
}

impl Field {
    /// The element's enterprise and number, if it has them.
    pub fn element(&self) -> Option<(u32, u16)> {
        match self.what.id {
            Id::Element { enterprise, id } => Some((enterprise, id)),
            _ => None,
        }
    }
}

fn find(fields: &[Field], id: Id) -> Option<&Field> {
    fields.iter().find_map(|field| match &field.value {
        _ if field.what.id == id => Some(field),
        Value::Fields(fields) => find(fields, id),
        _ => None,
    })
}
