//! Where a description is at, and what it has complained of so far.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use super::complaint::{Complaint, Kind};

/// Complaints about one datagram; one more says that there would be others.
const COMPLAINTS_MAX: usize = 1_000;
/// Fields that are described of one datagram. The longest one has fewer, if each has an octet.
const FIELDS_MAX: usize = 1 << 17;
/// Lists within lists that are read.
const DEPTH_MAX: usize = 8;

/// A step on the way from a message to what is complained of.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A data set that came in an earlier datagram.
    Earlier(u64),
    /// The set or sample with this place in its message, from 1.
    Set(usize),
    Sample(usize),
    /// A template record's id.
    Template(u16),
    /// The record with this place in its set, from 1.
    Record(usize),
    /// A field or a structure, by its name.
    Field(Cow<'static, str>),
}

/// Collects complaints, and bounds what a description takes.
#[derive(Debug)]
pub(super) struct Teller {
    complaints: Vec<Complaint>,
    steps: Vec<Step>,
    fields: usize,
    depth: usize,
}

impl Default for Teller {
    fn default() -> Self {
        Teller { complaints: Vec::new(), steps: Vec::new(), fields: FIELDS_MAX, depth: 0 }
    }
}

impl Teller {
    pub(super) fn enter(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(super) fn leave(&mut self) {
        self.steps.pop();
    }

    /// Goes into a list, unless there are too many around it.
    pub(super) fn descend(&mut self) -> bool {
        let may = self.depth < DEPTH_MAX;
        self.depth += usize::from(may);
        may
    }

    pub(super) fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Whether so many further fields may be described; complains of it the first time that not.
    pub(super) fn may_describe(&mut self, fields: usize, at: Range<usize>) -> bool {
        if let Some(left) = self.fields.checked_sub(fields) {
            self.fields = left;
            return true;
        }
        if !self.complaints.iter().any(|complaint| complaint.kind == Kind::TooMuch) {
            let text = format!("from here on {FIELDS_MAX} fields were described");
            self.put(Kind::TooMuch, at, &text, "");
        }
        false
    }

    /// Complains of the octets `at`, in the place that was entered.
    pub(super) fn say(&mut self, kind: Kind, at: Range<usize>, text: &str, rule: &'static str) {
        match self.complaints.len() {
            0..COMPLAINTS_MAX => self.put(kind, at, text, rule),
            COMPLAINTS_MAX => {
                let text = format!("{COMPLAINTS_MAX} complaints stand before this one");
                self.put(Kind::TooMuch, at, &text, "");
            }
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Vec<Complaint> {
        let mut complaints = self.complaints;
        complaints.sort_by_key(|complaint| complaint.at.start);
        complaints
    }

    fn put(&mut self, kind: Kind, at: Range<usize>, text: &str, rule: &'static str) {
        let (place, text) = (self.place(), text.to_owned());
        self.complaints.push(Complaint { kind, at, place, text, rule });
    }

    fn place(&self) -> String {
        // Where a datagram is left for an earlier one, only the way there counts.
        let start = self.steps.iter().rposition(|step| matches!(step, Step::Earlier(_)));
        let mut place = String::new();
        for step in &self.steps[start.unwrap_or(0)..] {
            if !place.is_empty() {
                place.push_str(", ");
            }
            let written = match step {
                Step::Earlier(number) => write!(place, "packet {number}"),
                Step::Set(at) => write!(place, "set {at}"),
                Step::Sample(at) => write!(place, "sample {at}"),
                Step::Template(id) => write!(place, "template {id}"),
                Step::Record(at) => write!(place, "record {at}"),
                Step::Field(name) => write!(place, "{name}"),
            };
            written.expect("a string takes what is written to it");
        }
        place
    }
}
