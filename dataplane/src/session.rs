//! Transport sessions: whose message this is, which templates it may use, and what was lost.
//!
//! RFC 7011, Section 3.1: templates and sequence numbers belong to a transport session and an
//! observation domain. Over UDP a session is the exporter's address *and port*, the listening port,
//! the protocol and the domain; it ends when it has been idle and its room is needed, and takes its
//! templates with it.
//!
//! The table has a fixed number of places. Exporters are untrusted, so finding, touching and
//! evicting each take constant time however many sessions there are, and a session that is not idle
//! is never evicted for a new one: a sweep of spoofed addresses cannot push out honest exporters.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::template::{TemplateBudget, TemplateStore};
use crate::wire::Protocol;
use crate::{Counters, Discard, Timestamp};

/// A place in a [`SessionTable`]; it names the next session there after an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// What tells one transport session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The listening port.
    pub port: u16,
    /// The protocol of its messages.
    pub protocol: Protocol,
    /// The observation domain.
    pub domain: u32,
}

/// The bounds of a [`SessionTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at one time.
    pub sessions: usize,
    /// Templates of one session.
    pub templates_per_session: usize,
    /// Memory of the templates of all sessions together, in bytes.
    pub template_bytes: usize,
    /// After this long without a message a session may give way to a new one.
    pub idle_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits {
            sessions: 65_536,
            templates_per_session: 1_024,
            template_bytes: 512 << 20,
            idle_ms: 30 * 60 * 1000,
        }
    }
}

/// What a sequence number says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The expected one, or the first.
    InOrder,
    /// So many units are missing before this message.
    Lost(u32),
    /// Older than what was seen: overtaken on the way, and counted as lost already.
    Late,
    /// The exporter has started anew.
    Reset,
}

/// Follows a session's sequence numbers: v5 counts flows, v9 packets, IPFIX data records.
///
/// The number in a message counts the units *before* it, modulo 2³², so what must come next is
/// known only with the number of units in the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    expected: Option<u32>,
    /// What follows the last late message: two in a row are a restart, not a detour.
    after_late: Option<u32>,
}

impl Sequence {
    /// A gap of more units than this is a restart with another number, not a loss.
    pub const GAP_LIMIT: u32 = 1 << 24;

    /// Takes note of a message's number and of the units it adds.
    ///
    /// `units` is `None` when they cannot be counted (a data set lacked its template): the next
    /// message is then taken as it comes.
    pub fn observe(&mut self, got: u32, units: Option<u32>) -> Observation {
        let next = units.map(|n| got.wrapping_add(n));
        let observation = match self.expected {
            None => Observation::InOrder,
            Some(expected) => self.compare(expected, got),
        };
        if observation == Observation::Late && next.is_some() {
            self.after_late = next;
        } else {
            self.expected = next;
            self.after_late = None;
        }
        observation
    }

    /// The number that the next message should bear, where that can be told.
    pub fn next(&self) -> Option<u32> {
        self.expected
    }

    fn compare(&self, expected: u32, got: u32) -> Observation {
        let ahead = got.wrapping_sub(expected);
        let behind = expected.wrapping_sub(got);
        match ahead {
            0 => Observation::InOrder,
            1..=Self::GAP_LIMIT => Observation::Lost(ahead),
            _ if behind <= Self::GAP_LIMIT && self.after_late != Some(got) => Observation::Late,
            _ => Observation::Reset,
        }
    }
}

/// One transport session, with what its user keeps of it.
#[derive(Debug)]
pub struct Session<X> {
    /// What tells it from the others.
    pub key: SessionKey,
    /// Its live templates.
    pub templates: TemplateStore,
    /// Its sequence numbers.
    pub sequence: Sequence,
    /// When its last message came; written by [`SessionTable::touch`].
    pub last_seen: Timestamp,
    /// Messages received; written by [`SessionTable::touch`].
    pub datagrams: u64,
    /// Flow data records decoded.
    pub records: u64,
    /// Units lost on the way here, by the sequence numbers.
    pub lost: u64,
    /// Restarts of the exporter, by the sequence numbers.
    pub resets: u64,
    /// The user's own.
    pub extra: X,
}

impl<X> Session<X> {
    /// Takes note of a message's sequence number and of the units it adds, and counts what it says
    /// of those before: here and in the worker's `counters`.
    pub fn observe(&mut self, got: u32, units: Option<u32>, counters: &Counters) {
        match self.sequence.observe(got, units) {
            Observation::InOrder | Observation::Late => {}
            Observation::Lost(units) => {
                self.lost += u64::from(units);
                counters.sequence_lost.add(u64::from(units));
            }
            Observation::Reset => {
                self.resets += 1;
                counters.sequence_resets.add(1);
            }
        }
    }
}

/// No place: the end of the list of last use.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<X> {
    session: Session<X>,
    older: u32,
    newer: u32,
}

/// The sessions of one worker.
#[derive(Debug)]
pub struct SessionTable<X> {
    limits: SessionLimits,
    budget: Arc<TemplateBudget>,
    by_key: HashMap<SessionKey, u32>,
    slots: Vec<Slot<X>>,
    oldest: u32,
    newest: u32,
    /// The last one found: messages come in trains.
    last: Option<(SessionKey, u32)>,
}

