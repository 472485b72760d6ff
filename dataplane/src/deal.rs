//! Dealing one message out: its templates and options data to every slave, its flow data records
//! one by one.
//!
//! A [`Dealer`] lives for one message; it borrows what the mediator owns. Every record it takes
//! ends in an open message or in a counted discard.

use std::net::SocketAddr;

use crate::counter::Counters;
use crate::encode::{Encoder, Header, Item, Kind, Route};
use crate::io::Transmit;
use crate::session::SessionId;
use crate::steer::Steer;
use crate::template::{Change, Template, TemplateStore};
use crate::wire::set::{Set, SetKind, Sets, TemplateRecord, TemplateRecords};
use crate::wire::{Message, Protocol};
use crate::{Discard, Timestamp};

/// A slave's message would be ambiguous with up to three bytes of padding after records as short.
const PADDING_MAX: usize = 3;

/// What one message brought, for the sequence check and the counters.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) flows: u32,
    pub(crate) options: u32,
    /// Some set could not be read, so the number of its records is unknown.
    pub(crate) unknown: bool,
}

impl Seen {
    fn count(&mut self, template: &Template) {
        if template.options {
            self.options += 1;
        } else {
            self.flows += 1;
        }
    }

    /// Units that the message adds to its session's sequence; `None` when they can't be told.
    pub(crate) fn units(&self, protocol: Protocol) -> Option<u32> {
        match protocol {
            Protocol::Netflow5 => Some(self.flows),
            Protocol::Netflow9 => Some(1),
            Protocol::Ipfix => (!self.unknown).then_some(self.flows + self.options),
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
}

impl<T: Transmit> Dealer<'_, T> {
    /// Deals everything in a message; what can't be read is counted.
    pub(crate) fn message(&mut self, message: &Message<'_>, templates: &mut TemplateStore) -> Seen {
        let mut seen = Seen::default();
        let protocol = message.protocol();
        let sets = match sets(message) {
            Ok(sets) => sets,
            Err(packet) => {
                packet.records().for_each(|record| self.deal(&flow(None, record)));
                seen.flows = u32::from(packet.count());
                return seen;
            }
        };
        for set in sets {
            let mut holds_data = true;
            let outcome = set.and_then(|set| match set.kind(protocol) {
                SetKind::Templates | SetKind::OptionsTemplates => {
                    holds_data = false;
                    self.templates(protocol, templates, &set)
                }
                SetKind::Data => self.data(templates, &set, &mut seen),
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
        let sets = match sets(message) {
            Ok(sets) => sets,
            Err(packet) => return packet.records().for_each(|r| self.deal(&flow(None, r))),
        };
        for set in sets.flatten() {
            let Some(template) = templates.get(set.id).filter(|t| !t.options) else { continue };
            for record in template.records(set.body).flatten() {
                self.deal(&flow(Some(template), record));
            }
        }
    }

    /// Learns and passes on the templates of a set.
    fn templates(
        &mut self,
        protocol: Protocol,
        templates: &mut TemplateStore,
        set: &Set<'_>,
    ) -> Result<(), Discard> {
        let outcome = learn(self.counters, protocol, templates, set, |record, changed| {
            if changed {
                // What is open under the old meaning leaves first: an open message can then always
                // be read with the session's live templates.
                self.encoder.flush_records(self.io, self.session);
            }
            self.broadcast(&Item {
                kind: Kind::Template,
                set: set.id,
                bytes: record.bytes,
                bound: false,
                pads: true,
            });
        });
        if outcome.is_err() {
            // A refused redefinition has taken the old one with it.
            self.encoder.flush_records(self.io, self.session);
        }
        outcome
    }

    fn data(
        &mut self,
        templates: &TemplateStore,
        set: &Set<'_>,
        seen: &mut Seen,
    ) -> Result<(), Discard> {
        let template = templates.get(set.id).ok_or(Discard::UnknownTemplate)?;
        for record in template.records(set.body) {
            let record = record?;
            seen.count(template);
            if template.options {
                self.broadcast(&Item { kind: Kind::Options, ..flow(Some(template), record) });
            } else {
                self.deal(&flow(Some(template), record));
            }
        }
        Ok(())
    }

    /// Gives a flow data record to the slave whose turn it is.
    fn deal(&mut self, item: &Item<'_>) {
        let outcome = match self.steer.deal(self.source.ip()) {
            Some(slave) => self.append(slave, item),
            None => Err(Discard::RecordNoSlave),
        };
        if let Err(reason) = outcome {
            self.counters.discard(reason, 1);
        }
    }

    /// Gives a record to every slave. One that it can't be given to gets it with the exporter's
    /// next refresh; only flow data records have a counter of their own.
    fn broadcast(&mut self, item: &Item<'_>) {
        for turn in 0.. {
            let Some(&slave) = self.steer.eligible(self.source.ip()).get(turn) else { break };
            if self.append(slave, item).is_err() {
                self.counters.broadcasts_failed.add(1);
                if item.kind == Kind::Template {
                    self.encoder.untold(self.session, slave);
                }
            }
        }
    }

    fn append(&mut self, slave: u16, item: &Item<'_>) -> Result<(), Discard> {
        let route = Route { session: self.session, slave, source: self.source, port: self.port };
        self.encoder.append(self.io, &route, &self.header, item, self.now)
    }
}

/// A flow data record as an item; v5's have no template.
fn flow<'a>(template: Option<&Template>, record: &'a [u8]) -> Item<'a> {
    match template {
        None => Item { kind: Kind::Flow, set: 0, bytes: record, bound: true, pads: false },
        Some(template) => Item {
            kind: Kind::Flow,
            set: template.id,
            bytes: record,
            bound: template.bound_to_header,
            pads: template.min_length > PADDING_MAX,
        },
    }
}

/// The sets of a message, or the v5 packet that has none.
fn sets<'a, 'm>(
    message: &'m Message<'a>,
) -> Result<Sets<'a>, &'m crate::wire::netflow5::Packet<'a>> {
    match message {
        Message::Netflow5(packet) => Err(packet),
        Message::Netflow9(packet) => Ok(packet.sets()),
        Message::Ipfix(message) => Ok(message.sets()),
    }
}

/// Takes the templates of a set into a session's store; each that was taken goes to `each`, with
/// whether it changed the meaning of its id.
///
/// # Errors
/// The first reason for which a template of the set could not be taken; those before it were.
fn learn(
    counters: &Counters,
    protocol: Protocol,
    templates: &mut TemplateStore,
    set: &Set<'_>,
    mut each: impl FnMut(&TemplateRecord<'_>, bool),
) -> Result<(), Discard> {
    let mut outcome = Ok(());
    for record in TemplateRecords::new(protocol, set) {
        let taken = record.and_then(|record| {
            let changed = take(protocol, templates, &record)?;
            if record.withdrawal && !changed {
                return Ok(());
            }
            counters.templates_received.add(u64::from(!record.withdrawal));
            each(&record, changed);
            Ok(())
        });
        outcome = outcome.and(taken);
    }
    outcome
}

/// Takes one template record or withdrawal; whether it changed the meaning of an id.
fn take(
    protocol: Protocol,
    templates: &mut TemplateStore,
    record: &TemplateRecord<'_>,
) -> Result<bool, Discard> {
    if record.withdraws_all() {
        return Ok(templates.withdraw_all(record.options));
    }
    if record.withdrawal {
        return Ok(templates.withdraw(record.id));
    }
    Ok(templates.learn(protocol, record)? == Change::Changed)
}

/// Reads a message that is handed on as it is: its templates are learned, its records counted.
/// Nothing ends here, so nothing is discarded.
pub(crate) fn listen_in(
    counters: &Counters,
    message: &Message<'_>,
    templates: &mut TemplateStore,
) -> Seen {
    let mut seen = Seen::default();
    let protocol = message.protocol();
    let sets = match sets(message) {
        Ok(sets) => sets,
        Err(packet) => return Seen { flows: u32::from(packet.count()), ..seen },
    };
    for set in sets {
        let outcome = set.and_then(|set| match set.kind(protocol) {
            SetKind::Templates | SetKind::OptionsTemplates => {
                learn(counters, protocol, templates, &set, |_, _| ())
            }
            SetKind::Data => {
                let template = templates.get(set.id).ok_or(Discard::UnknownTemplate);
                let outcome = template.and_then(|template| {
                    template.records(set.body).try_for_each(|r| r.map(|_| seen.count(template)))
                });
                seen.unknown |= outcome.is_err();
                Ok(())
            }
            SetKind::Reserved => Ok(()),
        });
        seen.unknown |= outcome == Err(Discard::SetLength);
    }
    seen
}
