//! The samples of sFlow.

use super::complaint::Kind;
use super::description::{Content, Field, Octets, Set};
use super::names;
use super::sets::Described;
use super::teller::{Step, Teller};
use crate::wire::sflow::Datagram;

/// The fields of a datagram's header.
pub(super) fn header(datagram: &Datagram<'_>, octets: &Octets) -> Vec<Field> {
    datagram.header_fields().map(|field| names::header_field(&field, octets)).collect()
}

/// Describes the samples of a datagram, one set each.
pub(super) fn describe(datagram: &Datagram<'_>, octets: &Octets, teller: &mut Teller) -> Described {
    let mut end = datagram.header().len();
    let mut sets = Vec::new();
    for sample in datagram.samples() {
        teller.enter(Step::Sample(sets.len() + 1));
        let Ok(sample) = sample else {
            let rest = octets.from(end);
            let text = format!("sample {} leaves the datagram", sets.len() + 1);
            teller.say(Kind::SampleMalformed, rest.range(), &text, "");
            end = octets.len();
            teller.leave();
            break;
        };
        let whole = octets.part(end..end + sample.bytes().len());
        end += sample.bytes().len();
        let padding = whole.from(whole.len());
        sets.push(Set { id: sample.tag(), octets: whole, content: Content::Opaque, padding });
        teller.leave();
    }
    let flows = sets.len() as u32;
    (sets, Some(flows), end)
}
