//! What the collector makes of the protocols without templates: one message of each, byte by byte,
//! and the row that it becomes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::{Address, Batch, Column};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const EXPORT_MS: u64 = 1_700_000_000_000;
const UPTIME: u32 = 1_000_000;

/// What a collector makes of these datagrams of one exporter.
fn collect(payloads: &[Vec<u8>]) -> (Batch, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let config = CollectorConfig {
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        batch_rows: 64,
    };
    let mut collector = Collector::new(config, Arc::clone(&counters));
    for payload in payloads {
        let source = SocketAddr::from(([192, 0, 2, 1], 50_000));
        let destination = SocketAddr::from(([192, 0, 2, 2], 2055));
        collector.datagram(&Datagram { source, destination, payload }, NOW);
    }
    (collector.take_batch().unwrap_or_default(), counters)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("a test's address").into()
}

/// A header up to and with its nanoseconds: half a second after the export time.
fn header(version: u16, count: u16) -> Vec<u8> {
    let mut bytes = [version.to_be_bytes(), count.to_be_bytes()].concat();
    bytes.extend(words(&[UPTIME, (EXPORT_MS / 1000) as u32, 500_000_000]));
    bytes
}

/// The columns that every row of these tests has.
fn expected() -> Batch {
    let mut batch = Batch::default();
    batch.received_ms.push(NOW.0);
    batch.first_ms.push(EXPORT_MS + 500 - 9_000);
    batch.last_ms.push(EXPORT_MS + 500 - 1_000);
    batch.packets.push(6);
    batch.bytes.push(700);
    batch.exporter.push(address("192.0.2.1"));
    batch
}

/// Of 10.0.0.1 to 10.0.0.2 by 10.0.0.3, in by 4 and out by 5: what versions 1 to 7 begin with.
fn record_head() -> Vec<u8> {
    let mut bytes = words(&[0x0a00_0001, 0x0a00_0002, 0x0a00_0003, 0x0004_0005]);
    bytes.extend(words(&[6, 700, UPTIME - 9_000, UPTIME - 1_000, 0x1f90_0050]));
    bytes
}

fn expected_of_head() -> Batch {
    let mut batch = expected();
    batch.source_address.push(address("10.0.0.1"));
    batch.destination_address.push(address("10.0.0.2"));
    batch.next_hop.push(address("10.0.0.3"));
    batch.input_interface.push(4);
    batch.output_interface.push(5);
    batch.source_port.push(8080);
    batch.destination_port.push(80);
    batch.protocol.push(6);
    batch.tos.push(0xb8);
    batch.tcp_flags.push(0x1b);
    batch
}

#[test]
fn a_v1_record_is_a_row_whatever_its_length() {
    for unused in [7, 11] {
        let mut packet = header(1, 1);
        packet.extend(record_head());
        packet.extend([0, 0, 6, 0xb8, 0x1b]);
        packet.resize(packet.len() + unused, 0);
        let mut expected = expected_of_head();
        expected.fill(1);
        let (rows, counters) = collect(&[packet.clone(), packet]);
        assert_eq!(rows.range(0..1), expected);
        assert_eq!(rows.rows(), 2);
        assert_eq!((counters.sequence_lost.get(), counters.sequence_resets.get()), (0, 0));
    }
}

#[test]
fn v6_and_v7_records_are_rows() {
    for version in [6, 7] {
        let packet = |sequence: u32| {
            let mut packet = header(version, 1);
            packet.extend(words(&[sequence, 0x0203_0000]));
            packet.extend(record_head());
            packet.extend([0, 0x1b, 6, 0xb8, 0, 11, 0, 12, 24, 16, 9, 9, 9, 9, 9, 9]);
            packet
        };
        let mut expected = expected_of_head();
        expected.source_as.push(11);
        expected.destination_as.push(12);
        expected.source_mask.push(24);
        expected.destination_mask.push(16);
        expected.observation_domain.push(0x0203);
        expected.fill(1);
        let (rows, counters) = collect(&[packet(0), packet(3)]);
        assert_eq!(rows.range(0..1), expected);
        assert_eq!(counters.sequence_lost.get(), 2);
    }
}

/// A v8 packet of one record; two flows before it were lost when `sequence` is 3.
fn v8(scheme: u8, sequence: u32, record: &[u8]) -> Vec<u8> {
    let mut packet = header(8, 1);
    packet.extend(sequence.to_be_bytes());
    packet.extend([2, 3, scheme, 2, 0, 0, 0, 0]);
    packet.extend(record);
    packet
}

/// Three flows in one: what the router's schemes begin with.
fn aggregate(own: &[u8]) -> Vec<u8> {
    let mut record = words(&[3, 6, 700, UPTIME - 9_000, UPTIME - 1_000]);
    record.extend(own);
    record
}

