//! Slaves come and go: what is open for one that goes is dealt to the others, and one that comes is
//! told every live template before its first record.
//!
//! Round robin greets a slave step by step, a few sessions a turn of the worker's loop, so that a
//! full table stalls nothing; until it was told all it gets no record. Flow source tells a session's
//! templates when its first datagram goes to a slave that has not got them; nothing is to be told of
//! a session that stays silent. So too, in both models, for sessions that an earlier worker remembered:
//! every worker recalls them, because whose they will be shows with their first datagram.

use super::{Distribution, Mediator, Upstream};
use crate::configuration::{Configuration, SLAVES_MAX};
use crate::deal;
use crate::encode::{Header, Route};
use crate::gate::Gates;
use crate::io::Transmit;
use crate::remembered::Remembered;
use crate::session::SessionId;
use crate::wire::Message;
use crate::{Discard, Timestamp};

/// Sessions told in one turn of the loop, and the bytes after which it goes on in the next.
pub(super) const TOLD_AT_ONCE: u32 = 256;
pub(super) const TOLD_BYTES_AT_ONCE: usize = 128 << 10;
/// Flow source: a life of no slave, for a session that must be told to whoever gets it.
const NOBODY: (u16, u32) = (u16::MAX, 0);

impl<F> Mediator<F> {
    /// Takes another configuration. Nothing that is open is lost: what a slave that is gone was to
    /// get goes to the others, and what is open on a way that changes leaves before it does.
    pub fn configure<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        configuration: &Configuration,
        now: Timestamp,
    ) {
        let mut gone = Vec::new();
        for slave in 0..SLAVES_MAX as u16 {
            let Some(&old) = self.steer.slave(slave) else { continue };
            let new = configuration.slaves.get(usize::from(slave)).copied().flatten();
            match new.filter(|new| new.is_same(&old)) {
                None => gone.push(slave),
                Some(new) if new.path != old.path || new.weight == 0 => {
                    self.encoder.flush_slave(io, slave);
                }
                Some(_) => {}
            }
        }
        let recalled: Vec<_> = gone.into_iter().flat_map(|slave| self.recall(io, slave)).collect();
        self.take_slaves(configuration);
        self.gates = Gates::new(&configuration.gates);
        self.deal_again(io, recalled, now);
    }

    /// Takes a configuration's slaves.
    pub(super) fn take_slaves(&mut self, configuration: &Configuration) {
        self.steer.configure(&configuration.slaves, &configuration.assigned);
        for slave in 0..SLAVES_MAX as u16 {
            let path = self.steer.slave(slave).map(|slave| slave.path);
            self.encoder.set_path(slave, path);
        }
    }

    /// Notes a slave's health. One that becomes healthy, or with `greet` has started anew, is told
    /// every live template before anything else.
    pub fn health<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        slave: u16,
        healthy: bool,
        greet: bool,
        now: Timestamp,
    ) {
        if !healthy || greet {
            let recalled = self.recall(io, slave);
            self.steer.set_health(slave, false);
            self.deal_again(io, recalled, now);
        }
        if healthy && self.steer.set_health(slave, true) {
            self.lives[usize::from(slave)] += 1;
            if self.distribution == Distribution::RoundRobin {
                self.steer.greet(slave, 0);
                self.turn(io, now);
            }
        }
    }

    /// A bounded piece of what is left to tell: once a turn of the worker's loop. Returns whether
    /// there is more.
    pub fn turn<T: Transmit<Frame = F>>(&mut self, io: &mut T, now: Timestamp) -> bool {
        let expired = self.hold.expire(now);
        self.give_up(expired);
        let Some((slave, first)) = self.steer.greeting() else { return false };
        let places = u32::try_from(self.sessions.len()).expect("places are counted in 32 bits");
        let most = places.min(first.saturating_add(TOLD_AT_ONCE));
        let (mut end, mut bytes) = (first, 0);
        while end < most && bytes < TOLD_BYTES_AT_ONCE {
            let id = SessionId(end);
            if !self.sessions.get(id).expect("a place below len").extra.silent {
                bytes += self.tell(io, id, slave, now);
            }
            end += 1;
        }
        if end == places {
            self.steer.greeted(slave);
        } else {
            self.steer.greet(slave, end);
        }
        self.steer.greeting().is_some()
    }

    /// Tells templates anew whose message could not be sent, before any further record goes that
    /// way: a slave without them could read nothing until the exporter's next refresh.
    pub(super) fn tell_again<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        for (id, slave) in self.encoder.take_untold() {
            let session = self.sessions.get(id).expect("places are never taken away");
            let (source, now) = (session.key.source.ip(), session.last_seen);
            match self.distribution {
                Distribution::RoundRobin if self.steer.listens(slave, source, id.0) => {
                    self.tell(io, id, slave, now);
                }
                Distribution::FlowSource if self.steer.assign(source) != Some(slave) => {}
                Distribution::FlowSource if session.key.transport.is_reliable() => {
                    self.tell(io, id, slave, now);
                }
                Distribution::FlowSource => {
                    let next = session.sequence.next().unwrap_or(session.extra.sequence);
                    self.tell_in_sequence(io, id, slave, next);
                }
                Distribution::RoundRobin => {}
            }
        }
    }

    /// Flow source: makes sure that a slave knows a session's templates before its datagram with the
    /// number `next`; returns the bytes that it was told.
    pub(super) fn tell_before<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        id: SessionId,
        slave: u16,
        next: u32,
    ) -> usize {
        let life = (slave, self.lives[usize::from(slave)]);
        let upstream = &mut self.sessions.get_mut(id).expect("the caller's session").extra;
        let before = upstream.slave.replace(life);
        if before.is_none_or(|before| before == life) {
            return 0;
        }
        self.tell_in_sequence(io, id, slave, next)
    }

    /// Round robin: tells a slave one session's live templates and options data, in the session's lane;
    /// returns how many bytes they are.
    pub(super) fn tell<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        id: SessionId,
        slave: u16,
        now: Timestamp,
    ) -> usize {
        let route = self.route(id, slave);
        let session = self.sessions.get(id).expect("the caller's session");
        let mut bytes = 0;
        for item in deal::all_items(session) {
            bytes += item.bytes.len();
            let told = self.encoder.append(io, &route, &session.extra.header, &item, now);
            // A slave that can't be reached under this IP version has no need of it.
            if told == Err(Discard::NoFrame) {
                self.counters.broadcasts_failed.add(1);
                self.encoder.untold(id, slave);
                break;
            }
        }
        // Nothing may follow for long, and open messages are few.
        self.encoder.flush_templates(io, &route);
        bytes
    }

    /// Flow source: tells a slave one session's live templates and options data, in messages that take
    /// the places before the exporter's `next` one in the sequence; returns how many bytes they are.
    fn tell_in_sequence<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        id: SessionId,
        slave: u16,
        next: u32,
    ) -> usize {
        let session = self.sessions.get(id).expect("the caller's session");
        let route = self.route(id, slave);
        let items = deal::all_items(session);
        self.encoder.tell(io, &route, &session.extra.header, items, next)
    }

    /// Sessions whose templates or options data have changed since last asked, at most so many.
    pub fn remember(&mut self, most: usize) -> Vec<Remembered> {
        let changed = self.sessions.take_changed(most);
        let remember = |id| {
            let session = self.sessions.get(id)?;
            // A connection's templates end with it.
            let outlives = !session.key.transport.is_reliable();
            outlives.then(|| self.sessions.remember(id, session.extra.header.view()))?
        };
        changed.into_iter().filter_map(remember).collect()
    }

    /// Makes a session again that an earlier worker remembered; slaves are told it when it sends. One
    /// that has come back by itself stays as it is; one for which there is no room is forgotten.
    pub fn recall_session<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        remembered: &Remembered,
        now: Timestamp,
    ) {
        let header = Header::from_view(remembered.key.protocol, &remembered.header);
        let silent = self.distribution == Distribution::RoundRobin;
        let upstream = Upstream { header, sequence: 0, recent: None, slave: Some(NOBODY), silent };
        let Ok(Some(inserted)) = self.sessions.recall(remembered, now, upstream) else { return };
        self.begin(io, &inserted);
        self.flush_stripped(io);
    }

    /// Round robin: tells a session to every slave that templates go to.
    pub(super) fn tell_listeners<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        id: SessionId,
        now: Timestamp,
    ) {
        let source = self.sessions.get(id).expect("the caller's session").key.source.ip();
        for turn in 0.. {
            let Some(slave) = self.steer.listener(source, id.0, turn) else { break };
            self.tell(io, id, slave, now);
        }
    }

    fn route(&self, session: SessionId, slave: u16) -> Route {
        let key = &self.sessions.get(session).expect("the caller's session").key;
        let port = key.port.saturating_add(self.port_offset);
        Route { session, slave, source: key.source, port }
    }

    /// Takes back what is open for a slave that has died or gone.
    fn recall<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        slave: u16,
    ) -> Vec<(SessionId, Vec<u8>)> {
        let mut recalled = Vec::new();
        self.encoder.recall(io, slave, |id, payload| recalled.push((id, payload.to_vec())));
        recalled
    }

    /// Deals what was recalled to the slaves that are left.
    fn deal_again<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        recalled: Vec<(SessionId, Vec<u8>)>,
        now: Timestamp,
    ) {
        for (id, payload) in recalled {
            self.tell_owner(io, id, now);
            let message = Message::parse(&payload).expect("the encoder writes whole messages");
            let (mut dealer, session, _) = self.dealer(io, id, &message, now);
            dealer.recalled(&message, &session.templates);
        }
    }
}
