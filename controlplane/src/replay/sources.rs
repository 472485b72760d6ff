//! Whose addresses the packets bear.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::{Error, Original};

/// The port of an exporter of which no port is known.
const PORT: u16 = 40_000;

/// How exporters come to the address that their packets bear.
#[derive(Debug)]
pub enum Sources {
    /// The sending host's own; each exporter has a port of its own.
    Own,
    /// Their own, as captured.
    Kept,
    /// Given ones.
    Mapped(Map),
}

/// Each exporter its given address: in the order of their first packets, round robin.
#[derive(Debug)]
pub struct Map {
    given: Vec<Given>,
    assigned: HashMap<Original, SocketAddr>,
    taken: HashSet<SocketAddr>,
}

/// An address to send from; without a port the exporter keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Given { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Given { ip: address.ip(), port: Some(address.port()) }),
            Err(_) => Err("an address such as 127.0.0.2, 127.0.0.2:4000 or [fd00::2]:4000".into()),
        }
    }
}

impl Sources {
    /// Exporters take these addresses in turn.
    pub fn mapped(given: Vec<Given>) -> Self {
        Sources::Mapped(Map { given, assigned: HashMap::new(), taken: HashSet::new() })
    }

    /// The address that this exporter's packets bear; `None` when the system chooses.
    pub(super) fn address(&mut self, original: Original) -> Result<Option<SocketAddr>, Error> {
        match self {
            Sources::Own => Ok(None),
            Sources::Kept => original.map(Some).ok_or(Error::NoSource),
            Sources::Mapped(map) => Ok(Some(map.address(original))),
        }
    }
}

impl Map {
    fn address(&mut self, original: Original) -> SocketAddr {
        if let Some(&address) = self.assigned.get(&original) {
            return address;
        }
        let given = self.given[self.assigned.len() % self.given.len()];
        let port = given.port.or(original.map(|address| address.port())).unwrap_or(PORT);
        // Two exporters with one address and port would be one to a collector: the later one gets
        // the next free port.
        let ports = (port..=u16::MAX).chain(1_024..port);
        let mut addresses = ports.map(|port| SocketAddr::new(given.ip, port));
        let address = addresses.find(|address| !self.taken.contains(address));
        let address = address.unwrap_or(SocketAddr::new(given.ip, port));
        self.taken.insert(address);
        self.assigned.insert(original, address);
        address
    }
}

/// The address of a generated exporter, from 1: in the network for benchmarks (RFC 2544).
pub(super) fn generated(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(198, 18, high, low).into(), PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_given_with_or_without_a_port() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(given("10.0.0.1").port, None);
        assert_eq!(given("10.0.0.1:4000").port, Some(4_000));
        assert_eq!(given("fd00::1"), Given { ip: v6, port: None });
        assert_eq!(given("[fd00::1]:4000"), Given { ip: v6, port: Some(4_000) });
        assert!("router1".parse::<Given>().is_err());
    }

    #[test]
    fn exporters_take_given_addresses_in_turn_and_keep_their_ports() {
        let mut sources = Sources::mapped(vec![given("10.0.0.1"), given("10.0.0.2:9")]);
        let mut address =
            |original: &str| sources.address(original.parse().ok()).unwrap().unwrap().to_string();
        assert_eq!(address("192.0.2.1:4000"), "10.0.0.1:4000");
        assert_eq!(address("192.0.2.2:4000"), "10.0.0.2:9");
        assert_eq!(address("192.0.2.1:4000"), "10.0.0.1:4000");
    }

    #[test]
    fn two_exporters_never_share_an_address_and_port() {
        let mut sources = Sources::mapped(vec![given("10.0.0.1")]);
        let all: HashSet<_> = ["192.0.2.1:4000", "192.0.2.2:4000", "192.0.2.3:4000", "none"]
            .map(|original| sources.address(original.parse().ok()).unwrap().unwrap())
            .into();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_kept_source_must_be_known() {
        assert!(matches!(Sources::Kept.address(None), Err(Error::NoSource)));
    }
}
