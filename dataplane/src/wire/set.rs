//! Sets and template records, which NetFlow v9 and IPFIX share but for details.
//!
//! v9 calls a set a FlowSet (RFC 3954, Section 5). The details that differ are here: set ids, the
//! byte lengths in v9's options templates, IPFIX's enterprise bit and withdrawals. Every length is
//! checked against what is present before it is believed, and everything before a lie was used
//! already when the lie is found.

use super::{Protocol, ipfix, netflow9, read_u16, read_u32, write_u16};
use crate::Discard;

/// Bytes of a set's header: id and length.
pub const HEADER_LENGTH: usize = 4;
/// The smallest id of a data set, and so of a template.
pub const FIRST_DATA: u16 = 256;

/// Bytes of a template record's header: id and field count.
const TEMPLATE_HEADER: usize = 4;
/// Bytes of an options template record's header: with the scope's and, in v9, the options' length.
const OPTIONS_HEADER: usize = 6;
/// Bytes of a field specifier without an enterprise number.
const FIELD: usize = 4;
/// The bit of an IPFIX element id that announces an enterprise number (RFC 7011, Section 3.2).
const ENTERPRISE_BIT: u16 = 0x8000;

/// Writes a set's header; `length` counts these four bytes too.
pub fn write_header(bytes: &mut [u8], id: u16, length: u16) {
    write_u16(bytes, 0..2, id);
    write_u16(bytes, 2..4, length);
}

/// The id of the sets that hold templates, or options templates.
pub const fn templates_id(protocol: Protocol, options: bool) -> u16 {
    match (protocol, options) {
        (Protocol::Ipfix, false) => ipfix::SET_TEMPLATES,
        (Protocol::Ipfix, true) => ipfix::SET_OPTIONS_TEMPLATES,
        // The others have no sets.
        (_, false) => netflow9::SET_TEMPLATES,
        (_, true) => netflow9::SET_OPTIONS_TEMPLATES,
    }
}

/// The id and the length in the header of a set, true or not; zeroes where it is cut short.
pub fn claimed(bytes: &[u8]) -> (u16, u16) {
    match bytes {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

/// What a set's id says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// Template records.
    Templates,
    /// Options template records.
    OptionsTemplates,
    /// Data records of the template with the set's id.
    Data,
    /// An id that the protocol keeps for itself.
    Reserved,
}

/// A set whose length was checked.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// The set id; that of its template for a data set.
    pub id: u16,
    /// What follows the set's header, padding included.
    pub body: &'a [u8],
}

impl Set<'_> {
    /// What the body holds, by the rules of `protocol`.
    pub fn kind(&self, protocol: Protocol) -> SetKind {
        let templates = templates_id(protocol, false);
        let options = templates_id(protocol, true);
        match self.id {
            FIRST_DATA.. => SetKind::Data,
            id if id == templates => SetKind::Templates,
            id if id == options => SetKind::OptionsTemplates,
            _ => SetKind::Reserved,
        }
    }
}

/// The sets of a message, in order. After an error it ends.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    rest: &'a [u8],
}

impl<'a> Sets<'a> {
    /// Over what follows a message's header.
    pub fn new(rest: &'a [u8]) -> Self {
        Sets { rest }
    }
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, Discard>;

    /// The next set. Fewer than four bytes are no set and end the message without complaint, since
    /// exporters pad messages as well as sets.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER_LENGTH {
            return None;
        }
        let (id, length) = (read_u16(self.rest, 0..2), usize::from(read_u16(self.rest, 2..4)));
        if length < HEADER_LENGTH || length > self.rest.len() {
            self.rest = &[];
            return Some(Err(Discard::SetLength));
        }
        let (set, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Ok(Set { id, body: &set[HEADER_LENGTH..] }))
    }
}

/// One field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldSpecifier {
    /// The information element, without the enterprise bit; a v9 field type as it stands.
    pub element: u16,
    /// The enterprise number; 0 for IANA's elements and for all of v9.
    pub enterprise: u32,
    /// Bytes of the value, or [`ipfix::VARIABLE_LENGTH`].
    pub length: u16,
}

