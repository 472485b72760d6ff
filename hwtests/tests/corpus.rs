//! Every capture of NetFlow, IPFIX and sFlow in the corpus, through a proxy onto two slaves, in both
//! distribution models and over both packet backends: flows, packets and bytes at the master equal
//! those of Debian's nfdump for the same capture sent straight to nfcapd.
//!
//! Each conversation comes from an exporter address of its own, so that one topology carries them
//! all and sums are asked by exporter.
//!
//! Of sFlow weir stores what was received, and sfcapd that times the sampling rate: the capture's
//! samples are summed both ways, one sum must be sfcapd's and the other weir's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use weir_controlplane::capture::Capture;
use weir_controlplane::lab::units::{EXPORTERS, Group, MASTER, PROXY, Sums, Units, unconserved};
use weir_controlplane::lab::{Error, Network};
use weir_controlplane::topology::Distribution;
use weir_hwtests::corpus::{self, Conversation};
use weir_hwtests::nfcapd::{Nfcapd, targets};
use weir_hwtests::sampled::Sampled;
use weir_hwtests::{can_run, must, replay, tshark, weir};

const LISTEN: u16 = 2055;
/// Where sfcapd listens beside nfcapd.
const LISTEN_SFLOW: u16 = 6343;

/// Files of which nfdump stores less than there is, and why, with the port that the exporter sent
/// to; what counts then are tshark's sums.
const BY_TSHARK: &[(&str, u16, &str)] = &[
    (
        "generated/softflowd-psamp-first2000.pcap",
        9_005,
        "nfdump 1.7.1 stores no PSAMP records (sampled packets: no packet or byte counts)",
    ),
    (
        "generated/softflowd-v1.pcap",
        9_001,
        "nfdump 1.7.1 refuses v1 packets of more than 24 records; softflowd sends 30",
    ),
];

/// Files whose data comes before its template, and what there is with it: nfdump drops it, weir holds
/// it until the template comes. tshark, reading twice (`-2`), comes to the same packets and bytes.
const BEFORE_TEMPLATE: &[(&str, Sums)] = &[(
    "akvorado/outlet/flow/decoder/netflow/testdata/data+templates.pcap",
    Sums { flows: 21, packets: 66, bytes: 58_329 },
)];

/// sFlow that sfcapd refuses or reads otherwise, and why; what counts then is the samples' own sum.
const NOT_BY_SFCAPD: &[(&str, &str)] = &[(
    "gopacket-testbytes/sflow-layers_05_SFlowTestPacket5.bin",
    "its one record is four bytes longer than its sample; sfcapd stores nothing of that, weir the \
     sample, and counts the fault",
)];

/// A conversation with the address that it comes from, and what must arrive of it.
#[derive(Clone, Debug)]
struct Case {
    conversation: Conversation,
    exporter: IpAddr,
    expected: Sums,
    by: &'static str,
}

/// The cases of all tests in this process; nfdump is asked once.
fn cases(corpus: &Path) -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| must(straight(corpus)))
}

/// Whether the capture was made over IPv6.
fn is_over_ipv6(conversation: &Conversation) -> bool {
    let first = Capture::read(&conversation.files[0]).ok();
    let source = first.and_then(|capture| capture.datagrams.first()?.source);
    source.is_some_and(|source| source.is_ipv6())
}

