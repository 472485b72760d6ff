//! A numeric dictionary: few distinct numbers, sorted, and for each row which of them it is.

use super::Whole;
use super::array::{self, Shape};
use super::codec::Codec;
use super::fields::Fields;
use super::number::Positions;
use super::pack::{Number, bits, packed_len};

/// The most distinct numbers; with more, other encodings are smaller and faster.
const MOST: usize = 1024;

/// How many numbers are looked at before all are.
const SAMPLE: usize = 256;

/// Ranges up to this are counted in a table.
const TABLE: usize = 4096;

/// The distinct numbers of a block, ascending.
pub(super) struct Found {
    distinct: Vec<u64>,
    min: u64,
}

impl Found {
    /// The dictionary of `values`, if they take fewer than `direct` bytes with it.
    pub(super) fn of(values: &[u64], shape: &Shape, direct: usize) -> Option<Found> {
        let step = values.len().div_ceil(SAMPLE).max(1);
        let mut sample: Vec<u64> = values.iter().copied().step_by(step).collect();
        let looked_at = sample.len();
        sample.sort_unstable();
        sample.dedup();
        if sample.len() * 2 > looked_at {
            return None;
        }
        let distinct = if shape.max - shape.min < TABLE as u64 {
            let mut seen = [false; TABLE];
            values.iter().for_each(|value| seen[(value - shape.min) as usize] = true);
            let seen = seen.iter().enumerate().filter(|(_, seen)| **seen);
            seen.map(|(at, _)| at as u64 + shape.min).collect()
        } else {
            let mut seen = Positions::with_capacity(MOST);
            let mut last = None;
            for &value in values {
                if last != Some(value) {
                    seen.insert(value, 0);
                    last = Some(value);
                }
                if seen.len() > MOST {
                    return None;
                }
            }
            let mut distinct: Vec<u64> = seen.into_keys().collect();
            distinct.sort_unstable();
            distinct
        };
        let width = bits(distinct.len() as u64 - 1);
        let dictionary = packed_len(distinct.len(), shape.width());
        let cost = 32 + dictionary + packed_len(values.len(), width);
        (distinct.len() <= MOST && cost + cost / 32 < direct)
            .then_some(Found { distinct, min: shape.min })
    }

    /// Appends the dictionary and the codes of `values`.
    pub(super) fn write(&self, values: &[u64], codec: &mut Codec, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.distinct.len() as u32).to_le_bytes());
        array::write(&self.distinct, codec, out);
        let most = self.distinct.last().map_or(0, |last| last - self.min);
        let codes: Vec<u64> = if most < TABLE as u64 {
            let mut codes = [0; TABLE];
            for (code, value) in self.distinct.iter().enumerate() {
                codes[(value - self.min) as usize] = code as u64;
            }
            values.iter().map(|value| codes[(value - self.min) as usize]).collect()
        } else {
            let numbered = self.distinct.iter().zip(0_u32..);
            let codes: Positions = numbered.map(|(value, code)| (*value, code)).collect();
            let (mut last, mut code) = (None, 0);
            let code_of = |value: &u64| {
                if last != Some(*value) {
                    (last, code) = (Some(*value), codes[value].into());
                }
                code
            };
            values.iter().map(code_of).collect()
        };
        array::write(&codes, codec, out);
    }
}

/// Appends the `count` numbers that stand next in `fields`.
pub(super) fn read<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    out: &mut Vec<T>,
) -> Whole<()> {
    let (dictionary, mut codes) = (read_dictionary::<T>(fields, count)?, Vec::<u32>::new());
    array::read(fields, count, &mut codes)?;
    decode(&dictionary, &codes, out)
}

/// Appends those at `rows`, ascending, of the `count` numbers that stand next in `fields`.
pub(super) fn pick<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    rows: &[u32],
    out: &mut Vec<T>,
) -> Whole<()> {
    let (dictionary, mut codes) = (read_dictionary::<T>(fields, count)?, Vec::<u32>::new());
    array::pick(fields, count, rows, &mut codes)?;
    decode(&dictionary, &codes, out)
}

fn read_dictionary<T: Number>(fields: &mut Fields<'_>, count: usize) -> Whole<Vec<T>> {
    let distinct = fields.u32()? as usize;
    if distinct > count {
        return Err("it claims more distinct numbers than numbers");
    }
    let mut dictionary = Vec::new();
    array::read(fields, distinct, &mut dictionary)?;
    Ok(dictionary)
}

fn decode<T: Number>(dictionary: &[T], codes: &[u32], out: &mut Vec<T>) -> Whole<()> {
    if codes.iter().any(|code| *code as usize >= dictionary.len()) {
        return Err("a number is not in its dictionary");
    }
    out.extend(codes.iter().map(|code| dictionary[*code as usize]));
    Ok(())
}
