//! The describer against the collector: a record that one sees the other sees.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Unit;
use weir_dataplane::describe::{Content, Describer, Description, Kind, SampleKind};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};

mod captures;

use captures::{Sent, corpus, read};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const TO: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 2055);

/// What both say of datagrams, in the same words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    datagrams: u64,
    flows: u64,
    options: u64,
    templates: u64,
    waiting: u64,
    refused: u64,
    set_length: u64,
    set_reserved: u64,
    templates_malformed: u64,
    records_malformed: u64,
}

/// Both, fed alike.
struct Pair {
    collector: Collector,
    counters: Arc<Counters>,
    describer: Describer,
    described: Tally,
}

impl Pair {
    fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let sessions = SessionLimits::default();
        let config = CollectorConfig { sessions, hold: HoldLimits::default(), batch_rows: 1 << 16 };
        let collector = Collector::new(config, Arc::clone(&counters));
        let (describer, described) = (Describer::new(sessions), Tally::default());
        Pair { collector, counters, describer, described }
    }

    fn datagram(&mut self, (source, payload): &Sent) -> Description {
        let destination = SocketAddr::from(TO);
        self.collector.datagram(&Datagram { source: *source, destination, payload }, NOW);
        self.collector.take_batch();
        let description = self.describer.datagram(*source, destination, payload, NOW);
        self.described.take(&description);
        self.described.waiting = self.describer.waiting();
        description
    }

    fn collected(&self) -> Tally {
        let counters = &*self.counters;
        Tally {
            datagrams: counters.datagrams_accepted.get(),
            flows: counters.records_decoded.get(),
            options: counters.options_decoded.get(),
            templates: counters.templates_received.get(),
            waiting: counters.sets_held.get(),
            refused: counters.discarded_total(Unit::Datagram),
            set_length: counters.discarded(Discard::SetLength),
            set_reserved: counters.discarded(Discard::SetReserved),
            templates_malformed: counters.discarded(Discard::TemplateMalformed),
            records_malformed: counters.discarded(Discard::RecordMalformed),
        }
    }
}

impl Tally {
    fn take(&mut self, description: &Description) {
        self.datagrams += u64::from(description.message.is_some());
        self.refused += u64::from(description.message.is_none());
        self.templates += description.templates().filter(|t| !t.withdrawal).count() as u64;
        let own = description.message.iter().flat_map(|message| &message.sets);
        for set in own.chain(description.late.iter().map(|late| &late.set)) {
            let records = set.records().len() as u64;
            match &set.content {
                Content::Data { options: true, .. } => self.options += records,
                Content::Sample(SampleKind::Flow, _) => self.flows += 1,
                Content::Sample(..) => {}
                _ => self.flows += records,
            }
        }
        for complaint in &description.complaints {
            match complaint.kind {
                Kind::SetLength => self.set_length += 1,
                Kind::SetReserved => self.set_reserved += 1,
                Kind::TemplateMalformed => self.templates_malformed += 1,
                Kind::RecordMalformed => self.records_malformed += 1,
                _ => {}
            }
        }
    }
}

