//! Data sets become rows.

use weir_store::Batch;

use super::Upstream;
use super::aside::Aside;
use super::columns::{Records, append};
use super::header::Header;
use super::moment::Uptime;
use super::sample;
use crate::session::Session;
use crate::template::{FieldPlan, Place, Template};
use crate::valve::Valve;
use crate::wire::set::Set;
use crate::wire::{fixed, sflow};
use crate::{Counters, Discard};

/// What one message is decoded with.
pub(super) struct Decoder<'a> {
    pub(super) session: &'a mut Session<Upstream>,
    pub(super) header: Header,
    pub(super) batch: &'a mut Batch,
    pub(super) counters: &'a Counters,
    pub(super) places: &'a mut Vec<Place>,
    pub(super) aside: &'a mut Aside,
}

impl Decoder<'_> {
    /// Returns the records of the packet. `plans` are those of [`fixed::LAYOUTS`].
    pub(super) fn fixed(&mut self, packet: &fixed::Packet<'_>, plans: &[FieldPlan]) -> u32 {
        let layout = packet.layout();
        let at = fixed::LAYOUTS.iter().position(|other| std::ptr::eq(*other, layout));
        let plan = &plans[at.expect("every layout is listed")];
        let records = Records { bytes: packet.body(), stride: layout.record_length };
        append_kept(self.batch, &mut self.aside.valve, records, plan, &self.header);
        self.complete(records.len(), 0);
        u32::from(packet.count())
    }

    /// Returns the flow samples of the datagram.
    pub(super) fn samples(&mut self, datagram: &sflow::Datagram<'_>) -> u32 {
        let mut rows = 0;
        for sample in datagram.samples() {
            match sample.and_then(|sample| sample.kind()) {
                Ok(sflow::Kind::Flow(_)) if self.aside.valve.next_of(1).is_none() => rows += 1,
                Ok(sflow::Kind::Flow(sample)) => {
                    let row = sample::append(self.batch, &sample, self.header.export_ms);
                    row.unwrap_or_else(|reason| self.counters.discard(reason, 1));
                    rows += 1;
                }
                Ok(sflow::Kind::Counters(_)) => self.counters.counter_samples.add(1),
                Ok(sflow::Kind::Other) => self.counters.samples_unknown.add(1),
                Err(reason) => self.counters.discard(reason, 1),
            }
        }
        self.complete(rows, 0);
        rows as u32
    }

    /// Decodes a data set and returns how many records it held.
    ///
    /// # Errors
    /// [`Discard::UnknownTemplate`], and nothing was decoded; [`Discard::RecordMalformed`], and the
    /// records before the malformed one were.
    pub(super) fn data(&mut self, set: &Set<'_>) -> Result<usize, Discard> {
        let template = self.session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        if template.options {
            return self.options(set);
        }
        let plan = template.plan();
        if let Some(stride) = template.fixed_length {
            let records = Records::new(set.body, stride);
            append_kept(self.batch, &mut self.aside.valve, records, plan, &self.header);
            self.complete(records.len(), set.id);
            return Ok(records.len());
        }
        let mut count = 0;
        let mut end = Ok(());
        for record in template.records(set.body) {
            match record {
                Ok(_) if self.aside.valve.next_of(1).is_none() => count += 1,
                Ok(bytes) => {
                    let places = template.places(bytes, self.places);
                    let record = Records { bytes, stride: bytes.len() };
                    append(self.batch, record, plan, places, &self.header);
                    count += 1;
                }
                Err(reason) => end = Err(reason),
            }
        }
        self.complete(count, set.id);
        end.map(|()| count)
    }

    /// Counts options data, and notes what it says of the exporter's start, of sampling and of names.
    fn options(&mut self, set: &Set<'_>) -> Result<usize, Discard> {
        let template = self.session.templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        let mut count = 0;
        let mut end = Ok(());
        let mut learned = self.header.uptime;
        for record in template.records(set.body) {
            match record {
                Ok(record) => {
                    count += 1;
                    if let Some(plan) = template.told() {
                        let rates = &mut self.session.extra.rates;
                        self.aside.note(&plan.read(record), rates, &self.header, self.counters);
                    }
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

    /// Completes the rows of `seen` records, those that were kept, by what is known of them all.
    fn complete(&mut self, seen: usize, template: u16) {
        let (begin, rows) = (self.batch.received_ms.len(), self.batch.rows());
        self.batch.received_ms.resize(rows, self.header.received_ms);
        self.batch.exporter.resize(rows, self.header.exporter);
        self.batch.observation_domain.resize(rows, self.header.domain);
        let rates = &self.session.extra.rates;
        rates.fill(self.batch, begin..rows, template, self.header.sampling);
        let one_in = self.aside.valve.one_in();
        if one_in > 1 {
            self.batch.kept_one_in.resize(begin, 0);
            self.batch.kept_one_in.resize(rows, one_in);
            self.counters.discard(Discard::SampledOut, (seen - (rows - begin)) as u64);
        }
        self.counters.records_decoded.add(seen as u64);
        self.session.records += seen as u64;
    }
}

/// Appends the records that the valve keeps. All have one length, and so their values one place.
fn append_kept(
    batch: &mut Batch,
    valve: &mut Valve,
    records: Records<'_>,
    plan: &FieldPlan,
    header: &Header,
) {
    if valve.one_in() == 1 {
        return append(batch, records, plan, &plan.places, header);
    }
    let mut rest = records;
    while let Some(at) = valve.next_of(rest.len()) {
        let (kept, behind) = rest.split(at);
        append(batch, kept, plan, &plan.places, header);
        rest = behind;
    }
}

/// The exporter's start, when this options record says it.
fn boot_ms(template: &Template, record: &[u8], places: &mut Vec<Place>) -> Option<u64> {
    let boot = template.plan().times.boot?;
    let place = template.places(record, places)[usize::from(boot)];
    let boot_ms = Records { bytes: record, stride: record.len() }.number(place);
    (boot_ms != 0).then_some(boot_ms)
}
