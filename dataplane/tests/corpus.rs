//! The corpus of real captures, decoded in memory: prints each file's datagrams and records, and
//! holds the counters' conservation over all of them. What the records say is compared elsewhere,
//! with other collectors.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Unit;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::{Counters, Timestamp};

mod captures;

use captures::{corpus, read};

/// Protocols, as the manifest names them.
const PROTOCOLS: [&str; 7] = ["v1", "v5", "v7", "v9", "ipfix", "sflow5", "sflow5+v5"];
/// Those whose files alone do not say how many flows there are: templates stand in other files of
/// the exporter, or a file is there for what its header claims and its bytes lack.
const NOT_COUNTED: [&str; 3] = ["v5", "v9", "ipfix"];

#[test]
fn every_file_decodes_and_its_counters_add_up() {
    let Some(folder) = corpus() else {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv")).expect("a manifest");
    let mut records = 0;
    for line in manifest.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, _, _, protocol, _, flows, ..] = fields[..] else { continue };
        if !PROTOCOLS.contains(&protocol) {
            continue;
        }
        let counters = Arc::new(Counters::default());
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 1 << 16,
        };
        let mut collector = Collector::new(config, Arc::clone(&counters));
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, 2055));
        let Some(sent) = read(&folder.join(name)) else {
            println!("{name}\tskipped: not in the classic pcap format");
            continue;
        };
        for (source, payload) in &sent {
            let datagram = Datagram { source: *source, destination, payload };
            collector.datagram(&datagram, Timestamp(1_700_000_000_000));
        }
        let rows = collector.take_batch().map_or(0, |batch| batch.rows() as u64);
        println!("{name}\t{} datagrams\t{rows} records", sent.len());
        let ended = counters.datagrams_accepted.get() + counters.discarded_total(Unit::Datagram);
        assert!(!sent.is_empty(), "{name}");
        assert_eq!(ended, sent.len() as u64, "{name}");
        assert_eq!(counters.records_decoded.get(), rows, "{name}");
        if !NOT_COUNTED.contains(&protocol) {
            assert_eq!(flows.parse(), Ok(rows), "{name}: the manifest counts other flows");
        }
        records += rows;
    }
    assert!(records > 0, "the manifest names files of known protocols");
}
