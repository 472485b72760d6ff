//! The answer as typed values: what a table, JSON or a chart is made from.

use serde::{Deserialize, Serialize};

use crate::overflow::Extra;
use crate::query::dictionary::Dictionary;
use crate::query::element;
use crate::query::groups::{SortedGroups, number};
use crate::query::partial::Coverage;
use crate::query::question::{Key, Order};
use crate::query::row::{Cell, FlowRow};

use crate::query::totals::Totals;
use crate::schema::Form;
use crate::{Address, Column};

/// An answer: rows of typed values under typed columns, and sums over everything that matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The columns of `rows`.
    pub columns: Vec<AnswerColumn>,
    /// The rows in the order asked for.
    pub rows: Vec<Vec<Value>>,
    /// How many rows there were before the limit; for a listing the flows that matched.
    pub available: u64,
    /// What the rows are.
    pub kind: Kind,
    /// Sums over every flow that matched, shown or not.
    pub totals: Totals,
    /// What was read for it.
    pub coverage: Coverage,
}

/// What an answer's rows are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Flows by their beginning.
    Flows,
    /// Groups.
    Statistic {
        /// What they are grouped by.
        keys: Vec<Key>,
        /// What they are sorted by.
        order: Order,
    },
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerColumn {
    /// The name in JSON and CSV; stable, with the unit at its end.
    pub name: String,
    /// The heading of the table.
    pub title: String,
    /// The unit of the raw number.
    pub unit: Unit,
}

/// The unit of a raw number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// No unit: an address, a port, a name.
    None,
    /// Milliseconds since 1970-01-01 UTC.
    TimeMs,
    /// Milliseconds.
    DurationMs,
    /// Flows.
    Flows,
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Per cent of the totals.
    Percent,
    /// Packets a second.
    PacketsPerSecond,
    /// Bits a second.
    BitsPerSecond,
    /// Bytes a packet.
    BytesPerPacket,
}

/// A value of an answer; its column says the unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// A number: counts, times in ms, ports, interfaces.
    Number(u64),
    /// An address.
    Address(Address),
    /// An IP protocol number.
    Protocol(u8),
    /// TCP flags.
    Flags(u16),
    /// An Ethernet address in the low six bytes.
    Mac(u64),
    /// An entry of an MPLS label stack.
    Label(u32),
    /// An application id: the engine in the highest byte, its selector in the others.
    Application(u64),
    /// A fraction, such as a percentage.
    Fraction(f64),
    /// Text: a value of an element, or what exporters call something, empty when they do not say it.
    Text(String),
    /// What a flow says beside its columns.
    Elements(Vec<Extra>),
    /// Nothing.
    Absent,
}

fn column(name: &str, title: &str, unit: Unit) -> AnswerColumn {
    AnswerColumn { name: name.to_owned(), title: title.to_owned(), unit }
}

impl Answer {
    pub(crate) fn of_flows(
        rows: &[FlowRow],
        names: &Dictionary,
        totals: Totals,
        coverage: Coverage,
    ) -> Self {
        let mut columns = vec![
            column("first_ms", "Date first seen", Unit::TimeMs),
            column("duration_ms", "Duration", Unit::DurationMs),
        ];
        let said = |column: Column| rows.iter().any(|row| !row.cell(column).is_absent());
        let shown = |column: &Column| column.is_common() || said(*column);
        let plain = Column::ALL.iter().copied().filter(|&column| column != Column::First);
        let plain: Vec<Column> = plain.filter(shown).collect();
        columns.extend(plain.iter().map(|&field| {
            let (title, unit) = flow_heading(field);
            column(field.name(), title, unit)
        }));
        let has_names =
            |column: &Column| rows.iter().any(|row| row_name(row, *column, names).is_some());
        let named: Vec<Column> = Column::NAMED.into_iter().filter(has_names).collect();
        columns.extend(named.iter().map(|&field| name_column(field.name(), field.title())));
        let elements = rows.iter().any(|row| !row.elements.is_empty());
        if elements {
            columns.push(column("elements", "Elements", Unit::None));
        }
        columns.push(column("flows", "Flows", Unit::Flows));
        columns.extend(estimate_columns());
        let values = |row: &FlowRow| {
            let name =
                |&column: &Column| Value::Text(row_name(row, column, names).unwrap_or_default());
            let elements = elements.then(|| Value::Elements(row.elements.clone()));
            flow_values(row, &plain, named.iter().map(name).chain(elements))
        };
        let rows = rows.iter().map(values).collect();
        let available = totals.flows;
        Answer { columns, rows, available, kind: Kind::Flows, totals, coverage }
    }

