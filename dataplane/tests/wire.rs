//! What the views tell people of what they read: headers field by field, lists, template records
//! that cannot be read; and the ends of walks that go on too long.

use weir_dataplane::Discard;
use weir_dataplane::wire::fixed::LAYOUTS;
use weir_dataplane::wire::sampled::{Packet, Start, Tunnel};
use weir_dataplane::wire::set::{self, FieldSpecifier, Set, TemplateRecords};
use weir_dataplane::wire::sflow::record::Header;
use weir_dataplane::wire::{HeaderField, Message, Protocol, ipfix, ipv6, netflow9, sflow};

/// Whether these fields follow each other from the header's first byte to its last.
fn assert_gapless(fields: impl Iterator<Item = HeaderField>, length: usize) {
    let mut end = 0;
    for field in fields {
        assert_eq!(field.at.start, end, "{}", field.name);
        end = field.at.end;
    }
    assert_eq!(end, length);
}

#[test]
fn the_fields_of_every_fixed_header_fill_it() {
    for layout in LAYOUTS {
        assert_gapless(layout.header_fields().cloned(), layout.header_length);
    }
}

#[test]
fn the_fields_of_other_headers_fill_them() {
    assert_gapless(ipfix::HEADER_FIELDS.iter().cloned(), ipfix::HEADER_LENGTH);
    assert_gapless(netflow9::HEADER_FIELDS.iter().cloned(), netflow9::HEADER_LENGTH);
    for (kind, address) in [(0, 0), (1, 4), (2, 16)] {
        let mut bytes = [0; sflow::HEADER_LENGTH_MAX];
        (bytes[3], bytes[7]) = (5, kind);
        let datagram = sflow::Datagram::new_checked(&bytes).unwrap();
        assert_gapless(datagram.header_fields(), 24 + address);
    }
}

#[test]
fn no_named_field_of_a_record_stands_on_an_element() {
    for layout in LAYOUTS {
        for field in layout.named() {
            assert!(field.at.end <= layout.record_length, "{}", field.name);
            let apart = |other: &std::ops::Range<usize>| {
                other.end <= field.at.start || field.at.end <= other.start
            };
            assert!(layout.fields.iter().all(|other| apart(&other.at)), "{}", field.name);
        }
    }
}

#[test]
fn a_header_that_says_another_time_is_another_context() {
    let mut a = [0; netflow9::HEADER_LENGTH];
    let b = a;
    assert!(netflow9::same_context(&a, &b) && ipfix::same_context(&a, &b));
    a[4] = 1;
    assert!(!netflow9::same_context(&a, &b) && !ipfix::same_context(&a, &b));
}

#[test]
fn the_heads_of_lists_are_read_and_cut_short_refused() {
    let basic = [3, 0x80, 5, 0, 4, 0, 0, 0, 9, 1, 2, 3, 4];
    let element = FieldSpecifier { element: 5, enterprise: 9, length: 4 };
    assert_eq!(ipfix::basic_list(&basic), Some((3, element, 9)));
    assert_eq!(ipfix::basic_list(&[4, 0, 5, 0, 4]).map(|(.., at)| at), Some(5));
    (0..9).for_each(|length| assert_eq!(ipfix::basic_list(&basic[..length]), None));
    assert_eq!(ipfix::sub_template_list(&[255, 1, 0, 7]), Some((255, 256, 3)));
    assert_eq!(ipfix::sub_template_list(&[255, 1]), None);
    assert_eq!(ipfix::sub_template_run(&[1, 0, 0, 6, 9, 9, 9]), Some((256, 4..6)));
    for run in [&[1, 0, 0, 6, 9][..], &[1, 0, 0, 3, 9], &[1, 0, 0]] {
        assert_eq!(ipfix::sub_template_run(run), None);
    }
}

#[test]
fn specifiers_are_told_byte_for_byte_and_a_set_header_even_when_it_lies() {
    let body = [1, 0, 0, 2, 0x80, 5, 0, 4, 0, 0, 0, 9, 0, 8, 0, 4];
    let set = Set { id: ipfix::SET_TEMPLATES, body: &body };
    let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
    let specifiers: Vec<_> = record.specifiers().collect();
    assert_eq!(specifiers, [&body[4..12], &body[12..]]);
    assert_eq!(set::claimed(&[1, 0, 255, 255]), (256, 65_535));
    assert_eq!(set::claimed(&[1, 0, 255]), (0, 0));
}

