//! The proxy's engine alone, in memory: one axis of the sweep after the other, and what honest
//! packets cost beside hostile ones.
//!
//! `cargo bench -p weir-benches --bench mediate`; `./x bench` makes the report of it.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::engine::{BASE, BURST, Engine, Point, points};
use weir_benches::hostile::Hostile;
use weir_benches::is_quick;

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    let seconds = if is_quick() { 0.3 } else { 2.0 };
    group.warm_up_time(Duration::from_secs_f64(seconds / 2.0));
    group.measurement_time(Duration::from_secs_f64(seconds)).sample_size(20);
    for point in points() {
        let mut engine = Engine::new(&point);
        group.throughput(Throughput::Elements(engine.records()));
        group.bench_function(point.name(), |b| b.iter(|| engine.burst()));
    }
    group.finish();
}

/// Bursts of honest packets, timed; between them as many hostile ones, not timed here.
fn beside(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile");
    let seconds = if is_quick() { 0.5 } else { 3.0 };
    group.warm_up_time(Duration::from_secs_f64(seconds / 3.0));
    group.measurement_time(Duration::from_secs_f64(seconds)).sample_size(20);
    let honest = Point { sources: 1_000, ..BASE };
    for hostile in std::iter::once(None).chain(Hostile::ALL.map(Some)) {
        let mut engine = established(&honest);
        let mut n = 0;
        let packets: Vec<_> = packets(hostile);
        group.throughput(Throughput::Elements(engine.records()));
        group.bench_function(hostile.map_or("nobody", Hostile::name), |b| {
            b.iter_custom(|rounds| {
                let mut honest = Duration::ZERO;
                for _ in 0..rounds {
                    for _ in 0..BURST.min(packets.len() as u32) {
                        let (source, payload) = &packets[n % packets.len()];
                        engine.take(*source, payload);
                        n += 1;
                    }
                    engine.settle();
                    let began = Instant::now();
                    engine.burst();
                    honest += began.elapsed();
                }
                honest
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("hostile alone");
    group.measurement_time(Duration::from_secs_f64(seconds)).sample_size(20);
    for hostile in Hostile::ALL {
        let mut engine = established(&honest);
        let packets = packets(Some(hostile));
        let mut n = 0;
        group.throughput(Throughput::Elements(u64::from(BURST)));
        group.bench_function(hostile.name(), |b| {
            b.iter(|| {
                for _ in 0..BURST {
                    let (source, payload) = &packets[n % packets.len()];
                    engine.take(*source, payload);
                    n += 1;
                }
                engine.settle();
            });
        });
    }
    group.finish();
}

/// Made beforehand: making them is no cost of the engine's.
fn packets(hostile: Option<Hostile>) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
    let count = match hostile {
        None => 0,
        Some(Hostile::Sweep) => 1_000_000,
        Some(_) => 8_160,
    };
    (0..count).filter_map(|n| hostile.map(|hostile| hostile.packet(n))).collect()
}

/// An engine whose sources have been sending for a while.
fn established(point: &Point) -> Engine {
    let mut engine = Engine::new(point);
    for _ in 0..4 {
        engine.measured(point.sources);
        engine.pass(10_000);
    }
    engine
}

criterion_group!(benches, engine, beside);
criterion_main!(benches);
