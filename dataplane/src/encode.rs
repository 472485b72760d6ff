//! The Exporting Process: records into messages, one open message per session and slave.
//!
//! A message keeps the exporter's own header; only its sequence number, counts and lengths are
//! written anew when it closes. Everything of a session goes to a slave through its one open
//! message, so nothing overtakes anything (a data set never its template). A record whose time
//! hangs on its header never enters a message with another time base: the message closes first.
//!
//! Invariant: an open message holds a frame and at least one record; it closes when it is full,
//! when the time base changes, when it is as old as the flush interval, or when frames run out
//! (the oldest first). Deliberately absent: any knowledge of what a record means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::io::{Purpose, Tag, Transmit};
use crate::session::SessionId;
use crate::wire::{Message, Protocol, ipfix, netflow5, netflow9, set};
use crate::{Discard, Timestamp};

/// Bytes of an IPv4 header without options and of an IPv6 header, each with UDP's 8.
const IPV4_UDP: usize = 28;
const IPV6_UDP: usize = 48;
/// The longest UDP payload over IPv4 (RFC 768, RFC 791); IPv6 allows a little more.
const PAYLOAD_MAX: usize = 65_507;
/// A message's records are counted in 16 bits by v5's and v9's headers.
const COUNT_MAX: u16 = u16::MAX;
const NONE: u32 = u32::MAX;

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

/// A message header as the exporter sent it, kept by value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    protocol: Protocol,
    bytes: [u8; netflow5::HEADER_LENGTH],
}

impl Header {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let view = match message {
            Message::Netflow5(packet) => packet.header(),
            Message::Netflow9(packet) => packet.header(),
            Message::Ipfix(message) => message.header(),
        };
        let mut bytes = [0; netflow5::HEADER_LENGTH];
        bytes[..view.len()].copy_from_slice(view);
        Header { protocol: message.protocol(), bytes }
    }

    fn view(&self) -> &[u8] {
        let length = match self.protocol {
            Protocol::Netflow5 => netflow5::HEADER_LENGTH,
            Protocol::Netflow9 => netflow9::HEADER_LENGTH,
            Protocol::Ipfix => ipfix::HEADER_LENGTH,
        };
        &self.bytes[..length]
    }

    /// The sequence number as the exporter wrote it.
    pub(crate) fn sequence(&self) -> u32 {
        Message::parse(self.view()).map_or(0, |message| message.sequence())
    }

    /// Whether records may move between messages under these headers and keep their meaning.
    fn same_context(&self, other: &Header) -> bool {
        match self.protocol {
            Protocol::Netflow5 => netflow5::same_context(self.view(), other.view()),
            Protocol::Netflow9 => netflow9::same_context(self.view(), other.view()),
            Protocol::Ipfix => ipfix::same_context(self.view(), other.view()),
        }
    }
}

/// What kind of record an [`Item`] is: it decides which counters and sequences it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Template,
    Flow,
    Options,
}

/// One record on its way into a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) kind: Kind,
    /// The set it stood in; NetFlow v5 has none, and says 0.
    pub(crate) set: u16,
    pub(crate) bytes: &'a [u8],
    /// Whether its meaning hangs on the header's time.
    pub(crate) bound: bool,
    /// Whether up to three bytes of padding after it can't be taken for another record.
    pub(crate) pads: bool,
}

/// Where an item comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) session: SessionId,
    pub(crate) slave: u16,
    /// The exporter's address and port, which the packet will bear.
    pub(crate) source: SocketAddr,
    /// The slaves' port.
    pub(crate) port: u16,
}

/// One session's way to one slave.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// The next message's sequence number.
    sequence: u32,
    /// Slot of the open message, or `NONE`.
    open: u32,
}

const IDLE: Lane = Lane { sequence: 0, open: NONE };

/// A message being filled.
#[derive(Debug)]
struct Open<F> {
    frame: F,
    header: Header,
    lane: usize,
    source: SocketAddr,
    to: SocketAddr,
    slave: u16,
    /// Bytes written, and the most that may be.
    length: usize,
    limit: usize,
    /// Where the current set begins, 0 for none, with its id and whether it may be padded.
    set_at: usize,
    set: u16,
    pads: bool,
    /// Records of all kinds, flow data records, options data records.
    count: u16,
    records: u16,
    options: u16,
    opened: Timestamp,
    /// Neighbours in the list of open messages, by age.
    older: u32,
    newer: u32,
}

