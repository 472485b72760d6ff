//! Data sets that came before their template: held for a while, within bounds, under the header
//! that they came under.
//!
//! Over UDP a template can be overtaken by its data, and after a restart of either side the next
//! refresh may be minutes away (RFC 7011, Section 8.1 allows a collector to buffer them). Exporters
//! are untrusted, so nothing here grows: the sets lie in chunks of one arena that is made once, and
//! keeping, releasing and expiring cost a constant time for each chunk. A session and an exporter's
//! address have a share each. Where there is no room the new set is refused rather than an older
//! one pushed out: data without templates at full rate costs a look at two numbers.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::Timestamp;
use crate::list::{Links, List, NONE};
use crate::session::SessionId;

/// The bounds of a [`Hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// Memory in all, bytes; what is needed to find the sets again is counted.
    pub bytes: usize,
    /// Of one exporter's address, bytes of chunks.
    pub bytes_per_source: usize,
    /// Of one session, bytes of chunks.
    pub bytes_per_session: usize,
    /// After this long a set is given up, milliseconds.
    pub ms: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        HoldLimits {
            bytes: 8 << 20,
            bytes_per_source: 1 << 20,
            bytes_per_session: 256 << 10,
            ms: 30_000,
        }
    }
}

/// A set that has been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// What [`Hold::keep`] was given for its header.
    pub header: &'a [u8],
    /// The set's body.
    pub body: &'a [u8],
    /// When it was kept.
    pub kept_at: Timestamp,
}

/// Bytes of a chunk; a set takes whole ones.
const CHUNK: usize = 512;
/// Memory for each chunk: itself, its entry and links, and its parts of the maps, which are at most
/// half empty.
const MEMORY_PER_CHUNK: usize = CHUNK
    + size_of::<Entry>()
    + size_of::<u32>()
    + 3 * size_of::<u64>()
    + 2 * (2 * (size_of::<((SessionId, u16), Share)>() + 1) + size_of::<(IpAddr, u32)>() + 1);
/// A data set's id is never this, so that it can stand for the session itself.
const WHOLE_SESSION: u16 = 0;
/// The most sets that end in one call of [`Hold::expire`], so that it never takes long.
const EXPIRED_AT_ONCE: u64 = 1_024;

/// A held set, at the place of its first chunk.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kept_at: Timestamp,
    source: IpAddr,
    session: SessionId,
    set: u16,
    header_length: u16,
    length: u32,
}

/// The sets of a session, or those of one id in it.
#[derive(Clone, Copy, Debug)]
struct Share {
    list: List,
    chunks: u32,
}

/// Data sets that wait for their templates.
#[derive(Debug)]
pub struct Hold {
    ms: u64,
    chunks: usize,
    chunks_per_source: usize,
    chunks_per_session: usize,
    arena: Vec<u8>,
    /// The chunk behind each in its set, or in the list of free ones.
    next: Vec<u32>,
    free: u32,
    free_chunks: usize,
    entries: Vec<Entry>,
    by_age: List,
    age_links: Links,
    /// By session and set id; under [`WHOLE_SESSION`] all of a session.
    shares: HashMap<(SessionId, u16), Share>,
    session_links: Links,
    set_links: Links,
    /// Chunks of each exporter's address.
    sources: HashMap<IpAddr, u32>,
    /// One set in one piece.
    whole: Vec<u8>,
}

impl Hold {
    /// An empty hold; its memory is reserved here and used only as sets come.
    pub fn new(limits: HoldLimits) -> Self {
        let chunks = (limits.bytes / MEMORY_PER_CHUNK).min(NONE as usize);
        Hold {
            ms: limits.ms,
            chunks,
            chunks_per_source: limits.bytes_per_source / CHUNK,
            chunks_per_session: limits.bytes_per_session / CHUNK,
            arena: Vec::with_capacity(chunks * CHUNK),
            next: Vec::with_capacity(chunks),
            free: NONE,
            free_chunks: chunks,
            entries: Vec::with_capacity(chunks),
            by_age: List::EMPTY,
            age_links: Links::with_capacity(chunks),
            shares: HashMap::with_capacity(2 * chunks),
            session_links: Links::with_capacity(chunks),
            set_links: Links::with_capacity(chunks),
            sources: HashMap::with_capacity(chunks),
            whole: Vec::new(),
        }
    }

