//! The sources that the program knows, and what it shall do with each.
//!
//! A source is an address at a listening port. Most have a slot of an array that their hash says, where
//! the program finds them at once; one whose slot another has stands in a hash map. Handles can be
//! cloned; changes wait for each other, and listing waits for none but a moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, HashMap as KernelMap, MapData, MapError};

use crate::abi;
use crate::clock::{Clock, Moment};
use crate::error::{Error, map_error};
use crate::hash::source_hash;
use crate::load::take_twice;

/// `struct weir_source_key`: address, port in network order, nothing.
type Key = [u8; 24];
/// `struct weir_source`: address, port in network order, rule, when last seen, packets, bytes.
type Value = [u8; 40];

const MAP: &str = "sources";
const BY_TABLE: u16 = 0xffff;
const REFUSED: u16 = 0xfffe;
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
    fn number(self) -> u16 {
        match self {
            SourceRule::ByTable => BY_TABLE,
            SourceRule::Assigned(slave) => slave,
            SourceRule::Refused => REFUSED,
        }
    }

    fn from_number(number: u16) -> Self {
        match number {
            BY_TABLE => SourceRule::ByTable,
            REFUSED => SourceRule::Refused,
            slave => SourceRule::Assigned(slave),
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

impl SourceKey {
    /// The same source with an IPv4 address in IPv6's shape as what it is.
    fn canonical(self) -> Self {
        SourceKey { address: self.address.to_canonical(), port: self.port }
    }

    fn bytes(self) -> Key {
        let mut bytes = Key::default();
        bytes[..16].copy_from_slice(&abi::address(self.address));
        // As the program widens it: its number in memory order.
        let port = u64::from(u16::from_ne_bytes(self.port.to_be_bytes()));
        bytes[16..].copy_from_slice(&port.to_ne_bytes());
        bytes
    }

    fn new_value(self, rule: SourceRule) -> Value {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&abi::address(self.address));
        bytes[PORT].copy_from_slice(&self.port.to_be_bytes());
        bytes[RULE].copy_from_slice(&rule.number().to_ne_bytes());
        bytes
    }
}

const PORT: std::ops::Range<usize> = 16..18;
const RULE: std::ops::Range<usize> = 18..20;

impl SourceEntry {
    fn new(key: SourceKey, value: &Value, now: Moment) -> Self {
        let long = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().expect("8 octets"));
        let packets = long(24);
        let seen = u32::from_ne_bytes(value[20..24].try_into().expect("4 octets"));
        let rule = u16::from_ne_bytes(value[RULE].try_into().expect("2 octets"));
        SourceEntry {
            key,
            rule: SourceRule::from_number(rule),
            packets,
            bytes: long(32),
            last_seen_ns: if packets == 0 { 0 } else { now.ns_at(seen) },
        }
    }
}

/// Where a source stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Slot(u32),
    Map,
}

/// The maps as those who read them see them.
struct Reading {
    slots: Array<MapData, Value>,
    map: KernelMap<MapData, Key, Value>,
    clock: Clock,
}

impl Reading {
    /// `None` for a source that is gone since its place was known.
    fn value(&self, key: SourceKey, place: Place) -> Result<Option<Value>, Error> {
        let value = match place {
            Place::Slot(slot) => self.slots.get(&slot, 0),
            Place::Map => self.map.get(&key.bytes(), 0),
        };
        match value {
            Ok(value) if value[..RULE.start] == key.bytes()[..RULE.start] => Ok(Some(value)),
            // Another has the slot by now.
            Ok(_) | Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error(MAP)(error)),
        }
    }
}

/// The maps as those who change them see them.
struct Changing {
    slots: Array<MapData, Value>,
    map: KernelMap<MapData, Key, Value>,
    places: HashMap<SourceKey, Place>,
    taken: Box<[bool]>,
    bound: u32,
}

impl Changing {
    fn slot(&self, key: SourceKey) -> u32 {
        let mask = u64::from(self.slots.len()) - 1;
        u32::try_from(source_hash(key.address) & mask).expect("below the number of slots")
    }

    /// A slot is written without its port first, by which the program knows it, so that nobody meets
    /// half of it.
    fn write(&mut self, slot: u32, value: &Value) -> Result<(), MapError> {
        let mut without = *value;
        without[PORT].fill(0);
        self.slots.set(slot, without, 0)?;
        self.slots.set(slot, value, 0)
    }

    fn add(&mut self, key: SourceKey, rule: SourceRule) -> Result<(), MapError> {
        let slot = self.slot(key);
        let value = key.new_value(rule);
        let place = if self.taken[slot as usize] {
            self.map.insert(key.bytes(), value, NO_EXIST)?;
            Place::Map
        } else {
            self.write(slot, &value)?;
            self.taken[slot as usize] = true;
            Place::Slot(slot)
        };
        self.places.insert(key, place);
        Ok(())
    }

