//! Every capture of the corpus, decoded by weir and by Debian's nfdump, tshark and pmacct: flows with
//! their tuples, packets and bytes agree, or the table of differences says who is wrong and why.

use weir_hwtests::corpus::differences::Table;
use weir_hwtests::corpus::peer::Peer;
use weir_hwtests::corpus::traffic::Traffic;
use weir_hwtests::corpus::{self, Conversation, differential};
use weir_hwtests::must;

/// Compares with one of them.
fn agrees(peer: Peer) {
    let Some(folder) = corpus::folder() else {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    if !peer.is_here() {
        println!("skipped: {} is not installed", peer.name());
        return;
    }
    let conversations = corpus::conversations(&folder);
    let traffic = Traffic::of(&conversations);
    assert_eq!(traffic.unread, [], "files of the manifest that cannot be read");
    // A peer that listens loses datagrams when the machine is busy: it has another chance.
    let faults = (0..3).map(|_| faults(peer, &conversations, &traffic)).find(String::is_empty);
    assert!(faults.is_some(), "three times in a row: see above");
}

/// What is not explained, or no longer so; nothing when peer and table agree with weir.
fn faults(peer: Peer, conversations: &[Conversation], traffic: &Traffic) -> String {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let theirs = must(peer.flows(traffic, scratch.path()));
    let findings = differential::compare(peer, conversations, &traffic.collected(), &theirs);
    let prefix = format!("{}:", peer.name());
    let verdict = Table::checked_in().judge(&findings, |file| file.starts_with(&prefix));
    println!(
        "{}: {} conversations, {} datagrams, {} flows, {} fields compared: {} differences, {} \
         explained, {} not",
        peer.name(),
        conversations.len() - theirs.unread.len(),
        traffic.sent.len(),
        findings.compared.records,
        findings.compared.fields,
        findings.differences.len(),
        verdict.explained,
        verdict.unexplained.len()
    );
    for number in &theirs.unread {
        println!("not read by {}: {}", peer.name(), traffic.names[*number]);
    }
    for line in &verdict.applied {
        println!("explained: {line}");
    }
    let wrong = verdict.unexplained.iter().map(|wrong| format!("not explained: {wrong}\n"));
    let outdated = verdict.outdated.iter().map(|line| format!("no longer so: {line}\n"));
    let faults: String = wrong.chain(outdated).collect();
    print!("{faults}");
    faults
}

#[test]
fn nfdump_reads_the_same_flows() {
    agrees(Peer::Nfdump);
}

#[test]
fn tshark_reads_the_same_flows() {
    agrees(Peer::Tshark);
}

#[test]
fn pmacct_reads_the_same_flows() {
    agrees(Peer::Pmacct);
}
