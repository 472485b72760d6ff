//! An answer as text: nfdump's tables for people, JSON and CSV for programs.
//!
//! Tables scale numbers as nfdump does (`1.2 M` is 1,200,000: powers of 1,000) and say so in the
//! heading; JSON and CSV hold raw numbers, and the fields' names end in their units. Times are UTC.

use std::fmt::Write;

use crate::query::answer::{Answer, AnswerColumn, Kind, Unit, Value};
use crate::query::filter::protocol_name;
use crate::query::question::Order;
use crate::query::totals::Totals;
use crate::{Address, Column};

/// The answer as nfdump's text table, 120 columns wide for IPv4, with summary lines at its end.
pub fn table(answer: &Answer) -> String {
    let mut text = String::new();
    match &answer.kind {
        Kind::Flows => flow_table(answer, &mut text),
        Kind::Statistic { order, .. } => statistic_table(answer, *order, &mut text),
    }
    summary(answer, &mut text);
    text
}

/// The answer as one JSON object: `rows` (objects by column name), `totals`, `available`,
/// `coverage`. Numbers are raw; times also stand as text in UTC, in `totals` only.
pub fn json(answer: &Answer) -> serde_json::Value {
    let row = |values: &Vec<Value>| {
        let fields = answer.columns.iter().zip(values);
        fields.map(|(column, value)| (column.name.clone(), json_value(value))).collect()
    };
    let rows: Vec<serde_json::Value> =
        answer.rows.iter().map(|values| serde_json::Value::Object(row(values))).collect();
    let totals = &answer.totals;
    let coverage = &answer.coverage;
    serde_json::json!({
        "rows": rows,
        "available": answer.available,
        "totals": {
            "flows": totals.flows,
            "packets": totals.packets,
            "bytes": totals.bytes,
            "first_ms": (totals.flows > 0).then_some(totals.first_ms),
            "last_ms": (totals.flows > 0).then_some(totals.last_ms),
            "packets_per_second": totals.pps(),
            "bits_per_second": totals.bps(),
            "bytes_per_packet": totals.bpp(),
        },
        "coverage": {
            "rows": coverage.rows,
            "segments_scanned": coverage.segments_scanned,
            "segments_skipped": coverage.segments_skipped,
            "damaged": coverage.damaged,
        },
    })
}

