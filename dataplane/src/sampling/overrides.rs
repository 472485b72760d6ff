//! Sampling rates of the topology file, by exporter and interface.
//!
//! An entry speaks of the exporters of a prefix, of all their records or of those that were seen at
//! one interface. Of several prefixes that an exporter lies in, the longest that says something of
//! the record counts; that is worked out for each prefix when the file is read, so that a new session
//! costs a lookup for each length of prefix in use, and a record none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One packet in `rate` is looked at, whatever the exporter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// An address of the exporters' prefix.
    pub source: IpAddr,
    /// Leading bits that count; what exceeds the address is taken as all of it.
    pub length: u8,
    /// Only of records seen at the interface with this SNMP index.
    pub interface: Option<u32>,
    /// The rate, at least 1.
    pub rate: u32,
}

/// What the topology file says of one exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    rate: Option<u32>,
    /// Ascending by interface.
    by_interface: Box<[(u32, u32)]>,
}

impl Configured {
    /// The rate of all records, where there is one for all.
    pub(super) fn only(&self) -> Option<u32> {
        self.rate.filter(|_| self.by_interface.is_empty())
    }

    /// The rate of records seen at this interface.
    pub(super) fn rate_at(&self, interface: u32) -> Option<u32> {
        let found = self.by_interface.binary_search_by_key(&interface, |&(index, _)| index);
        found.ok().map(|at| self.by_interface[at].1).or(self.rate)
    }
}

/// A prefix, IPv4's among IPv6's as those of mapped addresses (RFC 4291, Section 2.5.5.2).
type Prefix = (u32, u128);

/// All entries, ready for use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    by_prefix: HashMap<Prefix, Arc<Configured>>,
    /// Lengths in use, the longest first.
    lengths: Box<[u32]>,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn cut(address: u128, length: u32) -> Prefix {
    let host = u128::MAX.checked_shr(length).unwrap_or(0);
    (length, address & !host)
}

impl Override {
    fn prefix(&self) -> Prefix {
        let (width, before) = if self.source.is_ipv4() { (32, 96) } else { (128, 0) };
        cut(bits(self.source), u32::from(self.length).min(width) + before)
    }
}

impl Overrides {
    /// Of entries in any order; of two that speak of the same, the last counts.
    pub fn new(entries: &[Override]) -> Self {
        /// A rate of all, and rates by interface.
        type Group = (Option<u32>, HashMap<u32, u32>);
        let mut groups: HashMap<Prefix, Group> = HashMap::new();
        for entry in entries {
            let (rate, by_interface) = groups.entry(entry.prefix()).or_default();
            match entry.interface {
                None => *rate = Some(entry.rate),
                Some(interface) => _ = by_interface.insert(interface, entry.rate),
            }
        }
        let mut lengths: Vec<u32> = groups.keys().map(|&(length, _)| length).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let configured = |&(own, address): &Prefix| {
            let (mut rate, mut by_interface) = (None, HashMap::new());
            for &length in lengths.iter().filter(|&&length| length <= own) {
                let Some(group) = groups.get(&cut(address, length)) else { continue };
                if rate.is_none() {
                    // A rate of all hides what wider prefixes say of interfaces.
                    group
                        .1
                        .iter()
                        .for_each(|(&at, &rate)| _ = by_interface.entry(at).or_insert(rate));
                    rate = group.0;
                }
            }
            let mut by_interface: Box<[(u32, u32)]> = by_interface.into_iter().collect();
            by_interface.sort_unstable();
            Arc::new(Configured { rate, by_interface })
        };
        let by_prefix = groups.keys().map(|prefix| (*prefix, configured(prefix))).collect();
        Overrides { by_prefix, lengths: lengths.into() }
    }

    /// What is said of this exporter.
    pub fn of(&self, source: IpAddr) -> Option<Arc<Configured>> {
        let address = bits(source);
        self.lengths.iter().find_map(|&length| self.by_prefix.get(&cut(address, length)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str, interface: Option<u32>, rate: u32) -> Override {
        let (source, length) = prefix.split_once('/').unwrap();
        let (source, length) = (source.parse().unwrap(), length.parse().unwrap());
        Override { source, length, interface, rate }
    }

    /// The rate of an exporter's records seen at an interface; 0 when nothing is said.
    fn rate(overrides: &Overrides, source: &str, interface: u32) -> u32 {
        let configured = overrides.of(source.parse().unwrap());
        configured.and_then(|configured| configured.rate_at(interface)).unwrap_or(0)
    }

    #[test]
    fn the_longest_prefix_that_says_something_counts() {
        let overrides = Overrides::new(&[
            entry("10.0.0.0/8", None, 1000),
            entry("10.0.0.0/8", Some(9), 900),
            entry("10.1.0.0/16", Some(7), 70),
            entry("10.1.1.1/32", None, 5),
            entry("0.0.0.0/0", None, 1),
        ]);
        for (source, interface, expected) in [
            ("10.2.0.1", 7, 1000),
            ("10.2.0.1", 9, 900),
            ("10.1.0.1", 7, 70),
            ("10.1.0.1", 9, 900),
            ("10.1.0.1", 8, 1000),
            ("10.1.1.1", 7, 5),
            ("192.0.2.1", 7, 1),
            ("2001:db8::1", 7, 0),
        ] {
            assert_eq!(rate(&overrides, source, interface), expected, "{source} {interface}");
        }
    }

    #[test]
    fn both_ip_versions_have_their_prefixes() {
        let overrides = Overrides::new(&[entry("::/0", None, 6), entry("192.0.2.77/24", None, 4)]);
        assert_eq!(rate(&overrides, "192.0.2.1", 0), 4);
        assert_eq!(rate(&overrides, "2001:db8::1", 0), 6);
        assert_eq!(Overrides::default().of("192.0.2.1".parse().unwrap()), None);
    }
}
