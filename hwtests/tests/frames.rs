//! Every kind of frame that a datagram may come in by, at a proxy with two slaves: in both
//! distribution models, over AF_XDP and over sockets.
//!
//! Each kind has an exporter of its own, whose records differ from all others. What the slaves have
//! stored is asked of the master, record by record; what came to the slaves' devices is what tshark,
//! an independent reader, makes of it: the exporter's own address and port, right checksums, the same
//! records, no packet above the MTU, and sequence numbers without a gap.
//!
//! Needs: root, `ip`, `ethtool`, `tcpdump`, `tshark`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use weir_controlplane::generate::Dialect;
use weir_controlplane::lab::units::{EXPORTERS, Group, MASTER, PROXY, Units, unconserved, unit};
use weir_controlplane::lab::{Cable, Error, Network, wait_for};
use weir_controlplane::topology::Distribution;
use weir_hwtests::exporter::{Exporter, Flow, Shape};
use weir_hwtests::frames::{self, Hop, ONE_TAG, TWO_TAGS, Wrap};
use weir_hwtests::witness::{Seen, Witness};
use weir_hwtests::{can_run, must, weir};

const LISTEN: u16 = 2055;
const SLAVES: [&str; 2] = ["slave1", "slave2"];
/// The largest packet towards a slave.
const EGRESS_MTU: usize = 1_500;
/// The largest packet towards the proxy.
const JUMBO: u32 = 9_000;
/// Datagrams of each kind.
const DATAGRAMS: usize = 4;

/// The program of this package that writes frames.
fn sender() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_send-frames"))
}

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
            .shape(Shape::Full, 35)
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

/// A lab with a proxy and two slaves of weir's, and a witness at each slave.
struct Stage {
    units: Units,
    witnesses: Vec<Witness>,
    hop: Hop,
}

impl Stage {
    fn build(distribution: Distribution, io: &'static str, mtu: u32) -> Result<Stage, Error> {
        let wide = Cable { mtu, ..Cable::default() };
        let mut sites = vec![(EXPORTERS, wide), (PROXY, wide), (MASTER, Cable::default())];
        sites.extend(SLAVES.map(|name| (name, Cable::default())));
        let network = Network::wired(&sites)?;
        let group = Group::new(distribution, io, LISTEN, &SLAVES);
        let units = Units::start(network, &weir(), group)?;
        let network = units.network();
        let hop = Hop::between(network.site(EXPORTERS), network.site(PROXY))?;
        let record = |name: &&str| Witness::start(network.site(name), units.folder());
        let witnesses = SLAVES.iter().map(record).collect::<Result<_, _>>()?;
        Ok(Stage { units, witnesses, hop })
    }

    /// Where exporters of this IP version send to.
    fn target(&self, v6: bool) -> SocketAddr {
        must(self.units.target(v6).parse())
    }

    /// Sends the datagrams of each kind, one kind after another, from an exporter each.
    fn send(&self, kinds: &[Kind]) -> Result<Vec<Exporter>, Error> {
        let mut exporters = Vec::new();
        let mut all = Vec::new();
        for (number, kind) in (1_u8..).zip(kinds) {
            let address = self.units.network().exporter(u16::from(number), kind.v6);
            let at = SocketAddr::new(address, 40_000 + u16::from(number));
            let mut exporter = Exporter::new(at, number, kind.dialect);
            for datagram in 0..DATAGRAMS {
                let (wrap, payload) = match datagram {
                    0 => (kind.first, exporter.first(kind.shape, kind.records)),
                    _ => (kind.wrap, exporter.next(kind.shape, kind.records)),
                };
                let identification = u16::from(number) << 8 | datagram as u16;
                let to = self.target(kind.v6);
                all.extend(self.hop.frames(wrap, at, to, &payload, identification));
            }
            exporters.push(exporter);
        }
        frames::send(self.units.network().site(EXPORTERS), sender(), &all)?;
        Ok(exporters)
    }

    /// Waits until everything has settled and the slaves have stored so many flows, or for as long as
    /// a test can.
    fn settle(&self, datagrams: usize, flows: usize) {
        must(self.units.wait_settled(datagrams as u64));
        let stored = wait_for("the flows to be stored", 10, || {
            Ok((self.units.sums("any")?.flows >= flows as u64).then_some(()))
        });
        // What is missing is told by the comparison.
        drop(stored);
    }

