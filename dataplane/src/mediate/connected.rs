//! What comes by connections: messages of up to 64 KiB, which no packet to a slave could carry.
//!
//! So they are taken apart in both models, and their records packed anew under the MTU. Under flow
//! source all of a source's records go to the slave that its datagrams would go to; it is told the
//! session's templates in the session's own lane, because the exporter's sequence numbers are not
//! handed on.

use super::{Distribution, Mediator};
use crate::Timestamp;
use crate::connection::Connection;
use crate::io::Transmit;
use crate::session::{SessionId, SessionKey};

impl<F> Mediator<F> {
    /// Takes one message of a connection; it is counted as a datagram, and ends in a counter.
    pub fn message<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        connection: &Connection,
        payload: &[u8],
        now: Timestamp,
    ) {
        let malformed = self.counters.malformed();
        self.counters.datagrams_received.add(1);
        let datagram = connection.datagram(payload);
        let passed = self.pass_gate(io, &datagram);
        let taken = passed.and_then(|()| self.take_apart(io, &datagram, Some(connection), now));
        self.count(taken);
        connection.note(self.counters.malformed() > malformed);
    }

    /// Ends the sessions of a connection that has ended: what is open leaves, and its templates are
    /// forgotten (RFC 7011, Section 8).
    pub fn end<T: Transmit<Frame = F>>(&mut self, io: &mut T, connection: &Connection) {
        for domain in connection.domains() {
            let key = SessionKey::of_connection(connection, domain);
            let Some(id) = self.sessions.find(&key) else { continue };
            self.encoder.flush_session(io, id);
            self.encoder.begin(id);
            let held = self.hold.forget(id);
            self.give_up(held);
            self.sessions.end(id);
            let upstream = &mut self.sessions.get_mut(id).expect("just found").extra;
            (upstream.recent, upstream.slave) = (None, None);
        }
    }

    /// Flow source: makes sure that the slave which gets a connection's records knows its templates;
    /// returns the bytes that it was told.
    pub(super) fn tell_owner<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        id: SessionId,
        now: Timestamp,
    ) -> usize {
        if self.distribution == Distribution::RoundRobin {
            return 0;
        }
        let session = self.sessions.get_mut(id).expect("the caller's session");
        let Some(slave) = self.steer.assign(session.key.source.ip()) else { return 0 };
        let life = (slave, self.lives[usize::from(slave)]);
        let before = session.extra.slave.replace(life);
        if before.is_none_or(|before| before == life) {
            return 0;
        }
        // What is still open for the one before leaves first.
        self.encoder.flush_session(io, id);
        self.tell(io, id, slave, now)
    }
}
