//! The store alone: a million rows appended and sealed, and questions over them.
//!
//! `cargo bench -p weir-benches --bench store`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::rows;
use weir_store::query::{self, Limits, Plan, Question, View};
use weir_store::{Store, StoreConfig};

const ROWS: u64 = 1_000_000;
const QUESTIONS: [(&str, &str, &str); 5] = [
    ("all by protocol", "", "proto/bytes"),
    ("one port by source", "dst port 443", "srcip/bytes"),
    ("one address by port", "ip 10.0.0.7", "dstport/flows"),
    ("top sources", "", "srcip/bytes"),
    ("top five-tuples", "", "record/bytes"),
];

fn open(folder: &std::path::Path) -> Store {
    let config = StoreConfig {
        slice_ms: 60_000,
        seal_rows: usize::try_from(ROWS).expect("a million fits"),
        ..StoreConfig::new(folder)
    };
    Store::open(config).expect("a store in a fresh folder").0
}

fn seal(c: &mut Criterion) {
    let batches = rows::batches(ROWS, 5_000);
    let mut group = c.benchmark_group("store");
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    group.bench_function("append and seal", |b| {
        b.iter_batched(
            || (tempfile::tempdir().expect("a temporary folder"), batches.clone()),
            |(folder, batches)| {
                let mut store = open(folder.path());
                batches.into_iter().for_each(|batch| store.append(batch).expect("room"));
                store.close().expect("a disk with room");
                folder
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn ask(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(folder.path());
    rows::batches(ROWS, 5_000).into_iter().for_each(|batch| store.append(batch).expect("room"));
    store.seal_all().expect("a disk with room");
    let mut group = c.benchmark_group("query");
    group.sample_size(20).throughput(Throughput::Elements(ROWS));
    for (name, filter, statistic) in QUESTIONS {
        let view = View::statistic(statistic, 10).expect("a known statistic");
        let question = Question { filter: filter.to_owned(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).expect("a known filter");
        let limits = Limits { groups: 2_000_000, rows: 1_000 };
        let reader = store.reader();
        group.bench_function(name, |b| {
            b.iter(|| query::answer(&reader.snapshot(), &plan, &limits).expect("an answer"));
        });
    }
    group.finish();
}

criterion_group!(benches, seal, ask);
criterion_main!(benches);