#[test]
fn a_v8_record_is_a_row_of_what_its_scheme_keeps() {
    let prefixes = [10, 0, 0, 0, 11, 0, 0, 0, 16, 8];
    let prefix_ports = [&prefixes[..], &[0xb8, 6, 0x1f, 0x90, 0, 80, 0, 4, 0, 5]].concat();
    let mut expected = expected();
    expected.observation_domain.push(0xe_0203);
    expected.aggregated_flows.push(3);
    expected.source_address.push(address("10.0.0.0"));
    expected.destination_address.push(address("11.0.0.0"));
    expected.source_mask.push(8);
    expected.destination_mask.push(16);
    expected.tos.push(0xb8);
    expected.protocol.push(6);
    expected.source_port.push(8080);
    expected.destination_port.push(80);
    expected.input_interface.push(4);
    expected.output_interface.push(5);
    expected.fill(1);
    assert_eq!(collect(&[v8(14, 0, &aggregate(&prefix_ports))]).0, expected);

    let systems = collect(&[v8(1, 0, &aggregate(&[0, 11, 0, 12, 0, 4, 0, 5]))]).0;
    assert_eq!((&systems.source_as[..], &systems.destination_as[..]), (&[11][..], &[12][..]));
    assert!(!systems.has(Column::SourceAddress));

    let mut full = words(&[0x0a00_0002, 0x0a00_0001, 0x0050_1f90]);
    full.extend(words(&[6, 700, UPTIME - 9_000, UPTIME - 1_000, 0x0005_0004]));
    full.extend([0xb8, 6, 7, 0, 0, 0, 0, 1, 10, 0, 0, 9]);
    let catalyst = collect(&[v8(8, 0, &full)]).0;
    assert_eq!(catalyst.source_address, [address("10.0.0.1")]);
    assert_eq!(catalyst.destination_address, [address("10.0.0.2")]);
    assert_eq!((catalyst.source_port[0], catalyst.destination_port[0]), (8080, 80));
    assert_eq!((catalyst.input_interface[0], catalyst.output_interface[0]), (4, 5));
    assert_eq!((catalyst.tos[0], catalyst.protocol[0], catalyst.bytes[0]), (0xb8, 6, 700));
}

#[test]
fn each_aggregation_counts_its_own_flows() {
    let systems = aggregate(&[0; 8]);
    let tagged = aggregate(&[0; 12]);
    let (rows, counters) =
        collect(&[v8(1, 0, &systems), v8(9, 70, &tagged), v8(1, 1, &systems), v8(9, 71, &tagged)]);
    assert_eq!(rows.rows(), 4);
    assert_eq!((counters.sequence_lost.get(), counters.sequence_resets.get()), (0, 0));
    let (_, counters) = collect(&[v8(1, 0, &systems), v8(1, 3, &systems)]);
    assert_eq!(counters.sequence_lost.get(), 2);
    assert_eq!(collect(&[v8(15, 0, &tagged)]).1.discarded(Discard::UnknownAggregation), 1);
}

/// A structure behind its tag and length.
fn tagged(tag: u32, body: &[u8]) -> Vec<u8> {
    [words(&[tag, body.len() as u32]), body.to_vec()].concat()
}

/// Of sub-agent 7; the agent's own address is not the packet's.
fn sflow(sequence: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let header = words(&[5, 1, 0x0a09_0909, 7, sequence, UPTIME, samples.len() as u32]);
    [header, samples.concat()].concat()
}

/// One packet in 512, in by 4 and out by 5.
fn flow_sample(records: &[Vec<u8>]) -> Vec<u8> {
    let header = words(&[1, 4, 512, 1_000, 0, 4, 5, records.len() as u32]);
    tagged(1, &[header, records.concat()].concat())
}

/// VLAN 10, 10.0.0.1:8080 to 10.0.0.2:80 over TCP, of a frame of 1,518 bytes.
fn sampled_header() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 10, 8, 0];
    frame.extend([0x45, 0xb8, 0x05, 0xd8, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x1b]);
    let mut body = words(&[1, 1_518, 4, frame.len() as u32]);
    body.extend(frame);
    tagged(1, &body)
}

#[test]
fn a_flow_sample_is_a_row_of_one_packet() {
    let router = tagged(1002, &words(&[1, 0x0a00_0003, 24, 16]));
    let gateway = tagged(1003, &words(&[1, 0x0a00_0004, 1, 11, 2, 1, 2, 2, 3, 12, 0, 100]));
    let switch = tagged(1001, &words(&[20, 0, 30, 0]));
    let sample = flow_sample(&[sampled_header(), switch, router, gateway]);
    let mut expected = Batch::default();
    expected.received_ms.push(NOW.0);
    expected.first_ms.push(NOW.0);
    expected.last_ms.push(NOW.0);
    expected.packets.push(1);
    expected.bytes.push(1_518);
    expected.exporter.push(address("192.0.2.1"));
    expected.observation_domain.push(7);
    expected.source_address.push(address("10.0.0.1"));
    expected.destination_address.push(address("10.0.0.2"));
    expected.next_hop.push(address("10.0.0.3"));
    expected.input_interface.push(4);
    expected.output_interface.push(5);
    expected.source_port.push(8080);
    expected.destination_port.push(80);
    expected.protocol.push(6);
    expected.tos.push(0xb8);
    expected.tcp_flags.push(0x1b);
    expected.vlan.push(20);
    expected.source_as.push(11);
    expected.destination_as.push(12);
    expected.source_mask.push(24);
    expected.destination_mask.push(16);
    expected.sampling_rate.push(512);
    expected.fill(1);
    let (rows, counters) = collect(&[sflow(1, &[sample])]);
    assert_eq!(rows, expected);
    assert_eq!(
        (counters.records_decoded.get(), counters.discarded(Discard::SampleMalformed)),
        (1, 0)
    );
}

