//! What options data tells of samplers, interfaces, applications, VRFs and elements.
//!
//! An options template is compiled once into the places of the few fields that matter here, so that
//! reading a record takes a step for each of them, and one for each field of variable length. What a
//! record speaks of is taken wherever it stands, in the scope or behind it: many exporters give their
//! tables the scope "system" and put the sampler's or the interface's number among the options.

use weir_store::names::NameKind;

use crate::budget::heap;
use crate::template::{Place, variable_value};
use crate::wire::set::{FieldSpecifier, TemplateRecord};
use crate::wire::{Protocol, ipfix};

/// What a field of options data is good for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Word {
    // What a record speaks of.
    Domain,
    Sampler,
    Interface,
    Template,
    Application,
    Vrf,
    Enterprise,
    Element,
    // How packets are sampled.
    Interval,
    RandomInterval,
    PacketInterval,
    PacketSpace,
    TimeInterval,
    TimeSpace,
    Size,
    Population,
    Probability,
    // What something is called.
    InterfaceName,
    InterfaceDescription,
    ApplicationName,
    ApplicationDescription,
    VrfName,
    ElementName,
}

const WORDS: usize = Word::ElementName as usize + 1;

impl Word {
    /// Of a field; a scope of v9 is a number of its own (RFC 3954, Section 6.1), but for exporters
    /// that put an element's number there.
    fn of(protocol: Protocol, field: &FieldSpecifier, is_scope: bool) -> Option<Word> {
        if field.enterprise != 0 || field.length == 0 {
            return None;
        }
        if protocol == Protocol::Netflow9 && is_scope && field.element < 6 {
            return match field.element {
                2 => Some(Word::Interface),
                5 => Some(Word::Template),
                _ => None,
            };
        }
        Some(match field.element {
            149 => Word::Domain,
            48 | 302 => Word::Sampler,
            10 | 14 | 252 | 253 => Word::Interface,
            145 => Word::Template,
            95 => Word::Application,
            234 | 235 => Word::Vrf,
            346 => Word::Enterprise,
            303 => Word::Element,
            34 => Word::Interval,
            50 => Word::RandomInterval,
            305 => Word::PacketInterval,
            306 => Word::PacketSpace,
            307 => Word::TimeInterval,
            308 => Word::TimeSpace,
            309 => Word::Size,
            310 => Word::Population,
            311 => Word::Probability,
            82 => Word::InterfaceName,
            83 => Word::InterfaceDescription,
            96 => Word::ApplicationName,
            94 => Word::ApplicationDescription,
            236 => Word::VrfName,
            341 => Word::ElementName,
            _ => return None,
        })
    }
}

/// Where the fields that matter stand in an options template's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    fields: Box<[Field]>,
    /// Bytes of each run of fixed-length fields; each but the last is followed by a field of
    /// variable length.
    runs: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    word: Word,
    /// The run that it stands in, or that it follows if its length is variable.
    run: u16,
    place: Place,
}

impl Plan {
    /// Of an options template's record; none when it tells nothing that matters.
    pub(crate) fn compile(protocol: Protocol, record: &TemplateRecord<'_>) -> Option<Box<Plan>> {
        let mut fields: Vec<Field> = Vec::new();
        let mut runs = vec![0u32];
        for (index, field) in record.fields().enumerate() {
            let run = runs.len() - 1;
            let is_scope = index < usize::from(record.scope_count);
            if let Some(word) = Word::of(protocol, &field, is_scope)
                && fields.iter().all(|known| known.word != word)
            {
                let place = Place { offset: runs[run], length: field.length };
                fields.push(Field { word, run: run as u16, place });
            }
            if field.is_variable() {
                runs.push(0);
            } else {
                runs[run] += u32::from(field.length);
            }
        }
        let tells = fields.iter().any(|field| field.word as u8 >= Word::Interval as u8);
        tells.then(|| Box::new(Plan { fields: fields.into(), runs: runs.into() }))
    }

