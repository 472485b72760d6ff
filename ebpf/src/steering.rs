//! Which slave the program forwards a source's datagrams to, and by which way.

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::xdp::XdpMapError;
use aya::maps::{Array, DevMap, MapData};

use crate::abi::{IpVersion, SLAVES_MAX, TABLE_WORDS};
use crate::error::{Error, map_error};
use crate::hash::{NO_SLAVE, TABLE_LENGTH};
use crate::load::take;

/// Entries in a word of the table's map.
const PER_WORD: usize = 8;
/// No slave, as an octet of the table.
const NONE: u8 = u8::MAX;
/// Octets of `struct weir_hop`.
const HOP: usize = 32;
/// Octets of `struct weir_slave`: how often it changed, and two hops.
const SLAVE: usize = 8 + 2 * HOP;
const RESOLVED: u16 = 1;
const BOUNCE: u16 = 2;

/// The way to a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The slave's address.
    pub address: IpAddr,
    /// The Ethernet address of the slave, or of the router towards it.
    pub destination_mac: [u8; 6],
    /// The Ethernet address of the device that the frames leave by.
    pub source_mac: [u8; 6],
    /// That device's index. Its driver must take frames from XDP (`ndo_xdp_xmit`), else they are lost;
    /// a veth takes them when its peer has an XDP program or GRO.
    pub device: u32,
    /// Octets of the largest IP packet that fits; larger ones go to the socket.
    pub mtu: u16,
    /// Whether the frames leave by the very device that they came in by (`XDP_TX`), whatever `device`
    /// says: cheaper, and possible with every driver that has native XDP.
    pub bounce: bool,
}

impl Hop {
    fn bytes(&self) -> [u8; HOP] {
        let mut bytes = [0; HOP];
        bytes[..6].copy_from_slice(&self.destination_mac);
        bytes[6..12].copy_from_slice(&self.source_mac);
        bytes[12..14].copy_from_slice(&self.mtu.to_ne_bytes());
        let flags = RESOLVED | if self.bounce { BOUNCE } else { 0 };
        bytes[14..16].copy_from_slice(&flags.to_ne_bytes());
        match self.address {
            IpAddr::V4(address) => bytes[16..20].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[16..].copy_from_slice(&address.octets()),
        }
        bytes
    }
}

/// What the program's map has of a slave.
#[derive(Clone, Copy)]
struct Slave {
    change: u32,
    hops: [[u8; HOP]; 2],
}

impl Slave {
    fn bytes(&self) -> [u8; SLAVE] {
        let mut bytes = [0; SLAVE];
        bytes[..4].copy_from_slice(&self.change.to_ne_bytes());
        bytes[8..8 + HOP].copy_from_slice(&self.hops[0]);
        bytes[8 + HOP..].copy_from_slice(&self.hops[1]);
        bytes
    }

    /// Which of the two hops is in use.
    fn used(&self) -> usize {
        usize::from(self.change % 2 == 1)
    }
}

/// The steering tables and the ways to the slaves. Both change while frames come in: a frame meets the
/// state before or after, never one between.
pub struct Steering {
    table: Array<MapData, u64>,
    /// What stands in `table`.
    words: Box<[[u8; PER_WORD]]>,
    slaves: Array<MapData, [u8; SLAVE]>,
    known: Box<[Slave]>,
    devices: DevMap<MapData>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").finish_non_exhaustive()
    }
}

