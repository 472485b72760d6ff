//! sFlow version 5: a datagram of samples, each a run of records (sflow.org, "sFlow Version 5",
//! July 2004; structure numbers from sflow.org's register).
//!
//! Everything is XDR: numbers of four bytes, and every structure behind a tag and a length, so that
//! what weir does not know is skipped by its length. A fault ends what it stands in, never more: of
//! a datagram, the samples before it are good. The tag's upper twenty bits are an enterprise, the
//! lower twelve its number; weir knows those of enterprise 0 that stand here.
//!
//! sFlow writes no time of day: a sample was taken shortly before its datagram came.

use std::net::IpAddr;

use super::{HeaderField, read_u32, write_u32};
use crate::Discard;

pub mod record;
pub mod structure;

pub use record::Record;

/// The version field's value; unlike NetFlow's it has four bytes.
pub const VERSION: u32 = 5;
/// Bytes of the longest header, an IPv6 agent's.
pub const HEADER_LENGTH_MAX: usize = 40;

mod field {
    use std::ops::Range;

    pub(super) const AGENT_TYPE: Range<usize> = 4..8;
    pub(super) const AGENT: usize = 8;
    // From the end of the agent's address on.
    pub(super) const SUB_AGENT: Range<usize> = 0..4;
    pub(super) const SEQUENCE: Range<usize> = 4..8;
    pub(super) const UPTIME: Range<usize> = 8..12;
    pub(super) const COUNT: Range<usize> = 12..16;
    pub(super) const SAMPLES: usize = 16;
}

/// Bytes of an address of this type; `None` of a type that the specification lacks.
fn address_length(kind: u32) -> Option<usize> {
    match kind {
        0 => Some(0),
        1 => Some(4),
        2 => Some(16),
        _ => None,
    }
}

/// The address in these bytes, and its length with its type; `None` when it is cut short. Type 0
/// says that there is none.
fn address(bytes: &[u8]) -> Option<(Option<IpAddr>, usize)> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let length = address_length(u32::from_be_bytes(*kind))?;
    let address = match length {
        4 => Some(IpAddr::from(*rest.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*rest.first_chunk::<16>()?)),
        _ => None,
    };
    Some((address, 4 + length))
}

/// A datagram whose header is whole.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
    /// Where the agent's address ends.
    fixed: usize,
}

impl<'a> Datagram<'a> {
    /// Checks the header; samples are checked as they are read.
    ///
    /// # Errors
    /// [`Discard::TooShort`] without a whole header, [`Discard::UnknownVersion`] when the version
    /// is not 5 (2 and 4 were never common), [`Discard::MessageLength`] when the agent's address is
    /// of no known type.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < field::AGENT {
            return Err(Discard::TooShort);
        }
        if read_u32(bytes, 0..4) != VERSION {
            return Err(Discard::UnknownVersion);
        }
        let address = address_length(read_u32(bytes, field::AGENT_TYPE));
        let fixed = field::AGENT + address.ok_or(Discard::MessageLength)?;
        if bytes.len() < fixed + field::SAMPLES {
            return Err(Discard::TooShort);
        }
        Ok(Datagram { bytes, fixed })
    }

    /// The header's fields, in their order.
    pub fn header_fields(&self) -> impl Iterator<Item = HeaderField> + use<> {
        let fixed = self.fixed;
        let behind = move |at: std::ops::Range<usize>| fixed + at.start..fixed + at.end;
        [
            HeaderField::new("version", 0..4),
            HeaderField::new("agentAddressType", field::AGENT_TYPE),
            HeaderField::new("agentAddress", field::AGENT..fixed),
            HeaderField::new("subAgentId", behind(field::SUB_AGENT)),
            HeaderField::new("sequenceNumber", behind(field::SEQUENCE)),
            HeaderField::new("sysUptime", behind(field::UPTIME)),
            HeaderField::new("samples", behind(field::COUNT)),
        ]
        .into_iter()
        .filter(|field| !field.at.is_empty())
    }

    /// The agent's address as the agent knows it; the packet may bear another.
    pub fn agent(&self) -> Option<IpAddr> {
        address(&self.bytes[field::AGENT_TYPE.start..])?.0
    }

    /// Which of the agent's processes sent this; each counts its own datagrams.
    pub fn sub_agent(&self) -> u32 {
        read_u32(&self.bytes[self.fixed..], field::SUB_AGENT)
    }

    /// Datagrams that the sub-agent sent before; its first may be 0 or 1.
    pub fn sequence(&self) -> u32 {
        read_u32(&self.bytes[self.fixed..], field::SEQUENCE)
    }

    /// Milliseconds since the agent started, when it sent this.
    pub fn uptime_ms(&self) -> u32 {
        read_u32(&self.bytes[self.fixed..], field::UPTIME)
    }

    /// Samples that the header promises.
    pub fn count(&self) -> u32 {
        read_u32(&self.bytes[self.fixed..], field::COUNT)
    }

    /// The header, at most [`HEADER_LENGTH_MAX`] bytes.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..self.fixed + field::SAMPLES]
    }

    /// The samples in their order; an error is the last item.
    pub fn samples(&self) -> Samples<'a> {
        Samples { tagged: Tagged::new(&self.bytes[self.fixed + field::SAMPLES..], self.count()) }
    }
}

