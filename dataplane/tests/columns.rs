//! Real exporters' records in the columns of the schema, beside what nfdump 1.7.1 says of the same
//! files: firewall events (NSEL), MAC addresses, VRFs and BGP next hops, biflows.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Timestamp};
use weir_store::column::Values;
use weir_store::{Address, Batch, Column};

const FOLDER: &str = "logstash-codec-netflow/spec/codecs";

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    let found = folder.join(FOLDER).is_dir().then(|| folder.join(FOLDER));
    if found.is_none() {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
    }
    found
}

/// The rows of files that hold a datagram each.
fn rows(files: &[&str]) -> Option<Batch> {
    let folder = corpus()?;
    let config = CollectorConfig {
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        batch_rows: 1 << 16,
    };
    let mut collector = Collector::new(config, Arc::new(Counters::default()));
    for file in files {
        let payload = fs::read(folder.join(file)).expect("a file of the corpus");
        let datagram = Datagram {
            source: SocketAddr::from(([192, 0, 2, 1], 50_000)),
            destination: SocketAddr::from(([192, 0, 2, 2], 2055)),
            payload: &payload,
        };
        collector.datagram(&datagram, Timestamp(1_800_000_000_000));
    }
    collector.take_batch()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

/// Checks columns of the first row: addresses, and numbers.
fn check(rows: &Batch, addresses: &[(Column, &str)], numbers: &[(Column, u64)]) {
    for &(column, expected) in addresses {
        let Values::Address(values) = rows.column(column) else { panic!("{column:?}") };
        assert_eq!(values[0], address(expected), "{column:?}");
    }
    for &(column, expected) in numbers {
        assert_eq!(rows.column(column).number(0), expected, "{column:?}");
    }
}

#[test]
fn firewall_events_of_an_asa() {
    let files = ["netflow9_test_cisco_asa_1_tpl.dat", "netflow9_test_cisco_asa_1_data.dat"];
    let Some(rows) = rows(&files) else { return };
    assert_eq!(rows.rows(), 14);
    check(
        &rows,
        &[
            (Column::SourceAddress, "192.168.14.1"),
            (Column::DestinationAddress, "2.2.2.11"),
            (Column::NatSourceAddress, "192.168.14.1"),
            (Column::NatDestinationAddress, "2.2.2.11"),
        ],
        &[
            (Column::Protocol, 1),
            (Column::Bytes, 56),
            (Column::InputInterface, 3),
            (Column::OutputInterface, 2),
            (Column::FlowId, 8500),
            (Column::FirewallEvent, 2),
            (Column::FirewallEventExtended, 2025),
            (Column::Event, 1_444_384_069_599),
            (Column::First, 1_444_384_067_569),
            (Column::NatSourcePort, 0),
            (Column::NatDestinationPort, 17549),
            (Column::InputAcl, 0x0f8e_7ff3),
            (Column::InputAce, 0xfc1a_030f),
            (Column::InputAceExtended, 0),
            (Column::OutputAcl, 0),
        ],
    );
}

#[test]
fn mac_addresses() {
    let files = ["netflow9_test_macaddr_tpl.dat", "netflow9_test_macaddr_data.dat"];
    let Some(rows) = rows(&files) else { return };
    check(
        &rows,
        &[(Column::SourceAddress, "172.16.32.1"), (Column::DestinationAddress, "172.16.32.201")],
        &[
            (Column::SourcePort, 65058),
            (Column::SourceMac, 0x0050_56c0_0001),
            (Column::DestinationMac, 0x000c_2970_8609),
        ],
    );
}

#[test]
fn vrfs_and_bgp_next_hops_of_an_asr() {
    let files = ["netflow9_test_cisco_asr9k_tpl260.dat", "netflow9_test_cisco_asr9k_data260.dat"];
    let Some(rows) = rows(&files) else { return };
    check(
        &rows,
        &[(Column::SourceAddress, "10.0.9.146"), (Column::BgpNextHop, "10.0.14.33")],
        &[
            (Column::Packets, 1),
            (Column::Bytes, 40),
            (Column::SourceMask, 16),
            (Column::DestinationMask, 20),
            (Column::Direction, 1),
            (Column::DestinationAs, 64496),
            (Column::ForwardingStatus, 64),
            (Column::InputVrf, 1_610_612_736),
            (Column::OutputVrf, 1_610_612_736),
        ],
    );
}

#[test]
fn both_directions_of_a_biflow() {
    let files = ["ipfix_test_yaf_tpl45841.dat", "ipfix_test_yaf_data45841.dat"];
    let Some(rows) = rows(&files) else { return };
    assert_eq!(rows.rows(), 1);
    check(
        &rows,
        &[(Column::SourceAddress, "172.16.32.201")],
        &[
            (Column::DestinationPort, 53),
            (Column::Packets, 2),
            (Column::Bytes, 132),
            (Column::ReversePackets, 2),
            (Column::ReverseBytes, 200),
        ],
    );
    let names: Vec<String> =
        rows.overflow.elements(0).map(|(element, _)| element.to_string()).collect();
    assert!(names.contains(&"cert/silkAppLabel".to_owned()), "{names:?}");
}

#[test]
fn the_application_and_user_of_a_palo_alto_firewall() {
    let files = ["netflow9_test_paloalto_panos_tpl.dat", "netflow9_test_paloalto_panos_data.dat"];
    let Some(rows) = rows(&files) else { return };
    let named = |wanted: &str| {
        let mut elements = rows.overflow.elements(0);
        elements.any(|(element, _)| element.to_string() == wanted)
    };
    assert!(named("paloalto/appId") && named("paloalto/userId"));
}
