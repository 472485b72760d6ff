//! The slave's Collecting Process: data sets become rows of a column batch.
//!
//! A set whose records all have one length is decoded column by column: one loop for each column
//! that the template's plan names, over all records of the set, with no decision inside it. A set
//! of variable-length records is decoded record by record by the same loops. No row struct stands
//! between the wire and the column, and nothing is allocated per packet.
//!
//! Times become absolute in this module and only here. Whatever stands before a fault in a message
//! is used; the fault itself is counted. A data set that comes before its template is held, and
//! decoded under its own header when the template comes. Options data is counted and not stored; what
//! is taken from it is when the exporter started, which times need, how packets are sampled, and what
//! the exporter calls its interfaces, applications and VRFs.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_store::Batch;
use weir_store::names::Told;

pub use self::aside::Sampling;

use self::aside::Aside;
use self::decoder::Decoder;
use self::header::Header;
use self::moment::Uptime;
use crate::connection::Connection;
use crate::hold::{Hold, HoldLimits};
use crate::io::Datagram;
use crate::sampling::{Noted, Rates};
use crate::session::{SessionId, SessionKey, SessionLimits, SessionTable, Taken, Transport};
use crate::template::{FieldPlan, Place, fixed_plan};
use crate::wire::set::{Set, SetKind, Sets, TemplateRecords};
use crate::wire::{Counted, Message, Protocol, fixed};
use crate::{Counters, Discard, Timestamp};

mod aside;
mod columns;
mod decoder;
mod header;
mod moment;
mod sample;

/// The bounds of a [`Collector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Of its sessions.
    pub sessions: SessionLimits,
    /// Of what it holds until a template comes.
    pub hold: HoldLimits,
    /// Rows at which a batch is full.
    pub batch_rows: usize,
}

/// What the collector keeps of a session besides its templates.
#[derive(Debug)]
pub struct Upstream {
    /// When the exporter started, milliseconds since 1970, as its options data says
    /// (systemInitTimeMilliseconds).
    pub boot_ms: Option<u64>,
    /// How its packets are sampled.
    pub rates: Rates,
}

/// Decodes datagrams into a batch, and counts what it cannot decode.
#[derive(Debug)]
pub struct Collector {
    sessions: SessionTable<Upstream>,
    hold: Hold,
    batch: Batch,
    batch_rows: usize,
    counters: Arc<Counters>,
    /// Of [`fixed::LAYOUTS`].
    fixed: [FieldPlan; fixed::LAYOUTS_COUNT],
    /// Where a variable-length record's values stand; kept for its memory.
    places: Vec<Place>,
    sampling: Arc<Sampling>,
    aside: Aside,
}

impl Collector {
    /// A collector without sessions.
    pub fn new(config: CollectorConfig, counters: Arc<Counters>) -> Self {
        Collector {
            sessions: SessionTable::new(config.sessions),
            hold: Hold::new(config.hold),
            batch: Batch::with_capacity(config.batch_rows),
            batch_rows: config.batch_rows,
            counters,
            fixed: fixed::LAYOUTS.map(fixed_plan),
            places: Vec::new(),
            sampling: Arc::default(),
            aside: Aside::default(),
        }
    }

    /// Takes what is configured of sampling, in place of what was.
    pub fn configure(&mut self, sampling: Arc<Sampling>) {
        self.aside.valve.set(sampling.keep_one_in);
        for (_, session) in self.sessions.iter_mut() {
            let configured = sampling.overrides.of(session.key.source.ip());
            session.extra.rates.configure(configured);
        }
        self.sampling = sampling;
    }

    /// Whether an exporter has called something by a name that may be new.
    pub fn has_names(&self) -> bool {
        self.aside.names.is_waiting()
    }

    /// What exporters have called things since the last call, if anything.
    pub fn take_names(&mut self) -> Option<Told> {
        self.aside.names.take()
    }

    /// What was taken last of names got lost: they are taken again when they are told again.
    pub fn forget_names(&mut self) {
        self.aside.names.forget();
    }

