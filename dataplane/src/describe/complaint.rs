//! What a description complains of: where, what, and which rule it breaks.

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; no rule is broken.
    Note,
    /// A rule is broken, or two things contradict each other, and everything could be read.
    Warning,
    /// Something could not be read.
    Error,
}

impl Severity {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

macro_rules! define_kinds {
    ($($name:ident, $severity:ident, $text:literal, $meaning:literal;)*) => {
        /// What can be complained of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $meaning] $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The name in `--json`.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Kind::$name => Severity::$severity,)* }
            }

            /// One line for the person who reads it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$name => $meaning,)* }
            }
        }
    };
}

define_kinds! {
    Empty, Error, "empty", "a datagram without a payload";
    UnknownVersion, Error, "unknown_version", "the version field names no protocol that weir reads";
    HeaderCutShort, Error, "header_cut_short", "shorter than its protocol's header";
    MessageLength, Error, "message_length", "the header's length or record count contradicts the datagram";
    UnknownAggregation, Error, "unknown_aggregation", "NetFlow version 8 of an unknown aggregation scheme";
    SessionRefused, Error, "session_refused", "no room for another transport session";
    TrailingOctets, Warning, "trailing_octets", "octets behind the end of the message";
    RecordCount, Warning, "record_count", "the header counts other records than there are";
    SequenceGap, Warning, "sequence_gap", "sequence numbers are missing before this message";
    SequenceBackwards, Warning, "sequence_backwards", "the sequence number is older than one before";
    SequenceRestart, Note, "sequence_restart", "the exporter counts from another number on";
    SetLength, Error, "set_length", "a set whose length field leaves the message or is under 4";
    SetReserved, Error, "set_reserved", "a set id that its protocol reserves";
    SetEmpty, Warning, "set_empty", "a set without a record";
    Padding, Warning, "padding", "padding that is not of zeroes";
    TemplateMalformed, Error, "template_malformed", "a template record that cannot be read or describes nothing";
    TemplateRefused, Error, "template_refused", "no room for another template";
    TemplateChanged, Note, "template_changed", "a template id that meant something else before";
    Withdrawal, Warning, "withdrawal", "a template withdrawal that breaks a rule";
    UnknownElement, Note, "unknown_element", "an information element that weir does not know";
    FieldLength, Warning, "field_length", "a field length that its element's type does not allow";
    UnknownTemplate, Error, "unknown_template", "a data set whose template has not come yet";
    RecordMalformed, Error, "record_malformed", "a variable-length record that leaves its set";
    Value, Warning, "value", "a value that its type does not allow";
    Contradiction, Warning, "contradiction", "values of a record that contradict each other";
    ListMalformed, Error, "list_malformed", "structured data that cannot be read to its end";
    SampleMalformed, Error, "sample_malformed", "an sFlow structure that leaves what it stands in";
    UnknownStructure, Note, "unknown_structure", "an sFlow structure that weir does not know";
    TooMuch, Error, "too_much", "more fields than are described of one datagram; the rest is counted only";
}

/// Something that was not understood, or is contradictory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What it is.
    pub kind: Kind,
    /// Where in the payload, octets.
    pub at: Range<usize>,
    /// Where in the message, in words, from the outside in: "set 2, record 3, sourceIPv4Address".
    pub place: String,
    /// What is wrong there, in a sentence without its full stop.
    pub text: String,
    /// The rule that it breaks ("RFC 7011, Section 3.3.2"); empty when there is none.
    pub rule: &'static str,
}
