//! RFC 7011, Sections 9 and 10, and the cases of RFC 5471: what a Collecting Process does with what
//! comes.

use weir_dataplane::Discard;
use weir_dataplane::connection::Verdict;
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::mediate::Distribution;

use crate::harness::{Proxy, exporter};
use crate::lab::*;

const BYTES: (u16, u16) = (1, 4);
const PACKETS: (u16, u16) = (2, 4);

/// Section 9: elements that are not understood are passed over by their length.
#[test]
fn elements_that_nobody_knows_are_passed_over() {
    let fields = [(32_767, 7), PACKETS, (32_766, 65_535), BYTES];
    let record = [&[1; 7][..], &[0, 0, 0, 3], &[2, 9, 9], &[0, 0, 0, 4]].concat();
    let rows = row(&fields, &record);
    assert_eq!((packets(&rows), bytes(&rows)), (vec![3], vec![4]));
}

/// Section 9: gaps, repetitions and restarts of the sequence are noted.
#[test]
fn messages_out_of_sequence_are_noted() {
    let mut lab = Lab::new();
    let data = |sequence| message(sequence, &[set(256, &[0; 4])]);
    lab.send(&message(100, &[template(256, &[BYTES])]));
    for (sequence, lost, resets) in
        [(100, 0, 0), (101, 0, 0), (105, 3, 0), (102, 3, 0), (106, 3, 0), (5, 3, 0), (6, 3, 1)]
    {
        lab.send(&data(sequence));
        let counted = (lab.counters.sequence_lost.get(), lab.counters.sequence_resets.get());
        assert_eq!(counted, (lost, resets), "after {sequence}");
    }
}

/// Section 9.1: lengths that make no sense; what they spoil is discarded and counted, and the next
/// message is read as if nothing had been. What stands before the fault is kept.
#[test]
fn malformed_messages_are_discarded_and_counted() {
    let good = [template(256, &[BYTES]), set(256, &[0, 0, 0, 7])].concat();
    let malformed: [(&[u8], Discard); 5] = [
        (&[1, 0, 255, 255], Discard::SetLength),
        (&[1, 0, 0, 3], Discard::SetLength),
        (&[0, 2, 0, 8, 1, 1, 0, 9], Discard::TemplateMalformed),
        (&[0, 2, 0, 12, 1, 1, 0, 1, 0x80, 1, 0, 4], Discard::TemplateMalformed),
        (&[0, 3, 0, 8, 1, 1, 0, 2], Discard::TemplateMalformed),
    ];
    for (wrong, reason) in malformed {
        let mut lab = Lab::new();
        lab.send(&message(0, &[good.clone(), wrong.to_vec()]));
        lab.send(&message(1, &[set(256, &[0, 0, 0, 8])]));
        assert_eq!(bytes(&lab.rows()), [7, 8], "{wrong:?}");
        assert_eq!(lab.discarded(reason), 1, "{wrong:?}");
    }
}

/// Section 9.1: an exporter whose last few messages were malformed is not listened to.
#[test]
fn a_connection_of_malformed_messages_is_given_up() {
    let mut lab = Lab::new();
    let connection = connection();
    for sequence in 0..3 {
        assert_eq!(connection.verdict(), Verdict::Fine);
        lab.hear(&connection, &message(sequence, &[vec![1, 0, 255, 255]]));
    }
    assert_eq!(connection.verdict(), Verdict::Malformed);
}

/// Section 9.3: data without its template is accepted, kept for a short time, and then counted.
#[test]
fn data_whose_template_never_comes_is_counted() {
    let mut lab = Lab::new();
    lab.send(&message(0, &[set(256, &[0; 4]), set(257, &[0; 4])]));
    assert_eq!(lab.counters.datagrams_accepted.get(), 1);
    assert_eq!(lab.counters.sets_held.get(), 2);
    lab.collector.expire(NOW.plus_ms(HoldLimits::default().ms));
    assert_eq!((lab.counters.sets_held.get(), lab.discarded(Discard::UnknownTemplate)), (0, 2));
}

/// Section 10: messages of up to 65,535 octets.
#[test]
fn the_longest_message_is_read() {
    let mut lab = Lab::new();
    let connection = connection();
    let records = (65_535 - 16 - 12 - 4) / 4;
    let mut longest = message(0, &[template(256, &[BYTES]), set(256, &vec![0; 4 * records])]);
    // Its last set is padded to the very end.
    longest.resize(65_535, 0);
    longest[2..4].copy_from_slice(&[255, 255]);
    longest[16 + 12 + 2..][..2].copy_from_slice(&(65_535u16 - 16 - 12).to_be_bytes());
    lab.hear(&connection, &longest);
    assert_eq!(lab.rows().rows(), records);
    assert_eq!(lab.counters.discarded_total(Unit::Set), 0);
}