/// What nfdump makes of each conversation, sent straight to nfcapd.
fn straight(corpus: &Path) -> Result<Vec<Case>, Error> {
    let network = Network::in_namespaces(&[EXPORTERS, "collector"])?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (sites, folder) = (["collector"], folder.path());
    let netflow = Nfcapd::start_all(&network, &sites, LISTEN, folder)?;
    let sflow = Nfcapd::start_all_sflow(&network, &sites, LISTEN_SFLOW, folder)?;
    let to = |port| targets(network.site("collector"), port);
    let mut cases = Vec::new();
    for (number, conversation) in (1..).zip(corpus::conversations(corpus)) {
        let exporter = network.exporter(number, is_over_ipv6(&conversation));
        replay(&network, &conversation.files, &[exporter], &to(LISTEN))?;
        if conversation.sflow {
            replay(&network, &conversation.files, &[exporter], &to(LISTEN_SFLOW))?;
        }
        cases.push(Case { conversation, exporter, expected: Sums::default(), by: "nfdump" });
    }
    let (netflow, sflow) = (stored(netflow)?, stored(sflow)?);
    let mut wrong = Vec::new();
    for case in &mut cases {
        let of =
            |all: &BTreeMap<IpAddr, Sums>| all.get(&case.exporter).copied().unwrap_or_default();
        case.expected = of(&netflow);
        let Conversation { names, files, .. } = &case.conversation;
        if case.conversation.sflow {
            let sampled = Sampled::of(files);
            case.expected += sampled.received;
            case.by = "sfcapd";
            let is_other = sampled.scaled != of(&sflow);
            let explained = NOT_BY_SFCAPD.iter().any(|(file, _)| *file == names[0]);
            if is_other != explained {
                let said = of(&sflow);
                wrong.push(format!("{names:?}: sfcapd {said:?}, its samples {:?}", sampled.scaled));
            }
        }
        if let Some((name, port, _)) = BY_TSHARK.iter().find(|(file, ..)| *file == names[0]) {
            let sums = tshark::sums(&files[0], *port)?;
            assert_ne!(case.expected, sums, "nfdump has learned to read {name}");
            (case.expected, case.by) = (sums, "tshark");
        }
        if let Some((_, sums)) = BEFORE_TEMPLATE.iter().find(|(file, _)| *file == names[0]) {
            (case.expected, case.by) = (*sums, "tshark");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(cases)
}

/// What these collectors stored, by exporter.
fn stored(collectors: Vec<Nfcapd>) -> Result<BTreeMap<IpAddr, Sums>, Error> {
    let mut all = BTreeMap::new();
    for collector in collectors {
        all.extend(
            collector.finish()?.into_iter().map(|(exporter, stored)| (exporter, stored.sums)),
        );
    }
    Ok(all)
}

/// Flows, packets and bytes at the master by exporter.
fn by_exporter(units: &Units) -> Result<BTreeMap<IpAddr, Sums>, Error> {
    let answer = units.query(&["any", "-s", "router/flows", "-n", "0"])?;
    assert_eq!((answer.coverage.asked(), answer.coverage.answered()), (2, 2));
    let number = |row: &BTreeMap<String, serde_json::Value>, column: &str| {
        row.get(column)
            .and_then(|value| value.as_u64())
            .unwrap_or_else(|| panic!("a number of {column} in {row:?}"))
    };
    let sums = answer.rows.iter().map(|row| {
        let exporter = row.get("exporter").and_then(|value| value.as_str()?.parse().ok());
        let sums = Sums {
            flows: number(row, "flows"),
            packets: number(row, "packets"),
            bytes: number(row, "bytes"),
        };
        (exporter.unwrap_or_else(|| panic!("an exporter's address in {row:?}")), sums)
    });
    Ok(sums.collect())
}

/// Sends the corpus through one topology and compares.
fn through(test: &str, distribution: Distribution, io: &'static str) {
    if !can_run(test, &["ip", "ethtool", "nfcapd", "sfcapd", "nfdump", "tshark"]) {
        return;
    }
    let Some(folder) = corpus::folder() else {
        println!("{test} skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    let cases = cases(&folder);
    let network = Network::in_namespaces(&[EXPORTERS, PROXY, "slave1", "slave2", MASTER]);
    let group = Group {
        distribution,
        io,
        listen: LISTEN,
        slaves: vec!["slave1".into(), "slave2".into()],
        external: Vec::new(),
        stores: None,
        slave_words: Vec::new(),
        proxy_words: Vec::new(),
        group_words: String::new(),
    };
    let units = must(Units::start(must(network), &weir(), group));
    let to = [units.target(false), units.target(true)];
    let mut datagrams = 0;
    for case in cases {
        let report = must(replay(units.network(), &case.conversation.files, &[case.exporter], &to));
        datagrams += report.totals.datagrams;
    }
    let status = must(units.wait_settled(datagrams));
    assert_eq!(unconserved(&status), Vec::<&str>::new(), "units that lose something");
    compare(test, cases, &must(by_exporter(&units)));
}

/// Prints each file with its counts; fails when any differs.
fn compare(test: &str, cases: &[Case], got: &BTreeMap<IpAddr, Sums>) {
    println!("{test}:\n{:>8} {:>10} {:>14}  by      file", "flows", "packets", "bytes");
    let mut wrong = Vec::new();
    for case in cases {
        let Sums { flows, packets, bytes } = case.expected;
        let by = case.by;
        let names = &case.conversation.names;
        println!("{flows:>8} {packets:>10} {bytes:>14}  {by:<6}  {}", names[0]);
        for name in &names[1..] {
            println!("{:>34}  with    {name}", "");
        }
        let got = got.get(&case.exporter).copied().unwrap_or_default();
        if got != case.expected {
            wrong.push(format!(
                "{:?}: {by} {:?}, weir {got:?}",
                case.conversation.names, case.expected
            ));
        }
    }
    for (file, _, reason) in BY_TSHARK {
        println!("counted by tshark: {file}: {reason}");
    }
    for (file, _) in BEFORE_TEMPLATE {
        println!("counted by tshark -2: {file}: its data comes before its template");
    }
    for (file, reason) in NOT_BY_SFCAPD {
        println!("not as sfcapd: {file}: {reason}");
    }
    assert!(wrong.is_empty(), "{test}:\n{}", wrong.join("\n"));
}

#[test]
fn round_robin_over_af_xdp_keeps_every_flow() {
    through("round_robin_over_af_xdp", Distribution::RoundRobin, "afxdp");
}

#[test]
fn round_robin_over_sockets_keeps_every_flow() {
    through("round_robin_over_sockets", Distribution::RoundRobin, "socket");
}

#[test]
fn flow_source_over_af_xdp_keeps_every_flow() {
    through("flow_source_over_af_xdp", Distribution::FlowSource, "afxdp");
}

#[test]
fn flow_source_over_sockets_keeps_every_flow() {
    through("flow_source_over_sockets", Distribution::FlowSource, "socket");
}
