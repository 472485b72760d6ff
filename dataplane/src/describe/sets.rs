//! The sets of NetFlow v9 and IPFIX.

use super::complaint::Kind;
use super::description::{Content, Effect, Late, Octets, Set, Template};
use super::learned::Learned;
use super::record;
use super::teller::{Step, Teller};
use super::template;
use super::waiting::{Held, Waiting};
use crate::Discard;
use crate::session::{Session, Taken};
use crate::wire::Protocol;
use crate::wire::set::{self, SetKind, Sets, TemplateRecords};

/// What one message is described with.
pub(super) struct Reader<'a> {
    pub(super) session: &'a mut Session<Learned>,
    pub(super) waiting: &'a mut Waiting,
    pub(super) teller: &'a mut Teller,
    /// The datagram's.
    pub(super) number: u64,
    pub(super) late: &'a mut Vec<Late>,
}

/// The sets, the data records (`None` when they could not all be counted), and where the last set
/// ends in the datagram.
pub(super) type Described = (Vec<Set>, Option<u32>, usize);

impl Reader<'_> {
    /// Describes the sets in `body`. `count` is what NetFlow v9's header says of the records.
    pub(super) fn describe(
        &mut self,
        body: &Octets,
        sets: Sets<'_>,
        count: Option<u16>,
    ) -> Described {
        let mut described = Vec::new();
        let mut records = Some(0u32);
        let mut at = 0;
        for set in sets {
            let Ok(set) = set else {
                self.complain_of_length(&body.from(at));
                records = None;
                at = body.len();
                break;
            };
            let length = set::HEADER_LENGTH + set.body.len();
            let octets = body.part(at..at + length);
            at += length;
            self.teller.enter(Step::Set(described.len() + 1));
            let (set, counted) = self.set(&set, octets, described.len() + 1);
            self.teller.leave();
            records = records.zip(counted).map(|(sum, n)| sum.wrapping_add(n as u32));
            described.push(set);
        }
        if let (Some(count), Some(records)) = (count, records) {
            self.complain_of_count(count, records, &described, body);
        }
        (described, records, body.offset() + at)
    }

    /// A set, and how many data records it holds.
    fn set(&mut self, set: &set::Set<'_>, octets: Octets, place: usize) -> (Set, Option<usize>) {
        let protocol = self.session.key.protocol;
        let body = octets.from(set::HEADER_LENGTH);
        let mut counted = Some(0);
        let (content, end) = match set.kind(protocol) {
            SetKind::Data => {
                let read = self.data(set.id, &body, &octets, place);
                counted = read.2;
                (read.0, read.1)
            }
            SetKind::Templates | SetKind::OptionsTemplates => self.templates(set, &body),
            SetKind::Reserved => {
                let (text, rule) = reserved(protocol, set.id);
                self.teller.say(Kind::SetReserved, octets.range(), &text, rule);
                (Content::Reserved, body.len())
            }
        };
        let padding = body.from(end);
        if padding.iter().any(|&byte| byte != 0) {
            let text = format!("the {} octets of padding are not all zero", padding.len());
            self.teller.say(Kind::Padding, padding.range(), &text, padding_rule(protocol));
        }
        if body.is_empty() && matches!(content, Content::Data { .. } | Content::Templates(_)) {
            let rule = if protocol == Protocol::Ipfix { "RFC 7011, Section 3.3" } else { "" };
            self.teller.say(Kind::SetEmpty, octets.range(), "it holds no record", rule);
        }
        (Set { id: set.id.into(), octets, content, padding }, counted)
    }

    /// The content of a data set, where its records end, and how many they are.
    fn data(
        &mut self,
        id: u16,
        body: &Octets,
        set: &Octets,
        place: usize,
    ) -> (Content, usize, Option<usize>) {
        let mut reader = record::Reader {
            protocol: self.session.key.protocol,
            templates: &self.session.templates,
            learned: &self.session.extra,
            teller: self.teller,
        };
        let Some(shape) = reader.shape(id) else {
            let held = Held { number: self.number, place, set: set.clone() };
            self.waiting.keep(self.session.key, id, held);
            let rule = match self.session.key.protocol {
                Protocol::Ipfix => "RFC 7011, Section 8",
                _ => "RFC 3954, Section 9",
            };
            let text = format!("template {id} has not come yet; {} octets of data", body.len());
            self.teller.say(Kind::UnknownTemplate, set.range(), &text, rule);
            return (Content::Unknown, body.len(), None);
        };
        let options = shape.template.options;
        let whole = shape.template.records(body).all(|record| record.is_ok());
        let (records, end) = reader.records(&shape, body);
        let counted = whole.then_some(records.len());
        if options {
            records.iter().for_each(|record| self.session.extra.take(record));
        }
        (Content::Data { options, records }, end, counted)
    }

    /// The content of a set of templates, and where its records end.
    fn templates(&mut self, set: &set::Set<'_>, body: &Octets) -> (Content, usize) {
        let protocol = self.session.key.protocol;
        let mut described = Vec::new();
        let mut end = 0;
        let mut records = TemplateRecords::new(protocol, set);
        loop {
            let fault = records.fault();
            let Some(read) = records.next() else { break };
            let Ok(record) = read else {
                let options = set.kind(protocol) == SetKind::OptionsTemplates;
                if let Some(fault) = fault {
                    let (text, rule) = template::fault(protocol, options, fault);
                    let rest = body.from(end).range();
                    self.teller.say(Kind::TemplateMalformed, rest, &text, rule);
                }
                end = body.len();
                break;
            };
            let octets = body.from(end);
            end += record.bytes.len();
            let learned = &self.session.extra;
            let mut template = template::describe(protocol, &record, &octets, learned);
            self.teller.enter(Step::Template(record.id));
            self.take(&record, &mut template);
            self.teller.leave();
            described.push(template);
        }
        (Content::Templates(described), end)
    }

    /// Lets the session learn what a template record says.
    fn take(&mut self, record: &set::TemplateRecord<'_>, template: &mut Template) {
        let protocol = self.session.key.protocol;
        let reliable = self.session.key.transport.is_reliable();
        let at = template.octets.range();
        let taken = self.session.take(record);
        template.effect = match taken {
            Ok(Taken::New) => Effect::New,
            Ok(Taken::Same) => Effect::Same,
            Ok(Taken::Changed) => Effect::Changed,
            Ok(Taken::Withdrawn) => Effect::Withdrawn,
            Ok(Taken::Nothing) => Effect::Nothing,
            Err(_) => Effect::Refused,
        };
        match taken {
            Ok(Taken::New) => template::complain(protocol, template, self.teller),
            Ok(Taken::Changed) => {
                let text = match reliable {
                    true => "its id meant something else, which was not withdrawn",
                    false => "its id meant something else before",
                };
                self.teller.say(Kind::TemplateChanged, at, text, "RFC 7011, Section 8.1");
                template::complain(protocol, template, self.teller);
            }
            Ok(Taken::Withdrawn) => {}
            Ok(Taken::Nothing) if reliable => {
                let text = "it withdraws what was not there";
                self.teller.say(Kind::Withdrawal, at, text, "RFC 7011, Section 8.1");
            }
            Ok(Taken::Nothing) => {
                let text = "a withdrawal came over UDP, where templates only expire; it is ignored";
                self.teller.say(Kind::Withdrawal, at, text, "RFC 7011, Section 8.4");
            }
            Ok(Taken::Same) => {}
            Err(Discard::TemplateMalformed) => {
                let text = "its records have no octets, or it has more fields than weir reads";
                self.teller.say(Kind::TemplateMalformed, at, text, "");
            }
            Err(reason) => self.teller.say(Kind::TemplateRefused, at, reason.meaning(), ""),
        }
        if taken == Ok(Taken::New) {
            self.release(record.id);
        }
    }

    /// Describes what has waited for this template.
    fn release(&mut self, id: u16) {
        for held in self.waiting.release(self.session.key, id) {
            let body = held.set.from(set::HEADER_LENGTH);
            self.teller.enter(Step::Earlier(held.number));
            self.teller.enter(Step::Set(held.place));
            let (content, end, _) = self.data(id, &body, &held.set, held.place);
            self.teller.leave();
            self.teller.leave();
            let set = Set { id: id.into(), padding: body.from(end), content, octets: held.set };
            self.late.push(Late { number: held.number, set });
        }
    }

    fn complain_of_length(&mut self, rest: &Octets) {
        let (id, length) = set::claimed(rest);
        let text = if usize::from(length) < set::HEADER_LENGTH {
            format!("set {id} says that it has {length} octets, and its header alone has four")
        } else {
            format!("set {id} says that it has {length} octets, and {} are left", rest.len())
        };
        let rule = match self.session.key.protocol {
            Protocol::Ipfix => "RFC 7011, Section 3.3.2",
            _ => "RFC 3954, Section 5.2",
        };
        self.teller.say(Kind::SetLength, rest.range(), &text, rule);
    }

    fn complain_of_count(&mut self, count: u16, records: u32, sets: &[Set], body: &Octets) {
        let templates: usize = sets.iter().map(|set| set.templates().len()).sum();
        let all = records as usize + templates;
        if usize::from(count) != all {
            let text = format!(
                "the header counts {count} records; there are {all} (templates: {templates}, data: {records}) in {} FlowSets",
                sets.len()
            );
            let at = 0..body.offset();
            self.teller.say(Kind::RecordCount, at, &text, "RFC 3954, Section 5.1");
        }
    }
}

fn padding_rule(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ipfix => "RFC 7011, Section 3.3.1",
        _ => "RFC 3954, Section 5.3",
    }
}

fn reserved(protocol: Protocol, id: u16) -> (String, &'static str) {
    match (protocol, id) {
        (Protocol::Ipfix, 0 | 1) => (
            format!("set id {id} is NetFlow v9's and not used in IPFIX"),
            "RFC 7011, Section 3.3.2",
        ),
        (Protocol::Ipfix, _) => {
            (format!("set id {id} is reserved: 4 to 255 are"), "RFC 7011, Section 3.3.2")
        }
        _ => (format!("FlowSet id {id} is reserved: 2 to 255 are"), "RFC 3954, Section 5.2"),
    }
}
