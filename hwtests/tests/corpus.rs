//! Every capture of v5, v9 and IPFIX in the corpus, through a proxy onto two slaves, in both
//! distribution models and over both packet backends: flows, packets and bytes at the master equal
//! those of Debian's nfdump for the same capture sent straight to nfcapd.
//!
//! Each conversation comes from an exporter address of its own, so that one topology carries them
//! all and sums are asked by exporter.

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
use weir_hwtests::{can_run, must, replay, tshark, weir};

const LISTEN: u16 = 2055;

/// Files of which nfdump stores less than there is, and why; what counts then is tshark's number of
/// records, which have neither packets nor bytes.
const BY_TSHARK: &[(&str, u16, &str)] = &[(
    "generated/softflowd-psamp-first2000.pcap",
    9_005,
    "nfdump 1.7.1 stores no PSAMP records (sampled packets: no packet or byte counts)",
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
    let collectors = Nfcapd::start_all(&network, &["collector"], LISTEN, folder.path())?;
    let to = targets(network.site("collector"), LISTEN);
    let mut cases = Vec::new();
    for (number, conversation) in (1..).zip(corpus::conversations(corpus)) {
        let exporter = network.exporter(number, is_over_ipv6(&conversation));
        replay(&network, &conversation.files, &[exporter], &to)?;
        cases.push(Case { conversation, exporter, expected: Sums::default(), by: "nfdump" });
    }
    let mut stored = BTreeMap::new();
    for collector in collectors {
        stored.extend(collector.finish()?);
    }
    for case in &mut cases {
        case.expected = stored.get(&case.exporter).copied().unwrap_or_default().sums;
        let name = &case.conversation.names[0];
        if let Some((_, port, _)) = BY_TSHARK.iter().find(|(file, ..)| file == name) {
            assert_eq!(case.expected, Sums::default(), "nfdump has learned to read {name}");
            case.expected.flows = tshark::flows(&case.conversation.files[0], *port)?;
            case.by = "tshark";
        }
    }
    Ok(cases)
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
    if !can_run(test, &["ip", "ethtool", "nfcapd", "nfdump", "tshark"]) {
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
