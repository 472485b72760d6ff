//! When the next datagram is due: a steady rate in small bursts.

use std::time::{Duration, Instant};

/// Datagrams that may leave together after a pause; small enough for any socket buffer.
const BURST: f64 = 16.0;
/// A pause is at least this long: shorter sleeps cost more than they smooth.
const PAUSE: Duration = Duration::from_millis(1);

/// A token bucket.
#[derive(Debug)]
pub(super) struct Pace {
    /// Datagrams a second; `None` = no limit.
    rate: Option<f64>,
    /// Datagrams that may leave now.
    due: f64,
    seen: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<f64>) -> Self {
        Pace { rate, due: BURST, seen: Instant::now() }
    }

    /// How long to sleep before the next datagram; `None` when it may leave now.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        self.pause_at(Instant::now())
    }

    fn pause_at(&mut self, now: Instant) -> Option<Duration> {
        let rate = self.rate?;
        if self.due < 1.0 {
            self.due += now.duration_since(self.seen).as_secs_f64() * rate;
            self.seen = now;
        }
        if self.due >= 1.0 {
            // After a long delay the lost time is not made up for in one burst.
            self.due = self.due.min(BURST.max(rate * 0.01));
            return None;
        }
        // Up to a whole burst's worth, so that high rates do not sleep for each datagram.
        let missing = (1.0 - self.due) / rate;
        Some(Duration::from_secs_f64(missing).clamp(PAUSE, Duration::from_secs(1)))
    }

    /// Notes that one has left.
    pub(super) fn sent(&mut self) {
        self.due -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagrams that leave within `seconds` when sleeping is exact.
    fn sent_within(rate: f64, seconds: f64) -> u64 {
        let mut pace = Pace::new(Some(rate));
        let end = pace.seen + Duration::from_secs_f64(seconds);
        let (mut now, mut count) = (pace.seen, 0);
        while now < end {
            match pace.pause_at(now) {
                Some(pause) => now += pause,
                None => {
                    pace.sent();
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn the_rate_is_kept_within_a_burst() {
        for rate in [10.0, 500.0, 5_000.0, 200_000.0] {
            let (count, wanted) = (sent_within(rate, 2.0) as f64, rate * 2.0);
            assert!((count - wanted).abs() <= BURST + wanted * 0.01, "{count} of {wanted}");
        }
    }

    #[test]
    fn lost_time_is_not_made_up_for_in_one_burst() {
        let mut pace = Pace::new(Some(1_000.0));
        let late = pace.seen + Duration::from_secs(60);
        pace.due = 0.0;
        let mut burst = 0;
        while pace.pause_at(late).is_none() {
            pace.sent();
            burst += 1;
        }
        assert_eq!(f64::from(burst), BURST);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        assert!((0..1_000).all(|_| {
            pace.sent();
            pace.pause().is_none()
        }));
    }
}