/// What [`SessionTable::insert`] did.
#[derive(Debug)]
pub struct Inserted<X> {
    /// The new session's place.
    pub id: SessionId,
    /// The session that had to give way; `id` was its place.
    pub evicted: Option<Session<X>>,
}

impl<X> SessionTable<X> {
    /// An empty table of `limits.sessions` places, at least one.
    pub fn new(limits: SessionLimits) -> Self {
        let sessions = limits.sessions.clamp(1, NONE as usize);
        SessionTable {
            limits: SessionLimits { sessions, ..limits },
            budget: TemplateBudget::new(limits.template_bytes),
            by_key: HashMap::new(),
            slots: Vec::new(),
            oldest: NONE,
            newest: NONE,
            last: None,
        }
    }

    /// The session with this key.
    #[inline]
    pub fn find(&mut self, key: &SessionKey) -> Option<SessionId> {
        match &self.last {
            Some((last, slot)) if last == key => Some(SessionId(*slot)),
            _ => {
                let slot = *self.by_key.get(key)?;
                self.last = Some((*key, slot));
                Some(SessionId(slot))
            }
        }
    }

    /// Makes a session, which counts as seen at `now`.
    ///
    /// When the table is full, the least recently seen session gives way if it has been idle for
    /// longer than the limit.
    ///
    /// # Errors
    /// [`Discard::SessionTableFull`] when it has not.
    ///
    /// # Panics
    /// When there is a session with this key already.
    pub fn insert(
        &mut self,
        key: SessionKey,
        now: Timestamp,
        extra: X,
    ) -> Result<Inserted<X>, Discard> {
        assert!(!self.by_key.contains_key(&key), "a session is made once");
        let session = Session {
            key,
            templates: TemplateStore::new(
                self.limits.templates_per_session,
                Arc::clone(&self.budget),
            ),
            sequence: Sequence::default(),
            last_seen: now,
            datagrams: 0,
            records: 0,
            lost: 0,
            resets: 0,
            extra,
        };
        let (slot, evicted) = if self.slots.len() < self.limits.sessions {
            self.slots.push(Slot { session, older: NONE, newer: NONE });
            ((self.slots.len() - 1) as u32, None)
        } else {
            let (slot, old) = self.evict(now, session)?;
            (slot, Some(old))
        };
        self.by_key.insert(key, slot);
        self.append(slot);
        Ok(Inserted { id: SessionId(slot), evicted })
    }

    /// Replaces the least recently seen session and takes its place off the list.
    fn evict(&mut self, now: Timestamp, new: Session<X>) -> Result<(u32, Session<X>), Discard> {
        let slot = self.oldest;
        let idle_ms = now.0.saturating_sub(self.slots[slot as usize].session.last_seen.0);
        if idle_ms <= self.limits.idle_ms {
            return Err(Discard::SessionTableFull);
        }
        self.unlink(slot);
        let old = std::mem::replace(&mut self.slots[slot as usize].session, new);
        self.by_key.remove(&old.key);
        self.last = None;
        Ok((slot, old))
    }

    /// Notes a message of this session: it is the most recently seen one now.
    ///
    /// # Panics
    /// When `id` is not of this table.
    #[inline]
    pub fn touch(&mut self, id: SessionId, now: Timestamp) -> &mut Session<X> {
        if self.newest != id.0 {
            self.unlink(id.0);
            self.append(id.0);
        }
        let session = &mut self.slots[id.0 as usize].session;
        session.last_seen = now;
        session.datagrams += 1;
        session
    }

    /// The session in this place.
    pub fn get(&self, id: SessionId) -> Option<&Session<X>> {
        self.slots.get(id.0 as usize).map(|slot| &slot.session)
    }

