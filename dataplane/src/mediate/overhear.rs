//! What a mediator does for datagrams that the kernel forwards past it: it listens in to those with
//! templates, and tells what it has heard when a source moves.

use std::net::SocketAddr;

use super::roster::{TOLD_AT_ONCE, TOLD_BYTES_AT_ONCE};
use super::{Mediator, deal};
use crate::Timestamp;
use crate::configuration::SLAVES_MAX;
use crate::io::{Datagram, Transmit};
use crate::news::News;
use crate::session::SessionId;
use crate::steer::Steer;
use crate::wire::Message;

impl<F> Mediator<F> {
    /// Most datagrams are forwarded past this mediator: it can't tell what was lost before.
    pub(crate) fn set_forwarded(&mut self) {
        self.forwarded = true;
    }

    /// Listens in to a message that the kernel has forwarded, and has counted.
    pub(crate) fn overhear<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Timestamp,
    ) {
        let datagram = Datagram { source, destination, payload };
        let heard = Message::parse(payload)
            .and_then(|message| Ok((message, self.session(io, &datagram, None, &message, now)?)));
        let Ok((message, id)) = heard else {
            // The kernel copies the beginning of a long one only, and sessions are bounded.
            return self.counters.templates_unheard.add(1);
        };
        let slave = self.steer.assign(source.ip());
        let life = slave.map(|slave| (slave, self.lives[usize::from(slave)]));
        let session = self.sessions.get_mut(id).expect("just found");
        // It went where the table sends it; one that is on the move is told later.
        if session.extra.slave.is_none() {
            session.extra.slave = life;
        }
        deal::listen_in(&self.counters, &message, session);
    }

    /// Tells the sessions that have moved to another slave, from a place of the table on and a few at
    /// once; returns where to go on.
    pub(crate) fn tell_moved<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        first: u32,
    ) -> Option<u32> {
        let places = u32::try_from(self.sessions.len()).expect("places are counted in 32 bits");
        let most = places.min(first.saturating_add(TOLD_AT_ONCE));
        let (mut end, mut bytes) = (first, 0);
        while end < most && bytes < TOLD_BYTES_AT_ONCE {
            let id = SessionId(end);
            let session = self.sessions.get(id).expect("a place below len");
            let next = session.sequence.next().unwrap_or(session.extra.sequence);
            if session.key.transport.is_reliable() {
                bytes += self.tell_owner(io, id, session.last_seen);
            } else if let Some(slave) = self.steer.assign(session.key.source.ip()) {
                bytes += self.tell_before(io, id, slave, next);
            }
            end += 1;
        }
        (end < places).then_some(end)
    }

    /// Tells the control plane of a source.
    pub(crate) fn tell_source(&self, source: SocketAddr, port: u16) {
        self.herald.tell(News::Source { source, port });
    }

    /// Which slave gets what.
    pub(crate) fn steer(&self) -> &Steer {
        &self.steer
    }

    /// How often each slave has had to be told everything anew.
    pub(crate) fn lives(&self) -> &[u32; SLAVES_MAX] {
        &self.lives
    }

    /// Whether there is a session that a slave could have to be told.
    pub(crate) fn has_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }
}
