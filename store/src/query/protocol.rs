//! Names of IP protocols, as people write them in filters and read them in tables.

/// Names of IP protocols (IANA, "Assigned Internet Protocol Numbers") that people write.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv4", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// The number of the protocol called `name`, in lower case.
pub(crate) fn number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

/// The name of a protocol as nfdump writes it, if it has one.
pub(crate) fn name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|&&(_, known)| known == number).map(|&(name, _)| name)
}
