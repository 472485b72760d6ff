//! An element's bytes as a value, by its abstract data type (RFC 7011, Section 6.1).

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::DataType;
use crate::Address;
use crate::query::format::mac_text;

/// What an element's bytes say.
#[derive(Clone, Debug, PartialEq)]
pub enum ElementValue<'a> {
    /// An unsigned number.
    Unsigned(u64),
    /// A signed number.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// An IP address.
    Address(Address),
    /// An Ethernet address in the low six bytes.
    Mac(u64),
    /// A moment, ms since 1970.
    TimeMs(u64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes that no type makes anything of: octet arrays, lists (RFC 6313), lengths that the type
    /// cannot have.
    Bytes(&'a [u8]),
}

impl<'a> ElementValue<'a> {
    /// Reads the bytes of a value of this type. Numbers may be shorter than their type
    /// (RFC 7011, Section 6.2); text ends before zeroes that pad it, as in NetFlow v9.
    pub fn read(kind: DataType, bytes: &'a [u8]) -> Self {
        let number = || match bytes.len() {
            1..=8 => Some(bytes.iter().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte))),
            _ => None,
        };
        let read = match kind {
            DataType::Unsigned8
            | DataType::Unsigned16
            | DataType::Unsigned32
            | DataType::Unsigned64
            | DataType::Unsigned256 => number().map(ElementValue::Unsigned),
            DataType::Signed32 => {
                let unused = 64 - bytes.len().min(8) * 8;
                number().map(|number| ElementValue::Signed((number << unused) as i64 >> unused))
            }
            DataType::Float64 => float(bytes).map(ElementValue::Float),
            DataType::Boolean => match bytes {
                [1] => Some(ElementValue::Boolean(true)),
                [2] => Some(ElementValue::Boolean(false)),
                _ => number().map(ElementValue::Unsigned),
            },
            DataType::String => Some(ElementValue::Text(text(bytes))),
            DataType::MacAddress => number().filter(|_| bytes.len() == 6).map(ElementValue::Mac),
            DataType::Ipv4Address => {
                bytes.as_array().map(|bytes| ElementValue::Address(Address::from_v4(*bytes)))
            }
            DataType::Ipv6Address => {
                bytes.as_array().map(|bytes| ElementValue::Address(Address(*bytes)))
            }
            DataType::DateTimeSeconds => {
                number().map(|seconds| ElementValue::TimeMs(seconds.saturating_mul(1000)))
            }
            DataType::DateTimeMilliseconds => number().map(ElementValue::TimeMs),
            DataType::DateTimeMicroseconds | DataType::DateTimeNanoseconds => {
                number().filter(|_| bytes.len() == 8).map(|ntp| ElementValue::TimeMs(ntp_ms(ntp)))
            }
            DataType::OctetArray
            | DataType::BasicList
            | DataType::SubTemplateList
            | DataType::SubTemplateMultiList => None,
        };
        read.unwrap_or(ElementValue::Bytes(bytes))
    }

    /// The value as a whole number, where it is one.
    pub fn number(&self) -> Option<i128> {
        match *self {
            ElementValue::Unsigned(number)
            | ElementValue::Mac(number)
            | ElementValue::TimeMs(number) => Some(number.into()),
            ElementValue::Signed(number) => Some(number.into()),
            ElementValue::Boolean(truth) => Some(truth.into()),
            ElementValue::Bytes(bytes) if (1..=8).contains(&bytes.len()) => {
                Some(bytes.iter().fold(0, |sum, &byte| sum << 8 | i128::from(byte)))
            }
            _ => None,
        }
    }

    /// The value for JSON: numbers as such, times in ms since 1970, the rest as text.
    pub fn json(&self) -> serde_json::Value {
        match self {
            ElementValue::Unsigned(number) | ElementValue::TimeMs(number) => (*number).into(),
            ElementValue::Signed(number) => (*number).into(),
            ElementValue::Float(number) => (*number).into(),
            ElementValue::Boolean(truth) => (*truth).into(),
            other => other.to_string().into(),
        }
    }
}

impl fmt::Display for ElementValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementValue::Unsigned(number) | ElementValue::TimeMs(number) => {
                fmt::Display::fmt(number, f)
            }
            ElementValue::Signed(number) => fmt::Display::fmt(number, f),
            ElementValue::Float(number) => fmt::Display::fmt(number, f),
            ElementValue::Boolean(truth) => fmt::Display::fmt(truth, f),
            ElementValue::Address(address) => fmt::Display::fmt(address, f),
            ElementValue::Mac(mac) => f.pad(&mac_text(*mac)),
            ElementValue::Text(text) => f.pad(text),
            ElementValue::Bytes(bytes) => {
                let mut text = String::from("0x");
                bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))?;
                f.pad(&text)
            }
        }
    }
}

/// The text of a string, as far as it is UTF-8, without control characters, which would steer a
/// terminal, and without the zeroes that pad it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match String::from_utf8_lossy(&bytes[..end]) {
        text if text.contains(char::is_control) => {
            Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
        }
        text => text,
    }
}

fn float(bytes: &[u8]) -> Option<f64> {
    let single = bytes.as_array().map(|bytes| f32::from_be_bytes(*bytes).into());
    single.or_else(|| bytes.as_array().map(|bytes| f64::from_be_bytes(*bytes)))
}

/// Milliseconds since 1970 of an NTP timestamp (RFC 7011, Section 6.1.9; RFC 5905, Section 6).
pub(crate) fn ntp_ms(timestamp: u64) -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCH: u64 = 2_208_988_800;
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    // Seconds before 1970 are of the era that begins in 2036.
    let seconds = if seconds < EPOCH { seconds + (1 << 32) } else { seconds };
    (seconds - EPOCH) * 1000 + ((fraction * 1000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: DataType, bytes: &[u8]) -> String {
        ElementValue::read(kind, bytes).to_string()
    }

    #[test]
    fn values_are_read_by_their_types() {
        for (kind, bytes, expected) in [
            (DataType::Unsigned64, &[1, 0][..], "256"),
            (DataType::Signed32, &[0xff, 0xfe], "-2"),
            (DataType::Signed32, &[0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (DataType::Float64, &[0x3f, 0xc0, 0, 0], "1.5"),
            (DataType::Boolean, &[2], "false"),
            (DataType::Boolean, &[7], "7"),
            (DataType::MacAddress, &[0, 1, 2, 3, 4, 0xff], "00:01:02:03:04:ff"),
            (DataType::Ipv4Address, &[192, 0, 2, 1], "192.0.2.1"),
            (DataType::Ipv4Address, &[192, 0], "0xc000"),
            (DataType::String, b"a name\0\0", "a name"),
            (DataType::String, b"\x1b[31m\xff", "\u{fffd}[31m\u{fffd}"),
            (DataType::DateTimeSeconds, &[0, 0, 0, 2], "2000"),
            (DataType::OctetArray, &[0xab, 1], "0xab01"),
            (DataType::Unsigned256, &[1; 9], "0x010101010101010101"),
            (DataType::Unsigned8, &[], "0x"),
        ] {
            assert_eq!(shown(kind, bytes), expected, "{kind:?} {bytes:?}");
        }
    }

    #[test]
    fn whatever_the_bytes_are_there_is_a_value() {
        for kind in super::super::TABLE.iter().map(|element| element.kind) {
            for length in 0..18 {
                drop(ElementValue::read(kind, &vec![0xa5; length]).json());
            }
        }
    }
}
