//! What options data, headers and the topology file say of sampling and of names, over the collector
//! as a slave runs it; and the valve.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig, Sampling};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::sampling::{Override, Overrides};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::Batch;
use weir_store::names::NameKind;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Lab {
    collector: Collector,
    counters: Arc<Counters>,
}

impl Lab {
    fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 1 << 20,
        };
        Lab { collector: Collector::new(config, Arc::clone(&counters)), counters }
    }

    fn send(&mut self, source: &str, payload: &[u8]) {
        let source = source.parse().unwrap();
        let datagram = Datagram { source, destination: "10.0.0.9:2055".parse().unwrap(), payload };
        self.collector.datagram(&datagram, NOW);
    }

    /// An IPFIX message of this observation domain.
    fn ipfix(&mut self, domain: u32, sets: &[Vec<u8>]) {
        let sets = sets.concat();
        let mut message = [10, 16 + sets.len() as u16].map(u16::to_be_bytes).concat();
        message.extend([1_800_000_000, 0, domain].map(u32::to_be_bytes).concat());
        message.extend(sets);
        self.send("192.0.2.1:4000", &message);
    }

    fn configure(&mut self, entries: &[(&str, Option<u32>, u32)], keep_one_in: u32) {
        let entry = |&(source, interface, rate): &(&str, Option<u32>, u32)| Override {
            source: source.parse().unwrap(),
            length: 32,
            interface,
            rate,
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let overrides = Overrides::new(&entries);
        self.collector.configure(Arc::new(Sampling { overrides, keep_one_in }));
    }

    fn rows(&mut self) -> Batch {
        self.collector.take_batch().unwrap_or_default()
    }

    /// The rates of the rows since last asked.
    fn rates(&mut self) -> Vec<u32> {
        let rows = self.rows();
        let mut rates = rows.sampling_rate.clone();
        rates.resize(rows.rows(), 0);
        rates
    }

    fn names(&mut self) -> Vec<(NameKind, u64, String, String)> {
        let told = self.collector.take_names().unwrap_or_default();
        let of = told.iter().map(|naming| {
            (naming.kind, naming.id, naming.name.into_owned(), naming.description.into_owned())
        });
        of.collect()
    }
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    [&[id, 4 + body.len() as u16].map(u16::to_be_bytes).concat(), body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A template set: this id, and fields of four bytes.
fn template(id: u16, fields: &[u16]) -> Vec<u8> {
    let mut body = vec![id, fields.len() as u16];
    body.extend(fields.iter().flat_map(|&field| [field, 4]));
    set(2, &body.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
}

/// An options template set: this id, and fields of four bytes, so many of them the scope.
fn options(id: u16, scope: u16, fields: &[u16]) -> Vec<u8> {
    let mut body = vec![id, fields.len() as u16, scope];
    body.extend(fields.iter().flat_map(|&field| [field, 4]));
    set(3, &body.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
}

/// Flows of template 256, `ingressInterface` and `octetDeltaCount`.
fn flows(interfaces: &[u32]) -> Vec<u8> {
    set(256, &interfaces.iter().flat_map(|&interface| words(&[interface, 99])).collect::<Vec<_>>())
}

#[test]
fn a_rate_from_options_data_holds_from_then_on() {
    let mut lab = Lab::new();
    let sampled = |rate| set(300, &words(&[1, rate]));
    lab.ipfix(5, &[template(256, &[10, 1]), flows(&[7]), options(300, 1, &[143, 34])]);
    lab.ipfix(5, &[sampled(100), flows(&[7, 8])]);
    lab.ipfix(5, &[flows(&[7]), sampled(10), flows(&[7]), sampled(0), flows(&[7])]);
    assert_eq!(lab.rates(), [0, 100, 100, 100, 10, 1]);
    assert_eq!(lab.rows().rows(), 0);
}

#[test]
fn rates_stay_in_their_observation_domain_unless_the_record_names_another() {
    let mut lab = Lab::new();
    for domain in [5, 6] {
        lab.ipfix(domain, &[template(256, &[10, 1])]);
    }
    lab.ipfix(5, &[options(300, 1, &[149, 34]), set(300, &words(&[5, 50, 6, 60, 7, 70]))]);
    for domain in [5, 6, 7] {
        lab.ipfix(domain, &[template(256, &[10, 1]), flows(&[7])]);
    }
    assert_eq!(lab.rates(), [50, 60, 0]);
}

#[test]
fn interfaces_and_templates_may_have_rates_of_their_own() {
    let mut lab = Lab::new();
    let scoped = [options(300, 1, &[10, 34]), options(301, 2, &[149, 145, 34])];
    lab.ipfix(5, &[template(256, &[10, 1]), template(257, &[4]), scoped.concat()]);
    lab.ipfix(5, &[set(300, &words(&[7, 70])), set(301, &words(&[5, 257, 20]))]);
    lab.ipfix(5, &[flows(&[7, 8, 7]), set(257, &words(&[6]))]);
    assert_eq!(lab.rates(), [70, 0, 70, 20]);
}

#[test]
fn held_records_have_the_rate_that_is_known_when_they_can_be_read() {
    let mut lab = Lab::new();
    lab.ipfix(5, &[options(300, 1, &[143, 34]), set(300, &words(&[1, 100])), flows(&[7])]);
    lab.ipfix(5, &[template(256, &[10, 1])]);
    assert_eq!(lab.rates(), [100]);
}

fn v5(sampling: u16, records: u16) -> Vec<u8> {
    let mut packet = [5, records].map(u16::to_be_bytes).concat();
    packet.extend(words(&[1000, 1_800_000_000, 0, 0]));
    packet.extend([0, 0]);
    packet.extend(sampling.to_be_bytes());
    packet.resize(24 + 48 * usize::from(records), 7);
    packet
}

#[test]
fn a_header_of_version_5_says_the_rate() {
    let mut lab = Lab::new();
    for sampling in [0x4000 | 100, 0x8000 | 10, 0, 50] {
        lab.send("192.0.2.1:4000", &v5(sampling, 2));
    }
    assert_eq!(lab.rates(), [100, 100, 10, 10, 0, 0, 50, 50]);
}

#[test]
fn the_topology_file_overrides_at_once_and_for_new_exporters() {
    let mut lab = Lab::new();
    lab.send("192.0.2.1:4000", &v5(10, 1));
    lab.configure(&[("192.0.2.1", None, 1000), ("192.0.2.2", Some(0x0707), 500)], 1);
    lab.send("192.0.2.1:4000", &v5(10, 1));
    lab.send("192.0.2.2:4000", &v5(10, 1));
    lab.send("192.0.2.3:4000", &v5(10, 1));
    lab.configure(&[], 1);
    lab.send("192.0.2.1:4000", &v5(10, 1));
    assert_eq!(lab.rates(), [10, 1000, 500, 10, 10]);
}

#[test]
fn the_valve_keeps_one_record_in_so_many_and_counts_the_others() {
    let mut lab = Lab::new();
    lab.send("192.0.2.1:4000", &v5(10, 20));
    lab.configure(&[], 10);
    for _ in 0..20 {
        lab.send("192.0.2.1:4000", &v5(10, 20));
    }
    lab.ipfix(5, &[template(256, &[10, 1]), flows(&[7; 100])]);
    let variable = [&[1, 1, 0, 1, 0, 82, 0xff, 0xff][..]].concat();
    lab.ipfix(5, &[set(2, &variable), set(257, &[1, b'x'].repeat(100))]);
    lab.configure(&[], 1);
    lab.send("192.0.2.1:4000", &v5(10, 20));
    let rows = lab.rows();
    assert_eq!(rows.rows(), 20 + 40 + 10 + 10 + 20);
    assert_eq!(rows.kept_one_in[..20], [0; 20]);
    assert_eq!(rows.kept_one_in[20..80], [10; 60]);
    assert_eq!(rows.kept_one_in[80..], [0; 20]);
    assert_eq!(rows.sampling_rate[20..60], [10; 40]);
    assert_eq!(lab.counters.discarded(Discard::SampledOut), 360 + 90 + 90);
    let decoded = lab.counters.records_decoded.get();
    assert_eq!(decoded, 640, "what is left out was decoded");
    assert_eq!(lab.counters.sequence_lost.get(), 0);
}

#[test]
fn names_are_taken_once_and_when_they_change() {
    let mut lab = Lab::new();
    let body = [300u16, 3, 1, 10, 4, 82, 8, 83, 8].map(u16::to_be_bytes).concat();
    let name = |index: u32, name: &[u8; 8]| {
        set(300, &[&index.to_be_bytes()[..], name, b"to\0Rome\0"].concat())
    };
    lab.ipfix(5, &[set(3, &body), name(7, b"ge-0/0/7"), name(8, b"ge-0/0/8")]);
    let expected = |id, text: &str| (NameKind::Interface, id, text.to_owned(), "to".to_owned());
    assert_eq!(lab.names(), [expected(7, "ge-0/0/7"), expected(8, "ge-0/0/8")]);
    lab.ipfix(5, &[name(7, b"ge-0/0/7"), name(8, b"uplink\0\0")]);
    assert_eq!(lab.names(), [expected(8, "uplink")]);
    assert_eq!(lab.counters.names_lost.get(), 0);
}

#[test]
fn what_cannot_be_taken_of_names_and_rates_is_counted() {
    let mut lab = Lab::new();
    lab.ipfix(5, &[options(300, 1, &[10, 82]), options(301, 1, &[10, 34])]);
    for begin in (1..20_000u32).step_by(100) {
        let record = |index: u32| words(&[index, 0x6162_6364]);
        let names: Vec<u8> = (begin..begin + 100).flat_map(record).collect();
        lab.ipfix(5, &[set(300, &names), set(301, &names)]);
    }
    let names = lab.names().len() as u64;
    assert_eq!(names + lab.counters.names_lost.get(), 20_000);
    assert!(names > 1_000 && lab.counters.names_lost.get() > 1_000, "{names}");
    let refused = lab.counters.rates_refused.get();
    assert!(refused > 1_000 && refused < 19_000, "{refused}");
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.tsv").is_file().then_some(folder)
}

/// The UDP payloads of a classic little-endian capture over Ethernet, without fragments and options.
fn payloads(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = &bytes[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + length];
        let tags = frame[12..].chunks(4).take_while(|tag| tag[..2] == [0x81, 0]).count();
        let packet = &frame[14 + 4 * tags..];
        let (source, udp) = match packet[0] >> 4 {
            4 => {
                let address: [u8; 4] = packet[12..16].try_into().unwrap();
                let end = u16::from_be_bytes([packet[2], packet[3]]).into();
                (std::net::IpAddr::from(address), &packet[20..end])
            }
            _ => {
                let address: [u8; 16] = packet[8..24].try_into().unwrap();
                let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
                (std::net::IpAddr::from(address), &packet[40..end])
            }
        };
        let port = u16::from_be_bytes([udp[0], udp[1]]);
        found.push((std::net::SocketAddr::new(source, port).to_string(), udp[8..].to_vec()));
        rest = &rest[16 + length..];
    }
    found
}

fn replayed(file: &str) -> Option<Lab> {
    let Some(folder) = corpus() else {
        eprintln!("skipped: no corpus; name its folder in WEIR_CORPUS");
        return None;
    };
    let mut lab = Lab::new();
    for (source, payload) in payloads(&std::fs::read(folder.join(file)).unwrap()) {
        lab.send(&source, &payload);
    }
    Some(lab)
}

#[test]
fn routers_say_their_rates_in_many_ways() {
    const NETFLOW: &str = "akvorado/outlet/flow/decoder/netflow/testdata";
    for (file, expected) in [
        // The scope is the system, of no bytes.
        (format!("{NETFLOW}/data+templates.pcap"), 100),
        // One of ten packets: an interval of 1 and a space of 9, by template.
        (format!("{NETFLOW}/mpls.pcap"), 10),
        // softflowd, for an interface 0.
        ("generated/softflowd-v9-ipv6transport-sampled.pcap".to_owned(), 10),
    ] {
        let Some(mut lab) = replayed(&file) else { return };
        let rates = lab.rates();
        assert!(!rates.is_empty(), "{file}");
        assert!(rates.iter().all(|&rate| rate == expected), "{file}: {rates:?}");
    }
}

#[test]
fn routers_name_their_interfaces_and_vrfs() {
    const ROUTER: &str = "NetGauze/assets/pcaps/pmacct-tests/500-IPFIXv10-BGP-CISCO-SRv6";
    let Some(mut lab) = replayed(&format!("{ROUTER}/traffic-00.pcap")) else { return };
    let names = lab.names();
    let of = |kind, id| names.iter().find(|name| (name.0, name.1) == (kind, id));
    let interface = of(NameKind::Interface, 0x2a).unwrap();
    assert_eq!((&*interface.2, &*interface.3), ("TenGigE0_0_0_0", "TenGigE0/0/0/0"));
    assert_eq!(of(NameKind::Vrf, 0x6000_0001).unwrap().2, "D10");
    assert_eq!(of(NameKind::Vrf, 0x6000_0000).unwrap().2, "default");
}