    /// What each slave's device saw.
    fn seen(&mut self) -> Vec<Seen> {
        let port = self.units.slave_port();
        self.witnesses.drain(..).map(|witness| must(witness.finish(port))).collect()
    }
}

/// Stored flows by exporter's address, sorted: destination, packets, bytes.
fn stored(units: &Units) -> BTreeMap<IpAddr, Vec<(IpAddr, u64, u64)>> {
    let answer = must(units.query(&["any", "-s", "router,dstip/flows", "-n", "0"]));
    assert_eq!((answer.coverage.asked(), answer.coverage.answered()), (2, 2));
    let mut all: BTreeMap<IpAddr, Vec<_>> = BTreeMap::new();
    for row in &answer.rows {
        let address = |column: &str| row.get(column).and_then(|v| v.as_str()?.parse().ok());
        let number = |column: &str| row.get(column).and_then(serde_json::Value::as_u64);
        let (Some(exporter), Some(destination)) =
            (address("exporter"), address("destination_address"))
        else {
            panic!("an exporter and a destination in {row:?}")
        };
        let (packets, bytes) = (number("packets"), number("bytes"));
        let flow = (destination, packets.unwrap_or(0), bytes.unwrap_or(0));
        for _ in 0..number("flows").unwrap_or(0) {
            all.entry(exporter).or_default().push(flow);
        }
    }
    all.values_mut().for_each(|flows| flows.sort());
    all
}

/// Flows of one exporter, as [`stored`] gives them.
fn plain(flows: &[Flow]) -> Vec<(IpAddr, u64, u64)> {
    let mut all: Vec<_> =
        flows.iter().map(|flow| (IpAddr::V4(flow.destination), flow.packets, flow.bytes)).collect();
    all.sort();
    all
}

/// What is wrong with what came of one kind.
fn faults(kind: &Kind, exporter: &Exporter, seen: &[Seen], whole: bool) -> Vec<String> {
    let from = |seen: &Seen| -> Vec<_> {
        seen.messages.iter().filter(|m| m.source == exporter.at()).cloned().collect()
    };
    let messages: Vec<_> = seen.iter().flat_map(from).collect();
    let mut flows: Vec<Flow> = messages.iter().flat_map(|m| m.flows.clone()).collect();
    flows.sort();
    let mut sent = exporter.flows().to_vec();
    sent.sort();
    let mut faults = Vec::new();
    if flows != sent {
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
    let mut stage = must(Stage::build(distribution, io, JUMBO));
    let exporters = must(stage.send(&kinds));
    let flows = exporters.iter().map(|exporter| exporter.flows().len()).sum();
    stage.settle(kinds.len() * DATAGRAMS, flows);
    let status = must(stage.units.status());
    let backend = unit(&status, PROXY).map(|proxy| proxy.backend.clone()).unwrap_or_default();
    let stored = stored(&stage.units);
    let seen = stage.seen();

    let whole = distribution == Distribution::FlowSource;
    let mut wrong: Vec<String> =
        unconserved(&status).iter().map(|u| format!("{u} loses")).collect();
    for (kind, exporter) in kinds.iter().zip(&exporters) {
        let got = stored.get(&exporter.at().ip()).cloned().unwrap_or_default();
        println!("{:>6} records stored: {}", got.len(), kind.name);
        if got != plain(exporter.flows()) {
            wrong.push(format!("{}: not what was sent is stored", kind.name));
        }
        wrong.extend(faults(kind, exporter, &seen, whole));
    }
    for (slave, seen) in SLAVES.iter().zip(&seen) {
        println!("{slave}: {} messages, the longest packet {}", seen.messages.len(), seen.longest);
        wrong.extend(seen.wrong.iter().chain(&seen.gaps()).map(|what| format!("{slave}: {what}")));
        if seen.longest > EGRESS_MTU {
            wrong.push(format!("{slave}: a packet of {} bytes", seen.longest));
        }
        let network = stage.units.network();
        let addresses = [IpAddr::V4(network.site(slave).v4)]
            .into_iter()
            .chain(network.site(slave).v6.map(IpAddr::V6))
            .collect::<Vec<_>>();
        if seen.messages.iter().any(|message| !addresses.contains(&message.to.ip())) {
            wrong.push(format!("{slave}: a message to another address"));
        }
    }
    let traffic = unit(&status, PROXY).and_then(|proxy| proxy.traffic.clone());
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
