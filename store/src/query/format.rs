//! An answer as text: nfdump's tables for people, JSON and CSV for programs.
//!
//! Tables scale numbers as nfdump does (`1.2 M` is 1,200,000: powers of 1,000) and say so in the
//! heading; JSON and CSV hold raw numbers, and the fields' names end in their units. Times are UTC.

use std::fmt::Write;

use crate::element::ElementValue;
use crate::overflow::Extra;
use crate::query::answer::{Answer, AnswerColumn, ESTIMATES, Kind, Unit, Value};
use crate::query::protocol;
use crate::query::question::Order;
use crate::query::totals::Totals;
use crate::{Address, Column};

/// The answer as nfdump's text table, 120 columns wide for IPv4, with summary lines at its end.
pub fn table(answer: &Answer) -> String {
    let mut text = String::new();
    match &answer.kind {
        Kind::Flows => flow_table(answer, &mut text),
        Kind::Statistic { keys, order } => statistic_table(answer, keys.len(), *order, &mut text),
    }
    summary(answer, &mut text);
    text
}

/// The answer as one JSON object: `rows` (objects by column name), `totals`, `available`,
/// `coverage`. Numbers are raw, times are ms since 1970, and an absent address is null.
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
            "flows_estimated": totals.flows_estimated,
            "packets_estimated": totals.packets_estimated,
            "bytes_estimated": totals.bytes_estimated,
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
    // What a count stands for beside the count, wherever they differ.
    let sampled = answer.totals.is_sampled();
    if sampled {
        more(text, format_args!(" {:>8} {:>8}", "Packets*", "Bytes*"));
    }
    let at = |column: Column| answer.column(column.name());
    for row in &answer.rows {
        let value = |index: Option<usize>| index.and_then(|at| row.get(at));
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
                protocol.map_or_else(String::new, |value| shown(value, Unit::None)),
                source,
                destination,
                scaled(number(at(Column::Packets))),
                scaled(number(at(Column::Bytes))),
                1
            ),
        );
        if sampled {
            let estimate = |name| scaled(number(answer.column(name)));
            let (packets, bytes) = (estimate("packets_estimated"), estimate("bytes_estimated"));
            more(text, format_args!(" {packets:>8} {bytes:>8}"));
        }
    }
}

/// `asked` is how many keys the statistic has; behind them stand the names of their numbers.
fn statistic_table(answer: &Answer, asked: usize, order: Order, text: &mut String) {
    // The first two columns are times, then come keys and names; the last are nine sums, shares and
    // rates, and the estimates.
    let keys = 2..answer.columns.len().saturating_sub(9 + ESTIMATES);
    let sampled = answer.totals.is_sampled() || order.is_estimated();
    line(
        text,
        format_args!(
            "{}{} by {}, ordered by {}:",
            if answer.available as usize > answer.rows.len() { "Top " } else { "All " },
            answer.rows.len(),
            titles(&answer.columns[2..2 + asked]),
            order.name()
        ),
    );
    let mut columns = Columns::default();
    let cells = |at: usize, show: &dyn Fn(&[Value]) -> String| {
        (answer.columns[at].title.clone(), answer.rows.iter().map(|row| show(row)).collect())
    };
    // Several keys leave no room for milliseconds, shares and all the rates: those are in JSON.
    let roomy = keys.len() <= 1 && !sampled;
    let time_length = if roomy { 23 } else { 19 };
    let title = if roomy { "Date first seen (UTC)" } else { "First seen (UTC)" }.to_owned();
    columns.push((title, cells(0, &|row| time(number(row, 0))[..time_length].to_owned()).1));
    columns.push(cells(1, &|row| duration(number(row, 1))));
    for at in keys.clone() {
        columns.push(cells(at, &|row| {
            row.get(at).map_or_else(String::new, |value| shown(value, answer.columns[at].unit))
        }));
    }
    for at in [keys.end, keys.end + 2, keys.end + 4] {
        let (title, plain) = cells(at, &|row| scaled(number(row, at)));
        let share = |row: &[Value]| row.get(at + 1).map_or(0.0, as_fraction);
        let shared = cells(at, &|row| format!("{}({:>4.1})", scaled(number(row, at)), share(row)));
        columns.push(if roomy { (title + "(%)", shared.1) } else { (title, plain) });
    }
    if sampled {
        for at in keys.end + 9..keys.end + 9 + ESTIMATES {
            columns.push(cells(at, &|row| scaled(number(row, at))));
        }
    }
    let (pps, bps, bpp) = (keys.end + 6, keys.end + 7, keys.end + 8);
    let rates = match order {
        _ if roomy => vec![pps, bps, bpp],
        Order::Pps => vec![pps],
        Order::Bpp => vec![bpp],
        _ => vec![bps],
    };
    for at in rates {
        let show = if at == bpp { scaled_short } else { scaled };
        columns.push(cells(at, &|row| show(number(row, at))));
    }
    columns.write(answer.rows.len(), text);
}

