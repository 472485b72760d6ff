//! Data sets that came before their template, with the datagrams in which they stood.
//!
//! Bounded: where there is no room, a further set is not kept.

use hashbrown::HashMap;

use super::description::Octets;
use crate::session::SessionKey;

/// Octets of the datagrams whose sets are kept.
const ROOM: usize = 64 << 20;

/// A set that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// The datagram in which it stood.
    pub(super) number: u64,
    /// Which of its sets it was, from 1.
    pub(super) place: usize,
    /// The set with its header.
    pub(super) set: Octets,
}

/// The sets that wait, by session and template id.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    sets: HashMap<(SessionKey, u16), Vec<Held>>,
    octets: usize,
    count: u64,
}

impl Waiting {
    pub(super) fn keep(&mut self, session: SessionKey, id: u16, held: Held) {
        // Every set is charged with all of its datagram, which it keeps alive.
        let octets = held.set.whole_length();
        if self.octets + octets > ROOM {
            return;
        }
        self.octets += octets;
        self.count += 1;
        self.sets.entry((session, id)).or_default().push(held);
    }

    /// What has waited for this template.
    pub(super) fn release(&mut self, session: SessionKey, id: u16) -> Vec<Held> {
        let released = self.sets.remove(&(session, id)).unwrap_or_default();
        self.octets -= released.iter().map(|held| held.set.whole_length()).sum::<usize>();
        self.count -= released.len() as u64;
        released
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }
}
