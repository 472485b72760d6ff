//! Tests by name: of the things that an exporter called so when a flow came.

use std::cell::Cell;

use crate::Address;
use crate::Column;
use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::names::Span;
use crate::query::expression::Selection;

/// A name as a person writes it: letters of either case, and a star for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Of the text of a filter.
    pub fn new(text: &str) -> Self {
        NamePattern(text.to_lowercase())
    }

    /// Whether `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// The rows whose number in `column` was one of these things' when they came. `spans` are by
/// exporter, then number.
///
/// # Errors
/// What reading a column says.
pub(crate) fn select(
    source: &impl ColumnSource,
    column: Column,
    spans: &[Span],
) -> Result<Selection, Error> {
    let rows = source.rows();
    let may_be_absent = spans.iter().any(|span| span.id == 0);
    if spans.is_empty() || (!may_be_absent && !source.has(column)) {
        return Ok(Selection::of(rows, |_| false));
    }
    let numbers = source.values(column)?;
    let exporters = source.values(Column::Exporter)?;
    let received = source.values(Column::Received)?;
    Ok(by_exporter(&numbers, exporters.as_addresses(), received.as_u64(), spans))
}

fn by_exporter(
    numbers: &Values<'_>,
    exporters: &[Address],
    received: &[u64],
    spans: &[Span],
) -> Selection {
    // Flows of one exporter often come one after the other.
    let last: Cell<Option<(Address, &[Span])>> = Cell::new(None);
    let of = |exporter: Address| match last.get() {
        Some((known, own)) if known == exporter => own,
        _ => {
            let begin = spans.partition_point(|span| span.exporter < exporter);
            let end = spans.partition_point(|span| span.exporter <= exporter);
            last.set(Some((exporter, &spans[begin..end])));
            &spans[begin..end]
        }
    };
    Selection::of(exporters.len(), |row| {
        let own = of(exporters[row]);
        if own.is_empty() {
            return false;
        }
        let (id, at) = (numbers.number(row), received[row]);
        let begin = own.partition_point(|span| span.id < id);
        let mut same = own[begin..].iter().take_while(|span| span.id == id);
        same.any(|span| (span.from_ms..span.until_ms).contains(&at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::names::{NameKind, Naming, Table};
    use crate::query::FlowRow;
    use crate::query::filter;

    #[test]
    fn a_star_stands_for_any_text_and_case_for_nothing() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).matches(name);
        assert!(matches("Gi0/1", "gi0/1") && !matches("gi0/1", "Gi0/10"));
        assert!(
            matches("gi0/*", "Gi0/10") && matches("*", "") && matches("*uplink*", "to UPLINK 1")
        );
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c-b"));
        assert!(!matches("ab*ba", "aba"), "what stands before a star is not what stands behind it");
        assert!(!matches("", "x") && matches("", ""));
    }

    #[test]
    fn flows_are_found_by_the_name_that_held_when_they_came() {
        let router = |n: u8| Address::from_v4([192, 0, 2, n]);
        let mut table = Table::default();
        for (exporter, kind, id, since_ms, name) in [
            (1, NameKind::Interface, 7, 100, "uplink"),
            (1, NameKind::Interface, 7, 200, "spare"),
            (2, NameKind::Interface, 8, 100, "uplink"),
            (2, NameKind::Vrf, 0, 100, "default"),
            (2, NameKind::Application, 5 << 56, 100, "dns"),
        ] {
            let (exporter, description) = (router(exporter), "".into());
            table.learn(&Naming { exporter, kind, id, since_ms, name: name.into(), description });
        }
        let mut batch = Batch::default();
        for (exporter, input, output, received_ms) in
            [(1, 7, 8, 50), (1, 7, 8, 250), (2, 7, 8, 250), (2, 8, 7, 250), (3, 7, 8, 150)]
        {
            batch.push(&FlowRow {
                exporter: router(exporter),
                input_interface: input,
                output_interface: output,
                received_ms,
                application: if input == 8 { 5 << 56 } else { 0 },
                ..FlowRow::default()
            });
        }
        for (text, expected) in [
            ("if name uplink", vec![0, 2, 3]),
            ("in if name UP*", vec![0, 3]),
            ("out if name \"uplink\"", vec![2]),
            ("if name spare", vec![1]),
            ("not if name spare", vec![0, 2, 3, 4]),
            ("if name uplink and router ip 192.0.2.1", vec![0]),
            ("if name nothing", vec![]),
            ("vrf name default", vec![2, 3]),
            ("in vrf name default", vec![2, 3]),
            ("app name 'dns'", vec![3]),
        ] {
            let expression = filter::parse(text).unwrap();
            let selection = expression.named_by(&table).select(&batch).unwrap();
            assert_eq!(selection.iter().collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
