//! What goes wrong at night: a slave killed in mid-stream, a full disk, packets that are no flows,
//! strangers at the control ports. Each ends in a named counter or a clear error, with the
//! processes alive and earlier data whole.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use weir_controlplane::lab::units::{
    EXPORTERS, Group, MASTER, PROXY, Sums, Units, discarded, unconserved, unit,
};
use weir_controlplane::lab::{Error, Network, Process, tool, wait_for};
use weir_controlplane::status::{Delivery, Traffic};
use weir_controlplane::topology::Distribution;
use weir_hwtests::{can_run, must, weir};

const LISTEN: u16 = 2055;
const SLAVES: [&str; 2] = ["slave1", "slave2"];

fn group(distribution: Distribution, listen: u16) -> Group {
    Group {
        distribution,
        io: "auto",
        listen,
        slaves: SLAVES.iter().map(|&name| name.into()).collect(),
        external: Vec::new(),
        stores: None,
        slave_words: Vec::new(),
        proxy_words: Vec::new(),
        group_words: String::new(),
    }
}

fn namespaces(group: Group) -> Units {
    let names = [&[EXPORTERS, PROXY, MASTER], SLAVES.as_slice()].concat();
    must(Units::start(must(Network::in_namespaces(&names)), &weir(), group))
}

/// On loopback the test itself can send, as an ordinary user.
fn loopback(distribution: Distribution) -> Units {
    let names = [&[EXPORTERS, PROXY, MASTER], SLAVES.as_slice()].concat();
    let network = Network::on_loopback(&names);
    let listen = network.free_port(30_000);
    must(Units::start(network, &weir(), group(distribution, listen)))
}

/// Generated NetFlow v9 flows from exporter `number`, sent to the end; returns datagrams and sums.
fn send(units: &Units, number: u16, flows: &str) -> (u64, Sums) {
    let exporter = units.network().exporter(number, false).to_string();
    let said = must(units.weir(EXPORTERS, &words(units, &exporter, flows, "4000")));
    let report: weir_controlplane::replay::Report = must(serde_json::from_str(&said));
    (report.totals.datagrams, report.totals.into())
}

fn words<'a>(units: &Units, exporter: &'a str, flows: &'a str, rate: &'a str) -> Vec<&'a str> {
    // The target lives as long as the test; leaking one short text a call is the simplest owner.
    let to: &'static str = Box::leak(units.target(false).into_boxed_str());
    vec![
        "replay",
        "--generate",
        "v9",
        "--flows",
        flows,
        "--rate",
        rate,
        "--source",
        exporter,
        "--to",
        to,
        "--json",
    ]
}

/// A stream that goes on until it is dropped.
fn stream(units: &Units, number: u16) -> Process {
    let exporter = units.network().exporter(number, false).to_string();
    let words = words(units, &exporter, "10000000", "200");
    must(units.spawn_weir("stream", EXPORTERS, &words))
}

fn delivery(units: &Units, slave: &str) -> Option<Delivery> {
    let status = units.status().ok()?;
    unit(&status, PROXY)?.slaves.iter().find(|delivery| delivery.name == slave).cloned()
}

fn traffic(units: &Units, name: &str) -> Option<Traffic> {
    unit(&units.status().ok()?, name)?.traffic.clone()
}

/// Waits until a unit's traffic is as it should be.
fn wait_traffic(units: &Units, name: &str, what: &str, is: impl Fn(&Traffic) -> bool) -> Traffic {
    must(wait_for(what, 20, || Ok(traffic(units, name).filter(&is))))
}

fn segments(units: &Units, slave: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = units.store(slave);
    let mut all: Vec<_> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "weir"))
        .map(|path| (path.clone(), must(std::fs::read(&path))))
        .collect();
    all.sort();
    all
}

