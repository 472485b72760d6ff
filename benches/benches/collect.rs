//! The slave's decoder alone: NetFlow v9 datagrams to column batches.
//!
//! `cargo bench -p weir-benches --bench collect`

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::exporter;
use weir_benches::traffic::{Load, Protocol};
use weir_dataplane::Timestamp;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Counters;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;

const RECORDS: u16 = 25;
const BURST: u32 = 64;

fn decode(c: &mut Criterion) {
    let config = CollectorConfig {
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        batch_rows: 65_536,
    };
    let mut collector = Collector::new(config, Arc::new(Counters::default()));
    let destination = SocketAddr::from(([10, 255, 0, 1], 32_055));
    let now = Timestamp(1_700_000_000_000);
    let mut take = |payload: &[u8]| {
        collector.datagram(&Datagram { source: exporter(1), destination, payload }, now);
        if collector.is_full() {
            black_box(collector.take_batch());
        }
    };
    let load = Load::new(Protocol::V9, RECORDS);
    take(&load.template_packet().expect("v9 has templates"));
    let packets: Vec<_> = (0..BURST).map(|n| load.data_packet(n, 0)).collect();
    let mut group = c.benchmark_group("collect");
    group.throughput(Throughput::Elements(u64::from(BURST) * u64::from(RECORDS)));
    group.bench_function("v9", |b| b.iter(|| packets.iter().for_each(|packet| take(packet))));
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
