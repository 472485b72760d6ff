//! What the XDP program does with each kind of frame, asked of the kernel itself
//! (`BPF_PROG_TEST_RUN`), and that user space reads every frame that the program redirects.
//!
//! Needs: root. Skips with a sentence without.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::os::fd::AsRawFd;
use std::process::Command;

use weir_dataplane::io::packet;
use weir_dataplane::wire::ethernet;
use weir_ebpf::{LoadConfig, Loaded, PortRule, Program, Run, Verdict};

mod forward;
mod frames;
mod tell;

use frames::{PAYLOAD, PORT, V4, V6, table_v4, table_v6};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// `None`, with a sentence, without root; with root a program that does not load is a failure.
fn load() -> Option<Loaded> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        eprintln!("skipped: loading BPF programs needs root");
        return None;
    }
    let config = LoadConfig { sources: 8, ..LoadConfig::default() };
    let mut loaded = Program::load(&config).unwrap_or_else(|error| panic!("{error}"));
    loaded.program.set_ports(&[(9995, PortRule::SOCKET), (PORT, PortRule::SOCKET)]).unwrap();
    loaded.program.set_addresses(&[V4.into(), V6.into()]).unwrap();
    Some(loaded)
}

/// Runs one frame; returns its action and the verdict whose counter rose.
fn run(loaded: &mut Loaded, frame: &[u8]) -> (u32, Verdict) {
    let (run, verdict) = run_whole(loaded, frame);
    (run.action, verdict)
}

/// Runs one frame; returns what became of it and the verdict whose counter rose.
fn run_whole(loaded: &mut Loaded, frame: &[u8]) -> (Run, Verdict) {
    let before = loaded.tallies.read().unwrap();
    let run = loaded.program.run(frame).unwrap();
    let after = loaded.tallies.read().unwrap();
    let mut risen = Verdict::ALL.into_iter().filter(|&v| after.get(v) != before.get(v));
    let verdict = risen.next().expect("one counter rises");
    assert!(risen.next().is_none() && after.get(verdict) == before.get(verdict) + 1);
    (run, verdict)
}

/// An AF_XDP socket that takes queue 0's frames.
fn give_socket(loaded: &mut Loaded) -> socket2::Socket {
    let socket = socket2::Socket::new(libc::AF_XDP.into(), socket2::Type::RAW, None)
        .expect("the kernel has AF_XDP");
    loaded.program.set_socket(0, socket.as_raw_fd()).unwrap();
    socket
}

#[test]
fn every_kind_of_frame_goes_its_way_and_user_space_reads_what_is_redirected() {
    let Some(mut loaded) = load() else { return };
    let _socket = give_socket(&mut loaded);
    for (name, expected, frame) in table_v4().into_iter().chain(table_v6()) {
        let (action, verdict) = run(&mut loaded, &frame);
        assert_eq!(verdict, expected, "{name}");
        let redirected = expected == Verdict::Redirected;
        assert_eq!(action, if redirected { XDP_REDIRECT } else { XDP_PASS }, "{name}");
        let read = packet::parse(&frame);
        match verdict {
            Verdict::Redirected => assert_eq!(read.expect(name).payload, PAYLOAD, "{name}"),
            // Ports and addresses are the program's to know.
            Verdict::PassedPort | Verdict::PassedAddress => assert!(read.is_ok(), "{name}"),
            _ => assert!(read.is_err(), "{name}"),
        }
    }
}

#[test]
fn a_frame_cut_within_its_headers_passes() {
    let Some(mut loaded) = load() else { return };
    for (name, verdict, frame) in table_v4().into_iter().chain(table_v6()) {
        if verdict != Verdict::Redirected {
            continue;
        }
        let headers = frame.windows(PAYLOAD.len()).position(|window| window == PAYLOAD).unwrap();
        for length in ethernet::HEADER_LENGTH..headers {
            let (action, verdict) = run(&mut loaded, &frame[..length]);
            let expected = (XDP_PASS, Verdict::PassedTruncated);
            assert_eq!((action, verdict), expected, "{name}, cut to {length}");
        }
    }
}

#[test]
fn a_queue_without_a_socket_passes() {
    let Some(mut loaded) = load() else { return };
    let (_, _, frame) = &table_v4()[0];
    assert_eq!(run(&mut loaded, frame), (XDP_PASS, Verdict::PassedQueue));
}

#[test]
fn ports_and_addresses_change_while_the_program_runs() {
    let Some(mut loaded) = load() else { return };
    let (_, _, frame) = &table_v4()[0];
    loaded.program.set_ports(&[(9995, PortRule::SOCKET)]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedPort);
    loaded.program.set_ports(&[(PORT, PortRule::SOCKET), (65_535, PortRule::SOCKET)]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedQueue);
    loaded.program.set_addresses(&[V6.into()]).unwrap();
    assert_eq!(run(&mut loaded, frame).1, Verdict::PassedAddress);
}