/// Section 10: no state passes from one transport to another.
#[test]
fn no_state_migrates_between_transports() {
    let mut lab = Lab::new();
    let connection = connection();
    lab.send(&message(0, &[template(256, &[BYTES])]));
    lab.hear(&connection, &message(0, &[template(257, &[BYTES]), set(256, &[0; 4])]));
    lab.send(&message(0, &[set(257, &[0; 4])]));
    assert!(lab.rows().is_empty());
    assert_eq!((lab.counters.sets_held.get(), lab.sessions()), (2, 2));
}

/// Section 10.3.2: loss is deduced from the sequence numbers, behind a proxy by the proxy alone: what
/// its slaves get has none.
#[test]
fn loss_is_deduced_where_it_happens() {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 2);
    proxy.take(exporter(1), &message(0, &[template(256, &[BYTES]), set(256, &[0; 40])]));
    proxy.take(exporter(1), &message(25, &[set(256, &[0; 40])]));
    proxy.deliver();
    assert_eq!(proxy.counters.sequence_lost.get(), 15);
    for slave in &proxy.slaves {
        assert_eq!(slave.counters.sequence_lost.get(), 0);
    }
}

/// RFC 5471, stress: many records of one template, and many templates, are all read.
#[test]
fn many_records_and_many_templates_are_read() {
    let templates: Vec<_> = (256..1_256).map(|id| template(id, &[BYTES])).collect();
    let data: Vec<_> = (256..1_256).map(|id| set(id, &[0, 0, 0, 1].repeat(10))).collect();
    let payloads: Vec<_> = templates
        .chunks(50)
        .map(|sets| message(0, sets))
        .chain(data.chunks(25).zip(0..).map(|(sets, n)| message(n * 250, sets)))
        .collect();
    assert_eq!(read(&payloads).rows(), 10_000);
}

/// RFC 5471, stress: a template with as many elements as a message has room for.
#[test]
fn the_largest_templates_are_read_or_refused_by_name() {
    for fields in [100usize, 1_000, 9_000] {
        let mut lab = Lab::new();
        let sets = [template(256, &vec![(210, 1); fields]), set(256, &vec![0; fields])];
        lab.hear(&connection(), &message(0, &sets));
        let refused = lab.discarded(Discard::TemplateMalformed)
            + lab.discarded(Discard::TemplateTableFull)
            + lab.discarded(Discard::SourceTemplatesFull);
        let read = lab.counters.records_decoded.get();
        assert_eq!(refused + read, 1, "{fields} elements");
        assert!(fields > 1_000 || read == 1, "{fields} elements");
    }
}

/// RFC 5471, errors: an exporter that ends and begins anew with other templates under the same ids.
#[test]
fn an_exporter_that_begins_anew_is_read_on() {
    let payloads = [
        message(1_000, &[template(256, &[BYTES]), set(256, &[0, 0, 0, 1])]),
        message(1_001, &[set(256, &[0, 0, 0, 2])]),
        message(0, &[template(256, &[PACKETS]), set(256, &[0, 0, 0, 3])]),
        message(1, &[set(256, &[0, 0, 0, 4])]),
    ];
    let rows = read(&payloads);
    assert_eq!((bytes(&rows).iter().sum::<u64>(), packets(&rows).iter().sum::<u64>()), (3, 7));
}

/// RFC 5471, errors: a Collecting Process that begins anew holds data until its templates come again.
#[test]
fn a_collector_that_begins_anew_waits_for_templates() {
    let data = |sequence| message(sequence, &[set(256, &[0, 0, 0, 1])]);
    let payloads = [data(500), data(501), message(502, &[template(256, &[BYTES])]), data(502)];
    assert_eq!(bytes(&read(&payloads)), [1, 1, 1]);
}

/// RFC 5471, errors: records that do not fit their template: too short ones are no record.
#[test]
fn data_shorter_than_its_template_is_no_record() {
    let mut lab = Lab::new();
    lab.send(&message(0, &[template(256, &[BYTES, PACKETS]), set(256, &[0; 7]), set(256, &[])]));
    assert!(lab.rows().is_empty());
    assert_eq!(lab.counters.datagrams_accepted.get(), 1);
}

/// RFC 5471, connectivity: several exporters to one collector, each read with its own templates.
#[test]
fn several_exporters_are_read_apart() {
    let mut lab = Lab::new();
    for n in 1..=200u8 {
        let field = if n.is_multiple_of(2) { BYTES } else { PACKETS };
        lab.send_from(exporter(n), &message(0, &[template(256, &[field])]));
    }
    for n in 1..=200u8 {
        lab.send_from(exporter(n), &message(0, &[set(256, &[0, 0, 0, 1])]));
    }
    let rows = lab.rows();
    let sum = |values: Vec<u64>| values.iter().sum::<u64>();
    assert_eq!((rows.rows(), sum(bytes(&rows)), sum(packets(&rows))), (200, 100, 100));
}
