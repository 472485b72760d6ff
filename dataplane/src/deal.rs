//! Dealing one message out: its templates and options data to every slave, its flow data records
//! in runs, each as long as the session's open message has room for; a message that is full leaves,
//! and the next slave's is filled.
//!
//! A [`Dealer`] lives for one message; it borrows what the mediator owns. Every record it takes
//! ends in an open message or in a counted discard.

use std::net::SocketAddr;

use crate::counter::Counters;
use crate::encode::{Encoder, Header, Item, Kind, Room, Route, Shape};
use crate::hold::Hold;
use crate::io::Transmit;
use crate::session::{Session, SessionId, Taken};
use crate::steer::Steer;
use crate::template::{Template, TemplateStore};
use crate::wire::set::{self, Set, SetKind, Sets, TemplateRecord, TemplateRecords};
use crate::wire::{Counted, Message, Protocol, sflow};
use crate::{Discard, Timestamp};

/// A slave's message would be ambiguous with up to three bytes of padding after records as short.
const PADDING_MAX: usize = 3;

/// What one message brought, for the sequence check and the counters.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) flows: u32,
    pub(crate) options: u32,
    /// sFlow samples of counters, and of a kind that weir does not know.
    pub(crate) counter_samples: u32,
    pub(crate) unknown_samples: u32,
    /// Records of earlier messages, which had waited for a template of this one.
    pub(crate) held_flows: u32,
    pub(crate) held_options: u32,
    /// Template records in a message that was listened in to.
    pub(crate) templates: u16,
    /// Some set could not be read, so the number of its records is unknown.
    pub(crate) unknown: bool,
}

impl Seen {
    fn count(&mut self, template: &Template, records: u32) {
        if template.options {
            self.options += records;
        } else {
            self.flows += records;
        }
    }

    fn sample(&mut self, kind: &sflow::Kind<'_>) {
        match kind {
            sflow::Kind::Flow(_) => self.flows += 1,
            sflow::Kind::Counters(_) => self.counter_samples += 1,
            sflow::Kind::Other => self.unknown_samples += 1,
        }
    }

    /// Units that the message adds to its session's sequence; `None` when they can't be told.
    pub(crate) fn units(&self, protocol: Protocol) -> Option<u32> {
        match protocol.counted() {
            Counted::Nothing => None,
            Counted::Records => (!self.unknown).then_some(self.flows + self.options),
            Counted::Messages => Some(1),
        }
    }
}

/// The dealing of one message.
pub(crate) struct Dealer<'a, T: Transmit> {
    pub(crate) io: &'a mut T,
    pub(crate) encoder: &'a mut Encoder<T::Frame>,
    pub(crate) steer: &'a mut Steer,
    pub(crate) counters: &'a Counters,
    pub(crate) header: Header,
    pub(crate) session: SessionId,
    pub(crate) source: SocketAddr,
    pub(crate) port: u16,
    pub(crate) now: Timestamp,
    /// The session's, to be kept with it from message to message.
    pub(crate) recent: Option<Recent>,
    /// Flow source: all goes to the slave that the source belongs to.
    pub(crate) whole: bool,
}

/// What is needed of the live template of fixed length that a session's data last had: most data sets
/// are of the same one, and the template itself lies two steps away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    shape: Shape,
    /// Bytes of a record.
    length: usize,
}