/// Whether samples may move between datagrams under these two headers and keep their meaning:
/// whether agent, sub-agent and uptime agree.
pub fn same_context(a: &[u8], b: &[u8]) -> bool {
    let (Ok(x), Ok(y)) = (Datagram::new_checked(a), Datagram::new_checked(b)) else {
        return false;
    };
    a[..x.fixed] == b[..y.fixed] && (x.sub_agent(), x.uptime_ms()) == (y.sub_agent(), y.uptime_ms())
}

/// Writes how many samples a datagram holds, and its sequence number.
///
/// # Panics
/// When `datagram` does not begin with a whole header.
pub fn set_count_and_sequence(datagram: &mut [u8], count: u32, sequence: u32) {
    let fixed = Datagram::new_checked(datagram).expect("a header that was checked").fixed;
    write_u32(&mut datagram[fixed..], field::COUNT, count);
    write_u32(&mut datagram[fixed..], field::SEQUENCE, sequence);
}

/// Structures behind a tag and a length, one after another; an error is the last item.
#[derive(Clone, Debug)]
pub struct Tagged<'a> {
    rest: &'a [u8],
    left: u32,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Structure<'a> {
    /// `enterprise << 12 | format`.
    pub tag: u32,
    /// What its length says.
    pub body: &'a [u8],
    /// With tag, length and padding.
    pub whole: &'a [u8],
}

impl<'a> Tagged<'a> {
    /// Bytes of a structure's tag and length.
    pub const HEADER_LENGTH: usize = 8;

    /// Over so many structures at the head of these bytes.
    pub fn new(bytes: &'a [u8], count: u32) -> Self {
        Tagged { rest: bytes, left: count }
    }
}

impl<'a> Iterator for Tagged<'a> {
    type Item = Result<Structure<'a>, Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.rest;
        let taken = (|| {
            let tag = u32::from_be_bytes(*bytes.first_chunk()?);
            let length = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
            let body = bytes[Self::HEADER_LENGTH..].get(..length)?;
            // XDR pads to four bytes; who forgets it at the very end is understood.
            let end = (Self::HEADER_LENGTH + length).next_multiple_of(4).min(bytes.len());
            Some(Structure { tag, body, whole: &bytes[..end] })
        })();
        match taken {
            Some(structure) => {
                self.rest = &bytes[structure.whole.len()..];
                Some(Ok(structure))
            }
            None => {
                self.left = 0;
                Some(Err(Discard::SampleMalformed))
            }
        }
    }
}

