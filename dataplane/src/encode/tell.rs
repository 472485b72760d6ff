//! Telling a slave a session's templates and options data under flow source, where the exporter's
//! own sequence numbers go on: the messages take the places right before its next one.

use super::header::{Header, Tally};
use super::{Encoder, Item, Kind, PADDING, Route, limit};
use crate::io::{Purpose, Tag, Transmit};
use crate::wire::{Protocol, set};

/// A message being put together; several stand one behind the other in one buffer.
struct Told {
    start: usize,
    /// Where its last set begins, with its id.
    set_at: usize,
    set: u16,
    pads: bool,
    count: u16,
    options: u16,
}

impl<F> Encoder<F> {
    /// Sends these items in as many messages as they need, whose sequence numbers end right before
    /// `next`, the exporter's next one, so that the slave sees neither gap nor restart. Nothing is
    /// sent to a slave that can't be reached under the source's IP version. Returns the bytes sent.
    pub(crate) fn tell<'a, T: Transmit<Frame = F>>(
        &mut self,
        io: &mut T,
        route: &Route,
        header: &Header,
        items: impl Iterator<Item = Item<'a>>,
        next: u32,
    ) -> usize {
        let path = self.paths[usize::from(route.slave)];
        let Some(to) = path.towards(route.source, route.port) else { return 0 };
        let limit = limit(&path, route.source);
        let buffer = &mut self.scratch;
        buffer.clear();
        let mut told: Vec<Told> = Vec::new();
        for item in items {
            let has_space = |told: &&mut Told| {
                let used = buffer.len() - told.start;
                used + 2 * PADDING + set::HEADER_LENGTH + item.bytes.len() <= limit
            };
            if told.last_mut().filter(has_space).is_none() {
                if let Some(full) = told.last() {
                    full.end_set(header.protocol(), buffer);
                }
                told.push(Told::begin(buffer.len()));
                buffer.extend_from_slice(header.view());
            }
            told.last_mut().expect("one was just pushed").push(header.protocol(), buffer, &item);
        }
        if let Some(last) = told.last() {
            last.end_set(header.protocol(), buffer);
        }
        let tally = |told: &Told| Tally { count: told.count, data: told.options, sequence: 0 };
        let steps = told.iter().map(|told| tally(told).step(header));
        let mut sequence = next.wrapping_sub(steps.sum());
        for (at, message) in told.iter().enumerate() {
            let end = told.get(at + 1).map_or(buffer.len(), |following| following.start);
            let tally = Tally { sequence, ..tally(message) };
            sequence = sequence.wrapping_add(tally.step(header));
            let payload = &mut buffer[message.start..end];
            tally.write(header, payload);
            let tag = Tag {
                slave: route.slave,
                records: 0,
                options: message.options,
                templates: message.count - message.options,
                session: route.session.0,
                purpose: Purpose::Message,
            };
            self.sent.push(tag);
            self.sent_opened_ns.push(self.clock_ns);
            io.send_copy(payload, route.source, to, path.mtu, tag);
        }
        buffer.len()
    }
}

impl Told {
    fn begin(start: usize) -> Self {
        Told { start, set_at: 0, set: 0, pads: false, count: 0, options: 0 }
    }

    fn push(&mut self, protocol: Protocol, buffer: &mut Vec<u8>, item: &Item<'_>) {
        if self.set_at == 0 || self.set != item.shape.set {
            self.end_set(protocol, buffer);
            self.set_at = buffer.len();
            self.set = item.shape.set;
            buffer.extend_from_slice(&[0; set::HEADER_LENGTH]);
        }
        buffer.extend_from_slice(item.bytes);
        self.pads = item.shape.pads;
        self.count += 1;
        self.options += u16::from(item.kind == Kind::Options);
    }

    /// Completes the last set, on a 32-bit boundary in v9 (RFC 3954, Section 5.3).
    fn end_set(&self, protocol: Protocol, buffer: &mut Vec<u8>) {
        if self.set_at == 0 {
            return;
        }
        if protocol == Protocol::Netflow9 && self.pads {
            let length = buffer.len() - self.start;
            buffer.resize(self.start + length.next_multiple_of(4), 0);
        }
        let length = u16::try_from(buffer.len() - self.set_at).unwrap_or(u16::MAX);
        set::write_header(&mut buffer[self.set_at..], self.set, length);
    }
}
