//! Every kind of frame that a datagram may come in by, at a proxy with two slaves: in both
//! distribution models, over AF_XDP and over sockets.
//!
//! Each kind has an exporter of its own, whose records differ from all others. What the slaves have
//! stored is asked of the master, record by record; what came to the slaves' devices is what tshark,
//! an independent reader, makes of it: the exporter's own address and port, right checksums, the same
//! records, no packet above the MTU, and sequence numbers without a gap.
//!
//! Needs: root, `ip`, `ethtool`, `tcpdump`, `tshark`.

use std::net::{IpAddr, SocketAddr};

use weir_controlplane::generate::Dialect;
use weir_controlplane::lab::units::{Group, PROXY, unconserved, unit};
use weir_controlplane::lab::{Cable, Error, Site};
use weir_controlplane::topology::Distribution;
use weir_hwtests::exporter::{Exporter, Flow, Shape};
use weir_hwtests::frames::{ONE_TAG, TWO_TAGS, Wrap};
use weir_hwtests::stage::{Stage, sent};
use weir_hwtests::witness::Seen;
use weir_hwtests::{can_run, must};

const LISTEN: u16 = 2055;
const SLAVES: [&str; 2] = ["slave1", "slave2"];
/// The largest packet towards a slave.
const EGRESS_MTU: usize = 1_500;
/// The largest packet towards the proxy.
const JUMBO: u32 = 9_000;
/// Datagrams of each kind.
const DATAGRAMS: usize = 4;
/// Frames a second.
const RATE: u32 = 4_000;

/// A kind of frame.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    v6: bool,
    dialect: Dialect,
    shape: Shape,
    /// In each datagram.
    records: u16,
    /// How the first datagram, which brings the templates, is packed.
    first: Wrap,
    /// How the others are.
    wrap: Wrap,
}

impl Kind {
    const fn v4(name: &'static str, wrap: Wrap) -> Kind {
        Kind {
            name,
            v6: false,
            dialect: Dialect::V9,
            shape: Shape::Full,
            records: 20,
            first: wrap,
            wrap,
        }
    }

    const fn v6(name: &'static str, wrap: Wrap) -> Kind {
        Kind { v6: true, dialect: Dialect::Ipfix, ..Kind::v4(name, wrap) }
    }

    const fn dialect(self, dialect: Dialect) -> Kind {
        Kind { dialect, ..self }
    }

    const fn first(self, first: Wrap) -> Kind {
        Kind { first, ..self }
    }

    const fn shape(self, shape: Shape, records: u16) -> Kind {
        Kind { shape, records, ..self }
    }
}

const ORDERED: Wrap = Wrap::Fragments { reversed: false };
const REVERSED: Wrap = Wrap::Fragments { reversed: true };

/// What any backend takes.
fn kinds() -> Vec<Kind> {
    vec![
        Kind::v4("v5 over IPv4", Wrap::Plain).dialect(Dialect::V5),
        Kind::v4("v9 over IPv4", Wrap::Plain),
        Kind::v4("IPFIX over IPv4", Wrap::Plain).dialect(Dialect::Ipfix),
        Kind::v6("v5 over IPv6", Wrap::Plain).dialect(Dialect::V5),
        Kind::v6("v9 over IPv6", Wrap::Plain).dialect(Dialect::V9),
        Kind::v6("IPFIX over IPv6", Wrap::Plain),
        Kind::v4("IPv4 with options", Wrap::Options),
        Kind::v6("IPv6 with hop-by-hop options", Wrap::Extensions(&[0])),
        Kind::v6("IPv6 with destination options", Wrap::Extensions(&[60])),
        Kind::v6("IPv6 with both", Wrap::Extensions(&[0, 60])),
        Kind::v4("IPv4 fragments", ORDERED).shape(Shape::Full, 100),
        Kind::v4("IPv4 fragments, last first", REVERSED).shape(Shape::Full, 100),
        Kind::v6("IPv6 fragments", ORDERED).shape(Shape::Full, 100),
        Kind::v6("IPv6 fragments, last first", REVERSED).shape(Shape::Full, 100),
        Kind::v4("no UDP checksum", Wrap::NoChecksum),
        Kind::v4("no UDP checksum, v5", Wrap::NoChecksum).dialect(Dialect::V5),
        Kind::v4("the smallest records, padded", Wrap::Padded).shape(Shape::Tiny, 1),
        Kind::v4("one record of v5, padded", Wrap::Padded)
            .shape(Shape::Full, 1)
            .dialect(Dialect::V5),
        Kind::v4("no record at all, padded to 60 bytes", Wrap::Padded)
            .shape(Shape::Bare, 0)
            .dialect(Dialect::Ipfix),
    ]
}

