//! weir's flows against another collector's, tuple by tuple.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_controlplane::lab::units::Sums;

use super::Conversation;
use super::findings::{Findings, Place};
use super::flows::{Flows, Tuple};
use super::peer::{Answer, Peer};

const ICMP: [u8; 2] = [1, 58];
/// TCP and UDP.
const WITH_PORTS: [u8; 2] = [6, 17];

/// Compares what both make of each conversation; the place is `peer:first file`. Of `ours` the first
/// counts both directions and the second one, and either may be the peer's.
pub fn compare(
    peer: Peer,
    conversations: &[Conversation],
    ours: &[Vec<Flows>; 2],
    theirs: &Answer,
) -> Findings {
    let mut findings = Findings::default();
    for (number, conversation) in conversations.iter().enumerate() {
        if theirs.unread.contains(&number) {
            continue;
        }
        let [both, forward] = [&ours[0], &ours[1]].map(|all| form(peer, &all[number], Sums::clone));
        let other = form(peer, &theirs.flows[number], |sums| received(peer, conversation, sums));
        let name = conversation.names.first().map(String::as_str).unwrap_or_default();
        let place = Place::of(&format!("{}:{name}", peer.name()));
        findings.compared.records += ours[0][number].total().flows;
        let tuples = both.iter().chain(other.iter()).map(|(tuple, _)| tuple);
        for tuple in tuples.collect::<BTreeSet<_>>() {
            let [both, forward, other] =
                [&both, &forward, &other].map(|flows| shown(peer, flows.of(tuple)));
            // Two addresses, two ports, the protocol and the sums.
            findings.compared.fields += 7;
            let agrees = other == both || other == forward;
            findings.judged(&place.record(tuple).field("flow"), agrees, other, both);
        }
    }
    findings
}

/// Flows as both can tell them.
///
/// nfdump 1.7.1 keeps of ICMP's type and code what some versions' records say, and of sFlow writes
/// them into the other port; pmacct has ports of TCP and UDP only. tshark is left to compare these.
/// What has neither address nor counter is no flow to everybody.
fn form(peer: Peer, flows: &Flows, counted: impl Fn(&Sums) -> Sums) -> Flows {
    let mut formed = Flows::default();
    for (tuple, sums) in flows.iter() {
        let mut tuple = *tuple;
        let has_ports = match peer {
            Peer::Nfdump => !ICMP.contains(&tuple.protocol),
            Peer::Pmacct => WITH_PORTS.contains(&tuple.protocol),
            Peer::Tshark => true,
        };
        if !has_ports {
            (tuple.source_port, tuple.destination_port) = (0, 0);
        }
        let absent = IpAddr::from([0; 16]);
        let nothing = Tuple::new(absent, absent, [0, 0], 0);
        if tuple == nothing && (sums.packets, sums.bytes) == (0, 0) {
            continue;
        }
        formed.add(tuple, counted(sums));
    }
    formed
}

/// What a peer received: sfcapd has multiplied by the sampling rate, of which packets tell.
fn received(peer: Peer, conversation: &Conversation, sums: &Sums) -> Sums {
    let Sums { flows, packets, bytes } = *sums;
    let rate = packets.checked_div(flows).unwrap_or(1).max(1);
    let is_scaled = peer == Peer::Nfdump && conversation.sflow;
    let is_exact = packets == rate * flows && bytes.is_multiple_of(rate);
    match is_scaled && is_exact {
        true => Sums { flows, packets: flows, bytes: bytes / rate },
        false => *sums,
    }
}

/// The sums, as far as the peer tells them: pmacct sums flows and does not count them.
fn shown(peer: Peer, sums: Sums) -> String {
    let Sums { flows, packets, bytes } = sums;
    match peer {
        Peer::Pmacct => format!("{packets} packets, {bytes} bytes"),
        _ => format!("{flows} flows, {packets} packets, {bytes} bytes"),
    }
}
