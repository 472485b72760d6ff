//! RFC 7011, Sections 5 to 7: times, and how values are written.

use std::net::IpAddr;

use weir_dataplane::Discard;

use crate::lab::*;

const PACKETS: (u16, u16) = (2, 4);

/// The first and the last moment of one record, ms since 1970.
fn times(fields: &[(u16, u16)], record: &[u8]) -> (u64, u64) {
    let rows = row(fields, record);
    (rows.first_ms[0], rows.last_ms[0])
}

fn be(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// Section 5.1: delta times are microseconds before the export time of their own message, which a
/// proxy must not change.
#[test]
fn delta_times_hang_on_their_messages_export_time() {
    let fields = [(158, 4), (159, 4)];
    let data = set(256, &[2_000_000u32, 500_000].map(u32::to_be_bytes).concat());
    let payloads: Vec<_> =
        (0..3).map(|n| at(EXPORT + n, 1, n, &[template(256, &fields), data.clone()])).collect();
    let mut first = read(&payloads).first_ms;
    first.sort_unstable();
    let export = u64::from(EXPORT) * 1000;
    assert_eq!(first, [export - 2_000, export - 1_000, export]);
}

/// Section 5.2: seconds go on after 2038, and NTP's era changes in 2036.
#[test]
fn times_wrap_into_the_next_era() {
    let seconds = 0xf000_0000u32;
    let record = [seconds, seconds + 1].map(u32::to_be_bytes).concat();
    let after_2038 = u64::from(seconds) * 1000;
    assert_eq!(times(&[(150, 4), (151, 4)], &record), (after_2038, after_2038 + 1_000));
    // Second 5 of era 1 is in February 2036.
    let record = be(&[5 << 32, 6 << 32]);
    let in_2036 = ((1u64 << 32) - 2_208_988_800 + 5) * 1000;
    assert_eq!(times(&[(154, 8), (155, 8)], &record), (in_2036, in_2036 + 1_000));
}

/// Section 6.1.1: integers in network order.
#[test]
fn integers_are_in_network_order() {
    let fields = [(4, 1), (7, 2), (10, 4), (2, 8)];
    let rows = row(&fields, &[6, 1, 2, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((rows.protocol[0], rows.source_port[0]), (6, 0x0102));
    assert_eq!((rows.input_interface[0], packets(&rows)[0]), (0x0102_0304, 0x0102_0304_0506_0708));
}

/// Section 6.1.2: addresses as their octets.
#[test]
fn addresses_are_octets_in_network_order() {
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let IpAddr::V6(octets) = v6 else { panic!("IPv6") };
    let rows = row(&[(8, 4), (28, 16)], &[&[192, 0, 2, 1][..], &octets.octets()].concat());
    assert_eq!(rows.source_address[0].to_string(), "192.0.2.1");
    assert_eq!(rows.destination_address[0].to_string(), "2001:db8::1");
}

/// Sections 6.1.3, 6.1.4 and 6.1.5: floats and booleans have their width, and what stands beside them
/// its place.
#[test]
fn floats_and_booleans_move_no_neighbour() {
    // samplingProbability as float32 and float64, dataRecordsReliability.
    let floats = [&1.5f32.to_be_bytes()[..], &0.25f64.to_be_bytes()].concat();
    for truth in [1u8, 2, 0, 255] {
        let record = [&[0, 0, 0, 3], &floats[..], &[truth, 0, 0, 0, 4]].concat();
        let rows = row(&[PACKETS, (311, 4), (311, 8), (276, 1), (1, 4)], &record);
        assert_eq!((packets(&rows), bytes(&rows)), (vec![3], vec![4]));
    }
}

/// Section 6.1.6: strings are UTF-8; one that is not must not be taken for one, and harms nobody.
#[test]
fn ill_formed_utf8_harms_no_neighbour() {
    for name in [&b"eth0"[..], &[0xff, 0xfe], &[0xc3], "Ä".as_bytes(), &[]] {
        let length = name.len() as u8;
        let record = [&[length], name, &[0, 0, 0, 3]].concat();
        let fixed = [name, &[0, 0, 0, 3]].concat();
        assert_eq!(packets(&row(&[(82, 65_535), PACKETS], &record)), [3]);
        if !name.is_empty() {
            assert_eq!(packets(&row(&[(82, u16::from(length)), PACKETS], &fixed)), [3]);
        }
    }
}

/// Sections 6.1.7 and 6.1.8: seconds in 32 bits, milliseconds in 64, since 1970.
#[test]
fn seconds_and_milliseconds_count_from_1970() {
    let record = [EXPORT - 9, EXPORT - 8].map(u32::to_be_bytes).concat();
    let export = u64::from(EXPORT) * 1000;
    assert_eq!(times(&[(150, 4), (151, 4)], &record), (export - 9_000, export - 8_000));
    let record = be(&[export - 1_234, export - 1]);
    assert_eq!(times(&[(152, 8), (153, 8)], &record), (export - 1_234, export - 1));
}

/// Sections 6.1.9 and 6.1.10: micro- and nanoseconds as NTP timestamps, whose fraction is of 2^32; the
/// lowest 11 bits of microseconds say nothing.
#[test]
fn microseconds_and_nanoseconds_are_ntp_timestamps() {
    let ntp = |seconds: u32, fraction: u64| (u64::from(seconds) + 2_208_988_800) << 32 | fraction;
    let export = u64::from(EXPORT) * 1000;
    for fields in [[(154, 8), (155, 8)], [(156, 8), (157, 8)]] {
        let record = be(&[ntp(EXPORT - 2, 1 << 31), ntp(EXPORT - 1, (1 << 30) | 0x7ff)]);
        assert_eq!(times(&fields, &record), (export - 1_500, export - 750));
    }
}

/// Section 6.2: an unsigned number may be exported in fewer octets.
#[test]
fn numbers_of_reduced_size_are_read_whole() {
    for length in 1..=8u16 {
        let mut record = vec![0; usize::from(length)];
        record[0] = 0x12;
        let expected = 0x12u64 << (8 * (length - 1));
        assert_eq!(packets(&row(&[(2, length)], &record)), [expected], "{length} octets");
    }
    let rows = row(&[(10, 2), (7, 1), (2, 4)], &[1, 2, 80, 0, 0, 0, 1]);
    assert_eq!((rows.input_interface[0], rows.source_port[0]), (0x0102, 80));
}

/// Section 7: lengths below 255 in one octet, others in three, and short ones may take three too.
#[test]
fn variable_lengths_stand_in_one_octet_or_three() {
    for (length, three) in [
        (0usize, false),
        (1, false),
        (254, false),
        (0, true),
        (5, true),
        (255, true),
        (1_000, true),
    ] {
        let mut value = match three {
            false => vec![length as u8],
            true => [&[255][..], &(length as u16).to_be_bytes()].concat(),
        };
        value.resize(value.len() + length, b'x');
        let record = [&value[..], &[0, 0, 0, 3]].concat();
        let template = template(256, &[(82, 65_535), PACKETS]);
        let data = set(256, &[&record[..], &record].concat());
        let rows = read(&[message(0, &[template, data])]);
        assert_eq!(packets(&rows), [3, 3], "{length} octets, {three}");
    }
}

/// Section 7: several values of variable length in one record, an enterprise's among them.
#[test]
fn records_may_be_of_variable_length_throughout() {
    let mut body = vec![1, 0, 0, 3, 0, 82, 255, 255, 0x80, 7, 255, 255];
    body.extend(64_999u32.to_be_bytes());
    body.extend([0, 2, 0, 4]);
    let records = [&[2, b'a', b'b', 0, 0, 0, 0, 1][..], &[0, 3, 9, 9, 9, 0, 0, 0, 2]].concat();
    let rows = read(&[message(0, &[set(2, &body), set(256, &records)])]);
    let mut got = packets(&rows);
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

/// Section 7 and Section 9.1: a length that leaves the set is malformed; what stands before it is read.
#[test]
fn a_variable_length_that_leaves_its_set_is_malformed() {
    let mut lab = Lab::new();
    let records = [&[1, b'a', 0, 0, 0, 1][..], &[200, b'b', 0, 0, 0, 2]].concat();
    lab.send(&message(0, &[template(256, &[(82, 65_535), PACKETS]), set(256, &records)]));
    assert_eq!(packets(&lab.rows()), [1]);
    assert_eq!(lab.discarded(Discard::RecordMalformed), 1);
}