    /// Keeps the body of data set `set` of a session of the exporter at `source`; whether there was
    /// room. `header` is what the caller needs to read it later, and comes back as it was.
    ///
    /// # Panics
    /// When `set` is no data set's id, or header and body are no part of a datagram: longer than
    /// 64 KiB each.
    pub fn keep(
        &mut self,
        session: SessionId,
        source: IpAddr,
        set: u16,
        header: &[u8],
        body: &[u8],
        now: Timestamp,
    ) -> bool {
        assert!(set != WHOLE_SESSION, "only data sets are held");
        let header_length = u16::try_from(header.len()).expect("a header is a datagram's");
        assert!(body.len() <= usize::from(u16::MAX), "a body is a datagram's");
        let length = header.len() + body.len();
        let chunks = length.div_ceil(CHUNK).max(1);
        if chunks > self.free_chunks || !self.may_take(session, source, chunks) {
            return false;
        }
        self.whole.clear();
        self.whole.extend(header);
        self.whole.extend(body);
        let first = self.store(chunks);
        let length = length as u32;
        self.entries[first as usize] =
            Entry { kept_at: now, source, session, set, header_length, length };
        self.by_age.append(&mut self.age_links, first);
        for (of, links) in [(WHOLE_SESSION, &mut self.session_links), (set, &mut self.set_links)] {
            let none = Share { list: List::EMPTY, chunks: 0 };
            let share = self.shares.entry((session, of)).or_insert(none);
            share.list.append(links, first);
            share.chunks += chunks as u32;
        }
        *self.sources.entry(source).or_insert(0) += chunks as u32;
        true
    }

    /// Gives up what waits for set id `set` of a session, in the order in which it came.
    pub fn release(&mut self, session: SessionId, set: u16, mut each: impl FnMut(Held<'_>)) {
        if self.by_age.len() == 0 {
            return;
        }
        while let Some(share) = self.shares.get(&(session, set)) {
            let place = share.list.first();
            let entry = self.entries[place as usize];
            self.load(place, entry.length as usize);
            self.remove(place);
            let (header, body) = self.whole.split_at(entry.header_length.into());
            each(Held { header, body, kept_at: entry.kept_at });
        }
    }

    /// Gives up sets that have waited for too long, oldest first; how many. A call ends after a
    /// thousand, the next goes on.
    pub fn expire(&mut self, now: Timestamp) -> u64 {
        let mut expired = 0;
        while self.by_age.len() > 0 && expired < EXPIRED_AT_ONCE {
            let kept_at = self.entries[self.by_age.first() as usize].kept_at;
            // A clock set back must not hold sets for ever: an age below zero is too old.
            if kept_at <= now && now < kept_at.plus_ms(self.ms) {
                break;
            }
            self.remove(self.by_age.first());
            expired += 1;
        }
        expired
    }

    /// Gives up all sets of a session that has ended; how many.
    pub fn forget(&mut self, session: SessionId) -> u64 {
        let mut forgotten = 0;
        while let Some(share) = self.shares.get(&(session, WHOLE_SESSION)) {
            self.remove(share.list.first());
            forgotten += 1;
        }
        forgotten
    }

    /// Gives up all sets; how many.
    pub fn clear(&mut self) -> u64 {
        let held = self.by_age.len();
        while self.by_age.len() > 0 {
            self.remove(self.by_age.first());
        }
        held as u64
    }

    /// Sets that are held.
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_age.len() == 0
    }

    fn may_take(&self, session: SessionId, source: IpAddr, chunks: usize) -> bool {
        let share = self.shares.get(&(session, WHOLE_SESSION)).map_or(0, |share| share.chunks);
        let of_source = self.sources.get(&source).map_or(0, |&chunks| chunks);
        share as usize + chunks <= self.chunks_per_session
            && of_source as usize + chunks <= self.chunks_per_source
    }

    /// Writes `whole` to free chunks; returns the first.
    fn store(&mut self, chunks: usize) -> u32 {
        let mut first = NONE;
        // The last piece first, so that each can name the one behind it.
        for piece in (0..chunks).rev() {
            let chunk = self.take_chunk();
            let bytes = &self.whole[piece * CHUNK..self.whole.len().min((piece + 1) * CHUNK)];
            let at = chunk as usize * CHUNK;
            self.arena[at..at + bytes.len()].copy_from_slice(bytes);
            self.next[chunk as usize] = first;
            first = chunk;
        }
        self.free_chunks -= chunks;
        first
    }