/// Columns of text under their headings.
#[derive(Default)]
struct Columns(Vec<(String, Vec<String>)>);

impl Columns {
    fn push(&mut self, column: (String, Vec<String>)) {
        self.0.push(column);
    }

    /// Writes the heading and `rows` lines, each column to the right and as wide as its widest.
    fn write(&self, rows: usize, text: &mut String) {
        let widths: Vec<usize> = self
            .0
            .iter()
            .map(|(title, cells)| {
                let width = |cell: &String| cell.chars().count();
                cells.iter().map(width).fold(width(title), usize::max)
            })
            .collect();
        for row in 0..=rows {
            let cell = |column: &(String, Vec<String>)| match row {
                0 => column.0.clone(),
                _ => column.1[row - 1].clone(),
            };
            let cells = self.0.iter().zip(&widths);
            let cells: Vec<String> =
                cells.map(|(column, width)| format!("{:>width$}", cell(column))).collect();
            line(text, format_args!("{}", cells.join(" ")));
        }
    }
}

fn number(row: &[Value], at: usize) -> u64 {
    row.get(at).map_or(0, as_number)
}

fn titles(columns: &[AnswerColumn]) -> String {
    if columns.is_empty() {
        return "nothing".to_owned();
    }
    columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>().join(", ")
}

/// The summary lines at the end of every table.
fn summary(answer: &Answer, text: &mut String) {
    let Totals { flows, packets, bytes, first_ms, last_ms, .. } = answer.totals;
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
    if answer.totals.is_sampled() {
        let Totals { flows_estimated, packets_estimated, bytes_estimated, .. } = answer.totals;
        line(
            text,
            format_args!(
                "Estimates, marked *, from sampling rates: total flows: {flows_estimated}, \
                 total bytes: {}, total packets: {}",
                scaled(bytes_estimated),
                scaled(packets_estimated)
            ),
        );
    }
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
        // The reason came from another unit: nothing in it may steer the terminal.
        let plain: String = damaged.chars().filter(|c| !c.is_control()).collect();
        line(text, format_args!("Left out: {plain}"));
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let start = text.len();
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

/// Adds to the last line.
fn more(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.pop();
    line(text, arguments);
}

fn endpoint(address: Option<&Value>, port: &str) -> String {
    match address {
        Some(Value::Address(address)) if address.is_v4() || *address == Address::ABSENT => {
            format!("{address}:{port}")
        }
        // nfdump's way with IPv6: the port after a dot, for a colon would read as a part of it.
        Some(Value::Address(address)) => format!("{address}.{port}"),
        _ => String::new(),
    }
}

fn as_number(value: &Value) -> u64 {
    match value {
        Value::Number(number) | Value::Mac(number) | Value::Application(number) => *number,
        Value::Protocol(number) => (*number).into(),
        Value::Flags(number) => (*number).into(),
        Value::Label(number) => (*number).into(),
        Value::Address(_)
        | Value::Fraction(_)
        | Value::Text(_)
        | Value::Elements(_)
        | Value::Absent => 0,
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
            protocol::name(*number).map_or_else(|| number.to_string(), str::to_ascii_uppercase)
        }
        (Value::Flags(flags), _) => flags_text(*flags),
        (Value::Mac(mac), _) => mac_text(*mac),
        (Value::Label(entry), _) => label_text(*entry),
        (Value::Application(id), _) => application_text(*id),
        (Value::Address(address), _) => address.to_string(),
        (Value::Fraction(fraction), _) => format!("{fraction:.1}"),
        (Value::Text(text), _) => plain(text),
        (Value::Elements(elements), _) => plain(&elements_text(elements)),
        (Value::Absent, _) => "-".to_owned(),
    }
}

/// An exporter's text for a terminal: nothing in it may steer that, and it may not fill it.
fn plain(text: &str) -> String {
    const WIDEST: usize = 40;
    let mut plain: String = text.chars().filter(|c| !c.is_control()).take(WIDEST + 1).collect();
    if let Some((at, _)) = plain.char_indices().nth(WIDEST) {
        plain.truncate(at);
        plain.push('…');
    }
    plain
}