impl<T: Transmit> Dealer<'_, T> {
    /// Deals everything in a message; what can't be read yet is held, what can't be at all is
    /// counted.
    pub(crate) fn message<X>(
        &mut self,
        message: &Message<'_>,
        session: &mut Session<X>,
        hold: &mut Hold,
    ) -> Seen {
        match message {
            Message::Fixed(packet) => {
                self.flows(&WITHOUT_SET, packet.body(), packet.layout().record_length);
                Seen { flows: packet.count().into(), ..Seen::default() }
            }
            Message::Netflow9(packet) => self.sets(packet.sets(), session, hold),
            Message::Ipfix(message) => self.sets(message.sets(), session, hold),
            Message::Sflow(datagram) => self.samples(datagram),
        }
    }

    /// Deals the sets of a message.
    fn sets<X>(&mut self, sets: Sets<'_>, session: &mut Session<X>, hold: &mut Hold) -> Seen {
        let mut seen = Seen::default();
        for set in sets {
            let mut holds_data = true;
            let outcome = set.and_then(|set| match set.kind(session.key.protocol) {
                SetKind::Data => match self.data(session, &set, &mut seen) {
                    Err(Discard::UnknownTemplate) if self.keep(hold, &set) => {
                        seen.unknown = true;
                        Ok(())
                    }
                    outcome => outcome,
                },
                SetKind::Templates | SetKind::OptionsTemplates => {
                    holds_data = false;
                    self.templates(session, &set, hold, &mut seen)
                }
                SetKind::Reserved => {
                    holds_data = false;
                    Err(Discard::SetReserved)
                }
            });
            if let Err(reason) = outcome {
                seen.unknown |= holds_data;
                self.counters.discard(reason, 1);
            }
        }
        seen
    }

    /// Deals the flow data records of a message that was open for a slave that died. Templates and
    /// options data went to every slave already.
    pub(crate) fn recalled(&mut self, message: &Message<'_>, templates: &TemplateStore) {
        let sets = match message {
            Message::Fixed(packet) => {
                let length = packet.layout().record_length;
                return self.flows(&WITHOUT_SET, packet.body(), length);
            }
            Message::Sflow(datagram) => {
                self.samples(datagram);
                return;
            }
            Message::Netflow9(packet) => packet.sets(),
            Message::Ipfix(message) => message.sets(),
        };
        for set in sets.flatten() {
            let Some(template) = templates.get(set.id).filter(|t| !t.options) else { continue };
            let readable = self.flow_set(template, set.body, &mut Seen::default());
            debug_assert!(readable.is_ok(), "an open message can be read with the live templates");
        }
    }

    /// Learns and passes on the templates of a set, and deals what has waited for them.
    fn templates<X>(
        &mut self,
        session: &mut Session<X>,
        set: &Set<'_>,
        hold: &mut Hold,
        seen: &mut Seen,
    ) -> Result<(), Discard> {
        let outcome = learn(self.counters, session, set, |session, record, taken| {
            if taken != Taken::Same {
                self.recent = None;
            }
            if taken.ends_a_meaning() {
                // What is open under the old meaning leaves first: an open message can then always
                // be read with the session's live templates.
                let old = (!record.withdraws_all()).then_some(record.id);
                self.encoder.flush_records(self.io, self.session, old);
            }
            // Slaves get datagrams, in which nothing is withdrawn (RFC 7011, Section 8.4).
            if !record.withdrawal {
                self.broadcast(&template_item(set.id, record.bytes));
            }
            if taken == Taken::New {
                self.release(session, record.id, hold, seen);
            }
        });
        if outcome.is_err() {
            // A refused redefinition has taken the old one with it.
            self.recent = None;
            self.encoder.flush_records(self.io, self.session, None);
        }
        outcome
    }

    fn data<X>(
        &mut self,
        session: &mut Session<X>,
        set: &Set<'_>,
        seen: &mut Seen,
    ) -> Result<(), Discard> {
        if let Some(recent) = self.recent.filter(|recent| recent.shape.set == set.id) {
            seen.flows += self.fixed_flows(&recent, set.body);
            return Ok(());
        }
        let template = session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        if !template.options {
            let recent = |length| Recent { shape: shape(template), length };
            self.recent = template.fixed_length.map(recent);
            return self.flow_set(template, set.body, seen);
        }
        for record in template.records(set.body) {
            let record = record?;
            seen.count(template, 1);
            session.options.note(template, record);
            self.broadcast(&options_item(template, record));
        }
        Ok(())
    }

    /// Holds a data set until its template comes; whether there is room for it.
    fn keep(&self, hold: &mut Hold, set: &Set<'_>) -> bool {
        let header = self.header.view();
        hold.keep(self.session, self.source.ip(), set.id, header, set.body, self.now)
    }

    /// Deals what has waited for this template, each set under the header that it came under.
    fn release<X>(&mut self, session: &mut Session<X>, id: u16, hold: &mut Hold, seen: &mut Seen) {
        let own = self.header;
        let mut held_seen = Seen::default();
        hold.release(self.session, id, |held| {
            self.header = Header::from_view(session.key.protocol, held.header);
            let set = Set { id, body: held.body };
            if let Err(reason) = self.data(session, &set, &mut held_seen) {
                self.counters.discard(reason, 1);
            }
        });
        self.header = own;
        seen.held_flows += held_seen.flows;
        seen.held_options += held_seen.options;
    }

    /// Deals the flow data records of a set.
    fn flow_set(
        &mut self,
        template: &Template,
        body: &[u8],
        seen: &mut Seen,
    ) -> Result<(), Discard> {
        let shape = shape(template);
        let Some(length) = template.fixed_length else {
            return self.variable_flows(template, &shape, body, seen);
        };
        seen.flows += self.fixed_flows(&Recent { shape, length }, body);
        Ok(())
    }

    /// Deals the records of one length of a set; how many there were.
    fn fixed_flows(&mut self, of: &Recent, body: &[u8]) -> u32 {
        let count = body.len() as u32 / of.length as u32;
        self.flows(&of.shape, &body[..count as usize * of.length], of.length);
        count
    }

    /// Deals records of one length, which stand one behind the other in `rest`.
    fn flows(&mut self, shape: &Shape, mut rest: &[u8], length: usize) {
        while !rest.is_empty() {
            let left = rest.len() as u32 / length as u32;
            let taken = match self.room(shape, length) {
                Ok(Some(room)) => {
                    let fits = (room.bytes as u32 / length as u32).min(room.records as u32);
                    let taken = fits.min(left);
                    self.push(&room, Kind::Flow, shape, &rest[..taken as usize * length], taken);
                    taken
                }
                Ok(None) => {
                    self.alone(Kind::Flow, shape, &rest[..length]);
                    1
                }
                Err(reason) => {
                    self.counters.discard(reason, u64::from(left));
                    left
                }
            };
            rest = &rest[taken as usize * length..];
        }
    }

    /// Deals records of variable length: runs end where a message is full.
    fn variable_flows(
        &mut self,
        template: &Template,
        shape: &Shape,
        body: &[u8],
        seen: &mut Seen,
    ) -> Result<(), Discard> {
        let mut run: Option<(Room, usize, usize, u32)> = None;
        let mut at = 0;
        let mut outcome = Ok(());
        for record in template.records(body) {
            let length = match record {
                Ok(record) => record.len(),
                Err(reason) => {
                    outcome = Err(reason);
                    break;
                }
            };
            seen.count(template, 1);
            let (start, end) = (at, at + length);
            at = end;
            if let Some((room, from, to, count)) = &mut run
                && end - *from <= room.bytes
                && (*count as usize) < room.records
            {
                (*to, *count) = (end, *count + 1);
                continue;
            }
            if let Some((room, from, to, count)) = run.take() {
                self.push(&room, Kind::Flow, shape, &body[from..to], count);
            }
            match self.room(shape, length) {
                Ok(Some(room)) => run = Some((room, start, end, 1)),
                Ok(None) => self.alone(Kind::Flow, shape, &body[start..end]),
                Err(reason) => self.counters.discard(reason, 1),
            }
        }
        if let Some((room, from, to, count)) = run {
            self.push(&room, Kind::Flow, shape, &body[from..to], count);
        }
        outcome
    }

    /// Room for flow data records: in the session's open message, else in one for the slave whose
    /// turn it is; `None` when the first of `first` bytes must be sent alone.
    #[inline]
    fn room(&mut self, shape: &Shape, first: usize) -> Result<Option<Room>, Discard> {
        let room = self.encoder.go_on(self.io, self.session, &self.header, shape, first);
        if room.is_some() {
            return Ok(room);
        }
        let slave = self.slave().ok_or(Discard::RecordNoSlave)?;
        let route = self.route(slave);
        self.encoder.start(self.io, &route, &self.header, shape, first, self.now)
    }

    #[inline]
    fn push(&mut self, room: &Room, kind: Kind, shape: &Shape, bytes: &[u8], count: u32) {
        let in_message = u16::try_from(count).expect("a room has at most 65,535 records");
        self.encoder.push(self.io, room, kind, shape, bytes, in_message);
        self.steer.charge(self.source.ip(), room.slave, u64::from(count));
    }

    /// Sends a record that no unfragmented packet can carry to the slave whose turn it is.
    fn alone(&mut self, kind: Kind, shape: &Shape, record: &[u8]) {
        let item = Item { kind, shape: *shape, bytes: record };
        let slave = self.slave().ok_or(Discard::RecordNoSlave);
        let outcome = slave.and_then(|slave| {
            self.steer.charge(self.source.ip(), slave, 1);
            let route = self.route(slave);
            self.encoder.send_alone(self.io, &route, &self.header, &item)
        });
        if let Err(reason) = outcome {
            self.lost(kind, reason);
        }
    }

    /// Counts a record that can't be given to a slave; only flow data records have a reason.
    fn lost(&self, kind: Kind, reason: Discard) {
        match kind {
            Kind::Flow => self.counters.discard(reason, 1),
            Kind::Template | Kind::Options => self.counters.broadcasts_failed.add(1),
        }
    }

    /// Deals the samples of an sFlow datagram, each to one slave: the agent's counters and what weir
    /// does not know go the way of the flow samples beside them.
    fn samples(&mut self, datagram: &sflow::Datagram<'_>) -> Seen {
        let mut seen = Seen::default();
        for sample in datagram.samples() {
            match sample.and_then(|sample| Ok((sample.bytes(), sample.kind()?))) {
                Ok((bytes, kind)) => {
                    let is_flow = matches!(kind, sflow::Kind::Flow(_));
                    self.sample(if is_flow { Kind::Flow } else { Kind::Options }, bytes);
                    seen.sample(&kind);
                }
                Err(reason) => self.counters.discard(reason, 1),
            }
        }
        seen
    }

    /// Deals one sample.
    fn sample(&mut self, kind: Kind, bytes: &[u8]) {
        match self.room(&WITHOUT_SET, bytes.len()) {
            Ok(Some(room)) => self.push(&room, kind, &WITHOUT_SET, bytes, 1),
            Ok(None) => self.alone(kind, &WITHOUT_SET, bytes),
            Err(reason) => self.lost(kind, reason),
        }
    }

    /// Gives a record to every slave. One that it can't be given to gets it with the exporter's
    /// next refresh; only flow data records have a counter of their own.
    fn broadcast(&mut self, item: &Item<'_>) {
        for turn in 0.. {
            let Some(slave) = self.listener(turn) else { break };
            let route = self.route(slave);
            let told = self.encoder.append(self.io, &route, &self.header, item, self.now);
            if told.is_err() {
                self.counters.broadcasts_failed.add(1);
                if item.kind == Kind::Template {
                    self.encoder.untold(self.session, slave);
                }
            }
        }
    }

    /// The `turn`th of the slaves that templates and options data go to.
    fn listener(&self, turn: usize) -> Option<u16> {
        if self.whole {
            return self.slave().filter(|_| turn == 0);
        }
        self.steer.listener(self.source.ip(), self.session.0, turn)
    }

    /// The slave that flow data records go to next.
    fn slave(&self) -> Option<u16> {
        let source = self.source.ip();
        if self.whole { self.steer.assign(source) } else { self.steer.next(source) }
    }

    fn route(&self, slave: u16) -> Route {
        Route { session: self.session, slave, source: self.source, port: self.port }
    }
}

