//! What else a proxy does with real frames: it shares the work over a device's queues, lets in whom
//! its gates name, copies what they say, and takes slaves in and out while traffic goes on.
//!
//! Needs: root, `ip`, `ethtool`, `nfcapd`, `nfdump`, `tcpdump`, `tshark`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_controlplane::generate::Dialect;
use weir_controlplane::lab::units::{Group, MASTER, PROXY, Sums, discarded, unconserved, unit};
use weir_controlplane::lab::{Cable, Error, wait_for};
use weir_controlplane::topology::Distribution;
use weir_hwtests::exporter::{Exporter, Flow, Shape};
use weir_hwtests::frames::Wrap;
use weir_hwtests::nfcapd::Nfcapd;
use weir_hwtests::stage::{Stage, Stored, sent};
use weir_hwtests::{can_run, must};

const LISTEN: u16 = 2055;
const TOOLS: [&str; 6] = ["ip", "ethtool", "nfcapd", "nfdump", "tcpdump", "tshark"];
/// Records of a message.
const RECORDS: u16 = 5;

fn all<'a>(exporters: impl IntoIterator<Item = &'a Exporter>) -> Vec<Flow> {
    let mut all: Vec<_> = exporters.into_iter().flat_map(|e| e.flows().to_vec()).collect();
    all.sort();
    all
}

#[test]
fn four_queues_share_the_work_and_a_session_stays_on_one_worker() {
    const QUEUES: u32 = 4;
    const TURNS: usize = 40;
    let test = "four_queues";
    if !can_run(test, &TOOLS) {
        return;
    }
    let slaves = ["slave1", "slave2"];
    let group = Group::new(Distribution::RoundRobin, "afxdp", LISTEN, &slaves);
    let cable = Cable { queues: QUEUES, ..Cable::default() };
    let mut stage = must(Stage::build(group, cable, &[]));
    let exporter = |number: u8| {
        // Of IPv4 four sessions behind each address; of IPv6 an address each.
        let v6 = number >= 24;
        let address = stage.exporter(if v6 { number } else { number / 4 }, v6).ip();
        let at = SocketAddr::new(address, 40_000 + u16::from(number));
        let dialect = if number.is_multiple_of(2) { Dialect::V9 } else { Dialect::Ipfix };
        Exporter::new(at, number, dialect)
    };
    let mut exporters: Vec<_> = (4..32).map(exporter).collect();
    let mut frames = Vec::new();
    for turn in 0..TURNS {
        for exporter in &mut exporters {
            let message = match turn {
                0 => exporter.first(Shape::Full, RECORDS),
                _ => exporter.next(Shape::Full, RECORDS),
            };
            // A flow label each turn: one session's datagrams come by all queues.
            let v6 = exporter.at().is_ipv6();
            let wrap = if v6 { Wrap::Labelled(turn as u8 + 1) } else { Wrap::Plain };
            frames.extend(stage.frames(wrap, exporter, &message));
        }
    }
    must(stage.send(&frames, 2_000));
    let flows = all(&exporters);
    let status = must(stage.settle(frames.len(), flows.len()));
    let proxy = unit(&status, PROXY).expect("the proxy answers");
    let by_queue: Vec<_> = proxy.workers.iter().map(|worker| worker.datagrams_received).collect();
    let traffic = proxy.traffic.as_ref().expect("a proxy has traffic");
    println!("{test}: {by_queue:?} of {}, {} handed over", frames.len(), traffic.handed_over);

    assert_eq!(unconserved(&status), Vec::<&str>::new());
    assert_eq!(by_queue.len(), QUEUES as usize);
    assert!(by_queue.iter().filter(|&&received| received > 0).count() > 1, "{by_queue:?}");
    assert_eq!(by_queue.iter().sum::<u64>(), frames.len() as u64);
    assert!(traffic.handed_over > 0, "sessions whose datagrams came by several queues");
    let sessions: BTreeSet<_> = proxy.sessions.iter().map(|session| &session.exporter).collect();
    assert_eq!((proxy.sessions.len(), sessions.len()), (exporters.len(), exporters.len()));
    assert!(proxy.sessions.iter().all(|session| session.datagrams == TURNS as u64));
    assert_eq!(must(stage.stored()), sent(&flows), "stored as it was sent");
    let seen = must(stage.seen(stage.units.slave_port()));
    let mut got: Vec<_> = seen.values().flat_map(|seen| seen.flows()).collect();
    got.sort();
    assert!(got == flows, "each record came to one slave, once");
    for (slave, seen) in &seen {
        let wrong = [seen.oddities(|_| true), seen.gaps()].concat();
        assert_eq!(wrong, Vec::<String>::new(), "{slave}");
    }
}

/// The port that copies go to under the exporters' own addresses, and under the proxy's.
const COPIES: [u16; 2] = [9995, 9996];