/// Data that overtakes its template: fragments take the kernel's way, and need longer.
fn overtaking() -> Vec<Kind> {
    vec![
        Kind::v4("templates in fragments, data whole", Wrap::Plain)
            .shape(Shape::Full, 45)
            .first(ORDERED),
        Kind::v6("templates in fragments, data whole, IPv6", Wrap::Plain)
            .shape(Shape::Full, 45)
            .dialect(Dialect::V9)
            .first(REVERSED),
    ]
}

/// What needs a VLAN device where sockets receive; XDP sees the tags itself.
fn tagged() -> Vec<Kind> {
    vec![
        Kind::v4("one VLAN tag", ONE_TAG),
        Kind::v6("one VLAN tag, IPv6", ONE_TAG),
        Kind::v4("two VLAN tags", TWO_TAGS),
        Kind::v6("two VLAN tags, IPv6", TWO_TAGS),
    ]
}

/// What needs a large MTU towards the proxy.
fn jumbo() -> Vec<Kind> {
    vec![
        Kind::v4("jumbo v9 over IPv4", Wrap::Plain).shape(Shape::Full, 280),
        Kind::v6("jumbo IPFIX over IPv6", Wrap::Plain).shape(Shape::Full, 220),
        Kind::v4("jumbo IPFIX over IPv4", Wrap::Plain)
            .shape(Shape::Full, 80)
            .dialect(Dialect::Ipfix),
    ]
}

/// Sends the datagrams of each kind, one kind after another, from an exporter each.
fn send(stage: &Stage, kinds: &[Kind]) -> Result<Vec<Exporter>, Error> {
    let mut exporters = Vec::new();
    let mut frames = Vec::new();
    for (number, kind) in (1_u8..).zip(kinds) {
        let mut exporter = Exporter::new(stage.exporter(number, kind.v6), number, kind.dialect);
        for datagram in 0..DATAGRAMS {
            let (wrap, message) = match datagram {
                0 => (kind.first, exporter.first(kind.shape, kind.records)),
                _ => (kind.wrap, exporter.next(kind.shape, kind.records)),
            };
            frames.extend(stage.frames(wrap, &exporter, &message));
        }
        exporters.push(exporter);
    }
    stage.send(&frames, RATE)?;
    Ok(exporters)
}

/// What is wrong with what came of one kind.
fn faults(kind: &Kind, exporter: &Exporter, seen: &[&Seen], whole: bool) -> Vec<String> {
    let from = |seen: &Seen| -> Vec<_> {
        seen.messages.iter().filter(|m| m.source == exporter.at()).cloned().collect()
    };
    let messages: Vec<_> = seen.iter().flat_map(|seen| from(seen)).collect();
    let mut flows: Vec<Flow> = messages.iter().flat_map(|m| m.flows.clone()).collect();
    flows.sort();
    let mut sent = exporter.flows().to_vec();
    sent.sort();
    let mut faults = Vec::new();
    // Whole datagrams overtake each other as on any way; then only a slave that lets data wait for its
    // template reads them all.
    let may_overtake = whole && kind.first != kind.wrap;
    if flows != sent && !may_overtake {
        let counts = (sent.len(), flows.len());
        faults.push(format!("{}: {} records sent, tshark sees {}", kind.name, counts.0, counts.1));
    }
    // A checksum that the exporter left out may stay out where the packet goes on as it came.
    let may_lack = whole && kind.wrap == Wrap::NoChecksum;
    if !may_lack && messages.iter().any(|message| !message.checksum) {
        faults.push(format!("{}: a message without a UDP checksum", kind.name));
    }
    if whole && messages.len() != DATAGRAMS {
        faults.push(format!("{}: {DATAGRAMS} datagrams, seen {}", kind.name, messages.len()));
    }
    if whole && seen.iter().filter(|seen| !from(seen).is_empty()).count() > 1 {
        faults.push(format!("{}: one exporter's datagrams came to both slaves", kind.name));
    }
    faults
}

