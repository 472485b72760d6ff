//! Information elements: what they are called, and which of them weir stores where.
//!
//! [`TABLE`] is the store's, which names elements in queries. `meaning` is the one place that says what
//! an element means to a flow record; a template is compiled against it when it arrives, so nothing
//! here runs per record. Elements without a meaning are kept in the batch's overflow.

use weir_store::Column;

use crate::wire::set::FieldSpecifier;

pub use weir_store::element::{DataType, Element, ElementId, TABLE};

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
    /// A DSCP for this column of types of service, whose high six bits it is (RFC 2474, Section 3).
    Dscp(Column),
    /// An application id for this column: the engine's byte, then its selector, whose leading zeroes
    /// may be left out (RFC 6759, Section 4.1).
    Application(Column),
    /// The n-th number of four bytes within the value, for this column.
    Word(Column, u8),
    /// An entry of the MPLS label stack for this column: exactly three bytes.
    Label(Column),
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

impl Meaning {
    /// The column that takes the value, but for times and what ICMP puts into ports.
    pub(crate) const fn column(self) -> Option<Column> {
        match self {
            Meaning::Number(column)
            | Meaning::Flags(column)
            | Meaning::Dscp(column)
            | Meaning::Application(column)
            | Meaning::Word(column, _)
            | Meaning::Label(column)
            | Meaning::AddressV4(column)
            | Meaning::AddressV6(column) => Some(column),
            _ => None,
        }
    }
}

/// What an element means, and its rank among those with the same meaning: the lowest is taken.
///
/// Where a record's value is zero the next rank is taken: dual-stack templates bear both versions'
/// addresses, and ICMP's type and code stand in for a port. Of counters and times, and of prefixes
/// beside addresses, the next rank is taken only where the template lacks the first.
pub(crate) fn meanings(field: &FieldSpecifier) -> impl Iterator<Item = (Meaning, u8)> {
    let wanted = ElementId::new(field.enterprise, field.element).canonical();
    let key = |row: &Row| ElementId::new(row.0, row.1);
    let first = MEANINGS.partition_point(|row| key(row) < wanted);
    let own = MEANINGS[first..].iter().take_while(move |row| key(row) == wanted);
    own.map(|&(.., meaning, rank)| (meaning, rank))
}

/// Enterprise, element, meaning and rank.
type Row = (u32, u16, Meaning, u8);

