//! The gate of a listening port: which exporters and formats are let in, and where copies go.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is let in at a listening port, and where else it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The listening port.
    pub port: u16,
    /// Networks whose exporters are let in; `None` lets everyone in.
    pub allow: Option<Vec<Prefix>>,
    /// Formats that are let in, ascending; `None` lets every format in.
    pub formats: Option<Vec<Format>>,
    /// Further destinations of every datagram that is let in.
    pub copies: Vec<CopyTo>,
    /// One in so many refused datagrams is told in the log; 0 is none.
    pub log_refused: u32,
}

/// A format of flow data, by the word of the topology file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// NetFlow v1.
    Netflow1,
    /// NetFlow v5.
    Netflow5,
    /// NetFlow v6.
    Netflow6,
    /// NetFlow v7.
    Netflow7,
    /// NetFlow v8, of every aggregation.
    Netflow8,
    /// NetFlow v9 (RFC 3954).
    Netflow9,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// sFlow v5.
    Sflow,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Netflow1 => "netflow1",
            Format::Netflow5 => "netflow5",
            Format::Netflow6 => "netflow6",
            Format::Netflow7 => "netflow7",
            Format::Netflow8 => "netflow8",
            Format::Netflow9 => "netflow9",
            Format::Ipfix => "ipfix",
            Format::Sflow => "sflow",
        })
    }
}

/// Whose address a copy bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopySource {
    /// The exporter's own address and port.
    #[default]
    Exporter,
    /// The proxy's.
    Proxy,
}

/// A further destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyTo {
    /// Where copies go.
    pub to: SocketAddr,
    /// Whose address they bear.
    pub source: CopySource,
    /// Largest IP packet on the way, bytes.
    pub mtu: u16,
}

impl fmt::Display for CopyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.source {
            CopySource::Exporter => "the exporter's",
            CopySource::Proxy => "the proxy's",
        };
        write!(f, "{} with {whose} address", self.to)
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The network's address; the bits after `length` are zero.
    pub address: IpAddr,
    /// Bits that count: up to 32 (IPv4) or 128 (IPv6).
    pub length: u8,
}

impl Prefix {
    /// Whether an address lies in the network; one in IPv6 form of IPv4 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or the address of one host.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("{text:?} is no network: write it as 10.0.0.0/8 or 2001:db8::/32")
        })?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length.map(str::parse) {
            None => most,
            Some(Ok(length)) if length <= most => length,
            Some(_) => return Err(format!("{text:?}: a prefix length is from 0 to {most}")),
        };
        let network = masked(address, length);
        if network != address {
            return Err(format!(
                "{text:?} has bits beyond its prefix length: did you mean {network}/{length}?"
            ));
        }
        Ok(Prefix { address, length })
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_own_addresses_of_its_own_version() {
        let network: Prefix = "10.0.0.0/8".parse().unwrap();
        assert!(network.contains([10, 255, 0, 1].into()));
        assert!(!network.contains([11, 0, 0, 1].into()));
        assert!(!network.contains("::1".parse().unwrap()));
        assert!(network.contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_is_an_address_and_a_length() {
        let read = |text: &str| text.parse::<Prefix>().map(|prefix| prefix.to_string());
        for text in ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(read(text), Ok(text.to_owned()));
        }
        assert_eq!(read("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert!(read("10.1.2.3/8").unwrap_err().contains("did you mean 10.0.0.0/8?"));
        assert!(read("10.0.0.0/33").unwrap_err().contains("0 to 32"));
        assert!(read("ten").unwrap_err().contains("is no network"));
    }
}