    /// A chunk off the list of free ones, or the first that was never used.
    fn take_chunk(&mut self) -> u32 {
        if self.free != NONE {
            let chunk = self.free;
            self.free = self.next[chunk as usize];
            return chunk;
        }
        assert!(self.next.len() < self.chunks, "the caller has counted the free chunks");
        self.arena.resize(self.arena.len() + CHUNK, 0);
        self.next.push(NONE);
        let source = IpAddr::from([0; 4]);
        let (kept_at, session) = (Timestamp(0), SessionId(NONE));
        self.entries.push(Entry { kept_at, source, session, set: 0, header_length: 0, length: 0 });
        for links in [&mut self.age_links, &mut self.session_links, &mut self.set_links] {
            links.push();
        }
        (self.next.len() - 1) as u32
    }

    /// Reads a set into `whole`.
    fn load(&mut self, place: u32, length: usize) {
        self.whole.clear();
        let mut chunk = place;
        while self.whole.len() < length {
            let at = chunk as usize * CHUNK;
            let piece = CHUNK.min(length - self.whole.len());
            self.whole.extend_from_slice(&self.arena[at..at + piece]);
            chunk = self.next[chunk as usize];
        }
    }

    fn remove(&mut self, place: u32) {
        let Entry { session, set, source, .. } = self.entries[place as usize];
        let chunks = self.free_set(place);
        self.by_age.remove(&mut self.age_links, place);
        for (of, links) in [(WHOLE_SESSION, &mut self.session_links), (set, &mut self.set_links)] {
            let share = self.shares.get_mut(&(session, of)).expect("a held set has its shares");
            share.list.remove(links, place);
            share.chunks -= chunks;
            if share.list.len() == 0 {
                self.shares.remove(&(session, of));
            }
        }
        let of_source = self.sources.get_mut(&source).expect("a held set has its source");
        *of_source -= chunks;
        if *of_source == 0 {
            self.sources.remove(&source);
        }
    }

    /// Puts a set's chunks on the list of free ones; how many.
    fn free_set(&mut self, place: u32) -> u32 {
        let mut chunks = 0;
        let mut chunk = place;
        while chunk != NONE {
            let behind = std::mem::replace(&mut self.next[chunk as usize], self.free);
            self.free = chunk;
            chunk = behind;
            chunks += 1;
        }
        self.free_chunks += chunks as usize;
        chunks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HoldLimits = HoldLimits {
        bytes: 64 * MEMORY_PER_CHUNK,
        bytes_per_source: 32 * CHUNK,
        bytes_per_session: 16 * CHUNK,
        ms: 100,
    };

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn keep(hold: &mut Hold, session: u32, set: u16, body: &[u8], now: u64) -> bool {
        let address = source(session as u8 / 3);
        hold.keep(SessionId(session), address, set, &[9; 20], body, Timestamp(now))
    }

    fn release(hold: &mut Hold, session: u32, set: u16) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        hold.release(SessionId(session), set, |held| {
            assert_eq!(held.header, [9; 20]);
            bodies.push(held.body.to_vec());
        });
        bodies
    }

    #[test]
    fn sets_come_back_in_their_order_and_once() {
        let mut hold = Hold::new(LIMITS);
        let long: Vec<u8> = (0..1_400).map(|n| n as u8).collect();
        assert!(keep(&mut hold, 1, 256, &long, 0));
        assert!(keep(&mut hold, 1, 257, &[7], 0));
        assert!(keep(&mut hold, 1, 256, &[8], 0));
        assert!(keep(&mut hold, 2, 256, &[], 0));
        assert_eq!(hold.len(), 4);
        assert_eq!(release(&mut hold, 1, 256), [long, vec![8]]);
        assert!(release(&mut hold, 1, 256).is_empty());
        assert_eq!(release(&mut hold, 2, 256), [[0u8; 0]]);
        assert_eq!(hold.len(), 1);
    }

    #[test]
    fn a_set_is_given_up_when_its_time_is_over() {
        let mut hold = Hold::new(LIMITS);
        keep(&mut hold, 1, 256, &[1], 10);
        keep(&mut hold, 1, 256, &[2], 60);
        assert_eq!(hold.expire(Timestamp(109)), 0);
        assert_eq!(hold.expire(Timestamp(110)), 1);
        assert_eq!(release(&mut hold, 1, 256), [[2]]);
    }

