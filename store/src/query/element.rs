//! Information elements in questions: tests of their values, and keys of statistics by them.
//!
//! A test of an element looks at the overflow, and where that lacks the element, at the column that
//! takes it, if one does. A key is a row's value in a fixed number of bytes, so that groups of
//! elements are merged as all others are; text and bytes beyond [`TEXT_BYTES`] count as equal.

use crate::Address;
use crate::column::{ColumnSource, Values};
use crate::element::{DataType, ElementId, ElementValue};
use crate::error::Error;
use crate::query::answer::{Unit, Value};
use crate::query::expression::{Compare, Selection, addresses};

/// Bytes of a text that keys tell apart.
pub(crate) const TEXT_BYTES: usize = 64;

/// A test of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementTest {
    /// Which element.
    pub element: ElementId,
    /// What its value must be.
    pub wanted: Wanted,
}

/// What an element's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Anything.
    Present,
    /// A number that compares so; times are ms since 1970.
    Number(Compare, i128),
    /// One of these numbers, ascending.
    NumberIn(Vec<i128>),
    /// In one of these ranges, which ascend and do not touch.
    AddressIn(Vec<(Address, Address)>),
    /// These bytes, or other ones; text counts without the zeroes that pad it.
    Bytes(Vec<u8>, bool),
    /// Bytes with these among them.
    Contains(Vec<u8>),
}

impl ElementTest {
    pub(crate) fn select(&self, source: &impl ColumnSource) -> Result<Selection, Error> {
        let rows = source.rows();
        let mut selection = match self.element.column() {
            Some(column) if source.has(column) => self.select_column(&source.values(column)?),
            _ => Selection::of(rows, |_| false),
        };
        let Some(overflow) = source.overflow()? else { return Ok(selection) };
        let reader = overflow.reader(self.element);
        if reader.is_some() {
            let kind = self.element.kind();
            let mut lacking = Selection::of(rows, |row| reader.value(row).is_some());
            lacking.not();
            selection.and(&lacking);
            let passes =
                |row| reader.value(row).is_some_and(|bytes| self.wanted.passes(kind, bytes));
            selection.or(&Selection::of(rows, passes));
        }
        Ok(selection)
    }

    /// By the column that takes the element; zero there means that the record did not say it.
    fn select_column(&self, values: &Values<'_>) -> Selection {
        if let Values::Address(values) = values {
            return match &self.wanted {
                Wanted::AddressIn(ranges) => addresses(values, ranges),
                Wanted::Present => {
                    Selection::of(values.len(), |row| values[row] != Address::ABSENT)
                }
                _ => Selection::of(values.len(), |_| false),
            };
        }
        let number = |row: usize| i128::from(values.number(row));
        let rows = values.rows();
        match &self.wanted {
            Wanted::Present => Selection::of(rows, |row| number(row) != 0),
            Wanted::Number(compare, value) => {
                Selection::of(rows, |row| compare.holds(number(row), *value))
            }
            Wanted::NumberIn(wanted) => {
                Selection::of(rows, |row| wanted.binary_search(&number(row)).is_ok())
            }
            Wanted::AddressIn(_) | Wanted::Bytes(..) | Wanted::Contains(_) => {
                Selection::of(rows, |_| false)
            }
        }
    }
}

impl Wanted {
    fn passes(&self, kind: DataType, bytes: &[u8]) -> bool {
        let value = || ElementValue::read(kind, bytes);
        match self {
            Wanted::Present => true,
            Wanted::Number(compare, wanted) => {
                value().number().is_some_and(|number| compare.holds(number, *wanted))
            }
            Wanted::NumberIn(wanted) => {
                value().number().is_some_and(|number| wanted.binary_search(&number).is_ok())
            }
            Wanted::AddressIn(ranges) => match value() {
                ElementValue::Address(address) => {
                    ranges.iter().any(|(first, last)| (*first..=*last).contains(&address))
                }
                _ => false,
            },
            Wanted::Bytes(wanted, equal) => (unpadded(kind, bytes) == wanted) == *equal,
            Wanted::Contains(part) => {
                part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
            }
        }
    }
}

/// A string's bytes without the zeroes that pad it; any other value's as they are.
fn unpadded(kind: DataType, bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| byte != 0);
    if kind == DataType::String { &bytes[..last.map_or(0, |last| last + 1)] } else { bytes }
}

/// How a key of this type is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyForm {
    Number,
    Address,
    Text,
}

fn key_form(kind: DataType) -> KeyForm {
    use DataType::{
        Boolean, DateTimeMicroseconds, DateTimeMilliseconds, DateTimeNanoseconds, DateTimeSeconds,
        Ipv4Address, Ipv6Address, MacAddress, Signed32, Unsigned8, Unsigned16, Unsigned32,
        Unsigned64,
    };
    match kind {
        Unsigned8 | Unsigned16 | Unsigned32 | Unsigned64 | Signed32 | Boolean | MacAddress
        | DateTimeSeconds | DateTimeMilliseconds | DateTimeMicroseconds | DateTimeNanoseconds => {
            KeyForm::Number
        }
        Ipv4Address | Ipv6Address => KeyForm::Address,
        _ => KeyForm::Text,
    }
}

