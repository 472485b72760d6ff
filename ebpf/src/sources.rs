//! The sources that the program knows, and what it shall do with each.
//!
//! A source is an address at a listening port. Handles can be cloned; changes wait for each other,
//! and listing for none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use aya::{Ebpf, Pod};

use crate::error::{Error, map_error};
use crate::load::take_twice;

/// `struct weir_source4`: address, port in network order, nothing.
type Key4 = [u8; 8];
/// `struct weir_source6`.
type Key6 = [u8; 20];
/// `struct weir_source`: packets, bytes, when last seen, rule.
type Value = [u64; 4];

const MAP: &str = "sources";
const ASSIGNED: u64 = 0x1_0000;
const REFUSED: u64 = 0x2_0000;
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// Who sends, and to which listening port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The exporter's address.
    pub address: IpAddr,
    /// The listening port.
    pub port: u16,
}

/// What the program does with a known source's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// The steering table says the slave.
    ByTable,
    /// This slave has them, whatever the table says.
    Assigned(u16),
    /// They are dropped and counted.
    Refused,
}

impl SourceRule {
    fn word(self) -> u64 {
        match self {
            SourceRule::ByTable => 0,
            SourceRule::Assigned(slave) => ASSIGNED | u64::from(slave),
            SourceRule::Refused => REFUSED,
        }
    }

    fn from_word(word: u64) -> Self {
        if word & REFUSED != 0 {
            SourceRule::Refused
        } else if word & ASSIGNED != 0 {
            SourceRule::Assigned(u16::try_from(word & 0xffff).expect("16 bits"))
        } else {
            SourceRule::ByTable
        }
    }
}

/// A known source as it stands. Its counts are exact where one receive queue has all its datagrams,
/// as receive-side scaling by address gives it; otherwise some may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// Which.
    pub key: SourceKey,
    /// What is done with its datagrams.
    pub rule: SourceRule,
    /// Datagrams that came since it was put, refused ones included.
    pub packets: u64,
    /// Octets of these, from the IP header on.
    pub bytes: u64,
    /// When the last one came: nanoseconds of `CLOCK_MONOTONIC`, to the tick; 0 before the first.
    pub last_seen_ns: u64,
}

impl SourceEntry {
    fn new(key: SourceKey, [packets, bytes, last_seen_ns, rule]: Value) -> Self {
        let rule = SourceRule::from_word(rule);
        SourceEntry { key, rule, packets, bytes, last_seen_ns }
    }
}

fn key4(address: Ipv4Addr, port: u16) -> Key4 {
    let mut key = Key4::default();
    key[..4].copy_from_slice(&address.octets());
    key[4..6].copy_from_slice(&port.to_be_bytes());
    key
}

fn key6(address: Ipv6Addr, port: u16) -> Key6 {
    let mut key = Key6::default();
    key[..16].copy_from_slice(&address.octets());
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key
}

fn source4([a, b, c, d, port @ .., _, _]: Key4) -> SourceKey {
    SourceKey { address: Ipv4Addr::new(a, b, c, d).into(), port: u16::from_be_bytes(port) }
}

fn source6(key: Key6) -> SourceKey {
    let address: [u8; 16] = key[..16].try_into().expect("16 octets");
    SourceKey {
        address: Ipv6Addr::from(address).into(),
        port: u16::from_be_bytes([key[16], key[17]]),
    }
}

/// The maps as those who change them see them.
struct Changing {
    v4: HashMap<MapData, Key4, Value>,
    v6: HashMap<MapData, Key6, Value>,
    length: u32,
    bound: u32,
}

