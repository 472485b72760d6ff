//! Datagrams, samples and records, byte by byte, and what is wrong with them.

use super::record::{Ethernet, Gateway, Header, Ip, Router, Switch};
use super::*;
use crate::wire::sampled::Ports;
use proptest::prelude::*;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A structure behind its tag and length, padded.
fn tagged(tag: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = words(&[tag, body.len() as u32]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Agent 192.0.2.1, sub-agent 2, sequence 3, uptime 4.
fn datagram(count: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = words(&[5, 1, 0xc000_0201, 2, 3, 4, count]);
    bytes.extend(samples.concat());
    bytes
}

/// Sequence 9, interface 7, rate 512, pool 1,000, drops 1, in by 7, out by 8.
fn flow_sample(records: &[Vec<u8>]) -> Vec<u8> {
    let mut body = words(&[9, 7, 512, 1000, 1, 7, 8, records.len() as u32]);
    body.extend(records.concat());
    tagged(1, &body)
}

fn samples(bytes: &[u8]) -> Vec<Result<u32, Discard>> {
    let datagram = Datagram::new_checked(bytes).unwrap();
    datagram.samples().map(|sample| sample.map(|sample| sample.tag())).collect()
}

/// The one flow sample of a datagram that holds it alone.
fn only(bytes: &[u8]) -> FlowSample<'_> {
    let datagram = Datagram::new_checked(bytes).unwrap();
    let sample = datagram.samples().next().unwrap().unwrap();
    match sample.kind().unwrap() {
        Kind::Flow(sample) => sample,
        other => panic!("no flow sample: {other:?}"),
    }
}

/// The one record of a sample.
fn record(tag: u32, body: &[u8]) -> Result<Record<'_>, Discard> {
    Record::new_checked(tag, body)
}

#[test]
fn a_header_is_read_whatever_its_agents_address() {
    let v4 = datagram(0, &[]);
    let read = Datagram::new_checked(&v4).unwrap();
    assert_eq!(read.agent(), Some("192.0.2.1".parse().unwrap()));
    assert_eq!((read.sub_agent(), read.sequence(), read.uptime_ms(), read.count()), (2, 3, 4, 0));
    assert_eq!(read.header(), v4);

    let mut v6 = words(&[5, 2, 0x2001_0db8, 0, 0, 1, 2, 3, 4, 0]);
    let read = Datagram::new_checked(&v6).unwrap();
    assert_eq!(read.agent(), Some("2001:db8::1".parse().unwrap()));
    assert_eq!((read.sub_agent(), read.sequence(), read.uptime_ms()), (2, 3, 4));
    assert_eq!(read.header().len(), HEADER_LENGTH_MAX);
    v6.pop();
    assert_eq!(Datagram::new_checked(&v6).unwrap_err(), Discard::TooShort);

    let unknown = words(&[5, 0, 2, 3, 4, 0]);
    let read = Datagram::new_checked(&unknown).unwrap();
    assert_eq!((read.agent(), read.sub_agent(), read.sequence()), (None, 2, 3));
}

