//! Template records, and what is wrong with them.

use super::Effect;
use super::complaint::Kind;
use super::description::{Octets, Specifier, Template};
use super::learned::Learned;
use super::names;
use super::teller::{Step, Teller};
use crate::element::DataType;
use crate::template;
use crate::wire::Protocol;
use crate::wire::set::{Set, TemplateFault, TemplateRecord, TemplateRecords, templates_id};

/// Describes a template record that stands at the head of `octets`.
pub(super) fn describe(
    protocol: Protocol,
    record: &TemplateRecord<'_>,
    octets: &Octets,
    learned: &Learned,
) -> Template {
    let octets = octets.part(0..record.bytes.len());
    let mut at = octets.len() - record.specifiers().map(<[u8]>::len).sum::<usize>();
    let fields = record.fields().zip(record.specifiers()).enumerate();
    let fields = fields.map(|(index, (field, bytes))| {
        let scope = index < usize::from(record.scope_count);
        let what = names::of_specifier(protocol, &field, scope, learned);
        let length = (!field.is_variable()).then_some(field.length);
        at += bytes.len();
        Specifier { what, length, scope, octets: octets.part(at - bytes.len()..at) }
    });
    let fields = fields.collect();
    let (id, options, withdrawal) = (record.id, record.options, record.withdrawal);
    Template { id, options, withdrawal, fields, octets, effect: Effect::Nothing }
}

/// Describes a template that is known.
pub(super) fn of_known(
    protocol: Protocol,
    known: &template::Template,
    learned: &Learned,
) -> Template {
    let set = Set { id: templates_id(protocol, known.options), body: &known.record };
    let record = TemplateRecords::new(protocol, &set).next();
    let record = record.expect("it is a record").expect("it was read when it was learned");
    let octets = Octets::new(&known.record);
    Template { effect: Effect::Same, ..describe(protocol, &record, &octets, learned) }
}

/// Says what is odd about a template's fields.
pub(super) fn complain(protocol: Protocol, template: &Template, teller: &mut Teller) {
    for field in &template.fields {
        teller.enter(Step::Field(field.what.name.clone()));
        if field.what.kind.is_none() {
            let text = "weir does not know this element; its values are shown as they stand";
            teller.say(Kind::UnknownElement, field.octets.range(), text, "");
        }
        if let (Some(kind), Some(length)) = (field.what.kind, field.length)
            && let Some(text) = length_fault(protocol, kind, length)
        {
            let rule = if protocol == Protocol::Ipfix { "RFC 7011, Section 6.2" } else { "" };
            teller.say(Kind::FieldLength, field.octets.range(), &text, rule);
        }
        if field.length.is_none() && protocol != Protocol::Ipfix {
            let text =
                "NetFlow v9 has no fields of variable length; it is read as IPFIX writes them";
            teller.say(Kind::FieldLength, field.octets.range(), text, "RFC 3954, Section 5.2");
        }
        teller.leave();
    }
}

/// Why values of a type cannot have this length. NetFlow v9 has no rule for it, so only what cannot
/// be read is said of it.
fn length_fault(protocol: Protocol, kind: DataType, length: u16) -> Option<String> {
    use DataType::*;
    let (least, most) = match kind {
        Unsigned8 | Boolean => (1, 1),
        Unsigned16 => (1, 2),
        Unsigned32 | Signed32 => (1, 4),
        Unsigned64 => (1, 8),
        Unsigned256 => (1, 32),
        Float64 => (4, 8),
        MacAddress => (6, 6),
        Ipv4Address | DateTimeSeconds => (4, 4),
        Ipv6Address => (16, 16),
        DateTimeMilliseconds | DateTimeMicroseconds | DateTimeNanoseconds => (8, 8),
        OctetArray | String => return None,
        BasicList => (5, u16::MAX),
        SubTemplateList => (3, u16::MAX),
        SubTemplateMultiList => (1, u16::MAX),
    };
    let numeric = matches!(kind, Unsigned8 | Unsigned16 | Unsigned32 | Unsigned64 | Signed32)
        || matches!(kind, DateTimeSeconds | DateTimeMilliseconds);
    let (least, most) = if numeric && protocol != Protocol::Ipfix { (1, 8) } else { (least, most) };
    if (least..=most).contains(&length) {
        return None;
    }
    let name = names::data_type(kind);
    Some(if least == most {
        format!("a value of type {name} has {least} octets, not {length}")
    } else if length < least {
        format!("a value of type {name} has at least {least} octets, not {length}")
    } else {
        format!("a value of type {name} has at most {most} octets, not {length}")
    })
}

/// What is wrong with a record that cannot be read, and the rule that it breaks.
pub(super) fn fault(
    protocol: Protocol,
    options: bool,
    fault: TemplateFault,
) -> (String, &'static str) {
    let ipfix = protocol == Protocol::Ipfix;
    let rule = match (ipfix, options) {
        (true, false) => "RFC 7011, Section 3.4.1",
        (true, true) => "RFC 7011, Section 3.4.2.2",
        (false, false) => "RFC 3954, Section 5.2",
        (false, true) => "RFC 3954, Section 6.1",
    };
    let text = match fault {
        TemplateFault::Id(id) => format!("{id} is no template id: they begin with 256"),
        TemplateFault::NoFields => "it has no fields".to_owned(),
        TemplateFault::Scope(scope, fields) => {
            format!("{scope} of its {fields} fields are its scope")
        }
        TemplateFault::Uneven(scope, options) => format!(
            "{scope} octets of scope fields and {options} of options fields are no whole fields"
        ),
        TemplateFault::HeaderCutShort => "the set ends before the record's header does".to_owned(),
        TemplateFault::FieldsCutShort(fields) => {
            format!("the set ends before the record's {fields} fields do")
        }
    };
    (text, rule)
}