impl FieldSpecifier {
    /// Whether each value bears its own length.
    pub fn is_variable(&self) -> bool {
        self.length == ipfix::VARIABLE_LENGTH
    }
}

/// The field specifier at the head of these bytes, as IPFIX writes it, and its own length; `None`
/// when it is cut short.
pub fn field_specifier(bytes: &[u8]) -> Option<(FieldSpecifier, usize)> {
    let length = if bytes.first()? & 0x80 != 0 { 2 * FIELD } else { FIELD };
    let mut fields = Fields { rest: bytes.get(..length)?, enterprise_bit: true };
    fields.next().map(|field| (field, length))
}

/// A template record whose field specifiers are all present.
#[derive(Clone, Copy, Debug)]
pub struct TemplateRecord<'a> {
    /// The template id; for a withdrawal of all templates the set id, 2 or 3.
    pub id: u16,
    /// Whether this is an options template.
    pub options: bool,
    /// How many of the first fields are the scope; 0 but for options templates.
    pub scope_count: u16,
    /// Whether this withdraws the template (IPFIX only; RFC 7011, Section 8.1).
    pub withdrawal: bool,
    /// The record as it stands on the wire, to be emitted again.
    pub bytes: &'a [u8],
    enterprise_bit: bool,
    specifiers: &'a [u8],
}

impl<'a> TemplateRecord<'a> {
    /// The fields in their order, scope first.
    pub fn fields(&self) -> Fields<'a> {
        Fields { rest: self.specifiers, enterprise_bit: self.enterprise_bit }
    }

    /// The specifiers' bytes, one for each of [`TemplateRecord::fields`].
    pub fn specifiers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut fields, whole) = (self.fields(), self.specifiers);
        std::iter::from_fn(move || {
            let start = whole.len() - fields.rest.len();
            fields.next()?;
            Some(&whole[start..whole.len() - fields.rest.len()])
        })
    }

    /// Whether this withdraws every template, or every options template, of its session.
    pub fn withdraws_all(&self) -> bool {
        self.withdrawal && self.id < FIRST_DATA
    }
}

/// The field specifiers of a checked template record.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    enterprise_bit: bool,
}

impl Iterator for Fields<'_> {
    type Item = FieldSpecifier;

    fn next(&mut self) -> Option<FieldSpecifier> {
        if self.rest.is_empty() {
            return None;
        }
        let (element, length) = (read_u16(self.rest, 0..2), read_u16(self.rest, 2..4));
        if self.enterprise_bit && element & ENTERPRISE_BIT != 0 {
            let enterprise = read_u32(self.rest, 4..8);
            self.rest = &self.rest[2 * FIELD..];
            let element = element & !ENTERPRISE_BIT;
            return Some(FieldSpecifier { element, enterprise, length });
        }
        self.rest = &self.rest[FIELD..];
        Some(FieldSpecifier { element, enterprise: 0, length })
    }
}

/// Why a template record cannot be read. On the packet path all of them are
/// [`Discard::TemplateMalformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateFault {
    /// Ids below 256 are those of sets.
    Id(u16),
    /// It has no fields (NetFlow v9, which has no withdrawals).
    NoFields,
    /// So many of so many fields are the scope: none, or more than there are (IPFIX).
    Scope(u16, u16),
    /// So many bytes of scope and of options fields, which are no whole fields (NetFlow v9).
    Uneven(u16, u16),
    /// The set ends before the record's own header does.
    HeaderCutShort,
    /// The set ends before so many fields do.
    FieldsCutShort(usize),
}

/// The template records of a template set or options template set. After an error it ends.
#[derive(Clone, Debug)]
pub struct TemplateRecords<'a> {
    rest: &'a [u8],
    ipfix: bool,
    options: bool,
    set_id: u16,
}