/// The samples of a datagram.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    tagged: Tagged<'a>,
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Sample<'a>, Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        let sample = self.tagged.next()?.and_then(|structure| match structure.whole.len() % 4 {
            0 => Ok(Sample { structure }),
            // Without its padding it could stand nowhere but at a datagram's end.
            _ => Err(Discard::SampleMalformed),
        });
        Some(sample)
    }
}

/// A sample that is all there.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    structure: Structure<'a>,
}

/// What a sample is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A packet that was taken.
    Flow(FlowSample<'a>),
    /// Counters of an interface or of the agent's host.
    Counters(CounterSample<'a>),
    /// A structure that weir does not know.
    Other,
}

impl<'a> Sample<'a> {
    const FLOW: u32 = 1;
    const COUNTERS: u32 = 2;
    const FLOW_EXPANDED: u32 = 3;
    const COUNTERS_EXPANDED: u32 = 4;

    /// `enterprise << 12 | format`.
    pub fn tag(&self) -> u32 {
        self.structure.tag
    }

    /// What follows tag and length, padding left out.
    pub fn body(&self) -> &'a [u8] {
        self.structure.body
    }

    /// As it stood in the datagram: tag, length, body, padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.structure.whole
    }

    /// What it is.
    ///
    /// # Errors
    /// [`Discard::SampleMalformed`] when it ends before its own fixed fields do.
    pub fn kind(&self) -> Result<Kind<'a>, Discard> {
        let body = self.structure.body;
        match self.structure.tag {
            Self::FLOW => FlowSample::new_checked(body, false).map(Kind::Flow),
            Self::FLOW_EXPANDED => FlowSample::new_checked(body, true).map(Kind::Flow),
            Self::COUNTERS => CounterSample::new_checked(body, false).map(Kind::Counters),
            Self::COUNTERS_EXPANDED => CounterSample::new_checked(body, true).map(Kind::Counters),
            _ => Ok(Kind::Other),
        }
    }

    /// Whether it writes interfaces and data sources as two numbers each.
    pub fn is_expanded(&self) -> bool {
        matches!(self.structure.tag, Self::FLOW_EXPANDED | Self::COUNTERS_EXPANDED)
    }

    /// Whether it is a flow sample, well formed or not.
    pub fn is_flow(&self) -> bool {
        matches!(self.structure.tag, Self::FLOW | Self::FLOW_EXPANDED)
    }

    /// Whether it is a counter sample, well formed or not.
    pub fn is_counters(&self) -> bool {
        matches!(self.structure.tag, Self::COUNTERS | Self::COUNTERS_EXPANDED)
    }
}

/// Where a sampled packet came in or went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By the interface with this SNMP index; 0 = unknown.
    Index(u32),
    /// Nowhere: it was discarded, for this reason.
    Discarded(u32),
    /// By so many interfaces; 0 = by some.
    Multiple(u32),
    /// The agent's own packet, from it or to it.
    Own,
    /// A form that the specification lacks.
    Unknown(u32, u32),
}

impl Interface {
    /// Both forms' index of a packet that the agent itself sent or took.
    const OWN: u32 = 0x3fff_ffff;

    /// From the form and the value that an expanded sample writes apart.
    fn expanded(form: u32, value: u32) -> Self {
        match (form, value) {
            (0, Self::OWN | u32::MAX) => Interface::Own,
            (0, index) => Interface::Index(index),
            (1, reason) => Interface::Discarded(reason),
            (2, count) => Interface::Multiple(count),
            _ => Interface::Unknown(form, value),
        }
    }

    /// From the one number that an ordinary sample writes: two bits of form, thirty of value.
    fn compact(word: u32) -> Self {
        Interface::expanded(word >> 30, word & Self::OWN)
    }

    /// From the four bytes of an ordinary sample, or the eight of an expanded one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            4 => Some(Interface::compact(read_u32(bytes, 0..4))),
            8 => Some(Interface::expanded(read_u32(bytes, 0..4), read_u32(bytes, 4..8))),
            _ => None,
        }
    }

    /// The SNMP index; 0 when it is no single interface.
    pub fn index(self) -> u32 {
        match self {
            Interface::Index(index) => index,
            _ => 0,
        }
    }
}

