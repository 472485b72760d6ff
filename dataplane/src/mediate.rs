//! The proxy's Intermediate Process (RFC 6183): which slave gets which record.
//!
//! Round robin takes messages apart: templates and options data go to every slave, flow data
//! records to one after the other, a message's worth at a time. Flow source hands a source's datagrams on as they are, and
//! only listens in for templates, so that a slave that inherits a source can be told them first.
//!
//! Invariant: every datagram and record that comes in ends in one counter. Deliberately absent:
//! health checks (the control plane tells) and any state a slave would need but never got.

use std::sync::Arc;

use crossbeam_channel::Sender;
use hdrhistogram::Histogram;

use crate::configuration::{Configuration, SLAVES_MAX};
use crate::connection::Connection;
use crate::counter::{Counter, Counters};
use crate::deal::{self, Dealer, Recent, Seen};
use crate::encode::{Encoder, Header};
use crate::gate::Gates;
use crate::hold::{Hold, HoldLimits};
use crate::io::{Datagram, Purpose, Tag, Transmit};
use crate::latency::Latency;
use crate::news::{Herald, News};
use crate::session::{
    Inserted, Session, SessionId, SessionKey, SessionLimits, SessionTable, Transport,
};
use crate::steer::Steer;
use crate::wire::Message;
use crate::{Discard, Timestamp};

mod connected;
mod overhear;
mod roster;

/// How long a message stays open when nothing comes in, ms.
const IDLE_FLUSH_MS: u64 = 2;

/// How a proxy shares its exporters' flows out among its slaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Packets are taken apart and data records dealt out anew.
    RoundRobin,
    /// A source's packets go, as they are, to one slave.
    FlowSource,
}

/// What one slave got from one worker.
#[derive(Debug, Default)]
pub struct SlaveCounters {
    /// Messages handed to the network.
    pub messages: Counter,
    /// Flow data records in them (0 under flow source, which doesn't look inside).
    pub records: Counter,
    /// Options data records in them.
    pub options: Counter,
}

impl SlaveCounters {
    /// A worker's page: one for each slot that a configuration can have.
    pub fn page() -> Arc<Vec<SlaveCounters>> {
        Arc::new((0..SLAVES_MAX).map(|_| SlaveCounters::default()).collect())
    }
}

/// What a mediator is told at its start.
#[derive(Clone, Debug)]
pub struct MediatorConfig {
    /// The distribution model.
    pub distribution: Distribution,
    /// The slaves, none of which is healthy yet, and the gates.
    pub configuration: Arc<Configuration>,
    /// What is added to the listening port to give the slaves' port.
    pub port_offset: u16,
    /// Bounds of the session table.
    pub sessions: SessionLimits,
    /// Bounds of what is held until its template comes.
    pub hold: HoldLimits,
    /// How long a record may wait in an open message, milliseconds.
    pub flush_ms: u64,
    /// How many messages may be open at once.
    pub messages: usize,
}

/// What a proxy remembers of a session beside its templates.
#[derive(Debug)]
struct Upstream {
    /// The header of its newest message: templates told anew are sent under it.
    header: Header,
    /// That message's sequence number.
    sequence: u32,
    /// Round robin: the template of its last data.
    recent: Option<Recent>,
    /// Flow source: the slave that got its last datagram, and which of its lives that was.
    slave: Option<(u16, u32)>,
    /// Round robin: it was recalled and has not sent anything yet, so no slave was told it.
    silent: bool,
}

/// The mediation of one worker. `F` is the backend's frame.
#[derive(Debug)]
pub struct Mediator<F> {
    distribution: Distribution,
    port_offset: u16,
    sessions: SessionTable<Upstream>,
    hold: Hold,
    steer: Steer,
    gates: Gates,
    encoder: Encoder<F>,
    counters: Arc<Counters>,
    slaves: Arc<Vec<SlaveCounters>>,
    /// Flow source: how often each slave has had to be told everything anew.
    lives: [u32; SLAVES_MAX],
    /// Whether the kernel forwards most datagrams, so that no gap can be told.
    forwarded: bool,
    herald: Herald,
    latency: Latency,
}

