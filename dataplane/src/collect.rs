//! The slave's Collecting Process: data sets become rows of a column batch.
//!
//! A set whose records all have one length is decoded column by column: one loop for each column
//! that the template's plan names, over all records of the set, with no decision inside it. A set
//! of variable-length records is decoded record by record by the same loops. No row struct stands
//! between the wire and the column, and nothing is allocated per packet.
//!
//! Times become absolute here and only here. Whatever stands before a fault in a message is used;
//! the fault itself is counted. Options data is counted and not stored, but for one thing that
//! times need: when the exporter started.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_store::{Address, Batch, Column, for_each_column};

use crate::element::{Clock, Meaning};
use crate::io::Datagram;
use crate::session::{Observation, Session, SessionId, SessionKey, SessionLimits, SessionTable};
use crate::template::{FieldPlan, Icmp, Moment, Place, Template, TimePlan, netflow5_plan};
use crate::wire::set::{Set, SetKind, Sets, TemplateRecords};
use crate::wire::{Message, Protocol, netflow5};
use crate::{Counters, Discard, Timestamp};

/// The bounds of a [`Collector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Of its sessions.
    pub sessions: SessionLimits,
    /// Rows at which a batch is full.
    pub batch_rows: usize,
}

/// What the collector keeps of a session besides its templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// When the exporter started, milliseconds since 1970, as its options data says
    /// (systemInitTimeMilliseconds).
    pub boot_ms: Option<u64>,
}

/// Decodes datagrams into a batch, and counts what it cannot decode.
#[derive(Debug)]
pub struct Collector {
    sessions: SessionTable<Upstream>,
    batch: Batch,
    batch_rows: usize,
    counters: Arc<Counters>,
    netflow5: FieldPlan,
    /// Where a variable-length record's values stand; kept for its memory.
    places: Vec<Place>,
}

impl Collector {
    /// A collector without sessions.
    pub fn new(config: CollectorConfig, counters: Arc<Counters>) -> Self {
        Collector {
            sessions: SessionTable::new(config.sessions),
            batch: Batch::with_capacity(config.batch_rows),
            batch_rows: config.batch_rows,
            counters,
            netflow5: netflow5_plan(),
            places: Vec::new(),
        }
    }

    /// Decodes one datagram, received at `now`.
    ///
    /// A datagram can hold a row for each of its bytes, so the batch is to be taken when
    /// [`Collector::is_full`] says so after any one datagram.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, now: Timestamp) {
        self.counters.datagrams_received.add(1);
        match self.accept(datagram, now) {
            Ok(()) => self.counters.datagrams_accepted.add(1),
            Err(reason) => self.counters.discard(reason, 1),
        }
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
        Some(std::mem::replace(&mut self.batch, Batch::with_capacity(room)))
    }

    /// The transport sessions.
    pub fn sessions(&self) -> &SessionTable<Upstream> {
        &self.sessions
    }

    fn accept(&mut self, datagram: &Datagram<'_>, now: Timestamp) -> Result<(), Discard> {
        let message = Message::parse(datagram.payload)?;
        let id = self.session(datagram, &message, now)?;
        let session = self.sessions.touch(id, now);
        let uptime = Uptime::from_boot(session.extra.boot_ms);
        let header = Header::new(&message, datagram.source, now, uptime);
        let mut decoder = Decoder {
            session,
            header,
            batch: &mut self.batch,
            counters: &self.counters,
            places: &mut self.places,
        };
        let units = match message {
            Message::Netflow5(packet) => Some(decoder.netflow5(&packet, &self.netflow5)),
            Message::Netflow9(packet) => {
                decoder.sets(Protocol::Netflow9, packet.sets());
                Some(1)
            }
            Message::Ipfix(message) => decoder.sets(Protocol::Ipfix, message.sets()),
        };
        decoder.sequence(message.sequence(), units);
        Ok(())
    }

    fn session(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<SessionId, Discard> {
        let key = SessionKey {
            source: datagram.source,
            port: datagram.destination.port(),
            protocol: message.protocol(),
            domain: message.domain(),
        };
        match self.sessions.find(&key) {
            Some(id) => Ok(id),
            None => self.sessions.insert(key, now, Upstream::default()).map(|inserted| inserted.id),
        }
    }
}

