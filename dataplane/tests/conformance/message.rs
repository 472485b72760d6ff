//! RFC 7011, Section 3: messages, sets, records.

use weir_dataplane::Discard;

use crate::harness::exporter;
use crate::lab::*;

/// octetDeltaCount and packetDeltaCount in four bytes each.
const BYTES: (u16, u16) = (1, 4);
const PACKETS: (u16, u16) = (2, 4);

/// Section 3.1: version 10 and no other; Section 9.1 asks to refuse reserved ones.
#[test]
fn a_message_of_a_reserved_version_is_refused_and_counted() {
    let mut lab = Lab::new();
    for version in [0u16, 2, 11, 12, 0xffff] {
        let mut wrong = message(0, &[template(256, &[BYTES])]);
        wrong[..2].copy_from_slice(&version.to_be_bytes());
        lab.send(&wrong);
    }
    assert_eq!(lab.discarded(Discard::UnknownVersion), 5);
    assert_eq!(lab.sessions(), 0);
}

/// Section 3.1: the length is the whole message's, in octets, header included.
#[test]
fn the_length_field_ends_the_message() {
    let mut lab = Lab::new();
    let whole = message(0, &[template(256, &[BYTES]), set(256, &[0, 0, 0, 7])]);
    let behind = [&whole[..], &set(256, &[0, 0, 0, 9])].concat();
    lab.send(&behind);
    assert_eq!(bytes(&lab.rows()), [7]);
    lab.send(&whole[..whole.len() - 1]);
    lab.send(&whole[..15]);
    let mut short = whole;
    short[3] = 15;
    lab.send(&short);
    assert_eq!(lab.discarded(Discard::MessageLength), 2);
    assert_eq!(lab.discarded(Discard::TooShort), 1);
    assert!(lab.rows().is_empty());
}

/// Section 3.1: the sequence number counts data records, options data among them and templates not,
/// of each session and domain apart, modulo 2^32.
#[test]
fn sequence_numbers_count_data_records_of_each_domain() {
    let mut lab = Lab::new();
    let templates = [template(256, &[BYTES]), options_template(257, 1, &[(149, 4), (41, 4)])];
    let data = || [set(256, &[0; 12]), set(257, &[0; 16])];
    let first = u32::MAX - 2;
    lab.send(&message(first, &templates));
    lab.send(&message(first, &data()));
    lab.send(&in_domain(2, 77, &templates));
    lab.send(&message(first.wrapping_add(5), &data()));
    assert_eq!(lab.counters.sequence_lost.get(), 0);
    lab.send(&in_domain(2, 78, &data()));
    assert_eq!(lab.counters.sequence_lost.get(), 1);
    lab.send(&message(first.wrapping_add(30), &data()));
    assert_eq!(lab.counters.sequence_lost.get(), 21);
}

/// Section 3.1: the transport session and the observation domain separate what one exporter sends.
#[test]
fn sessions_and_domains_of_one_exporter_are_apart() {
    let mut lab = Lab::new();
    let mut other_port = exporter(1);
    other_port.set_port(4_000);
    lab.send(&in_domain(1, 0, &[template(256, &[BYTES])]));
    lab.send(&in_domain(2, 0, &[template(256, &[PACKETS])]));
    lab.send_from(other_port, &in_domain(1, 0, &[template(256, &[(1, 2), (2, 2)])]));
    lab.send(&in_domain(1, 0, &[set(256, &[0, 0, 0, 1])]));
    lab.send(&in_domain(2, 0, &[set(256, &[0, 0, 0, 2])]));
    lab.send_from(other_port, &in_domain(1, 0, &[set(256, &[0, 3, 0, 4])]));
    let rows = lab.rows();
    assert_eq!((bytes(&rows), packets(&rows)), (vec![1, 0, 3], vec![0, 2, 4]));
    assert_eq!(rows.observation_domain, [1, 2, 1]);
    assert_eq!(lab.sessions(), 3);
}