    pub(crate) fn of_groups(
        groups: &SortedGroups,
        (keys, order, limit): (&[Key], Order, usize),
        names: &Dictionary,
        totals: Totals,
        coverage: Coverage,
    ) -> Self {
        let mut sorted: Vec<(&[u8], &Totals)> = groups.iter().collect();
        let available = sorted.len() as u64;
        // The sort is stable and the groups come by key, so equal groups stay in key order.
        sorted.sort_by_key(|(_, group)| std::cmp::Reverse(measure(group, order)));
        if limit != 0 {
            sorted.truncate(limit);
        }
        let named = |(key, group): (&[u8], &Totals)| group_names(key, keys, group.last_ms, names);
        let names: Vec<Vec<Option<String>>> = sorted.iter().copied().map(named).collect();
        let is_named = |at: usize| names.iter().any(|names| names[at].is_some());
        let is_named: Vec<bool> = (0..keys.len()).map(is_named).collect();
        let rows = sorted.iter().zip(names).map(|((key, group), names)| {
            let names = names.into_iter().zip(&is_named).filter(|(_, named)| **named);
            let names = names.map(|(name, _)| Value::Text(name.unwrap_or_default()));
            group_values(key, keys, group, &totals, names)
        });
        Answer {
            rows: rows.collect(),
            columns: group_columns(keys, &is_named),
            available,
            kind: Kind::Statistic { keys: keys.to_vec(), order },
            totals,
            coverage,
        }
    }

