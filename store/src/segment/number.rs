//! A block of numbers, by the encoding that fits it: plain distances, runs, a small dictionary, or
//! differences from one to the next. Each is made of arrays ([`super::array`]), so that each can be
//! packed or compressed.

use hashbrown::HashMap;

use super::array::{self, Shape};
use super::codec::Codec;
use super::fields::Fields;
use super::pack::{Number, bits};
use super::{Whole, numeric_dictionary, runs};

const DIRECT: u8 = 0;
const RUNS: u8 = 1;
const DICTIONARY: u8 = 2;
const DELTA: u8 = 3;

/// Appends `values`, whose number the reader must know; smallest and largest come back, and
/// `u64::MAX` and 0 without values.
pub(super) fn write(values: &[u64], codec: &mut Codec, out: &mut Vec<u8>) -> (u64, u64) {
    let shape = Shape::of(values);
    let range = (shape.min, shape.max);
    let (changes, descents) = changes(values);
    let direct = shape.cost();
    if direct <= 16 {
        out.push(DIRECT);
        array::write_shaped(values, &shape, codec, out);
        return range;
    }
    let pair = bits(values.len() as u64) + shape.width();
    let as_runs = 32 + (changes + 1) * pair as usize / 8;
    // Long runs leave nothing to gain.
    if as_runs * 4 < direct {
        out.push(RUNS);
        runs::write(values, codec, out);
        return range;
    }
    let mut best = direct.min(as_runs);
    let mut steps = None;
    if descents * 8 < values.len() {
        let deltas = deltas(values);
        let shape = Shape::of(&deltas);
        if shape.cost() + 8 < best {
            best = shape.cost() + 8;
            steps = Some((deltas, shape));
        }
    }
    if let Some(found) = numeric_dictionary::Found::of(values, &shape, best) {
        out.push(DICTIONARY);
        found.write(values, codec, out);
    } else if let Some((deltas, shape)) = steps {
        out.push(DELTA);
        out.extend_from_slice(&values[0].to_le_bytes());
        array::write_shaped(&deltas, &shape, codec, out);
    } else if as_runs < direct {
        out.push(RUNS);
        runs::write(values, codec, out);
    } else {
        out.push(DIRECT);
        array::write_shaped(values, &shape, codec, out);
    }
    range
}

/// How often a number differs from the one before it, and how often it is smaller.
fn changes(values: &[u64]) -> (usize, usize) {
    let after = values.get(1..).unwrap_or_default();
    values.iter().zip(after).fold((0, 0), |(changes, descents), (a, b)| {
        (changes + usize::from(a != b), descents + usize::from(b < a))
    })
}

/// The steps from each number to the next, small ones of either sign as small numbers.
fn deltas(values: &[u64]) -> Vec<u64> {
    values.windows(2).map(|pair| zigzag(pair[1].wrapping_sub(pair[0]))).collect()
}

/// 0, −1, 1, −2 … as 0, 1, 2, 3 …
pub(super) fn zigzag(step: u64) -> u64 {
    step << 1 ^ ((step as i64) >> 63) as u64
}

/// What [`zigzag`] was made from.
pub(super) fn unzigzag(coded: u64) -> u64 {
    (coded >> 1) ^ (coded & 1).wrapping_neg()
}

/// Appends the `count` numbers that stand next in `fields` to `out`.
pub(super) fn read<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    out: &mut Vec<T>,
) -> Whole<()> {
    match fields.u8()? {
        DIRECT => array::read(fields, count, out),
        RUNS => runs::read(fields, count, out),
        DICTIONARY => numeric_dictionary::read(fields, count, out),
        DELTA => {
            let mut value = fields.u64()?;
            let mut deltas: Vec<u64> = Vec::new();
            let rest = count.checked_sub(1).ok_or("it has steps and no numbers")?;
            array::read(fields, rest, &mut deltas)?;
            out.reserve(count);
            out.push(T::cut(value));
            out.extend(deltas.into_iter().map(|delta| {
                value = value.wrapping_add(unzigzag(delta));
                T::cut(value)
            }));
            Ok(())
        }
        _ => Err("its encoding is unknown"),
    }
}

