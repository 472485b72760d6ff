//! The checked-in table of differences that are explained: what an origin or another collector has,
//! what weir has, who is right and by which rule.
//!
//! A line speaks of exactly as many differences as it says, or of one of several such numbers
//! (`0|17`): any other number means that it no longer applies. `*` stands for anything within a
//! column.

use std::fmt;
use std::path::Path;

use super::findings::{Difference, Findings};

/// The table's columns, as its first line names them.
const COLUMNS: [&str; 9] =
    ["file", "packet", "record", "field", "expected", "ours", "times", "reason", "rule"];

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    /// Of file, packet, record, field, expected and ours.
    patterns: [String; 6],
    times: Vec<u64>,
    reason: String,
    rule: String,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lines: Vec<Line>,
}

/// What the table says of the differences that were found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How many it explains.
    pub explained: u64,
    /// Those that it does not.
    pub unexplained: Vec<Difference>,
    /// Its lines that no longer apply, in words.
    pub outdated: Vec<String>,
    /// Its lines that do: times, reason and rule.
    pub applied: Vec<String>,
}

impl Table {
    /// The table beside hwtests' sources.
    ///
    /// # Panics
    /// When a line of it is none.
    pub fn checked_in() -> Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/differences.tsv");
        let text = std::fs::read_to_string(&path).expect("the table is checked in");
        Table::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Reads it.
    ///
    /// # Errors
    /// In words, when a line has other columns.
    pub fn parse(text: &str) -> Result<Table, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let names = lines.next().map(|(_, line)| line.split('\t').collect::<Vec<_>>());
        if names.as_deref() != Some(&COLUMNS) {
            return Err(format!("its first line is not {COLUMNS:?}"));
        }
        let parsed = lines.map(|(at, line)| Line::parse(at + 1, line));
        Ok(Table { lines: parsed.collect::<Result<_, _>>()? })
    }

    /// Holds findings against it. Lines of files that `is_asked` refuses are left out.
    pub fn judge(&self, findings: &Findings, is_asked: impl Fn(&str) -> bool) -> Verdict {
        let mut verdict = Verdict::default();
        let mut met = vec![0; self.lines.len()];
        for difference in &findings.differences {
            let explains = |line: &Line| line.explains(difference);
            match self.lines.iter().position(explains) {
                Some(at) => met[at] += 1,
                None => verdict.unexplained.push(difference.clone()),
            }
        }
        for (line, met) in self.lines.iter().zip(met) {
            if line.times.contains(&met) {
                verdict.explained += met;
                verdict.applied.push(format!("{met} × {line}"));
            } else if is_asked(&line.patterns[0]) {
                verdict.outdated.push(format!("met {met} times: {line}"));
            }
        }
        verdict
    }
}

impl Line {
    fn parse(number: usize, line: &str) -> Result<Line, String> {
        let odd = || format!("line {number} has other columns than {COLUMNS:?}");
        let words: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [file, packet, record, field, expected, ours, times, reason, rule] =
            <[String; 9]>::try_from(words).map_err(|_| odd())?;
        Ok(Line {
            number,
            patterns: [file, packet, record, field, expected, ours],
            times: times.split('|').map(str::parse).collect::<Result<_, _>>().map_err(|_| odd())?,
            reason,
            rule,
        })
    }

    fn explains(&self, difference: &Difference) -> bool {
        let place = &difference.place;
        let texts = [
            &place.file,
            &place.packet,
            &place.record,
            &place.field,
            &difference.expected,
            &difference.ours,
        ];
        self.patterns.iter().zip(texts).all(|(pattern, text)| matches(pattern, text))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { number, patterns, reason, rule, .. } = self;
        let [file, _, _, field, ..] = patterns;
        write!(f, "line {number}, {file}, {field}: {reason}")?;
        if rule.is_empty() { Ok(()) } else { write!(f, " [{rule}]") }
    }
}

/// Whether the text is this, `*` standing for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::findings::Place;
    use super::*;

    const HEAD: &str = "file\tpacket\trecord\tfield\texpected\tours\ttimes\treason\trule\n";

    fn findings(times: usize) -> Findings {
        let mut findings = Findings::default();
        for number in 0..times {
            findings.field(&Place::of("a/b.json").packet(1).record(number).field("tos"), 1, 2);
        }
        findings
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*c*e", "abcde"),
            ("abc", "abc"),
            ("a**", "a"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "abc"), ("*b", "abc"), ("a*c*e", "abde"), ("ab*bc", "abc")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_line_explains_as_many_as_it_says() {
        let text = format!("{HEAD}a/*\t1\t*\ttos\t1\t2\t2\tbecause\tRFC 1\n");
        let table = Table::parse(&text).expect("a table");
        let verdict = table.judge(&findings(2), |_| true);
        assert_eq!(
            (verdict.explained, verdict.outdated.len(), verdict.unexplained.len()),
            (2, 0, 0)
        );
        for times in [1, 3] {
            assert_eq!(table.judge(&findings(times), |_| true).outdated.len(), 1);
        }
    }

    #[test]
    fn what_no_line_explains_is_unexplained() {
        let table = Table::parse(&format!("# a comment\n{HEAD}")).expect("a table");
        assert_eq!(table.judge(&findings(1), |_| true).unexplained.len(), 1);
        assert!(Table::parse("file\tpacket\n").is_err());
    }
}
