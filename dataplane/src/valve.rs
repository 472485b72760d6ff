//! An emergency valve: of the flow records that come, one in so many is kept.
//!
//! When more comes than the disk or the machine can take, records are lost where it happens to hurt,
//! and nobody can say which. With the valve a known part of them is left out, counted as
//! [`Discard::SampledOut`](crate::Discard::SampledOut), and the kept ones bear its rate, so that
//! estimates stay right.
//!
//! Of each run of `N` records one is kept, drawn at random (PSAMP's random n-out-of-N, RFC 5475,
//! Section 5.2.1, with n = 1): exporters send flows in patterns, such as each direction in turn,
//! which a fixed step would fall in with. The draw is a fixed sequence, so that the same records are
//! kept of the same traffic.

/// What decides which flow records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valve {
    one_in: u32,
    /// Records to leave out before the next that is kept.
    until: u64,
    /// Records of the run behind that one.
    behind: u64,
    state: u64,
}

impl Default for Valve {
    fn default() -> Self {
        Valve { one_in: 1, until: 0, behind: 0, state: 0 }
    }
}

impl Valve {
    /// Keeps one record in so many from now on; 0 and 1 keep all.
    pub fn set(&mut self, one_in: u32) {
        if one_in.max(1) == self.one_in {
            return;
        }
        self.one_in = one_in.max(1);
        (self.until, self.behind) = (0, 0);
        self.draw();
    }

    /// One record in so many is kept; 1 when all are.
    #[inline]
    pub fn one_in(&self) -> u32 {
        self.one_in
    }

    /// The place of the first of the next `records` that is kept; those before it are left out. With
    /// none, all are.
    #[inline]
    pub(crate) fn next_of(&mut self, records: usize) -> Option<usize> {
        if self.until >= records as u64 {
            self.until -= records as u64;
            return None;
        }
        let at = self.until as usize;
        self.draw();
        Some(at)
    }

    /// Draws the next run's record.
    fn draw(&mut self) {
        let run = u64::from(self.one_in);
        let chosen = self.random() % run;
        self.until = self.behind + chosen;
        self.behind = run - 1 - chosen;
    }

    /// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kept ones of `records`, told in portions of this size.
    fn kept(valve: &mut Valve, records: usize, portion: usize) -> Vec<usize> {
        let mut kept = Vec::new();
        for begin in (0..records).step_by(portion) {
            let mut at = begin;
            let end = records.min(begin + portion);
            while let Some(next) = valve.next_of(end - at) {
                kept.push(at + next);
                at += next + 1;
            }
        }
        kept
    }

    #[test]
    fn an_open_valve_keeps_all() {
        let mut valve = Valve::default();
        assert_eq!(kept(&mut valve, 5, 2), [0, 1, 2, 3, 4]);
        valve.set(10);
        valve.set(0);
        assert_eq!((valve.one_in(), kept(&mut valve, 3, 3).len()), (1, 3));
    }

    #[test]
    fn of_each_run_one_is_kept_however_the_records_come() {
        for one_in in [2, 3, 10, 1000] {
            let mut whole = Valve::default();
            whole.set(one_in);
            let run = one_in as usize;
            let places = kept(&mut whole, 100 * run, 100 * run);
            for (at, &place) in places.iter().enumerate() {
                assert_eq!(place / run, at, "one in {one_in}");
            }
            assert_eq!(places.len(), 100);
            for portion in [1, 7, 64] {
                let mut valve = Valve::default();
                valve.set(one_in);
                assert_eq!(kept(&mut valve, 100 * run, portion), places, "by {portion}");
            }
        }
    }

    #[test]
    fn records_in_turn_are_kept_alike() {
        let mut valve = Valve::default();
        valve.set(2);
        let odd = kept(&mut valve, 20_000, 30).iter().filter(|&place| place % 2 == 1).count();
        assert!((4_500..5_500).contains(&odd), "{odd} of 10000");
    }
}