impl<'a> TemplateRecords<'a> {
    /// Over a set of kind [`SetKind::Templates`] or [`SetKind::OptionsTemplates`].
    pub fn new(protocol: Protocol, set: &Set<'a>) -> Self {
        TemplateRecords {
            rest: set.body,
            ipfix: protocol == Protocol::Ipfix,
            options: set.kind(protocol) == SetKind::OptionsTemplates,
            set_id: set.id,
        }
    }

    /// Why the next record cannot be read; `None` when it can, or there is none.
    pub fn fault(&self) -> Option<TemplateFault> {
        if self.is_padding() { None } else { self.record().err() }
    }

    /// Whether what is left is too short for a record, or all zeroes.
    fn is_padding(&self) -> bool {
        self.rest.len() < TEMPLATE_HEADER
            || (self.rest[0] == 0 && self.rest.iter().all(|&byte| byte == 0))
    }

    fn record(&self) -> Result<TemplateRecord<'a>, TemplateFault> {
        let id = read_u16(self.rest, 0..2);
        if self.ipfix && read_u16(self.rest, 2..4) == 0 {
            return self.withdrawal(id);
        }
        if id < FIRST_DATA {
            return Err(TemplateFault::Id(id));
        }
        let header = if self.options { OPTIONS_HEADER } else { TEMPLATE_HEADER };
        let (field_count, scope_count) = self.counts()?;
        let specifiers = self.rest.get(header..).ok_or(TemplateFault::HeaderCutShort)?;
        let specifiers = self.specifiers(specifiers, field_count)?;
        Ok(TemplateRecord {
            id,
            options: self.options,
            scope_count,
            withdrawal: false,
            bytes: &self.rest[..header + specifiers.len()],
            enterprise_bit: self.ipfix,
            specifiers,
        })
    }

    /// RFC 7011, Section 8.1: a field count of zero withdraws; the set's own id means all of them.
    fn withdrawal(&self, id: u16) -> Result<TemplateRecord<'a>, TemplateFault> {
        if id < FIRST_DATA && id != self.set_id {
            return Err(TemplateFault::Id(id));
        }
        Ok(TemplateRecord {
            id,
            options: self.options,
            scope_count: 0,
            withdrawal: true,
            bytes: &self.rest[..TEMPLATE_HEADER],
            enterprise_bit: true,
            specifiers: &[],
        })
    }

    /// Fields and, among them, scope fields. v9 gives an options template's lengths in bytes
    /// (RFC 3954, Section 6.1), IPFIX both as counts (RFC 7011, Section 3.4.2.2).
    fn counts(&self) -> Result<(usize, u16), TemplateFault> {
        let second = read_u16(self.rest, 2..4);
        if !self.options {
            return if second == 0 { Err(TemplateFault::NoFields) } else { Ok((second.into(), 0)) };
        }
        if self.rest.len() < OPTIONS_HEADER {
            return Err(TemplateFault::HeaderCutShort);
        }
        let third = read_u16(self.rest, 4..6);
        if self.ipfix {
            let scope_is_right = third != 0 && third <= second;
            return if scope_is_right {
                Ok((second.into(), third))
            } else {
                Err(TemplateFault::Scope(third, second))
            };
        }
        let (scope, options) = (usize::from(second), usize::from(third));
        if !scope.is_multiple_of(FIELD) || !options.is_multiple_of(FIELD) {
            return Err(TemplateFault::Uneven(second, third));
        }
        if scope + options == 0 {
            return Err(TemplateFault::NoFields);
        }
        Ok(((scope + options) / FIELD, second / FIELD as u16))
    }

    /// The first `count` specifiers at the head of `bytes`, once it is sure that they are there.
    fn specifiers(&self, bytes: &'a [u8], count: usize) -> Result<&'a [u8], TemplateFault> {
        let mut end = 0;
        if self.ipfix {
            for _ in 0..count {
                let high = bytes.get(end).ok_or(TemplateFault::FieldsCutShort(count))?;
                end += if high & 0x80 != 0 { 2 * FIELD } else { FIELD };
            }
        } else {
            end = count * FIELD;
        }
        bytes.get(..end).ok_or(TemplateFault::FieldsCutShort(count))
    }
}