    fn change(&mut self, key: SourceKey, place: Place, rule: SourceRule) -> Result<(), MapError> {
        let number = rule.number().to_ne_bytes();
        match place {
            Place::Slot(slot) => {
                let mut value = self.slots.get(&slot, 0)?;
                value[RULE].copy_from_slice(&number);
                self.slots.set(slot, value, 0)
            }
            Place::Map => {
                let mut value = self.map.get(&key.bytes(), 0)?;
                value[RULE].copy_from_slice(&number);
                self.map.insert(key.bytes(), value, EXIST)
            }
        }
    }

    fn remove(&mut self, key: SourceKey, place: Place) -> Result<(), MapError> {
        match place {
            Place::Slot(slot) => {
                self.slots.set(slot, [0; 40], 0)?;
                self.taken[slot as usize] = false;
            }
            Place::Map => self.map.remove(&key.bytes())?,
        }
        self.places.remove(&key);
        Ok(())
    }
}

/// A handle on the known sources.
#[derive(Clone)]
pub struct Sources {
    changing: Arc<Mutex<Changing>>,
    reading: Arc<Reading>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl Sources {
    pub(crate) fn new(ebpf: &mut Ebpf, bound: u32, expected: u32) -> Result<Self, Error> {
        let [slots, read] = take_twice::<Array<MapData, Value>>(ebpf, "source_slots")?;
        let [map, listed] = take_twice(ebpf, "sources")?;
        if slots.len() != expected {
            return Err(Error::Object("a map's size"));
        }
        let taken = vec![false; slots.len() as usize].into();
        let places = HashMap::with_capacity(bound as usize);
        let clock = Clock::new(ebpf)?;
        Ok(Sources {
            changing: Arc::new(Mutex::new(Changing { slots, map, places, taken, bound })),
            reading: Arc::new(Reading { slots: read, map: listed, clock }),
        })
    }

    /// Makes a source known, or changes the rule of one that is; its counts stay, but for what comes
    /// in at that very moment.
    ///
    /// # Errors
    /// [`Error::Slave`] when it is assigned to one from [`abi::SLAVES_MAX`] on; [`Error::Full`] when as
    /// many are known as [`crate::LoadConfig::sources`] allows; [`Error::Map`] when the kernel refuses.
    pub fn put(&self, key: SourceKey, rule: SourceRule) -> Result<(), Error> {
        if let SourceRule::Assigned(slave) = rule
            && usize::from(slave) >= abi::SLAVES_MAX
        {
            return Err(Error::Slave(format!("slave {slave}")));
        }
        let key = key.canonical();
        let mut changing = self.changing();
        let result = match changing.places.get(&key) {
            Some(&place) => changing.change(key, place, rule),
            None if changing.places.len() >= changing.bound as usize => {
                return Err(Error::Full(changing.bound));
            }
            None => changing.add(key, rule),
        };
        result.map_err(map_error(MAP))
    }

    /// Forgets a source; whether it was known.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn remove(&self, key: SourceKey) -> Result<bool, Error> {
        let key = key.canonical();
        let mut changing = self.changing();
        let Some(&place) = changing.places.get(&key) else { return Ok(false) };
        changing.remove(key, place).map_err(map_error(MAP))?;
        Ok(true)
    }

    /// A source as it stands, if it is known.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn get(&self, key: SourceKey) -> Result<Option<SourceEntry>, Error> {
        let key = key.canonical();
        let Some(place) = self.changing().places.get(&key).copied() else { return Ok(None) };
        let value = self.reading.value(key, place)?;
        let now = self.reading.clock.now()?;
        Ok(value.map(|value| SourceEntry::new(key, &value, now)))
    }

    /// All known sources, in no order. A system call a source: for the control plane. One that is put
    /// or removed meanwhile may be missing or stand as it was.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn list(&self) -> Result<Vec<SourceEntry>, Error> {
        let places: Vec<_> =
            self.changing().places.iter().map(|(key, place)| (*key, *place)).collect();
        let mut values = Vec::with_capacity(places.len());
        for (key, place) in places {
            values.extend(self.reading.value(key, place)?.map(|value| (key, value)));
        }
        // Read last, so that no source was seen after now.
        let now = self.reading.clock.now()?;
        Ok(values.iter().map(|(key, value)| SourceEntry::new(*key, value, now)).collect())
    }

    /// How many are known.
    pub fn len(&self) -> u32 {
        u32::try_from(self.changing().places.len()).expect("the bound is an u32")
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.changing().places.is_empty()
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // No change is left half done by a panic: the places are told last.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_stands_as_the_program_reads_it() {
        let key = SourceKey { address: "192.0.2.1".parse().unwrap(), port: 2055 };
        let value = key.new_value(SourceRule::Refused);
        assert_eq!(value[10..20], [0xff, 0xff, 192, 0, 2, 1, 8, 7, 0xfe, 0xff]);
        assert_eq!(value[20..], [0; 20]);
        assert_eq!(key.bytes()[16..18], [8, 7]);
    }

    #[test]
    fn rules_come_back() {
        for rule in [SourceRule::ByTable, SourceRule::Assigned(63), SourceRule::Refused] {
            assert_eq!(SourceRule::from_number(rule.number()), rule);
        }
    }
}
