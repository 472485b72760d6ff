//! Forwarding in the kernel, with three slaves: what it forwards is told apart from what user space
//! passes on, everything adds up from the device to the disk, and when a slave is killed its sources
//! move, and theirs alone.
//!
//! Needs: root, `ip`, `ethtool`, `tcpdump`, `tshark`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_controlplane::generate::Dialect;
use weir_controlplane::lab::units::{Group, PROXY, discarded, unconserved, unit};
use weir_controlplane::lab::{Cable, Error, tool, wait_for};
use weir_controlplane::status::UnitStatus;
use weir_controlplane::topology::Distribution;
use weir_hwtests::exporter::{Exporter, Flow, Shape};
use weir_hwtests::frames::Wrap;
use weir_hwtests::stage::{Stage, sent};
use weir_hwtests::witness::{Message, Seen};
use weir_hwtests::{can_run, must};

const LISTEN: u16 = 2055;
const SLAVES: [&str; 3] = ["slave1", "slave2", "slave3"];
const TOOLS: [&str; 4] = ["ip", "ethtool", "tcpdump", "tshark"];
/// Exporters, half of them of each IP version, a third of each protocol.
const EXPORTERS: u8 = 24;
/// Records of a message.
const RECORDS: u16 = 5;
/// Messages after which an exporter announces its templates again.
const REFRESH: usize = 20;

/// weir's own XDP program; without rules it lets everything pass.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ebpf/bin/weir.bpf.o");

fn stage(cable: Cable) -> Stage {
    let group = Group::new(Distribution::FlowSource, "afxdp", LISTEN, &SLAVES);
    must(Stage::build(group, cable, &[]))
}

/// The same, whose proxy sends back by `XDP_TX`: the switch's end of its cable runs an XDP program,
/// without which a veth drops such frames.
fn bouncing_stage() -> Stage {
    let mut group = Group::new(Distribution::FlowSource, "afxdp", LISTEN, &SLAVES);
    group.proxy_words.push("--bounce".into());
    let stage = must(Stage::build(group, Cable::default(), &[]));
    let switch = stage.units.network().switch().expect("a network of namespaces");
    let mut command = Command::new("ip");
    command.args(["-n", switch, "link", "set", "dev", "port1", "xdpdrv", "object", PROGRAM]);
    must(tool::run(command.args(["section", "xdp.frags"])));
    stage
}

/// Frames that left the proxy's device by `XDP_TX`, as its driver counts.
fn sent_back(stage: &Stage) -> u64 {
    let mut command = stage.units.network().site(PROXY).command("ethtool");
    let said = must(tool::run(command.args(["-S", "eth0"])));
    let count = |line: &str| line.trim().strip_prefix("rx_queue_0_xdp_tx: ")?.parse().ok();
    said.lines().find_map(count).expect("veth counts XDP_TX")
}

fn exporters(stage: &Stage) -> Vec<Exporter> {
    let dialects = [Dialect::V5, Dialect::V9, Dialect::Ipfix];
    let exporter = |number: u8| {
        let at = stage.exporter(number, number.is_multiple_of(2));
        Exporter::new(at, number, dialects[usize::from(number) / 2 % 3])
    };
    (1..=EXPORTERS).map(exporter).collect()
}

/// Frames of so many messages of each, in turn; templates come first and now and then again.
fn traffic(stage: &Stage, exporters: &mut [Exporter], messages: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for turn in 0..messages {
        for exporter in exporters.iter_mut() {
            let message = match turn % REFRESH {
                0 => exporter.first(Shape::Full, RECORDS),
                _ => exporter.next(Shape::Full, RECORDS),
            };
            frames.extend(stage.frames(Wrap::Plain, exporter, &message));
        }
    }
    frames
}

fn flows(exporters: &[Exporter]) -> Vec<Flow> {
    let mut all: Vec<_> = exporters.iter().flat_map(|exporter| exporter.flows().to_vec()).collect();
    all.sort();
    all
}

/// All records that witnesses saw, sorted.
fn flows_seen<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Vec<Flow> {
    let mut all: Vec<_> = seen.into_iter().flat_map(Seen::flows).collect();
    all.sort();
    all
}

