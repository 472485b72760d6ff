//! How long a million rows take; run by hand in release mode, never judged by the clock.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::time::Instant;

use weir_store::query::{self, FlowRow, Limits, Plan, Question, View};
use weir_store::{Address, Batch, Store, StoreConfig};

const ROWS: u64 = 1_000_000;

/// Skewed like traffic: few heavy addresses, many light ones.
fn row(n: u64) -> FlowRow {
    let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let skewed = |bits: u32| {
        let noise = noise.rotate_left(bits);
        ((noise >> 44) >> (noise & 15)) as u32
    };
    let inner = Address::from_v4((0x0a00_0000 + skewed(0)).to_be_bytes());
    let outer = Address::from_v4((0x5000_0000 + skewed(21)).to_be_bytes());
    let packets = 1 + (noise >> 60);
    FlowRow {
        received_ms: n / 20,
        first_ms: n / 20,
        last_ms: n / 20 + (noise >> 50),
        source_address: inner,
        destination_address: outer,
        source_port: (noise >> 20) as u16,
        destination_port: if noise.is_multiple_of(3) { 443 } else { (noise >> 10) as u16 & 1023 },
        protocol: if noise.is_multiple_of(5) { 17 } else { 6 },
        tcp_flags: 0x1b,
        packets,
        bytes: packets * (64 + (noise >> 40) % 1400),
        input_interface: (noise % 4) as u32,
        output_interface: (noise % 3) as u32,
        exporter: Address::from_v4([127, 0, 0, 1]),
        ..FlowRow::default()
    }
}

#[test]
#[ignore = "a figure to look at, in release mode"]
fn a_million_rows() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        slice_ms: 60_000,
        seal_rows: ROWS as usize,
        ..StoreConfig::new(folder.path())
    };
    let (mut store, _) = Store::open(config).unwrap();
    let rows: Vec<FlowRow> = (0..ROWS).map(row).collect();
    let batches: Vec<Batch> = rows
        .chunks(5000)
        .map(|rows| {
            let mut batch = Batch::default();
            rows.iter().for_each(|row| batch.push(row));
            batch
        })
        .collect();
    let start = Instant::now();
    for batch in batches {
        store.append(batch).unwrap();
    }
    store.seal_all().unwrap();
    let health = store.reader().health();
    println!("append and seal: {:?}, {} bytes a row", start.elapsed(), health.bytes / ROWS);
    let statistic = |text: &str| View::statistic(text, 10).unwrap();
    for (name, filter, view) in [
        ("everything", "", statistic("proto/bytes")),
        ("one port", "port 80", statistic("proto/flows")),
        ("one address", "ip 10.0.0.7", View::Flows { limit: 10 }),
        ("top sources", "", statistic("srcip/bytes")),
        ("three keys", "proto tcp and dst port 443", statistic("srcip,dstip,dstport/bytes")),
        ("five-tuples", "", statistic("record/bytes")),
        ("listing", "", View::Flows { limit: 20 }),
    ] {
        let question = Question { filter: filter.to_owned(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let start = Instant::now();
        let limits = Limits { groups: 2_000_000, rows: 1000 };
        let partial = query::answer(&store.reader().snapshot(), &plan, &limits).unwrap();
        let groups = partial.len();
        println!("{name}: {:?}, {groups} rows or groups", start.elapsed());
        assert!(!partial.finish(&question).rows.is_empty());
    }
}
