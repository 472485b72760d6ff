//! A question, as a person asks it: which flows, from when, and in what view.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Column;
use crate::element::ElementId;
use crate::query::element::key_width;

/// Which flows, from when, and in what view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// nfdump's filter language; empty means every flow.
    pub filter: String,
    /// Only flows that begin at this time or later, ms since 1970.
    pub from_ms: Option<u64>,
    /// Only flows that end at this time or earlier, ms since 1970. Both bounds are inclusive and a
    /// flow must lie wholly between them, which is what nfdump's `-t` does.
    pub until_ms: Option<u64>,
    /// What to make of them.
    pub view: View,
}

/// What to make of the flows that a filter selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// The flows themselves, the earliest `limit` of them; 0 means all, up to the server's bound.
    Flows {
        /// How many to list.
        limit: usize,
    },
    /// Flows, packets and bytes by keys, the first `limit` groups of them; 0 means all.
    Statistic {
        /// What to group by; several keys make one combined key.
        keys: Vec<Key>,
        /// What to sort by, the largest first.
        order: Order,
        /// How many groups to show.
        limit: usize,
    },
}

/// What a statistic groups by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// One column's value.
    Column(Column),
    /// Source and destination address; a flow counts for both, and twice if they are equal.
    Address,
    /// Source and destination port; a flow counts for both, and twice if they are equal.
    Port,
    /// Source and destination AS; a flow counts for both, and twice if they are equal.
    As,
    /// Input and output interface; a flow counts for both, and twice if they are equal.
    Interface,
    /// Source and destination prefix length; a flow counts for both, and twice if equal.
    Mask,
    /// VRF of the input and of the output side; a flow counts for both, and twice if equal.
    Vrf,
    /// The value of an element that no column takes.
    Element(ElementId),
}

/// nfdump's names of the keys; a key's first name is the one that is printed.
const KEYS: &[(&str, Key)] = &[
    ("srcip", Key::Column(Column::SourceAddress)),
    ("dstip", Key::Column(Column::DestinationAddress)),
    ("ip", Key::Address),
    ("nhip", Key::Column(Column::NextHop)),
    ("next", Key::Column(Column::NextHop)),
    ("router", Key::Column(Column::Exporter)),
    ("exporter", Key::Column(Column::Exporter)),
    ("srcport", Key::Column(Column::SourcePort)),
    ("dstport", Key::Column(Column::DestinationPort)),
    ("port", Key::Port),
    ("proto", Key::Column(Column::Protocol)),
    ("tos", Key::Column(Column::Tos)),
    ("srctos", Key::Column(Column::Tos)),
    ("srcas", Key::Column(Column::SourceAs)),
    ("dstas", Key::Column(Column::DestinationAs)),
    ("as", Key::As),
    ("inif", Key::Column(Column::InputInterface)),
    ("outif", Key::Column(Column::OutputInterface)),
    ("if", Key::Interface),
    ("srcmask", Key::Column(Column::SourceMask)),
    ("dstmask", Key::Column(Column::DestinationMask)),
    ("mask", Key::Mask),
    ("vlan", Key::Column(Column::Vlan)),
    ("srcvlan", Key::Column(Column::Vlan)),
    ("app", Key::Column(Column::Application)),
    ("invrf", Key::Column(Column::InputVrf)),
    ("outvrf", Key::Column(Column::OutputVrf)),
    ("vrf", Key::Vrf),
    ("dir", Key::Column(Column::Direction)),
    ("flags", Key::Column(Column::TcpFlags)),
    ("odid", Key::Column(Column::ObservationDomain)),
    ("opid", Key::Column(Column::ObservationPoint)),
    ("nhbip", Key::Column(Column::BgpNextHop)),
    ("nextas", Key::Column(Column::NextAs)),
    ("prevas", Key::Column(Column::PreviousAs)),
    ("dstvlan", Key::Column(Column::OutputVlan)),
    ("dsttos", Key::Column(Column::OutputTos)),
    ("insrcmac", Key::Column(Column::SourceMac)),
    ("indstmac", Key::Column(Column::DestinationMac)),
    ("outsrcmac", Key::Column(Column::OutputSourceMac)),
    ("outdstmac", Key::Column(Column::OutputDestinationMac)),
    ("mpls1", Key::Column(Column::Mpls1)),
    ("mpls2", Key::Column(Column::Mpls2)),
    ("mpls3", Key::Column(Column::Mpls3)),
    ("mpls4", Key::Column(Column::Mpls4)),
    ("mpls5", Key::Column(Column::Mpls5)),
    ("mpls6", Key::Column(Column::Mpls6)),
    ("mpls7", Key::Column(Column::Mpls7)),
    ("mpls8", Key::Column(Column::Mpls8)),
    ("mpls9", Key::Column(Column::Mpls9)),
    ("mpls10", Key::Column(Column::Mpls10)),
    ("nevent", Key::Column(Column::NatEvent)),
    ("nsrcip", Key::Column(Column::NatSourceAddress)),
    ("ndstip", Key::Column(Column::NatDestinationAddress)),
    ("nsrcport", Key::Column(Column::NatSourcePort)),
    ("ndstport", Key::Column(Column::NatDestinationPort)),
    ("event", Key::Column(Column::FirewallEvent)),
    ("xevent", Key::Column(Column::FirewallEventExtended)),
    ("iacl", Key::Column(Column::InputAcl)),
    ("iace", Key::Column(Column::InputAce)),
    ("ixace", Key::Column(Column::InputAceExtended)),
    ("eacl", Key::Column(Column::OutputAcl)),
    ("ivrf", Key::Column(Column::InputVrf)),
    ("evrf", Key::Column(Column::OutputVrf)),
];

