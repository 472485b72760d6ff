//! The dictionary of a segment's addresses: sorted, each once, shared by all address columns.
//!
//! Rows hold codes, an address's place in the order, so a prefix is a range of codes. The dictionary
//! is the segment's exact index: one search says whether an address is in the segment, and beside
//! each address stands in which blocks. Chunks of 2,048 addresses are encoded and checked by
//! themselves, and their first addresses stand in an index, so a search reads one chunk.

use std::ops::Range;
use std::sync::OnceLock;

use hashbrown::HashMap;

use super::checksum::{Place, Sections};
use super::codec::Codec;
use super::fields::Fields;
use super::{Whole, number, presence};
use crate::Address;

/// Addresses in a chunk.
pub(super) const CHUNK: usize = 2048;

const ENTRY_BYTES: usize = 16 + Place::BYTES * 2;

/// Collects addresses and gives each a number in the order of their coming.
#[derive(Default)]
pub(super) struct Builder {
    /// Most addresses are IPv4, and a small key is found sooner.
    v4: HashMap<u32, u32>,
    v6: HashMap<u128, u32>,
    count: u32,
}

/// All addresses in order.
pub(super) struct Sorted {
    pub(super) addresses: Vec<Address>,
    /// The code of each number that [`Builder::number`] gave.
    pub(super) codes: Vec<u32>,
}

impl Builder {
    /// The number of `address`.
    pub(super) fn number(&mut self, address: Address) -> u32 {
        let next = self.count;
        let value = u128::from_be_bytes(address.0);
        let number = if value >> 32 == 0xffff {
            *self.v4.entry(value as u32).or_insert(next)
        } else {
            *self.v6.entry(value).or_insert(next)
        };
        self.count += u32::from(number == next);
        number
    }

    /// Sorts what was collected.
    pub(super) fn sort(self) -> Sorted {
        // A number and what it sorts by in one word sort faster than a pair does.
        let pair = |(v4, number): (u32, u32)| u64::from(v4) << 32 | u64::from(number);
        let mut v4: Vec<u64> = self.v4.into_iter().map(pair).collect();
        v4.sort_unstable();
        let mut v6: Vec<(u128, u32)> = self.v6.into_iter().collect();
        v6.sort_unstable();
        let below = v6.partition_point(|(value, _)| *value < 0xffff << 32);
        let mut sorted = Sorted {
            addresses: Vec::with_capacity(self.count as usize),
            codes: vec![0; self.count as usize],
        };
        let v6_of = |(value, number): &(u128, u32)| (Address(value.to_be_bytes()), *number);
        let v4_of =
            |pair: &u64| (Address::from_v4(((pair >> 32) as u32).to_be_bytes()), *pair as u32);
        let (below, above) = v6.split_at(below);
        let all =
            below.iter().map(v6_of).chain(v4.iter().map(v4_of)).chain(above.iter().map(v6_of));
        for (code, (address, number)) in all.enumerate() {
            sorted.addresses.push(address);
            sorted.codes[number as usize] = code as u32;
        }
        sorted
    }
}

fn high(address: &Address) -> u64 {
    (u128::from_be_bytes(address.0) >> 64) as u64
}

fn low(address: &Address) -> u64 {
    u128::from_be_bytes(address.0) as u64
}

/// Writes the chunks and the index that [`Dictionary::read`] reads; `masks` are the blocks of each
/// address.
pub(super) fn write(
    addresses: &[Address],
    masks: &[u64],
    codec: &mut Codec,
    out: &mut Sections,
) -> Place {
    let mut index = Vec::with_capacity(addresses.len().div_ceil(CHUNK) * ENTRY_BYTES);
    for (addresses, masks) in addresses.chunks(CHUNK).zip(masks.chunks(CHUNK)) {
        let highs: Vec<u64> = addresses.iter().map(high).collect();
        let lows: Vec<u64> = addresses.iter().map(low).collect();
        let chunk = out.add(|bytes| {
            number::write(&highs, codec, bytes);
            number::write(&lows, codec, bytes);
        });
        let blocks = out.add(|bytes| presence::write(masks, codec, bytes));
        index.extend_from_slice(&addresses[0].0);
        chunk.write(&mut index);
        blocks.write(&mut index);
    }
    out.add(|bytes| bytes.extend_from_slice(&index))
}