fn gate(stage: &Stage) -> String {
    let at = |site: &str, port: u16| format!("{}:{port}", stage.units.network().site(site).v4);
    format!(
        "[[proxy_group.port]]\nport = {LISTEN}\nallow = [\"10.77.1.0/24\"]\n\
         formats = [\"netflow9\", \"ipfix\"]\nlog_refused = 1\ncopies = [\n\
         {{ to = \"{}\", source = \"exporter\" }},\n{{ to = \"{}\", source = \"proxy\" }},\n]\n\n",
        at("copy1", COPIES[0]),
        at("copy2", COPIES[1])
    )
}

fn gates(test: &str, distribution: Distribution, copying: bool) {
    if !can_run(test, &TOOLS) {
        return;
    }
    let group = Group::new(distribution, "afxdp", LISTEN, &["slave1", "slave2"]);
    let mut stage = must(Stage::build(group, Cable::default(), &["copy1", "copy2"]));
    let mut gate = gate(&stage);
    if !copying {
        let copies = gate.find("copies").expect("the gate copies");
        gate.replace_range(copies.., "\n");
    }
    let (before, after) = stage.units.topology_text().split_once("[[source_group]]").map_or_else(
        || panic!("a topology has source groups"),
        |(before, after)| (before.to_owned(), after.to_owned()),
    );
    must(stage.units.write_topology(&format!("{before}{gate}[[source_group]]{after}")));
    println!("{test}: {}", must(stage.units.reload(PROXY)).trim());
    let network = stage.units.network();
    let collector = Nfcapd::start(
        "copy1",
        network.site("copy1"),
        network.site("copy1").v4.into(),
        COPIES[0],
        stage.units.folder(),
    );
    let collector = must(collector);

    let stranger = SocketAddr::new(network.exporter(300, false), 40_300);
    let mut exporters = [
        Exporter::new(stage.exporter(1, false), 1, Dialect::V9),
        Exporter::new(stage.exporter(2, false), 2, Dialect::Ipfix),
        Exporter::new(stage.exporter(3, false), 3, Dialect::V9),
        // A format that is not let in, and an address that is not.
        Exporter::new(stage.exporter(4, false), 4, Dialect::V5),
        Exporter::new(stranger, 5, Dialect::V9),
    ];
    let mut datagrams = 0;
    // A gate learns of a source by its first datagrams.
    for turn in 0..20 {
        let mut frames = Vec::new();
        for exporter in &mut exporters {
            let message = match turn {
                0 => exporter.first(Shape::Full, RECORDS),
                _ => exporter.next(Shape::Full, RECORDS),
            };
            frames.extend(stage.frames(Wrap::Plain, exporter, &message));
        }
        datagrams += frames.len();
        must(stage.send(&frames, 1_000));
    }
    let flows = all(&exporters[..3]);
    let status = must(stage.settle(datagrams, flows.len()));
    let traffic = unit(&status, PROXY).and_then(|proxy| proxy.traffic.clone()).expect("traffic");
    println!("{test}: {} forwarded by the kernel", traffic.datagrams_forwarded);
    assert_eq!(unconserved(&status), Vec::<&str>::new());
    assert_eq!(traffic.datagrams_received, datagrams as u64);
    assert_eq!(discarded(&traffic, "format_not_allowed"), 20, "{traffic:#?}");
    assert_eq!(discarded(&traffic, "source_not_allowed"), 20, "{traffic:#?}");
    assert_eq!(must(stage.stored()), sent(&flows), "what was let in, and nothing else");
    if copying {
        assert_eq!((traffic.copies_sent, traffic.copies_failed), (2 * 60, 0), "{traffic:#?}");
        copies(&mut stage, collector, &exporters[..3]);
    } else {
        assert_eq!(traffic.copies_sent, 0);
    }
}

/// Whether copies of all that these sent came to both further destinations.
fn copies(stage: &mut Stage, collector: Nfcapd, exporters: &[Exporter]) {
    let proxy = IpAddr::V4(stage.units.network().site(PROXY).v4);
    let stored = must(collector.finish());
    for exporter in exporters {
        let mut sums = Sums::default();
        for flow in exporter.flows() {
            sums += Sums { flows: 1, packets: flow.packets, bytes: flow.bytes };
        }
        let got = stored.get(&exporter.at().ip()).copied().unwrap_or_default();
        assert_eq!((got.sums, got.sequence_errors), (sums, 0), "copies of {}", exporter.at());
    }
    assert_eq!(stored.len(), exporters.len(), "{stored:?}");
    let seen = must(stage.seen(COPIES[1]));
    let copies = &seen["copy2"];
    assert_eq!(copies.wrong, Vec::<String>::new());
    assert!(copies.messages.iter().all(|message| message.source.ip() == proxy));
    assert_eq!(copies.messages.len(), 20 * exporters.len());
}

#[test]
fn a_round_robin_gate_lets_in_whom_it_names_and_copies_to_two_collectors() {
    gates("a_round_robin_gate", Distribution::RoundRobin, true);
}

#[test]
fn a_flow_source_gate_lets_in_whom_it_names_and_copies_to_two_collectors() {
    gates("a_flow_source_gate", Distribution::FlowSource, true);
}