/// The five-tuple, nfdump's `record`.
const RECORD: [Key; 5] = [
    Key::Column(Column::Protocol),
    Key::Column(Column::SourceAddress),
    Key::Column(Column::SourcePort),
    Key::Column(Column::DestinationAddress),
    Key::Column(Column::DestinationPort),
];

impl Key {
    /// The key that nfdump calls `name`, the column with this field name, or the element that is
    /// called so, by the column that takes it if one does.
    pub fn parse(name: &str) -> Option<Key> {
        let name = name.trim();
        let known = KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let element = || {
            let element = ElementId::parse(name).ok()?;
            Some(element.column().map_or(Key::Element(element), Key::Column))
        };
        known
            .map(|&(_, key)| key)
            .or_else(|| Column::from_name(name).map(Key::Column))
            .or_else(element)
    }

    /// The keys of a comma-separated list; `record` stands for the five-tuple, and `:p` after a
    /// name adds the protocol, as in nfdump, once however often it stands.
    ///
    /// # Errors
    /// The name that is not known, or the key that stands twice.
    pub fn parse_list(text: &str) -> Result<Vec<Key>, KeyError> {
        let mut keys = Vec::new();
        for name in text.split(',').map(str::trim) {
            let (name, by_protocol) =
                name.strip_suffix(":p").map_or((name, false), |name| (name, true));
            if name.eq_ignore_ascii_case("record") {
                keys.extend(RECORD);
                continue;
            }
            let protocol = Key::Column(Column::Protocol);
            if by_protocol && !keys.contains(&protocol) {
                keys.push(protocol);
            }
            keys.push(Key::parse(name).ok_or_else(|| unknown(name))?);
        }
        Key::check_distinct(&keys)?;
        Ok(keys)
    }