/// Text as a field of CSV (RFC 4180, Section 2).
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// `name=value;name=value`.
fn elements_text(elements: &[Extra]) -> String {
    let one = |extra: &Extra| {
        format!("{}={}", extra.element, ElementValue::read(extra.element.kind(), &extra.value))
    };
    elements.iter().map(one).collect::<Vec<_>>().join(";")
}

/// An object of the elements by their names; one that stands several times has an array.
fn elements_json(elements: &[Extra]) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    for Extra { element, value } in elements {
        let value = ElementValue::read(element.kind(), value).json();
        match object.entry(element.to_string()) {
            serde_json::map::Entry::Vacant(place) => {
                place.insert(value);
            }
            serde_json::map::Entry::Occupied(mut place) => match place.get_mut() {
                serde_json::Value::Array(values) => values.push(value),
                first => *first = serde_json::json!([first.take(), value]),
            },
        }
    }
    object.into()
}

/// A value for CSV.
fn raw(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Protocol(number) => number.to_string(),
        Value::Flags(number) => number.to_string(),
        Value::Mac(mac) => mac_text(*mac),
        Value::Label(entry) => entry.to_string(),
        Value::Application(id) => application_text(*id),
        Value::Address(address) => address.to_string(),
        Value::Fraction(fraction) => format!("{fraction:.3}"),
        Value::Text(text) => quoted(text),
        Value::Elements(elements) => quoted(&elements_text(elements)),
        Value::Absent => String::new(),
    }
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) => (*number).into(),
        Value::Protocol(number) => (*number).into(),
        Value::Flags(number) => (*number).into(),
        Value::Label(number) => (*number).into(),
        Value::Mac(0) | Value::Application(0) => serde_json::Value::Null,
        Value::Mac(mac) => mac_text(*mac).into(),
        Value::Application(id) => application_text(*id).into(),
        Value::Address(address) if *address == Address::ABSENT => serde_json::Value::Null,
        Value::Address(address) => address.to_string().into(),
        Value::Fraction(fraction) => ((fraction * 1000.0).round() / 1000.0).into(),
        Value::Text(text) if text.is_empty() => serde_json::Value::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Elements(elements) if elements.is_empty() => serde_json::Value::Null,
        Value::Elements(elements) => elements_json(elements),
        Value::Absent => serde_json::Value::Null,
    }
}

/// nfdump's eight places, CWR to FIN; a number where a bit is set that has no letter there.
fn flags_text(flags: u16) -> String {
    if flags > 0xff {
        return format!("0x{flags:x}");
    }
    "CEUAPRSF"
        .chars()
        .enumerate()
        .map(|(at, letter)| if flags & (0x80 >> at) != 0 { letter } else { '.' })
        .collect()
}