/// What a message says of all its records.
#[derive(Clone, Copy, Debug)]
struct Header {
    received_ms: u64,
    export_ms: u64,
    uptime: Uptime,
    exporter: Address,
    domain: u32,
}

impl Header {
    fn new(message: &Message<'_>, source: SocketAddr, now: Timestamp, uptime: Uptime) -> Self {
        let (export_ms, uptime) = match message {
            Message::Netflow5(packet) => {
                let sub_ms = u64::from(packet.unix_nsecs() / 1_000_000);
                let export_ms = u64::from(packet.unix_secs()) * 1000 + sub_ms;
                (export_ms, Uptime::AtExport(packet.uptime_ms()))
            }
            Message::Netflow9(packet) => {
                (u64::from(packet.unix_secs()) * 1000, Uptime::AtExport(packet.uptime_ms()))
            }
            Message::Ipfix(message) => (u64::from(message.export_time()) * 1000, uptime),
        };
        Header {
            received_ms: now.0,
            export_ms,
            uptime,
            exporter: source.ip().into(),
            domain: message.domain(),
        }
    }
}

/// What makes an uptime a moment. Uptimes have 32 bits of milliseconds and wrap after 49.7 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uptime {
    /// The uptime at the export time, from the header of v5 and v9.
    AtExport(u32),
    /// When the exporter started, milliseconds since 1970 (IPFIX systemInitTimeMilliseconds).
    Boot(u64),
    /// IPFIX that has not said it.
    Unknown,
}

impl Uptime {
    /// How far a moment may be ahead of the export time, a quarter of the circle: exporters whose
    /// clocks disagree among themselves are common, flows that last for weeks are not.
    const AHEAD_MS: u32 = 1 << 30;

    fn from_boot(boot_ms: Option<u64>) -> Self {
        boot_ms.map_or(Uptime::Unknown, Uptime::Boot)
    }

    /// The moment at which the uptime was `at_ms`, milliseconds since 1970.
    #[inline]
    fn moment(self, export_ms: u64, at_ms: u32) -> u64 {
        match self {
            Uptime::AtExport(uptime_ms) => {
                let ahead = at_ms.wrapping_sub(uptime_ms);
                if ahead <= Self::AHEAD_MS {
                    export_ms + u64::from(ahead)
                } else {
                    export_ms.saturating_sub(uptime_ms.wrapping_sub(at_ms).into())
                }
            }
            Uptime::Boot(boot_ms) => {
                let at = boot_ms.saturating_add(at_ms.into());
                let wraps = (export_ms + u64::from(Self::AHEAD_MS)).saturating_sub(at) >> 32;
                at + (wraps << 32)
            }
            Uptime::Unknown => export_ms,
        }
    }
}

/// Milliseconds since 1970 of an NTP timestamp (RFC 7011, Section 6.1.9; RFC 5905, Section 6).
#[inline]
fn ntp_ms(timestamp: u64) -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCH: u64 = 2_208_988_800;
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    // Seconds before 1970 are of the era that begins in 2036.
    let seconds = if seconds < EPOCH { seconds + (1 << 32) } else { seconds };
    (seconds - EPOCH) * 1000 + ((fraction * 1000) >> 32)
}

/// What one message is decoded with.
struct Decoder<'a> {
    session: &'a mut Session<Upstream>,
    header: Header,
    batch: &'a mut Batch,
    counters: &'a Counters,
    places: &'a mut Vec<Place>,
}