/// A dictionary in a file; chunks are decoded when they are first needed.
pub(super) struct Dictionary {
    count: usize,
    chunks: Vec<Chunk>,
}

struct Chunk {
    first: Address,
    addresses: Place,
    blocks: Place,
    decoded: OnceLock<Box<[Address]>>,
}

impl Dictionary {
    /// The dictionary of `count` addresses whose index is at `index`.
    pub(super) fn read(file: &[u8], index: Place, count: usize) -> Whole<Dictionary> {
        let bytes = index.of(file)?;
        if count.div_ceil(CHUNK).checked_mul(ENTRY_BYTES) != Some(bytes.len()) {
            return Err("its length contradicts its number of addresses");
        }
        let chunks = bytes.chunks_exact(ENTRY_BYTES).map(|entry| {
            let mut fields = Fields(entry);
            let first = fields.take(16)?.as_array().copied().map(Address);
            Ok(Chunk {
                first: first.ok_or("an address has 16 bytes")?,
                addresses: Place::read(&mut fields)?,
                blocks: Place::read(&mut fields)?,
                decoded: OnceLock::new(),
            })
        });
        let chunks: Vec<Chunk> = chunks.collect::<Whole<_>>()?;
        if !chunks.is_sorted_by(|a, b| a.first < b.first) {
            return Err("its addresses are not in order");
        }
        Ok(Dictionary { count, chunks })
    }

    fn length_of(&self, chunk: usize) -> usize {
        (self.count - chunk * CHUNK).min(CHUNK)
    }