/// Records of the fixed versions and sFlow's samples: they have no set, and their times hang on the
/// header.
const WITHOUT_SET: Shape = Shape { set: 0, bound: true, pads: false };

/// What a message must know of a template's records.
pub(crate) fn shape(template: &Template) -> Shape {
    Shape {
        set: template.id,
        bound: template.bound_to_header,
        pads: template.min_length > PADDING_MAX,
    }
}

/// An options data record as an item.
pub(crate) fn options_item<'a>(template: &Template, record: &'a [u8]) -> Item<'a> {
    Item { kind: Kind::Options, shape: shape(template), bytes: record }
}

/// Everything that a slave must be told of a session: its templates, then its options data.
pub(crate) fn all_items<X>(session: &Session<X>) -> impl Iterator<Item = Item<'_>> {
    let protocol = session.key.protocol;
    let templates = session.templates.iter().map(move |template| {
        template_item(set::templates_id(protocol, template.options), &template.record)
    });
    let options = session.options.iter().filter_map(|(id, record)| {
        session.templates.get(id).map(|template| options_item(template, record))
    });
    templates.chain(options)
}

/// A template record as an item; its meaning hangs on no header.
pub(crate) fn template_item(set: u16, record: &[u8]) -> Item<'_> {
    Item { kind: Kind::Template, shape: Shape { set, bound: false, pads: true }, bytes: record }
}

