//! Packed codes: small numbers in as many bits as the largest of them needs.
//!
//! Whole runs of 1,024 numbers lie across lanes, as in SIMD-BP128 and FastLanes: with up to 32 bits,
//! number `i` belongs to lane `i % 32`, each lane is a stream of 32-bit words, and the lanes' first
//! words stand side by side, then their second ones. So a loop over lanes shifts all of them alike,
//! which a compiler turns into vector instructions on any processor. Wider numbers have 16 lanes of
//! 64-bit words. What is left of a run is a plain little-endian stream of bits, so that few numbers
//! take few bytes.

use super::Whole;

/// Numbers in a run that lies across lanes.
pub(super) const RUN: usize = 1024;

/// A type that packed numbers are read as; what does not fit is cut off.
pub(crate) trait Number: Copy + Default {
    /// The low bits of `number`.
    fn cut(number: u64) -> Self;
    /// The low bits of `number`.
    fn cut32(number: u32) -> Self;
    /// The number.
    fn widen(self) -> u64;
}

macro_rules! number {
    ($($type:ident),*) => {$(
        #[expect(clippy::cast_lossless, reason = "one form for every width")]
        impl Number for $type {
            #[inline]
            fn cut(number: u64) -> Self {
                number as $type
            }
            #[inline]
            fn cut32(number: u32) -> Self {
                number as $type
            }
            #[inline]
            fn widen(self) -> u64 {
                self as u64
            }
        }
    )*};
}

number!(u8, u16, u32, u64);

/// Bits that `number` needs.
pub(super) fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Bytes that `count` numbers of `width` bits take.
pub(super) fn packed_len(count: usize, width: u32) -> usize {
    let width = width as usize;
    count / RUN * (RUN / 8) * width + (count % RUN * width).div_ceil(8)
}

/// Appends `values`, each below 2^`width`.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (runs, rest) = values.as_chunks::<RUN>();
    for run in runs {
        if width <= 32 { pack_narrow(run, width, out) } else { pack_wide(run, width, out) }
    }
    let (mut held, mut count) = (0_u128, 0);
    for &value in rest {
        held |= u128::from(value) << count;
        count += width;
        while count >= 8 {
            out.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        out.push(held as u8);
    }
}

