//! The proxy's engine alone, in memory: one axis of the sweep after the other, and what honest
//! packets cost beside hostile ones.
//!
//! `cargo bench -p weir-benches --bench mediate`; `./x bench` makes the report of it.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::engine::{BURST, Engine, points};
use weir_benches::hostile::{Attack, Hostile, honest};
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

/// Bursts of honest packets, timed; between them as many hostile ones, which are timed by themselves.
fn beside(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile");
    let seconds = if is_quick() { 0.5 } else { 3.0 };
    group.warm_up_time(Duration::from_secs_f64(seconds / 3.0));
    group.measurement_time(Duration::from_secs_f64(seconds)).sample_size(20);
    for hostile in std::iter::once(None).chain(Hostile::ALL.map(Some)) {
        let mut engine = honest();
        let mut attack = hostile.map(Attack::new);
        group.throughput(Throughput::Elements(engine.records()));
        group.bench_function(hostile.map_or("nobody", Hostile::name), |b| {
            b.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    attack.iter_mut().for_each(|attack| attack.burst(&mut engine));
                    let began = Instant::now();
                    engine.burst();
                    time += began.elapsed();
                }
                time
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("hostile alone");
    group.measurement_time(Duration::from_secs_f64(seconds)).sample_size(20);
    for hostile in Hostile::ALL {
        let mut engine = honest();
        let mut attack = Attack::new(hostile);
        group.throughput(Throughput::Elements(u64::from(BURST)));
        group.bench_function(hostile.name(), |b| b.iter(|| attack.burst(&mut engine)));
    }
    group.finish();
}

criterion_group!(benches, engine, beside);
criterion_main!(benches);
