//! What the collector makes of whole datagrams: counters, columns, and what is refused.

use weir_store::Address;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// The export time of every message here, seconds since 1970.
const EXPORT: u32 = 1_700_000_000;
const EXPORT_MS: u64 = EXPORT as u64 * 1000;
/// The uptime in every header here, ms.
const UPTIME: u32 = 100_000;

/// A collector and its counters.
struct Lab {
    collector: Collector,
    counters: Arc<Counters>,
    sequence: u32,
}

impl Lab {
    fn new() -> Self {
        Lab::with(SessionLimits::default())
    }

    fn with(sessions: SessionLimits) -> Self {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig { sessions, hold: HoldLimits::default(), batch_rows: 8 };
        Lab { collector: Collector::new(config, Arc::clone(&counters)), counters, sequence: 0 }
    }

    fn send(&mut self, payload: &[u8]) {
        let datagram = Datagram {
            source: "192.0.2.1:50000".parse().unwrap(),
            destination: "192.0.2.2:2055".parse().unwrap(),
            payload,
        };
        self.collector.datagram(&datagram, NOW);
    }

    fn ipfix(&mut self, sets: &[Vec<u8>]) {
        let sequence = self.sequence;
        self.send(&ipfix(sequence, sets));
    }

    fn v9(&mut self, sets: &[Vec<u8>]) {
        let mut message = vec![0, 9, 0, 1];
        for word in [UPTIME, EXPORT, self.sequence, 5] {
            message.extend(word.to_be_bytes());
        }
        message.extend(sets.concat());
        self.sequence += 1;
        self.send(&message);
    }

    fn rows(&mut self) -> Batch {
        self.collector.take_batch().unwrap_or_default()
    }

    fn discarded(&self, reason: Discard) -> u64 {
        self.counters.discarded(reason)
    }
}

fn ipfix(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let mut message = vec![0, 10];
    message.extend((16 + sets.len() as u16).to_be_bytes());
    for word in [EXPORT, sequence, 5] {
        message.extend(word.to_be_bytes());
    }
    message.extend(sets);
    message
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut set = id.to_be_bytes().to_vec();
    set.extend((4 + body.len() as u16).to_be_bytes());
    set.extend(body);
    set
}

fn fields(fields: &[(u16, u16)]) -> Vec<u8> {
    fields.iter().flat_map(|(e, l)| [e.to_be_bytes(), l.to_be_bytes()].concat()).collect()
}

/// A template set of one template with id 256; `set_id` is 0 for v9, 2 for IPFIX.
fn template(set_id: u16, specifiers: &[(u16, u16)]) -> Vec<u8> {
    let mut body = vec![1, 0];
    body.extend((specifiers.len() as u16).to_be_bytes());
    body.extend(fields(specifiers));
    set(set_id, &body)
}

fn v4(address: &str) -> Address {
    address.parse::<std::net::IpAddr>().unwrap().into()
}

/// The first and the last moment of one IPFIX record.
fn times(specifiers: &[(u16, u16)], record: &[u8]) -> (u64, u64) {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, specifiers), set(256, record)]);
    let rows = lab.rows();
    assert_eq!(rows.rows(), 1);
    (rows.first_ms[0], rows.last_ms[0])
}

#[test]
fn a_v5_record_is_a_row() {
    let mut packet = vec![0, 5, 0, 1];
    for word in [UPTIME, EXPORT, 500_000_000, 0, 0x0203_0000] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3, 0, 4, 0, 5]);
    for word in [6, 700, UPTIME - 9_000, UPTIME - 1_000] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend([0x1f, 0x90, 0, 80, 0, 0x1b, 6, 0xb8, 0, 11, 0, 12, 24, 16, 0, 0]);
    let mut lab = Lab::new();
    lab.send(&packet);
    let rows = lab.rows();
    let mut expected = Batch::default();
    expected.received_ms.push(NOW.0);
    expected.first_ms.push(EXPORT_MS + 500 - 9_000);
    expected.last_ms.push(EXPORT_MS + 500 - 1_000);
    expected.source_address.push(v4("10.0.0.1"));
    expected.destination_address.push(v4("10.0.0.2"));
    expected.next_hop.push(v4("10.0.0.3"));
    expected.source_port.push(8080);
    expected.destination_port.push(80);
    expected.protocol.push(6);
    expected.tcp_flags.push(0x1b);
    expected.tos.push(0xb8);
    expected.packets.push(6);
    expected.bytes.push(700);
    expected.input_interface.push(4);
    expected.output_interface.push(5);
    expected.source_as.push(11);
    expected.destination_as.push(12);
    expected.source_mask.push(24);
    expected.destination_mask.push(16);
    expected.exporter.push(v4("192.0.2.1"));
    expected.observation_domain.push(0x0203);
    expected.fill(1);
    assert_eq!(rows, expected);
}