fn pack_narrow(run: &[u64; RUN], width: u32, out: &mut Vec<u8>) {
    const LANES: usize = 32;
    let mut words = [0_u32; RUN];
    for (position, values) in run.as_chunks::<LANES>().0.iter().enumerate() {
        let bit = position * width as usize;
        let (word, shift) = (bit / 32 * LANES, bit as u32 % 32);
        for (word, value) in words[word..].iter_mut().zip(values) {
            *word |= (*value as u32) << shift;
        }
        if shift + width > 32 {
            for (word, value) in words[word + LANES..].iter_mut().zip(values) {
                *word |= (*value as u32) >> (32 - shift);
            }
        }
    }
    words[..LANES * width as usize]
        .iter()
        .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn pack_wide(run: &[u64; RUN], width: u32, out: &mut Vec<u8>) {
    const LANES: usize = 16;
    let mut words = [0_u64; RUN];
    for (position, values) in run.as_chunks::<LANES>().0.iter().enumerate() {
        let bit = position * width as usize;
        let (word, shift) = (bit / 64 * LANES, bit as u32 % 64);
        for (word, value) in words[word..].iter_mut().zip(values) {
            *word |= *value << shift;
        }
        if shift + width > 64 {
            for (word, value) in words[word + LANES..].iter_mut().zip(values) {
                *word |= *value >> (64 - shift);
            }
        }
    }
    words[..LANES * width as usize]
        .iter()
        .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Appends `base` + each of the `count` numbers that `bytes` hold to `out`.
pub(super) fn unpack<T: Number>(
    bytes: &[u8],
    count: usize,
    width: u32,
    base: u64,
    out: &mut Vec<T>,
) -> Whole<()> {
    if width > 64 {
        return Err("its numbers have more than 64 bits");
    }
    if bytes.len() != packed_len(count, width) {
        return Err("its packed numbers have another length");
    }
    if width == 0 {
        out.resize(out.len() + count, T::cut(base));
        return Ok(());
    }
    out.reserve(count);
    let (runs, rest) = bytes.split_at(packed_len(count / RUN * RUN, width));
    for run in runs.chunks_exact(RUN / 8 * width as usize) {
        if width <= 32 {
            unpack_narrow(run, width, base, out);
        } else {
            unpack_wide(run, width, base, out);
        }
    }
    let mask = u64::MAX >> (64 - width);
    let (mut held, mut ready, mut bytes) = (0_u128, 0, rest.iter());
    for _ in 0..count % RUN {
        while ready < width {
            held |= u128::from(*bytes.next().expect("the length was compared")) << ready;
            ready += 8;
        }
        out.push(T::cut(base.wrapping_add(held as u64 & mask)));
        held >>= width;
        ready -= width;
    }
    Ok(())
}

/// Appends `base` + each of the numbers at `rows` of the `count` that `bytes` hold to `out`.
pub(super) fn pick<T: Number>(
    bytes: &[u8],
    (count, width): (usize, u32),
    base: u64,
    rows: &[u32],
    out: &mut Vec<T>,
) -> Whole<()> {
    if width > 64 || bytes.len() != packed_len(count, width) {
        return Err("its packed numbers have another length");
    }
    if rows.iter().any(|row| *row as usize >= count) {
        return Err("it has no such row");
    }
    if width == 0 {
        out.resize(out.len() + rows.len(), T::cut(base));
        return Ok(());
    }
    let whole = count / RUN * RUN;
    let mask = u64::MAX >> (64 - width);
    out.extend(rows.iter().map(|row| {
        let row = *row as usize;
        let value = if row >= whole {
            bits_at(&bytes[packed_len(whole, width)..], (row - whole) * width as usize)
        } else {
            let run = &bytes[packed_len(row / RUN * RUN, width)..];
            if width <= 32 {
                laid::<4>(run, row % RUN, width)
            } else {
                laid::<8>(run, row % RUN, width)
            }
        };
        T::cut(base.wrapping_add(value & mask))
    }));
    Ok(())
}

/// The 64 bits from `bit` on of a plain stream of bits, and zeroes behind its end.
fn bits_at(bytes: &[u8], bit: usize) -> u64 {
    let mut window = [0; 16];
    let stored = &bytes[bit / 8..bytes.len().min(bit / 8 + 9)];
    window[..stored.len()].copy_from_slice(stored);
    (u128::from_le_bytes(window) >> (bit % 8)) as u64
}

/// The number at `at` of a run whose lanes have words of `WORD` bytes, and more bits above it.
fn laid<const WORD: usize>(run: &[u8], at: usize, width: u32) -> u64 {
    let lanes = 128 / WORD;
    let (lane, bit) = (at % lanes, at / lanes * width as usize);
    let word = |number: usize| {
        let mut word = [0; 8];
        let stored = run.get((number * lanes + lane) * WORD..).unwrap_or_default();
        let stored = &stored[..stored.len().min(WORD)];
        word[..stored.len()].copy_from_slice(stored);
        u128::from(u64::from_le_bytes(word))
    };
    let (number, shift) = (bit / (WORD * 8), bit % (WORD * 8));
    let both = word(number) | word(number + 1) << (WORD * 8);
    (both >> shift) as u64
}

fn unpack_narrow<T: Number>(bytes: &[u8], width: u32, base: u64, out: &mut Vec<T>) {
    const LANES: usize = 32;
    let words = bytes.as_chunks::<4>().0.as_chunks::<LANES>().0;
    let mask = u32::MAX >> (32 - width);
    let mut plain = [0_u32; RUN];
    for (position, values) in plain.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let bit = position * width as usize;
        let (word, shift) = (bit / 32, bit as u32 % 32);
        let low = &words[word];
        if shift + width <= 32 {
            for (value, low) in values.iter_mut().zip(low) {
                *value = (u32::from_le_bytes(*low) >> shift) & mask;
            }
        } else {
            for ((value, low), high) in values.iter_mut().zip(low).zip(&words[word + 1]) {
                let low = u32::from_le_bytes(*low) >> shift;
                *value = (low | u32::from_le_bytes(*high) << (32 - shift)) & mask;
            }
        }
    }
    if size_of::<T>() <= 4 {
        let base = base as u32;
        out.extend(plain.iter().map(|value| T::cut32(value.wrapping_add(base))));
    } else {
        out.extend(plain.iter().map(|value| T::cut(base.wrapping_add(u64::from(*value)))));
    }
}

fn unpack_wide<T: Number>(bytes: &[u8], width: u32, base: u64, out: &mut Vec<T>) {
    const LANES: usize = 16;
    let words = bytes.as_chunks::<8>().0.as_chunks::<LANES>().0;
    let mask = u64::MAX >> (64 - width);
    for position in 0..RUN / LANES {
        let bit = position * width as usize;
        let (word, shift) = (bit / 64, bit as u32 % 64);
        let low = &words[word];
        if shift + width <= 64 {
            out.extend(
                low.iter().map(|low| {
                    T::cut(base.wrapping_add((u64::from_le_bytes(*low) >> shift) & mask))
                }),
            );
        } else {
            out.extend(low.iter().zip(&words[word + 1]).map(|(low, high)| {
                let low = u64::from_le_bytes(*low) >> shift;
                let value = (low | u64::from_le_bytes(*high) << (64 - shift)) & mask;
                T::cut(base.wrapping_add(value))
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        for width in 0..=64 {
            for count in [0, 1, 7, 1023, 1024, 1025, 3000] {
                let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
                let noise = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
                let values: Vec<u64> = (0..count).map(|n| noise(n) & mask).collect();
                let mut bytes = Vec::new();
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), packed_len(values.len(), width));
                let mut back: Vec<u64> = Vec::new();
                unpack(&bytes, values.len(), width, 5, &mut back).unwrap();
                let raised: Vec<u64> = values.iter().map(|value| value.wrapping_add(5)).collect();
                assert_eq!(back, raised, "{count} numbers of {width} bits");
                let mut narrow: Vec<u16> = Vec::new();
                unpack(&bytes, values.len(), width, 0, &mut narrow).unwrap();
                assert!(narrow.iter().zip(&values).all(|(narrow, value)| *narrow == *value as u16));
                let rows: Vec<u32> = (0..values.len() as u32).step_by(5).collect();
                let mut picked: Vec<u64> = Vec::new();
                pick(&bytes, (values.len(), width), 5, &rows, &mut picked).unwrap();
                let chosen: Vec<u64> = rows.iter().map(|row| raised[*row as usize]).collect();
                assert_eq!(picked, chosen, "{count} numbers of {width} bits");
            }
        }
    }

    #[test]
    fn a_run_lies_across_its_lanes_as_the_format_says() {
        let mut values = [0; RUN];
        values[33] = 0b101;
        let mut bytes = Vec::new();
        pack(&values, 3, &mut bytes);
        let at = bytes.iter().position(|byte| *byte != 0).unwrap();
        // Lane 1's first word begins at byte 4; its second number at bit 3 of it.
        assert_eq!((at, bytes[at]), (4, 0b101 << 3));
    }

    #[test]
    fn another_length_is_refused() {
        assert!(unpack::<u64>(&[0; 3], 2, 8, 0, &mut Vec::new()).is_err());
        assert!(unpack::<u64>(&[], 1, 65, 0, &mut Vec::new()).is_err());
    }
}
