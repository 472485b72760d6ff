//! Sampling and names from end to end: real routers' captures and a reload, through a proxy and two
//! slaves, in both distribution models.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

mod common;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{System, weir};
use serde_json::Value;
use weir_controlplane::capture::Capture;

/// A router that names its interfaces and VRFs, and says that it looks at every packet.
const NAMING: &str =
    "NetGauze/assets/pcaps/pmacct-tests/500-IPFIXv10-BGP-CISCO-SRv6/traffic-00.pcap";
/// A router that looks at one packet in ten, and says so of a template.
const SAMPLING: &str = "akvorado/outlet/flow/decoder/netflow/testdata/mpls.pcap";

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.tsv").is_file().then_some(folder)
}

/// The master's answer.
fn ask(system: &System, words: &[&str]) -> Value {
    let output = system.query(&[words, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn total(system: &System, filter: &str, name: &str) -> u64 {
    ask(system, &[filter, "-s", "router"])["totals"][name].as_u64().unwrap()
}

/// Waits until as many flows as wanted are there, and the counters say so too.
fn until_flows(system: &System, filter: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let began = Instant::now();
    loop {
        let flows = total(system, filter, "flows");
        if wanted(flows) {
            return flows;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{filter}: {flows} flows");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a capture from an address of this host, datagram by datagram.
fn send(system: &System, file: &Path, exporter: &std::net::UdpSocket) {
    for datagram in Capture::read(file).unwrap().datagrams {
        exporter.send_to(&datagram.payload, (system.proxy.address, 2055)).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reloads every unit with these words at the end of the topology, and of each slave.
fn reload(system: &System, slave: &str, end: &str) -> String {
    let text = std::fs::read_to_string(&system.topology).unwrap();
    let text = text.replace("role = \"slave\"\n", &format!("role = \"slave\"\n{slave}\n")) + end;
    std::fs::write(&system.topology, text).unwrap();
    let output = weir(&["reload", "--topology", system.topology.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How many records the slaves' valves have left out.
fn sampled_out(system: &System) -> u64 {
    let output = weir(&["status", "-M", &system.master.address.to_string(), "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let slaves = status["units"][0]["units"].as_array().unwrap().iter();
    slaves.filter_map(|s| s["traffic"]["discarded"]["record"]["sampled_out"].as_u64()).sum()
}

fn through(distribution: &str) {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    let system = System::start_as(distribution);
    let (named, sampled) = (common::address(), common::address());
    let sockets = [named, sampled].map(common::shared_socket);
    send(&system, &corpus.join(NAMING), &sockets[0]);
    send(&system, &corpus.join(SAMPLING), &sockets[1]);
    names_stand_beside_numbers(&system, named);
    let of_sampled = format!("router ip {sampled}");
    let flows = until_flows(&system, &of_sampled, |flows| flows > 0);
    let packets = total(&system, &of_sampled, "packets");
    assert_eq!(total(&system, &of_sampled, "packets_estimated"), 10 * packets);
    assert_eq!(total(&system, &of_sampled, "flows_estimated"), flows);
    let answer = ask(&system, &["-s", "router/packets*"]);
    let first = &answer["rows"][0];
    assert!(first["packets_estimated"].as_u64() >= first["packets"].as_u64());
    let end = format!("[[sampling]]\nsource = \"{sampled}\"\nrate = 500\n");
    let told = reload(&system, "keep_one_in = 2", &end);
    assert!(told.contains("one flow record in 2 is kept"), "{told}");
    assert_eq!(sampled_out(&system), 0);
    for _ in 0..20 {
        send(&system, &corpus.join(SAMPLING), &sockets[1]);
    }
    let all = 21 * flows;
    let began = Instant::now();
    while total(&system, &of_sampled, "flows") + sampled_out(&system) < all {
        assert!(began.elapsed() < Duration::from_secs(20), "not all {all} have come");
        std::thread::sleep(Duration::from_millis(50));
    }
    let kept = total(&system, &of_sampled, "flows");
    assert_eq!(kept + sampled_out(&system), all, "each is kept, or counted");
    assert_eq!(total(&system, &of_sampled, "flows_estimated"), flows + 2 * (kept - flows));
    let later = total(&system, &of_sampled, "packets") - packets;
    let expected = 10 * packets + 2 * 500 * later;
    assert_eq!(total(&system, &of_sampled, "packets_estimated"), expected);
}

fn names_stand_beside_numbers(system: &System, router: Ipv4Addr) {
    let of_router = format!("router ip {router}");
    let by_number = format!("{of_router} and in if 42");
    until_flows(system, &by_number, |flows| flows > 0);
    let by_name = ["in if name tengige0_0_0_0", "in if name \"TenGigE0/0/0/0\""];
    let began = Instant::now();
    loop {
        let flows = total(system, &by_number, "flows");
        let named = by_name.map(|filter| total(system, filter, "flows"));
        if named == [flows; 2] {
            break;
        }
        let late = began.elapsed() > Duration::from_secs(10);
        assert!(!late, "{flows} flows at the interface, by its names {named:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let some = total(system, "if name tengige*", "flows");
    assert!(some >= total(system, by_name[0], "flows"));
    let answer = ask(system, &[&by_number, "-s", "router,inif"]);
    assert_eq!(answer["rows"][0]["input_interface_name"], "TenGigE0_0_0_0");
    let listed = ask(system, &[&by_number, "-n", "1"]);
    assert_eq!(listed["rows"][0]["input_interface_name"], "TenGigE0_0_0_0");
    assert_eq!(total(system, "if name nothing*", "flows"), 0);
}

#[test]
fn sampling_and_names_come_through_round_robin() {
    through("round-robin");
}

#[test]
fn sampling_and_names_come_through_flow_source() {
    through("flow-source");
}