#[test]
fn v9_times_count_from_the_headers_uptime() {
    let mut lab = Lab::new();
    let template = template(0, &[(22, 4), (21, 4), (1, 4)]);
    let record = [[0, 0, 0, 0], UPTIME.to_be_bytes(), [0, 0, 0, 9]].concat();
    lab.v9(&[template, set(256, &record)]);
    let rows = lab.rows();
    assert_eq!((rows.first_ms[0], rows.last_ms[0]), (EXPORT_MS - 100_000, EXPORT_MS));
    assert_eq!((rows.bytes[0], rows.observation_domain[0]), (9, 5));
}

#[test]
fn every_way_of_writing_a_moment_is_read() {
    let seconds = [[0, 0, 0, 7], [0, 0, 0, 8]].concat();
    assert_eq!(times(&[(150, 4), (151, 4)], &seconds), (7_000, 8_000));
    let milliseconds = [7u64.to_be_bytes(), 8u64.to_be_bytes()].concat();
    assert_eq!(times(&[(152, 8), (153, 8)], &milliseconds), (7, 8));
    let ntp = (2_208_988_800u64 + 7) << 32 | 1 << 31;
    let ntp = [ntp.to_be_bytes(), (ntp + (1 << 32)).to_be_bytes()].concat();
    assert_eq!(times(&[(154, 8), (155, 8)], &ntp), (7_500, 8_500));
    assert_eq!(times(&[(156, 8), (157, 8)], &ntp), (7_500, 8_500));
    let ago = [5_000_000u32.to_be_bytes(), 3_000_000u32.to_be_bytes()].concat();
    let expected = (EXPORT_MS - 5_000, EXPORT_MS - 3_000);
    assert_eq!(times(&[(158, 4), (159, 4)], &ago), expected);
    assert_eq!(times(&[(323, 8)], &7u64.to_be_bytes()), (7, 7));
    assert_eq!(times(&[(322, 4)], &[0, 0, 0, 7]), (7_000, 7_000));
}

#[test]
fn a_record_without_times_has_the_export_time() {
    assert_eq!(times(&[(4, 1)], &[6]), (EXPORT_MS, EXPORT_MS));
}

#[test]
fn one_end_and_the_duration_give_the_other() {
    let start = [7_000u64.to_be_bytes().to_vec(), vec![0, 0, 0, 9]].concat();
    assert_eq!(times(&[(152, 8), (161, 4)], &start), (7_000, 7_009));
    assert_eq!(times(&[(153, 8), (161, 4)], &start), (6_991, 7_000));
    assert_eq!(times(&[(153, 8)], &7u64.to_be_bytes()), (7, 7));
}

#[test]
fn the_start_of_the_exporter_may_stand_in_the_record() {
    let boot = EXPORT_MS - 50_000;
    let record = [&boot.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 2]].concat();
    assert_eq!(times(&[(160, 8), (22, 4), (21, 4)], &record), (boot + 1, boot + 2));
}

