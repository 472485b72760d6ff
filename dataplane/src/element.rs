//! Information elements: what they are called, and which of them weir stores where.
//!
//! [`TABLE`] is IANA's registry, generated from `elements/iana.tsv`. `meaning` is the one place that
//! says what an element means to a flow record; a template is compiled against it when it arrives,
//! so nothing here runs per record. Enterprise elements have no column yet, but for the counters of
//! the reverse direction.

use weir_store::Column;

use crate::wire::set::FieldSpecifier;

/// The abstract data types of the elements in [`TABLE`] (RFC 7012, Section 3.1; RFC 6313).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the registry's own")]
pub enum DataType {
    Unsigned8,
    Unsigned16,
    Unsigned32,
    Unsigned64,
    Unsigned256,
    Signed32,
    Float64,
    Boolean,
    OctetArray,
    String,
    MacAddress,
    Ipv4Address,
    Ipv6Address,
    DateTimeSeconds,
    DateTimeMilliseconds,
    DateTimeMicroseconds,
    DateTimeNanoseconds,
    BasicList,
    SubTemplateList,
    SubTemplateMultiList,
}

/// An information element of IANA's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Whose element it is: an IANA private enterprise number, 0 for IANA's own.
    pub enterprise: u32,
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: DataType,
    /// What a value counts; empty for identifiers and the like.
    pub units: &'static str,
}

impl Element {
    /// The element with this number.
    pub fn from_id(id: u16) -> Option<&'static Element> {
        TABLE.binary_search_by_key(&id, |element| element.id).ok().map(|at| &TABLE[at])
    }

    /// The element with this number of this enterprise; 0 stands for IANA's own.
    pub fn find(enterprise: u32, id: u16) -> Option<&'static Element> {
        (enterprise == 0).then(|| Element::from_id(id)).flatten()
    }

    /// The element with this name, in the registry's spelling.
    pub fn from_name(name: &str) -> Option<&'static Element> {
        TABLE.iter().find(|element| element.name == name)
    }
}

/// All elements in the order of their numbers.
pub static TABLE: &[Element] = &include!(concat!(env!("OUT_DIR"), "/elements.rs"));

/// The enterprise number under which an element speaks of the reverse direction (RFC 5103).
const REVERSE: u32 = 29305;

/// How an element writes a moment (RFC 7011, Sections 6.1.7 to 6.1.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// NTP: seconds since 1900 and a fraction, 32 bits each.
    Ntp,
    /// Milliseconds since the exporter started.
    Uptime,
    /// Microseconds before the export time.
    DeltaMicroseconds,
}

/// What an element says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A number for this column.
    Number(Column),
    /// TCP flags for this column. The four bits above them hold the header's length, which is no
    /// flag, and is to be zero (RFC 7125, Section 3); exporters are known to leave it there.
    Flags(Column),
    /// What the other direction, or the far side of the exporter, adds to this counter.
    Other(Column),
    /// An IPv4 address, or an IPv4 prefix's.
    AddressV4(Column),
    /// An IPv6 address, or an IPv6 prefix's.
    AddressV6(Column),
    /// ICMP type alone; stands for the destination port's high byte.
    IcmpType,
    /// ICMP code alone; stands for the destination port's low byte.
    IcmpCode,
    /// When the flow began.
    Start(Clock),
    /// When the flow ended.
    End(Clock),
    /// When what the record reports was seen: both ends of it.
    Observed(Clock),
    /// Milliseconds between start and end.
    DurationMilliseconds,
    /// Microseconds between start and end.
    DurationMicroseconds,
    /// When the exporter started, milliseconds since 1970: what [`Clock::Uptime`] counts from.
    Boot,
}

