//! Counters: every datagram, set and record ends in exactly one of them.
//!
//! Conservation, per worker and so per unit:
//! - datagrams `received = accepted + Σ discarded`;
//! - records `decoded = delivered + Σ discarded` once nothing is in flight (an open message of a
//!   proxy, a batch on its way to the store); `in flight` is itself a gauge, so that the sum can be
//!   checked while traffic runs.
//!
//! One worker writes, anyone reads: a counter is an atomic that its writer loads and stores
//! relaxed, which costs what a plain addition costs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning worker calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes back what was added too early; only the owning worker calls this.
    #[inline]
    pub fn take_back(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets a gauge; only the owning worker calls this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value as last stored.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What kind of thing a [`Discard`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A whole datagram: none of it was used.
    Datagram,
    /// A set of a datagram that was otherwise accepted; how many records it held is unknown.
    Set,
    /// A data record that was decoded and then could not be delivered.
    Record,
}

macro_rules! define_discards {
    ($($name:ident, $unit:ident, $text:literal, $meaning:literal;)*) => {
        /// Every reason for which a datagram, a set or a record can end undelivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Discard {
            $(#[doc = $meaning] $name,)*
        }

        impl Discard {
            /// All reasons, in the order of their index.
            pub const ALL: &[Discard] = &[$(Discard::$name),*];

            /// The counter's name, in metrics, `weir status` and `--json`.
            pub const fn name(self) -> &'static str {
                match self { $(Discard::$name => $text,)* }
            }

            /// What ended for this reason.
            pub const fn unit(self) -> Unit {
                match self { $(Discard::$name => Unit::$unit,)* }
            }

            /// One line for the person who sees the counter rise.
            pub const fn meaning(self) -> &'static str {
                match self { $(Discard::$name => $meaning,)* }
            }
        }
    };
}

define_discards! {
    Empty, Datagram, "empty", "a datagram without a payload";
    TooShort, Datagram, "too_short", "shorter than its protocol's header";
    TooLong, Datagram, "too_long", "longer than the receive buffer, or than the message's own length field";
    UnknownVersion, Datagram, "unknown_version", "the version field names no protocol that weir reads";
    UnknownAggregation, Datagram, "unknown_aggregation", "NetFlow version 8 of an aggregation scheme that weir does not know";
    MessageLength, Datagram, "message_length", "the header's length or record count contradicts the datagram";
    BadFrame, Datagram, "bad_frame", "an Ethernet frame whose IP or UDP header is malformed";
    BadChecksum, Datagram, "bad_checksum", "a UDP checksum that does not match";
    SessionTableFull, Datagram, "session_table_full", "no room for another transport session, and none that may give way";
    SourceSessionsFull, Datagram, "source_sessions_full", "no room for another transport session of this exporter's address";
    DatagramNoSlave, Datagram, "datagram_no_slave", "no healthy slave to hand the datagram to";
    SourceNotAllowed, Datagram, "source_not_allowed", "the listening port's gate does not let its sender in";
    FormatNotAllowed, Datagram, "format_not_allowed", "the listening port's gate does not take its format";
    HandOverFull, Datagram, "hand_over_full", "the ring to the worker of its session was full";
    DatagramSend, Datagram, "datagram_send", "the system refused to send the datagram";
    SetLength, Set, "set_length", "a set whose length field leaves the message or is under 4";
    SetReserved, Set, "set_reserved", "a set id that its protocol reserves";
    UnknownTemplate, Set, "unknown_template", "a data set whose template did not come in time";
    TemplateMalformed, Set, "template_malformed", "a template record that is cut short or describes nothing";
    TemplateTableFull, Set, "template_table_full", "no room for another template of this session";
    SourceTemplatesFull, Set, "source_templates_full", "no room for another template of this exporter's address";
    RecordMalformed, Set, "record_malformed", "a data set whose variable-length record leaves the set";
    SampleMalformed, Set, "sample_malformed", "an sFlow sample, or a structure within, that leaves what it stands in";
    RecordNoSlave, Record, "record_no_slave", "no healthy slave to deal the record to";
    RecordTooLong, Record, "record_too_long", "a record that no message can carry";
    RecordSend, Record, "record_send", "the system refused to send the message that held the record";
    NoFrame, Record, "no_frame", "no free frame for an outgoing message";
    RingFull, Record, "ring_full", "the ring from the collector to the store was full";
    SampledOut, Record, "sampled_out", "left out by the valve: `keep_one_in` of the topology file keeps one flow record in so many";
    StoreFull, Record, "store_full", "the disk is full and the store's memory bound is reached";
}

/// Lengths and versions that make no sense.
const MALFORMED: [Discard; 6] = [
    Discard::TooShort,
    Discard::UnknownVersion,
    Discard::MessageLength,
    Discard::SetLength,
    Discard::TemplateMalformed,
    Discard::RecordMalformed,
];