    /// Decodes one datagram, received at `now`.
    ///
    /// A datagram can hold a row for each of its bytes, and its template can release what a session
    /// may have held, so the batch is to be taken when [`Collector::is_full`] says so after any one
    /// datagram.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, now: Timestamp) {
        self.take(datagram, None, now);
    }

    /// Decodes one message of a connection, received at `now`. What is said of a datagram holds for
    /// it, and it is counted as one.
    pub fn message(&mut self, connection: &Connection, payload: &[u8], now: Timestamp) {
        let malformed = self.counters.malformed();
        self.take(&connection.datagram(payload), Some(connection), now);
        connection.note(self.counters.malformed() > malformed);
    }

    /// Ends the sessions of a connection that has ended: its templates lived as long as it did
    /// (RFC 7011, Section 8).
    pub fn end(&mut self, connection: &Connection) {
        for domain in connection.domains() {
            let key = SessionKey::of_connection(connection, domain);
            let Some(id) = self.sessions.find(&key) else { continue };
            self.sessions.end(id);
            let upstream = self.upstream(key.source);
            if let Some(session) = self.sessions.get_mut(id) {
                session.extra = upstream;
            }
            let held = self.hold.forget(id);
            self.give_up(held);
        }
    }

    fn take(&mut self, datagram: &Datagram<'_>, connection: Option<&Connection>, now: Timestamp) {
        self.counters.datagrams_received.add(1);
        match self.accept(datagram, connection, now) {
            Ok(()) => self.counters.datagrams_accepted.add(1),
            Err(reason) => self.counters.discard(reason, 1),
        }
        self.counters.sets_held.set(self.hold.len() as u64);
    }

    /// Gives up data sets whose templates have not come in time: once a burst.
    pub fn expire(&mut self, now: Timestamp) {
        let expired = self.hold.expire(now);
        self.give_up(expired);
    }

    /// Gives up all data sets that are held, at the worker's end.
    pub fn finish(&mut self) {
        let held = self.hold.clear();
        self.give_up(held);
    }

    /// Rows that wait in the batch.
    pub fn batch_rows(&self) -> usize {
        self.batch.rows()
    }

    /// Whether the batch has reached its configured size.
    pub fn is_full(&self) -> bool {
        self.batch.rows() >= self.batch_rows
    }

    /// The rows decoded since the last call, if any.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        // The next batch is probably as large as this one; a quiet exporter needs little memory.
        let room = (self.batch.rows() + self.batch.rows() / 4).clamp(256, self.batch_rows.max(256));
        self.batch.settle();
        let next = self.batch.another(room);
        Some(std::mem::replace(&mut self.batch, next))
    }

    /// The transport sessions.
    pub fn sessions(&self) -> &SessionTable<Upstream> {
        &self.sessions
    }

    fn accept(
        &mut self,
        datagram: &Datagram<'_>,
        connection: Option<&Connection>,
        now: Timestamp,
    ) -> Result<(), Discard> {
        let message = Message::parse(datagram.payload)?;
        let id = self.session(datagram, connection, &message, now)?;
        let session = self.sessions.touch(id, now);
        let misuses = session.misuses;
        let uptime = Uptime::from_boot(session.extra.boot_ms);
        let header = Header::new(&message, datagram.source, now, uptime);
        let (batch, counters, places) = (&mut self.batch, &*self.counters, &mut self.places);
        let aside = &mut self.aside;
        let decoder = Decoder { session, header, batch, counters, places, aside };
        let mut reader = Reader { decoder, hold: &mut self.hold, id, now };
        let records = match &message {
            Message::Fixed(packet) => Some(reader.decoder.fixed(packet, &self.fixed)),
            Message::Netflow9(packet) => reader.sets(Protocol::Netflow9, packet.sets()),
            Message::Ipfix(message) => reader.sets(Protocol::Ipfix, message.sets()),
            Message::Sflow(datagram) => Some(reader.decoder.samples(datagram)),
        };
        let units = match message.protocol().counted() {
            Counted::Nothing => None,
            Counted::Records => records,
            Counted::Messages => Some(1),
        };
        let session = reader.decoder.session;
        session.observe(message.sequence(), units, &self.counters);
        if let Some(connection) = connection {
            connection.note_misuses(session.misuses - misuses);
        }
        if !self.aside.elsewhere.is_empty() {
            self.spread_rates(id);
        }
        Ok(())
    }

    fn session(
        &mut self,
        datagram: &Datagram<'_>,
        connection: Option<&Connection>,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<SessionId, Discard> {
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
            None => self.insert(key, now)?,
        };
        if begins.is_some() {
            // Nobody invents the address of a connection.
            self.sessions.establish(id.0, now);
        }
        Ok(id)
    }

    fn insert(&mut self, key: SessionKey, now: Timestamp) -> Result<SessionId, Discard> {
        let upstream = self.upstream(key.source);
        let inserted = self.sessions.insert(key, now, upstream)?;
        if inserted.evicted.is_some() {
            let held = self.hold.forget(inserted.id);
            self.give_up(held);
        }
        Ok(inserted.id)
    }

    /// What is known of an exporter of which nothing was heard.
    fn upstream(&self, source: SocketAddr) -> Upstream {
        let configured = self.sampling.overrides.of(source.ip());
        Upstream { boot_ms: None, rates: self.aside.rates(configured) }
    }

    /// Hands rates that were told of other observation domains to their sessions. Who tells them
    /// before the first message of such a domain tells them again.
    fn spread_rates(&mut self, id: SessionId) {
        let Some(key) = self.sessions.get(id).map(|session| session.key) else { return };
        let mut elsewhere = std::mem::take(&mut self.aside.elsewhere);
        for (domain, scope, rate) in elsewhere.drain(..) {
            let Some(id) = self.sessions.find(&SessionKey { domain, ..key }) else { continue };
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let full = session.extra.rates.note(scope, rate) == Noted::Full;
            self.counters.rates_refused.add(u64::from(full));
        }
        self.aside.elsewhere = elsewhere;
    }

    /// Counts data sets that have waited in vain.
    fn give_up(&self, sets: u64) {
        self.counters.discard(Discard::UnknownTemplate, sets);
        self.counters.sets_held.set(self.hold.len() as u64);
    }
}