#[test]
fn the_start_of_the_exporter_may_stand_in_options_data() {
    let mut lab = Lab::new();
    let mut options = vec![1, 1, 0, 2, 0, 1];
    options.extend(fields(&[(143, 4), (160, 8)]));
    let boot = EXPORT_MS - 50_000;
    let data = [&[0, 0, 0, 1][..], &boot.to_be_bytes()].concat();
    let record = set(256, &[0, 0, 0, 1, 0, 0, 0, 2]);
    let sets = [set(3, &options), template(2, &[(22, 4), (21, 4)]), set(257, &data), record];
    lab.ipfix(&sets);
    let rows = lab.rows();
    assert_eq!((rows.first_ms[0], rows.last_ms[0]), (boot + 1, boot + 2));
    assert_eq!(lab.counters.options_decoded.get(), 1);
    assert_eq!(lab.counters.records_decoded.get(), 1);
}

#[test]
fn counters_of_any_size_are_numbers() {
    for length in 1..=8usize {
        let mut lab = Lab::new();
        let mut record = vec![0; length];
        record[length - 1] = 42;
        record[0] |= 1;
        let expected = record.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        lab.ipfix(&[template(2, &[(1, length as u16)]), set(256, &record)]);
        assert_eq!(lab.rows().bytes, [expected]);
    }
}

#[test]
fn each_direction_has_its_own_counters() {
    let mut lab = Lab::new();
    lab.v9(&[template(0, &[(231, 2), (232, 2), (2, 1), (24, 1)]), set(256, &[0, 9, 0, 4, 2, 3])]);
    let rows = lab.rows();
    assert_eq!((rows.bytes[0], rows.reverse_bytes[0]), (9, 4));
    assert_eq!((rows.packets[0], rows.output_packets[0]), (2, 3));
}

#[test]
fn what_no_column_takes_is_kept_as_it_stood() {
    let mut lab = Lab::new();
    // Padding says nothing; of two equal elements the column has the last; a number too wide
    // for its column is kept whole; 33002 is NetFlow v9's number for Cisco's 234.
    let fields = [(82, 3), (210, 2), (7, 2), (7, 2), (4, 2), (33002, 2), (40000, 4)];
    let record = [b'e', b't', b'h', 9, 9, 0, 1, 0, 2, 1, 6, 0, 8, b'm', b'e', 0, 0];
    lab.v9(&[template(0, &fields), set(256, &record)]);
    lab.v9(&[template(0, &[(1, 1)]), set(256, &[5])]);
    let rows = lab.rows();
    assert_eq!((rows.source_port[0], rows.protocol[0]), (2, 6));
    assert_eq!(rows.firewall_event_extended, [8, 0]);
    let kept: Vec<_> =
        rows.overflow.elements(0).map(|(e, value)| (e.to_string(), value.to_vec())).collect();
    let expected = [
        ("interfaceName", &b"eth"[..]),
        ("sourceTransportPort", &[0, 1]),
        ("protocolIdentifier", &[1, 6]),
        ("cisco/userName", b"me\0\0"),
    ];
    assert_eq!(kept, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    assert_eq!(rows.overflow.elements(1).count(), 0);
}

#[test]
fn elements_of_variable_length_are_kept_too() {
    let mut lab = Lab::new();
    lab.ipfix(&[
        template(2, &[(82, 0xffff), (7, 2), (83, 0xffff)]),
        set(256, &[2, b'a', b'b', 0, 53, 0, 0, 0, 80, 1, b'c']),
    ]);
    let rows = lab.rows();
    assert_eq!(rows.source_port, [53, 80]);
    let values = |row| rows.overflow.elements(row).map(|(_, v)| v.to_vec()).collect::<Vec<_>>();
    assert_eq!(values(0), [b"ab".to_vec(), vec![]]);
    assert_eq!(values(1), [vec![], b"c".to_vec()]);
}

#[test]
fn an_application_id_is_the_same_however_long_its_selector_is() {
    for record in [&[3, 80][..], &[3, 0, 80], &[3, 0, 0, 80]] {
        let mut lab = Lab::new();
        lab.ipfix(&[template(2, &[(95, record.len() as u16)]), set(256, record)]);
        assert_eq!(lab.rows().application, [3 << 56 | 80]);
    }
    let mut lab = Lab::new();
    let fortinet = [20, 0, 0, 0x30, 0x44, 0, 0, 0x40, 1];
    lab.ipfix(&[template(2, &[(95, 9)]), set(256, &fortinet)]);
    assert_eq!(lab.rows().application, [20 << 56 | 12356 << 32 | 0x4001]);
}

#[test]
fn labels_addresses_and_access_lists_have_columns() {
    let mut lab = Lab::new();
    let fields = [(70, 3), (56, 6), (195, 1), (33000, 12), (281, 16), (225, 4)];
    let mut record = vec![0x00, 0x06, 0x41, 0, 1, 2, 3, 4, 5, 46];
    record.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    record.extend([0; 16]);
    record.extend([192, 0, 2, 9]);
    lab.v9(&[template(0, &fields), set(256, &record)]);
    let rows = lab.rows();
    assert_eq!((rows.mpls_1[0], rows.source_mac[0], rows.tos[0]), (0x641, 0x1_0203_0405, 184));
    assert_eq!((rows.input_acl[0], rows.input_ace[0], rows.input_ace_extended[0]), (1, 2, 3));
    assert_eq!(rows.nat_source_address, [v4("192.0.2.9")]);
    assert!(rows.overflow.is_empty(), "{:?}", rows.overflow);
}

#[test]
fn a_dual_stack_record_has_the_address_that_is_not_zero() {
    let mut lab = Lab::new();
    let mut records = vec![0; 40];
    records[..4].copy_from_slice(&[10, 0, 0, 1]);
    records[20 + 4..40].copy_from_slice(&[0x20; 16]);
    lab.ipfix(&[template(2, &[(8, 4), (27, 16)]), set(256, &records)]);
    assert_eq!(lab.rows().source_address, [v4("10.0.0.1"), Address([0x20; 16])]);
}

#[test]
fn an_ipv4_address_of_zeroes_is_an_address() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(8, 4)]), set(256, &[0; 4])]);
    assert_eq!(lab.rows().source_address, [v4("0.0.0.0")]);
}