/// `00:1b:21:3c:9d:f8`.
pub fn mac_text(mac: u64) -> String {
    let [_, _, bytes @ ..] = mac.to_be_bytes();
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// `label-experimental-bottom`, as nfdump writes an entry of a label stack.
pub fn label_text(entry: u32) -> String {
    format!("{}-{}-{}", entry >> 4, entry >> 1 & 7, entry & 1)
}

/// `engine:selector`, as RFC 6759 writes an application id in words; of the engine that names
/// enterprises (20, PANA-L7-PEN) the selector is the enterprise and four bytes of its own.
pub fn application_text(id: u64) -> String {
    let (engine, selector) = (id >> 56, id & 0x00ff_ffff_ffff_ffff);
    match engine {
        20 => format!("20:{}:{}", selector >> 32, selector & 0xffff_ffff),
        _ => format!("{engine}:{selector}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NameKind, Told};
    use crate::query::question::{Key, Question, View};
    use crate::query::row::FlowRow;
    use crate::query::{Limits, Plan, answer};
    use crate::{Batch, Store, StoreConfig};

    const START_MS: u64 = 1_700_000_000_000;

    fn flow(first_ms: u64, duration: u64, ends: [(u8, u16); 2], counters: (u64, u64)) -> FlowRow {
        FlowRow {
            first_ms: START_MS + first_ms,
            last_ms: START_MS + first_ms + duration,
            source_address: Address::from_v4([10, 0, 0, ends[0].0]),
            source_port: ends[0].1,
            destination_address: Address::from_v4([10, 0, 0, ends[1].0]),
            destination_port: ends[1].1,
            protocol: 6,
            tcp_flags: 0x12,
            packets: counters.0,
            bytes: counters.1,
            ..FlowRow::default()
        }
    }

    fn ask(view: View) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(StoreConfig::new(folder.path())).unwrap();
        let mut batch = Batch::default();
        batch.push(&flow(0, 1000, [(1, 80), (1, 80)], (10, 1000)));
        batch.push(&flow(3000, 60_000, [(7, 4445), (6, 443)], (1200, 2_500_000_000)));
        batch.push(&FlowRow { protocol: 1, ..flow(3000, 0, [(4, 0), (5, 0x0803)], (2, 120)) });
        store.append(batch).unwrap();
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let snapshot = store.reader().snapshot();
        answer(&snapshot, &plan, &Limits::default()).unwrap().finish(&question)
    }

    #[test]
    fn a_listing_reads_as_nfdumps() {
        let expected = "\
Date first seen (UTC)       Duration Proto       Src IP Addr:Port    Dst IP Addr:Port       Packets    Bytes Flows
2023-11-14 22:13:20.000 00:00:01.000 TCP              10.0.0.1:80 -> 10.0.0.1:80                 10     1000     1
2023-11-14 22:13:23.000 00:00:00.000 ICMP              10.0.0.4:0 -> 10.0.0.5:8.3                 2      120     1
2023-11-14 22:13:23.000 00:01:00.000 TCP            10.0.0.7:4445 -> 10.0.0.6:443              1200    2.5 G     1
Summary: total flows: 3, total bytes: 2.5 G, total packets: 1212, avg bps: 317.5 M, avg pps: 19, avg bpp: 2.1 M
Time window: 2023-11-14 22:13:20.000 - 2023-11-14 22:14:23.000 UTC
Shown: 3 of 3; k, M, G, T are powers of 1000
";
        let text = table(&ask(View::Flows { limit: 0 }));
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_statistic_reads_as_nfdumps_and_fits_its_width() {
        let view = View::Statistic { keys: vec![Key::Address], order: Order::Bytes, limit: 2 };
        let expected = "\
Top 2 by IP Addr, ordered by bytes:
  Date first seen (UTC)     Duration  IP Addr Flows(%) Packets(%)     Bytes(%) pps     bps bpp
2023-11-14 22:13:23.000 00:01:00.000 10.0.0.6  1(33.3) 1200(99.0) 2.5 G(100.0)  20 333.3 M  2M
2023-11-14 22:13:23.000 00:01:00.000 10.0.0.7  1(33.3) 1200(99.0) 2.5 G(100.0)  20 333.3 M  2M
Summary: total flows: 3, total bytes: 2.5 G, total packets: 1212, avg bps: 317.5 M, avg pps: 19, avg bpp: 2.1 M
Time window: 2023-11-14 22:13:20.000 - 2023-11-14 22:14:23.000 UTC
Shown: 2 of 5; k, M, G, T are powers of 1000
";
        let text = table(&ask(view));
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn no_line_of_an_ordinary_table_exceeds_120_columns() {
        let keys = Key::parse_list("record").unwrap();
        for view in [
            View::Flows { limit: 0 },
            View::Statistic { keys: vec![Key::Address], order: Order::Flows, limit: 0 },
            View::Statistic { keys, order: Order::Flows, limit: 0 },
        ] {
            let text = table(&ask(view));
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= 120, "{longest}:\n{text}");
        }
    }

    #[test]
    fn json_has_raw_numbers_under_names_with_units() {
        let view = View::Statistic {
            keys: vec![Key::Column(Column::DestinationPort)],
            order: Order::Bytes,
            limit: 1,
        };
        let json = json(&ask(view));
        assert_eq!(json["rows"][0]["destination_port"], 443);
        assert_eq!(json["rows"][0]["bytes"], 2_500_000_000_u64);
        assert_eq!(json["rows"][0]["bits_per_second"], 333_333_333);
        assert_eq!(json["totals"]["first_ms"], START_MS);
        assert_eq!(json["available"], 3);
    }

    #[test]
    fn csv_has_a_heading_and_a_line_a_row() {
        let view = View::Statistic {
            keys: vec![Key::Column(Column::Protocol)],
            order: Order::Packets,
            limit: 0,
        };
        let text = csv(&ask(view));
        let mut lines = text.split("\r\n");
        assert_eq!(
            lines.next(),
            Some(
                "first_ms,duration_ms,protocol,flows,flows_percent,packets,packets_percent,\
                 bytes,bytes_percent,packets_per_second,bits_per_second,bytes_per_packet,\
                 flows_estimated,packets_estimated,bytes_estimated"
            )
        );
        let first = "1700000000000,63000,6,2,66.667,1210,99.835,2500001000,100.000,19,317460444,2066116,\
             2,1210,2500001000";
        assert_eq!(lines.next(), Some(first));
        assert_eq!(lines.count(), 2);
    }

    /// An answer over flows of two routers, of which one samples and names its interfaces.
    fn of_two_routers(view: View) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(StoreConfig::new(folder.path())).unwrap();
        let router = |n| Address::from_v4([192, 0, 2, n]);
        let mut batch = Batch::default();
        let flow = flow(0, 1000, [(1, 80), (2, 443)], (10, 1000));
        let row = FlowRow { exporter: router(1), input_interface: 7, sampling_rate: 100, ..flow };
        batch.push(&row);
        batch.push(&FlowRow { exporter: router(2), sampling_rate: 0, ..row.clone() });
        batch.push(&FlowRow { input_interface: 8, kept_one_in: 5, sampling_rate: 0, ..row });
        store.append(batch).unwrap();
        let mut told = Told::with_capacity(9);
        let uplink = "to \"Rome\", 1\u{1b}[2J".as_bytes();
        told.push((router(1), NameKind::Interface, 7), 1, uplink, b"");
        store.learn(&told).unwrap();
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let part = answer(&store.reader().snapshot(), &plan, &Limits::default()).unwrap();
        let bytes = part.to_bytes().unwrap();
        let mut whole = crate::query::Partial::empty(&plan);
        let part = crate::query::Partial::from_bytes(&bytes, &plan).unwrap();
        whole.merge(part, &Limits::default()).unwrap();
        whole.finish(&question)
    }

    #[test]
    fn estimates_stand_beside_counts_wherever_something_was_sampled() {
        let answer = of_two_routers(View::statistic("inif/bytes*", 0).unwrap());
        let json = json(&answer);
        assert_eq!(json["rows"][0]["bytes"], 2_000);
        assert_eq!(json["rows"][0]["bytes_estimated"], 101_000);
        assert_eq!(json["rows"][1]["flows_estimated"], 5);
        assert_eq!(json["totals"]["packets_estimated"], 1_010 + 50);
        let text = table(&answer);
        assert!(text.contains("ordered by bytes*") && text.contains("Bytes*"), "{text}");
        assert!(
            text.contains("Estimates, marked *, from sampling rates: total flows: 7"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let listing = table(&of_two_routers(View::Flows { limit: 0 }));
        assert!(listing.contains("Flows Packets*   Bytes*\n"), "{listing}");
        assert!(listing.contains("10     1000     1     1000   100000\n"), "{listing}");
    }

    #[test]
    fn names_stand_beside_numbers_and_steer_no_terminal() {
        let answer = of_two_routers(View::statistic("router,inif", 0).unwrap());
        let text = table(&answer);
        assert!(
            text.contains("by Router IP, Input, ordered") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(text.contains("to \"Rome\", 1[2J"), "{text}");
        let values = json(&answer);
        let names: Vec<_> = values["rows"].as_array().unwrap().iter().collect();
        assert_eq!(names[0]["input_interface_name"], "to \"Rome\", 1\u{1b}[2J");
        assert_eq!(names[2]["input_interface_name"], serde_json::Value::Null);
        let listed = csv(&of_two_routers(View::Flows { limit: 0 }));
        assert!(listed.contains(",input_interface_name,flows,"), "{listed}");
        assert!(listed.contains(",\"to \"\"Rome\"\", 1\u{1b}[2J\",1,"), "{listed}");
        let all = json(&of_two_routers(View::statistic("if", 0).unwrap()));
        let seven = all["rows"].as_array().unwrap().iter().find(|row| row["interface"] == 7);
        assert!(seven.unwrap()["interface_name"].as_str().unwrap().starts_with("to"));
    }

    #[test]
    fn an_empty_answer_is_a_table_too() {
        let view = View::Statistic { keys: vec![Key::As], order: Order::Flows, limit: 5 };
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let answer = crate::query::Partial::empty(&plan).finish(&question);
        assert!(table(&answer).contains("total flows: 0"));
        assert_eq!(json(&answer)["totals"]["first_ms"], serde_json::Value::Null);
    }
}