/// What an element means, and its rank among those with the same meaning: the lowest is taken.
///
/// Of addresses, masks, ports and interfaces the next rank is taken where a record's value is zero
/// (dual-stack templates bear both versions, and ICMP's type and code stand in for a port); of
/// counters and times only where the template lacks the first.
///
/// A record's packets and bytes are all that it counts: in and out, initiator's and responder's,
/// forward and reverse. That is how nfdump totals them, and the schema has one column for each. For
/// an exporter that counts the same packets on both its sides (`post` counters) the sum is twice
/// the traffic, there as here.
pub(crate) fn meaning(field: &FieldSpecifier) -> Option<(Meaning, u8)> {
    let wanted = (field.enterprise, field.element);
    let found = MEANINGS.binary_search_by_key(&wanted, |&(enterprise, id, ..)| (enterprise, id));
    found.ok().map(|at| (MEANINGS[at].2, MEANINGS[at].3))
}

/// Enterprise, element, meaning and rank; in the order of the first two.
#[rustfmt::skip]
const MEANINGS: &[(u32, u16, Meaning, u8)] = {
    use Clock::*;
    use Column::*;
    use Meaning::*;
    &[
        (0, 1, Number(Bytes), 0),
        (0, 2, Number(Packets), 0),
        (0, 4, Number(Protocol), 0),
        (0, 5, Number(Tos), 0),
        (0, 6, Flags(TcpFlags), 0),
        (0, 7, Number(SourcePort), 0),
        (0, 8, AddressV4(SourceAddress), 0),
        (0, 9, Number(SourceMask), 0),
        (0, 10, Number(InputInterface), 0),
        (0, 11, Number(DestinationPort), 0),
        (0, 12, AddressV4(DestinationAddress), 0),
        (0, 13, Number(DestinationMask), 0),
        (0, 14, Number(OutputInterface), 0),
        (0, 15, AddressV4(NextHop), 0),
        (0, 16, Number(SourceAs), 0),
        (0, 17, Number(DestinationAs), 0),
        (0, 18, AddressV4(NextHop), 2),
        (0, 21, End(Uptime), 4),
        (0, 22, Start(Uptime), 4),
        (0, 23, Other(Bytes), 3),
        (0, 24, Other(Packets), 3),
        (0, 27, AddressV6(SourceAddress), 1),
        (0, 28, AddressV6(DestinationAddress), 1),
        (0, 29, Number(SourceMask), 1),
        (0, 30, Number(DestinationMask), 1),
        (0, 32, Number(DestinationPort), 3),
        (0, 44, AddressV4(SourceAddress), 2),
        (0, 45, AddressV4(DestinationAddress), 2),
        (0, 58, Number(Vlan), 0),
        (0, 61, Number(Direction), 0),
        (0, 62, AddressV6(NextHop), 1),
        (0, 63, AddressV6(NextHop), 3),
        (0, 85, Number(Bytes), 1),
        (0, 86, Number(Packets), 1),
        (0, 139, Number(DestinationPort), 4),
        (0, 150, Start(Seconds), 3),
        (0, 151, End(Seconds), 3),
        (0, 152, Start(Milliseconds), 0),
        (0, 153, End(Milliseconds), 0),
        (0, 154, Start(Ntp), 1),
        (0, 155, End(Ntp), 1),
        (0, 156, Start(Ntp), 2),
        (0, 157, End(Ntp), 2),
        (0, 158, Start(DeltaMicroseconds), 5),
        (0, 159, End(DeltaMicroseconds), 5),
        (0, 160, Boot, 0),
        (0, 161, DurationMilliseconds, 0),
        (0, 162, DurationMicroseconds, 1),
        (0, 169, AddressV6(DestinationAddress), 3),
        (0, 170, AddressV6(SourceAddress), 3),
        (0, 171, Other(Bytes), 4),
        (0, 172, Other(Packets), 4),
        (0, 176, IcmpType, 0),
        (0, 177, IcmpCode, 0),
        (0, 178, IcmpType, 1),
        (0, 179, IcmpCode, 1),
        (0, 180, Number(SourcePort), 1),
        (0, 181, Number(DestinationPort), 1),
        (0, 182, Number(SourcePort), 2),
        (0, 183, Number(DestinationPort), 2),
        (0, 231, Number(Bytes), 2),
        (0, 232, Other(Bytes), 2),
        (0, 243, Number(Vlan), 1),
        (0, 252, Number(InputInterface), 1),
        (0, 253, Number(OutputInterface), 1),
        (0, 298, Number(Packets), 2),
        (0, 299, Other(Packets), 2),
        (0, 322, Observed(Seconds), 3),
        (0, 323, Observed(Milliseconds), 0),
        (0, 324, Observed(Ntp), 1),
        (0, 325, Observed(Ntp), 2),
        (0, 352, Number(Bytes), 3),
        (REVERSE, 1, Other(Bytes), 0),
        (REVERSE, 2, Other(Packets), 0),
        (REVERSE, 85, Other(Bytes), 1),
        (REVERSE, 86, Other(Packets), 1),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    fn iana(element: u16) -> FieldSpecifier {
        FieldSpecifier { element, enterprise: 0, length: 4 }
    }

    #[test]
    fn elements_are_found_by_number_and_by_name() {
        let element = Element::from_id(1).unwrap();
        assert_eq!((element.name, element.units), ("octetDeltaCount", "octets"));
        assert_eq!(Element::from_name("flowEndMilliseconds").unwrap().id, 153);
        assert_eq!(Element::from_id(0), None);
        assert_eq!(Element::from_id(u16::MAX), None);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> = TABLE.iter().map(|e| e.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn every_element_with_a_meaning_has_the_type_for_it() {
        use DataType::*;
        for id in 0..=u16::MAX {
            let Some((meaning, _)) = meaning(&iana(id)) else { continue };
            let kind = Element::from_id(id).expect("a known element").kind;
            let fits = match meaning {
                Meaning::AddressV4(_) => kind == Ipv4Address,
                Meaning::AddressV6(_) => kind == Ipv6Address,
                Meaning::Boot => kind == DateTimeMilliseconds,
                Meaning::Start(clock) | Meaning::End(clock) | Meaning::Observed(clock) => {
                    match clock {
                        Clock::Seconds => kind == DateTimeSeconds,
                        Clock::Milliseconds => kind == DateTimeMilliseconds,
                        Clock::Ntp => matches!(kind, DateTimeMicroseconds | DateTimeNanoseconds),
                        Clock::Uptime | Clock::DeltaMicroseconds => kind == Unsigned32,
                    }
                }
                _ => matches!(kind, Unsigned8 | Unsigned16 | Unsigned32 | Unsigned64),
            };
            assert!(fits, "{id}: {meaning:?} of {kind:?}");
        }
    }

    #[test]
    fn meanings_are_in_the_order_in_which_they_are_sought() {
        assert!(MEANINGS.is_sorted_by_key(|&(enterprise, id, ..)| (enterprise, id)));
    }

    #[test]
    fn no_two_elements_share_a_meaning_and_a_rank() {
        let mut seen = Vec::new();
        for id in 0..=u16::MAX {
            for enterprise in [0, REVERSE] {
                if let Some(found) = meaning(&FieldSpecifier { enterprise, ..iana(id) }) {
                    assert!(!seen.contains(&found), "{enterprise}/{id}: {found:?}");
                    seen.push(found);
                }
            }
        }
    }

    #[test]
    fn enterprise_elements_mean_nothing_yet() {
        assert_eq!(meaning(&FieldSpecifier { enterprise: 9, ..iana(1) }), None);
    }

    #[test]
    fn reverse_counters_are_the_other_direction() {
        let reverse = FieldSpecifier { enterprise: REVERSE, ..iana(1) };
        assert_eq!(meaning(&reverse), Some((Meaning::Other(Column::Bytes), 0)));
    }
}
