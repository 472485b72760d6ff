//! The Exporting Process: records into messages, one open message per session and slave.
//!
//! A message keeps an exporter's own header; only its sequence number, counts and lengths are
//! written anew when it closes. Everything of a session goes to a slave through its one open
//! message, so nothing overtakes anything (a data set never its template). Of a session's open
//! messages at most one has flow data in it, and it is filled before the next slave gets any. A
//! record whose time hangs on its header never enters a message with another time base: the message
//! closes first.
//!
//! Invariant: an open message holds a frame and at least one record; it closes when it is full,
//! when the time base changes, when it is as old as the flush interval, or when frames run out
//! (the oldest first). Deliberately absent: any knowledge of what a record means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::configuration::SLAVES_MAX;
use crate::io::{Purpose, Tag, Transmit};
use crate::lane::{Lanes, NONE};
use crate::session::SessionId;
use crate::wire::set;
use crate::{Discard, Timestamp};

mod header;
mod open;
mod tell;

pub(crate) use header::Header;
use header::Tally;
use open::{Open, Opening, Space};

/// Bytes of an IPv4 header without options and of an IPv6 header, each with UDP's 8.
const IPV4_UDP: usize = 28;
const IPV6_UDP: usize = 48;
/// The longest UDP payload over IPv4 (RFC 768, RFC 791); IPv6 allows a little more.
const PAYLOAD_MAX: usize = 65_507;
/// A set may be padded by so much (RFC 3954, Section 5.3).
const PADDING: usize = 3;

/// A slave as the encoder needs it: where it is, and how much a packet to it can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// IPv4 address, for what IPv4 exporters send.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address, for what IPv6 exporters send.
    pub v6: Option<Ipv6Addr>,
    /// Bytes of the largest IP packet on the way.
    pub mtu: u16,
}

impl Path {
    /// The slave's address of the same IP version as `source`.
    pub fn towards(&self, source: SocketAddr, port: u16) -> Option<SocketAddr> {
        let ip = match source {
            SocketAddr::V4(_) => IpAddr::V4(self.v4?),
            SocketAddr::V6(_) => IpAddr::V6(self.v6?),
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// The way to a slot without a slave.
const NOWHERE: Path = Path { v4: None, v6: None, mtu: 0 };

/// What kind of record it is decides which counters and sequences it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Template,
    Flow,
    /// Options data, or what an sFlow agent sends beside its flow samples.
    Options,
}

/// What a message must know of the records that are put into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The set they stood in; 0 where there are no sets.
    pub(crate) set: u16,
    /// Whether their meaning hangs on the header's time.
    pub(crate) bound: bool,
    /// Whether up to three bytes of padding after them can't be taken for another record.
    pub(crate) pads: bool,
}

/// One record on its way into a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) bytes: &'a [u8],
}

/// Where records come from and go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) session: SessionId,
    pub(crate) slave: u16,
    /// The exporter's address and port, which the packet will bear.
    pub(crate) source: SocketAddr,
    /// The slaves' port.
    pub(crate) port: u16,
}

/// An open message that flow data records can go into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    slot: u32,
    /// Whose message it is.
    pub(crate) slave: u16,
    /// How many bytes and records it takes, at least one.
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

/// The open messages of one worker, with their sequence numbers.
#[derive(Debug)]
pub(crate) struct Encoder<F> {
    paths: [Path; SLAVES_MAX],
    flush_ms: u64,
    lanes: Lanes,
    /// By session: the slot of its open message with flow data in it, or `NONE`.
    flowing: Vec<u32>,
    slots: Vec<Option<Open<F>>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    sent: Vec<Tag>,
    /// When the bursts came that opened the messages sent, ns.
    sent_opened_ns: Vec<u64>,
    scratch: Vec<u8>,
    in_flight: u64,
    /// The worker's clock at the current burst, ns.
    clock_ns: u64,
    /// Slaves that were to get templates of a session and did not.
    untold: Vec<(SessionId, u16)>,
}

/// More slaves and sessions than this are not told anew; the exporters' own refreshes tell them.
const UNTOLD_MAX: usize = 4_096;

impl<F> Encoder<F> {
    /// Without slaves. `messages`, at least one, bounds how many messages are open at once.
    pub(crate) fn new(flush_ms: u64, messages: usize) -> Self {
        let messages = u32::try_from(messages).unwrap_or(NONE - 1).clamp(1, NONE - 1);
        Encoder {
            paths: [NOWHERE; SLAVES_MAX],
            flush_ms,
            lanes: Lanes::default(),
            flowing: Vec::new(),
            slots: (0..messages).map(|_| None).collect(),
            free: (0..messages).rev().collect(),
            oldest: NONE,
            newest: NONE,
            sent: Vec::with_capacity(1024),
            sent_opened_ns: Vec::with_capacity(1024),
            scratch: Vec::with_capacity(PAYLOAD_MAX),
            in_flight: 0,
            clock_ns: 0,
            untold: Vec::new(),
        }
    }