    /// Bytes of memory that this takes in its box.
    pub(crate) fn memory(&self) -> usize {
        heap(size_of::<Plan>()) + heap(size_of_val(&*self.fields)) + heap(size_of_val(&*self.runs))
    }

    /// What a record says.
    ///
    /// # Panics
    /// When the record is not one of this template's.
    pub(crate) fn read<'a>(&self, record: &'a [u8]) -> Told<'a> {
        let mut values = [&[][..]; WORDS];
        let mut fields = self.fields.iter().peekable();
        let mut at = 0;
        for (run, &length) in self.runs.iter().enumerate() {
            let end = at + length as usize;
            let variable = variable_value(record, end).unwrap_or(end..end);
            while let Some(field) = fields.next_if(|field| usize::from(field.run) == run) {
                values[field.word as usize] = if field.place.length == ipfix::VARIABLE_LENGTH {
                    &record[variable.clone()]
                } else {
                    let start = at + field.place.offset as usize;
                    &record[start..start + usize::from(field.place.length)]
                };
            }
            if fields.peek().is_none() {
                break;
            }
            at = variable.end;
        }
        Told { values }
    }
}

/// What a record says; an empty value is one that it does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    values: [&'a [u8]; WORDS],
}

/// What a sampling rate is the rate of, within one observation domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that is not spoken of apart.
    All,
    /// A sampler, or a selector.
    Sampler(u64),
    /// An interface.
    Interface(u32),
    /// The records of one template.
    Template(u16),
}

/// What something is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) kind: NameKind,
    pub(crate) id: u64,
    pub(crate) name: &'a [u8],
    pub(crate) description: &'a [u8],
}

impl<'a> Told<'a> {
    fn number(&self, word: Word) -> Option<u64> {
        number(self.values[word as usize])
    }

    fn text(&self, word: Word) -> &'a [u8] {
        text(self.values[word as usize])
    }

    /// The observation domain that it speaks of, where it names one.
    pub(crate) fn domain(&self) -> Option<u32> {
        self.number(Word::Domain).map(|domain| domain as u32)
    }

    /// What is sampled, and that one packet in so many is.
    pub(crate) fn rate(&self) -> Option<(Scope, u32)> {
        let positive = |word| self.number(word).filter(|&number| number > 0);
        let scope = if let Some(sampler) = self.number(Word::Sampler) {
            Scope::Sampler(sampler)
        } else if let Some(interface) = positive(Word::Interface) {
            Scope::Interface(interface as u32)
        } else if let Some(template) = positive(Word::Template) {
            Scope::Template(template as u16)
        } else {
            Scope::All
        };
        self.one_in().map(|rate| (scope, rate))
    }

    /// RFC 5477, Section 8.2: `interval` packets (or microseconds) are taken and `space` left out;
    /// `size` of a `population` are taken; or each with a `probability`. Where the space is not said,
    /// the interval is what Cisco's routers write there, the `N` of "1 out-of N". A rate that is no
    /// whole number is rounded.
    fn one_in(&self) -> Option<u32> {
        let rate = |taken: u64, of: u64| {
            let rate = (u128::from(of) + u128::from(taken) / 2) / u128::from(taken);
            u32::try_from(rate).unwrap_or(u32::MAX).max(1)
        };
        let size = self.number(Word::Size).zip(self.number(Word::Population));
        if let Some((size @ 1.., population @ 1..)) = size {
            return Some(rate(size, population));
        }
        let pairs =
            [(Word::PacketInterval, Word::PacketSpace), (Word::TimeInterval, Word::TimeSpace)];
        for (interval, space) in pairs {
            match (self.number(interval), self.number(space)) {
                (Some(taken @ 1..), Some(left)) => {
                    return Some(rate(taken, taken.saturating_add(left)));
                }
                (Some(n @ 1..), None) => return Some(rate(1, n)),
                _ => {}
            }
        }
        if let Some(probability) = probability(self.values[Word::Probability as usize]) {
            // A quotient beyond 32 bits stops there.
            return Some((1.0 / probability).round().max(1.0) as u32);
        }
        let interval = self.number(Word::RandomInterval).filter(|&n| n > 0);
        interval.or_else(|| self.number(Word::Interval)).map(|n| rate(1, n))
    }

    /// What it names. The index 0 is no interface (RFC 2863, Section 3.1.5).
    pub(crate) fn names(&self) -> impl Iterator<Item = Named<'a>> {
        let element = self.number(Word::Element).map(|element| {
            // The bit of an enterprise's element is not part of its number (RFC 5610, Section 3.9).
            self.number(Word::Enterprise).unwrap_or(0) << 16 | element & 0x7fff
        });
        let application = application(self.values[Word::Application as usize]);
        let interface = self.number(Word::Interface).filter(|&index| index > 0);
        let named = [
            (NameKind::Interface, interface, Word::InterfaceName, Some(Word::InterfaceDescription)),
            (
                NameKind::Application,
                application,
                Word::ApplicationName,
                Some(Word::ApplicationDescription),
            ),
            (NameKind::Vrf, self.number(Word::Vrf), Word::VrfName, None),
            (NameKind::Element, element, Word::ElementName, None),
        ]
        .map(|(kind, id, name, description)| {
            let name = self.text(name);
            let description = description.map_or(&[][..], |word| self.text(word));
            let id = id.filter(|_| !name.is_empty() || !description.is_empty())?;
            Some(Named { kind, id, name, description })
        });
        named.into_iter().flatten()
    }
}

