//! How long a datagram takes: of the processor, not of the clock, so that a busy machine makes
//! nothing slow.

use std::cell::Cell;
use std::sync::OnceLock;

/// Nanoseconds that this thread has had of a processor.
type Clock = fn() -> u64;

static CLOCK: OnceLock<Clock> = OnceLock::new();

thread_local! {
    static SLOWEST: Cell<u64> = const { Cell::new(0) };
}

/// Measures from now on.
pub fn begin(clock: Clock) {
    CLOCK.get_or_init(|| clock);
}

/// Does what one datagram asks for.
pub fn packet<T>(work: impl FnOnce() -> T) -> T {
    let Some(now) = CLOCK.get() else { return work() };
    let began = now();
    let done = work();
    let took = now().saturating_sub(began);
    SLOWEST.set(SLOWEST.get().max(took));
    done
}

/// Nanoseconds of the slowest datagram since this was last asked.
pub fn take_slowest() -> u64 {
    SLOWEST.replace(0)
}