/// The open messages of one worker, with their sequence numbers.
#[derive(Debug)]
pub(crate) struct Encoder<F> {
    paths: Vec<Path>,
    flush_ms: u64,
    lanes: Vec<Lane>,
    slots: Vec<Option<Open<F>>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    sent: Vec<Tag>,
    scratch: Vec<u8>,
    in_flight: u64,
    /// Slaves that were to get templates of a session and did not.
    untold: Vec<(SessionId, u16)>,
}

/// More slaves and sessions than this are not told anew; the exporters' own refreshes tell them.
const UNTOLD_MAX: usize = 4_096;

impl<F> Encoder<F> {
    /// `messages`, at least one, bounds how many messages are open at once.
    pub(crate) fn new(paths: Vec<Path>, flush_ms: u64, messages: usize) -> Self {
        let messages = u32::try_from(messages).unwrap_or(NONE - 1).clamp(1, NONE - 1);
        Encoder {
            paths,
            flush_ms,
            lanes: Vec::new(),
            slots: (0..messages).map(|_| None).collect(),
            free: (0..messages).rev().collect(),
            oldest: NONE,
            newest: NONE,
            sent: Vec::with_capacity(1024),
            scratch: Vec::with_capacity(PAYLOAD_MAX),
            in_flight: 0,
            untold: Vec::new(),
        }
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

    /// Messages handed to the network since the last call; the caller counts them once it has
    /// flushed and knows which of them failed.
    pub(crate) fn sent(&mut self) -> std::vec::Drain<'_, Tag> {
        self.sent.drain(..)
    }

    /// Starts a session's lanes anew: their sequence numbers begin at 0. What it had open must
    /// have been closed.
    pub(crate) fn begin(&mut self, session: SessionId) {
        let lanes = self.lanes_of(session);
        if self.lanes.len() < lanes.end {
            self.lanes.resize(lanes.end, IDLE);
        }
        debug_assert!(self.lanes[lanes.clone()].iter().all(|lane| lane.open == NONE));
        self.lanes[lanes].fill(IDLE);
    }