/// Bytes of a key by an element of this type; the first says whether there is a value.
pub(crate) fn key_width(kind: DataType) -> usize {
    match key_form(kind) {
        KeyForm::Number => 1 + 8,
        KeyForm::Address => 1 + 16,
        KeyForm::Text => 2 + TEXT_BYTES,
    }
}

/// The first byte of a key.
mod mark {
    pub(super) const ABSENT: u8 = 0;
    pub(super) const WHOLE: u8 = 1;
    pub(super) const CUT: u8 = 2;
}

/// The most that is added to a signed number, so that keys sort as numbers do.
const SIGN: u64 = 1 << 63;

/// Writes the key of a row's value, or of none.
pub(crate) fn write_key(kind: DataType, bytes: Option<&[u8]>, key: &mut [u8]) {
    key.fill(0);
    let Some(bytes) = bytes else { return };
    match (key_form(kind), ElementValue::read(kind, bytes)) {
        (KeyForm::Number, ElementValue::Signed(number)) => {
            key[1..].copy_from_slice(&(number as u64 ^ SIGN).to_be_bytes());
        }
        (KeyForm::Number, value) => {
            // A value that is no number of 64 bits has a length that its type cannot have.
            let Some(number) = value.number().and_then(|number| u64::try_from(number).ok()) else {
                return;
            };
            key[1..].copy_from_slice(&number.to_be_bytes());
        }
        (KeyForm::Address, ElementValue::Address(address)) => key[1..].copy_from_slice(&address.0),
        (KeyForm::Address, _) => return,
        (KeyForm::Text, _) => {
            let bytes = unpadded(kind, bytes);
            let length = bytes.len().min(TEXT_BYTES);
            key[1] = length as u8;
            key[2..2 + length].copy_from_slice(&bytes[..length]);
            key[0] = if length < bytes.len() { mark::CUT } else { mark::WHOLE };
            return;
        }
    }
    key[0] = mark::WHOLE;
}

/// The value of a key; whatever its bytes are, there is one.
pub(crate) fn read_key(kind: DataType, key: &[u8]) -> Value {
    if key[0] == mark::ABSENT {
        return Value::Absent;
    }
    let rest = &key[1..];
    match key_form(kind) {
        KeyForm::Number => {
            let number = rest.as_array().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            match kind {
                DataType::MacAddress => Value::Mac(number & 0xffff_ffff_ffff),
                DataType::Signed32 => Value::Text(((number ^ SIGN) as i64).to_string()),
                DataType::Boolean => Value::Text((number == 1).to_string()),
                _ => Value::Number(number),
            }
        }
        KeyForm::Address => {
            Value::Address(rest.as_array().map_or(Address::ABSENT, |a| Address(*a)))
        }
        KeyForm::Text => {
            let length = usize::from(rest[0]).min(TEXT_BYTES);
            let mut text = ElementValue::read(kind, &rest[1..=length]).to_string();
            if key[0] == mark::CUT {
                text.push('…');
            }
            Value::Text(text)
        }
    }
}

/// The unit of a key's number.
pub(crate) fn key_unit(kind: DataType) -> Unit {
    match kind {
        DataType::DateTimeSeconds
        | DataType::DateTimeMilliseconds
        | DataType::DateTimeMicroseconds
        | DataType::DateTimeNanoseconds => Unit::TimeMs,
        _ => Unit::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_its_value() {
        for (kind, bytes, expected) in [
            (DataType::Unsigned32, &[1, 0][..], Value::Number(256)),
            (DataType::Signed32, &[0xff, 0xff], Value::Text("-1".into())),
            (DataType::Boolean, &[2], Value::Text("false".into())),
            (DataType::MacAddress, &[0, 0, 0, 0, 1, 2], Value::Mac(0x102)),
            (
                DataType::Ipv4Address,
                &[10, 0, 0, 1],
                Value::Address(Address::from_v4([10, 0, 0, 1])),
            ),
            (DataType::String, b"name\0\0", Value::Text("name".into())),
            (DataType::OctetArray, &[1, 0], Value::Text("0x0100".into())),
            (DataType::Ipv6Address, &[1], Value::Absent),
        ] {
            let mut key = vec![0xaa; key_width(kind)];
            write_key(kind, Some(bytes), &mut key);
            assert_eq!(read_key(kind, &key), expected, "{kind:?} {bytes:?}");
            write_key(kind, None, &mut key);
            assert_eq!(read_key(kind, &key), Value::Absent);
        }
        let mut key = vec![0; key_width(DataType::String)];
        write_key(DataType::String, Some(&[b'a'; 65]), &mut key);
        assert_eq!(read_key(DataType::String, &key), Value::Text("a".repeat(64) + "…"));
    }

    #[test]
    fn keys_of_numbers_sort_as_the_numbers_do() {
        let key = |bytes: &[u8]| {
            let mut key = vec![0; key_width(DataType::Signed32)];
            write_key(DataType::Signed32, Some(bytes), &mut key);
            key
        };
        assert!(key(&[0xff]) < key(&[0]) && key(&[0]) < key(&[0, 1]));
    }
}