#[test]
fn a_gate_without_copies_lets_the_kernel_forward() {
    gates("a_gate_without_copies", Distribution::FlowSource, false);
}

/// The topology's text with these lines at the unit's entry.
fn with(text: &str, unit: &str, lines: &str) -> String {
    let name = format!("name = \"{unit}\"\n");
    assert!(text.contains(&name), "{unit} is in {text}");
    text.replacen(&name, &format!("{name}{lines}"), 1)
}

fn changes(test: &str, distribution: Distribution) {
    const EXPORTERS: u8 = 24;
    const TURNS: usize = 200;
    if !can_run(test, &TOOLS) {
        return;
    }
    let group = Group::new(distribution, "afxdp", LISTEN, &["slave1", "slave2"]);
    let mut stage = must(Stage::build(group, Cable::default(), &["slave3"]));
    let dialects = [Dialect::V5, Dialect::V9, Dialect::Ipfix];
    let exporter = |number: u8| {
        let at = stage.exporter(number, number.is_multiple_of(2));
        Exporter::new(at, number, dialects[usize::from(number) / 2 % 3])
    };
    let mut exporters: Vec<_> = (1..=EXPORTERS).map(exporter).collect();
    let mut frames = Vec::new();
    for turn in 0..TURNS {
        for exporter in &mut exporters {
            let message = match turn % 50 {
                0 => exporter.first(Shape::Full, RECORDS),
                _ => exporter.next(Shape::Full, RECORDS),
            };
            frames.extend(stage.frames(Wrap::Plain, exporter, &message));
        }
    }
    let line = stage.line();
    // For about eight seconds.
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| line.send(&frames, 25 * u32::from(EXPORTERS)));
        let pause = || std::thread::sleep(Duration::from_millis(1_000));
        pause();
        // slave3 comes, with more than its share.
        stage.units.group_mut().slaves.push("slave3".into());
        let text = with(&stage.units.topology_text(), "slave3", "weight = 2\n");
        must(stage.units.write_topology(&text));
        must(stage.units.restart("slave3"));
        reload(&stage, test);
        must(stage.units.wait_healthy());
        pause();
        // slave2 is drained, slave3 is like the others.
        let text = with(&stage.units.topology_text(), "slave2", "drain = true\n");
        must(stage.units.write_topology(&text));
        reload(&stage, test);
        pause();
        // slave2 goes, though its process stays.
        stage.units.group_mut().slaves.retain(|slave| slave != "slave2");
        must(stage.units.write_topology(&stage.units.topology_text()));
        reload(&stage, test);
        must(sending.join().expect("the sending thread ends"));
    });
    must(stage.units.wait_settled(frames.len() as u64));
    let flows = all(&exporters);
    let stored = must(stored_at_all(&stage, flows.len()));
    let status = must(stage.units.status());
    assert_eq!(unconserved(&status), Vec::<&str>::new());
    for (slave, stored) in &stored {
        println!("{test}: {} records at {slave}", stored.values().map(Vec::len).sum::<usize>());
    }
    let mut together: BTreeMap<IpAddr, Vec<Stored>> = BTreeMap::new();
    for (exporter, flows) in stored.values().flatten() {
        together.entry(*exporter).or_default().extend(flows);
    }
    together.values_mut().for_each(|flows| flows.sort_unstable());
    assert!(together == sent(&flows), "each record is stored once");
    let lacking = status.units.iter().flat_map(|proxy| &proxy.units);
    let lacking = lacking.filter_map(|slave| slave.traffic.as_ref());
    assert_eq!(lacking.map(|t| discarded(t, "unknown_template")).sum::<u64>(), 0);
}

fn reload(stage: &Stage, test: &str) {
    for unit in [PROXY, MASTER] {
        for line in must(stage.units.reload(unit)).lines() {
            println!("{test}: {line}");
        }
    }
}

/// What each slave has stored, once it is all that was sent, or nothing more comes.
fn stored_at_all(
    stage: &Stage,
    flows: usize,
) -> Result<BTreeMap<&'static str, BTreeMap<IpAddr, Vec<Stored>>>, Error> {
    let mut last = BTreeMap::new();
    let waited = wait_for("all flows to be stored", 10, || {
        last.clear();
        for slave in ["slave1", "slave2", "slave3"] {
            last.insert(slave, stage.stored_at(slave)?);
        }
        let count = last.values().flat_map(BTreeMap::values).map(Vec::len).sum::<usize>();
        Ok((count >= flows).then_some(()))
    });
    drop(waited);
    Ok(last)
}

#[test]
fn slaves_come_and_go_under_round_robin_and_no_record_is_lost() {
    changes("slaves_come_and_go_under_round_robin", Distribution::RoundRobin);
}

#[test]
fn slaves_come_and_go_under_flow_source_and_no_record_is_lost() {
    changes("slaves_come_and_go_under_flow_source", Distribution::FlowSource);
}