/// The reading of one message.
struct Reader<'a> {
    decoder: Decoder<'a>,
    hold: &'a mut Hold,
    id: SessionId,
    now: Timestamp,
}

impl Reader<'_> {
    /// Returns the data records of the message, or `None` when they could not all be counted.
    fn sets(&mut self, protocol: Protocol, sets: Sets<'_>) -> Option<u32> {
        let mut units = Some(0u32);
        for set in sets {
            let counted = set.and_then(|set| match set.kind(protocol) {
                SetKind::Data => self.data(&set),
                SetKind::Templates | SetKind::OptionsTemplates => {
                    // No fault in them changes how many data records there are.
                    let learned = self.templates(protocol, &set);
                    learned.unwrap_or_else(|reason| self.decoder.counters.discard(reason, 1));
                    Ok(Some(0))
                }
                SetKind::Reserved => {
                    self.decoder.counters.discard(Discard::SetReserved, 1);
                    Ok(Some(0))
                }
            });
            let records = counted.unwrap_or_else(|reason| {
                self.decoder.counters.discard(reason, 1);
                None
            });
            units = units.zip(records).map(|(sum, n)| sum.wrapping_add(n as u32));
        }
        units
    }

    /// Learns and withdraws templates; they are no data records.
    fn templates(&mut self, protocol: Protocol, set: &Set<'_>) -> Result<(), Discard> {
        let mut refused = None;
        for record in TemplateRecords::new(protocol, set) {
            let record = record?;
            self.decoder.counters.templates_received.add(u64::from(!record.withdrawal));
            match self.decoder.session.take(&record) {
                Ok(Taken::New) => self.release(record.id),
                Ok(_) => {}
                Err(reason) => refused = Some(reason),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Decodes a data set and returns how many records it held, or `None` when it waits for its
    /// template.
    fn data(&mut self, set: &Set<'_>) -> Result<Option<usize>, Discard> {
        match self.decoder.data(set) {
            Err(Discard::UnknownTemplate) if self.keep(set) => Ok(None),
            counted => counted.map(Some),
        }
    }

    fn keep(&mut self, set: &Set<'_>) -> bool {
        let header = self.decoder.header.to_bytes();
        let source = self.decoder.session.key.source.ip();
        self.hold.keep(self.id, source, set.id, &header, set.body, self.now)
    }

    /// Decodes what has waited for this template.
    fn release(&mut self, id: u16) {
        let decoder = &mut self.decoder;
        let mut own = decoder.header;
        self.hold.release(self.id, id, |held| {
            let boot = Uptime::from_boot(decoder.session.extra.boot_ms);
            let header = own.of_held(&held, boot);
            decoder.header = header;
            if let Err(reason) = decoder.data(&Set { id, body: held.body }) {
                decoder.counters.discard(reason, 1);
            }
            if decoder.header.uptime != header.uptime {
                // Held options data has said when the exporter started.
                own.uptime = decoder.header.uptime;
            }
        });
        decoder.header = own;
    }
}

#[cfg(test)]
mod tests;
