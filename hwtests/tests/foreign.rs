//! Debian's nfcapd in a slave's place: it stores the same sums as for the same flows sent straight
//! to it, sees each exporter under its own address, and reports no more sequence errors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_controlplane::lab::units::{EXPORTERS, Group, MASTER, PROXY, Units};
use weir_controlplane::lab::{Error, Network, wait_for};
use weir_controlplane::topology::Distribution;
use weir_hwtests::nfcapd::{Nfcapd, Stored, targets};
use weir_hwtests::{can_run, corpus, must, replay, weir};

const LISTEN: u16 = 2055;
const FOREIGN: [&str; 2] = ["foreign1", "foreign2"];

/// The most exporters in one capture: each sends from an address of its own, since nfcapd takes
/// those behind one address for one.
const MOST_EXPORTERS: u16 = 4;

/// Captures of which nfcapd stores more behind round robin than straight, how many flows, and why.
const MORE_BEHIND: &[(&str, u64, &str)] = &[
    (
        "generated/softflowd-v1.pcap",
        7_522,
        "nfcapd refuses packets of 30 v1 records; weir sends it no more than 24 in one",
    ),
    (
        "akvorado/outlet/flow/decoder/netflow/testdata/data+templates.pcap",
        21,
        "its data comes before its template; weir holds it until then",
    ),
];

/// Captures whose exporter sends datagrams over IPv6 that need fragments, and others that do not.
/// Where the kernel forwards, those overtake fragments, which it must put together first; all arrive,
/// and nfcapd takes note of the order.
const IN_FRAGMENTS: &[&str] = &["generated/softflowd-v5.pcap"];

/// What is sent together: the words of `weir replay`, and the addresses that it is sent from.
struct Stream {
    exporters: Vec<IpAddr>,
    words: Vec<String>,
    /// The captures' names; none of generated flows.
    names: Vec<String>,
}

impl Stream {
    fn is(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }
}

/// Generated flows of each protocol and IP version, and the corpus where there is one.
fn streams(network: &Network) -> Vec<Stream> {
    let generated = |protocol: &&str| {
        let words = vec!["--generate".into(), (*protocol).into(), "--flows".into(), "5000".into()];
        (words, Vec::new())
    };
    let mut sent: Vec<(Vec<String>, Vec<String>)> =
        ["v5", "v9", "ipfix"].iter().map(generated).collect();
    if let Some(folder) = corpus::folder() {
        let files = |c: corpus::Conversation| {
            (c.files.iter().map(|f| f.display().to_string()).collect(), c.names)
        };
        sent.extend(corpus::conversations(&folder).into_iter().map(files));
    } else {
        println!("no corpus beside the workspace: only generated flows are sent");
    }
    (1..)
        .zip(sent)
        .map(|(number, (words, names))| {
            let first = number * MOST_EXPORTERS;
            let exporters = (first..first + MOST_EXPORTERS)
                .map(|exporter| network.exporter(exporter, number % 5 == 2))
                .collect();
            Stream { exporters, words, names }
        })
        .collect()
}

/// What they stored together, by exporter. Of the sequence errors the worst collector's count: nfcapd
/// leaves options data records out of IPFIX's sequence (against RFC 7011, Section 3.1), and so finds
/// an error at each; they go to every slave, and each nfcapd finds them.
fn finish(collectors: Vec<Nfcapd>) -> Result<BTreeMap<IpAddr, Stored>, Error> {
    let mut all: BTreeMap<IpAddr, Stored> = BTreeMap::new();
    for collector in collectors {
        for (exporter, stored) in collector.finish()? {
            let sum = all.entry(exporter).or_default();
            sum.sums += stored.sums;
            sum.sequence_errors = sum.sequence_errors.max(stored.sequence_errors);
        }
    }
    Ok(all)
}

/// Sums and sequence errors of the streams sent straight to nfcapd.
fn straight() -> Result<BTreeMap<IpAddr, Stored>, Error> {
    let network = Network::in_namespaces(&[EXPORTERS, "collector"])?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collectors = Nfcapd::start_all(&network, &["collector"], LISTEN, folder.path())?;
    let to = targets(network.site("collector"), LISTEN);
    for stream in streams(&network) {
        replay(&network, &stream.words, &stream.exporters, &to)?;
    }
    finish(collectors)
}