/// Takes the templates of a set into a session; each record that did something goes to `each`.
///
/// # Errors
/// The first reason for which a template of the set could not be taken; those before it were.
fn learn<X>(
    counters: &Counters,
    session: &mut Session<X>,
    set: &Set<'_>,
    mut each: impl FnMut(&mut Session<X>, &TemplateRecord<'_>, Taken),
) -> Result<(), Discard> {
    let mut outcome = Ok(());
    for record in TemplateRecords::new(session.key.protocol, set) {
        let learned = record.and_then(|record| {
            let taken = session.take(&record)?;
            if taken != Taken::Nothing {
                counters.templates_received.add(u64::from(!record.withdrawal));
                each(session, &record, taken);
            }
            Ok(())
        });
        outcome = outcome.and(learned);
    }
    outcome
}

/// Reads a message that is handed on as it is: its templates and options data are remembered, its
/// records counted. Nothing ends here, so nothing is discarded.
pub(crate) fn listen_in<X>(
    counters: &Counters,
    message: &Message<'_>,
    session: &mut Session<X>,
) -> Seen {
    let mut seen = Seen::default();
    let protocol = message.protocol();
    let sets = match message {
        Message::Fixed(packet) => return Seen { flows: packet.count().into(), ..seen },
        Message::Sflow(datagram) => {
            let kinds = datagram.samples().flatten().filter_map(|sample| sample.kind().ok());
            kinds.for_each(|kind| seen.sample(&kind));
            return seen;
        }
        Message::Netflow9(packet) => packet.sets(),
        Message::Ipfix(message) => message.sets(),
    };
    for set in sets {
        let outcome = set.and_then(|set| match set.kind(protocol) {
            SetKind::Templates | SetKind::OptionsTemplates => {
                learn(counters, session, &set, |_, _, _| {
                    seen.templates = seen.templates.saturating_add(1);
                })
            }
            SetKind::Data => {
                seen.unknown |= overhear(session, &set, &mut seen).is_err();
                Ok(())
            }
            SetKind::Reserved => Ok(()),
        });
        seen.unknown |= outcome == Err(Discard::SetLength);
    }
    seen
}

/// Counts a data set's records, and remembers what is options data.
fn overhear<X>(session: &mut Session<X>, set: &Set<'_>, seen: &mut Seen) -> Result<(), Discard> {
    let template = session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
    if template.options {
        for record in template.records(set.body) {
            session.options.note(template, record?);
            seen.options += 1;
        }
        return Ok(());
    }
    count(template, set.body, seen)
}

/// Counts a data set's records.
fn count(template: &Template, body: &[u8], seen: &mut Seen) -> Result<(), Discard> {
    match template.fixed_length {
        Some(length) => {
            seen.count(template, (body.len() / length) as u32);
            Ok(())
        }
        None => template.records(body).try_for_each(|r| r.map(|_| seen.count(template, 1))),
    }
}