impl<'a> Iterator for TemplateRecords<'a> {
    type Item = Result<TemplateRecord<'a>, Discard>;

    /// The next template record. What is too short for one, or all zeroes, is padding.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_padding() {
            return None;
        }
        let record = self.record().map_err(|_| Discard::TemplateMalformed);
        self.rest = match &record {
            Ok(record) => &self.rest[record.bytes.len()..],
            Err(_) => &[],
        };
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(
        protocol: Protocol,
        id: u16,
        body: &[u8],
    ) -> Vec<Result<TemplateRecord<'_>, Discard>> {
        TemplateRecords::new(protocol, &Set { id, body }).collect()
    }

    fn only(protocol: Protocol, id: u16, body: &[u8]) -> TemplateRecord<'_> {
        let found = records(protocol, id, body);
        assert_eq!(found.len(), 1);
        found[0].unwrap()
    }

    fn field(element: u16, enterprise: u32, length: u16) -> FieldSpecifier {
        FieldSpecifier { element, enterprise, length }
    }

    #[test]
    fn sets_before_a_lying_length_are_used() {
        let mut sets = Sets::new(&[1, 0, 0, 5, 0xaa, 1, 1, 0, 9]);
        let first = sets.next().unwrap().unwrap();
        assert_eq!((first.id, first.body), (256, &[0xaa][..]));
        assert_eq!(sets.next().unwrap().unwrap_err(), Discard::SetLength);
        assert!(sets.next().is_none());
    }

    #[test]
    fn a_set_length_under_four_ends_the_message() {
        for length in 0..4 {
            let bytes = [1, 0, 0, length, 0, 0, 0, 0];
            let mut sets = Sets::new(&bytes);
            assert_eq!(sets.next().unwrap().unwrap_err(), Discard::SetLength);
            assert!(sets.next().is_none());
        }
    }

    #[test]
    fn a_set_of_length_four_is_empty_and_harmless() {
        let sets: Vec<_> = Sets::new(&[1, 0, 0, 4, 1, 1, 0, 4]).map(|s| s.unwrap().id).collect();
        assert_eq!(sets, [256, 257]);
    }

    #[test]
    fn set_ids_mean_what_the_protocol_says() {
        let kind = |id, protocol| Set { id, body: &[] }.kind(protocol);
        assert_eq!(kind(0, Protocol::Netflow9), SetKind::Templates);
        assert_eq!(kind(1, Protocol::Netflow9), SetKind::OptionsTemplates);
        assert_eq!(kind(2, Protocol::Netflow9), SetKind::Reserved);
        assert_eq!(kind(0, Protocol::Ipfix), SetKind::Reserved);
        assert_eq!(kind(2, Protocol::Ipfix), SetKind::Templates);
        assert_eq!(kind(3, Protocol::Ipfix), SetKind::OptionsTemplates);
        assert_eq!(kind(255, Protocol::Ipfix), SetKind::Reserved);
        assert_eq!(kind(256, Protocol::Netflow9), SetKind::Data);
        assert_eq!(kind(u16::MAX, Protocol::Ipfix), SetKind::Data);
    }

    #[test]
    fn a_template_set_holds_several_records_and_padding() {
        let body = [1, 0, 0, 1, 0, 8, 0, 4, 1, 1, 0, 1, 0, 12, 0, 4, 0, 0, 0];
        let found = records(Protocol::Netflow9, 0, &body);
        assert_eq!(found.len(), 2);
        let second = found[1].unwrap();
        assert_eq!((second.id, second.bytes), (257, &body[8..16]));
        assert_eq!(second.fields().collect::<Vec<_>>(), [field(12, 0, 4)]);
    }

    #[test]
    fn zeroes_behind_a_template_are_padding() {
        let body = [1, 0, 0, 1, 0, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(only(Protocol::Netflow9, 0, &body).id, 256);
        assert_eq!(only(Protocol::Ipfix, 2, &body).id, 256);
    }

    #[test]
    fn the_high_bit_is_an_enterprise_number_in_ipfix_only() {
        let body = [1, 0, 0, 2, 0x80, 1, 0, 4, 0, 0, 0x72, 0x79, 0, 8, 0, 4];
        let ipfix: Vec<_> = only(Protocol::Ipfix, 2, &body).fields().collect();
        assert_eq!(ipfix, [field(1, 29305, 4), field(8, 0, 4)]);
        let found = records(Protocol::Netflow9, 0, &body);
        let v9: Vec<_> = found[0].unwrap().fields().collect();
        assert_eq!(v9, [field(0x8001, 0, 4), field(0, 0, 0x7279)]);
    }

    #[test]
    fn v9_options_lengths_are_bytes() {
        let body = [1, 1, 0, 4, 0, 8, 0, 1, 0, 4, 0, 34, 0, 4, 0, 35, 0, 1, 0, 0];
        let record = only(Protocol::Netflow9, 1, &body);
        assert!(record.options);
        assert_eq!((record.scope_count, record.fields().count()), (1, 3));
        assert_eq!(record.bytes, &body[..18]);
    }

    #[test]
    fn ipfix_options_lengths_are_counts() {
        let body = [1, 1, 0, 2, 0, 1, 0, 149, 0, 4, 0x80, 41, 0, 8, 0, 0, 0, 9];
        let record = only(Protocol::Ipfix, 3, &body);
        assert_eq!(record.scope_count, 1);
        let fields: Vec<_> = record.fields().collect();
        assert_eq!(fields, [field(149, 0, 4), field(41, 9, 8)]);
    }

    #[test]
    fn an_options_template_needs_a_scope_in_ipfix() {
        for scope in [0, 3] {
            let body = [1, 1, 0, 2, 0, scope, 0, 149, 0, 4, 0, 41, 0, 8];
            let found = records(Protocol::Ipfix, 3, &body);
            assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
        }
    }

    #[test]
    fn uneven_v9_options_lengths_are_malformed() {
        let body = [1, 1, 0, 3, 0, 5, 0, 1, 0, 4, 0, 34, 0, 4];
        let found = records(Protocol::Netflow9, 1, &body);
        assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn a_template_cut_short_ends_the_set_after_the_good_ones() {
        for (protocol, id) in [(Protocol::Netflow9, 0), (Protocol::Ipfix, 2)] {
            let body = [1, 0, 0, 1, 0, 8, 0, 4, 1, 1, 0, 2, 0, 8, 0, 4];
            let found = records(protocol, id, &body);
            assert_eq!(found[0].unwrap().id, 256);
            assert_eq!(found[1].unwrap_err(), Discard::TemplateMalformed);
            assert_eq!(found.len(), 2);
        }
    }

    #[test]
    fn an_enterprise_number_cut_short_is_malformed() {
        let found = records(Protocol::Ipfix, 2, &[1, 0, 0, 1, 0x80, 8, 0, 4, 0, 0]);
        assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn a_field_count_of_zero_withdraws_in_ipfix_only() {
        let body = [1, 0, 0, 0];
        let record = only(Protocol::Ipfix, 2, &body);
        assert!(record.withdrawal && !record.withdraws_all() && !record.options);
        let found = records(Protocol::Netflow9, 0, &body);
        assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn the_sets_own_id_withdraws_all() {
        assert!(only(Protocol::Ipfix, 2, &[0, 2, 0, 0]).withdraws_all());
        assert!(only(Protocol::Ipfix, 3, &[0, 3, 0, 0]).withdraws_all());
        let found = records(Protocol::Ipfix, 2, &[0, 3, 0, 0]);
        assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn a_template_id_under_256_is_malformed() {
        let found = records(Protocol::Netflow9, 0, &[0, 255, 0, 1, 0, 8, 0, 4]);
        assert_eq!(found[0].unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn a_set_header_can_be_written() {
        let mut bytes = [0; 4];
        write_header(&mut bytes, 256, 4);
        assert_eq!(Sets::new(&bytes).next().unwrap().unwrap().id, 256);
    }
}
