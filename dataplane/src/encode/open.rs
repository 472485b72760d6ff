//! A message being filled.

use std::net::SocketAddr;

use super::header::{Header, Tally};
use super::{Kind, Shape};
use crate::Timestamp;
use crate::io::{Purpose, Tag, Transmit};
use crate::session::SessionId;
use crate::wire::{Protocol, set};

/// A set may be padded by so much (RFC 3954, Section 5.3).
const PADDING: usize = 3;

/// A message being filled. `F` is the backend's frame.
#[derive(Debug)]
pub(super) struct Open<F> {
    pub(super) frame: F,
    pub(super) header: Header,
    /// Whether some record's meaning hangs on the header.
    bound: bool,
    /// Whether the current set may be padded.
    pads: bool,
    pub(super) slave: u16,
    pub(super) session: SessionId,
    /// Bytes written (the header's are, when it closes), and the most that may be.
    pub(super) length: usize,
    limit: usize,
    /// Where the current set begins, 0 for none, with its id.
    set_at: usize,
    set: u16,
    /// Records of all kinds, flow data records, options data records.
    count: u16,
    pub(super) records: u16,
    options: u16,
    /// The sets of its flow data records: a bit for each id modulo 64.
    sets: u64,
    pub(super) source: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) opened: Timestamp,
    /// When the burst came that opened it, on the worker's clock, ns.
    pub(super) opened_ns: u64,
    /// Neighbours in the list of open messages, by age.
    pub(super) older: u32,
    pub(super) newer: u32,
}

/// What a message is opened with.
pub(super) struct Opening<F> {
    pub(super) frame: F,
    pub(super) header: Header,
    pub(super) slave: u16,
    pub(super) session: SessionId,
    pub(super) limit: usize,
    pub(super) source: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) opened: Timestamp,
    pub(super) opened_ns: u64,
    pub(super) older: u32,
    pub(super) newer: u32,
}

/// How much more of some records a message takes: bytes and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) bytes: usize,
    pub(super) records: usize,
}

impl<F> Open<F> {
    pub(super) fn new(opening: Opening<F>) -> Self {
        let Opening { frame, header, slave, session, limit, source, to, .. } = opening;
        Open {
            frame,
            header,
            bound: false,
            pads: false,
            slave,
            session,
            length: header.view().len(),
            limit,
            set_at: 0,
            set: 0,
            count: 0,
            records: 0,
            options: 0,
            sets: 0,
            source,
            to,
            opened: opening.opened,
            opened_ns: opening.opened_ns,
            older: opening.older,
            newer: opening.newer,
        }
    }

    /// Space for records of this shape, of which the first has `first` bytes; `None` when that does
    /// not fit, or when the message's header would give it another meaning. A header that nothing
    /// hangs on yet gives way to the record's.
    #[inline]
    pub(super) fn space(&mut self, header: &Header, shape: &Shape, first: usize) -> Option<Space> {
        if shape.bound && !self.header.same_context(header) {
            if self.bound {
                return None;
            }
            self.header = *header;
        }
        let overhead = match self.header.has_sets() {
            false => 0,
            true if self.set_at != 0 && self.set == shape.set => PADDING,
            // Nothing is to be padded before the first set, so that a message which is opened for a
            // record has space for it.
            true if self.set_at == 0 => set::HEADER_LENGTH + PADDING,
            true => PADDING + set::HEADER_LENGTH + PADDING,
        };
        let bytes = self.limit.saturating_sub(self.length + overhead);
        let records = usize::from(self.header.max_records().saturating_sub(self.count));
        (bytes >= first && records > 0).then_some(Space { bytes, records })
    }

    /// Appends `count` records that stand one behind the other in `bytes`; there is space.
    #[inline]
    pub(super) fn push<T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        kind: Kind,
        shape: &Shape,
        bytes: &[u8],
        count: u16,
    ) {
        if self.header.has_sets() && (self.set_at == 0 || self.set != shape.set) {
            self.end_set(io);
            self.set_at = self.length;
            self.set = shape.set;
            self.length += set::HEADER_LENGTH;
        }
        self.pads = shape.pads;
        self.bound |= shape.bound;
        let end = self.length + bytes.len();
        io.payload(&mut self.frame)[self.length..end].copy_from_slice(bytes);
        self.length = end;
        self.count += count;
        match kind {
            Kind::Template => {}
            Kind::Flow => {
                self.records += count;
                self.sets |= bit(shape.set);
            }
            Kind::Options => self.options += count,
        }
    }

    /// Whether seven eighths of it are full.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.limit.saturating_sub(self.length) < self.limit / 8
    }

    /// Whether there may be flow data records of this set.
    pub(super) fn may_hold(&self, set: u16) -> bool {
        self.sets & bit(set) != 0
    }

    /// Completes the current set. NetFlow v9 sets end on a 32-bit boundary (RFC 3954, Section 5.3);
    /// IPFIX leaves padding to the exporter, and weir adds none.
    fn end_set<T: Transmit<Frame = F>>(&mut self, io: &mut T) {
        if self.set_at == 0 {
            return;
        }
        let bytes = io.payload(&mut self.frame);
        if self.header.protocol() == Protocol::Netflow9 && self.pads {
            let padded = self.length.next_multiple_of(4);
            bytes[self.length..padded].fill(0);
            self.length = padded;
        }
        let length = u16::try_from(self.length - self.set_at).expect("a frame is below 64 KiB");
        set::write_header(&mut bytes[self.set_at..], self.set, length);
        self.set_at = 0;
    }

    /// Completes the message; returns by how much the sequence number goes on.
    pub(super) fn finish<T: Transmit<Frame = F>>(&mut self, io: &mut T, sequence: u32) -> u32 {
        self.end_set(io);
        let view = self.header.view();
        let message = &mut io.payload(&mut self.frame)[..self.length];
        message[..view.len()].copy_from_slice(view);
        let tally = Tally { count: self.count, data: self.records + self.options, sequence };
        tally.write(&self.header, message);
        tally.step(&self.header)
    }

    /// What the sender wants to know again of it.
    pub(super) fn tag(&self) -> Tag {
        Tag {
            slave: self.slave,
            records: self.records,
            options: self.options,
            templates: self.count - self.records - self.options,
            session: self.session.0,
            purpose: Purpose::Message,
        }
    }
}

fn bit(set: u16) -> u64 {
    1 << (set % 64)
}