    /// Whether no key stands twice: the second would tell nothing, and widen every group.
    ///
    /// # Errors
    /// [`KeyError::Repeated`] with the first key that does.
    pub(crate) fn check_distinct(keys: &[Key]) -> Result<(), KeyError> {
        let repeated = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key));
        repeated.map_or(Ok(()), |(_, key)| Err(KeyError::Repeated { name: key.name() }))
    }

    /// The names that [`Key::parse`] knows, for messages and completion.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|&(name, _)| name)
    }

    /// The key's name as nfdump writes it; a column without one there has its field name.
    pub fn name(self) -> Cow<'static, str> {
        let known = KEYS.iter().find(|&&(_, key)| key == self);
        match (self, known) {
            (_, Some(&(name, _))) => name.into(),
            (Key::Column(column), None) => column.name().into(),
            (Key::Element(element), None) => element.to_string().into(),
            _ => "key".into(),
        }
    }

    /// The columns of the source side and of the destination side; the same where there is one, and
    /// none of an element.
    pub fn sides(self) -> Option<(Column, Column)> {
        Some(match self {
            Key::Element(_) => return None,
            Key::Column(column) => (column, column),
            Key::Address => (Column::SourceAddress, Column::DestinationAddress),
            Key::Port => (Column::SourcePort, Column::DestinationPort),
            Key::As => (Column::SourceAs, Column::DestinationAs),
            Key::Interface => (Column::InputInterface, Column::OutputInterface),
            Key::Mask => (Column::SourceMask, Column::DestinationMask),
            Key::Vrf => (Column::InputVrf, Column::OutputVrf),
        })
    }

    /// Bytes of one value of the key.
    pub(crate) fn width(self) -> usize {
        match self {
            Key::Element(element) => key_width(element.kind()),
            _ => self.sides().map_or(0, |(source, _)| source.width()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// What is wrong with a statistic's keys or order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key or order.
    #[error("unknown statistic '{name}'; there are: record {}", names())]
    Unknown {
        /// The name that is not known.
        name: String,
    },
    /// A key stands twice.
    #[error("the statistic has the key '{name}' twice; name each key once")]
    Repeated {
        /// The key's name.
        name: Cow<'static, str>,
    },
}

fn unknown(name: &str) -> KeyError {
    KeyError::Unknown { name: name.to_owned() }
}

fn names() -> String {
    let mut text = Key::names().collect::<Vec<_>>().join(" ");
    text.push_str(
        "; ordered by /flows /packets /bytes /pps /bps /bpp, or by the estimates of what \
         was sampled: /flows* /packets* /bytes*",
    );
    text
}

/// What a statistic is sorted by, the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Number of flows.
    #[default]
    Flows,
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Packets a second.
    Pps,
    /// Bits a second.
    Bps,
    /// Bytes a packet.
    Bpp,
    /// Flows as estimated from the rate at which flow records were kept.
    FlowsEstimated,
    /// Packets as estimated from the rates at which they were sampled.
    PacketsEstimated,
    /// Bytes as estimated likewise.
    BytesEstimated,
}

impl Order {
    /// All orders.
    pub const ALL: [Order; 9] = [
        Order::Flows,
        Order::Packets,
        Order::Bytes,
        Order::Pps,
        Order::Bps,
        Order::Bpp,
        Order::FlowsEstimated,
        Order::PacketsEstimated,
        Order::BytesEstimated,
    ];

    /// The order that nfdump calls `name`.
    pub fn parse(name: &str) -> Option<Order> {
        Order::ALL.into_iter().find(|order| order.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Whether it is by what counts stand for.
    pub const fn is_estimated(self) -> bool {
        matches!(self, Order::FlowsEstimated | Order::PacketsEstimated | Order::BytesEstimated)
    }

    /// nfdump's name; an estimate's has a star.
    pub const fn name(self) -> &'static str {
        match self {
            Order::Flows => "flows",
            Order::Packets => "packets",
            Order::Bytes => "bytes",
            Order::Pps => "pps",
            Order::Bps => "bps",
            Order::Bpp => "bpp",
            Order::FlowsEstimated => "flows*",
            Order::PacketsEstimated => "packets*",
            Order::BytesEstimated => "bytes*",
        }
    }
}

impl View {
    /// The view of nfdump's `-s`: `dstip`, `dstip/bytes`, `srcip,dstport/packets`, `record/bps`.
    ///
    /// # Errors
    /// The key or order that is not known, or the key that stands twice.
    pub fn statistic(text: &str, limit: usize) -> Result<View, KeyError> {
        // An element's name may have a slash of its own.
        let ordered = text
            .rsplit_once('/')
            .and_then(|(keys, order)| Order::parse(order).map(|order| (keys, order)));
        let (keys, order) = ordered.unwrap_or((text, Order::Flows));
        let keys = Key::parse_list(keys).map_err(|error| {
            let order = text.split_once('/').filter(|(keys, _)| Key::parse_list(keys).is_ok());
            order.map_or(error, |(_, order)| unknown(order))
        })?;
        Ok(View::Statistic { keys, order, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistic_is_read_as_nfdump_reads_it() {
        let view = View::statistic("srcip,dstport/bytes", 5).unwrap();
        let keys = vec![Key::Column(Column::SourceAddress), Key::Column(Column::DestinationPort)];
        assert_eq!(view, View::Statistic { keys, order: Order::Bytes, limit: 5 });
    }

    #[test]
    fn an_element_is_a_key_by_any_of_its_names() {
        let host = Key::Element(ElementId::new(9, 12235));
        for text in ["cisco/appHTTPHost/bytes", "9/12235/bytes", "appHTTPHost/bytes"] {
            let expected = View::Statistic { keys: vec![host], order: Order::Bytes, limit: 3 };
            assert_eq!(View::statistic(text, 3).unwrap(), expected, "{text}");
        }
        assert_eq!(Key::parse_list("9/12235").unwrap(), [host]);
        assert_eq!(Key::parse(&host.name()), Some(host));
        let address = Key::Column(Column::SourceAddress);
        assert_eq!(Key::parse("sourceIPv6Address"), Some(address), "by the column that takes it");
    }

    #[test]
    fn by_protocol_adds_the_protocol() {
        let keys = Key::parse_list("srcip:p").unwrap();
        assert_eq!(keys, [Key::Column(Column::Protocol), Key::Column(Column::SourceAddress)]);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_by_name() {
        for (text, name) in [
            ("srcip,srcip", "srcip"),
            ("srcvlan,vlan/bytes", "vlan"),
            ("record,dstport", "dstport"),
            ("proto:p", "proto"),
        ] {
            let error = View::statistic(text, 10).unwrap_err().to_string();
            assert!(error.contains(&format!("'{name}' twice")), "{text}: {error}");
        }
        let both = Key::parse_list("srcip:p,dstip:p").unwrap();
        assert_eq!(both.len(), 3, "the protocol once");
    }

    #[test]
    fn every_key_comes_back_from_its_name() {
        for &(name, key) in KEYS {
            assert_eq!(Key::parse(name), Some(key));
            assert_eq!(Key::parse(&key.name()), Some(key));
        }
        for &column in Column::ALL {
            assert_eq!(Key::parse(&Key::Column(column).name()), Some(Key::Column(column)));
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_what_there_is() {
        let error = View::statistic("scrip/bytes", 10).unwrap_err().to_string();
        assert!(error.contains("'scrip'") && error.contains("srcip"), "{error}");
        assert!(View::statistic("srcip/octets", 10).unwrap_err().to_string().contains("'octets'"));
    }
}
