//! `weir decode`: a capture, packet by packet, as text or JSON.
//!
//! What a datagram says is `weir_dataplane::describe`'s to find out; here it is chosen, shown and
//! summed up.

mod form;
mod json;
mod summary;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weir_dataplane::Timestamp;
use weir_dataplane::describe::{Describer, Description, Severity};
use weir_dataplane::session::Transport;
use weir_dataplane::wire::Message;

pub use json::{packet as packet_json, templates as templates_json};
pub use summary::{Summary, Totals};
pub use text::{Style, packet as packet_text, templates as templates_text};

use crate::capture::{Captured, Error, Stream};

/// Ports that exporters are commonly pointed at: what comes there is looked at even when it makes
/// no sense.
const USUAL_PORTS: [u16; 12] =
    [2055, 2056, 4432, 4729, 4739, 4740, 6343, 9025, 9555, 9985, 9995, 9996];

/// Which datagrams are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// From these exporters, or any when there is none.
    pub exporters: Vec<Network>,
    /// To these ports, or any that exports come to when there is none.
    pub ports: Vec<u16>,
}

/// An address with the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || {
            format!("{text:?} is no address such as 10.0.0.1, nor a network such as 10.0.0.0/24")
        };
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() { most } else { bits.parse().map_err(|_| wrong())? };
        if bits > most || text.ends_with('/') {
            return Err(wrong());
        }
        Ok(Network { address, bits })
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.bits
    }
}

/// One packet of a capture, described.
#[derive(Debug)]
pub struct Packet {
    /// What was captured.
    pub captured: Captured,
    /// What it says.
    pub description: Description,
}

impl Packet {
    /// Whether it has complaints that are more than notes.
    pub fn is_faulty(&self) -> bool {
        let complaints = &self.description.complaints;
        complaints.iter().any(|complaint| complaint.kind.severity() > Severity::Note)
    }
}

/// The packets of a capture.
pub struct Decoder {
    stream: Stream,
    chosen: Chosen,
    describer: Describer,
    /// Ports to which messages came that make sense.
    ports: Vec<u16>,
    /// UDP datagrams that are no flow export, or of other exporters.
    passed_over: u64,
}

impl Decoder {
    /// Over what is chosen of a capture.
    pub fn new(stream: Stream, chosen: Chosen) -> Self {
        let describer = Describer::default();
        Decoder { stream, chosen, describer, ports: Vec::new(), passed_over: 0 }
    }

    /// The describer, which knows the templates.
    pub fn describer(&self) -> &Describer {
        &self.describer
    }

    /// UDP datagrams that are no flow export, or were not chosen.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The capture.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    fn is_chosen(&mut self, captured: &Captured) -> bool {
        let datagram = &captured.datagram;
        let (Some(source), Some(destination)) = (datagram.source, datagram.destination) else {
            // Of a file without addresses nothing can be told apart.
            return true;
        };
        let exporters = &self.chosen.exporters;
        if !exporters.is_empty() && !exporters.iter().any(|network| network.holds(source.ip())) {
            return false;
        }
        let port = destination.port();
        if !self.chosen.ports.is_empty() {
            return self.chosen.ports.contains(&port);
        }
        if USUAL_PORTS.contains(&port) || self.ports.contains(&port) {
            return true;
        }
        let makes_sense = Message::parse(&datagram.payload).is_ok();
        if makes_sense {
            self.ports.push(port);
        }
        makes_sense
    }
}

impl Iterator for Decoder {
    type Item = Result<Packet, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        loop {
            let captured = match self.stream.next()? {
                Ok(captured) => captured,
                Err(error) => return Some(Err(error)),
            };
            if !self.is_chosen(&captured) {
                self.passed_over += 1;
                continue;
            }
            let datagram = &captured.datagram;
            // A file is read by the rules of TCP: its templates end with it.
            let transport =
                if self.stream.is_ipfix_file() { Transport::Tcp } else { Transport::Udp };
            let description = self.describer.carried(
                datagram.source.unwrap_or(NOWHERE),
                datagram.destination.unwrap_or(NOWHERE),
                transport,
                &datagram.payload,
                Timestamp(datagram.time_ms.unwrap_or(0)),
            );
            return Some(Ok(Packet { captured, description }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().holds(address.parse().unwrap())
        };
        assert!(holds("10.0.0.1", "10.0.0.1") && !holds("10.0.0.1", "10.0.0.2"));
        assert!(holds("10.0.0.0/24", "10.0.0.255") && !holds("10.0.0.0/24", "10.0.1.0"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::"));
        for wrong in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "x/1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