/// Templates that slaves lacked.
fn lacking(status: &UnitStatus) -> u64 {
    let slaves = SLAVES.iter().filter_map(|name| unit(status, name)?.traffic.as_ref());
    slaves.map(|traffic| discarded(traffic, "unknown_template")).sum()
}

#[test]
fn the_kernel_forwards_and_everything_adds_up_to_the_disk() {
    forwards(
        "the_kernel_forwards",
        || stage(Cable::default()),
        |stage, _| assert_eq!(sent_back(stage), 0),
    );
}

#[test]
fn the_kernel_sends_back_at_once_where_the_other_end_takes_it() {
    forwards("sent_back", bouncing_stage, |stage, forwarded| {
        assert_eq!(sent_back(stage), forwarded);
    });
}

#[test]
fn the_kernel_forwards_what_comes_by_any_of_four_queues() {
    forwards("four_queues", || stage(Cable { queues: 4, ..Cable::default() }), |_, _| {});
}

/// Sends, and holds what arrived against what was sent; `also` gets what the kernel has forwarded.
fn forwards(test: &str, stage: impl Fn() -> Stage, also: impl Fn(&Stage, u64)) {
    if !can_run(test, &TOOLS) {
        return;
    }
    let mut stage = stage();
    let mut exporters = exporters(&stage);
    let frames = traffic(&stage, &mut exporters, 3 * REFRESH / 2);
    must(stage.send(&frames, 2_000));
    let flows = flows(&exporters);
    let status = must(stage.settle(frames.len(), flows.len()));
    let proxy = unit(&status, PROXY).expect("the proxy answers");
    let traffic = proxy.traffic.as_ref().expect("a proxy has traffic");
    println!(
        "{test}: {} frames, {} forwarded by the kernel; {}",
        frames.len(),
        traffic.datagrams_forwarded,
        proxy.backend_sentence
    );

    assert_eq!(unconserved(&status), Vec::<&str>::new());
    assert_eq!(traffic.datagrams_received, frames.len() as u64, "{:#?}", proxy.verdicts);
    // How soon the kernel knows the sources is the machine's affair; that it takes over is not.
    assert!(traffic.datagrams_forwarded * 2 >= traffic.datagrams_received, "{traffic:#?}");
    let verdict = proxy.verdicts.iter().find(|verdict| verdict.name == "forwarded");
    assert_eq!(verdict.map(|verdict| verdict.count), Some(traffic.datagrams_forwarded));
    let to_slaves: u64 = proxy.slaves.iter().map(|slave| slave.forwarded).sum();
    assert_eq!(to_slaves, traffic.datagrams_forwarded);
    also(&stage, traffic.datagrams_forwarded);
    for slave in &proxy.slaves {
        let collected = unit(&status, &slave.name).and_then(|unit| unit.traffic.as_ref());
        let received = collected.map(|traffic| traffic.datagrams_received);
        assert_eq!(received, Some(slave.forwarded + slave.messages), "{slave:?}");
    }
    // Told on the way, and listed with what was forwarded since.
    for exporter in &exporters {
        let address = exporter.at().ip().to_string();
        let listed = proxy.sources.iter().find(|source| source.address == address);
        let counted = listed.map(|source| source.packets > 0 && source.port == LISTEN);
        assert_eq!(counted, Some(true), "{address}: {listed:?} in {:#?}", proxy.sources);
    }
    assert_eq!(lacking(&status), 0, "templates that slaves lacked");

    assert_eq!(must(stage.stored()), sent(&flows), "stored as it was sent");
    let seen = must(stage.seen(stage.units.slave_port()));
    assert!(flows_seen(seen.values()) == flows, "each record came to one slave, once");
    for (slave, seen) in &seen {
        println!("{slave}: {} messages", seen.messages.len());
        assert_eq!(
            [seen.oddities(|_| true), seen.gaps()].concat(),
            Vec::<String>::new(),
            "{slave}"
        );
    }
    let homes = homes(&seen, f64::MAX);
    assert!(homes.values().all(|slaves| slaves.len() == 1), "{homes:#?}");
    let used: BTreeSet<_> = homes.values().flatten().collect();
    assert!(used.len() > 1, "the sources are shared: {homes:#?}");
}