#[test]
fn a_slave_killed_in_mid_stream_is_left_out_and_comes_back_whole() {
    let test = "a_slave_killed_in_mid_stream";
    if !can_run(test, &["ip", "ethtool"]) {
        return;
    }
    let mut units = namespaces(group(Distribution::RoundRobin, LISTEN));
    let (datagrams, sent) = send(&units, 1, "4000");
    must(units.wait_settled(datagrams));
    // A stopped slave seals; what is sealed must outlive what comes now.
    must(units.process("slave1").stop());
    must(units.restart("slave1"));
    must(units.wait_healthy());
    let sealed = segments(&units, "slave1");
    assert!(!sealed.is_empty(), "a stopped slave has sealed");

    let _stream = stream(&units, 2);
    wait_traffic(&units, "slave1", "the stream at slave1", |t| t.records_decoded > 100);
    units.process("slave1").kill();
    let killed = Instant::now();
    must(wait_for("the proxy to leave slave1 out", 10, || {
        Ok(delivery(&units, "slave1").filter(|d| !d.healthy).map(|_| ()))
    }));
    println!("{test}: left out {} ms after its death", killed.elapsed().as_millis());
    let dealt = delivery(&units, "slave1").map(|d| d.records);
    let before = delivery(&units, "slave2").map_or(0, |d| d.records);
    must(wait_for("slave2 to get all of the stream", 10, || {
        Ok(delivery(&units, "slave2").filter(|d| d.records > before + 500).map(|_| ()))
    }));
    assert_eq!(delivery(&units, "slave1").map(|d| d.records), dealt, "nothing goes to the dead");
    let answer = must(units.query(&["any", "-s", "proto/flows"]));
    assert_eq!((answer.coverage.answered(), answer.coverage.asked()), (1, 2));
    let said = answer.coverage.to_string();
    assert!(said.starts_with("1 of 2 slaves answered"), "{said}");

    assert_eq!(segments(&units, "slave1"), sealed, "sealed files are as they were");
    must(units.restart("slave1"));
    must(units.wait_healthy());
    let back = wait_traffic(&units, "slave1", "records at the returned slave", |t| {
        t.records_decoded > 100
    });
    assert_eq!(discarded(&back, "unknown_template"), 0, "templates come before records");
    let first = format!("exporter ip {}", units.network().exporter(1, false));
    assert_eq!(must(units.sums(&first)), sent, "what was sealed is found again");
}

#[test]
fn a_flow_is_found_while_others_arrive() {
    let test = "a_flow_is_found_while_others_arrive";
    if !can_run(test, &["ip", "ethtool"]) {
        return;
    }
    let units = namespaces(group(Distribution::RoundRobin, LISTEN));
    let _stream = stream(&units, 1);
    wait_traffic(&units, PROXY, "the stream at the proxy", |t| t.records_decoded > 100);
    let mut slowest = Duration::ZERO;
    for number in 2..7 {
        let (_, sent) = send(&units, number, "1");
        let at = Instant::now();
        let filter = format!("exporter ip {}", units.network().exporter(number, false));
        must(wait_for("the flow to be found", 10, || {
            Ok((units.sums(&filter)? == sent).then_some(()))
        }));
        slowest = slowest.max(at.elapsed());
    }
    println!("{test}: the slowest of 5 was found after {} ms", slowest.as_millis());
}

/// Sends payloads from one socket to where exporters send.
fn send_raw(units: &Units, payloads: &[Vec<u8>]) {
    let site = units.network().site(EXPORTERS).v4;
    // Shared, so that a proxy without rights can send under this address.
    let socket = must(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None));
    must(socket.set_reuse_address(true));
    must(socket.bind(&SocketAddr::from((site, 0)).into()));
    let socket = UdpSocket::from(socket);
    let to: SocketAddr = must(units.target(false).parse());
    for payload in payloads {
        let sent = must(socket.send_to(payload, to));
        assert_eq!(sent, payload.len());
    }
}

/// Big-endian words, then bytes.
fn bytes(words: &[u16], tail: &[u8]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).chain(tail.iter().copied()).collect()
}

/// A NetFlow v9 header for source id 9, then these words.
fn netflow9(sequence: u16, words: &[u16]) -> Vec<u8> {
    bytes(&[&[9, 1, 0, 1000, 0x6500, 0, 0, sequence, 0, 9], words].concat(), &[])
}

/// Bad datagrams with the counter that each must end in.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", vec![]),
        ("too_short", vec![0]),
        ("too_short", bytes(&[9, 1, 0, 0], &[])),
        ("too_short", bytes(&[5, 1, 0, 0], &[])),
        ("too_short", bytes(&[10, 16], &[])),
        ("unknown_version", bytes(&[99], &[0; 60])),
        ("unknown_version", vec![0xff; 65_507]),
        ("message_length", bytes(&[5, 30], &[0; 20 + 48])),
        ("message_length", bytes(&[10, 500, 0, 0, 0, 0, 0, 1], &[])),
        ("unknown_template", netflow9(1, &[700, 8, 1, 2])),
        ("set_length", netflow9(2, &[256, 400, 1, 2])),
        ("set_length", netflow9(3, &[256, 0, 1, 2])),
        ("set_reserved", netflow9(4, &[77, 8, 1, 2])),
        ("template_malformed", netflow9(5, &[0, 12, 256, 90, 1, 4])),
    ]
}

