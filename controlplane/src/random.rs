//! Randomness that needs no crate: instance numbers and jitter, nothing secret.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A number that differs between calls, threads and processes.
pub fn number() -> u64 {
    // Each state is keyed from the system's randomness, and differently from the one before.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// A duration from half of `full` up to `full`, so that peers that lost the same unit do not come
/// back in step.
pub fn jittered(full: Duration) -> Duration {
    let half = full / 2;
    let share = f64::from((number() >> 32) as u32) / f64::from(u32::MAX);
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        assert_ne!(number(), number());
    }

    #[test]
    fn jitter_keeps_between_half_and_full() {
        let full = Duration::from_millis(250);
        let drawn: Vec<_> = (0..100).map(|_| jittered(full)).collect();
        assert!(drawn.iter().all(|&d| d >= full / 2 && d <= full));
        assert!(drawn.iter().any(|&d| d != drawn[0]));
    }
}