#[test]
fn the_tag_of_the_frame_is_the_vlan_that_no_switch_has_named() {
    for switch in
        [vec![], tagged(1001, &words(&[0, 0, 30, 0])), tagged(1001, &words(&[u32::MAX; 4]))]
    {
        let records = [sampled_header(), switch].into_iter().filter(|record| !record.is_empty());
        let sample = flow_sample(&records.collect::<Vec<_>>());
        assert_eq!(collect(&[sflow(1, &[sample])]).0.vlan, [10]);
    }
}

#[test]
fn a_header_without_its_packet_makes_the_same_row() {
    let ip = words(&[1_500, 6, 0x0a00_0001, 0x0a00_0002, 8080, 80, 0x1b, 0xb8]);
    // Beside the frame that it was in, it tells how long the IP packet is.
    let both = flow_sample(&[tagged(3, &ip), sampled_header()]);
    let rows = collect(&[sflow(1, &[flow_sample(&[tagged(3, &ip)]), both])]).0;
    assert_eq!(rows.bytes, [1_500, 1_500]);
    assert_eq!(rows.source_address, [address("10.0.0.1"); 2]);
    assert_eq!((rows.source_port[0], rows.destination_port[0]), (8080, 80));
    assert_eq!((rows.protocol[0], rows.tcp_flags[0], rows.tos[0]), (6, 0x1b, 0xb8));
    assert_eq!(rows.packets, [1, 1]);
}

#[test]
fn the_columns_show_a_tunnels_outside() {
    let mut body = words(&[11, 1_500, 0, 44]);
    body.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    body.extend([
        0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2, 0, 1, 0, 2,
    ]);
    let rows = collect(&[sflow(1, &[flow_sample(&[tagged(1, &body)])])]).0;
    assert_eq!(rows.source_address, [address("10.0.0.1")]);
    assert_eq!(rows.protocol, [4]);
    assert!(!rows.has(Column::DestinationPort));
}

#[test]
fn a_sample_that_is_no_ip_packet_is_a_row_all_the_same() {
    let mut arp = words(&[1, 64, 4, 14]);
    arp.extend([0xff; 12]);
    arp.extend([8, 6, 0, 0]);
    let rows = collect(&[sflow(1, &[flow_sample(&[tagged(1, &arp)])])]).0;
    assert_eq!((rows.packets[0], rows.bytes[0]), (1, 64));
    assert!(!rows.has(Column::Protocol) && !rows.has(Column::SourceAddress));
}

#[test]
fn counters_and_unknown_samples_are_counted_beside_the_flows() {
    let counters = tagged(2, &words(&[1, 4, 0]));
    let expanded = tagged(4, &words(&[1, 0, 4, 0]));
    let dropped = tagged(5, &[0; 28]);
    let sample = flow_sample(&[sampled_header(), tagged(9_999, &[0; 4])]);
    let mut lying = flow_sample(&[sampled_header()]);
    lying[7] = 0xff;
    let (rows, counted) = collect(&[sflow(1, &[counters, sample, dropped, expanded, lying])]);
    assert_eq!((rows.rows(), counted.datagrams_accepted.get()), (1, 1));
    assert_eq!((counted.counter_samples.get(), counted.samples_unknown.get()), (2, 1));
    assert_eq!(counted.discarded(Discard::SampleMalformed), 1);
}

#[test]
fn a_fault_in_a_sample_leaves_what_stood_before_it() {
    let mut router = tagged(1002, &words(&[1, 0x0a00_0003, 24, 16]));
    router[11] = 9;
    let (rows, counters) = collect(&[sflow(1, &[flow_sample(&[sampled_header(), router])])]);
    assert_eq!(rows.source_port, [8080]);
    assert!(!rows.has(Column::SourceMask));
    assert_eq!(counters.discarded(Discard::SampleMalformed), 1);
}

#[test]
fn sflow_sequences_count_datagrams() {
    let sample = || flow_sample(&[sampled_header()]);
    let (_, counters) =
        collect(&[sflow(4, &[sample(), sample()]), sflow(5, &[]), sflow(8, &[sample()])]);
    assert_eq!(counters.sequence_lost.get(), 2);
}
