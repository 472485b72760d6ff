//! The slave's decoder alone: datagrams of each protocol to column batches.
//!
//! `cargo bench -p weir-benches --bench collect`; `weir-bench decode` counts its instructions and
//! measures its peers.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::decode::{Decoder, Format};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("collect");
    for format in Format::ALL {
        let mut decoder = Decoder::new(format);
        group.throughput(Throughput::Elements(decoder.records()));
        group.bench_function(format.name(), |b| b.iter(|| decoder.burst()));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