#[test]
fn icmp_type_and_code_stand_for_the_port() {
    for (specifiers, record) in [
        (&[(32u16, 2u16)][..], &[3u8, 1][..]),
        (&[(11, 2), (32, 2)], &[0, 0, 3, 1]),
        (&[(176, 1), (177, 1)], &[3, 1]),
        (&[(11, 2), (177, 1), (176, 1)], &[0, 0, 1, 3]),
    ] {
        let mut lab = Lab::new();
        lab.ipfix(&[template(2, specifiers), set(256, record)]);
        assert_eq!(lab.rows().destination_port, [0x0301]);
    }
}

#[test]
fn a_port_is_not_overwritten_by_icmp() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(11, 2), (176, 1), (177, 1)]), set(256, &[0, 80, 3, 1])]);
    assert_eq!(lab.rows().destination_port, [80]);
}

#[test]
fn tcp_flags_of_two_bytes_lose_the_headers_length_only() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(6, 2)]), set(256, &[0x51, 0x12])]);
    assert_eq!(lab.rows().tcp_flags, [0x112]);
}

#[test]
fn of_repeated_elements_the_innermost_counts() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(4, 1), (7, 2), (4, 1)]), set(256, &[41, 0, 9, 17])]);
    let rows = lab.rows();
    assert_eq!((rows.protocol[0], rows.source_port[0]), (17, 9));
}

#[test]
fn variable_length_records_are_rows() {
    let mut lab = Lab::new();
    let specifiers = [(82, u16::MAX), (1, u16::MAX), (8, 4), (176, 1)];
    let records = [&[2, 0, 0, 1, 9, 10, 0, 0, 1, 8][..], &[255, 0, 0, 3, 1, 0, 0, 10, 0, 0, 2, 3]];
    lab.ipfix(&[template(2, &specifiers), set(256, &records.concat())]);
    let rows = lab.rows();
    assert_eq!(rows.bytes, [9, 65_536]);
    assert_eq!(rows.source_address, [v4("10.0.0.1"), v4("10.0.0.2")]);
    assert_eq!(rows.destination_port, [0x0800, 0x0300]);
}