#[test]
fn a_header_that_is_cut_short_or_of_another_kind_is_refused() {
    let good = datagram(0, &[]);
    for length in 0..good.len() {
        assert_eq!(Datagram::new_checked(&good[..length]).unwrap_err(), Discard::TooShort);
    }
    let address = words(&[5, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Datagram::new_checked(&address).unwrap_err(), Discard::MessageLength);
    let version = words(&[4, 1, 0, 0, 0, 0, 0]);
    assert_eq!(Datagram::new_checked(&version).unwrap_err(), Discard::UnknownVersion);
}

#[test]
fn samples_of_every_kind_are_walked_by_their_length() {
    let counters = tagged(2, &words(&[1, 7, 0]));
    let expanded = tagged(4, &words(&[1, 0, 7, 0]));
    // Another enterprise's sample, of a length that needs padding.
    let foreign = tagged(4_300 << 12 | 1_002, &[1, 2, 3, 4, 5]);
    let bytes = datagram(4, &[counters, foreign.clone(), expanded, flow_sample(&[])]);
    let read = Datagram::new_checked(&bytes).unwrap();
    let all: Vec<_> = read.samples().map(|sample| sample.unwrap()).collect();
    assert!(matches!(all[0].kind(), Ok(Kind::Counters(c)) if c.data_source() == (0, 7)));
    assert!(matches!(all[1].kind(), Ok(Kind::Other)));
    assert!(
        matches!(all[2].kind(), Ok(Kind::Counters(c)) if (c.sequence(), c.data_source()) == (1, (0, 7)))
    );
    assert!(matches!(all[3].kind(), Ok(Kind::Flow(_))));
    assert_eq!(all[1].bytes(), foreign);
    let bodies: Vec<u8> = all.iter().flat_map(|sample| sample.bytes()).copied().collect();
    assert_eq!(bodies, bytes[read.header().len()..]);
}

#[test]
fn samples_before_a_lying_length_are_good() {
    let mut lying = tagged(1, &[0; 32]);
    lying[7] = 33;
    let bytes = datagram(3, &[flow_sample(&[]), lying]);
    assert_eq!(samples(&bytes), [Ok(1), Err(Discard::SampleMalformed)]);
    // Fewer samples than promised are a fault, more are not looked at.
    let bytes = datagram(2, &[flow_sample(&[])]);
    assert_eq!(samples(&bytes), [Ok(1), Err(Discard::SampleMalformed)]);
    let bytes = datagram(1, &[flow_sample(&[]), flow_sample(&[])]);
    assert_eq!(samples(&bytes), [Ok(1)]);
}

#[test]
fn a_sample_shorter_than_its_fixed_fields_is_malformed() {
    for (tag, fixed) in [(1, 32), (2, 12), (3, 44), (4, 16)] {
        let bytes = datagram(2, &[tagged(tag, &vec![0; fixed - 4]), tagged(tag, &vec![0; fixed])]);
        let read = Datagram::new_checked(&bytes).unwrap();
        let kinds: Vec<_> = read.samples().map(|s| s.unwrap().kind().map(|_| ())).collect();
        assert_eq!(kinds, [Err(Discard::SampleMalformed), Ok(())]);
    }
}

#[test]
fn a_flow_samples_fields_are_read_in_both_forms() {
    let bytes = datagram(1, &[flow_sample(&[])]);
    let sample = only(&bytes);
    assert_eq!((sample.sequence(), sample.data_source()), (9, (0, 7)));
    assert_eq!((sample.sampling_rate(), sample.pool(), sample.drops()), (512, 1000, 1));
    assert_eq!((sample.input(), sample.output()), (Interface::Index(7), Interface::Index(8)));

    let body = words(&[9, 1, 0x0100_0007, 512, 1000, 1, 0, 0x4000_0001, 2, 5, 0]);
    let bytes = datagram(1, &[tagged(3, &body)]);
    let sample = only(&bytes);
    assert_eq!((sample.sequence(), sample.data_source()), (9, (1, 0x0100_0007)));
    assert_eq!((sample.sampling_rate(), sample.pool(), sample.drops()), (512, 1000, 1));
    assert_eq!(sample.input(), Interface::Index(0x4000_0001));
    assert_eq!(sample.output(), Interface::Multiple(5));
}

#[test]
fn an_interface_that_is_none_has_no_index() {
    for (word, expected) in [
        (0, Interface::Index(0)),
        (0x3fff_fffe, Interface::Index(0x3fff_fffe)),
        (0x3fff_ffff, Interface::Own),
        (0x4000_0101, Interface::Discarded(257)),
        (0x8000_0000, Interface::Multiple(0)),
        (0xc000_0001, Interface::Unknown(3, 1)),
    ] {
        let interface = Interface::compact(word);
        assert_eq!(interface, expected);
        let index = if word < 0x3fff_ffff { word } else { 0 };
        assert_eq!(interface.index(), index);
    }
    assert_eq!(Interface::expanded(0, u32::MAX), Interface::Own);
}

#[test]
fn the_packets_first_bytes_are_found() {
    let mut body = words(&[1, 1_518, 4, 3]);
    body.extend([0xaa, 0xbb, 0xcc, 0]);
    let header =
        Header { protocol: 1, frame_length: 1_518, stripped: 4, bytes: &[0xaa, 0xbb, 0xcc] };
    assert_eq!(record(1, &body), Ok(Record::Header(header)));
    assert_eq!(record(1, &body[..18]), Err(Discard::SampleMalformed));
    // A link layer that weir does not read.
    assert_eq!(Header { protocol: 4, ..header }.packet(), Default::default());
}

#[test]
fn headers_without_their_packet_are_read() {
    let mut body = words(&[1_514]);
    body.extend([1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0]);
    body.extend(words(&[0x0800]));
    let ethernet = Ethernet {
        length: 1_514,
        source: [1, 2, 3, 4, 5, 6],
        destination: [7, 8, 9, 10, 11, 12],
        ethertype: 0x0800,
    };
    assert_eq!(record(2, &body), Ok(Record::Ethernet(ethernet)));

    let ports = Ports { source: 50_000, destination: 443, tcp_flags: 0x1b };
    let v4 = words(&[1_500, 6, 0xc000_0201, 0xc000_0202, 50_000, 443, 0x1b, 0xb8]);
    let ip = Ip {
        length: 1_500,
        protocol: 6,
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        ports,
        tos: 0xb8,
    };
    assert_eq!(record(3, &v4), Ok(Record::Ip(ip)));
    let mut v6 = words(&[1_500, 6, 0x2001_0db8, 0, 0, 1, 0x2001_0db8, 0, 0, 2]);
    v6.extend(words(&[50_000, 443, 0x1b, 0xb8]));
    let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    assert_eq!(record(4, &v6), Ok(Record::Ip(Ip { source, destination, ..ip })));
    for (tag, body) in [(2, &body), (3, &v4), (4, &v6)] {
        assert_eq!(record(tag, &body[..body.len() - 1]), Err(Discard::SampleMalformed));
    }
}

#[test]
fn what_switch_and_router_know_is_read() {
    let switch = words(&[10, 1, 20, 2]);
    let expected = Switch { source_vlan: 10, destination_vlan: 20 };
    assert_eq!(record(1001, &switch), Ok(Record::Switch(expected)));
    let router = words(&[1, 0xc000_0209, 24, 16]);
    let next_hop = Some("192.0.2.9".parse().unwrap());
    let expected = Router { next_hop, source_mask: 24, destination_mask: 16 };
    assert_eq!(record(1002, &router), Ok(Record::Router(expected)));
    let unknown = words(&[0, 24, 16]);
    let expected = Router { next_hop: None, ..expected };
    assert_eq!(record(1002, &unknown), Ok(Record::Router(expected)));
    assert_eq!(record(1002, &router[..12]), Err(Discard::SampleMalformed));
}

#[test]
fn a_path_gives_the_neighbour_and_the_destination() {
    let before = words(&[1, 0xc000_0209, 65_001, 65_002, 65_003]);
    let gateway = |path: &[u32]| {
        let mut body = before.clone();
        body.extend(words(path));
        record(1003, &body).map(|record| match record {
            Record::Gateway(gateway) => gateway,
            other => panic!("no gateway: {other:?}"),
        })
    };
    let expected = Gateway {
        next_hop: Some("192.0.2.9".parse().unwrap()),
        own_as: 65_001,
        source_as: 65_002,
        source_peer_as: 65_003,
        destination_as: 0,
        destination_peer_as: 0,
    };
    assert_eq!(gateway(&[0, 0, 100]), Ok(expected));
    let path = Gateway { destination_peer_as: 65_010, destination_as: 65_012, ..expected };
    assert_eq!(gateway(&[1, 2, 3, 65_010, 65_011, 65_012, 0, 100]), Ok(path));
    assert_eq!(gateway(&[2, 2, 1, 65_010, 1, 2, 1, 65_012, 0, 100]), Ok(path));
    // Lengths that lie, one of them so that four times it would wrap.
    assert_eq!(gateway(&[1, 2, 3, 65_010]), Err(Discard::SampleMalformed));
    assert_eq!(gateway(&[1, 2, 0x4000_0001, 65_010]), Err(Discard::SampleMalformed));
    assert_eq!(gateway(&[u32::MAX]), Err(Discard::SampleMalformed));
}

#[test]
fn unknown_records_are_skipped_by_their_length() {
    let switch = tagged(1001, &words(&[10, 1, 20, 2]));
    let bytes = datagram(1, &[flow_sample(&[tagged(1_036, &[1]), switch])]);
    let records: Vec<_> = only(&bytes).records().map(Result::unwrap).collect();
    assert_eq!(records[0], Record::Other(1_036));
    assert!(matches!(records[1], Record::Switch(_)));
}

#[test]
fn a_record_that_leaves_its_sample_is_the_last() {
    let mut lying = tagged(1001, &words(&[10, 1, 20, 2]));
    lying[7] = 17;
    let bytes = datagram(1, &[flow_sample(&[tagged(1_036, &[1]), lying])]);
    let records: Vec<_> = only(&bytes).records().collect();
    assert_eq!(records, [Ok(Record::Other(1_036)), Err(Discard::SampleMalformed)]);
}

#[test]
fn count_and_sequence_are_written_where_they_are_read() {
    for mut bytes in [datagram(0, &[]), words(&[5, 2, 0, 0, 0, 1, 2, 3, 4, 0])] {
        let before = bytes.clone();
        set_count_and_sequence(&mut bytes, 11, 12);
        let read = Datagram::new_checked(&bytes).unwrap();
        assert_eq!((read.count(), read.sequence(), read.uptime_ms()), (11, 12, 4));
        assert!(same_context(&before, &bytes));
    }
}

#[test]
fn agent_sub_agent_and_uptime_make_the_context() {
    let base = words(&[5, 1, 0xc000_0201, 2, 3, 4, 0]);
    for (at, same) in [(2, false), (3, false), (4, true), (5, false), (6, true)] {
        let mut other = base.clone();
        other[at * 4 + 3] ^= 0x80;
        assert_eq!(same_context(&base, &other), same, "word {at}");
    }
    assert!(!same_context(&base, &words(&[5, 2, 0xc000_0201, 0, 0, 0, 2, 3, 4, 0])));
}

proptest! {
    /// Whatever the bytes: nothing panics, and every structure lies in the datagram.
    #[test]
    fn every_accepted_view_stays_within_its_bytes(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        cuts in proptest::collection::vec((1u32..6, 0usize..200), 0..8),
        promised in 0u32..12,
    ) {
        // Structures of plausible tags and lengths over noise, so that the walk goes deep.
        let mut bytes = datagram(promised, &[]);
        let mut at = 0;
        for (tag, length) in cuts {
            let end = (at + length).min(noise.len());
            bytes.extend(tagged(tag, &noise[at..end]));
            at = end;
        }
        bytes.extend(&noise[at..]);
        let read = Datagram::new_checked(&bytes).unwrap();
        let mut walked = read.header().len();
        for sample in read.samples().flatten() {
            walked += sample.bytes().len();
            match sample.kind() {
                Ok(Kind::Flow(sample)) => {
                    let _ = (sample.input(), sample.output(), sample.data_source(), sample.drops());
                    for record in sample.records().flatten() {
                        if let Record::Header(header) = record {
                            header.packet();
                        }
                    }
                }
                Ok(Kind::Counters(sample)) => _ = (sample.sequence(), sample.data_source()),
                Ok(Kind::Other) | Err(_) => {}
            }
        }
        prop_assert!(walked <= bytes.len());
    }

    #[test]
    fn no_record_panics(which in 0usize..7, body in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = record([1, 2, 3, 4, 1001, 1002, 1003][which], &body);
    }
}