impl Steering {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut steering = Steering {
            table: take(ebpf, "table")?,
            words: vec![[0; PER_WORD]; 2 * TABLE_WORDS].into(),
            slaves: take(ebpf, "slaves")?,
            known: vec![Slave { change: 0, hops: [[0; HOP]; 2] }; 2 * SLAVES_MAX].into(),
            devices: take(ebpf, "devices")?,
        };
        let fits = steering.table.len() as usize == steering.words.len()
            && steering.slaves.len() as usize == steering.known.len()
            && steering.devices.len() as usize == 2 * steering.known.len();
        if !fits {
            return Err(Error::Object("a map's size"));
        }
        // The kernel's zeros would be slave 0.
        for version in IpVersion::BOTH {
            steering.set_table(version, &[NO_SLAVE; TABLE_LENGTH])?;
        }
        Ok(steering)
    }

    /// Replaces the table of an IP version, entry by entry; only what differs is written. Entry
    /// [`crate::table_index`] of a source is its slave, [`NO_SLAVE`] sends it to the socket.
    ///
    /// # Errors
    /// [`Error::Slave`] when an entry is neither a slave below [`SLAVES_MAX`] nor [`NO_SLAVE`], before
    /// anything is changed; [`Error::Map`] when the kernel refuses.
    pub fn set_table(
        &mut self,
        version: IpVersion,
        table: &[u16; TABLE_LENGTH],
    ) -> Result<(), Error> {
        if let Some(slave) = table.iter().find(|&&s| s != NO_SLAVE && usize::from(s) >= SLAVES_MAX)
        {
            return Err(Error::Slave(format!("slave {slave}")));
        }
        let first = version as usize * TABLE_WORDS;
        for (index, entries) in table.chunks(PER_WORD).enumerate() {
            let mut word = [NONE; PER_WORD];
            for (octet, &slave) in word.iter_mut().zip(entries) {
                *octet = u8::try_from(slave).unwrap_or(NONE);
            }
            let at = first + index;
            if self.words[at] == word {
                continue;
            }
            let key = u32::try_from(at).expect("the map is small");
            // An octet is written whole, and that is all of an entry.
            let value = u64::from_ne_bytes(word);
            self.table.set(key, value, 0).map_err(map_error("steering table"))?;
            self.words[at] = word;
        }
        Ok(())
    }

    /// Sets the way to a slave by an IP version; without one its sources' datagrams go to the socket.
    ///
    /// # Errors
    /// [`Error::Slave`] for a slave from [`SLAVES_MAX`] on, or an address of the other IP version;
    /// [`Error::Map`] when the kernel refuses, as it does for a device that is not there. The way is
    /// then as before.
    pub fn set_slave(
        &mut self,
        slave: u16,
        version: IpVersion,
        hop: Option<&Hop>,
    ) -> Result<(), Error> {
        if usize::from(slave) >= SLAVES_MAX {
            return Err(Error::Slave(format!("slave {slave}")));
        }
        if let Some(hop) = hop
            && IpVersion::of(hop.address) != version
        {
            return Err(Error::Slave(format!("{} by {version:?}", hop.address)));
        }
        let at = version as usize * SLAVES_MAX + usize::from(slave);
        let index = u32::try_from(at).expect("the map is small");
        let mut entry = self.known[at];
        let spare = 1 - entry.used();
        entry.hops[spare] = hop.map_or([0; HOP], Hop::bytes);
        if let Some(hop) = hop.filter(|hop| !hop.bounce) {
            let slot = 2 * index + u32::try_from(spare).expect("0 or 1");
            let set = self.devices.set(slot, hop.device, None, 0);
            set.map_err(|error| match error {
                XdpMapError::MapError(error) => map_error("devices")(error),
                other => Error::Slave(other.to_string()),
            })?;
        }
        // First the spare hop, which no frame reads from now on, then which is in use.
        self.slaves.set(index, entry.bytes(), 0).map_err(map_error("slaves"))?;
        self.known[at] = entry;
        entry.change = entry.change.wrapping_add(1);
        self.slaves.set(index, entry.bytes(), 0).map_err(map_error("slaves"))?;
        self.known[at] = entry;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_stands_as_the_program_reads_it() {
        let hop = Hop {
            address: "192.0.2.1".parse().unwrap(),
            destination_mac: [1; 6],
            source_mac: [2; 6],
            device: 7,
            mtu: 1500,
            bounce: true,
        };
        let bytes = hop.bytes();
        assert_eq!(bytes[..12], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(bytes[12..16], [1500u16.to_ne_bytes(), 3u16.to_ne_bytes()].concat());
        assert_eq!(bytes[16..], [[192, 0, 2, 1].as_slice(), &[0; 12]].concat());
    }

    #[test]
    fn an_entry_has_its_two_hops_behind_the_number_of_its_changes() {
        let entry = Slave { change: 3, hops: [[4; HOP], [5; HOP]] };
        assert_eq!(entry.used(), 1);
        let bytes = entry.bytes();
        assert_eq!(bytes[..8], [3u32.to_ne_bytes(), [0; 4]].concat());
        assert_eq!((bytes[8], bytes[39], bytes[40], bytes[71]), (4, 4, 5, 5));
    }
}
