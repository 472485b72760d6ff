//! What stays with the control plane once the lanes are with their workers: the XDP program, the
//! sources that it knows, and its counters.

use std::io;
use std::net::{IpAddr, SocketAddr};

use weir_ebpf::{Program, Sources, Tallies};

use super::Error;
use crate::io::device;

/// The XDP program of an opened device. Dropping it detaches it; do so before the lanes' sockets
/// close, so that no datagram is redirected to a queue that nobody serves.
#[derive(Debug)]
pub struct Kernel {
    /// The program.
    pub program: Program,
    /// The sources that it knows.
    pub sources: Sources,
    /// What it counts.
    pub tallies: Tallies,
}

impl Kernel {
    /// Tells the program this host's addresses of now, of those that `listen` means. One that came
    /// after the start takes the way of the sockets until then.
    ///
    /// # Errors
    /// When the system does not say its addresses, or the program's map does not take them.
    pub fn refresh_addresses(&mut self, listen: &[SocketAddr]) -> Result<(), Error> {
        let addresses = listened(listen, &device::local_addresses()?);
        Ok(self.program.set_addresses(&addresses)?)
    }
}

/// The addresses that the program takes datagrams for. The kernel itself would take those of every
/// local address on any device; groups and broadcasts come by the sockets.
fn listened(listen: &[SocketAddr], local: &[IpAddr]) -> Vec<IpAddr> {
    let takes = |address: &IpAddr| {
        listen.iter().any(|bind| {
            bind.ip() == *address
                || bind.ip().is_unspecified() && bind.is_ipv4() == address.is_ipv4()
        })
    };
    local.iter().copied().filter(takes).collect()
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Beside(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_means_all_local_ones_of_its_version() {
        let local: Vec<IpAddr> =
            ["127.0.0.1", "192.0.2.1", "::1"].map(|text| text.parse().unwrap()).to_vec();
        let listen = |text: &str| listened(&[text.parse().unwrap()], &local);
        assert_eq!(listen("0.0.0.0:2055"), local[..2]);
        assert_eq!(listen("[::]:2055"), local[2..]);
        assert_eq!(listen("192.0.2.1:2055"), local[1..2]);
        assert!(listen("192.0.2.9:2055").is_empty());
    }
}