    /// Where a slot's slave is; `None` when there is none. What was open on the way there before
    /// must have been closed or recalled.
    pub(crate) fn set_path(&mut self, slave: u16, path: Option<Path>) {
        self.paths[usize::from(slave)] = path.unwrap_or(NOWHERE);
    }

    /// Sets the worker's clock, ns, at the beginning of a burst.
    pub(crate) fn set_clock(&mut self, clock_ns: u64) {
        self.clock_ns = clock_ns;
    }

    /// Notes that a slave was to get templates of a session and did not.
    pub(crate) fn untold(&mut self, session: SessionId, slave: u16) {
        if self.untold.len() < UNTOLD_MAX && !self.untold.contains(&(session, slave)) {
            self.untold.push((session, slave));
        }
    }

    /// Takes what [`Encoder::untold`] noted.
    pub(crate) fn take_untold(&mut self) -> Vec<(SessionId, u16)> {
        std::mem::take(&mut self.untold)
    }

    /// Flow data records in open messages.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether a message is open.
    pub(crate) fn is_waiting(&self) -> bool {
        self.oldest != NONE
    }

    /// Messages handed to the network since the last call; the caller counts them once it has
    /// flushed and knows which of them failed.
    pub(crate) fn sent(&mut self) -> std::vec::Drain<'_, Tag> {
        self.sent.drain(..)
    }

    /// When the bursts came that opened the messages sent since the last call, ns.
    pub(crate) fn sent_opened_ns(&mut self) -> std::vec::Drain<'_, u64> {
        self.sent_opened_ns.drain(..)
    }

    /// Starts a session's lanes anew. What it had open must have been closed.
    pub(crate) fn begin(&mut self, session: SessionId) {
        self.lanes.begin(session);
        if self.flowing.len() <= session.0 as usize {
            self.flowing.resize(session.0 as usize + 1, NONE);
        }
        debug_assert_eq!(self.flowing[session.0 as usize], NONE);
    }

    /// Room in the session's open message with flow data for records of this shape, the first of
    /// which has `first` bytes. `None` when there is no such message, or no more: it was closed.
    #[inline]
    pub(crate) fn go_on<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        session: SessionId,
        header: &Header,
        shape: &Shape,
        first: usize,
    ) -> Option<Room> {
        let slot = *self.flowing.get(session.0 as usize)?;
        let open = self.slots.get_mut(slot as usize)?.as_mut()?;
        let slave = open.slave;
        if let Some(space) = open.space(header, shape, first) {
            return Some(Room { slot, slave, bytes: space.bytes, records: space.records });
        }
        self.close(io, slot);
        None
    }

    /// Room in the route's open message, or in a new one, for records of this shape. The session
    /// has no open message with flow data. `None` when no packet of this route can carry the first
    /// record unfragmented: it must be sent alone.
    ///
    /// # Errors
    /// The reason for which the records end here; the caller counts them.
    pub(crate) fn start<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        header: &Header,
        shape: &Shape,
        first: usize,
        now: Timestamp,
    ) -> Result<Option<Room>, Discard> {
        let Some(slot) = self.slot_for(io, route, header, shape, first, now)? else {
            return Ok(None);
        };
        self.flowing[route.session.0 as usize] = slot;
        let open = self.slots[slot as usize].as_mut().expect("the slot was just found or opened");
        let space = open.space(header, shape, first).expect("it was found or opened for these");
        let Space { bytes, records } = space;
        Ok(Some(Room { slot, slave: route.slave, bytes, records }))
    }

    /// Puts records that are dealt out into a message that has room for them: `count` records of
    /// this kind and shape, one behind the other in `bytes`.
    #[inline]
    pub(crate) fn push<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        room: &Room,
        kind: Kind,
        shape: &Shape,
        bytes: &[u8],
        count: u16,
    ) {
        // Where many sessions compete for places, waiting to fill the last bit of one costs more
        // than it saves: its frame and its place stay warm for the next.
        let is_crowded = self.free.len() < self.slots.len() / 2;
        let open = self.slots[room.slot as usize].as_mut().expect("a room is in an open message");
        open.push(io, kind, shape, bytes, count);
        if kind == Kind::Flow {
            self.in_flight += u64::from(count);
        }
        if is_crowded && open.is_nearly_full() {
            self.close(io, room.slot);
        }
    }

    /// Appends a template or an options data record to its route's open message, opening or closing
    /// messages as needed.
    ///
    /// # Errors
    /// The reason for which the record ends here; the caller counts it.
    pub(crate) fn append<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        header: &Header,
        item: &Item<'_>,
        now: Timestamp,
    ) -> Result<(), Discard> {
        debug_assert_ne!(item.kind, Kind::Flow);
        let Some(slot) = self.slot_for(io, route, header, &item.shape, item.bytes.len(), now)?
        else {
            return self.send_alone(io, route, header, item);
        };
        let open = self.slots[slot as usize].as_mut().expect("the slot was just found or opened");
        open.push(io, item.kind, &item.shape, item.bytes, 1);
        Ok(())
    }

    /// The slot of the route's open message with space for a record, or of a new one; `None` when
    /// the record must be sent alone.
    fn slot_for<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        header: &Header,
        shape: &Shape,
        first: usize,
        now: Timestamp,
    ) -> Result<Option<u32>, Discard> {
        let slot = self.lanes.of(route.session, route.slave).open;
        if let Some(open) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) {
            if open.space(header, shape, first).is_some() {
                return Ok(Some(slot));
            }
            self.close(io, slot);
        }
        let path = &self.paths[usize::from(route.slave)];
        let to = path.towards(route.source, route.port).ok_or(Discard::RecordNoSlave)?;
        let limit = limit(path, route.source).min(io.room());
        let overhead = if header.has_sets() { set::HEADER_LENGTH + PADDING } else { 0 };
        if header.view().len() + overhead + first > limit {
            return Ok(None);
        }
        self.open(io, route, to, limit, header, now).map(Some)
    }

    /// Closes the messages that are older than the flush interval.
    pub(crate) fn flush_due<T: Transmit<Frame = F>>(&mut self, io: &mut T, now: Timestamp) {
        self.flush_older(io, now, self.flush_ms);
    }

    /// Closes the messages that are `age_ms` old or older.
    pub(crate) fn flush_older<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        now: Timestamp,
        age_ms: u64,
    ) {
        while let Some(open) = self.slot(self.oldest) {
            // A clock set back must not hold a message for ever: an age below zero is due.
            if open.opened <= now && now < open.opened.plus_ms(age_ms) {
                break;
            }
            self.close(io, self.oldest);
        }
    }

    /// Closes everything that is open.
    pub(crate) fn flush_all<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        while self.oldest != NONE {
            self.close(io, self.oldest);
        }
    }

    /// Closes what a session has open, before the session is forgotten.
    pub(crate) fn flush_session<T: Transmit<Frame = F>>(&mut self, io: &mut T, session: SessionId) {
        for slave in 0..self.lanes.all_of(session).len() {
            let open = self.lanes.all_of(session)[slave].open;
            if open != NONE {
                self.close(io, open);
            }
        }
    }

    /// Closes the session's message that holds flow data records of this set (`None`: of any), as
    /// far as can be told: sets 64 apart are not told apart.
    pub(crate) fn flush_records<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        session: SessionId,
        set: Option<u16>,
    ) {
        let slot = self.flowing.get(session.0 as usize).copied().unwrap_or(NONE);
        let Some(open) = self.slot(slot) else { return };
        if set.is_none_or(|set| open.may_hold(set)) {
            self.close(io, slot);
        }
    }

    /// Closes a route's message, if one is open and has no flow data in it.
    pub(crate) fn flush_templates<T: Transmit<Frame = F>>(&mut self, io: &mut T, route: &Route) {
        let open = self.lanes.of(route.session, route.slave).open;
        if self.slot(open).is_some_and(|open| open.records == 0) {
            self.close(io, open);
        }
    }

    /// Closes what is open for a slave.
    pub(crate) fn flush_slave<T: Transmit<Frame = F>>(&mut self, io: &mut T, slave: u16) {
        let mut slot = self.oldest;
        while let Some(open) = self.slot(slot) {
            let newer = open.newer;
            if open.slave == slave {
                self.close(io, slot);
            }
            slot = newer;
        }
    }

    /// Takes back what is open for a slave, which has died or gone: each message's payload goes to
    /// `each` with its session, and its frame back to the backend.
    pub(crate) fn recall<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        slave: u16,
        mut each: impl FnMut(SessionId, &[u8]),
    ) {
        let mut slot = self.oldest;
        while let Some(open) = self.slot(slot) {
            let newer = open.newer;
            if open.slave == slave {
                let mut open = self.unlink(slot);
                self.in_flight -= u64::from(open.records);
                open.finish(io, 0);
                let length = open.length;
                each(open.session, &io.payload(&mut open.frame)[..length]);
                io.give_back(open.frame);
            }
            slot = newer;
        }
    }

    /// Hands a datagram on as it is, to the slave that its tag names; `None` when that can't be
    /// reached under its IP version.
    pub(crate) fn hand_on<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        tag: Tag,
        source: SocketAddr,
        port: u16,
        payload: &[u8],
    ) -> Option<()> {
        let path = &self.paths[usize::from(tag.slave)];
        let to = path.towards(source, port)?;
        self.sent.push(tag);
        self.sent_opened_ns.push(self.clock_ns);
        io.send_copy(payload, source, to, path.mtu, tag);
        Some(())
    }

    fn slot(&self, slot: u32) -> Option<&Open<F>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn open<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        to: SocketAddr,
        limit: usize,
        header: &Header,
        now: Timestamp,
    ) -> Result<u32, Discard> {
        if self.free.is_empty() {
            self.close(io, self.oldest);
        }
        let mut frame = io.take();
        while frame.is_none() && self.oldest != NONE {
            self.close(io, self.oldest);
            frame = io.take();
        }
        let frame = frame.ok_or(Discard::NoFrame)?;
        let slot = self.free.pop().ok_or(Discard::NoFrame)?;
        let older = std::mem::replace(&mut self.newest, slot);
        if let Some(previous) = self.slots.get_mut(older as usize).and_then(Option::as_mut) {
            previous.newer = slot;
        } else {
            self.oldest = slot;
        }
        self.slots[slot as usize] = Some(Open::new(Opening {
            frame,
            header: *header,
            slave: route.slave,
            session: route.session,
            limit,
            source: route.source,
            to,
            opened: now,
            opened_ns: self.clock_ns,
            older,
            newer: NONE,
        }));
        self.lanes.of(route.session, route.slave).open = slot;
        Ok(slot)
    }

    fn unlink(&mut self, slot: u32) -> Open<F> {
        let open = self.slots[slot as usize].take().expect("only open messages are unlinked");
        match self.slots.get_mut(open.older as usize).and_then(Option::as_mut) {
            Some(older) => older.newer = open.newer,
            None => self.oldest = open.newer,
        }
        match self.slots.get_mut(open.newer as usize).and_then(Option::as_mut) {
            Some(newer) => newer.older = open.older,
            None => self.newest = open.older,
        }
        self.lanes.of(open.session, open.slave).open = NONE;
        let flowing = &mut self.flowing[open.session.0 as usize];
        if *flowing == slot {
            *flowing = NONE;
        }
        self.free.push(slot);
        open
    }

    fn close<T: Transmit<Frame = F>>(&mut self, io: &mut T, slot: u32) {
        let mut open = self.unlink(slot);
        self.in_flight -= u64::from(open.records);
        let lane = self.lanes.of(open.session, open.slave);
        let step = open.finish(io, lane.sequence);
        lane.sequence = lane.sequence.wrapping_add(step);
        let tag = open.tag();
        self.sent.push(tag);
        self.sent_opened_ns.push(open.opened_ns);
        io.send(open.frame, open.length, open.source, open.to, tag);
    }

    /// Sends a record that no unfragmented packet can carry as a message of its own.
    ///
    /// # Errors
    /// The reason for which it ends here; the caller counts it.
    pub(crate) fn send_alone<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        header: &Header,
        item: &Item<'_>,
    ) -> Result<(), Discard> {
        let path = &self.paths[usize::from(route.slave)];
        let to = path.towards(route.source, route.port).ok_or(Discard::RecordNoSlave)?;
        let view = header.view();
        let overhead = if header.has_sets() { set::HEADER_LENGTH } else { 0 };
        let set_length = overhead + item.bytes.len();
        if view.len() + set_length > PAYLOAD_MAX {
            return Err(Discard::RecordTooLong);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(view);
        self.scratch.resize(view.len() + overhead, 0);
        if header.has_sets() {
            let length = u16::try_from(set_length).map_err(|_| Discard::RecordTooLong)?;
            set::write_header(&mut self.scratch[view.len()..], item.shape.set, length);
        }
        self.scratch.extend_from_slice(item.bytes);
        let lane = self.lanes.of(route.session, route.slave);
        let (records, options) = item.kind.counts();
        let tally = Tally { count: 1, data: records + options, sequence: lane.sequence };
        tally.write(header, &mut self.scratch);
        lane.sequence = lane.sequence.wrapping_add(tally.step(header));
        let tag = Tag {
            slave: route.slave,
            records,
            options,
            templates: 1 - records - options,
            session: route.session.0,
            purpose: Purpose::Message,
        };
        self.sent.push(tag);
        self.sent_opened_ns.push(self.clock_ns);
        io.send_copy(&self.scratch, route.source, to, path.mtu, tag);
        Ok(())
    }
}

/// Bytes of payload that a packet on this path may carry unfragmented.
fn limit(path: &Path, source: SocketAddr) -> usize {
    let headers = if source.is_ipv4() { IPV4_UDP } else { IPV6_UDP };
    usize::from(path.mtu).saturating_sub(headers)
}

impl Kind {
    /// Flow data records and options data records that a record of this kind is.
    fn counts(self) -> (u16, u16) {
        match self {
            Kind::Template => (0, 0),
            Kind::Flow => (1, 0),
            Kind::Options => (0, 1),
        }
    }
}