    /// The session in this place, to be changed.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session<X>> {
        self.slots.get_mut(id.0 as usize).map(|slot| &mut slot.session)
    }

    /// All sessions, in the order of their places.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SessionId, &Session<X>)> {
        self.slots.iter().enumerate().map(|(at, slot)| (SessionId(at as u32), &slot.session))
    }

    /// All sessions, to be changed, in the order of their places.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (SessionId, &mut Session<X>)> {
        self.slots
            .iter_mut()
            .enumerate()
            .map(|(at, slot)| (SessionId(at as u32), &mut slot.session))
    }

    /// Sessions in the table.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { older, newer, .. } = self.slots[slot as usize];
        match older {
            NONE => self.oldest = newer,
            _ => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => self.slots[newer as usize].older = older,
        }
    }

    fn append(&mut self, slot: u32) {
        let older = self.newest;
        let place = &mut self.slots[slot as usize];
        (place.older, place.newer) = (older, NONE);
        match older {
            NONE => self.oldest = slot,
            _ => self.slots[older as usize].newer = slot,
        }
        self.newest = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(domain: u32) -> SessionKey {
        SessionKey {
            source: "192.0.2.1:4739".parse().unwrap(),
            port: 2055,
            protocol: Protocol::Ipfix,
            domain,
        }
    }

    fn table(sessions: usize) -> SessionTable<()> {
        SessionTable::new(SessionLimits { sessions, idle_ms: 100, ..SessionLimits::default() })
    }

    #[test]
    fn every_part_of_the_key_tells_sessions_apart() {
        let mut table = table(8);
        let base = key(1);
        table.insert(base, Timestamp(0), ()).unwrap();
        assert!(table.find(&base).is_some());
        assert!(table.find(&SessionKey { domain: 2, ..base }).is_none());
        assert!(table.find(&SessionKey { port: 4739, ..base }).is_none());
        assert!(table.find(&SessionKey { protocol: Protocol::Netflow9, ..base }).is_none());
        let other_port = SessionKey { source: "192.0.2.1:4740".parse().unwrap(), ..base };
        assert!(table.find(&other_port).is_none());
    }

    #[test]
    fn a_full_table_refuses_while_none_is_idle() {
        let mut table = table(1);
        table.insert(key(1), Timestamp(0), ()).unwrap();
        let refused = table.insert(key(2), Timestamp(100), ()).unwrap_err();
        assert_eq!(refused, Discard::SessionTableFull);
        assert!(table.find(&key(1)).is_some());
    }

    #[test]
    fn the_least_recently_seen_idle_session_gives_way() {
        let mut table = table(2);
        let first = table.insert(key(1), Timestamp(0), ()).unwrap().id;
        let second = table.insert(key(2), Timestamp(0), ()).unwrap().id;
        table.touch(second, Timestamp(10));
        table.touch(first, Timestamp(20));
        let inserted = table.insert(key(3), Timestamp(111), ()).unwrap();
        assert_eq!(inserted.evicted.unwrap().key, key(2));
        assert_eq!(inserted.id, second);
        assert!(table.find(&key(2)).is_none());
        assert_eq!(table.find(&key(3)), Some(second));
        assert!(table.insert(key(4), Timestamp(111), ()).is_err());
    }

    #[test]
    fn an_evicted_session_is_not_found_by_the_shortcut() {
        let mut table = table(1);
        table.insert(key(1), Timestamp(0), ()).unwrap();
        assert!(table.find(&key(1)).is_some());
        table.insert(key(2), Timestamp(101), ()).unwrap();
        assert!(table.find(&key(1)).is_none());
    }

    #[test]
    fn the_order_of_use_holds_over_many_touches() {
        let mut table = table(4);
        let ids: Vec<_> =
            (0..4).map(|d| table.insert(key(d), Timestamp(0), ()).unwrap().id).collect();
        for (at, id) in [2, 0, 3, 1, 2, 2, 0].iter().enumerate() {
            table.touch(ids[*id], Timestamp(at as u64));
        }
        let order: Vec<_> = (0..4)
            .map(|n| table.insert(key(10 + n), Timestamp(1000), ()).unwrap().evicted.unwrap().key)
            .collect();
        assert_eq!(order, [key(3), key(1), key(2), key(0)]);
    }

    #[test]
    fn gaps_are_counted_in_units() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.observe(100, Some(30)), Observation::InOrder);
        assert_eq!(sequence.observe(130, Some(30)), Observation::InOrder);
        assert_eq!(sequence.observe(190, Some(1)), Observation::Lost(30));
        assert_eq!(sequence.observe(191, Some(1)), Observation::InOrder);
    }

    #[test]
    fn the_number_wraps_without_a_gap() {
        let mut sequence = Sequence::default();
        sequence.observe(u32::MAX, Some(2));
        assert_eq!(sequence.observe(1, Some(1)), Observation::InOrder);
    }

    #[test]
    fn after_unknown_units_the_next_number_is_taken_as_it_comes() {
        let mut sequence = Sequence::default();
        sequence.observe(10, None);
        assert_eq!(sequence.observe(500, Some(1)), Observation::InOrder);
        assert_eq!(sequence.observe(502, Some(1)), Observation::Lost(1));
    }

    #[test]
    fn an_overtaken_message_is_late_and_no_restart() {
        let mut sequence = Sequence::default();
        sequence.observe(1, Some(1));
        assert_eq!(sequence.observe(3, Some(1)), Observation::Lost(1));
        assert_eq!(sequence.observe(2, Some(1)), Observation::Late);
        assert_eq!(sequence.observe(4, Some(1)), Observation::InOrder);
    }

    #[test]
    fn a_restart_is_seen_at_its_second_message() {
        let mut sequence = Sequence::default();
        sequence.observe(1000, Some(1));
        assert_eq!(sequence.observe(0, Some(1)), Observation::Late);
        assert_eq!(sequence.observe(1, Some(1)), Observation::Reset);
        assert_eq!(sequence.observe(2, Some(1)), Observation::InOrder);
    }

    #[test]
    fn a_leap_is_a_restart() {
        let mut sequence = Sequence::default();
        sequence.observe(0, Some(1));
        assert_eq!(sequence.observe(1 << 30, Some(1)), Observation::Reset);
        assert_eq!(sequence.observe((1 << 30) + 1, Some(1)), Observation::InOrder);
    }
}
