//! The sessions of one worker, and which of them give way.
//!
//! The table has a fixed number of places. Finding, touching, making and evicting a session each
//! take constant time however many there are.
//!
//! A session is *established* when it has come a few times over some seconds, which a sweep of
//! invented addresses does not. An established session gives way only after it has been silent for
//! long. The others are on probation and give way at once, the least recently seen first, but in
//! the order of what is lost with them: first those without templates, then those with templates
//! that came once, then those that came again; and none of the three is pushed below a share of its
//! own, so that a flood of one sort keeps none of another out. Established sessions never have all
//! places, so that whoever is new finds one.
//!
//! Memory for templates is divided likewise: sessions on probation pay from an eighth of it, and
//! where that runs low, one of them is *stripped* of its templates. An address has a share of places
//! and of memory, whatever its sessions are.

use std::collections::VecDeque;
use std::sync::Arc;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::source::{self, Sources};
use super::{Sequence, Session, SessionId, SessionKey, SessionLimits};
use crate::budget::{Budget, Purse};
use crate::list::{Links, List, NONE};
use crate::options::Options;
use crate::template::TemplateStore;
use crate::{Discard, Timestamp};

/// How well a session has proved itself; the order in which they give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// On probation and without templates: nothing is lost with it but its sequence.
    Bare,
    /// On probation, with templates, seen once.
    Once,
    /// On probation, with templates, seen again.
    Again,
    /// It came often enough.
    Established,
}

/// Those that give way at once.
const ON_PROBATION: [Standing; 3] = [Standing::Bare, Standing::Once, Standing::Again];
/// A standing on probation keeps one place of so many.
const KEPT_OF_PLACES: usize = 16;
/// One part of so many, of places and of memory, is not for established sessions.
const PROBATION_PART: usize = 8;
/// One part of so many of the memory on probation is kept free for the next datagram.
const RESERVE_PART: usize = 8;
/// Established sessions of a full address that are looked at for a silent one.
const LOOKS: usize = 8;
/// The most places that memory is reserved for at once.
const RESERVED_AT_ONCE: usize = 1 << 18;

#[derive(Debug)]
struct Slot<X> {
    session: Session<X>,
    standing: Standing,
    source: u32,
    /// Bytes of its templates as counted in the table's sum for its standing.
    bytes: usize,
    /// Its templates or options data have changed since they were last asked for.
    changed: bool,
    /// The place is in the queue of changed established sessions, or of the others.
    queued: [bool; 2],
    /// The place is among the stripped.
    stripped: bool,
}

/// The budgets for all, of established sessions and on probation.
#[derive(Debug)]
struct Budgets {
    established: Arc<Budget>,
    probation: Arc<Budget>,
    /// What is kept free on probation, bytes.
    reserve: usize,
}

impl Budgets {
    fn new(bytes: usize) -> Self {
        let probation = bytes / PROBATION_PART;
        Budgets {
            established: Budget::new(bytes - probation),
            probation: Budget::new(probation),
            reserve: probation / RESERVE_PART,
        }
    }
}