/// The slaves that each source's messages came to, before a time.
fn homes(seen: &BTreeMap<String, Seen>, before: f64) -> BTreeMap<SocketAddr, BTreeSet<&str>> {
    let mut homes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (slave, seen) in seen {
        for message in seen.messages.iter().filter(|message| message.at < before) {
            homes.entry(message.source).or_default().insert(slave.as_str());
        }
    }
    homes
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

/// How long a source may still be sent to a slave that is gone.
const FAILOVER_S: f64 = 1.0;

#[test]
fn a_killed_slaves_sources_move_within_a_second_and_return_with_it() {
    let test = "a_killed_slaves_sources";
    if !can_run(test, &TOOLS) {
        return;
    }
    let mut stage = stage(Cable::default());
    let mut exporters = exporters(&stage);
    let frames = traffic(&stage, &mut exporters, 175);
    let line = stage.line();
    // 25 messages a second of each exporter, for 7 seconds.
    let (killed, back, whole) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| line.send(&frames, 25 * u32::from(EXPORTERS)));
        std::thread::sleep(Duration::from_millis(1_500));
        stage.units.process("slave1").kill();
        let killed = now();
        std::thread::sleep(Duration::from_millis(1_500));
        must(stage.units.restart("slave1"));
        let back = now();
        must(stage.units.wait_healthy());
        let whole = now();
        must(sending.join().expect("the sending thread ends"));
        (killed, back, whole)
    });
    must(settled(&stage));
    let status = must(stage.units.status());
    let stored = must(stage.stored());
    let seen = must(stage.seen(stage.units.slave_port()));
    println!("{test}: back after {:.2} s, healthy after {:.2} s", back - killed, whole - killed);

    assert!(unit(&status, PROXY).is_some_and(|proxy| proxy.conserved == Some(true)), "{status:#?}");
    assert_eq!(lacking(&status), 0, "templates that slaves lacked");
    assert!(flows_seen(seen.values()) == flows(&exporters), "each record was sent on once");
    let homes = homes(&seen, killed);
    assert_eq!(homes.len(), usize::from(EXPORTERS));
    let of_slave1 = homes.values().filter(|home| home.contains("slave1")).count();
    assert!(of_slave1 > 0, "no source of slave1's to move: {homes:#?}");
    let mut latest: f64 = 0.0;
    for (slave, seen) in &seen {
        for message in &seen.messages {
            let home = homes[&message.source].first().copied().expect("a home");
            let at = message.at - killed;
            let is_gone = at > FAILOVER_S && message.at < back;
            let is_back = message.at > whole + FAILOVER_S;
            let right = match home {
                "slave1" if slave == "slave1" => !is_gone,
                "slave1" => at > 0.0 && !is_back,
                home => home == slave,
            };
            assert!(right, "{} of {home}'s at {slave} {at:.3} s after the end", message.source);
            if home == "slave1" && slave == "slave1" && message.at < back && at > 0.0 {
                latest = latest.max(at);
            }
        }
    }
    println!("{test}: the last datagram to the dead slave {:.0} ms after its end", latest * 1e3);
    kept(&seen, back, &stored);
}

/// Whether what came to living slaves is stored.
fn kept(
    seen: &BTreeMap<String, Seen>,
    back: f64,
    stored: &BTreeMap<std::net::IpAddr, Vec<weir_hwtests::stage::Stored>>,
) {
    let alive = |slave: &str, message: &Message| slave != "slave1" || message.at > back;
    for (slave, seen) in seen {
        for message in seen.messages.iter().filter(|message| alive(slave, message)) {
            for (exporter, flows) in sent(&message.flows) {
                let stored = stored.get(&exporter).map_or(&[][..], Vec::as_slice);
                assert!(
                    flows.iter().all(|flow| stored.binary_search(flow).is_ok()),
                    "{exporter}: a record came to {slave} and is not stored"
                );
            }
        }
    }
}

/// Waits until the number of stored flows no longer grows.
fn settled(stage: &Stage) -> Result<(), Error> {
    let mut last = (0, 0);
    wait_for("the flows to settle", 20, || {
        let flows = stage.units.sums("any")?.flows;
        last = if flows == last.0 { (flows, last.1 + 1) } else { (flows, 0) };
        Ok((last.1 > 10).then_some(()))
    })
}