    /// The index of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// The number that a statistic is sorted by.
fn measure(totals: &Totals, order: Order) -> u64 {
    match order {
        Order::Flows => totals.flows,
        Order::Packets => totals.packets,
        Order::Bytes => totals.bytes,
        Order::Pps => totals.pps(),
        Order::Bps => totals.bps(),
        Order::Bpp => totals.bpp(),
        Order::FlowsEstimated => totals.flows_estimated,
        Order::PacketsEstimated => totals.packets_estimated,
        Order::BytesEstimated => totals.bytes_estimated,
    }
}

fn flow_heading(field: Column) -> (&'static str, Unit) {
    let unit = match field.form() {
        Form::TimeMs => Unit::TimeMs,
        Form::Packets => Unit::Packets,
        Form::Bytes => Unit::Bytes,
        _ => Unit::None,
    };
    (field.title(), unit)
}

/// What the exporter of a flow called its number in this column when it came.
fn row_name(row: &FlowRow, column: Column, names: &Dictionary) -> Option<String> {
    match (column.name_kind(), row.cell(column)) {
        (Some(kind), Cell::Number(id)) => {
            names.name((kind, id), Some(row.exporter), row.received_ms)
        }
        _ => None,
    }
}

/// What the numbers of a group's key were called when its last flow ended.
fn group_names(key: &[u8], keys: &[Key], at_ms: u64, names: &Dictionary) -> Vec<Option<String>> {
    let mut parts = Vec::new();
    let mut rest = key;
    for key in keys {
        let (bytes, after) = rest.split_at(key.width());
        parts.push((*key, bytes));
        rest = after;
    }
    let exporter = parts.iter().find(|(key, _)| *key == Key::Column(Column::Exporter));
    let exporter = exporter.and_then(|(_, bytes)| bytes.as_array()).map(|bytes| Address(*bytes));
    let name = |(key, bytes): &(Key, &[u8])| {
        let kind = key.name_kind()?;
        names.name((kind, number(bytes)), exporter, at_ms)
    };
    parts.iter().map(name).collect()
}

/// The names of a column's numbers.
fn name_column(name: &str, title: &str) -> AnswerColumn {
    column(&format!("{name}_name"), &format!("{title} name"), Unit::None)
}

/// What the counts stand for.
fn estimate_columns() -> [AnswerColumn; ESTIMATES] {
    [
        column("flows_estimated", "Flows*", Unit::Flows),
        column("packets_estimated", "Packets*", Unit::Packets),
        column("bytes_estimated", "Bytes*", Unit::Bytes),
    ]
}

/// How many estimates stand at the end of every row.
pub(crate) const ESTIMATES: usize = 3;

fn estimates(totals: &Totals) -> [Value; ESTIMATES] {
    [totals.flows_estimated, totals.packets_estimated, totals.bytes_estimated].map(Value::Number)
}

fn flow_values(
    row: &FlowRow,
    columns: &[Column],
    names: impl Iterator<Item = Value>,
) -> Vec<Value> {
    let mut values =
        vec![Value::Number(row.first_ms), Value::Number(row.last_ms.saturating_sub(row.first_ms))];
    values.extend(columns.iter().map(|&column| typed(column, row.cell(column))));
    values.extend(names);
    values.push(Value::Number(1));
    values.extend(estimates(&row.totals()));
    values
}

/// The value with the type that its column gives it.
fn typed(column: Column, cell: Cell) -> Value {
    match (column.form(), cell) {
        (_, Cell::Address(address)) => Value::Address(address),
        // The columns of these forms have one byte, or two.
        (Form::Protocol, Cell::Number(number)) => Value::Protocol(number as u8),
        (Form::Flags, Cell::Number(number)) => Value::Flags(number as u16),
        (Form::Mac, Cell::Number(number)) => Value::Mac(number),
        (Form::Label, Cell::Number(number)) => Value::Label(number as u32),
        (Form::Application, Cell::Number(number)) => Value::Application(number),
        (_, Cell::Number(number)) => Value::Number(number),
    }
}

fn group_columns(keys: &[Key], named: &[bool]) -> Vec<AnswerColumn> {
    let mut columns = vec![
        column("first_ms", "Date first seen", Unit::TimeMs),
        column("duration_ms", "Duration", Unit::DurationMs),
    ];
    let mut named_columns = Vec::new();
    for (key, named) in keys.iter().zip(named) {
        let element;
        let (name, title) = match key {
            Key::Column(field) => (field.name(), flow_heading(*field).0),
            Key::Address => ("address", "IP Addr"),
            Key::Port => ("port", "Port"),
            Key::As => ("as", "AS"),
            Key::Interface => ("interface", "In/Out If"),
            Key::Mask => ("mask", "Mask"),
            Key::Vrf => ("vrf", "In/Out VRF"),
            Key::Element(id) => {
                element = id.to_string();
                (&*element, &*element)
            }
        };
        let unit = key_unit(*key);
        columns.push(column(name, title, unit));
        named_columns.extend(named.then(|| name_column(name, title)));
    }
    columns.extend(named_columns);
    columns.extend([
        column("flows", "Flows", Unit::Flows),
        column("flows_percent", "%", Unit::Percent),
        column("packets", "Packets", Unit::Packets),
        column("packets_percent", "%", Unit::Percent),
        column("bytes", "Bytes", Unit::Bytes),
        column("bytes_percent", "%", Unit::Percent),
        column("packets_per_second", "pps", Unit::PacketsPerSecond),
        column("bits_per_second", "bps", Unit::BitsPerSecond),
        column("bytes_per_packet", "bpp", Unit::BytesPerPacket),
    ]);
    columns.extend(estimate_columns());
    columns
}

fn key_unit(key: Key) -> Unit {
    match key {
        Key::Column(field) => flow_heading(field).1,
        Key::Element(element) => element::key_unit(element.kind()),
        _ => Unit::None,
    }
}

fn group_values(
    key: &[u8],
    keys: &[Key],
    group: &Totals,
    totals: &Totals,
    names: impl Iterator<Item = Value>,
) -> Vec<Value> {
    let mut values = vec![Value::Number(group.first_ms), Value::Number(group.duration_ms())];
    let mut rest = key;
    for key in keys {
        let (bytes, after) = rest.split_at(key.width());
        rest = after;
        values.push(match (key, key.sides(), bytes.as_array()) {
            (Key::Element(element), ..) => element::read_key(element.kind(), bytes),
            (_, Some((column, _)), None) => typed(column, Cell::Number(number(bytes))),
            (_, _, Some(address)) => Value::Address(Address(*address)),
            (_, None, None) => unreachable!("only an element has no column"),
        });
    }
    values.extend(names);
    let share = |part: u64, whole: u64| {
        Value::Fraction(if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 })
    };
    values.extend([
        Value::Number(group.flows),
        share(group.flows, totals.flows),
        Value::Number(group.packets),
        share(group.packets, totals.packets),
        Value::Number(group.bytes),
        share(group.bytes, totals.bytes),
        Value::Number(group.pps()),
        Value::Number(group.bps()),
        Value::Number(group.bpp()),
    ]);
    values.extend(estimates(group));
    values
}
