//! Slaves that come and go while flows arrive, and a proxy that is started again: nothing is lost.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir_controlplane::lab::units::{
    EXPORTERS, Group, MASTER, PROXY, Sums, Units, unconserved, unit,
};
use weir_controlplane::lab::{Error, Network, Process, wait_for};
use weir_controlplane::replay::Report;
use weir_controlplane::status::{Delivery, UnitStatus};
use weir_controlplane::topology::Distribution;
use weir_hwtests::nfcapd::Nfcapd;
use weir_hwtests::{can_run, must, weir};

const LISTEN: u16 = 2055;

fn namespaces(sites: &[&str], group: Group) -> Units {
    let names = [&[EXPORTERS, PROXY, MASTER], sites].concat();
    must(Units::start(must(Network::in_namespaces(&names)), &weir(), group))
}

/// Flows of exporters of their own, sent beside the test.
fn stream(units: &Units, exporters: u16, flows: &str, rate: &str) -> Vec<Process> {
    let to = units.target(false);
    (1..=exporters)
        .map(|number| {
            let exporter = units.network().exporter(number, false).to_string();
            let words = [
                ["--generate", "v9"],
                ["--flows", flows],
                ["--rate", rate],
                ["--source", &exporter],
                ["--to", &to],
            ];
            let words = [&["replay", "--json"], &words.concat()[..]].concat();
            must(units.spawn_weir(&format!("stream{number}"), EXPORTERS, &words))
        })
        .collect()
}

/// Waits for the end of the streams; what they sent.
fn sent(streams: Vec<Process>) -> (u64, Sums) {
    let (mut datagrams, mut sums) = (0, Sums::default());
    for mut stream in streams {
        must(stream.wait_end(120));
        let report: Report = must(serde_json::from_str(&stream.output()));
        datagrams += report.totals.datagrams;
        sums += report.totals.into();
    }
    (datagrams, sums)
}

fn delivery(units: &Units, slave: &str) -> Option<Delivery> {
    let status = units.status().ok()?;
    unit(&status, PROXY)?.slaves.iter().find(|delivery| delivery.name == slave).cloned()
}

/// What a slave was given: records, or whole datagrams.
fn given(units: &Units, slave: &str) -> u64 {
    delivery(units, slave).map_or(0, |d| d.records + d.messages + d.forwarded)
}

fn wait_given(units: &Units, slave: &str) {
    let before = given(units, slave);
    must(wait_for(&format!("{slave} to get flows"), 20, || {
        Ok((given(units, slave) > before).then_some(()))
    }));
}

/// The topology with a line more in the table of a unit.
fn with(text: &str, unit: &str, line: &str) -> String {
    let name = format!("name = \"{unit}\"\n");
    text.replacen(&name, &format!("{name}{line}\n"), 1)
}

fn reload(units: &Units, text: &str, expected: &str) {
    must(units.write_topology(text));
    let said = must(units.reload(PROXY));
    assert!(said.contains(expected), "{expected:?} in {said:?}");
    must(units.reload(MASTER));
}

fn comings_and_goings(distribution: Distribution) {
    let sites = ["slave1", "slave2", "slave3"];
    let group = Group::new(distribution, "auto", LISTEN, &sites[..2]);
    let mut units = namespaces(&sites, group);
    let streams = stream(&units, 12, "8800", "40");
    wait_given(&units, "slave1");

    units.group_mut().slaves.push("slave3".into());
    let three = units.topology_text();
    must(units.write_topology(&three));
    must(units.restart("slave3"));
    reload(&units, &three, "slave slave3 added");
    must(units.wait_healthy());
    wait_given(&units, "slave3");

    let drained = with(&three, "slave1", "drain = true");
    reload(&units, &drained, "slave slave1 drained");
    std::thread::sleep(Duration::from_millis(300));
    let before = delivery(&units, "slave1").map(|d| (d.records, d.forwarded));
    wait_given(&units, "slave2");
    wait_given(&units, "slave3");
    assert_eq!(delivery(&units, "slave1").map(|d| (d.records, d.forwarded)), before, "drained");

    let refused = drained.replace("role = \"master\"", "role = \"monster\"");
    must(units.write_topology(&refused));
    let told = units.reload(PROXY).expect_err("a file that cannot work").to_string();
    assert!(told.contains("monster"), "{told}");

    let weighed = with(&drained, "slave2", "weight = 3");
    reload(&units, &weighed, "weight of slave2 1 -> 3");
    let gone = weighed.replace("\"slave1\", \"slave2\"", "\"slave2\"");
    reload(&units, &gone, "slave slave1 removed");
    wait_given(&units, "slave3");
    assert!(delivery(&units, "slave1").is_none(), "removed");

    // Its flows are asked for again when it is back.
    reload(&units, &drained, "slave slave1 added");
    let (datagrams, sums) = sent(streams);
    must(units.wait_healthy());
    let status = must(units.wait_settled(0));
    let proxy = unit(&status, PROXY).and_then(|proxy| proxy.traffic.clone()).unwrap_or_default();
    assert_eq!(proxy.datagrams_received, datagrams);
    assert_eq!(unconserved(&status), Vec::<&str>::new());
    must(wait_for("every flow to be found", 20, || Ok((units.sums("any")? == sums).then_some(()))));
}

#[test]
fn slaves_come_drain_weigh_and_go_under_round_robin_and_nothing_is_lost() {
    if can_run("slaves_come_and_go_under_round_robin", &["ip", "ethtool"]) {
        comings_and_goings(Distribution::RoundRobin);
    }
}

