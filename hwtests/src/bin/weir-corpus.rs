//! Decodes a folder of captures of any kind, and says what it made of each.
//!
//! `weir-corpus DIR` (or `WEIR_CORPUS=DIR weir-corpus`) reads every file below it: pcap, pcapng,
//! IPFIX files, bare payloads, hex dumps, each packed or not. Of each it prints counts and
//! complaints; expected decodes beside captures are compared field by field, and where nfdump, tshark
//! or pmacct are installed their flows are held against weir's.
//!
//! It ends with 0 when nothing differs that the table of differences does not explain, with 1 when
//! something does, and with 2 when a file made weir panic.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_hwtests::corpus::decoded::{Counts, Decoded};
use weir_hwtests::corpus::differences::Table;
use weir_hwtests::corpus::findings::Findings;
use weir_hwtests::corpus::peer::Peer;
use weir_hwtests::corpus::traffic::Traffic;
use weir_hwtests::corpus::{Conversation, conversations, differential, expected, folder};

/// Differences of one kind that are printed.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let mut paths = Vec::new();
    let mut peers = true;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--no-peers" => peers = false,
            "-h" | "--help" => {
                println!("weir-corpus [--no-peers] DIR|FILE…");
                return ExitCode::SUCCESS;
            }
            path => paths.push(PathBuf::from(path)),
        }
    }
    paths.extend(std::env::var_os("WEIR_CORPUS").map(PathBuf::from).filter(|_| paths.is_empty()));
    if paths.is_empty() {
        eprintln!("weir-corpus [--no-peers] DIR|FILE…");
        return ExitCode::from(64);
    }
    let mut worst = 0;
    for path in paths {
        worst = worst.max(run(&path, peers));
    }
    ExitCode::from(worst)
}

fn run(path: &Path, peers: bool) -> u8 {
    if !path.exists() {
        eprintln!("{}: there is no such file", path.display());
        return 64;
    }
    let mut worst = 0;
    let known = path.join("MANIFEST.tsv").is_file();
    let (conversations, refused) = match known {
        true => (conversations(path), Vec::new()),
        false => folder::conversations(path),
    };
    println!(
        "{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  file",
        "datagrams", "messages", "templates", "flows", "others", "fields", "complain"
    );
    let mut total = Counts::default();
    for conversation in &conversations {
        match catch_unwind(AssertUnwindSafe(|| Decoded::of(&conversation.files))) {
            Ok(decoded) => {
                let counts = decoded.counts();
                show(conversation, &decoded, &counts);
                add(&mut total, &counts);
            }
            Err(_) => {
                println!("weir panicked over {:?}", conversation.names);
                worst = 2;
            }
        }
    }
    row(&total, &format!("{} conversations", conversations.len()));
    for (file, reason) in &refused {
        println!("no capture: {file}: {reason}");
    }
    let mut findings = Findings::default();
    for one in expected::find(path) {
        match one.compare() {
            Ok(found) => {
                println!(
                    "expected: {}: {} records, {} fields compared, {} differ",
                    one.name,
                    found.compared.records,
                    found.compared.fields,
                    found.differences.len()
                );
                findings.add(found);
            }
            Err(reason) => println!("expected: {}: {reason}", one.name),
        }
    }
    if peers {
        findings.add(with_peers(&conversations));
    }
    worst.max(judge(&findings))
}

/// Prints what the table does not explain.
fn judge(findings: &Findings) -> u8 {
    let verdict = Table::checked_in().judge(findings, |_| false);
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for difference in &verdict.unexplained {
        by_file.entry(&difference.place.file).or_default().push(difference.to_string());
    }
    for (file, differences) in &by_file {
        println!("{} differences: {file}", differences.len());
        for difference in differences.iter().take(SHOWN) {
            println!("    {difference}");
        }
    }
    println!(
        "{} differences, {} explained by the table",
        findings.differences.len(),
        verdict.explained
    );
    u8::from(!verdict.unexplained.is_empty())
}

fn with_peers(conversations: &[Conversation]) -> Findings {
    let traffic = Traffic::of(conversations);
    let ours = traffic.collected();
    let mut findings = Findings::default();
    for peer in Peer::ALL {
        if !peer.is_here() {
            println!("{}: not installed", peer.name());
            continue;
        }
        let scratch = match tempfile::tempdir() {
            Ok(scratch) => scratch,
            Err(error) => {
                println!("{}: {error}", peer.name());
                continue;
            }
        };
        match peer.flows(&traffic, scratch.path()) {
            Ok(answer) => {
                let found = differential::compare(peer, conversations, &ours, &answer);
                println!(
                    "{}: {} flows, {} fields compared, {} tuples differ",
                    peer.name(),
                    found.compared.records,
                    found.compared.fields,
                    found.differences.len()
                );
                for number in &answer.unread {
                    println!("not read by {}: {}", peer.name(), traffic.names[*number]);
                }
                findings.add(found);
            }
            Err(reason) => println!("{}: {reason}", peer.name()),
        }
    }
    findings
}

/// Prints a conversation's counts and complaints.
fn show(conversation: &Conversation, decoded: &Decoded, counts: &Counts) {
    let names: Vec<_> = conversation.names.iter().map(String::as_str).collect();
    row(counts, &names.join(" + "));
    for (file, reason) in &decoded.unread {
        println!("    unread: {}: {reason}", file.display());
    }
    let skipped = decoded.skipped;
    let frames = [
        ("not IP", skipped.not_ip),
        ("not UDP", skipped.not_udp),
        ("cut short", skipped.cut_short),
        ("malformed", skipped.malformed),
        ("fragments without the rest", skipped.fragments),
    ];
    let frames = frames.iter().filter(|(_, count)| *count > 0);
    let frames: Vec<_> = frames.map(|(what, count)| format!("{count} {what}")).collect();
    if !frames.is_empty() {
        println!("    frames: {}", frames.join(", "));
    }
    let mut complaints: BTreeMap<_, (u64, String)> = BTreeMap::new();
    for description in &decoded.descriptions {
        for complaint in &description.complaints {
            let known = complaints.entry(complaint.kind).or_insert_with(|| {
                let place = &complaint.place;
                let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
                (0, format!("datagram {}, {at}{}", description.number, complaint.text))
            });
            known.0 += 1;
        }
    }
    for (kind, (count, first)) in complaints {
        println!("    {} {} {}: {first}", kind.severity().name(), count, kind.name());
    }
    for (reason, count) in &decoded.discarded {
        println!("    discarded {count} {}", reason.name());
    }
}

fn row(counts: &Counts, name: &str) {
    let Counts { datagrams, messages, templates, records, options, fields, complaints } = counts;
    println!(
        "{datagrams:>9} {messages:>9} {templates:>9} {records:>9} {options:>9} {fields:>9} \
         {complaints:>9}  {name}"
    );
}

fn add(total: &mut Counts, counts: &Counts) {
    total.datagrams += counts.datagrams;
    total.messages += counts.messages;
    total.templates += counts.templates;
    total.records += counts.records;
    total.options += counts.options;
    total.fields += counts.fields;
    total.complaints += counts.complaints;
}