/// What a report says of one session.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// What tells it from the others.
    pub key: SessionKey,
    /// Messages received.
    pub datagrams: u64,
    /// Flow data records decoded.
    pub records: u64,
    /// Units lost on the way here, by the sequence numbers.
    pub lost: u64,
    /// Restarts of the exporter, by the sequence numbers.
    pub resets: u64,
    /// Live templates.
    pub templates: usize,
    /// When its last message came.
    pub last_seen: Timestamp,
}

impl SessionReport {
    /// Of this session, now.
    pub fn of<X>(session: &Session<X>) -> Self {
        SessionReport {
            key: session.key,
            datagrams: session.datagrams,
            records: session.records,
            lost: session.lost,
            resets: session.resets,
            templates: session.templates.len(),
            last_seen: session.last_seen,
        }
    }
}

impl<F> Mediator<F> {
    /// A mediator whose slaves are not healthy yet. `slaves` is a [`SlaveCounters::page`], `news`
    /// is where it tells what nobody asked for.
    pub fn new(
        config: MediatorConfig,
        counters: Arc<Counters>,
        slaves: Arc<Vec<SlaveCounters>>,
        news: Sender<News>,
    ) -> Self {
        let mut mediator = Mediator {
            distribution: config.distribution,
            port_offset: config.port_offset,
            sessions: SessionTable::new(config.sessions),
            hold: Hold::new(config.hold),
            steer: Steer::new(config.distribution == Distribution::FlowSource),
            gates: Gates::new(&config.configuration.gates),
            encoder: Encoder::new(config.flush_ms, config.messages),
            herald: Herald::new(news, Arc::clone(&counters)),
            counters,
            slaves,
            lives: [0; SLAVES_MAX],
            forwarded: false,
            latency: Latency::new(),
        };
        mediator.take_slaves(&config.configuration);
        mediator
    }

    /// Sets the worker's clock, ns, at the beginning of a burst: delays are measured by it.
    pub fn set_clock(&mut self, clock_ns: u64) {
        self.encoder.set_clock(clock_ns);
    }