/// Appends those at `rows`, ascending, of the `count` numbers that stand next in `fields`, to `out`;
/// the others are passed over where that is possible.
pub(super) fn pick<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    rows: &[u32],
    out: &mut Vec<T>,
) -> Whole<()> {
    let mut ahead = *fields;
    match ahead.u8()? {
        DIRECT => {
            *fields = ahead;
            array::pick(fields, count, rows, out)
        }
        DICTIONARY => {
            *fields = ahead;
            numeric_dictionary::pick(fields, count, rows, out)
        }
        _ => {
            let mut all = Vec::with_capacity(count);
            read(fields, count, &mut all)?;
            array::choose(&all, rows, out)
        }
    }
}

/// The positions of distinct numbers, for those who count them.
pub(super) type Positions = HashMap<u64, u32>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(values: &[u64], compress: bool) -> (u8, usize) {
        let mut bytes = Vec::new();
        let range = write(values, &mut Codec::new(compress), &mut bytes);
        let smallest = values.iter().copied().min().unwrap_or(u64::MAX);
        assert_eq!(range, (smallest, values.iter().copied().max().unwrap_or(0)));
        let mut fields = Fields(&bytes);
        let mut read_back: Vec<u64> = Vec::new();
        read(&mut fields, values.len(), &mut read_back).unwrap();
        fields.end().unwrap();
        assert_eq!(read_back, values);
        let rows: Vec<u32> = (0..values.len() as u32).filter(|row| row % 7 < 2).collect();
        let (mut picked, mut fields): (Vec<u64>, _) = (Vec::new(), Fields(&bytes));
        pick(&mut fields, values.len(), &rows, &mut picked).unwrap();
        fields.end().unwrap();
        assert!(rows.iter().map(|row| &values[*row as usize]).eq(&picked));
        (bytes[0], bytes.len())
    }

    #[test]
    fn each_shape_takes_its_encoding() {
        let noise = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let of = |value: &dyn Fn(u64) -> u64| (0..3000).map(value).collect::<Vec<u64>>();
        for compress in [false, true] {
            assert_eq!(back(&of(&|_| 7), compress), (DIRECT, 10));
            assert_eq!(back(&of(&|n| noise(n) % 1000), compress).0, DIRECT);
            assert_eq!(back(&of(&|n| noise(n / 500)), compress).0, RUNS);
            assert_eq!(back(&of(&|n| noise(noise(n) % 5)), compress).0, DICTIONARY);
            assert_eq!(back(&of(&|n| n * 1000 + noise(n) % 8), compress).0, DELTA);
        }
    }

    #[test]
    fn a_few_large_numbers_do_not_widen_the_others() {
        let mut values: Vec<u64> = (0..8192).map(|n| n % 7).collect();
        values[100] = u64::MAX;
        values[8000] = 1 << 40;
        assert!(back(&values, false).1 < 8192 * 3 / 8 + 64);
    }

    #[test]
    fn compression_shrinks_what_packing_cannot() {
        // Nine in ten are small: one bit short of worth a patch.
        let skewed = |n: u64| {
            let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            if noise.is_multiple_of(10) { noise & 0xffff } else { noise & 3 }
        };
        let values: Vec<u64> = (0..16_384).map(skewed).collect();
        assert!(back(&values, true).1 * 10 < back(&values, false).1 * 9);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            values in prop::collection::vec(
                prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)], 0..2500),
            compress in any::<bool>(),
            sorted in any::<bool>(),
            mask in any::<u64>(),
        ) {
            let mut values: Vec<u64> = values.into_iter().map(|value| value & mask).collect();
            if sorted {
                values.sort_unstable();
            }
            back(&values, compress);
        }

        #[test]
        fn no_bytes_make_reading_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            tag in 0..5_u8,
            form in 0..4_u8,
            count in 0..3000_usize,
        ) {
            let mut all = vec![tag, form];
            all.extend(bytes);
            let mut out: Vec<u32> = Vec::new();
            let _ = read(&mut Fields(&all), count, &mut out);
            prop_assert!(out.len() <= count);
            let rows: Vec<u32> = (0..count as u32 + 1).step_by(3).collect();
            let _ = pick(&mut Fields(&all), count, &rows, &mut out);
        }
    }
}