    /// Appends one record to its lane's open message, opening or closing messages as needed.
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
        let lane = self.lane(route);
        let mut slot = self.lanes[lane].open;
        if let Some(open) = self.slot(slot)
            && (item.bound && !open.header.same_context(header) || !open.fits(item))
        {
            self.close(io, slot);
            slot = NONE;
        }
        if slot == NONE {
            let Some(to) = self.paths[usize::from(route.slave)].towards(route.source, route.port)
            else {
                return Err(Discard::RecordNoSlave);
            };
            let limit = self.limit(io, route);
            if header.view().len() + set::HEADER_LENGTH + item.bytes.len() + 3 > limit {
                return self.send_alone(io, route, to, header, item);
            }
            slot = self.open(io, route, to, limit, header, now)?;
        }
        let open = self.slots[slot as usize].as_mut().expect("the slot was just found or opened");
        open.push(io, item);
        self.in_flight += u64::from(item.kind == Kind::Flow);
        Ok(())
    }

    /// Closes the messages that are older than the flush interval.
    pub(crate) fn flush_due<T: Transmit<Frame = F>>(&mut self, io: &mut T, now: Timestamp) {
        while let Some(open) = self.slot(self.oldest) {
            // A clock set back must not hold a message for ever: an age below zero is due.
            if open.opened <= now && now < open.opened.plus_ms(self.flush_ms) {
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
        for lane in self.lanes_of(session) {
            if let Some(&Lane { open, .. }) = self.lanes.get(lane)
                && open != NONE
            {
                self.close(io, open);
            }
        }
    }

    /// Closes what a session has open with flow data records in it.
    pub(crate) fn flush_records<T: Transmit<Frame = F>>(&mut self, io: &mut T, session: SessionId) {
        for lane in self.lanes_of(session) {
            let Some(&Lane { open, .. }) = self.lanes.get(lane) else { break };
            if self.slot(open).is_some_and(|open| open.records > 0) {
                self.close(io, open);
            }
        }
    }

    /// Closes a lane's message, if one is open.
    pub(crate) fn flush_lane<T: Transmit<Frame = F>>(&mut self, io: &mut T, route: &Route) {
        let open = self.lanes[self.lane(route)].open;
        if open != NONE {
            self.close(io, open);
        }
    }

    /// Sets the sequence number of a lane's next message.
    pub(crate) fn set_sequence(&mut self, route: &Route, sequence: u32) {
        let lane = self.lane(route);
        self.lanes[lane].sequence = sequence;
    }

    /// Takes back what is open for a slave, which has died: each message's payload goes to `each`
    /// with its session, and its frame back to the backend.
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
                open.end_set(io);
                let session = self.session_of(open.lane);
                let length = open.length;
                open.finish(io, 0);
                each(session, &io.payload(&mut open.frame)[..length]);
                io.give_back(open.frame);
            }
            slot = newer;
        }
    }

    /// Hands a datagram on as it is; `None` when the slave can't be reached under its IP version.
    pub(crate) fn hand_on<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        slave: u16,
        source: SocketAddr,
        port: u16,
        payload: &[u8],
    ) -> Option<()> {
        let path = &self.paths[usize::from(slave)];
        let to = path.towards(source, port)?;
        let tag = Tag { slave, purpose: Purpose::HandedOn, ..Tag::default() };
        self.sent.push(tag);
        io.send_copy(payload, source, to, path.mtu, tag);
        Some(())
    }

    fn lanes_of(&self, session: SessionId) -> std::ops::Range<usize> {
        let first = session.0 as usize * self.paths.len();
        first..first + self.paths.len()
    }

    fn session_of(&self, lane: usize) -> SessionId {
        SessionId(u32::try_from(lane / self.paths.len()).expect("sessions are counted in 32 bits"))
    }

    fn lane(&self, route: &Route) -> usize {
        route.session.0 as usize * self.paths.len() + usize::from(route.slave)
    }

    fn slot(&self, slot: u32) -> Option<&Open<F>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Bytes of payload that a packet on this route may carry unfragmented.
    fn limit<T: Transmit<Frame = F>>(&self, io: &T, route: &Route) -> usize {
        let headers = if route.source.is_ipv4() { IPV4_UDP } else { IPV6_UDP };
        let mtu = usize::from(self.paths[usize::from(route.slave)].mtu);
        mtu.saturating_sub(headers).min(io.room())
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
        let mut frame = frame.ok_or(Discard::NoFrame)?;
        let slot = self.free.pop().ok_or(Discard::NoFrame)?;
        let view = header.view();
        io.payload(&mut frame)[..view.len()].copy_from_slice(view);
        let lane = self.lane(route);
        let older = std::mem::replace(&mut self.newest, slot);
        if let Some(previous) = self.slots.get_mut(older as usize).and_then(Option::as_mut) {
            previous.newer = slot;
        } else {
            self.oldest = slot;
        }
        self.slots[slot as usize] = Some(Open {
            frame,
            header: *header,
            lane,
            source: route.source,
            to,
            slave: route.slave,
            length: view.len(),
            limit,
            set_at: 0,
            set: 0,
            pads: false,
            count: 0,
            records: 0,
            options: 0,
            opened: now,
            older,
            newer: NONE,
        });
        self.lanes[lane].open = slot;
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
        self.lanes[open.lane].open = NONE;
        self.free.push(slot);
        open
    }

    fn close<T: Transmit<Frame = F>>(&mut self, io: &mut T, slot: u32) {
        let mut open = self.unlink(slot);
        self.in_flight -= u64::from(open.records);
        open.end_set(io);
        let sequence = self.lanes[open.lane].sequence;
        let length = open.length;
        let step = open.finish(io, sequence);
        self.lanes[open.lane].sequence = sequence.wrapping_add(step);
        let tag = Tag {
            slave: open.slave,
            records: open.records,
            options: open.options,
            templates: open.count - open.records - open.options,
            session: self.session_of(open.lane).0,
            purpose: Purpose::Message,
        };
        self.sent.push(tag);
        io.send(open.frame, length, open.source, open.to, tag);
    }

    /// Sends a record that no unfragmented packet can carry as a message of its own.
    fn send_alone<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        to: SocketAddr,
        header: &Header,
        item: &Item<'_>,
    ) -> Result<(), Discard> {
        let view = header.view();
        let set_length = set::HEADER_LENGTH + item.bytes.len();
        if view.len() + set_length > PAYLOAD_MAX {
            return Err(Discard::RecordTooLong);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(view);
        self.scratch.resize(view.len() + set::HEADER_LENGTH, 0);
        let length = u16::try_from(set_length).map_err(|_| Discard::RecordTooLong)?;
        set::write_header(&mut self.scratch[view.len()..], item.set, length);
        self.scratch.extend_from_slice(item.bytes);
        let lane = self.lane(route);
        let sequence = self.lanes[lane].sequence;
        let (records, options) = item.kind.counts();
        let tally = Tally { count: 1, data: records + options, sequence };
        let step = tally.write(header.protocol, &mut self.scratch);
        self.lanes[lane].sequence = sequence.wrapping_add(step);
        let templates = 1 - records - options;
        let session = route.session.0;
        let slave = route.slave;
        let tag = Tag { slave, records, options, templates, session, purpose: Purpose::Message };
        self.sent.push(tag);
        let mtu = self.paths[usize::from(route.slave)].mtu;
        io.send_copy(&self.scratch, route.source, to, mtu, tag);
        Ok(())
    }
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

impl<F> Open<F> {
    /// Whether the item can still be appended, with the set header and padding it may bring.
    fn fits(&self, item: &Item<'_>) -> bool {
        if self.header.protocol == Protocol::Netflow5 {
            return usize::from(self.count) < netflow5::MAX_RECORDS
                && self.length + item.bytes.len() <= self.limit;
        }
        let overhead =
            if self.set_at != 0 && self.set == item.set { 3 } else { set::HEADER_LENGTH + 3 + 3 };
        self.count < COUNT_MAX && self.length + overhead + item.bytes.len() <= self.limit
    }

    fn push<T: Transmit<Frame = F>>(&mut self, io: &mut T, item: &Item<'_>) {
        if self.header.protocol != Protocol::Netflow5 && (self.set_at == 0 || self.set != item.set)
        {
            self.end_set(io);
            self.set_at = self.length;
            self.set = item.set;
            self.length += set::HEADER_LENGTH;
        }
        self.pads = item.pads;
        let end = self.length + item.bytes.len();
        io.payload(&mut self.frame)[self.length..end].copy_from_slice(item.bytes);
        self.length = end;
        let (records, options) = item.kind.counts();
        self.count += 1;
        self.records += records;
        self.options += options;
    }

    /// Completes the current set. NetFlow v9 sets end on a 32-bit boundary (RFC 3954, Section 5.3);
    /// IPFIX leaves padding to the exporter, and weir adds none.
    fn end_set<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        if self.set_at == 0 {
            return;
        }
        let bytes = io.payload(&mut self.frame);
        if self.header.protocol == Protocol::Netflow9 && self.pads {
            let padded = self.length.next_multiple_of(4);
            bytes[self.length..padded].fill(0);
            self.length = padded;
        }
        let length = u16::try_from(self.length - self.set_at).expect("a frame is below 64 KiB");
        set::write_header(&mut bytes[self.set_at..], self.set, length);
        self.set_at = 0;
    }

    /// Writes the header's own fields; returns by how much the sequence number goes on.
    fn finish<T: Transmit<Frame = F>>(&mut self, io: &mut T, sequence: u32) -> u32 {
        let tally = Tally { count: self.count, data: self.records + self.options, sequence };
        tally.write(self.header.protocol, &mut io.payload(&mut self.frame)[..self.length])
    }
}

/// What a closing message's header says of it.
struct Tally {
    count: u16,
    data: u16,
    sequence: u32,
}

impl Tally {
    /// Writes counts, length and sequence number by the version's own rule: v5 counts flows, v9
    /// messages (RFC 3954, Section 5.1), IPFIX data records (RFC 7011, Section 3.1).
    fn write(&self, protocol: Protocol, message: &mut [u8]) -> u32 {
        match protocol {
            Protocol::Netflow5 => {
                netflow5::set_count(message, self.count);
                netflow5::set_sequence(message, self.sequence);
                u32::from(self.data)
            }
            Protocol::Netflow9 => {
                netflow9::set_count(message, self.count);
                netflow9::set_sequence(message, self.sequence);
                1
            }
            Protocol::Ipfix => {
                let length = u16::try_from(message.len()).expect("a datagram is below 64 KiB");
                ipfix::set_length(message, length);
                ipfix::set_sequence(message, self.sequence);
                u32::from(self.data)
            }
        }
    }
}
