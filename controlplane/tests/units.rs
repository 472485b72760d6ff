//! Whole units as processes: what a query says when a slave is away, and how units end.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

mod common;

use std::time::{Duration, Instant};

use common::{System, healthy, weir};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn flows_are_found_at_the_master_within_a_second() {
    let system = System::start();
    system.export(100);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(system.flows(), 100);
    let output = system.query(&["src ip 192.0.2.1", "-s", "dstip/bytes"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("2 of 2 slaves answered"), "{}", text(&output.stdout));
    let status = weir(&["status", "-M", &system.master.address.to_string()]);
    assert!(status.status.success(), "{}", text(&status.stdout));
    assert!(text(&status.stdout).contains("conservation: holds at 3 units"));
}

#[test]
fn a_killed_slave_is_named_at_once_and_gets_records_again_when_it_is_back() {
    let mut system = System::start();
    system.export(10);
    std::thread::sleep(Duration::from_millis(500));
    drop(system.slaves[1].take());
    let began = Instant::now();
    let output = system.query(&["-s", "srcip"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(3));
    let answer = text(&output.stdout);
    assert!(answer.contains("1 of 2 slaves answered (s2: connection refused)"), "{answer}");
    system.until(|status| healthy(status) == 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let before = system.flows();
    system.export(20);
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(system.flows(), before + 20);
    system.start_slave_again(1);
    let began = Instant::now();
    system.until(|status| healthy(status) == 2);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_stopped_slave_costs_a_query_about_a_second() {
    let system = System::start();
    system.slaves[0].as_ref().unwrap().signal("-STOP");
    let began = Instant::now();
    let output = system.query(&["-s", "srcip"]);
    let elapsed = began.elapsed();
    system.slaves[0].as_ref().unwrap().signal("-CONT");
    assert_eq!(output.status.code(), Some(3));
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let answer = text(&output.stdout);
    assert!(answer.contains("1 of 2 slaves answered (s1: no answer within"), "{answer}");
}

#[test]
fn a_killed_proxy_leaves_no_answer_but_the_reason_once() {
    let mut system = System::start();
    system.proxy.child.kill().unwrap();
    system.proxy.child.wait().unwrap();
    for form in [&["-s", "srcip"][..], &["--json"], &["--csv"]] {
        let output = system.query(form);
        assert_eq!(output.status.code(), Some(1), "{form:?}");
        assert_eq!(text(&output.stdout), "", "{form:?}");
        let told = text(&output.stderr);
        assert_eq!(told, "weir: none of 2 slaves answered: proxy p1: connection refused\n");
    }
}

#[test]
fn a_reader_who_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let print = |to: std::process::Stdio| {
        let mut weir = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        weir.args(["completions", "bash"]).stdout(to).stderr(std::process::Stdio::piped());
        weir.spawn().unwrap().wait_with_output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = print(writer.into());
    assert_eq!((left.status.code(), text(&left.stderr)), (Some(0), String::new()));
    let full = print(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).starts_with("weir: cannot write: "), "{}", text(&full.stderr));
}

#[test]
fn a_unit_that_is_told_to_stop_seals_and_ends_with_0() {
    let mut system = System::start();
    system.export(50);
    std::thread::sleep(Duration::from_millis(800));
    for unit in system.slaves.iter_mut().flatten() {
        unit.signal("-TERM");
        assert_eq!(unit.child.wait().unwrap().code(), Some(0));
    }
    let mut flows = 0;
    for slave in ["s1", "s2"] {
        let folder = system.folder.path().join(slave);
        let output = weir(&["query", "-R", folder.to_str().unwrap(), "-s", "srcip", "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        flows += answer["totals"]["flows"].as_u64().unwrap();
    }
    assert_eq!(flows, 50);
    for unit in [&mut system.proxy, &mut system.master] {
        unit.signal("-INT");
        assert_eq!(unit.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let topology = folder.path().join("weir.toml");
    std::fs::write(&topology, common::topology_text([(); 4].map(|()| common::address()))).unwrap();
    let topology = topology.to_str().unwrap();
    let wrong = weir(&["proxy", "--topology", topology, "--unit", "s1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("start it with `weir slave`"), "{}", text(&wrong.stderr));
    let filter = weir(&["query", "-M", "127.0.0.1:1", "proto tpc"]);
    assert_eq!(filter.status.code(), Some(2));
    assert!(text(&filter.stderr).contains("\n        ^^^"), "{}", text(&filter.stderr));
    let control = weir(&["query", "-M", "127.0.0.1:2210"]);
    assert_eq!(control.status.code(), Some(2));
    assert!(text(&control.stderr).contains("that is the control port; questions go to 4210"));
    for option in [["--core", "100000"], ["--listen", "0"]] {
        let place = ["slave", "--topology", topology, "--unit", "s1", "--dir", "/nonexistent"];
        let refused = weir(&[&place[..], &option].concat());
        assert_eq!(refused.status.code(), Some(2), "{option:?}: {}", text(&refused.stderr));
    }
    let nobody = weir(&["query", "-M", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    let told = text(&nobody.stderr);
    assert!(told.contains("127.0.0.1:1: connection refused; is the unit running there?"), "{told}");
}