/// In the order of the first two.
#[rustfmt::skip]
const MEANINGS: &[Row] = {
    use Clock::*;
    use Column::*;
    use Meaning::*;
    /// Cisco's elements, which NetFlow v9 carries as 0x8000 and these numbers.
    const CISCO: u32 = 9;
    &[
        (0, 1, Number(Bytes), 0),
        (0, 2, Number(Packets), 0),
        (0, 3, Number(AggregatedFlows), 0),
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
        (0, 18, AddressV4(BgpNextHop), 0),
        (0, 21, End(Uptime), 4),
        (0, 22, Start(Uptime), 4),
        (0, 23, Number(OutputBytes), 0),
        (0, 24, Number(OutputPackets), 0),
        (0, 27, AddressV6(SourceAddress), 1),
        (0, 28, AddressV6(DestinationAddress), 1),
        (0, 29, Number(SourceMask), 1),
        (0, 30, Number(DestinationMask), 1),
        (0, 31, Number(FlowLabel), 0),
        (0, 32, Number(DestinationPort), 3),
        (0, 34, Number(SamplingRate), 0),
        (0, 44, AddressV4(SourceAddress), 2),
        (0, 45, AddressV4(DestinationAddress), 2),
        (0, 48, Number(Sampler), 0),
        (0, 50, Number(SamplingRate), 1),
        (0, 52, Number(MinTtl), 0),
        (0, 53, Number(MaxTtl), 0),
        (0, 55, Number(OutputTos), 0),
        (0, 56, Number(SourceMac), 0),
        (0, 57, Number(OutputDestinationMac), 0),
        (0, 58, Number(Vlan), 0),
        (0, 59, Number(OutputVlan), 0),
        (0, 60, Number(IpVersion), 0),
        (0, 61, Number(Direction), 0),
        (0, 62, AddressV6(NextHop), 1),
        (0, 63, AddressV6(BgpNextHop), 1),
        (0, 70, Label(Mpls1), 0),
        (0, 71, Label(Mpls2), 0),
        (0, 72, Label(Mpls3), 0),
        (0, 73, Label(Mpls4), 0),
        (0, 74, Label(Mpls5), 0),
        (0, 75, Label(Mpls6), 0),
        (0, 76, Label(Mpls7), 0),
        (0, 77, Label(Mpls8), 0),
        (0, 78, Label(Mpls9), 0),
        (0, 79, Label(Mpls10), 0),
        (0, 80, Number(DestinationMac), 0),
        (0, 81, Number(OutputSourceMac), 0),
        (0, 85, Number(Bytes), 1),
        (0, 86, Number(Packets), 1),
        (0, 89, Number(ForwardingStatus), 0),
        (0, 95, Meaning::Application(Column::Application), 0),
        (0, 98, Dscp(OutputTos), 1),
        (0, 128, Number(NextAs), 0),
        (0, 129, Number(PreviousAs), 0),
        (0, 136, Number(EndReason), 0),
        (0, 138, Number(ObservationPoint), 0),
        (0, 139, Number(DestinationPort), 4),
        (0, 148, Number(FlowId), 0),
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
        (0, 171, Number(OutputBytes), 1),
        (0, 172, Number(OutputPackets), 1),
        (0, 176, IcmpType, 0),
        (0, 177, IcmpCode, 0),
        (0, 178, IcmpType, 1),
        (0, 179, IcmpCode, 1),
        (0, 180, Number(SourcePort), 1),
        (0, 181, Number(DestinationPort), 1),
        (0, 182, Number(SourcePort), 2),
        (0, 183, Number(DestinationPort), 2),
        (0, 192, Number(MinTtl), 1),
        (0, 195, Dscp(Tos), 1),
        (0, 197, Number(FragmentFlags), 0),
        (0, 225, AddressV4(NatSourceAddress), 0),
        (0, 226, AddressV4(NatDestinationAddress), 0),
        (0, 227, Number(NatSourcePort), 0),
        (0, 228, Number(NatDestinationPort), 0),
        (0, 230, Number(NatEvent), 0),
        (0, 231, Number(Bytes), 2),
        (0, 232, Number(ReverseBytes), 2),
        (0, 233, Number(FirewallEvent), 0),
        (0, 234, Number(InputVrf), 0),
        (0, 235, Number(OutputVrf), 0),
        (0, 239, Number(BiflowDirection), 0),
        (0, 243, Number(Vlan), 1),
        (0, 245, Number(CustomerVlan), 0),
        (0, 252, Number(InputInterface), 1),
        (0, 253, Number(OutputInterface), 1),
        (0, 254, Number(OutputVlan), 1),
        (0, 255, Number(OutputCustomerVlan), 0),
        (0, 256, Number(Ethertype), 0),
        (0, 281, AddressV6(NatSourceAddress), 1),
        (0, 282, AddressV6(NatDestinationAddress), 1),
        (0, 283, Number(NatPool), 0),
        (0, 298, Number(Packets), 2),
        (0, 299, Number(ReversePackets), 2),
        (0, 302, Number(Sampler), 1),
        (0, 322, Observed(Seconds), 3),
        (0, 323, Observed(Milliseconds), 0),
        (0, 323, Number(Event), 0),
        (0, 324, Observed(Ntp), 1),
        (0, 325, Observed(Ntp), 2),
        (0, 351, Number(Layer2Segment), 0),
        (0, 352, Number(Bytes), 3),
        (0, 361, Number(PortBlockStart), 0),
        (0, 362, Number(PortBlockEnd), 0),
        (0, 363, Number(PortBlockStep), 0),
        (0, 364, Number(PortBlockSize), 0),
        (CISCO, 232, Word(InputAcl, 0), 0),
        (CISCO, 232, Word(InputAce, 1), 0),
        (CISCO, 232, Word(InputAceExtended, 2), 0),
        (CISCO, 233, Word(OutputAcl, 0), 0),
        (CISCO, 233, Word(OutputAce, 1), 0),
        (CISCO, 233, Word(OutputAceExtended, 2), 0),
        (CISCO, 234, Number(FirewallEventExtended), 0),
        (CISCO, 7233, AddressV4(NatSourceAddress), 2),
        (CISCO, 7234, AddressV4(NatDestinationAddress), 2),
        (CISCO, 7235, Number(NatSourcePort), 1),
        (CISCO, 7236, Number(NatDestinationPort), 1),
        (CISCO, 7237, Number(FirewallEvent), 1),
        (REVERSE, 1, Number(ReverseBytes), 0),
        (REVERSE, 2, Number(ReversePackets), 0),
        (REVERSE, 6, Flags(ReverseTcpFlags), 0),
        (REVERSE, 85, Number(ReverseBytes), 1),
        (REVERSE, 86, Number(ReversePackets), 1),
    ]
};

