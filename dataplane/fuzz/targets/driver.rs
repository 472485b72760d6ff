//! What each of libFuzzer's inputs goes through: a target's body, under a watch.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir_fuzz::watch;

/// What a datagram may take of the processor: 10 ms, times what coverage and sanitizer cost.
const SLOW: Duration = Duration::from_millis(10 * 10);
/// Times that an input has to be slow, so that no hiccup of the machine is taken for a finding.
const TIMES: usize = 3;

fn processor_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Runs a target's body. It is named here rather than looked up in the table, so that a fuzzer has
/// no more code to watch than its target's.
///
/// # Panics
/// When an invariant does not hold, and when a datagram is slow.
pub fn run(body: fn(&[u8]), input: &[u8]) {
    watch::begin(processor_time);
    let mut fastest = Duration::MAX;
    for _ in 0..TIMES {
        body(input);
        fastest = fastest.min(Duration::from_nanos(watch::take_slowest()));
        if fastest < SLOW {
            return;
        }
    }
    panic!("a datagram takes {fastest:?}");
}
