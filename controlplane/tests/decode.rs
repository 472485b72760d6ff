//! `weir decode` of generated messages, against what it said when people last looked at it.
//!
//! `WEIR_BLESS=1 cargo test -p weir-controlplane --test decode` writes what it says now; look at the
//! difference before it is committed.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};

use weir_controlplane::capture::Stream;
use weir_controlplane::cli::paint::Paint;
use weir_controlplane::decode::{
    Chosen, Decoder, Style, Summary, packet_json, packet_text, templates_text,
};

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    [words(&[id, 4 + body.len() as u16]), body.to_vec()].concat()
}

fn ipfix(sequence: u16, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = 16 + sets.len() as u16;
    [words(&[10, length, 0x6553, 0xf100, 0, sequence, 0, 7]), sets].concat()
}

fn v9(sequence: u16, count: u16, sets: &[Vec<u8>]) -> Vec<u8> {
    let header = words(&[9, count, 1, 5000, 0x6553, 0xf100, 0, sequence, 0, 7]);
    [header, sets.concat()].concat()
}

/// A pcap file of datagrams from 192.0.2.1:50000 to 192.0.2.2:2055, a second apart.
fn pcap(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4u32, 0x0002_0004, 0, 0, 65_535, 101].map(u32::to_be_bytes).concat();
    for (second, datagram) in (0..).zip(datagrams) {
        let (udp, ip) = (8 + datagram.len() as u16, 28 + datagram.len() as u16);
        for word in [1_700_000_000 + second, 250_000, u32::from(ip), u32::from(ip)] {
            file.extend(u32::to_be_bytes(word));
        }
        file.extend(words(&[0x4500, ip, 1, 0x4000, 0x4011, 0, 0xc000, 0x0201, 0xc000, 0x0202]));
        file.extend(words(&[50_000, 2055, udp, 0]));
        file.extend(datagram);
    }
    file
}

/// Data before its template, lists, reverse and variable-length elements, names by RFC 5610.
fn ipfix_messages() -> Vec<Vec<u8>> {
    let variable = u16::MAX;
    let ports = words(&[256, 2, 7, 2, 4, 1]);
    let flows = [
        words(&[257, 9, 8, 4, 291, variable, 292, variable, 82, variable, 152, 8, 153, 8, 6, 1]),
        words(&[0x8001, 2, 0, 29_305, 0x8001, 2, 0, 4242]),
    ]
    .concat();
    let mut record = vec![10, 0, 0, 1, 13, 3, 0, 8, 0, 4, 10, 0, 0, 2, 10, 0, 0, 3];
    record.extend([9, 4, 1, 0, 0, 80, 6, 0, 53, 17, 4, b'g', b'e', 27, b'0']);
    record.extend([0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 9, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]);
    record.extend([0x12, 0, 9, 0, 42]);
    let options = words(&[258, 4, 2, 346, 4, 303, 2, 339, 1, 341, variable]);
    let named = [&[0, 0, 0x10, 0x92, 0, 1, 2, 9][..], b"acmeScore", &[0, 0]].concat();
    vec![
        ipfix(0, &[set(257, &record)]),
        ipfix(1, &[set(3, &options), set(258, &named)]),
        ipfix(2, &[set(2, &[ports, flows].concat())]),
        ipfix(9, &[set(257, &record)]),
    ]
}

/// An options template, wrong counts, a reserved set, a template without fields, a set that lies.
fn v9_messages() -> Vec<Vec<u8>> {
    let template = words(&[256, 6, 8, 4, 12, 4, 4, 1, 22, 4, 21, 4, 1, 4]);
    let record = |end: u8| {
        let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 17];
        [&addresses[..], &[0, 1, 10, 0, 0, 1, 10, end, 0, 0, 5, 220]].concat()
    };
    let options = words(&[257, 4, 8, 1, 4, 34, 4, 84, 3]);
    let mut lying = v9(3, 1, &[set(256, &record(5))]);
    lying[23] = 200;
    vec![
        v9(0, 3, &[set(0, &template), set(256, &[record(5), record(0), vec![0, 0]].concat())]),
        v9(1, 9, &[set(1, &options), set(257, &[0, 0, 0, 1, 0, 0, 0, 100, b's', b'1', 0, 0])]),
        v9(2, 1, &[set(5, &[1, 2, 3, 4]), set(0, &words(&[300, 0]))]),
        lying,
    ]
}

fn v5_messages() -> Vec<Vec<u8>> {
    let mut packet = words(&[5, 1, 1, 5000, 0x6553, 0xf100, 0, 0, 0, 7, 0x0102, 0x4064]);
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3, 0, 4, 0, 5]);
    packet.extend([0, 0, 0, 6, 0, 0, 2, 0xbc, 0, 1, 10, 0, 0, 1, 11, 0]);
    packet.extend([0x1f, 0x90, 0, 80, 0, 0x1b, 6, 0xb8, 0xfd, 0xe8, 0xfd, 0xe9, 24, 16, 0, 0]);
    let cut = packet[..60].to_vec();
    vec![packet, cut, vec![0, 11, 0, 1]]
}

