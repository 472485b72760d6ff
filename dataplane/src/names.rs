//! Names that exporters tell, on their way to the store.
//!
//! Exporters tell the same names again and again. What was passed on lately is known by its hash in a
//! table of fixed size, where each thing has one place, so that telling it again costs a look there.
//! A thing whose place another one took is passed on once more, which the store notices; and from time
//! to time everything is, so that the store hears which exporters still speak.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use weir_store::Address;
use weir_store::names::Told;

use crate::Timestamp;
use crate::told::Named;

/// Places for things that have names; more than most networks have.
const PLACES: usize = 1 << 16;
/// Names that may wait for the store at one time.
const WAITING: usize = 4_096;
/// How long what was passed on is not passed on again, ms.
const QUIET_MS: u64 = 10 * 60 * 1000;

/// What was passed on, and what is to be.
#[derive(Debug)]
pub struct Names {
    hasher: DefaultHashBuilder,
    /// The hash of what was last passed on of the thing of each place; 0 for nothing.
    passed: Box<[u64]>,
    since: Timestamp,
    told: Told,
}

impl Default for Names {
    fn default() -> Self {
        Names {
            hasher: DefaultHashBuilder::default(),
            passed: vec![0; PLACES].into(),
            since: Timestamp(0),
            told: Told::with_capacity(0),
        }
    }
}

impl Names {
    /// Takes note of what an exporter calls something; false when there is no room for a name that
    /// may be new.
    pub(crate) fn note(&mut self, exporter: Address, named: &Named<'_>, now: Timestamp) -> bool {
        if now.0.abs_diff(self.since.0) > QUIET_MS {
            self.forget();
            self.since = now;
        }
        let thing = (exporter, named.kind, named.id);
        let place = self.hasher.hash_one(thing) as usize % PLACES;
        let hash = self.hasher.hash_one((thing, named.name, named.description)).max(1);
        if self.passed[place] == hash {
            return true;
        }
        if self.told.is_empty() {
            self.told = Told::with_capacity(WAITING);
        }
        let noted = self.told.push(thing, now.0, named.name, named.description);
        if noted {
            self.passed[place] = hash;
        }
        noted
    }

    /// Whether there are names to take.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.told.is_empty()
    }

    /// The names since the last call, if any.
    pub fn take(&mut self) -> Option<Told> {
        if self.told.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.told))
    }

    /// Passes on everything again that is told from now on: what was taken got lost.
    pub fn forget(&mut self) {
        self.passed.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use weir_store::names::NameKind;

    use super::*;

    const ROUTER: Address = Address::from_v4([192, 0, 2, 1]);
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn named(id: u64, name: &[u8]) -> Named<'_> {
        Named { kind: NameKind::Interface, id, name, description: b"" }
    }

    fn passed(names: &mut Names) -> Vec<(u64, String)> {
        let told = names.take().unwrap_or_default();
        told.iter().map(|naming| (naming.id, naming.name.into_owned())).collect()
    }

    #[test]
    fn what_was_passed_on_is_not_passed_on_again_for_a_while() {
        let mut names = Names::default();
        for now in [NOW, NOW.plus_ms(QUIET_MS)] {
            assert!(names.note(ROUTER, &named(7, b"ge-0"), now));
        }
        assert_eq!(passed(&mut names), [(7, "ge-0".to_owned())]);
        assert!(names.note(ROUTER, &named(7, b"ge-0"), NOW));
        assert!(names.take().is_none());
        names.note(ROUTER, &named(7, b"uplink"), NOW);
        assert_eq!(passed(&mut names), [(7, "uplink".to_owned())]);
        names.note(ROUTER, &named(7, b"uplink"), NOW.plus_ms(QUIET_MS + 1));
        assert_eq!(passed(&mut names).len(), 1, "so that the store hears of its exporter");
    }

    #[test]
    fn what_got_lost_is_passed_on_when_it_is_told_again() {
        let mut names = Names::default();
        names.note(ROUTER, &named(7, b"ge-0"), NOW);
        names.take();
        names.forget();
        names.note(ROUTER, &named(7, b"ge-0"), NOW);
        assert_eq!(passed(&mut names).len(), 1);
    }

    #[test]
    fn what_waits_is_bounded_and_what_found_no_room_may_come_again() {
        let mut names = Names::default();
        let taken = (0..WAITING as u64 + 9).filter(|&id| names.note(ROUTER, &named(id, b"x"), NOW));
        assert_eq!(taken.count(), WAITING);
        let last = WAITING as u64 + 8;
        assert!(!names.note(ROUTER, &named(last, b"x"), NOW));
        assert_eq!(passed(&mut names).len(), WAITING);
        assert!(names.note(ROUTER, &named(last, b"x"), NOW));
        assert_eq!(passed(&mut names), [(last, "x".to_owned())]);
    }
}
