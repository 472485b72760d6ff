//! Values in words, for text and JSON alike.

use std::fmt::Write;

use jiff::tz::TimeZone;
use weir_dataplane::describe::{Field, Message, Time, Value};

/// Octets without a form that are shown in a line.
const SHOWN: usize = 24;

/// Text that a terminal takes as text: an exporter's control characters are told, not obeyed.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        // The others turn the direction of writing, and so can hide what stands there.
        if letter.is_control()
            || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Octets as hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * octets.len());
    for octet in octets {
        write!(digits, "{octet:02x}").expect("a string takes what is written to it");
    }
    digits
}

/// A link-layer address.
pub(super) fn mac(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// A moment as `2024-03-01T12:00:00.123Z`, as precise as it is; seconds since 1970 where a calendar
/// does not reach.
pub(super) fn time(time: Time) -> String {
    let stamp = i64::try_from(time.seconds).ok().and_then(|seconds| {
        jiff::Timestamp::new(seconds, i32::try_from(time.nanoseconds).ok()?).ok()
    });
    stamp.map_or_else(
        || format!("{}.{:09}", time.seconds, time.nanoseconds),
        |stamp| stamp.to_string(),
    )
}

/// Milliseconds since 1970 likewise.
pub(super) fn time_ms(ms: u64) -> String {
    time(Time { seconds: ms / 1000, nanoseconds: (ms % 1000) as u32 * 1_000_000 })
}

/// The same for a table: `2024-03-01 12:00:00.123`.
pub(super) fn time_in_text(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let Some(stamp) = stamp else { return format!("{ms} ms since 1970") };
    stamp.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// A value that is no list and no structure.
pub(super) fn plain(field: &Field) -> String {
    match &field.value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Mac(address) => mac(*address),
        Value::Address(address) => address.to_string(),
        Value::Time(moment) => time(*moment),
        Value::String(text) => format!("\"{}\"", printable(text)),
        Value::Octets if field.octets.is_empty() => "-".to_owned(),
        Value::Octets if field.octets.len() > SHOWN => {
            format!("0x{}… ({} octets)", hex(&field.octets[..SHOWN]), field.octets.len())
        }
        Value::Octets => format!("0x{}", hex(&field.octets)),
        Value::List(_) | Value::Fields(_) => String::new(),
    }
}

/// What a number means, where people know it by another name.
pub(super) fn meaning(field: &Field, message: Option<&Message>) -> Option<String> {
    let (0, id) = field.element()? else { return None };
    if let (70..=79, Value::Octets, [a, b, c]) = (id, &field.value, &*field.octets) {
        return label(u32::from_be_bytes([0, *a, *b, *c]));
    }
    if let (95, Value::Octets, [engine, selector @ ..]) = (id, &field.value, &*field.octets)
        && let Ok(Value::Unsigned(selector)) = number(selector)
    {
        // RFC 6759, Section 4.
        return Some(format!("{engine}:{selector}"));
    }
    let Value::Unsigned(number) = field.value else { return None };
    let word = match (id, number) {
        (4, _) => return protocol(number).map(str::to_owned),
        (6, _) => return Some(tcp_flags(number)),
        (21 | 22, _) => return moment(number, message?),
        (32 | 139, _) => return Some(format!("type {}, code {}", number >> 8, number & 0xff)),
        (61, 0) => "ingress",
        (61, 1) => "egress",
        (136, 1) => "idle timeout",
        (136, 2) => "active timeout",
        (136, 3) => "end of flow detected",
        (136, 4) => "forced end",
        (136, 5) => "lack of resources",
        (233, 1) => "flow created",
        (233, 2) => "flow deleted",
        (233, 3) => "flow denied",
        (233, 4) => "flow alert",
        (233, 5) => "flow update",
        (89, _) if number < 256 => {
            ["unknown", "forwarded", "dropped", "consumed"][number as usize >> 6]
        }
        _ => return None,
    };
    Some(word.to_owned())
}

fn number(octets: &[u8]) -> Result<Value, ()> {
    match octets.len() {
        1..=8 => Ok(Value::Unsigned(octets.iter().fold(0, |sum, &o| sum << 8 | u64::from(o)))),
        _ => Err(()),
    }
}

/// An entry of an MPLS label stack (RFC 3032, Section 2.1) without its time to live.
fn label(entry: u32) -> Option<String> {
    let bottom = if entry & 1 == 1 { ", bottom" } else { "" };
    (entry != 0).then(|| format!("label {}, exp {}{bottom}", entry >> 4, entry >> 1 & 7))
}

/// The names of IANA's protocol numbers that flows are full of.
fn protocol(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPv4",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6",
        46 => "RSVP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        115 => "L2TP",
        132 => "SCTP",
        136 => "UDPLite",
        _ => return None,
    })
}

/// As tcpdump's letters, a dot for each that is absent.
fn tcp_flags(flags: u64) -> String {
    let letters = "CEUAPRSF".chars().enumerate();
    letters.map(|(at, letter)| if flags >> (7 - at) & 1 == 1 { letter } else { '.' }).collect()
}

/// When an exporter's uptime was this, by the header that it came under.
fn moment(at_ms: u64, message: &Message) -> Option<String> {
    let (export_ms, uptime_ms) = (message.export_ms?, message.uptime_ms?);
    // Uptimes have 32 bits and wrap; a quarter of the circle lies ahead.
    let ahead = (at_ms as u32).wrapping_sub(uptime_ms);
    let moment = if ahead <= 1 << 30 {
        export_ms + u64::from(ahead)
    } else {
        export_ms.saturating_sub(u64::from(uptime_ms.wrapping_sub(at_ms as u32)))
    };
    Some(time_in_text(moment))
}