    #[test]
    fn a_clock_set_back_holds_nothing_for_ever() {
        let mut hold = Hold::new(LIMITS);
        keep(&mut hold, 1, 256, &[1], 1_000_000);
        assert_eq!(hold.expire(Timestamp(5)), 1);
        assert!(hold.is_empty());
    }

    #[test]
    fn a_session_that_ends_takes_only_its_own() {
        let mut hold = Hold::new(LIMITS);
        for set in 256..260 {
            keep(&mut hold, 1, set, &[1], 0);
            keep(&mut hold, 2, set, &[2], 0);
        }
        assert_eq!(hold.forget(SessionId(1)), 4);
        assert_eq!(hold.forget(SessionId(1)), 0);
        assert_eq!(release(&mut hold, 2, 258), [[2]]);
        assert_eq!(hold.len(), 3);
    }

    #[test]
    fn neither_a_session_nor_an_address_takes_the_room_of_others() {
        let mut hold = Hold::new(LIMITS);
        let kept = |hold: &mut Hold, session| {
            (0..100).filter(|_| keep(hold, session, 256, &[0; 500], 0)).count()
        };
        // Two chunks a set: 8 sets for a session, 16 for an address, 32 in all.
        assert_eq!((kept(&mut hold, 3), kept(&mut hold, 4), kept(&mut hold, 5)), (8, 8, 0));
        assert_eq!((kept(&mut hold, 6), kept(&mut hold, 7)), (8, 8));
        assert_eq!(kept(&mut hold, 9), 0, "the hold is full");
        hold.forget(SessionId(3));
        assert_eq!(kept(&mut hold, 9), 8);
    }

    #[test]
    fn a_hold_of_nothing_keeps_nothing() {
        let mut hold = Hold::new(HoldLimits { bytes: 0, ..LIMITS });
        assert!(!keep(&mut hold, 1, 256, &[1], 0));
        assert_eq!(hold.expire(Timestamp(1_000)), 0);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Keep(u32, u16, usize),
        Release(u32, u16),
        Forget(u32),
        Later(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        let (session, set) = (0u32..6, 256u16..259);
        prop_oneof![
            6 => (session.clone(), set.clone(), 0usize..3_000).prop_map(|(a, b, c)| Act::Keep(a, b, c)),
            2 => (session.clone(), set).prop_map(|(a, b)| Act::Release(a, b)),
            1 => session.prop_map(Act::Forget),
            1 => (0u64..60).prop_map(Act::Later),
        ]
    }

    proptest! {
        /// A plain queue does the same, so long as the hold says when it has no room.
        #[test]
        fn a_hold_does_what_a_queue_does(acts in vec(act(), 1..200)) {
            let mut hold = Hold::new(LIMITS);
            let mut queue: VecDeque<(u64, u32, u16, Vec<u8>)> = VecDeque::new();
            let mut now = 0;
            for (n, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Keep(session, set, length) => {
                        let body = vec![n as u8; length];
                        if keep(&mut hold, session, set, &body, now) {
                            queue.push_back((now, session, set, body));
                        }
                    }
                    Act::Release(session, set) => {
                        let of = |q: &&(u64, u32, u16, Vec<u8>)| q.1 == session && q.2 == set;
                        let expected: Vec<_> =
                            queue.iter().filter(of).map(|q| q.3.clone()).collect();
                        queue.retain(|q| !of(&q));
                        prop_assert_eq!(release(&mut hold, session, set), expected);
                    }
                    Act::Forget(session) => {
                        let before = queue.len();
                        queue.retain(|q| q.1 != session);
                        prop_assert_eq!(hold.forget(SessionId(session)), (before - queue.len()) as u64);
                    }
                    Act::Later(ms) => {
                        now += ms;
                        let before = queue.len();
                        queue.retain(|q| now < q.0 + LIMITS.ms);
                        prop_assert_eq!(hold.expire(Timestamp(now)), (before - queue.len()) as u64);
                    }
                }
                prop_assert_eq!(hold.len(), queue.len());
                let used: usize = queue.iter().map(|q| (20 + q.3.len()).div_ceil(CHUNK)).sum();
                prop_assert_eq!(hold.chunks - hold.free_chunks, used);
            }
            prop_assert!(hold.next.len() <= hold.chunks);
        }
    }
}