/// A packet in VXLAN with its switch, a counter sample, and samples that nobody knows.
fn sflow_messages() -> Vec<Vec<u8>> {
    let inner = {
        let ethernet = [&[1; 6][..], &[2; 6], &[8, 0]].concat();
        let ip = words(&[0x4500, 40, 1, 0, 0x4006, 0, 0x0a00, 1, 0x0a00, 2]);
        let tcp = words(&[443, 50_000, 0, 1, 0, 2, 0x5012, 1000, 0, 0]);
        [ethernet, ip, tcp].concat()
    };
    let mut frame = [&[3; 6][..], &[4; 6], &[0x81, 0, 0, 100, 8, 0]].concat();
    frame.extend(words(&[0x4500, 90, 1, 0, 0x4011, 0, 0xc000, 0x0203, 0xc000, 0x0204]));
    frame.extend(words(&[40_000, 4789, 70, 0, 0x0800, 0, 0, 0x1100]));
    frame.extend(inner);
    let record = |tag: u32, body: &[u8]| {
        let mut record = [tag, body.len() as u32].map(u32::to_be_bytes).concat();
        record.extend(body);
        record.resize(record.len().next_multiple_of(4), 0);
        record
    };
    let head = [1, 112, 4, frame.len() as u32].map(u32::to_be_bytes).concat();
    let header = record(1, &[head, frame].concat());
    let switch = record(1001, &[100u32, 0, 200, 0].map(u32::to_be_bytes).concat());
    let other = record(4413 << 12 | 1, &[7; 8]);
    let fixed = [1u32, 3, 100, 1000, 0, 4, 0x4000_0101, 3].map(u32::to_be_bytes).concat();
    let flow = record(1, &[fixed, header, switch, other].concat());
    let memory = record(1002, &[9u32, 8].map(u32::to_be_bytes).concat());
    let counters = [1u32, 3, 1].map(u32::to_be_bytes).concat();
    let counters = record(2, &[counters, memory].concat());
    let unknown = record(99, &[1, 2, 3, 4]);
    let mut datagram = [5u32, 1, 0xc000_0201, 0, 1, 90_061_001, 4].map(u32::to_be_bytes).concat();
    datagram.extend([flow, counters, unknown].concat());
    vec![datagram]
}

fn decoder(datagrams: &[Vec<u8>]) -> Decoder {
    let stream = Stream::new("generated".into(), Box::new(Cursor::new(pcap(datagrams)))).unwrap();
    Decoder::new(stream, Chosen::default())
}

/// All that is said of these datagrams, as text.
fn text(datagrams: &[Vec<u8>], explain: bool) -> String {
    let style = Style { explain, paint: Paint::none() };
    let mut decoder = decoder(datagrams);
    let mut summary = Summary::default();
    let mut text = String::new();
    for packet in decoder.by_ref() {
        let packet = packet.unwrap();
        summary.take(&packet);
        text.push_str(&packet_text(&packet, style));
    }
    text.push_str(&summary.text(&decoder, style.paint));
    for (key, known) in decoder.describer().templates() {
        text.push('\n');
        text.push_str(&templates_text(&format!("templates of {}", key.source), &known, style));
    }
    text
}

fn json(datagrams: &[Vec<u8>], explain: bool) -> String {
    let lines = decoder(datagrams).map(|packet| packet_json(&packet.unwrap(), explain).unwrap());
    lines.map(|line| line + "\n").collect()
}

fn golden(name: &str, said: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decode").join(name);
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&file, said).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (at, (said, expected)) in said.lines().zip(expected.lines()).enumerate() {
        assert_eq!(said, expected, "{name}, line {}", at + 1);
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{name}");
}

#[test]
fn generated_messages_are_told_as_they_were() {
    let all = [
        ("ipfix", ipfix_messages()),
        ("netflow9", v9_messages()),
        ("netflow5", v5_messages()),
        ("sflow", sflow_messages()),
    ];
    for (name, datagrams) in all {
        golden(&format!("{name}.txt"), &text(&datagrams, false));
        golden(&format!("{name}-explain.txt"), &text(&datagrams, true));
        golden(&format!("{name}.jsonl"), &json(&datagrams, false));
    }
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    for datagrams in [ipfix_messages(), v9_messages(), v5_messages(), sflow_messages()] {
        for line in [text(&datagrams, false), text(&datagrams, true)].concat().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn every_line_of_json_is_an_object_of_the_documented_shape() {
    for datagrams in [ipfix_messages(), v9_messages(), v5_messages(), sflow_messages()] {
        for (line, number) in json(&datagrams, true).lines().zip(1u64..) {
            let packet: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(packet["packet"], number);
            for member in ["frame", "time", "source", "destination", "octets", "complaints"] {
                assert!(!packet[member].is_null(), "{member}: {line}");
            }
        }
    }
}

#[test]
fn an_exporters_control_characters_do_not_reach_the_terminal() {
    assert!(!text(&ipfix_messages(), false).contains('\u{1b}'));
}

/// The program itself, fed through a pipe.
#[test]
fn the_standard_input_is_read_as_it_comes() {
    let program = Path::new(env!("CARGO_BIN_EXE_weir"));
    let mut weir = Command::new(program)
        .args(["decode", "-", "--json", "--port", "2055", "--exporter", "192.0.2.0/24"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let file = pcap(&v5_messages());
    std::io::Write::write_all(weir.stdin.as_mut().unwrap(), &file).unwrap();
    // The input is still open: what is in it is said all the same.
    let mut said = std::io::BufReader::new(weir.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("\"protocol\":\"netflow5\""), "{line}");
    drop(weir.stdin.take());
    assert!(weir.wait().unwrap().success());
}