/// Section 3.2: with the enterprise bit an enterprise number follows, and the element is another's.
#[test]
fn an_enterprises_element_is_not_ianas_of_the_same_number() {
    let mut body = vec![1, 0, 0, 2, 0x80, 1, 0, 4];
    body.extend(64_999u32.to_be_bytes());
    body.extend([0, 1, 0, 4]);
    let sets = [set(2, &body), set(256, &[0, 0, 0, 9, 0, 0, 0, 7])];
    assert_eq!(bytes(&read(&[message(0, &sets)])), [7]);
}

/// Section 3.3.1: template sets, options template sets and data sets in one message, interleaved.
#[test]
fn sets_of_every_kind_stand_in_one_message() {
    let sets = [
        template(256, &[BYTES]),
        set(256, &[0, 0, 0, 1]),
        options_template(257, 1, &[(149, 4), (41, 4)]),
        template(258, &[PACKETS]),
        set(257, &[0; 8]),
        set(258, &[0, 0, 0, 2, 0, 0, 0, 3]),
        set(256, &[0, 0, 0, 4]),
    ];
    let rows = read(&[message(0, &sets)]);
    assert_eq!((bytes(&rows), packets(&rows)), (vec![1, 0, 0, 4], vec![0, 2, 3, 0]));
}

/// Section 3.3.1: padding is shorter than a record; Section 9.1: and need not be zero.
#[test]
fn padding_behind_the_last_record_is_none() {
    for padding in [&[0u8; 3][..], &[0xff; 3], &[0; 1], &[]] {
        let template = [&template(256, &[BYTES, PACKETS])[4..], &[0, 0, 0][..]].concat();
        let data = [&[0, 0, 0, 7, 0, 0, 0, 1][..], padding].concat();
        let rows = read(&[message(0, &[set(2, &template), set(256, &data)])]);
        assert_eq!(bytes(&rows), [7], "{padding:?}");
    }
}

/// Section 3.3.2: ids 2 and 3 are templates, those from 256 on data, and the others reserved.
#[test]
fn sets_of_reserved_ids_are_passed_over_and_counted() {
    let mut lab = Lab::new();
    let mut sets = vec![template(256, &[BYTES])];
    sets.extend([0, 1, 4, 100, 255].map(|id| set(id, &[1, 2, 3, 4])));
    sets.push(set(256, &[0, 0, 0, 7]));
    lab.send(&message(0, &sets));
    assert_eq!(bytes(&lab.rows()), [7]);
    assert_eq!(lab.discarded(Discard::SetReserved), 5);
}

/// Section 3.4.1: a template set holds one template or more; ids come in no order and mean nothing.
#[test]
fn templates_of_one_set_have_ids_in_no_order() {
    let ids = [65_535u16, 256, 4_000, 257];
    let bodies = ids.map(|id| template(id, &[BYTES])[4..].to_vec()).concat();
    let data = ids.map(|id| set(id, &u32::from(id).to_be_bytes()));
    let rows = read(&[message(0, &[vec![set(2, &bodies)], data.to_vec()].concat())]);
    let mut got = bytes(&rows);
    got.sort_unstable();
    assert_eq!(got, [256, 257, 4_000, 65_535]);
}

/// Section 3.4.1: ids below 256 are no template's.
#[test]
fn a_template_with_the_id_of_a_set_is_malformed() {
    let mut lab = Lab::new();
    lab.send(&message(0, &[set(2, &[0, 255, 0, 1, 0, 1, 0, 4]), template(256, &[BYTES])]));
    assert_eq!(lab.discarded(Discard::TemplateMalformed), 1);
    assert_eq!(lab.counters.templates_received.get(), 1);
}

/// Section 3.4.3: a data record is its values one behind the other, and a set holds many.
#[test]
fn data_records_are_values_and_nothing_else() {
    let record = |n: u8| [[0, 0, 0, n], [0, 0, 1, n]].concat();
    let data: Vec<u8> = (0..100).flat_map(record).collect();
    let rows = read(&[message(0, &[template(256, &[BYTES, PACKETS]), set(256, &data)])]);
    assert_eq!(rows.rows(), 100);
    assert_eq!(bytes(&rows).iter().sum::<u64>(), (0..100).sum::<u64>());
}