    /// Takes one datagram; it ends in a counter.
    pub fn datagram<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        datagram: &Datagram<'_>,
        now: Timestamp,
    ) {
        self.counters.datagrams_received.add(1);
        if let Err(reason) = self.pass_gate(io, datagram) {
            return self.counters.discard(reason, 1);
        }
        let outcome = match self.distribution {
            Distribution::RoundRobin => self.take_apart(io, datagram, None, now),
            Distribution::FlowSource => self.hand_on(io, datagram, now),
        };
        self.count(outcome);
    }

    fn count(&self, outcome: Result<(), Discard>) {
        match outcome {
            Ok(()) => self.counters.datagrams_accepted.add(1),
            Err(reason) => self.counters.discard(reason, 1),
        }
    }

    /// Closes messages that have waited for the flush interval.
    pub fn flush_due<T: Transmit<Frame = F>>(&mut self, io: &mut T, now: Timestamp) {
        self.encoder.flush_due(io, now);
    }

    /// Closes messages that have waited for a moment: nothing is there that could join them.
    pub fn flush_idle<T: Transmit<Frame = F>>(&mut self, io: &mut T, now: Timestamp) {
        self.encoder.flush_older(io, now, IDLE_FLUSH_MS);
    }

    /// Whether a message is open.
    pub fn is_waiting(&self) -> bool {
        self.encoder.is_waiting()
    }

    /// Closes every open message.
    pub fn flush_all<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        self.encoder.flush_all(io);
    }

    /// Closes every open message and gives up what is held, at the worker's end.
    pub fn finish<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        self.flush_all(io);
        let held = self.hold.clear();
        self.give_up(held);
        self.settle(io);
    }

    /// Pushes out what was sent, and counts it: once a burst.
    pub fn settle<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        let (counters, slaves) = (&*self.counters, &*self.slaves);
        let encoder = &mut self.encoder;
        for tag in encoder.sent() {
            let slave = &slaves[usize::from(tag.slave)];
            counters.messages_sent.add(1);
            counters.records_delivered.add(u64::from(tag.records));
            slave.messages.add(1);
            slave.records.add(u64::from(tag.records));
            slave.options.add(u64::from(tag.options));
        }
        io.flush(&mut |tag, _error| {
            if tag.purpose == Purpose::Copy {
                counters.copies_sent.take_back(1);
                counters.copies_failed.add(1);
                return;
            }
            let slave = &slaves[usize::from(tag.slave)];
            counters.messages_sent.take_back(1);
            counters.messages_failed.add(1);
            counters.records_delivered.take_back(u64::from(tag.records));
            counters.discard(Discard::RecordSend, u64::from(tag.records));
            slave.messages.take_back(1);
            slave.records.take_back(u64::from(tag.records));
            slave.options.take_back(u64::from(tag.options));
            counters.broadcasts_failed.add(u64::from(tag.templates) + u64::from(tag.options));
            if tag.templates > 0 {
                encoder.untold(SessionId(tag.session), tag.slave);
            }
            if tag.purpose == Purpose::HandedOn {
                counters.datagrams_accepted.take_back(1);
                counters.discard(Discard::DatagramSend, 1);
            }
        });
        counters.records_in_flight.set(encoder.in_flight());
        counters.sets_held.set(self.hold.len() as u64);
        self.tell_again(io);
    }

    /// Notes the delays of what was sent: the last flush was at `clock_ns` on the worker's clock.
    pub fn note_delays(&mut self, clock_ns: u64) {
        for opened_ns in self.encoder.sent_opened_ns() {
            self.latency.note(clock_ns.saturating_sub(opened_ns));
        }
    }

    /// Reports on the sessions, in the order of the table.
    pub fn sessions(&self) -> impl Iterator<Item = SessionReport> {
        let live = self.sessions.iter().filter(|(_, session)| !session.ended);
        live.map(|(_, session)| SessionReport::of(session))
    }

    /// The delays of the messages sent.
    pub fn latency(&self) -> &Histogram<u64> {
        self.latency.histogram()
    }

    fn take_apart<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        datagram: &Datagram<'_>,
        connection: Option<&Connection>,
        now: Timestamp,
    ) -> Result<(), Discard> {
        let message = Message::parse(datagram.payload)?;
        let id = self.session(io, datagram, connection, &message, now)?;
        self.tell_owner(io, id, now);
        let (mut dealer, session, hold) = self.dealer(io, id, &message, now);
        let misuses = session.misuses;
        let seen = dealer.message(&message, session, hold);
        session.extra.recent = dealer.recent;
        if let Some(connection) = connection {
            connection.note_misuses(session.misuses - misuses);
        }
        self.counters.records_decoded.add(u64::from(seen.flows + seen.held_flows));
        self.counters.options_decoded.add(u64::from(seen.options + seen.held_options));
        self.observe(id, &message, &seen);
        Ok(())
    }

    fn hand_on<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        datagram: &Datagram<'_>,
        now: Timestamp,
    ) -> Result<(), Discard> {
        let source = datagram.source;
        let slave = self.steer.assign(source.ip()).ok_or(Discard::DatagramNoSlave)?;
        let mut tag = Tag { slave, purpose: Purpose::HandedOn, ..Tag::default() };
        // What can't be read is handed on all the same: the slave names what is wrong with it.
        if let Ok(message) = Message::parse(datagram.payload)
            && let Ok(id) = self.session(io, datagram, None, &message, now)
        {
            self.tell_before(io, id, slave, message.sequence());
            let session = self.sessions.get_mut(id).expect("just found");
            let seen = deal::listen_in(&self.counters, &message, session);
            self.observe(id, &message, &seen);
            (tag.session, tag.templates) = (id.0, seen.templates);
        }
        let port = datagram.destination.port().saturating_add(self.port_offset);
        self.encoder
            .hand_on(io, tag, source, port, datagram.payload)
            .ok_or(Discard::DatagramNoSlave)
    }

    /// Whether the port's gate lets a datagram in; those who get copies then get them.
    fn pass_gate<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        datagram: &Datagram<'_>,
    ) -> Result<(), Discard> {
        let port = datagram.destination.port();
        let Some(gate) = self.gates.at(port) else { return Ok(()) };
        if let Err(reason) = gate.check(datagram) {
            if gate.is_told() {
                self.herald.tell(News::Refused { source: datagram.source, port, reason });
            }
            return Err(reason);
        }
        for copy in gate.copies() {
            match copy.source(datagram) {
                Some(source) => {
                    self.counters.copies_sent.add(1);
                    let tag = Tag { purpose: Purpose::Copy, ..Tag::default() };
                    io.send_copy(datagram.payload, source, copy.to, copy.mtu, tag);
                }
                None => self.counters.copies_failed.add(1),
            }
        }
        Ok(())
    }

    /// Finds or begins the datagram's session, and notes its newest header.
    fn session<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        datagram: &Datagram<'_>,
        connection: Option<&Connection>,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<SessionId, Discard> {
        let header = Header::of(message);
        let key = SessionKey {
            source: datagram.source,
            port: datagram.destination.port(),
            protocol: message.protocol(),
            domain: message.domain(),
            transport: connection.map_or(Transport::Udp, |connection| connection.transport),
        };
        let found = self.sessions.find(&key);
        let begins = connection.filter(|_| found.is_none_or(|id| self.sessions.has_ended(id)));
        if begins.is_some_and(|connection| !connection.begins(key.domain)) {
            return Err(Discard::SourceSessionsFull);
        }
        let id = match found {
            Some(id) => id,
            None => {
                let inserted = self.sessions.insert(
                    key,
                    now,
                    Upstream { header, sequence: 0, recent: None, slave: None, silent: false },
                )?;
                self.begin(io, &inserted);
                self.herald.tell(News::Source { source: key.source, port: key.port });
                inserted.id
            }
        };
        if begins.is_some() {
            // Nobody invents the address of a connection.
            self.sessions.establish(id.0, now);
        }
        let upstream = &mut self.sessions.touch(id, now).extra;
        (upstream.header, upstream.sequence) = (header, message.sequence());
        let was_silent = std::mem::take(&mut upstream.silent);
        self.flush_stripped(io);
        if was_silent {
            self.tell_listeners(io, id, now);
        }
        Ok(id)
    }

    /// Begins a new session in its place; one that has given way leaves nothing behind.
    fn begin<T: Transmit<Frame = F>>(&mut self, io: &mut T, inserted: &Inserted<Upstream>) {
        if inserted.evicted.is_some() {
            self.encoder.flush_session(io, inserted.id);
            let held = self.hold.forget(inserted.id);
            self.give_up(held);
        }
        self.encoder.begin(inserted.id);
    }

    /// Sends what is open of sessions that have lost their templates: it could not be read again.
    fn flush_stripped<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        while let Some(id) = self.sessions.take_stripped() {
            self.encoder.flush_records(io, id, None);
            self.sessions.get_mut(id).expect("a place of the table").extra.recent = None;
        }
    }

    /// Counts data sets that have waited in vain.
    fn give_up(&self, sets: u64) {
        self.counters.discard(Discard::UnknownTemplate, sets);
    }

    fn observe(&mut self, id: SessionId, message: &Message<'_>, seen: &Seen) {
        let session = self.sessions.get_mut(id).expect("the caller's session");
        session.records += u64::from(seen.flows);
        self.counters.counter_samples.add(u64::from(seen.counter_samples));
        self.counters.samples_unknown.add(u64::from(seen.unknown_samples));
        if self.forwarded && !session.key.transport.is_reliable() {
            return;
        }
        let units = seen.units(message.protocol());
        session.observe(message.sequence(), units, &self.counters);
    }

    /// The dealer of one message of this session, with the session and what is held.
    fn dealer<'a, T: Transmit<Frame = F>>(
        &'a mut self,
        io: &'a mut T,
        id: SessionId,
        message: &Message<'_>,
        now: Timestamp,
    ) -> (Dealer<'a, T>, &'a mut Session<Upstream>, &'a mut Hold) {
        let session = self.sessions.get_mut(id).expect("the caller's session");
        let dealer = Dealer {
            io,
            encoder: &mut self.encoder,
            steer: &mut self.steer,
            counters: &self.counters,
            header: Header::of(message),
            session: id,
            source: session.key.source,
            port: session.key.port.saturating_add(self.port_offset),
            now,
            recent: session.extra.recent,
            whole: self.distribution == Distribution::FlowSource,
        };
        (dealer, session, &mut self.hold)
    }
}
