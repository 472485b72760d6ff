//! The smoke run of the fuzz targets (`dataplane/fuzz`): their bodies over their seeds and over
//! mutations of these. `./x fuzz` runs them for long, under libFuzzer.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is a library of its own too")]
mod fuzz;

use std::time::Duration;

use fuzz::mutate::{Random, mutate};
use fuzz::watch;
use rustix::time::{ClockId, clock_gettime};

/// Mutations of each target.
const MUTATIONS: u32 = 3_000;
/// What a datagram may take of the processor here, where nothing is optimised much.
const SLOW: Duration = Duration::from_millis(200);

fn processor_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn smoke(name: &str) {
    watch::begin(processor_time);
    let target = fuzz::target(name).expect("a target");
    let seeds = (target.seeds)();
    let check = |what: &str, input: &[u8]| {
        // A panic's own message does not say which bytes it was.
        let told = std::panic::catch_unwind(|| (target.run)(input));
        assert!(told.is_ok(), "{name}, {what}: {}", hex(input));
        let took = Duration::from_nanos(watch::take_slowest());
        assert!(took < SLOW, "{name}, {what}: a datagram took {took:?}: {}", hex(input));
    };
    seeds.iter().for_each(|seed| check("a seed", seed));
    let mut random = Random(0x5eed);
    for n in 0..MUTATIONS {
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        mutate(&mut input, other, &mut random);
        check(&format!("mutation {n}"), &input);
    }
}

fn hex(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! smoke_tests {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            smoke($name);
        })*

        #[test]
        fn every_target_has_its_smoke_run() {
            let tested = [$($name),*];
            assert!(fuzz::TARGETS.iter().all(|target| tested.contains(&target.name)));
        }
    };
}

smoke_tests! {
    fixed_layouts_take_any_bytes: "fixed";
    aggregations_take_any_bytes: "netflow8";
    netflow9_takes_any_bytes: "netflow9";
    ipfix_takes_any_bytes: "ipfix";
    sflow_takes_any_bytes: "sflow";
    the_template_store_does_what_a_map_does: "templates";
    behind_a_proxy_everything_is_collected_as_without: "retemplate";
    a_collector_takes_any_datagrams: "collector";
    a_sampled_header_takes_any_bytes: "sampled";
    a_frame_takes_any_bytes: "frame";
}