/// paddingOctets, which says nothing (RFC 5102, Section 5.12.1).
pub(crate) const PADDING: ElementId = ElementId::new(0, 210);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weir_store::schema::Form;

    use super::*;

    fn iana(element: u16) -> FieldSpecifier {
        FieldSpecifier { element, enterprise: 0, length: 4 }
    }

    #[test]
    fn every_element_with_a_meaning_has_the_type_for_it() {
        use DataType::*;
        for &(enterprise, id, meaning, _) in MEANINGS {
            let kind = Element::find(enterprise, id).expect("a known element").kind;
            let fits = match meaning {
                Meaning::AddressV4(_) => kind == Ipv4Address,
                Meaning::AddressV6(_) => kind == Ipv6Address,
                Meaning::Boot => kind == DateTimeMilliseconds,
                Meaning::Application(_) | Meaning::Word(..) | Meaning::Label(_) => {
                    kind == OctetArray
                }
                Meaning::Number(Column::Event) => kind == DateTimeMilliseconds,
                Meaning::Number(column) if column.form() == Form::Mac => kind == MacAddress,
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
            assert!(fits, "{enterprise}/{id}: {meaning:?} of {kind:?}");
        }
    }

    #[test]
    fn meanings_are_in_the_order_in_which_they_are_sought() {
        assert!(MEANINGS.is_sorted_by_key(|&(enterprise, id, ..)| (enterprise, id)));
    }

    #[test]
    fn no_two_elements_share_a_meaning_and_a_rank() {
        for (at, row) in MEANINGS.iter().enumerate() {
            for other in &MEANINGS[..at] {
                assert_ne!((row.2, row.3), (other.2, other.3), "{row:?} and {other:?}");
            }
        }
    }

    #[test]
    fn the_schema_names_the_elements_of_every_column() {
        for &column in Column::ALL {
            let takes = |&&(.., meaning, _): &&Row| match column {
                Column::First => matches!(meaning, Meaning::Start(_) | Meaning::Observed(_)),
                Column::Last => matches!(meaning, Meaning::End(_) | Meaning::Observed(_)),
                Column::DestinationPort => {
                    meaning.column() == Some(column)
                        || matches!(meaning, Meaning::IcmpType | Meaning::IcmpCode)
                }
                _ => meaning.column() == Some(column),
            };
            let taken: BTreeSet<_> =
                MEANINGS.iter().filter(takes).map(|row| (row.0, row.1)).collect();
            let named: BTreeSet<_> = column.elements().collect();
            assert_eq!(taken, named, "{column:?}");
        }
    }

    #[test]
    fn enterprise_elements_mean_nothing_but_for_some() {
        assert_eq!(meanings(&FieldSpecifier { enterprise: 9, ..iana(1) }).count(), 0);
        let event = FieldSpecifier { element: 33002, ..iana(0) };
        let expected = (Meaning::Number(Column::FirewallEventExtended), 0);
        assert_eq!(meanings(&event).collect::<Vec<_>>(), [expected], "by v9's number");
    }
}
