//! Values by their abstract data types (RFC 7011, Section 6.1; RFC 6313).

use std::net::IpAddr;

use super::description::{Field, Record};
use crate::element::DataType;
use crate::wire::ethernet::Mac;

/// A typed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number without sign, of up to eight octets.
    Unsigned(u64),
    /// A number with sign.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A link-layer address.
    Mac(Mac),
    /// An IP address.
    Address(IpAddr),
    /// A moment.
    Time(Time),
    /// Text, without the zeroes at its end.
    String(String),
    /// What has no other form: the field's octets are all there is to say.
    Octets,
    /// A structured value of RFC 6313.
    List(List),
    /// A structure of fields: a record of an sFlow sample, a layer of a sampled packet.
    Fields(Vec<Field>),
}

/// A moment, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub seconds: u64,
    /// The rest, below 1 000 000 000.
    pub nanoseconds: u32,
}

impl Time {
    /// Milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.seconds.saturating_mul(1000).saturating_add(u64::from(self.nanoseconds / 1_000_000))
    }

    fn from_ms(ms: u64) -> Time {
        Time { seconds: ms / 1000, nanoseconds: (ms % 1000) as u32 * 1_000_000 }
    }

    /// Of an NTP timestamp (RFC 7011, Section 6.1.9; RFC 5905, Section 6).
    fn from_ntp(timestamp: u64) -> Time {
        /// Seconds from 1900 to 1970.
        const EPOCH: u64 = 2_208_988_800;
        let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
        // Seconds before 1970 are of the era that begins in 2036.
        let seconds = if seconds < EPOCH { seconds + (1 << 32) } else { seconds };
        let nanoseconds = ((fraction * 1_000_000_000) >> 32) as u32;
        Time { seconds: seconds - EPOCH, nanoseconds }
    }
}

/// A list of RFC 6313.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// How its elements belong together (RFC 6313, Section 4.4).
    pub semantic: u8,
    /// Its elements.
    pub items: Items,
}

/// The elements of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// Of a basicList: values of one element.
    Basic(Vec<Field>),
    /// Of a subTemplateList or subTemplateMultiList: runs of records with their template's id. The
    /// former has one.
    Templates(Vec<(u16, Vec<Record>)>),
}

impl List {
    /// The semantic of a list whose order says something.
    pub(super) const ORDERED: u8 = 4;

    /// The name of its semantic, or `None` of an unassigned one.
    pub fn semantic_name(&self) -> Option<&'static str> {
        Some(match self.semantic {
            0 => "noneOf",
            1 => "exactlyOneOf",
            2 => "oneOrMoreOf",
            3 => "allOf",
            Self::ORDERED => "ordered",
            255 => "undefined",
            _ => return None,
        })
    }
}

/// A value that its type does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The type has no values of this length.
    Length,
    /// Neither 1 (true) nor 2 (false).
    Boolean,
    /// Not UTF-8.
    Text,
}

/// Reads a value that is no list; at a fault it is only octets.
pub(super) fn read(kind: DataType, bytes: &[u8]) -> Result<Value, Fault> {
    use DataType::*;
    match kind {
        OctetArray | Unsigned256 | BasicList | SubTemplateList | SubTemplateMultiList => {
            Ok(Value::Octets)
        }
        String => text(bytes),
        Unsigned8 | Unsigned16 | Unsigned32 | Unsigned64 => unsigned(bytes).map(Value::Unsigned),
        Signed32 => signed(bytes),
        Float64 => match bytes.len() {
            4 => Ok(Value::Float(f32::from_bits(unsigned(bytes)? as u32).into())),
            8 => Ok(Value::Float(f64::from_bits(unsigned(bytes)?))),
            _ => Err(Fault::Length),
        },
        Boolean => match bytes {
            [1] => Ok(Value::Boolean(true)),
            [2] => Ok(Value::Boolean(false)),
            [_] => Err(Fault::Boolean),
            _ => Err(Fault::Length),
        },
        MacAddress => bytes.try_into().map(Value::Mac).map_err(|_| Fault::Length),
        Ipv4Address => {
            let octets: Result<[u8; 4], _> = bytes.try_into();
            octets.map(|octets| Value::Address(octets.into())).map_err(|_| Fault::Length)
        }
        Ipv6Address => {
            let octets: Result<[u8; 16], _> = bytes.try_into();
            octets.map(|octets| Value::Address(octets.into())).map_err(|_| Fault::Length)
        }
        DateTimeSeconds => {
            unsigned(bytes).map(|seconds| Value::Time(Time { seconds, nanoseconds: 0 }))
        }
        DateTimeMilliseconds => unsigned(bytes).map(|ms| Value::Time(Time::from_ms(ms))),
        DateTimeMicroseconds | DateTimeNanoseconds => match bytes.len() {
            8 => Ok(Value::Time(Time::from_ntp(unsigned(bytes)?))),
            _ => Err(Fault::Length),
        },
    }
}

/// A number of one to eight octets, the highest first.
fn unsigned(bytes: &[u8]) -> Result<u64, Fault> {
    match bytes.len() {
        1..=8 => Ok(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))),
        _ => Err(Fault::Length),
    }
}

/// Its sign stands in the first octet, however many there are (RFC 7011, Section 6.2).
fn signed(bytes: &[u8]) -> Result<Value, Fault> {
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    unsigned(bytes).map(|number| Value::Signed((number << unused) as i64 >> unused))
}

/// Exporters fill texts of a fixed length up with zeroes.
fn text(bytes: &[u8]) -> Result<Value, Fault> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => Ok(Value::String(text.to_owned())),
        Err(_) => Err(Fault::Text),
    }
}
