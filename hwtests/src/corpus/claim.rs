//! What somebody says that a field's value is, and whether weir's says the same.
//!
//! Origins write values in their own notations; a reader turns each into a claim. A claim is held
//! against the typed value where weir has a type, and against the octets where it has none.

use std::fmt;
use std::net::IpAddr;

use weir_dataplane::describe::{Field, Value};

/// A value, as an origin claims it.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// A number, an enumerated value's among them.
    Number(u64),
    /// A number with a sign or a fraction.
    Float(f64),
    /// An IP address.
    Address(IpAddr),
    /// Text.
    Text(String),
    /// Octets; of a number as many as the origin likes.
    Octets(Vec<u8>),
    /// A moment, ms since 1970.
    Moment(u64),
    /// Something that its reader does not understand, and no value equals.
    Odd(String),
}

impl Claim {
    /// Whether the field's value is this.
    pub fn agrees(&self, field: &Field) -> bool {
        match (self, &field.value) {
            (Claim::Number(claimed), Value::Unsigned(number)) => claimed == number,
            (Claim::Number(claimed), Value::Signed(number)) => {
                i64::try_from(*claimed).is_ok_and(|claimed| claimed == *number)
            }
            (Claim::Number(claimed), Value::Boolean(_) | Value::Octets) => {
                number(&field.octets) == Some(*claimed)
            }
            (Claim::Number(claimed), Value::Time(time)) => {
                time.seconds == *claimed || time.ms() == *claimed
            }
            (Claim::Float(claimed), Value::Float(number)) => claimed == number,
            (Claim::Address(claimed), Value::Address(address)) => claimed == address,
            (Claim::Text(claimed), Value::String(text)) => claimed == text,
            (Claim::Text(claimed), Value::Mac(mac)) => claimed.to_lowercase() == of_mac(mac),
            (Claim::Text(claimed), Value::Octets) => {
                let text = String::from_utf8_lossy(&field.octets);
                claimed == text.trim_end_matches('\0')
            }
            (Claim::Moment(claimed), Value::Time(time)) => *claimed == time.ms(),
            // Numbers come with fewer octets than their type has (RFC 7011, Section 6.2).
            (Claim::Octets(claimed), _) => {
                let significant = |octets: &[u8]| {
                    let zeroes = octets.iter().take_while(|&&octet| octet == 0).count();
                    octets[zeroes..].to_vec()
                };
                claimed[..] == field.octets[..]
                    || claimed.len() > field.octets.len()
                        && significant(claimed) == significant(&field.octets)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Number(number) => write!(f, "{number}"),
            Claim::Float(number) => write!(f, "{number}"),
            Claim::Address(address) => write!(f, "{address}"),
            Claim::Text(text) => write!(f, "{text:?}"),
            Claim::Octets(octets) => f.write_str(&hex(octets)),
            Claim::Moment(ms) => write!(f, "{}.{:03}", ms / 1_000, ms % 1_000),
            Claim::Odd(what) => write!(f, "?{what}"),
        }
    }
}

/// A field's value in a claim's notation.
pub fn shown(field: &Field) -> String {
    match &field.value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Mac(mac) => of_mac(mac),
        Value::Address(address) => address.to_string(),
        Value::Time(time) => Claim::Moment(time.ms()).to_string(),
        Value::String(text) => format!("{text:?}"),
        _ => hex(&field.octets),
    }
}

/// Octets as digits.
pub fn hex(octets: &[u8]) -> String {
    let digits = octets.iter().map(|octet| format!("{octet:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

/// The octets that digits write down, with or without `0x`.
pub fn of_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn of_mac(mac: &[u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The number in network order, if it fits.
pub fn number(octets: &[u8]) -> Option<u64> {
    let fold = || octets.iter().fold(0, |number, &octet| number << 8 | u64::from(octet));
    (octets.len() <= 8).then(fold)
}
