//! Flows as every collector can tell them: who talked to whom, and how much.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use weir_controlplane::lab::units::Sums;

/// A flow's addresses, ports and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// From whom; `::` where the record does not say.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// To which port; of ICMP type * 256 + code.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
}

impl Tuple {
    /// With one form for an absent address: collectors show `0.0.0.0` or `::`.
    pub fn new(source: IpAddr, destination: IpAddr, ports: [u16; 2], protocol: u8) -> Tuple {
        Tuple {
            source: one_form(source),
            destination: one_form(destination),
            source_port: ports[0],
            destination_port: ports[1],
            protocol,
        }
    }
}

fn one_form(address: IpAddr) -> IpAddr {
    let unspecified = address.to_canonical().is_unspecified();
    if unspecified { IpAddr::from([0; 16]) } else { address.to_canonical() }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuple { source, destination, source_port, destination_port, protocol } = self;
        write!(f, "{source} {source_port} > {destination} {destination_port} proto {protocol}")
    }
}

/// Flows with their sums, by tuple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(BTreeMap<Tuple, Sums>);

impl Flows {
    /// Adds one.
    pub fn add(&mut self, tuple: Tuple, sums: Sums) {
        *self.0.entry(tuple).or_default() += sums;
    }

    /// Of one tuple; zeroes when there is none.
    pub fn of(&self, tuple: &Tuple) -> Sums {
        self.0.get(tuple).copied().unwrap_or_default()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&Tuple, &Sums)> {
        self.0.iter()
    }

    /// Of all of them.
    pub fn total(&self) -> Sums {
        let mut total = Sums::default();
        for sums in self.0.values() {
            total += *sums;
        }
        total
    }

    /// How many tuples there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_addresses_have_one_form() {
        let of = |text: &str| {
            let address = text.parse().expect("an address");
            Tuple::new(address, address, [0, 0], 0)
        };
        assert_eq!(of("0.0.0.0"), of("::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("::"));
    }

    #[test]
    fn flows_of_a_tuple_are_summed() {
        let mut flows = Flows::default();
        let tuple = Tuple::new(IpAddr::from([1; 4]), IpAddr::from([2; 4]), [3, 4], 5);
        for bytes in [10, 20] {
            flows.add(tuple, Sums { flows: 1, packets: 2, bytes });
        }
        assert_eq!(flows.of(&tuple), Sums { flows: 2, packets: 4, bytes: 30 });
        assert_eq!((flows.len(), flows.total().bytes), (1, 30));
    }
}