    fn chunk<'a>(&'a self, file: &[u8], number: usize) -> Whole<&'a [Address]> {
        let chunk = &self.chunks[number];
        if let Some(decoded) = chunk.decoded.get() {
            return Ok(decoded);
        }
        let count = self.length_of(number);
        let mut fields = Fields(chunk.addresses.of(file)?);
        let (mut highs, mut lows) = (Vec::<u64>::new(), Vec::<u64>::new());
        number::read(&mut fields, count, &mut highs)?;
        number::read(&mut fields, count, &mut lows)?;
        fields.end()?;
        let address = |(high, low): (u64, u64)| {
            Address((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
        };
        let decoded: Box<[Address]> = highs.into_iter().zip(lows).map(address).collect();
        if !decoded.is_sorted_by(|a, b| a < b) || decoded.first() != Some(&chunk.first) {
            return Err("its addresses are not in order");
        }
        Ok(chunk.decoded.get_or_init(|| decoded))
    }

    /// The address of each code.
    pub(super) fn addresses(&self, file: &[u8], codes: &[u32]) -> Whole<Vec<Address>> {
        let mut chunks: Vec<Option<&[Address]>> = vec![None; self.chunks.len()];
        let mut addresses = Vec::with_capacity(codes.len());
        for &code in codes {
            if code as usize >= self.count {
                return Err("a code is beyond the dictionary");
            }
            let number = code as usize / CHUNK;
            let chunk = match chunks[number] {
                Some(chunk) => chunk,
                None => *chunks[number].insert(self.chunk(file, number)?),
            };
            addresses.push(chunk[code as usize % CHUNK]);
        }
        Ok(addresses)
    }

    /// The codes of the addresses from `first` to `last`, both inclusive.
    pub(super) fn codes(&self, file: &[u8], first: Address, last: Address) -> Whole<Range<u32>> {
        let from = self.rank(file, |address| *address < first)?;
        let until = self.rank(file, |address| *address <= last)?;
        Ok(from..until.max(from))
    }

    /// How many addresses are `below`, which must hold for the first ones only.
    fn rank(&self, file: &[u8], below: impl Fn(&Address) -> bool) -> Whole<u32> {
        let chunks = self.chunks.partition_point(|chunk| below(&chunk.first));
        let Some(last) = chunks.checked_sub(1) else { return Ok(0) };
        let within = self.chunk(file, last)?.partition_point(below);
        Ok((last * CHUNK + within) as u32)
    }

    /// The blocks that hold any address of `codes`, a bit each.
    pub(super) fn blocks(&self, file: &[u8], codes: Range<u32>) -> Whole<u64> {
        let (mut at, end) = (codes.start as usize, (codes.end as usize).min(self.count));
        let mut blocks = 0;
        while at < end {
            let chunk = at / CHUNK;
            let until = end.min((chunk + 1) * CHUNK);
            let bytes = self.chunks[chunk].blocks.of(file)?;
            let within = at % CHUNK..until - chunk * CHUNK;
            blocks |= presence::read(bytes, self.length_of(chunk), within)?;
            at = until;
        }
        Ok(blocks)
    }

    /// Decodes and checks everything.
    pub(super) fn check(&self, file: &[u8]) -> Whole<()> {
        (0..self.chunks.len()).try_for_each(|chunk| self.chunk(file, chunk).map(drop))?;
        self.blocks(file, 0..self.count as u32).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(addresses: &[Address]) -> (Vec<u8>, Dictionary, Vec<Address>) {
        let mut builder = Builder::default();
        let numbers: Vec<u32> = addresses.iter().map(|address| builder.number(*address)).collect();
        let sorted = builder.sort();
        assert!(sorted.addresses.is_sorted_by(|a, b| a < b));
        for (number, address) in numbers.into_iter().zip(addresses) {
            assert_eq!(sorted.addresses[sorted.codes[number as usize] as usize], *address);
        }
        let masks: Vec<u64> = (0..sorted.addresses.len() as u64).map(|at| 1 << (at % 64)).collect();
        let mut out = Sections::default();
        let index = write(&sorted.addresses, &masks, &mut Codec::new(false), &mut out);
        let dictionary = Dictionary::read(&out.bytes, index, sorted.addresses.len()).unwrap();
        (out.bytes, dictionary, sorted.addresses)
    }

    fn several() -> Vec<Address> {
        let v4 = (0..5000_u32).map(|n| Address::from_v4((n.wrapping_mul(77_777)).to_be_bytes()));
        let v6 = (0..3000_u128).map(|n| Address(((0x2001_0db8 << 96) | (n * n)).to_be_bytes()));
        let mut all: Vec<Address> = v6.chain(v4).collect();
        all.push(Address::ABSENT);
        all
    }

    #[test]
    fn both_versions_come_back_in_order_by_their_codes() {
        let (file, dictionary, sorted) = built(&several());
        let codes: Vec<u32> = (0..sorted.len() as u32).collect();
        assert_eq!(dictionary.addresses(&file, &codes).unwrap(), sorted);
        assert!(dictionary.addresses(&file, &[sorted.len() as u32]).is_err());
        dictionary.check(&file).unwrap();
    }

    #[test]
    fn a_prefix_is_a_range_of_codes_and_tells_its_blocks() {
        let (file, dictionary, sorted) = built(&several());
        for (first, last) in [(0, 0), (10, 4000), (4999, 7000), (0, sorted.len() - 1)] {
            let codes = dictionary.codes(&file, sorted[first], sorted[last]).unwrap();
            assert_eq!(codes, first as u32..last as u32 + 1);
            let expected = (first..=last).fold(0, |blocks, at| blocks | 1_u64 << (at % 64));
            assert_eq!(dictionary.blocks(&file, codes).unwrap(), expected);
        }
        let absent = Address::from_v4([255, 255, 255, 255]);
        assert!(dictionary.codes(&file, absent, absent).unwrap().is_empty());
        assert!(
            dictionary.codes(&file, Address([0xff; 16]), Address([0xff; 16])).unwrap().is_empty()
        );
    }
}