#[test]
fn records_before_a_malformed_one_are_used() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(82, u16::MAX), (4, 1)]), set(256, &[0, 6, 9, 6])]);
    assert_eq!(lab.rows().protocol, [6]);
    assert_eq!(lab.discarded(Discard::RecordMalformed), 1);
}

#[test]
fn sets_before_a_lying_length_are_used() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(4, 1)]), set(256, &[6]), vec![1, 0, 0, 99]]);
    assert_eq!(lab.rows().protocol, [6]);
    assert_eq!(lab.discarded(Discard::SetLength), 1);
    assert_eq!(lab.counters.datagrams_accepted.get(), 1);
}

#[test]
fn data_before_its_template_is_held_until_it_comes() {
    let mut lab = Lab::new();
    lab.ipfix(&[set(256, &[6, 7]), set(257, &[1])]);
    lab.ipfix(&[set(256, &[8])]);
    assert_eq!((lab.rows().rows(), lab.counters.sets_held.get()), (0, 3));
    lab.ipfix(&[template(2, &[(4, 1)]), set(256, &[17])]);
    assert_eq!(lab.rows().protocol, [6, 7, 8, 17]);
    assert_eq!((lab.counters.sets_held.get(), lab.counters.records_decoded.get()), (1, 4));
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 0);
}

#[test]
fn data_whose_template_never_comes_is_counted() {
    let mut lab = Lab::new();
    lab.ipfix(&[set(256, &[6]), set(257, &[7])]);
    lab.collector.expire(NOW.plus_ms(29_999));
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 0);
    lab.collector.expire(NOW.plus_ms(30_000));
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 2);
    lab.ipfix(&[template(2, &[(4, 1)]), set(258, &[9])]);
    assert!(lab.rows().is_empty());
    lab.collector.finish();
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 3);
    assert_eq!(lab.counters.sets_held.get(), 0);
}

#[test]
fn a_held_record_keeps_the_times_of_its_own_header() {
    let mut lab = Lab::new();
    let record = [UPTIME - 5_000, UPTIME - 1_000].map(u32::to_be_bytes).concat();
    lab.v9(&[set(256, &record)]);
    // The same uptimes mean a later time in a message of a later export time.
    let mut later = vec![0, 9, 0, 1];
    for word in [UPTIME, EXPORT + 7, 1, 5] {
        later.extend(word.to_be_bytes());
    }
    later.extend([template(0, &[(22, 4), (21, 4)]), set(256, &record)].concat());
    lab.send(&later);
    let rows = lab.rows();
    assert_eq!(rows.first_ms, [EXPORT_MS - 5_000, EXPORT_MS + 2_000]);
    assert_eq!(rows.last_ms, [EXPORT_MS - 1_000, EXPORT_MS + 6_000]);
}

#[test]
fn held_options_data_says_when_the_exporter_started() {
    let mut lab = Lab::new();
    let boot = EXPORT_MS - 50_000;
    let mut options = vec![1, 1, 0, 2, 0, 1];
    options.extend(fields(&[(143, 4), (160, 8)]));
    let data = [&[0, 0, 0, 1][..], &boot.to_be_bytes()].concat();
    lab.ipfix(&[set(257, &data), set(256, &[0, 0, 0, 1, 0, 0, 0, 2])]);
    lab.ipfix(&[set(3, &options), template(2, &[(22, 4), (21, 4)])]);
    assert_eq!(lab.rows().first_ms, [boot + 1]);
    assert_eq!(lab.counters.options_decoded.get(), 1);
}

#[test]
fn an_evicted_session_takes_what_it_held_with_it() {
    let sessions = SessionLimits { sessions: 1, ..SessionLimits::default() };
    let mut lab = Lab::with(sessions);
    lab.ipfix(&[set(256, &[6])]);
    lab.v9(&[template(0, &[(4, 1)])]);
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 1);
    assert_eq!(lab.counters.sets_held.get(), 0);
}

#[test]
fn a_redefined_template_holds_from_there_on() {
    let mut lab = Lab::new();
    let before = [template(0, &[(4, 1)]), set(256, &[6])];
    let after = [template(0, &[(5, 1), (4, 1)]), set(256, &[1, 17])];
    lab.v9(&[before, after].concat());
    let rows = lab.rows();
    assert_eq!((rows.protocol, rows.tos), (vec![6, 17], vec![0, 1]));
}