/// The same behind a proxy, on two nfcapd in slaves' places.
fn behind(
    distribution: Distribution,
    io: &'static str,
) -> Result<(BTreeMap<IpAddr, Stored>, Vec<Stream>), Error> {
    let names = [&[EXPORTERS, PROXY, MASTER], FOREIGN.as_slice()].concat();
    let network = Network::in_namespaces(&names)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collectors = Nfcapd::start_all(&network, &FOREIGN, LISTEN + 30_000, folder.path())?;
    let group = Group {
        distribution,
        io,
        listen: LISTEN,
        slaves: Vec::new(),
        external: FOREIGN.iter().map(|&name| name.into()).collect(),
        stores: None,
        slave_words: Vec::new(),
        proxy_words: Vec::new(),
        group_words: String::new(),
    };
    let units = Units::start(network, &weir(), group)?;
    let to = [units.target(false), units.target(true)];
    let streams = streams(units.network());
    for stream in &streams {
        replay(units.network(), &stream.words, &stream.exporters, &to)?;
    }
    // An open message leaves within 50 ms; the proxy says when none is left.
    wait_for("the proxy to have sent everything", 20, || {
        let status = units.status()?;
        let proxy = weir_controlplane::lab::units::unit(&status, PROXY);
        let traffic = proxy.and_then(|proxy| proxy.traffic.as_ref());
        Ok(traffic.is_some_and(|t| t.records_in_flight == 0 && t.is_conserved()).then_some(()))
    })?;
    Ok((finish(collectors)?, streams))
}

fn compare(test: &str, distribution: Distribution, io: &'static str) {
    if !can_run(test, &["ip", "ethtool", "nfcapd", "nfdump"]) {
        return;
    }
    let (straight, (behind, streams)) = (must(straight()), must(behind(distribution, io)));
    let forwarded = distribution == Distribution::FlowSource && io == "afxdp";
    assert!(straight.values().map(|s| s.sums.flows).sum::<u64>() >= 15_000, "{straight:?}");
    let mut wrong = Vec::new();
    println!("{test}:\n{:>16} {:>8}  sequence errors straight, behind", "exporter", "flows");
    for (exporter, stored) in &straight {
        let got = behind.get(exporter).copied().unwrap_or_default();
        let errors = (stored.sequence_errors, got.sequence_errors);
        println!("{exporter:>16} {:>8}  {}, {}", stored.sums.flows, errors.0, errors.1);
        let stream = streams.iter().find(|stream| stream.exporters.contains(exporter));
        let more = MORE_BEHIND.iter().find(|(name, ..)| {
            distribution == Distribution::RoundRobin && stream.is_some_and(|s| s.is(name))
        });
        let all = match more {
            Some((_, flows, _)) => got.sums.flows == *flows || stored.sums.flows == 0,
            None => got.sums == stored.sums,
        };
        let is_mixed =
            forwarded && IN_FRAGMENTS.iter().any(|name| stream.is_some_and(|s| s.is(name)));
        if !all || got.sequence_errors > stored.sequence_errors && !is_mixed {
            let names = stream.map(|stream| &stream.names);
            println!("{exporter} sent {names:?}");
            wrong.push(format!("{exporter}: straight {stored:?}, behind weir {got:?}"));
        }
    }
    let strangers: Vec<_> = behind.keys().filter(|ip| !straight.contains_key(ip)).collect();
    assert!(strangers.is_empty(), "exporters that nobody is: {strangers:?}");
    assert!(wrong.is_empty(), "{test}:\n{}", wrong.join("\n"));
}

#[test]
fn round_robin_over_af_xdp_onto_nfcapd() {
    compare("round_robin_over_af_xdp_onto_nfcapd", Distribution::RoundRobin, "afxdp");
}

#[test]
fn round_robin_over_sockets_onto_nfcapd() {
    compare("round_robin_over_sockets_onto_nfcapd", Distribution::RoundRobin, "socket");
}

#[test]
fn flow_source_over_af_xdp_onto_nfcapd() {
    compare("flow_source_over_af_xdp_onto_nfcapd", Distribution::FlowSource, "afxdp");
}

#[test]
fn flow_source_over_sockets_onto_nfcapd() {
    compare("flow_source_over_sockets_onto_nfcapd", Distribution::FlowSource, "socket");
}