/// A handle on the known sources.
#[derive(Clone)]
pub struct Sources {
    changing: Arc<Mutex<Changing>>,
    v4: Arc<HashMap<MapData, Key4, Value>>,
    v6: Arc<HashMap<MapData, Key6, Value>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl Sources {
    pub(crate) fn new(ebpf: &mut Ebpf, bound: u32) -> Result<Self, Error> {
        let [v4, listed4] = take_twice(ebpf, "sources4")?;
        let [v6, listed6] = take_twice(ebpf, "sources6")?;
        Ok(Sources {
            v4: Arc::new(listed4),
            v6: Arc::new(listed6),
            changing: Arc::new(Mutex::new(Changing { v4, v6, length: 0, bound })),
        })
    }

    /// Makes a source known, or changes the rule of one that is; its counts stay, but for what comes
    /// in at that very moment.
    ///
    /// # Errors
    /// [`Error::Full`] when as many are known as [`crate::LoadConfig::sources`] allows; [`Error::Map`]
    /// when the kernel refuses.
    pub fn put(&self, key: SourceKey, rule: SourceRule) -> Result<(), Error> {
        let mut changing = self.changing();
        let Changing { v4, v6, length, bound } = &mut *changing;
        let room = *length < *bound;
        let new = match key.address {
            IpAddr::V4(address) => put(v4, key4(address, key.port), rule, room),
            IpAddr::V6(address) => put(v6, key6(address, key.port), rule, room),
        };
        match new {
            Ok(Some(new)) => {
                *length += u32::from(new);
                Ok(())
            }
            Ok(None) => Err(Error::Full(*bound)),
            Err(error) => Err(map_error(MAP)(error)),
        }
    }

    /// Forgets a source; whether it was known.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn remove(&self, key: SourceKey) -> Result<bool, Error> {
        let mut changing = self.changing();
        let removed = match key.address {
            IpAddr::V4(address) => changing.v4.remove(&key4(address, key.port)),
            IpAddr::V6(address) => changing.v6.remove(&key6(address, key.port)),
        };
        match removed {
            Ok(()) => {
                changing.length -= 1;
                Ok(true)
            }
            Err(error) if is(&error, libc::ENOENT) => Ok(false),
            Err(error) => Err(map_error(MAP)(error)),
        }
    }

    /// A source as it stands, if it is known.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn get(&self, key: SourceKey) -> Result<Option<SourceEntry>, Error> {
        let value = match key.address {
            IpAddr::V4(address) => self.v4.get(&key4(address, key.port), 0),
            IpAddr::V6(address) => self.v6.get(&key6(address, key.port), 0),
        };
        match value {
            Ok(value) => Ok(Some(SourceEntry::new(key, value))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error(MAP)(error)),
        }
    }

    /// All known sources, in no order. Two system calls a source: for the control plane. One that is
    /// put or removed meanwhile may be missing or stand twice.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn list(&self) -> Result<Vec<SourceEntry>, Error> {
        let mut entries = Vec::with_capacity(self.len() as usize);
        collect(&self.v4, source4, &mut entries)?;
        collect(&self.v6, source6, &mut entries)?;
        Ok(entries)
    }

    /// How many are known.
    pub fn len(&self) -> u32 {
        self.changing().length
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // Whoever panicked while it held the lock had finished with the kernel's map.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the entry is new; `None` when it would be and there is no room.
fn put<K: Pod>(
    map: &mut HashMap<MapData, K, Value>,
    key: K,
    rule: SourceRule,
    room: bool,
) -> Result<Option<bool>, MapError> {
    let [packets, bytes, seen, _] = match map.get(&key, 0) {
        Ok(value) => value,
        Err(MapError::KeyNotFound) if !room => return Ok(None),
        Err(MapError::KeyNotFound) => {
            map.insert(key, [0, 0, 0, rule.word()], NO_EXIST)?;
            return Ok(Some(true));
        }
        Err(error) => return Err(error),
    };
    map.insert(key, [packets, bytes, seen, rule.word()], EXIST)?;
    Ok(Some(false))
}

fn collect<K: Pod>(
    map: &HashMap<MapData, K, Value>,
    key: fn(K) -> SourceKey,
    entries: &mut Vec<SourceEntry>,
) -> Result<(), Error> {
    for pair in map.iter() {
        match pair {
            Ok((found, value)) => entries.push(SourceEntry::new(key(found), value)),
            // Removed since its key was read.
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(map_error(MAP)(error)),
        }
    }
    Ok(())
}

fn is(error: &MapError, number: i32) -> bool {
    matches!(error, MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_rules_come_back() {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(source4(key4(address, 2055)), SourceKey { address: address.into(), port: 2055 });
        let address = "2001:db8::1".parse().unwrap();
        assert_eq!(source6(key6(address, 9995)), SourceKey { address: address.into(), port: 9995 });
        for rule in [
            SourceRule::ByTable,
            SourceRule::Assigned(0),
            SourceRule::Assigned(63),
            SourceRule::Refused,
        ] {
            assert_eq!(SourceRule::from_word(rule.word()), rule);
        }
    }
}