/// Where a flow sample's fields stand in its body.
struct FlowFields {
    rate: usize,
    pool: usize,
    drops: usize,
    count: usize,
    records: usize,
}

const FLOW: FlowFields = FlowFields { rate: 8, pool: 12, drops: 16, count: 28, records: 32 };
const FLOW_EXPANDED: FlowFields =
    FlowFields { rate: 12, pool: 16, drops: 20, count: 40, records: 44 };

/// A packet that an agent took out of so many, and what it says of it.
#[derive(Clone, Copy, Debug)]
pub struct FlowSample<'a> {
    body: &'a [u8],
    expanded: bool,
}

impl<'a> FlowSample<'a> {
    fn new_checked(body: &'a [u8], expanded: bool) -> Result<Self, Discard> {
        let sample = FlowSample { body, expanded };
        if body.len() < sample.at().records {
            return Err(Discard::SampleMalformed);
        }
        Ok(sample)
    }

    fn at(&self) -> &'static FlowFields {
        if self.expanded { &FLOW_EXPANDED } else { &FLOW }
    }

    fn word(&self, at: usize) -> u32 {
        read_u32(self.body, at..at + 4)
    }

    /// Samples that its data source took before.
    pub fn sequence(&self) -> u32 {
        self.word(0)
    }

    /// What was sampled: a class (0 = an interface) and an index of it.
    pub fn data_source(&self) -> (u32, u32) {
        data_source(self.body, self.expanded)
    }

    /// One packet in so many was taken.
    pub fn sampling_rate(&self) -> u32 {
        self.word(self.at().rate)
    }

    /// Packets that could have been sampled so far.
    pub fn pool(&self) -> u32 {
        self.word(self.at().pool)
    }

    /// Samples that the agent lost for want of resources.
    pub fn drops(&self) -> u32 {
        self.word(self.at().drops)
    }

    /// Where the packet came in.
    pub fn input(&self) -> Interface {
        match self.expanded {
            false => Interface::compact(self.word(20)),
            true => Interface::expanded(self.word(24), self.word(28)),
        }
    }

    /// Where it went out.
    pub fn output(&self) -> Interface {
        match self.expanded {
            false => Interface::compact(self.word(24)),
            true => Interface::expanded(self.word(32), self.word(36)),
        }
    }

    /// What the agent says of the packet; an error is the last item.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'a>, Discard>> + use<'a> {
        let at = self.at();
        let records = Tagged::new(&self.body[at.records..], self.word(at.count));
        records.map(|structure| structure.and_then(|s| Record::new_checked(s.tag, s.body)))
    }
}

/// The class and the index of what was sampled.
fn data_source(body: &[u8], expanded: bool) -> (u32, u32) {
    match expanded {
        false => (read_u32(body, 4..8) >> 24, read_u32(body, 4..8) & 0x00ff_ffff),
        true => (read_u32(body, 4..8), read_u32(body, 8..12)),
    }
}

/// Counters of an interface or of the agent's host. weir counts them and reads no further.
#[derive(Clone, Copy, Debug)]
pub struct CounterSample<'a> {
    body: &'a [u8],
    expanded: bool,
}

impl<'a> CounterSample<'a> {
    fn new_checked(body: &'a [u8], expanded: bool) -> Result<Self, Discard> {
        let fixed = if expanded { 16 } else { 12 };
        if body.len() < fixed {
            return Err(Discard::SampleMalformed);
        }
        Ok(CounterSample { body, expanded })
    }

    /// Samples that its data source sent before.
    pub fn sequence(&self) -> u32 {
        read_u32(self.body, 0..4)
    }

    /// What is counted: a class (0 = an interface) and an index of it.
    pub fn data_source(&self) -> (u32, u32) {
        data_source(self.body, self.expanded)
    }
}

#[cfg(test)]
mod tests;