#[test]
fn slaves_come_drain_weigh_and_go_under_flow_source_and_nothing_is_lost() {
    if can_run("slaves_come_and_go_under_flow_source", &["ip", "ethtool"]) {
        comings_and_goings(Distribution::FlowSource);
    }
}

/// How long it takes until the proxy sees a slave as wanted.
fn until(units: &Units, slave: &str, healthy: bool) -> (Duration, String) {
    let began = Instant::now();
    let reason = must(wait_for("the proxy to notice", 20, || {
        Ok(delivery(units, slave).filter(|d| d.healthy == healthy).map(|d| d.reason))
    }));
    (began.elapsed(), reason)
}

#[test]
fn an_external_slave_that_dies_is_left_out_within_a_second() {
    let test = "an_external_slave_that_dies";
    if !can_run(test, &["ip", "ethtool", "nfcapd"]) {
        return;
    }
    let names = [EXPORTERS, PROXY, MASTER, "slave1", "foreign"];
    let network = must(Network::in_namespaces(&names));
    let folder = must(tempfile::tempdir());
    let start = |network: &Network| {
        must(Nfcapd::start_all(network, &["foreign"], LISTEN + 30_000, folder.path()))
    };
    let mut collectors = start(&network);
    let mut group = Group::new(Distribution::RoundRobin, "auto", LISTEN, &["slave1"]);
    group.external.push("foreign".into());
    let units = must(Units::start(network, &weir(), group));
    let streams = stream(&units, 1, "10000000", "200");
    wait_given(&units, "foreign");

    collectors.iter_mut().for_each(Nfcapd::kill);
    let (took, reason) = until(&units, "foreign", false);
    println!("{test}: left out {} ms after its death: {reason}", took.as_millis());
    assert!(reason.contains("connection refused at udp"), "{reason}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let before = given(&units, "foreign");
    wait_given(&units, "slave1");
    assert_eq!(given(&units, "foreign"), before, "nothing goes to the dead");
    collectors = start(units.network());
    let (took, _) = until(&units, "foreign", true);
    println!("{test}: dealt to again {} ms after it was back", took.as_millis());
    wait_given(&units, "foreign");

    let said: String = collectors.iter().map(Nfcapd::log).collect();
    assert!(!said.contains("too little data"), "probes make no noise: {said}");
    let link = |state: &str| {
        let mut ip = units.network().site("foreign").command("ip");
        let set = ip.args(["link", "set", "eth0", state]).status();
        assert!(set.is_ok_and(|status| status.success()));
    };
    link("down");
    let (took, reason) = until(&units, "foreign", false);
    println!("{test}: left out {} ms after its cable: {reason}", took.as_millis());
    assert!(reason.contains("does not answer") || reason.contains("unreachable"), "{reason}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    drop(streams);
}

/// A NetFlow v9 message of source id 7: these words after the header.
fn netflow9(sequence: u16, words: &[u16]) -> Vec<u8> {
    let header = [9, 1, 0, 60_000, 0x6500, 0, 0, sequence, 0, 7];
    header.iter().chain(words).flat_map(|word| word.to_be_bytes()).collect()
}

fn records(status: &UnitStatus) -> u64 {
    let slaves =
        ["slave1", "slave2"].iter().filter_map(|name| unit(status, name)?.storing.as_ref());
    slaves.map(|storing| storing.records_delivered).sum()
}

#[test]
fn a_proxy_that_is_started_again_understands_the_first_record_that_it_sees() {
    let state = must(tempfile::tempdir());
    let names = [EXPORTERS, PROXY, MASTER, "slave1", "slave2"];
    let network = Network::on_loopback(&names);
    let listen = network.free_port(30_000);
    let mut group = Group::new(Distribution::RoundRobin, "socket", listen, &["slave1", "slave2"]);
    group.proxy_words = vec!["--state".into(), state.path().display().to_string()];
    let mut units = must(Units::start(network, &weir(), group));
    let exporter = must(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None));
    must(exporter.set_reuse_address(true));
    let address = units.network().exporter(9, false);
    must(exporter.bind(&SocketAddr::new(address, 0).into()));
    let exporter = UdpSocket::from(exporter);
    let to: SocketAddr = must(units.target(false).parse());
    let send = |payload: &[u8]| must(exporter.send_to(payload, to));

    // Octets and packets (4 bytes each), and a record of it.
    let template = [0, 16, 300, 2, 1, 4, 2, 4];
    let record = [300, 12, 0, 100, 0, 2];
    send(&netflow9(1, &[&template[..], &record].concat()));
    let stored = |units: &Units, wanted| {
        wait_for(&format!("{wanted} records to be stored"), 10, || -> Result<Option<()>, Error> {
            Ok((records(&units.status()?) == wanted).then_some(()))
        })
    };
    must(stored(&units, 1));
    must(units.process(PROXY).stop());
    must(units.restart(PROXY));
    must(units.wait_healthy());
    send(&netflow9(2, &record));
    must(stored(&units, 2));
    let log = units.process(PROXY).log();
    assert!(log.contains("templates recalled"), "{log}");

    // Killed, it has had a second to write.
    std::thread::sleep(Duration::from_millis(1_500));
    units.process(PROXY).kill();
    must(units.restart(PROXY));
    must(units.wait_healthy());
    send(&netflow9(3, &record));
    must(stored(&units, 3));
}