#[test]
fn what_is_wrong_with_a_template_record_is_told_before_it_is_read() {
    let fault = |protocol, id, body: &[u8]| {
        TemplateRecords::new(protocol, &Set { id, body }).fault().is_some()
    };
    assert!(fault(Protocol::Netflow9, 0, &[0, 1, 0, 1, 0, 8, 0, 4]), "an id below 256");
    assert!(fault(Protocol::Netflow9, 1, &[1, 0, 0, 0, 0, 0]), "no fields");
    assert!(fault(Protocol::Netflow9, 1, &[1, 0, 0, 3, 0, 4]), "an uneven length");
    assert!(!fault(Protocol::Netflow9, 0, &[0, 0, 0, 0]), "padding");
    assert!(!fault(Protocol::Ipfix, 2, &[1, 0, 0, 1, 0, 8, 0, 4]), "a good one");
}

#[test]
fn every_protocol_is_told_by_its_message() {
    let sflow: Vec<u8> = [5u32, 1, 0x0a00_0001, 7, 9, 1, 0].map(u32::to_be_bytes).concat();
    let ipfix = [0, 10, 0, 16, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7];
    for (payload, protocol) in [(&sflow[..], Protocol::Sflow), (&ipfix, Protocol::Ipfix)] {
        let message = Message::parse(payload).unwrap();
        assert_eq!((message.protocol(), message.domain(), message.sequence()), (protocol, 7, 9));
        assert_eq!(message.header(), payload);
    }
}

/// An IPv4 packet of this protocol.
fn version4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(payload);
    packet[3] = packet.len() as u8;
    packet
}

#[test]
fn an_sflow_header_begins_with_what_its_protocol_number_says() {
    let packet = version4(17, &[0, 53, 0, 54]);
    let read = |protocol, bytes: &[u8]| {
        let length = bytes.len() as u32;
        Header { protocol, frame_length: length, stripped: 0, bytes }.packet().outer.ip.is_some()
    };
    assert!(read(11, &packet) && read(12, &packet));
    assert!(read(7, &[&[0x21], &packet[..]].concat()), "PPP");
    assert!(read(13, &[&[0, 1, 1, 64], &packet[..]].concat()), "MPLS");
    assert!(!read(2, &packet), "a protocol that weir does not read");
}

#[test]
fn a_third_vlan_tag_is_passed_over() {
    let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7, 8, 0];
    let frame = [&[2; 12][..], &tags, &version4(6, &[])].concat();
    let read = Packet::read(Start::Ethernet, &frame).outer;
    let ethernet = read.ethernet.unwrap();
    assert_eq!((ethernet.vlan, ethernet.inner_vlan), (Some(5), Some(6)));
    assert!(read.ip.is_some());
}

#[test]
fn walks_that_do_not_end_are_given_up() {
    assert_eq!(Packet::read(Start::Ppp, &[2]).outer.ip, None);
    let stack = [[0, 1, 0, 64]; 64].concat();
    let read = Packet::read(Start::Mpls, &stack).outer;
    assert_eq!((read.label, read.ip), (Some(16), None));
    // Destination options without end, to a capture and to the strict view.
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
    packet.extend([1; 32]);
    packet.extend([60, 0, 0, 0, 0, 0, 0, 0].repeat(10));
    packet[5] = 80;
    let ip = Packet::read(Start::Ip, &packet).outer.ip.unwrap();
    assert_eq!((ip.protocol, ip.ports), (60, None));
    assert_eq!(ipv6::Packet::new_checked(&packet).unwrap_err(), Discard::BadFrame);
    // An extension header that is not whole.
    packet.truncate(44);
    packet[5] = 4;
    assert_eq!(ipv6::Packet::new_checked(&packet).unwrap_err(), Discard::BadFrame);
    // Extension headers of GTP-U without end.
    let mut gtpu = vec![4, 0, 8, 0x68, 0, 0, 0, 0, 0x34, 255, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1];
    gtpu.extend([1, 0, 0, 1].repeat(10));
    assert_eq!(Packet::read(Start::Ip, &version4(17, &gtpu)).inner, None);
    gtpu[19] = 0;
    let inner = Packet::read(Start::Ip, &version4(17, &gtpu)).inner;
    assert_eq!(inner.map(|(tunnel, _)| tunnel), Some(Tunnel::GtpU(9)));
}

#[test]
fn a_sample_without_its_padding_is_refused() {
    let mut bytes: Vec<u8> =
        [5u32, 1, 0x0a00_0001, 0, 1, 1, 1, 77, 5].map(u32::to_be_bytes).concat();
    bytes.extend([1, 2, 3, 4, 5]);
    let only = |bytes: &[u8]| {
        let datagram = sflow::Datagram::new_checked(bytes).unwrap();
        datagram.samples().next().unwrap().map(|sample| (sample.tag(), sample.body().to_vec()))
    };
    assert_eq!(only(&bytes), Err(Discard::SampleMalformed));
    bytes.extend([0; 3]);
    assert_eq!(only(&bytes), Ok((77, vec![1, 2, 3, 4, 5])));
}