impl Decoder<'_> {
    /// Returns the flows of the packet.
    fn netflow5(&mut self, packet: &netflow5::Packet<'_>, plan: &FieldPlan) -> u32 {
        let records = Records { bytes: packet.body(), stride: netflow5::RECORD_LENGTH };
        append(self.batch, records, plan, &plan.places, &self.header);
        self.complete(records.len());
        u32::from(packet.count())
    }

    /// Returns the data records of the message, or `None` when they could not all be counted.
    fn sets(&mut self, protocol: Protocol, sets: Sets<'_>) -> Option<u32> {
        let mut units = Some(0u32);
        for set in sets {
            let counted = set.and_then(|set| match set.kind(protocol) {
                SetKind::Data => self.data(&set),
                SetKind::Templates | SetKind::OptionsTemplates => {
                    // No fault in them changes how many data records there are.
                    let learned = self.templates(protocol, &set);
                    learned.unwrap_or_else(|reason| self.counters.discard(reason, 1));
                    Ok(0)
                }
                SetKind::Reserved => {
                    self.counters.discard(Discard::SetReserved, 1);
                    Ok(0)
                }
            });
            match counted {
                Ok(records) => units = units.map(|n| n.wrapping_add(records as u32)),
                Err(reason) => {
                    self.counters.discard(reason, 1);
                    units = None;
                }
            }
        }
        units
    }

    /// Learns and withdraws templates; they are no data records.
    fn templates(&mut self, protocol: Protocol, set: &Set<'_>) -> Result<(), Discard> {
        let mut refused = None;
        for record in TemplateRecords::new(protocol, set) {
            let record = record?;
            let templates = &mut self.session.templates;
            if record.withdraws_all() {
                templates.withdraw_all(record.options);
            } else if record.withdrawal {
                templates.withdraw(record.id);
            } else {
                self.counters.templates_received.add(1);
                refused = templates.learn(protocol, &record).err().or(refused);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Decodes a data set and returns how many records it held.
    fn data(&mut self, set: &Set<'_>) -> Result<usize, Discard> {
        let template = self.session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        if template.options {
            return self.options(set);
        }
        let plan = template.plan();
        if let Some(stride) = template.fixed_length {
            let records = Records::new(set.body, stride);
            append(self.batch, records, plan, &plan.places, &self.header);
            self.complete(records.len());
            return Ok(records.len());
        }
        let mut count = 0;
        let mut end = Ok(());
        for record in template.records(set.body) {
            match record {
                Ok(bytes) => {
                    let places = template.places(bytes, self.places);
                    let record = Records { bytes, stride: bytes.len() };
                    append(self.batch, record, plan, places, &self.header);
                    count += 1;
                }
                Err(reason) => end = Err(reason),
            }
        }
        self.complete(count);
        end.map(|()| count)
    }

    /// Counts options data, and notes when the exporter started.
    fn options(&mut self, set: &Set<'_>) -> Result<usize, Discard> {
        let template = self.session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        let mut count = 0;
        let mut end = Ok(());
        let mut learned = self.header.uptime;
        for record in template.records(set.body) {
            match record {
                Ok(record) => {
                    count += 1;
                    if let Some(boot_ms) = boot_ms(template, record, self.places) {
                        self.session.extra.boot_ms = Some(boot_ms);
                        learned = Uptime::Boot(boot_ms);
                    }
                }
                Err(reason) => end = Err(reason),
            }
        }
        self.header.uptime = learned;
        self.counters.options_decoded.add(count as u64);
        end.map(|()| count)
    }

    /// Completes `count` rows whose own columns were appended.
    fn complete(&mut self, count: usize) {
        let rows = self.batch.rows() + count;
        self.batch.received_ms.resize(rows, self.header.received_ms);
        self.batch.exporter.resize(rows, self.header.exporter);
        self.batch.observation_domain.resize(rows, self.header.domain);
        self.batch.fill(rows);
        self.counters.records_decoded.add(count as u64);
        self.session.records += count as u64;
    }

    fn sequence(&mut self, got: u32, units: Option<u32>) {
        match self.session.sequence.observe(got, units) {
            Observation::InOrder | Observation::Late => {}
            Observation::Lost(n) => {
                self.session.lost += u64::from(n);
                self.counters.sequence_lost.add(n.into());
            }
            Observation::Reset => {
                self.session.resets += 1;
                self.counters.sequence_resets.add(1);
            }
        }
    }
}

/// The exporter's start, when this options record says it.
fn boot_ms(template: &Template, record: &[u8], places: &mut Vec<Place>) -> Option<u64> {
    let boot = template.plan().times.boot?;
    let place = template.places(record, places)[usize::from(boot)];
    let boot_ms = Records { bytes: record, stride: record.len() }.number(place);
    (boot_ms != 0).then_some(boot_ms)
}

/// Records of one length, one after the other.
#[derive(Clone, Copy)]
struct Records<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> Records<'a> {
    /// The whole records at the head of a data set's body; what is left is padding.
    fn new(body: &'a [u8], stride: usize) -> Self {
        Records { bytes: &body[..body.len() - body.len() % stride], stride }
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Each record alone.
    fn each(self) -> impl ExactSizeIterator<Item = Records<'a>> {
        let stride = self.stride;
        self.bytes.chunks_exact(stride).map(move |bytes| Records { bytes, stride })
    }

    /// The number at `place` of the first record.
    fn number(self, place: Place) -> u64 {
        let mut found = 0;
        Records { bytes: &self.bytes[..self.stride], ..self }.numbers(place, |value| found = value);
        found
    }

    /// The `N` bytes at `offset` of each record.
    #[inline]
    fn values<const N: usize>(self, offset: u32) -> impl ExactSizeIterator<Item = [u8; N]> {
        let offset = offset as usize;
        self.bytes.chunks_exact(self.stride).map(move |record| {
            *record[offset..].first_chunk().expect("a plan's places lie in the record")
        })
    }

    /// Hands on the number at `place` of each record, in network order, of any size up to eight
    /// bytes (RFC 7011, Section 6.2); one of no size, or of more, counts as zero.
    #[inline]
    fn numbers(self, place: Place, mut each: impl FnMut(u64)) {
        let Place { offset, length } = place;
        match length {
            1 => self.values::<1>(offset).for_each(|[byte]| each(byte.into())),
            2 => self.values(offset).for_each(|bytes| each(u16::from_be_bytes(bytes).into())),
            4 => self.values(offset).for_each(|bytes| each(u32::from_be_bytes(bytes).into())),
            8 => self.values(offset).for_each(|bytes| each(u64::from_be_bytes(bytes))),
            3 | 5..=7 => {
                let range = offset as usize..offset as usize + usize::from(length);
                for record in self.bytes.chunks_exact(self.stride) {
                    let wide = |value, &byte| value << 8 | u64::from(byte);
                    each(record[range.clone()].iter().fold(0, wide));
                }
            }
            _ => (0..self.len()).for_each(|_| each(0)),
        }
    }
}

/// A value that a column holds.
trait Cell: Copy {
    /// This value and that of the column's next source, as one.
    fn merge(self, next: Self) -> Self;

    /// Hands on the value of each record.
    fn read(records: Records<'_>, meaning: Meaning, place: Place, each: impl FnMut(Self));
}

macro_rules! impl_cell_for_numbers {
    ($($kind:ty: $merge:expr),*) => {$(
        impl Cell for $kind {
            #[inline]
            fn merge(self, next: Self) -> Self {
                $merge(self, next)
            }

            /// A number too wide for the column keeps its low bytes: TCP flags of two bytes keep
            /// the flags that have names.
            #[inline]
            fn read(records: Records<'_>, _: Meaning, place: Place, mut each: impl FnMut(Self)) {
                records.numbers(place, |value| each(value as $kind));
            }
        }
    )*};
}

impl_cell_for_numbers!(
    u8: |own, next| if own == 0 { next } else { own },
    u16: |own, next| if own == 0 { next } else { own },
    u32: |own, next| if own == 0 { next } else { own },
    // The columns of this width are counters.
    u64: u64::saturating_add
);

impl Cell for Address {
    /// A dual-stack record bears both versions' addresses, the other's as zeroes.
    #[inline]
    fn merge(self, next: Self) -> Self {
        let is_absent = |a| a == Address::ABSENT || a == Address::from_v4([0; 4]);
        if is_absent(self) && !is_absent(next) { next } else { self }
    }

    #[inline]
    fn read(records: Records<'_>, meaning: Meaning, place: Place, mut each: impl FnMut(Self)) {
        match (meaning, place.length) {
            (Meaning::AddressV4(_), 4) => {
                records.values(place.offset).for_each(|bytes| each(Address::from_v4(bytes)));
            }
            (Meaning::AddressV6(_), 16) => {
                records.values(place.offset).for_each(|bytes| each(Address(bytes)));
            }
            _ => (0..records.len()).for_each(|_| each(Address::ABSENT)),
        }
    }
}

/// Appends the columns that the plan names, one value a record. The batch's rows are incomplete
/// until the caller fills it.
fn append(
    batch: &mut Batch,
    records: Records<'_>,
    plan: &FieldPlan,
    places: &[Place],
    header: &Header,
) {
    macro_rules! append_columns {
        ($($field:ident: $kind:ident = $number:literal, $name:ident, $meaning:literal;)*) => {
            for column in &plan.columns {
                let sources = column.sources.iter().map(|s| (s.meaning, places[usize::from(s.place)]));
                match column.column {
                    $(Column::$name => append_column(&mut batch.$field, records, sources),)*
                }
            }
        };
    }
    let ports = batch.destination_port.len();
    for_each_column!(append_columns);
    if !plan.icmp.is_empty() {
        batch.destination_port.resize(ports + records.len(), 0);
        fill_icmp(&mut batch.destination_port[ports..], records, &plan.icmp, places);
    }
    append_times(batch, records, &plan.times, places, header);
}

/// Appends the first source's values and merges the later ones' into them.
#[inline]
fn append_column<T: Cell>(
    out: &mut Vec<T>,
    records: Records<'_>,
    mut sources: impl Iterator<Item = (Meaning, Place)>,
) {
    let begin = out.len();
    let Some((meaning, place)) = sources.next() else { return };
    out.reserve(records.len());
    T::read(records, meaning, place, |value| out.push(value));
    for (meaning, place) in sources {
        let mut cells = out[begin..].iter_mut();
        T::read(records, meaning, place, |next| {
            if let Some(cell) = cells.next() {
                *cell = cell.merge(next);
            }
        });
    }
}

/// Puts ICMP's type * 256 + code where there is no destination port.
fn fill_icmp(ports: &mut [u16], records: Records<'_>, plan: &[Icmp], places: &[Place]) {
    for icmp in plan {
        for (port, record) in ports.iter_mut().zip(records.each()) {
            if *port == 0 {
                let kind = record.number(places[usize::from(icmp.kind)]);
                let code = icmp.code.map_or(0, |code| record.number(places[usize::from(code)]));
                *port = (kind as u16) << 8 | code as u16;
            }
        }
    }
}

/// Appends when the flows began and ended. An end that the template lacks is worked out from the
/// other and the duration; a template without any time means the export time.
fn append_times(
    batch: &mut Batch,
    records: Records<'_>,
    plan: &TimePlan,
    places: &[Place],
    header: &Header,
) {
    let (first, last) = (&mut batch.first_ms, &mut batch.last_ms);
    let begin = first.len();
    let moments = Moments { boot: plan.boot.map(|at| places[usize::from(at)]), records, header };
    let duration = |record: Records<'_>| match plan.duration {
        Some((place, per_ms)) => record.number(places[usize::from(place)]) / per_ms,
        None => 0,
    };
    let place = |moment: Moment| (moment.clock, places[usize::from(moment.place)]);
    match (plan.start.map(place), plan.end.map(place)) {
        (Some(start), Some(end)) => {
            moments.append(first, start);
            moments.append(last, end);
        }
        (Some(start), None) => {
            moments.append(first, start);
            let pairs = first[begin..].iter().zip(records.each());
            last.extend(pairs.map(|(at, record)| at.saturating_add(duration(record))));
        }
        (None, Some(end)) => {
            moments.append(last, end);
            let pairs = last[begin..].iter().zip(records.each());
            first.extend(pairs.map(|(at, record)| at.saturating_sub(duration(record))));
        }
        (None, None) => {
            first.resize(begin + records.len(), header.export_ms);
            last.resize(begin + records.len(), header.export_ms);
        }
    }
}

/// What turns the records' moments into milliseconds since 1970.
struct Moments<'a> {
    /// Where each record says when the exporter started.
    boot: Option<Place>,
    records: Records<'a>,
    header: &'a Header,
}

impl Moments<'_> {
    fn append(&self, out: &mut Vec<u64>, (clock, place): (Clock, Place)) {
        let (records, export_ms) = (self.records, self.header.export_ms);
        out.reserve(records.len());
        match clock {
            Clock::Seconds => records.numbers(place, |s| out.push(s.saturating_mul(1000))),
            Clock::Milliseconds => records.numbers(place, |ms| out.push(ms)),
            Clock::Ntp => records.numbers(place, |ntp| out.push(ntp_ms(ntp))),
            Clock::DeltaMicroseconds => {
                records.numbers(place, |us| out.push(export_ms.saturating_sub(us / 1000)));
            }
            Clock::Uptime => match self.boot {
                None => {
                    let uptime = self.header.uptime;
                    records
                        .numbers(place, |at_ms| out.push(uptime.moment(export_ms, at_ms as u32)));
                }
                Some(boot) => out.extend(records.each().map(|record| {
                    let uptime = Uptime::Boot(record.number(boot));
                    uptime.moment(export_ms, record.number(place) as u32)
                })),
            },
        }
    }
}