/// The sessions of one worker.
#[derive(Debug)]
pub struct SessionTable<X> {
    limits: SessionLimits,
    templates: Budgets,
    options: Budgets,
    /// Places by key. Only the place stands here: the key is looked at where the session is, which
    /// whoever finds it touches anyway.
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Vec<Slot<X>>,
    /// By [`Standing`], the least recently seen first.
    standings: [List; 4],
    standing_links: Links,
    /// Bytes of the templates of each standing on probation.
    bytes: [usize; 3],
    sources: Sources,
    source_links: Links,
    /// The last one touched, whose templates may have changed since.
    current: u32,
    /// The last one found: messages come in trains.
    last: Option<(SessionKey, u32)>,
    changed: [VecDeque<u32>; 2],
    stripped: Vec<u32>,
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
        let reserved = sessions.min(RESERVED_AT_ONCE);
        SessionTable {
            limits: SessionLimits { sessions, ..limits },
            templates: Budgets::new(limits.template_bytes),
            options: Budgets::new(limits.option_bytes),
            by_key: HashTable::with_capacity(reserved),
            hasher: DefaultHashBuilder::default(),
            slots: Vec::with_capacity(reserved),
            standings: [List::EMPTY; 4],
            standing_links: Links::with_capacity(reserved),
            bytes: [0; 3],
            sources: Sources::new(
                limits.template_bytes_per_source,
                limits.option_bytes_per_source,
                reserved,
            ),
            source_links: Links::with_capacity(reserved),
            current: NONE,
            last: None,
            changed: Default::default(),
            stripped: Vec::new(),
        }
    }

    /// The most memory that a table within `limits` takes, in bytes; what `X` has on the heap is
    /// not in it.
    pub fn memory(limits: &SessionLimits) -> usize {
        let place = size_of::<Slot<X>>()
            + 2 * size_of::<u64>()
            + 3 * (size_of::<u32>() + 1)
            + 3 * 2 * size_of::<u32>()
            + source::MEMORY;
        limits.sessions * place + limits.template_bytes + limits.option_bytes
    }

    /// The session with this key.
    #[inline]
    pub fn find(&mut self, key: &SessionKey) -> Option<SessionId> {
        match &self.last {
            Some((last, slot)) if last == key => Some(SessionId(*slot)),
            _ => {
                let slot = self.place_of(key)?;
                self.last = Some((*key, slot));
                Some(SessionId(slot))
            }
        }
    }

    fn place_of(&self, key: &SessionKey) -> Option<u32> {
        let is = |&place: &u32| self.slots[place as usize].session.key == *key;
        self.by_key.find(self.hasher.hash_one(key), is).copied()
    }

    /// Makes a session, which counts as first seen at `now`. Where there is no place left, another
    /// session gives way.
    ///
    /// # Errors
    /// [`Discard::SourceSessionsFull`] when the exporter's address has all the sessions that it may
    /// have, [`Discard::SessionTableFull`] when the table is full, and all of them are established
    /// and none is silent.
    ///
    /// # Panics
    /// When there is a session with this key already.
    pub fn insert(
        &mut self,
        key: SessionKey,
        now: Timestamp,
        extra: X,
    ) -> Result<Inserted<X>, Discard> {
        assert!(self.place_of(&key).is_none(), "a session is made once");
        self.settle();
        let old = self.place_for(&key, now)?;
        if let Some(place) = old {
            self.vacate(place);
        }
        let source = self.sources.enter(key.source.ip());
        let slot = self.slot(key, source, now, extra);
        let (place, evicted) = match old {
            Some(place) => {
                let flags = &self.slots[place as usize];
                let (queued, stripped) = (flags.queued, flags.stripped);
                let slot = Slot { queued, stripped, ..slot };
                let old = std::mem::replace(&mut self.slots[place as usize], slot);
                (place, Some(old.session))
            }
            None => {
                self.slots.push(slot);
                self.standing_links.push();
                self.source_links.push();
                ((self.slots.len() - 1) as u32, None)
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |&place: &u32| hasher.hash_one(slots[place as usize].session.key);
        self.by_key.insert_unique(hasher.hash_one(key), place, hash);
        self.standings[Standing::Bare as usize].append(&mut self.standing_links, place);
        self.sources.get_mut(source).on_probation.append(&mut self.source_links, place);
        self.relieve(place);
        Ok(Inserted { id: SessionId(place), evicted })
    }

    /// Notes a message of this session: it is the most recently seen one now.
    ///
    /// What changes in its templates and options data until another session is touched is taken
    /// note of then.
    ///
    /// # Panics
    /// When `id` is not of this table.
    #[inline]
    pub fn touch(&mut self, id: SessionId, now: Timestamp) -> &mut Session<X> {
        if self.current != id.0 {
            self.settle();
            self.current = id.0;
        }
        let slot = &mut self.slots[id.0 as usize];
        if std::mem::take(&mut slot.session.ended) {
            slot.session.first_seen = now;
        }
        slot.session.last_seen = now;
        slot.session.datagrams += 1;
        self.standings[slot.standing as usize].renew(&mut self.standing_links, id.0);
        if slot.standing != Standing::Established {
            self.prove(id.0, now);
        }
        &mut self.slots[id.0 as usize].session
    }

    /// The session in this place.
    pub fn get(&self, id: SessionId) -> Option<&Session<X>> {
        self.slots.get(id.0 as usize).map(|slot| &slot.session)
    }

    /// The session in this place, to be changed; its templates only if it was the last one touched.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session<X>> {
        self.slots.get_mut(id.0 as usize).map(|slot| &mut slot.session)
    }

    /// Whether the session in this place has come often enough not to give way to a new one.
    pub fn is_established(&self, id: SessionId) -> bool {
        let slot = self.slots.get(id.0 as usize);
        slot.is_some_and(|slot| slot.standing == Standing::Established)
    }

    /// Whether the connection of the session in this place has ended.
    pub fn has_ended(&self, id: SessionId) -> bool {
        self.get(id).is_some_and(|session| session.ended)
    }

    /// All sessions, in the order of their places.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SessionId, &Session<X>)> {
        self.slots.iter().enumerate().map(|(at, slot)| (SessionId(at as u32), &slot.session))
    }

    /// All sessions, to be changed but for their templates, in the order of their places.
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

    /// Ends a session whose connection has ended: what was learned of it is forgotten, and its place
    /// is among the first to be given away.
    ///
    /// # Panics
    /// When `id` is not of this table.
    pub fn end(&mut self, id: SessionId) {
        self.settle();
        if self.is_established(id) {
            self.demote(id.0);
        } else {
            self.strip(id.0);
        }
        let session = &mut self.slots[id.0 as usize].session;
        session.sequence = Sequence::default();
        (session.datagrams, session.records, session.lost) = (0, 0, 0);
        (session.resets, session.misuses, session.ended) = (0, 0, true);
    }

    /// A session that has lost its templates to make room; each is given once. What was written
    /// under them and has not been sent must be sent before anything else of the session.
    pub fn take_stripped(&mut self) -> Option<SessionId> {
        let place = self.stripped.pop()?;
        self.slots[place as usize].stripped = false;
        Some(SessionId(place))
    }

    /// Sessions whose templates or options data have changed since they were last given here, at
    /// most so many; established ones first, each sort in the order of the changes. One that has
    /// ended in between is not given.
    pub fn take_changed(&mut self, most: usize) -> Vec<SessionId> {
        self.settle();
        let mut taken = Vec::new();
        for (which, queue) in self.changed.iter_mut().enumerate() {
            while taken.len() < most
                && let Some(place) = queue.pop_front()
            {
                let slot = &mut self.slots[place as usize];
                slot.queued[which] = false;
                if std::mem::take(&mut slot.changed) {
                    taken.push(SessionId(place));
                }
            }
        }
        taken
    }

    fn slot(&self, key: SessionKey, source: u32, now: Timestamp, extra: X) -> Slot<X> {
        let shares = self.sources.get(source);
        let purse = |share: &Arc<Budget>, of_all: &Budgets| {
            Purse::new(Arc::clone(share), Arc::clone(&of_all.probation))
        };
        let session = Session {
            key,
            templates: TemplateStore::new(
                self.limits.templates_per_session,
                purse(&shares.templates, &self.templates),
            ),
            options: Options::new(
                self.limits.option_bytes_per_session,
                purse(&shares.options, &self.options),
            ),
            sequence: Sequence::default(),
            first_seen: now,
            last_seen: now,
            datagrams: 0,
            records: 0,
            lost: 0,
            resets: 0,
            misuses: 0,
            ended: false,
            extra,
        };
        Slot {
            session,
            standing: Standing::Bare,
            source,
            bytes: 0,
            changed: false,
            queued: [false; 2],
            stripped: false,
        }
    }

    /// The place that a new session is to take over; `None` when there is an unused one.
    fn place_for(&mut self, key: &SessionKey, now: Timestamp) -> Result<Option<u32>, Discard> {
        let source = self.sources.find(key.source.ip());
        if let Some(source) = source
            && self.sources.get(source).sessions() >= self.limits.sessions_per_source.max(1)
        {
            let place = self.least_of_source(source, now);
            return place.map(Some).ok_or(Discard::SourceSessionsFull);
        }
        if self.slots.len() < self.limits.sessions {
            return Ok(None);
        }
        self.least(now).map(Some).ok_or(Discard::SessionTableFull)
    }

    /// The session that gives way first.
    fn least(&self, now: Timestamp) -> Option<u32> {
        let kept = self.limits.sessions / KEPT_OF_PLACES;
        let list = |standing: Standing| &self.standings[standing as usize];
        let above = ON_PROBATION.into_iter().find(|&standing| list(standing).len() > kept);
        let any = || ON_PROBATION.into_iter().find(|&standing| list(standing).len() > 0);
        if let Some(standing) = above.or_else(any) {
            return Some(list(standing).first());
        }
        Some(list(Standing::Established).first()).filter(|&place| self.is_idle(place, now))
    }

    /// The session of a full address that gives way to another one of it.
    fn least_of_source(&mut self, source: u32, now: Timestamp) -> Option<u32> {
        let first = self.sources.get(source).on_probation.first();
        if first != NONE {
            return Some(first);
        }
        // Established sessions are not put in order of use in their address, which would cost each
        // message a step; going round finds a silent one soon.
        for _ in 0..LOOKS {
            let place = self.sources.get(source).established.first();
            if place == NONE || self.is_idle(place, now) {
                return Some(place).filter(|&place| place != NONE);
            }
            self.sources.get_mut(source).established.renew(&mut self.source_links, place);
        }
        None
    }

    /// A clock set back makes sessions look idle rather than busy for ever.
    fn is_idle(&self, place: u32, now: Timestamp) -> bool {
        let Some(Slot { session, .. }) = self.slots.get(place as usize) else { return false };
        // A connection says itself when it has ended, and sends no template twice.
        let may_be_gone = !session.key.transport.is_reliable() || session.ended;
        may_be_gone && now.0.abs_diff(session.last_seen.0) > self.limits.idle_ms
    }

    /// Takes the session in this place off every list; the place is to be filled at once.
    fn vacate(&mut self, place: u32) {
        let slot = &self.slots[place as usize];
        let (standing, source) = (slot.standing, slot.source);
        let hash = self.hasher.hash_one(slot.session.key);
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == place) {
            found.remove();
        }
        self.standings[standing as usize].remove(&mut self.standing_links, place);
        let shares = self.sources.get_mut(source);
        if standing == Standing::Established {
            shares.established.remove(&mut self.source_links, place);
        } else {
            shares.on_probation.remove(&mut self.source_links, place);
            self.bytes[standing as usize] -= slot.bytes;
        }
        self.sources.leave_if_empty(source);
        self.last = None;
        if self.current == place {
            self.current = NONE;
        }
    }

    /// Takes note of what the last message has changed in its session.
    #[inline]
    fn settle(&mut self) {
        let Some(slot) = self.slots.get_mut(self.current as usize) else { return };
        let templates = slot.session.templates.take_changed();
        let options = slot.session.options.take_changed();
        if templates || options {
            self.note_change(self.current);
        }
        let place = self.current;
        if self.slots[place as usize].standing != Standing::Established {
            self.weigh(place);
        }
    }

    fn note_change(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        let queue = usize::from(slot.standing != Standing::Established);
        slot.changed = true;
        if !std::mem::replace(&mut slot.queued[queue], true) {
            self.changed[queue].push_back(place);
        }
    }

    /// Puts a session on probation among those of its sort.
    fn weigh(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        let before = slot.standing;
        slot.standing = match (slot.session.templates.is_empty(), slot.session.datagrams) {
            (true, _) => Standing::Bare,
            (false, 0..=1) => Standing::Once,
            (false, _) => Standing::Again,
        };
        self.bytes[before as usize] -= slot.bytes;
        slot.bytes = slot.session.templates.memory();
        self.bytes[slot.standing as usize] += slot.bytes;
        if slot.standing != before {
            self.standings[before as usize].remove(&mut self.standing_links, place);
            self.standings[slot.standing as usize].append(&mut self.standing_links, place);
        }
    }

    /// Notes a message of a session on probation.
    fn prove(&mut self, place: u32, now: Timestamp) {
        let slot = &self.slots[place as usize];
        let source = self.sources.get_mut(slot.source);
        source.on_probation.renew(&mut self.source_links, place);
        let since_ms = now.0.saturating_sub(slot.session.first_seen.0);
        let often = slot.session.datagrams >= self.limits.established_datagrams;
        if often && since_ms >= self.limits.established_ms {
            self.establish(place, now);
        } else {
            self.weigh(place);
        }
        self.relieve(place);
    }

    /// Establishes a session if there is room for one more; otherwise it stays on probation, and the
    /// most silent of the established ones may lose its standing to the next.
    pub(crate) fn establish(&mut self, place: u32, now: Timestamp) {
        let most = self.limits.sessions - self.limits.sessions / PROBATION_PART;
        let has_place = self.standings[Standing::Established as usize].len() < most;
        let slot = &mut self.slots[place as usize];
        if !has_place || !slot.session.templates.move_to(&self.templates.established) {
            self.weigh(place);
            self.demote_idle(now);
            return;
        }
        // Options data that finds no room there stays where it is.
        slot.session.options.move_to(&self.options.established);
        let before = std::mem::replace(&mut slot.standing, Standing::Established);
        self.bytes[before as usize] -= std::mem::take(&mut slot.bytes);
        self.standings[before as usize].remove(&mut self.standing_links, place);
        self.standings[Standing::Established as usize].append(&mut self.standing_links, place);
        let source = self.sources.get_mut(slot.source);
        source.on_probation.remove(&mut self.source_links, place);
        source.established.append(&mut self.source_links, place);
        if !slot.session.templates.is_empty() {
            self.note_change(place);
        }
    }

    /// Puts the least recently seen established session on probation, without its templates, if it
    /// has been silent for long.
    fn demote_idle(&mut self, now: Timestamp) {
        let place = self.standings[Standing::Established as usize].first();
        if self.is_idle(place, now) {
            self.demote(place);
        }
    }

    /// Puts an established session on probation, without its templates.
    fn demote(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        slot.standing = Standing::Bare;
        self.standings[Standing::Established as usize].remove(&mut self.standing_links, place);
        self.standings[Standing::Bare as usize].append(&mut self.standing_links, place);
        let source = self.sources.get_mut(slot.source);
        source.established.remove(&mut self.source_links, place);
        source.on_probation.append(&mut self.source_links, place);
        self.strip(place);
        let session = &mut self.slots[place as usize].session;
        let _nothing_to_move = session.templates.move_to(&self.templates.probation)
            && session.options.move_to(&self.options.probation);
    }

    /// Keeps memory free for what the next datagram of this session may bring: others on probation
    /// lose their templates. Each that does paid with a message for having them.
    fn relieve(&mut self, place: u32) {
        while self.templates.probation.left() < self.templates.reserve {
            let Some(other) = self.least_with_templates(place) else { break };
            self.strip(other);
        }
    }

    /// The session on probation that loses its templates first.
    fn least_with_templates(&self, but: u32) -> Option<u32> {
        let kept = self.limits.template_bytes / PROBATION_PART / 4;
        let first = |standing: Standing| {
            let list = &self.standings[standing as usize];
            Some(list.first()).filter(|&place| place != NONE && place != but)
        };
        let [_, once, again] = ON_PROBATION;
        let (light, heavy) =
            if self.bytes[once as usize] > kept { (once, again) } else { (again, once) };
        first(light).or_else(|| first(heavy))
    }

    /// Takes a session's templates and options data from it.
    fn strip(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        slot.session.templates.withdraw_all(false);
        slot.session.templates.withdraw_all(true);
        slot.session.options.clear();
        slot.session.templates.take_changed();
        slot.session.options.take_changed();
        if !std::mem::replace(&mut slot.stripped, true) {
            self.stripped.push(place);
        }
        self.weigh(place);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::session::{Taken, Transport};
    use crate::template::MAX_FIELDS;
    use crate::wire::set::{Set, TemplateRecords};
    use crate::wire::{Protocol, ipfix};

    fn key(domain: u32) -> SessionKey {
        of_source(1, domain)
    }

    fn of_source(source: u32, domain: u32) -> SessionKey {
        let source = SocketAddr::from(((0x0a00_0000 + source).to_be_bytes(), 4739));
        SessionKey {
            source,
            port: 2055,
            protocol: Protocol::Ipfix,
            domain,
            transport: Transport::Udp,
        }
    }

    /// Established at the second message.
    fn limits(sessions: usize) -> SessionLimits {
        SessionLimits {
            sessions,
            idle_ms: 100,
            established_datagrams: 2,
            established_ms: 0,
            ..SessionLimits::default()
        }
    }

    fn table(sessions: usize) -> SessionTable<()> {
        SessionTable::new(limits(sessions))
    }

    /// On probation for as long as a test lasts.
    fn on_probation(sessions: usize) -> SessionTable<()> {
        SessionTable::new(SessionLimits { established_ms: u64::MAX, ..limits(sessions) })
    }

    /// Begins a session with one message.
    fn begin(table: &mut SessionTable<()>, key: SessionKey, now: u64) -> SessionId {
        let id = table.insert(key, Timestamp(now), ()).unwrap().id;
        table.touch(id, Timestamp(now));
        id
    }

    /// Establishes a session.
    fn establish(table: &mut SessionTable<()>, key: SessionKey, now: u64) -> SessionId {
        let id = begin(table, key, now);
        table.touch(id, Timestamp(now));
        assert!(table.is_established(id));
        id
    }

    /// A message with a template of so many fields.
    fn tell(table: &mut SessionTable<()>, id: SessionId, fields: usize, now: u64) {
        let mut body = [256, fields as u16].map(u16::to_be_bytes).concat();
        (0..fields).for_each(|_| body.extend([0, 1, 0, 4]));
        let set = Set { id: ipfix::SET_TEMPLATES, body: &body };
        let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
        let taken = table.touch(id, Timestamp(now)).take(&record);
        assert!(matches!(taken, Ok(Taken::New | Taken::Same | Taken::Changed)), "{taken:?}");
    }

    /// Begins a session with one message, which holds a template.
    fn introduce(table: &mut SessionTable<()>, key: SessionKey, fields: usize) -> SessionId {
        let id = table.insert(key, Timestamp(0), ()).unwrap().id;
        tell(table, id, fields, 0);
        id
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
        let other_port = SessionKey { source: "10.0.0.1:4740".parse().unwrap(), ..base };
        assert!(table.find(&other_port).is_none());
    }

    #[test]
    fn a_full_table_refuses_while_all_are_established_and_none_is_silent() {
        let mut table = table(1);
        establish(&mut table, key(1), 0);
        let refused = table.insert(key(2), Timestamp(100), ()).unwrap_err();
        assert_eq!(refused, Discard::SessionTableFull);
        assert!(table.find(&key(1)).is_some());
    }

    #[test]
    fn the_least_recently_seen_silent_session_gives_way() {
        let mut table = table(2);
        let first = establish(&mut table, key(1), 0);
        let second = establish(&mut table, key(2), 0);
        table.touch(second, Timestamp(10));
        table.touch(first, Timestamp(20));
        let inserted = table.insert(key(3), Timestamp(111), ()).unwrap();
        assert_eq!(inserted.evicted.unwrap().key, key(2));
        assert_eq!(inserted.id, second);
        assert!(table.find(&key(2)).is_none());
        assert_eq!(table.find(&key(3)), Some(second));
    }

    #[test]
    fn an_evicted_session_is_not_found_by_the_shortcut() {
        let mut table = table(1);
        table.insert(key(1), Timestamp(0), ()).unwrap();
        assert!(table.find(&key(1)).is_some());
        table.insert(key(2), Timestamp(0), ()).unwrap();
        assert!(table.find(&key(1)).is_none());
    }

    #[test]
    fn the_order_of_use_holds_over_many_touches() {
        let mut table = on_probation(4);
        let ids: Vec<_> = (0..4).map(|d| begin(&mut table, key(d), 0)).collect();
        for (at, id) in [2, 0, 3, 1, 2, 2, 0].iter().enumerate() {
            table.touch(ids[*id], Timestamp(at as u64));
        }
        let order: Vec<_> = (0..4)
            .map(|n| table.insert(key(10 + n), Timestamp(9), ()).unwrap().evicted.unwrap().key)
            .collect();
        assert_eq!(order, [key(3), key(1), key(2), key(0)]);
    }

    #[test]
    fn a_session_is_established_by_coming_often_and_for_some_time() {
        let limits =
            SessionLimits { established_datagrams: 3, established_ms: 10_000, ..limits(8) };
        let mut table = SessionTable::new(limits);
        let often = begin(&mut table, key(1), 0);
        let long = begin(&mut table, key(2), 0);
        for now in 1..100 {
            table.touch(often, Timestamp(now));
        }
        table.touch(long, Timestamp(20_000));
        assert!(!table.is_established(often) && !table.is_established(long));
        table.touch(often, Timestamp(10_000));
        table.touch(long, Timestamp(20_001));
        assert!(table.is_established(often) && table.is_established(long));
    }

    #[test]
    fn a_sweep_takes_nothing_from_the_established_and_keeps_nobody_new_out() {
        let mut table = table(64);
        for n in 0..80 {
            let id = begin(&mut table, of_source(n, 0), 0);
            table.touch(id, Timestamp(0));
        }
        let established = |table: &SessionTable<()>| {
            (0..64).filter(|&n| table.is_established(SessionId(n))).count()
        };
        assert_eq!(established(&table), 56, "an eighth is for those that are new");
        for n in 1_000..10_000 {
            begin(&mut table, of_source(n, 0), 50);
        }
        assert_eq!((established(&table), table.len()), (56, 64));
    }

    #[test]
    fn whoever_has_templates_outlives_a_sweep_without() {
        let mut table = on_probation(64);
        let honest = introduce(&mut table, key(1), 1);
        for n in 0..10_000 {
            begin(&mut table, of_source(n, 7), 0);
        }
        assert_eq!(table.find(&key(1)), Some(honest));
    }

    #[test]
    fn whoever_comes_again_outlives_a_sweep_with_templates() {
        let mut table = on_probation(64);
        let honest = introduce(&mut table, key(1), 1);
        table.touch(honest, Timestamp(0));
        for n in 0..10_000 {
            introduce(&mut table, of_source(n, 7), 1);
        }
        assert_eq!(table.find(&key(1)), Some(honest));
    }

    #[test]
    fn no_sort_of_session_is_pushed_out_by_another() {
        let mut table = on_probation(64);
        for n in 0..64 {
            let id = begin(&mut table, of_source(n, 7), 0);
            tell(&mut table, id, 1, 0);
            tell(&mut table, id, 1, 0);
        }
        let new: Vec<_> = (0..4).map(|domain| begin(&mut table, key(domain), 0)).collect();
        assert!((0..4).all(|domain| table.find(&key(domain)) == Some(new[domain as usize])));
    }

    #[test]
    fn an_address_at_its_bound_pushes_out_its_own() {
        let mut table = SessionTable::new(SessionLimits { sessions_per_source: 4, ..limits(64) });
        let other = begin(&mut table, of_source(2, 0), 0);
        for domain in 0..1_000 {
            begin(&mut table, key(domain), 0);
        }
        assert_eq!((table.len(), table.find(&of_source(2, 0))), (5, Some(other)));
        for domain in 2_000..2_004 {
            establish(&mut table, key(domain), 0);
        }
        let refused = table.insert(key(1), Timestamp(100), ()).unwrap_err();
        assert_eq!(refused, Discard::SourceSessionsFull);
        assert!(table.insert(key(1), Timestamp(101), ()).unwrap().evicted.is_some());
    }

    #[test]
    fn an_address_is_forgotten_with_its_last_session() {
        let mut table = on_probation(2);
        for n in 0..100 {
            begin(&mut table, of_source(n, 0), 0);
        }
        assert!(table.sources.find(of_source(97, 0).source.ip()).is_none());
        assert!(table.sources.find(of_source(99, 0).source.ip()).is_some());
    }

    #[test]
    fn where_memory_runs_low_a_session_on_probation_is_stripped() {
        let mut table = SessionTable::new(SessionLimits {
            template_bytes: 8 << 20,
            established_ms: u64::MAX,
            ..limits(100_000)
        });
        let honest = introduce(&mut table, key(1), 1);
        tell(&mut table, honest, 1, 0);
        for n in 0..3_000 {
            let id = introduce(&mut table, of_source(2 + n, 0), MAX_FIELDS);
            assert!(table.get(id).unwrap().templates.len() == 1);
        }
        let paid: usize = table.iter().map(|(_, session)| session.templates.memory()).sum();
        assert!(paid <= 1 << 20, "an eighth of the memory");
        assert_eq!(table.get(honest).unwrap().templates.len(), 1);
        let stripped = std::iter::from_fn(|| table.take_stripped()).collect::<Vec<_>>();
        assert!(stripped.len() > 2_000);
        assert!(stripped.iter().all(|&id| table.get(id).unwrap().templates.is_empty()));
    }

    #[test]
    fn a_silent_established_session_makes_room_for_one_that_comes() {
        let mut table = table(8);
        let ids: Vec<_> = (0..7).map(|n| establish(&mut table, of_source(n, 0), 0)).collect();
        let new = begin(&mut table, key(9), 50);
        table.touch(new, Timestamp(50));
        assert!(!table.is_established(new), "an eighth is for those that are new");
        table.touch(new, Timestamp(101));
        table.touch(new, Timestamp(101));
        assert!(table.is_established(new));
        assert!(!table.is_established(ids[0]));
    }

    #[test]
    fn changes_are_given_once_and_established_sessions_first() {
        let mut table = SessionTable::new(SessionLimits { established_datagrams: 4, ..limits(8) });
        let ids: Vec<_> = (0..3).map(|n| begin(&mut table, of_source(n, 0), 0)).collect();
        assert!(table.take_changed(8).is_empty());
        for &id in &ids {
            tell(&mut table, id, 1, 0);
        }
        tell(&mut table, ids[2], 2, 0);
        tell(&mut table, ids[2], 3, 0);
        assert_eq!(table.take_changed(2), [ids[2], ids[0]]);
        assert_eq!(table.take_changed(8), [ids[1]]);
        tell(&mut table, ids[2], 3, 0);
        assert!(table.take_changed(8).is_empty(), "the same template again");
    }

    #[test]
    fn what_waits_to_be_told_of_changes_is_bounded_by_the_table() {
        let mut table = on_probation(4);
        for n in 0..1_000 {
            let id = begin(&mut table, of_source(n, 0), 0);
            tell(&mut table, id, 1, 0);
            tell(&mut table, id, 2, 0);
        }
        assert!(table.changed.iter().all(|queue| queue.len() <= 4));
        assert_eq!(table.take_changed(100).len(), 4);
    }
}