/// A worker's counters. Shared as `Arc<Counters>`: the worker writes, `weir status` reads.
#[derive(Debug)]
pub struct Counters {
    /// Datagrams taken from the network.
    pub datagrams_received: Counter,
    /// Datagrams that the system dropped before weir could take them (full socket buffer or ring);
    /// not among the received.
    pub datagrams_dropped: Counter,
    /// Datagrams whose header was understood and whose sets were processed (or, in the flow-source
    /// model, that were handed on).
    pub datagrams_accepted: Counter,
    /// Messages handed to the network for a slave.
    pub messages_sent: Counter,
    /// Messages that the system refused to send.
    pub messages_failed: Counter,
    /// Template records read (not counting withdrawals).
    pub templates_received: Counter,
    /// Flow data records decoded; options data records are not among them.
    pub records_decoded: Counter,
    /// Flow data records handed on: in a message to a slave, or in a sealed or queryable batch.
    pub records_delivered: Counter,
    /// Gauge: flow data records decoded, neither delivered nor discarded yet.
    pub records_in_flight: Counter,
    /// Options data records read.
    pub options_decoded: Counter,
    /// sFlow counter samples read; weir counts them and keeps none.
    pub counter_samples: Counter,
    /// sFlow samples of a kind that weir does not know, skipped by their length.
    pub samples_unknown: Counter,
    /// Templates and options data records that could not be given to one of the slaves.
    pub broadcasts_failed: Counter,
    /// Upstream units (v5 flows, v9 packets, IPFIX records) that sequence numbers say were lost.
    pub sequence_lost: Counter,
    /// Times that a sequence number went backwards or jumped so far that the exporter restarted.
    pub sequence_resets: Counter,
    /// Gauge: data sets held until their template comes.
    pub sets_held: Counter,
    /// Datagrams that this worker received and another one took over; the other counts them.
    pub handed_over: Counter,
    /// Copies of datagrams handed to the network.
    pub copies_sent: Counter,
    /// Copies that could not be sent.
    pub copies_failed: Counter,
    /// Messages with templates, forwarded in the kernel, whose copy did not reach this worker.
    pub templates_unheard: Counter,
    /// Sampling rates of exporters that have told too many.
    pub rates_refused: Counter,
    /// Names that the store could not take in time; they are taken when they are told again.
    pub names_lost: Counter,
    /// News that found the channel to the control plane full.
    pub news_lost: Counter,
    discarded: [Counter; Discard::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            datagrams_received: Counter::default(),
            datagrams_dropped: Counter::default(),
            datagrams_accepted: Counter::default(),
            messages_sent: Counter::default(),
            messages_failed: Counter::default(),
            templates_received: Counter::default(),
            records_decoded: Counter::default(),
            records_delivered: Counter::default(),
            records_in_flight: Counter::default(),
            options_decoded: Counter::default(),
            counter_samples: Counter::default(),
            samples_unknown: Counter::default(),
            broadcasts_failed: Counter::default(),
            sequence_lost: Counter::default(),
            sequence_resets: Counter::default(),
            sets_held: Counter::default(),
            handed_over: Counter::default(),
            copies_sent: Counter::default(),
            copies_failed: Counter::default(),
            templates_unheard: Counter::default(),
            rates_refused: Counter::default(),
            names_lost: Counter::default(),
            news_lost: Counter::default(),
            discarded: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Counters {
    /// Counts `n` things that ended for `reason`.
    #[inline]
    pub fn discard(&self, reason: Discard, n: u64) {
        self.discarded[reason as usize].add(n);
    }

    /// How many things ended for `reason`.
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discarded[reason as usize].get()
    }

    /// How many messages and parts of messages had lengths that make no sense: what RFC 7011,
    /// Section 9.1 calls malformed.
    pub(crate) fn malformed(&self) -> u64 {
        MALFORMED.iter().map(|&reason| self.discarded(reason)).sum()
    }

    /// Σ over the reasons of one unit.
    pub fn discarded_total(&self, unit: Unit) -> u64 {
        Discard::ALL.iter().filter(|r| r.unit() == unit).map(|&r| self.discarded(r)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: HashSet<_> = Discard::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Discard::ALL.len());
    }

    #[test]
    fn totals_keep_to_their_unit() {
        let counters = Counters::default();
        counters.discard(Discard::TooShort, 2);
        counters.discard(Discard::RingFull, 5);
        assert_eq!(counters.discarded_total(Unit::Datagram), 2);
        assert_eq!(counters.discarded_total(Unit::Record), 5);
        assert_eq!(counters.discarded_total(Unit::Set), 0);
    }
}
