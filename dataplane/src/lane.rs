//! The ways of sessions to slaves: a sequence number each, and the message that is open.
//!
//! Lanes lie in chunks of sessions, each as wide as the slaves that its sessions have had; a slave
//! more widens a chunk when it first gets something of one of its sessions, so that no change of
//! configuration touches all sessions at once.

use crate::session::SessionId;

/// No open message.
pub(crate) const NONE: u32 = u32::MAX;

/// Sessions of a chunk.
const SESSIONS: usize = 256;
/// Slaves that a chunk has room for at first, and by whose multiples it is widened.
const WIDTH: usize = 4;

/// One session's way to one slave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// The next message's sequence number.
    pub(crate) sequence: u32,
    /// Slot of the open message, or [`NONE`].
    pub(crate) open: u32,
}

const IDLE: Lane = Lane { sequence: 0, open: NONE };

#[derive(Debug)]
struct Chunk {
    width: usize,
    lanes: Vec<Lane>,
}

/// The lanes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    chunks: Vec<Chunk>,
}

impl Lanes {
    /// The lane of a session to a slave, made where there was none.
    #[inline]
    pub(crate) fn of(&mut self, session: SessionId, slave: u16) -> &mut Lane {
        let (chunk, row) = (session.0 as usize / SESSIONS, session.0 as usize % SESSIONS);
        let slave = usize::from(slave);
        if self.chunks.get(chunk).is_none_or(|chunk| slave >= chunk.width) {
            self.widen(chunk, slave);
        }
        let chunk = &mut self.chunks[chunk];
        &mut chunk.lanes[row * chunk.width + slave]
    }

    /// The lanes that a session has had, by slave.
    pub(crate) fn all_of(&mut self, session: SessionId) -> &mut [Lane] {
        let (chunk, row) = (session.0 as usize / SESSIONS, session.0 as usize % SESSIONS);
        match self.chunks.get_mut(chunk) {
            Some(chunk) => &mut chunk.lanes[row * chunk.width..][..chunk.width],
            None => &mut [],
        }
    }

    /// Starts a session's lanes anew: their sequence numbers begin at 0. What it had open must have
    /// been closed.
    pub(crate) fn begin(&mut self, session: SessionId) {
        let lanes = self.all_of(session);
        debug_assert!(lanes.iter().all(|lane| lane.open == NONE));
        lanes.fill(IDLE);
    }

    #[cold]
    fn widen(&mut self, at: usize, slave: usize) {
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, || Chunk { width: 0, lanes: Vec::new() });
        }
        let chunk = &mut self.chunks[at];
        let width = (slave + 1).next_multiple_of(WIDTH);
        let mut lanes = vec![IDLE; width * SESSIONS];
        if chunk.width > 0 {
            let rows = chunk.lanes.chunks_exact(chunk.width).zip(lanes.chunks_exact_mut(width));
            rows.for_each(|(old, new)| new[..old.len()].copy_from_slice(old));
        }
        *chunk = Chunk { width, lanes };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_chunk_keeps_what_its_lanes_knew() {
        let mut lanes = Lanes::default();
        for session in 0..600 {
            lanes.of(SessionId(session), 2).sequence = session;
        }
        lanes.of(SessionId(300), 63).open = 7;
        for session in 0..600 {
            assert_eq!(lanes.of(SessionId(session), 2).sequence, session);
        }
        assert_eq!(lanes.all_of(SessionId(300)).len(), 64);
        assert_eq!(lanes.all_of(SessionId(0)).len(), 4);
        assert_eq!(lanes.of(SessionId(300), 63).open, 7);
    }

    #[test]
    fn a_session_that_begins_anew_counts_from_zero() {
        let mut lanes = Lanes::default();
        lanes.of(SessionId(3), 1).sequence = 9;
        lanes.of(SessionId(4), 1).sequence = 9;
        lanes.begin(SessionId(3));
        assert_eq!(lanes.of(SessionId(3), 1).sequence, 0);
        assert_eq!(lanes.of(SessionId(4), 1).sequence, 9);
    }
}