/// A connection from the exporter's address.
fn connection() -> Connection {
    let [source, destination] = ["192.0.2.1:50000", "192.0.2.2:2055"].map(|a| a.parse().unwrap());
    Connection::new(source, destination, Transport::Tcp)
}

#[test]
fn a_template_withdrawn_by_connection_is_unknown() {
    for withdrawal in [[1, 0, 0, 0], [0, 2, 0, 0]] {
        let mut lab = Lab::new();
        let sets = [template(2, &[(4, 1)]), set(2, &withdrawal), set(256, &[6])];
        lab.collector.message(&connection(), &ipfix(0, &sets), NOW);
        assert!(lab.rows().is_empty());
        assert_eq!(lab.counters.sets_held.get(), 1);
        assert_eq!(lab.counters.templates_received.get(), 1);
    }
}

#[test]
fn a_connections_templates_end_with_it_and_are_no_others() {
    let mut lab = Lab::new();
    let (first, second) = (connection(), connection());
    lab.collector.message(&first, &ipfix(0, &[template(2, &[(4, 1)])]), NOW);
    lab.ipfix(&[set(256, &[6])]);
    assert_eq!(lab.counters.sets_held.get(), 1);
    lab.collector.end(&first);
    lab.collector.message(&second, &ipfix(0, &[set(256, &[6])]), NOW);
    assert_eq!(lab.counters.sets_held.get(), 2);
    lab.collector.end(&second);
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 1);
    assert!(lab.rows().is_empty());
}

#[test]
fn templates_belong_to_their_session() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(4, 1)])]);
    let mut other_domain = ipfix(0, &[set(256, &[6])]);
    other_domain[15] = 6;
    lab.send(&other_domain);
    assert_eq!(lab.counters.sets_held.get(), 1);
    assert_eq!(lab.collector.sessions().len(), 2);
}

#[test]
fn v9_sequence_counts_packets() {
    let mut lab = Lab::new();
    lab.v9(&[template(0, &[(4, 1)]), set(256, &[6, 6, 6])]);
    lab.v9(&[]);
    lab.sequence += 2;
    lab.v9(&[]);
    assert_eq!(lab.counters.sequence_lost.get(), 2);
}

#[test]
fn ipfix_sequence_counts_data_records() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(4, 1)]), set(256, &[6, 6, 6])]);
    lab.sequence = 3;
    lab.ipfix(&[set(256, &[6])]);
    assert_eq!(lab.counters.sequence_lost.get(), 0);
    lab.sequence = 9;
    lab.ipfix(&[set(256, &[6])]);
    assert_eq!(lab.counters.sequence_lost.get(), 5);
}

#[test]
fn an_unreadable_set_is_no_loss_on_the_way() {
    let mut lab = Lab::new();
    lab.ipfix(&[set(256, &[6, 6, 6])]);
    lab.sequence = 3;
    lab.ipfix(&[]);
    assert_eq!(lab.counters.sequence_lost.get(), 0);
}

#[test]
fn a_full_batch_says_so() {
    let mut lab = Lab::new();
    lab.ipfix(&[template(2, &[(4, 1)]), set(256, &[6; 7])]);
    assert!(!lab.collector.is_full());
    lab.ipfix(&[set(256, &[6])]);
    assert!(lab.collector.is_full());
    assert_eq!(lab.rows().rows(), 8);
    assert!(lab.collector.take_batch().is_none());
}

#[test]
fn a_full_session_table_is_a_named_discard() {
    let sessions = SessionLimits {
        sessions: 1,
        established_datagrams: 1,
        established_ms: 0,
        ..SessionLimits::default()
    };
    let mut lab = Lab::with(sessions);
    lab.ipfix(&[]);
    lab.v9(&[]);
    assert_eq!(lab.discarded(Discard::SessionTableFull), 1);
    assert_eq!(lab.counters.datagrams_accepted.get(), 1);
}