#[test]
fn describer_and_collector_see_the_same_in_every_capture() {
    let Some(folder) = corpus() else {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv")).expect("a manifest");
    let mut records = 0;
    for name in manifest.lines().filter_map(|line| line.split('\t').next()) {
        let file = folder.join(name);
        let Some(sent) = file.is_file().then(|| read(&file)).flatten() else { continue };
        let mut pair = Pair::new();
        for (at, datagram) in sent.iter().enumerate() {
            pair.datagram(datagram);
            assert_eq!(pair.described, pair.collected(), "{name}, datagram {}", at + 1);
        }
        records += pair.described.flows + pair.described.options;
    }
    println!("{records} records seen by both");
    assert!(records > 0, "the manifest names files of known protocols");
}

/// Bytes of generated messages: their tests need no corpus.
mod bytes {
    pub(crate) fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    pub(crate) fn set(id: u16, body: &[u8]) -> Vec<u8> {
        [words(&[id, 4 + body.len() as u16]), body.to_vec()].concat()
    }

    pub(crate) fn ipfix(sequence: u8, sets: &[Vec<u8>]) -> Vec<u8> {
        let sets = sets.concat();
        let mut message = words(&[10, 16 + sets.len() as u16, 0x6500, 0, 0]);
        message.extend([0, sequence, 0, 0, 0, 7]);
        message.extend(sets);
        message
    }

    pub(crate) fn v9(sequence: u8, count: u16, sets: &[Vec<u8>]) -> Vec<u8> {
        let mut message = words(&[9, count, 0, 5000, 0x6500, 0, 0]);
        message.extend([0, sequence, 0, 0, 0, 7]);
        message.extend(sets.concat());
        message
    }

    /// An sFlow datagram of samples (tag, body).
    pub(crate) fn sflow(samples: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut datagram = Vec::new();
        for word in [5u32, 1, 0xc000_0201, 0, 1, 2, samples.len() as u32] {
            datagram.extend(word.to_be_bytes());
        }
        for (tag, body) in samples {
            datagram.extend(tag.to_be_bytes());
            datagram.extend((body.len() as u32).to_be_bytes());
            datagram.extend(body);
        }
        datagram
    }
}

/// Messages that say a little of everything.
fn messages() -> Vec<Vec<u8>> {
    use bytes::{ipfix, set, sflow, v9, words};
    let variable = u16::MAX;
    // A list of addresses, a list of records of template 256, a name, two times and a counter.
    let flows =
        words(&[257, 6, 291, variable, 292, variable, 82, variable, 152, 8, 153, 8, 0x8001, 2]);
    let flows = [flows, vec![0, 0, 0x72, 0x79]].concat();
    let ports = words(&[256, 2, 7, 2, 4, 1]);
    let mut record = vec![13, 3, 0, 8, 0, 4, 10, 0, 0, 1, 10, 0, 0, 2];
    record.extend([9, 3, 1, 0, 0, 80, 6, 0, 53, 17, 2, b'g', b'0']);
    record.extend([0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 1, 0, 9]);
    let options = words(&[258, 3, 1, 346, 4, 303, 2, 341, variable]);
    let header =
        [&[1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0, 0x45, 0, 0, 40][..], &[17; 40]].concat();
    let mut sample =
        [1u32, 3, 100, 1000, 0, 4, 5, 1, 1, 74, 1, 90, 4, 58].map(u32::to_be_bytes).concat();
    sample.extend(header);
    sample.extend([0, 0]);
    let mut v5 = words(&[5, 1]);
    v5.extend([7; 20 + 48]);
    vec![
        ipfix(0, &[set(257, &record), set(2, &[ports, flows].concat()), set(257, &record)]),
        ipfix(1, &[set(3, &options), set(258, &[0, 0, 0, 9, 0, 1, 1, b'x', 0, 0])]),
        v9(0, 3, &[set(0, &words(&[256, 2, 8, 4, 1, 4])), set(256, &[1; 17])]),
        v9(1, 2, &[set(1, &words(&[257, 4, 4, 2, 4, 34, 4])), set(257, &[1; 8]), set(9, &[])]),
        sflow(&[(1, sample), (2, vec![0; 12]), (0x1234_5678, vec![1; 8])]),
        v5,
    ]
}

/// Feeds both; a set of templates with several refused ones counts once for the collector, and so
/// is left out.
fn agree(pair: &mut Pair, payload: &[u8]) {
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    pair.datagram(&(source, payload.to_vec()));
    let without = |tally: Tally| Tally { templates_malformed: 0, ..tally };
    assert_eq!(without(pair.described.clone()), without(pair.collected()), "{payload:02x?}");
}

#[test]
fn both_see_the_same_in_messages_of_every_protocol() {
    let mut pair = Pair::new();
    for message in messages() {
        agree(&mut pair, &message);
    }
    let seen = &pair.described;
    assert_eq!((seen.flows, seen.options, seen.templates), (2 + 2 + 1 + 1, 1 + 1, 2 + 1 + 1 + 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some of the messages, with octets changed and cut off, in any order.
    #[test]
    fn no_input_panics_and_both_see_the_same(
        damage in proptest::collection::vec(
            (0..6usize, proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6), 0..30usize),
            1..12,
        ),
    ) {
        let messages = messages();
        let mut pair = Pair::new();
        for (which, changes, cut) in damage {
            let mut message = messages[which].clone();
            for (at, octet) in changes {
                let at = usize::from(at) % message.len();
                message[at] = octet;
            }
            message.truncate(message.len() - cut.min(message.len()));
            agree(&mut pair, &message);
        }
    }

    #[test]
    fn octets_without_sense_are_described(
        version in 0u16..12,
        octets in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let payload = [&version.to_be_bytes()[..], &octets].concat();
        agree(&mut Pair::new(), &payload);
    }
}

#[test]
fn fields_of_no_octets_do_not_take_all_memory() {
    // A thousand fields of no octets and one of one: a full datagram has sixty million of them.
    let mut template = bytes::words(&[256, 1_001]);
    for _ in 0..1_000 {
        template.extend(bytes::words(&[210, 0]));
    }
    template.extend(bytes::words(&[4, 1]));
    let mut pair = Pair::new();
    agree(&mut pair, &bytes::ipfix(0, &[bytes::set(2, &template)]));
    agree(&mut pair, &bytes::ipfix(0, &[bytes::set(256, &vec![6; 60_000])]));
    assert_eq!(pair.described.flows, 60_000);
}