/// What is wrong with what came to one slave.
fn at_a_slave(site: &Site, seen: &Seen) -> Vec<String> {
    let slave = &site.name;
    let mut faults = seen.gaps();
    if seen.longest > EGRESS_MTU {
        faults.push(format!("{slave}: a packet of {} bytes", seen.longest));
    }
    let own = |ip: IpAddr| ip == site.v4 || site.v6.is_some_and(|v6| ip == v6);
    if let Some(message) = seen.messages.iter().find(|message| !own(message.to.ip())) {
        faults.push(format!("{slave}: a message to {}", message.to));
    }
    faults
}

fn matrix(test: &str, distribution: Distribution, io: &'static str) {
    if !can_run(test, &["ip", "ethtool", "tcpdump", "tshark"]) {
        return;
    }
    let mut kinds = kinds();
    kinds.extend(overtaking());
    kinds.extend(jumbo());
    match io {
        "afxdp" => kinds.extend(tagged()),
        _ => println!("{test}: no VLAN tags, which the kernel takes away before a socket"),
    }
    let cable = Cable { mtu: JUMBO, ..Cable::default() };
    let group = Group::new(distribution, io, LISTEN, &SLAVES);
    let mut stage = must(Stage::build(group, cable, &[]));
    let exporters = must(send(&stage, &kinds));
    let flows = exporters.iter().map(|exporter| exporter.flows().len()).sum();
    let status = must(stage.settle(kinds.len() * DATAGRAMS, flows));
    let backend = unit(&status, PROXY).map(|proxy| proxy.backend.clone()).unwrap_or_default();
    let stored = must(stage.stored());
    let seen = must(stage.seen(stage.units.slave_port()));

    let whole = distribution == Distribution::FlowSource;
    let mut wrong: Vec<String> =
        unconserved(&status).iter().map(|u| format!("{u} loses")).collect();
    for (kind, exporter) in kinds.iter().zip(&exporters) {
        let got = stored.get(&exporter.at().ip()).cloned().unwrap_or_default();
        println!("{:>6} records stored: {}", got.len(), kind.name);
        if got != sent(exporter.flows()).remove(&exporter.at().ip()).unwrap_or_default() {
            wrong.push(format!("{}: not what was sent is stored", kind.name));
        }
        let seen: Vec<_> = seen.values().collect();
        wrong.extend(faults(kind, exporter, &seen, whole));
    }
    for (slave, seen) in &seen {
        println!("{slave}: {} messages, the longest packet {}", seen.messages.len(), seen.longest);
        let overtaken = |source: SocketAddr| {
            let mut all = kinds.iter().zip(&exporters);
            whole && all.any(|(kind, exporter)| exporter.at() == source && kind.first != kind.wrap)
        };
        wrong.extend(seen.oddities(|source| !overtaken(source)));
        wrong.extend(at_a_slave(stage.units.network().site(slave), seen));
    }
    for verdict in unit(&status, PROXY).iter().flat_map(|proxy| &proxy.verdicts) {
        println!("{:>6} frames {}", verdict.count, verdict.meaning);
    }
    let traffic = unit(&status, PROXY).and_then(|proxy| proxy.traffic.clone()).unwrap_or_default();
    // While the way to a slave is being found out, user space passes on what the kernel could.
    let verdicts = unit(&status, PROXY).map(|proxy| proxy.verdicts.clone()).unwrap_or_default();
    let unresolved = verdicts.iter().find(|verdict| verdict.name == "socket_unresolved");
    let could = traffic.datagrams_forwarded + unresolved.map_or(0, |verdict| verdict.count);
    let forwards = traffic.datagrams_forwarded > 0 && could * 2 > traffic.datagrams_received;
    if whole && io == "afxdp" && !forwards {
        wrong.push("the kernel could forward less than half".into());
    }
    assert!(wrong.is_empty(), "{test} ({backend}):\n{}\n{traffic:#?}", wrong.join("\n"));
}

#[test]
fn round_robin_over_af_xdp_takes_every_kind_of_frame() {
    matrix("round_robin_over_af_xdp", Distribution::RoundRobin, "afxdp");
}

#[test]
fn round_robin_over_sockets_takes_every_kind_of_frame() {
    matrix("round_robin_over_sockets", Distribution::RoundRobin, "socket");
}

#[test]
fn flow_source_over_af_xdp_takes_every_kind_of_frame() {
    matrix("flow_source_over_af_xdp", Distribution::FlowSource, "afxdp");
}

#[test]
fn flow_source_over_sockets_takes_every_kind_of_frame() {
    matrix("flow_source_over_sockets", Distribution::FlowSource, "socket");
}