fn bad_input(distribution: Distribution, reader: &str) {
    let units = loopback(distribution);
    let (datagrams, before) = send(&units, 1, "500");
    must(units.wait_settled(datagrams));
    let bad = bad();
    let payloads: Vec<_> = bad.iter().map(|(_, payload)| payload.clone()).collect();
    send_raw(&units, &payloads);
    let (more, after) = send(&units, 2, "500");
    let total = datagrams + more + bad.len() as u64;
    must(units.wait_settled(total));
    let readers: Vec<&str> = if reader == PROXY { vec![PROXY] } else { SLAVES.to_vec() };
    let counted = |status: &_, reason| {
        let traffic = readers.iter().filter_map(|name| unit(status, name)?.traffic.as_ref());
        traffic.map(|traffic| discarded(traffic, reason)).sum::<u64>()
    };
    // A set without a template is given up when that has not come for half a minute.
    let status = must(wait_for("a set to be given up", 60, || {
        let status = units.status()?;
        let given_up = counted(&status, "unknown_template") > 0;
        Ok(given_up.then_some(status))
    }));
    assert_eq!(unconserved(&status), Vec::<&str>::new());
    for (reason, _) in &bad {
        let expected = bad.iter().filter(|(other, _)| other == reason).count() as u64;
        let counted = counted(&status, reason);
        assert_eq!(counted, expected, "{reason} at {readers:?}: {status:#?}");
    }
    let mut sent = before;
    sent += after;
    assert_eq!(must(units.sums("any")), sent, "good flows before and after are whole");
}

#[test]
fn packets_that_are_no_flows_are_named_by_the_proxy_that_reads_them() {
    bad_input(Distribution::RoundRobin, PROXY);
}

#[test]
fn packets_that_are_no_flows_are_named_by_the_slave_that_gets_them_whole() {
    bad_input(Distribution::FlowSource, SLAVES[0]);
}

#[test]
fn garbage_at_the_control_and_query_ports_harms_nobody() {
    let units = loopback(Distribution::RoundRobin);
    let (datagrams, sent) = send(&units, 1, "500");
    must(units.wait_settled(datagrams));
    let sites = [MASTER, PROXY, SLAVES[0], SLAVES[1]];
    let mut held = Vec::new();
    for name in sites {
        for port in [2210, 4210] {
            let address = SocketAddr::from((units.network().site(name).v4, port));
            for garbage in [&[0xff; 64][..], &b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 8][..]] {
                let mut stranger = must(TcpStream::connect(address));
                // The unit may cut the connection while the stranger still writes.
                let _cut = stranger.write_all(garbage);
                held.push(stranger);
            }
        }
    }
    assert_eq!(must(units.sums("any")), sent);
    let status = must(units.status());
    assert!(sites.iter().all(|name| unit(&status, name).is_some_and(|unit| unit.up)));
    assert!(SLAVES.iter().all(|slave| delivery(&units, slave).is_some_and(|d| d.healthy)));
}

/// A file system that is soon full; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<SmallDisk, Error> {
        must(std::fs::create_dir_all(at));
        let mut mount = Command::new("mount");
        tool::run(mount.args(["-t", "tmpfs", "-o", "size=128k", "weir-test"]).arg(at))?;
        Ok(SmallDisk(at.to_owned()))
    }

    fn grow(&self) -> Result<(), Error> {
        let mut mount = Command::new("mount");
        tool::run(mount.args(["-o", "remount,size=64m"]).arg(&self.0)).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost_once_there_is_room() {
    let test = "a_full_disk_is_named";
    if !can_run(test, &["ip", "ethtool", "mount", "umount"]) {
        return;
    }
    let folder = must(tempfile::tempdir());
    let disk = must(SmallDisk::mount(&folder.path().join("stores")));
    let mut units = namespaces(Group {
        stores: Some(disk.0.clone()),
        slave_words: vec!["--slice".into(), "500ms".into()],
        ..group(Distribution::RoundRobin, LISTEN)
    });
    let (datagrams, sent) = send(&units, 1, "40000");
    must(units.wait_settled(datagrams));
    let error = must(wait_for("a slave to say that its disk is full", 20, || {
        let status = units.status()?;
        let errors = SLAVES.iter().filter_map(|name| unit(&status, name)?.store.clone());
        Ok(errors.map(|store| store.last_error).find(|error| !error.is_empty()))
    }));
    println!("{test}: {error}");
    assert!(error.contains("space"), "{error}");
    assert_eq!(must(units.sums("any")), sent, "what could not be sealed is found in memory");
    must(disk.grow());
    must(wait_for("everything to be sealed", 20, || {
        let status = units.status()?;
        let stores: Vec<_> =
            SLAVES.iter().filter_map(|name| unit(&status, name)?.store.clone()).collect();
        let sealed: u64 = stores.iter().map(|store| store.sealed_rows).sum();
        Ok((sealed == sent.flows && stores.iter().all(|s| s.last_error.is_empty())).then_some(()))
    }));
    for slave in SLAVES {
        must(units.process(slave).stop());
        must(units.restart(slave));
    }
    must(units.wait_healthy());
    assert_eq!(must(units.sums("any")), sent, "all of it was sealed whole");
    drop(units);
}
