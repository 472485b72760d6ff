//! The records of NetFlow v1, v5, v6, v7 and v8.

use super::complaint::Kind;
use super::description::{Content, Field, Octets, Record, Set, What};
use super::names;
use super::sets::Described;
use super::teller::{Step, Teller};
use super::value::{self, Value};
use crate::element::DataType;
use crate::wire::fixed::{Layout, Packet};

/// Describes the counted records of a packet as one set.
pub(super) fn describe(packet: &Packet<'_>, octets: &Octets, teller: &mut Teller) -> Described {
    let layout = packet.layout();
    let start = layout.header_length;
    let end = start + packet.body().len();
    let shape = shape(layout);
    let mut records = Vec::new();
    for at in (start..end).step_by(layout.record_length) {
        let record = octets.part(at..at + layout.record_length);
        teller.enter(Step::Record(records.len() + 1));
        records.push(read(&shape, record, teller));
        teller.leave();
    }
    if packet.count() > layout.max_records {
        let text = format!(
            "{} records; the format has at most {} in a packet",
            packet.count(),
            layout.max_records
        );
        teller.say(Kind::RecordCount, 0..start, &text, "");
    }
    let padding = octets.part(end..end);
    let content = Content::Fixed(records);
    let set = Set { id: 0, octets: octets.part(start..end), content, padding };
    (vec![set], Some(packet.count().into()), end)
}

/// The fields of a layout in the order of the record, with what no element says.
fn shape(layout: &Layout) -> Vec<(What, std::ops::Range<usize>)> {
    let known =
        layout.fields.iter().map(|field| (names::of_element(field.element), field.at.clone()));
    let named = layout
        .named()
        .iter()
        .map(|field| (What::named(field.name, names::of_named(field)), field.at.clone()));
    let mut shape: Vec<_> = known.chain(named).collect();
    shape.sort_by_key(|(_, at)| at.start);
    let mut end = 0;
    let mut gaps = Vec::new();
    for (_, at) in &shape {
        gaps.push(end..at.start);
        end = at.end;
    }
    gaps.push(end..layout.record_length);
    let unused = What::named("unused", DataType::OctetArray);
    shape.extend(gaps.into_iter().filter(|gap| !gap.is_empty()).map(|gap| (unused.clone(), gap)));
    shape.sort_by_key(|(_, at)| at.start);
    shape
}

fn read(shape: &[(What, std::ops::Range<usize>)], octets: Octets, teller: &mut Teller) -> Record {
    /// The elements of a flow's first and last moment.
    const ENDS: [u16; 2] = [22, 21];
    let fields: Vec<Field> = shape
        .iter()
        .map(|(what, at)| {
            let octets = octets.part(at.clone());
            let kind = what.kind.unwrap_or(DataType::OctetArray);
            let value = value::read(kind, &octets).unwrap_or(Value::Octets);
            Field { what: what.clone(), scope: false, value, octets }
        })
        .collect();
    let record = Record { fields, octets };
    let moment = |id| match record.field(0, id).map(|field| &field.value) {
        Some(&Value::Unsigned(moment)) => Some(moment as u32),
        _ => None,
    };
    // An uptime wraps, so the nearer way round counts.
    if let [Some(first), Some(last)] = ENDS.map(moment)
        && last.wrapping_sub(first) > 1 << 31
    {
        let text = format!("the flow's first uptime {first} is after its last, {last}");
        teller.say(Kind::Contradiction, record.octets.range(), &text, "");
    }
    record
}