/// The answer's rows as CSV (RFC 4180) with a heading; raw numbers, no summary.
pub fn csv(answer: &Answer) -> String {
    let mut text = String::new();
    let names: Vec<&str> = answer.columns.iter().map(|column| column.name.as_str()).collect();
    text.push_str(&names.join(","));
    text.push_str("\r\n");
    for row in &answer.rows {
        let cells: Vec<String> = row.iter().map(raw).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn flow_table(answer: &Answer, text: &mut String) {
    line(
        text,
        format_args!(
            "{:<23} {:>12} {:<6} {:>21}    {:<21} {:>8} {:>8} {:>5}",
            "Date first seen (UTC)",
            "Duration",
            "Proto",
            "Src IP Addr:Port",
            "Dst IP Addr:Port",
            "Packets",
            "Bytes",
            "Flows"
        ),
    );
    let at = |column: Column| answer.column(column.name());
    for row in &answer.rows {
        let value = |index: Option<usize>| index.and_then(|at| row.get(at)).copied();
        let number = |index| value(index).map_or(0, as_number);
        let protocol = value(at(Column::Protocol));
        let icmp = matches!(protocol, Some(Value::Protocol(1 | 58)));
        let source =
            endpoint(value(at(Column::SourceAddress)), &number(at(Column::SourcePort)).to_string());
        let port = number(at(Column::DestinationPort));
        let port = if icmp { format!("{}.{}", port >> 8, port & 0xff) } else { port.to_string() };
        let destination = endpoint(value(at(Column::DestinationAddress)), &port);
        line(
            text,
            format_args!(
                "{:<23} {:>12} {:<6} {:>21} -> {:<21} {:>8} {:>8} {:>5}",
                time(number(Some(0))),
                duration(number(Some(1))),
                protocol.map_or_else(String::new, |value| shown(&value, Unit::None)),
                source,
                destination,
                scaled(number(at(Column::Packets))),
                scaled(number(at(Column::Bytes))),
                1
            ),
        );
    }
}

fn statistic_table(answer: &Answer, order: Order, text: &mut String) {
    // The first two columns are times, the last nine sums, shares and rates; keys between.
    let keys = 2..answer.columns.len().saturating_sub(9);
    line(
        text,
        format_args!(
            "{}{} by {}, ordered by {}:",
            if answer.available as usize > answer.rows.len() { "Top " } else { "All " },
            answer.rows.len(),
            titles(&answer.columns[keys.clone()]),
            order.name()
        ),
    );
    let widths: Vec<usize> = keys.clone().map(|at| key_width(answer, at)).collect();
    let mut heading = format!("{:<23} {:>12}", "Date first seen (UTC)", "Duration");
    for (column, width) in answer.columns[keys.clone()].iter().zip(&widths) {
        let _ = write!(heading, " {:>width$}", column.title);
    }
    let _ = write!(
        heading,
        " {:>13} {:>13} {:>13} {:>7} {:>7} {:>5}",
        "Flows(%)", "Packets(%)", "Bytes(%)", "pps", "bps", "bpp"
    );
    line(text, format_args!("{heading}"));
    for row in &answer.rows {
        let number = |at: usize| row.get(at).copied().map_or(0, as_number);
        let mut cells = format!("{:<23} {:>12}", time(number(0)), duration(number(1)));
        for (at, width) in keys.clone().zip(&widths) {
            let unit = answer.columns[at].unit;
            let _ = write!(
                cells,
                " {:>width$}",
                row.get(at).map_or_else(String::new, |value| shown(value, unit))
            );
        }
        for at in [keys.end, keys.end + 2, keys.end + 4] {
            let share = row.get(at + 1).map_or(0.0, as_fraction);
            let _ = write!(cells, " {:>7}({share:>4.1})", scaled(number(at)));
        }
        let rates = keys.end + 6;
        let _ = write!(
            cells,
            " {:>7} {:>7} {:>5}",
            scaled(number(rates)),
            scaled(number(rates + 1)),
            scaled_short(number(rates + 2))
        );
        line(text, format_args!("{cells}"));
    }
}

fn titles(columns: &[AnswerColumn]) -> String {
    if columns.is_empty() {
        return "nothing".to_owned();
    }
    columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>().join(", ")
}

fn key_width(answer: &Answer, at: usize) -> usize {
    let column = &answer.columns[at];
    let cells = answer.rows.iter().filter_map(|row| row.get(at));
    cells
        .map(|value| shown(value, column.unit).len())
        .chain([column.title.len()])
        .max()
        .unwrap_or(0)
}

/// The summary lines at the end of every table.
fn summary(answer: &Answer, text: &mut String) {
    let Totals { flows, packets, bytes, first_ms, last_ms } = answer.totals;
    line(
        text,
        format_args!(
            "Summary: total flows: {flows}, total bytes: {}, total packets: {}, avg bps: {}, \
             avg pps: {}, avg bpp: {}",
            scaled(bytes),
            scaled(packets),
            scaled(answer.totals.bps()),
            scaled(answer.totals.pps()),
            scaled(answer.totals.bpp())
        ),
    );
    if flows > 0 {
        line(text, format_args!("Time window: {} - {} UTC", time(first_ms), time(last_ms)));
    }
    line(
        text,
        format_args!(
            "Shown: {} of {}; k, M, G, T are powers of 1000",
            answer.rows.len(),
            answer.available
        ),
    );
    for damaged in &answer.coverage.damaged {
        line(text, format_args!("Left out: {damaged}"));
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let start = text.len();
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

fn endpoint(address: Option<Value>, port: &str) -> String {
    match address {
        Some(Value::Address(address)) if address.is_v4() || address == Address::ABSENT => {
            format!("{address}:{port}")
        }
        // nfdump's way with IPv6: the port after a dot, for a colon would read as a part of it.
        Some(Value::Address(address)) => format!("{address}.{port}"),
        _ => String::new(),
    }
}

fn as_number(value: Value) -> u64 {
    match value {
        Value::Number(number) => number,
        Value::Protocol(number) | Value::Flags(number) => number.into(),
        Value::Address(_) | Value::Fraction(_) => 0,
    }
}

fn as_fraction(value: &Value) -> f64 {
    match value {
        Value::Fraction(fraction) => *fraction,
        _ => 0.0,
    }
}

/// A value for people.
fn shown(value: &Value, unit: Unit) -> String {
    match (value, unit) {
        (Value::Number(number), Unit::TimeMs) => time(*number),
        (Value::Number(number), Unit::DurationMs) => duration(*number),
        (Value::Number(number), _) => number.to_string(),
        (Value::Protocol(number), _) => {
            protocol_name(*number).map_or_else(|| number.to_string(), str::to_ascii_uppercase)
        }
        (Value::Flags(flags), _) => flags_text(*flags),
        (Value::Address(address), _) => address.to_string(),
        (Value::Fraction(fraction), _) => format!("{fraction:.1}"),
    }
}

/// A value for CSV; none needs quotes.
fn raw(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Protocol(number) | Value::Flags(number) => number.to_string(),
        Value::Address(address) => address.to_string(),
        Value::Fraction(fraction) => format!("{fraction:.3}"),
    }
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) => (*number).into(),
        Value::Protocol(number) | Value::Flags(number) => (*number).into(),
        Value::Address(address) if *address == Address::ABSENT => serde_json::Value::Null,
        Value::Address(address) => address.to_string().into(),
        Value::Fraction(fraction) => ((fraction * 1000.0).round() / 1000.0).into(),
    }
}

/// nfdump's eight places, CWR to FIN.
fn flags_text(flags: u8) -> String {
    "CEUAPRSF"
        .chars()
        .enumerate()
        .map(|(at, letter)| if flags & (0x80 >> at) != 0 { letter } else { '.' })
        .collect()
}

/// `2026-11-22 18:00:01.123`, in UTC.
pub fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// `00:01:00.000`, with hours that may exceed a day.
fn duration(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

/// `999999`, then `1.0 M`: nfdump's scaling in powers of 1,000.
pub fn scaled(number: u64) -> String {
    match scale(number, 1_000_000) {
        Some((value, unit)) => format!("{value:.1} {unit}"),
        None => number.to_string(),
    }
}

/// As [`scaled`], from ten thousand on and without a fraction.
fn scaled_short(number: u64) -> String {
    match scale(number, 100_000) {
        Some((value, unit)) => format!("{value:.0}{unit}"),
        None => number.to_string(),
    }
}

fn scale(number: u64, from: u64) -> Option<(f64, char)> {
    let units = [(1e18, 'E'), (1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')];
    let value = number as f64;
    let fits = units.into_iter().find(|(size, _)| value >= *size)?;
    (number >= from).then_some((value / fits.0, fits.1))
}