/// A number in network order of up to eight bytes (RFC 7011, Section 6.2).
fn number(bytes: &[u8]) -> Option<u64> {
    (1..=8)
        .contains(&bytes.len())
        .then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// An application's id: the engine in the highest byte, its selector in the others, however many
/// there were (RFC 6759, Section 4.1), of which the lowest seven are kept. Of the engine that names
/// enterprises the enterprise has three of them and its selector four.
pub(crate) fn application(bytes: &[u8]) -> Option<u64> {
    /// PANA-L7-PEN.
    const OF_ENTERPRISES: u8 = 20;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
    let (&engine, rest) = bytes.split_first()?;
    let selector = match rest.split_first_chunk::<4>() {
        Some((enterprise, selector)) if engine == OF_ENTERPRISES => {
            number(enterprise) << 32 | number(selector) & 0xffff_ffff
        }
        _ => number(rest),
    };
    Some(u64::from(engine) << 56 | selector & (u64::MAX >> 8))
}

/// A probability above 0 and up to 1, in four bytes or eight (RFC 7011, Section 6.2).
fn probability(bytes: &[u8]) -> Option<f64> {
    let value = match *bytes {
        [a, b, c, d] => f32::from_be_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    };
    (value > 0.0 && value <= 1.0).then_some(value)
}

/// Text without what fills its field up: it ends at its first NUL, and blanks around it go.
fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::set::{Set, TemplateRecords, templates_id};

    const VARIABLE: u16 = ipfix::VARIABLE_LENGTH;

    fn plan(protocol: Protocol, scope: u16, fields: &[(u16, u16)]) -> Option<Box<Plan>> {
        let count = fields.len() as u16;
        let mut body = match protocol {
            Protocol::Netflow9 => [256, 4 * scope, 4 * (count - scope)],
            _ => [256, count, scope],
        }
        .map(u16::to_be_bytes)
        .concat();
        body.extend(fields.iter().flat_map(|(e, l)| [e.to_be_bytes(), l.to_be_bytes()].concat()));
        let set = Set { id: templates_id(protocol, true), body: &body };
        let record = TemplateRecords::new(protocol, &set).next().unwrap().unwrap();
        Plan::compile(protocol, &record)
    }

    fn ipfix(scope: u16, fields: &[(u16, u16)]) -> Box<Plan> {
        plan(Protocol::Ipfix, scope, fields).unwrap()
    }

    fn v9(scope: u16, fields: &[(u16, u16)]) -> Box<Plan> {
        plan(Protocol::Netflow9, scope, fields).unwrap()
    }

    fn numbers(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    #[test]
    fn a_template_that_tells_nothing_of_these_has_no_plan() {
        assert_eq!(plan(Protocol::Ipfix, 1, &[(143, 4), (160, 8)]), None);
        assert_eq!(plan(Protocol::Netflow9, 1, &[(2, 4), (10, 4), (48, 2)]), None);
        assert_eq!(plan(Protocol::Ipfix, 1, &[(143, 4), (34, 0)]), None);
    }

    #[test]
    fn every_way_of_writing_a_rate_is_read() {
        let told = |fields: &[(u16, u16)], record: &[u8]| {
            let fields = [&[(143, 4)], fields].concat();
            let record = [&[0; 4], record].concat();
            ipfix(1, &fields).read(&record).rate()
        };
        let all = |rate| Some((Scope::All, rate));
        assert_eq!(told(&[(34, 4)], &numbers(&[100])), all(100));
        assert_eq!(told(&[(34, 4), (35, 1)], &[0, 0, 0, 100, 2]), all(100));
        assert_eq!(told(&[(50, 4), (34, 4)], &numbers(&[1000, 7])), all(1000));
        assert_eq!(told(&[(50, 4), (34, 4)], &numbers(&[0, 7])), all(7));
        assert_eq!(told(&[(305, 4), (306, 4)], &numbers(&[1, 9])), all(10));
        assert_eq!(told(&[(305, 4), (306, 4)], &numbers(&[2, 1])), all(2), "1.5 is rounded");
        assert_eq!(told(&[(305, 4)], &numbers(&[512])), all(512), "one out of N");
        assert_eq!(told(&[(307, 4), (308, 4)], &numbers(&[10, 990])), all(100));
        assert_eq!(told(&[(309, 4), (310, 4)], &numbers(&[3, 300])), all(100));
        let both = numbers(&[1, 1, 2000]);
        assert_eq!(told(&[(305, 4), (309, 4), (310, 4)], &both), all(2000));
        assert_eq!(told(&[(311, 8)], &0.01_f64.to_be_bytes()), all(100));
        assert_eq!(told(&[(311, 4)], &0.5_f32.to_be_bytes()), all(2));
        assert_eq!(told(&[(34, 4)], &numbers(&[0])), all(1), "nothing is left out");
    }

    #[test]
    fn no_rate_panics_whatever_the_numbers() {
        for bytes in [[0; 8], [0xff; 8], [0x7f; 8], 1.0e-300_f64.to_be_bytes()] {
            for element in [34, 50, 305, 306, 307, 308, 309, 310, 311] {
                for other in [305, 306, 309, 310] {
                    let plan = ipfix(1, &[(143, 4), (element, 8), (other, 8)]);
                    let record = [&[0; 4][..], &bytes, &bytes].concat();
                    if let Some((_, rate)) = plan.read(&record).rate() {
                        assert!(rate > 0);
                    }
                }
            }
        }
        for wrong in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            let record = [&[0; 4][..], &wrong.to_be_bytes()].concat();
            assert_eq!(ipfix(1, &[(143, 4), (311, 8)]).read(&record).rate(), None);
        }
    }

    #[test]
    fn what_is_sampled_may_stand_in_the_scope_or_behind_it() {
        let by = |plan: Box<Plan>, values: &[u32]| plan.read(&numbers(values)).rate().unwrap().0;
        assert_eq!(by(ipfix(1, &[(302, 4), (305, 4)]), &[7, 9]), Scope::Sampler(7));
        assert_eq!(by(v9(1, &[(1, 4), (48, 4), (50, 4)]), &[0, 7, 9]), Scope::Sampler(7));
        assert_eq!(by(v9(1, &[(1, 4), (10, 4), (34, 4)]), &[0, 7, 9]), Scope::Interface(7));
        assert_eq!(by(v9(1, &[(2, 4), (34, 4)]), &[7, 9]), Scope::Interface(7));
        assert_eq!(by(v9(1, &[(2, 4), (34, 4)]), &[0, 9]), Scope::All, "no interface");
        assert_eq!(by(v9(1, &[(5, 4), (34, 4)]), &[257, 9]), Scope::Template(257));
        assert_eq!(by(v9(1, &[(1, 0), (34, 4)]), &[9]), Scope::All);
        let juniper = ipfix(2, &[(149, 4), (145, 4), (34, 4)]);
        assert_eq!(by(juniper.clone(), &[5, 300, 9]), Scope::Template(300));
        assert_eq!(juniper.read(&numbers(&[5, 300, 9])).domain(), Some(5));
    }

    #[test]
    fn names_are_read_without_what_fills_their_fields() {
        let plan = ipfix(1, &[(10, 4), (14, 4), (83, 8), (82, 8)]);
        let record = [&numbers(&[42, 42])[..], b"uplink\0\0", b" ge-0/0 "].concat();
        let names: Vec<_> = plan.read(&record).names().collect();
        let kind = NameKind::Interface;
        assert_eq!(names, [Named { kind, id: 42, name: b"ge-0/0", description: b"uplink" }]);
        let nameless = [&numbers(&[42, 42])[..], &[0; 16]].concat();
        assert_eq!(plan.read(&nameless).names().count(), 0);
        let of_nothing = [&numbers(&[0, 42])[..], b"uplink\0\0", b"ge-0/0/0"].concat();
        assert_eq!(plan.read(&of_nothing).names().count(), 0);
    }

    #[test]
    fn applications_vrfs_and_elements_have_names_too() {
        let application = ipfix(1, &[(95, 4), (96, VARIABLE), (94, VARIABLE)]);
        let record = [&[13, 0, 1, 2, 3][..], b"dns", &[2], b"hi"].concat();
        let name = application.read(&record).names().next().unwrap();
        assert_eq!(
            (name.id, name.name, name.description),
            (13 << 56 | 258, &b"dns"[..], &b"hi"[..])
        );
        let vrf = v9(1, &[(1, 4), (234, 4), (236, 4)]);
        let record = [&numbers(&[0, 0x6000_0001])[..], b"red\0"].concat();
        let name = vrf.read(&record).names().next().unwrap();
        assert_eq!((name.kind, name.id, name.name), (NameKind::Vrf, 0x6000_0001, &b"red"[..]));
        let element = ipfix(2, &[(346, 4), (303, 2), (339, 1), (341, VARIABLE)]);
        let record = [&numbers(&[9])[..], &[0x80, 5, 4, 3], b"abc"].concat();
        let name = element.read(&record).names().next().unwrap();
        assert_eq!((name.kind, name.id), (NameKind::Element, 9 << 16 | 5));
    }

    #[test]
    fn an_application_of_nine_bytes_keeps_engine_and_the_end_of_its_selector() {
        let bytes = [20, 1, 0, 0, 0x30, 0x44, 0, 0, 7];
        assert_eq!(super::application(&bytes), Some(20 << 56 | 0x0030_4400_0007));
        assert_eq!(super::application(&[]), None);
    }

    #[test]
    fn fields_behind_variable_lengths_are_found() {
        let plan =
            ipfix(1, &[(302, 4), (335, VARIABLE), (305, 2), (84, VARIABLE), (310, 2), (309, 2)]);
        let mut record = numbers(&[7]);
        record.extend([3, b'a', b'b', b'c', 0, 5, 0, 1, 0, 0, 2]);
        assert_eq!(plan.read(&record).rate(), Some((Scope::Sampler(7), 128)));
    }
}
