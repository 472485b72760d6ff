//! A frame of reference: numbers as their distances from the smallest, in few bits.
//!
//! Numbers that are far above the others are patches: their low bits stand with the others, and
//! their position and high bits stand apart, so that a single large one does not widen all. Where
//! zstd is allowed and pays, the distances stand as byte planes instead (all lowest bytes, then all
//! second ones …), each compressed by itself: a plane of noise stays as it is, and the others shrink
//! to what they tell.

use super::Whole;
use super::codec::{Codec, unsqueeze};
use super::fields::Fields;
use super::pack::{self, Number, bits, packed_len};

const CONSTANT: u8 = 0;
const PACKED: u8 = 1;
const PLANES: u8 = 2;

/// What numbers look like, as far as their encoding needs it.
pub(super) struct Shape {
    pub(super) min: u64,
    pub(super) max: u64,
    /// How many distances from `min` need so many bits.
    widths: [u32; 65],
    count: usize,
}

/// How to pack: low bits of all, and how many have more.
struct Packing {
    width: u32,
    patches: usize,
    bytes: usize,
}

impl Shape {
    pub(super) fn of(values: &[u64]) -> Shape {
        let min = values.iter().copied().fold(u64::MAX, u64::min);
        let max = values.iter().copied().fold(0, u64::max);
        let mut widths = [0; 65];
        if min != max {
            values.iter().for_each(|value| widths[bits(value.wrapping_sub(min)) as usize] += 1);
        }
        Shape { min, max, widths, count: values.len() }
    }

    /// Bits that the largest distance needs.
    pub(super) fn width(&self) -> u32 {
        bits(self.max.saturating_sub(self.min))
    }

    /// Bytes that these numbers take packed, about.
    pub(super) fn cost(&self) -> usize {
        if self.min >= self.max { 9 } else { 13 + self.packing().bytes }
    }

    /// The packing that takes fewest bytes.
    fn packing(&self) -> Packing {
        let most = self.width();
        let mut best = Packing { width: most, patches: 0, bytes: packed_len(self.count, most) };
        let mut patches = 0;
        for width in (0..most).rev() {
            patches += self.widths[width as usize + 1] as usize;
            if patches * 8 > self.count {
                break;
            }
            let high = most - width;
            let patch = packed_len(patches, position_bits(self.count) + high);
            let bytes = packed_len(self.count, width) + patch;
            if bytes < best.bytes {
                best = Packing { width, patches, bytes };
            }
        }
        best
    }
}

/// Bits of a position among `count` numbers.
fn position_bits(count: usize) -> u32 {
    bits(count.saturating_sub(1) as u64)
}

/// Appends `values`, whose number the reader must know.
pub(super) fn write(values: &[u64], codec: &mut Codec, out: &mut Vec<u8>) {
    write_shaped(values, &Shape::of(values), codec, out);
}

/// [`write`] for numbers whose shape is known already.
pub(super) fn write_shaped(values: &[u64], shape: &Shape, codec: &mut Codec, out: &mut Vec<u8>) {
    if shape.min >= shape.max {
        out.push(CONSTANT);
        out.extend_from_slice(&values.first().copied().unwrap_or(0).to_le_bytes());
        return;
    }
    let packing = shape.packing();
    let start = out.len();
    if codec.compresses() && write_planes(values, shape, packing.bytes, codec, out) {
        return;
    }
    out.truncate(start);
    out.push(PACKED);
    out.extend_from_slice(&shape.min.to_le_bytes());
    let high = shape.width() - packing.width;
    out.extend_from_slice(&[packing.width as u8, high as u8]);
    out.extend_from_slice(&(packing.patches as u32).to_le_bytes());
    let mask = u64::MAX.checked_shr(64 - packing.width).unwrap_or(0);
    let distances: Vec<u64> = values.iter().map(|value| value - shape.min).collect();
    if packing.patches == 0 {
        return pack::pack(&distances, packing.width, out);
    }
    let low: Vec<u64> = distances.iter().map(|distance| distance & mask).collect();
    pack::pack(&low, packing.width, out);
    let patched = distances.iter().enumerate().filter(|(_, distance)| **distance > mask);
    let (positions, highs): (Vec<u64>, Vec<u64>) =
        patched.map(|(at, distance)| (at as u64, distance >> packing.width)).unzip();
    pack::pack(&positions, position_bits(values.len()), out);
    pack::pack(&highs, high, out);
}

/// Appends the distances as byte planes; false, and what was appended means nothing, when that does
/// not take a tenth less than `packed` bytes.
fn write_planes(
    values: &[u64],
    shape: &Shape,
    packed: usize,
    codec: &mut Codec,
    out: &mut Vec<u8>,
) -> bool {
    /// Fewer numbers do not outweigh a frame's own bytes.
    const FEWEST: usize = 256;
    if values.len() < FEWEST {
        return false;
    }
    let planes = shape.width().div_ceil(8);
    let most = packed - packed / 10;
    let start = out.len();
    let mut plane_bytes: Vec<Vec<u8>> = Vec::with_capacity(planes as usize);
    let mut expected = 0;
    for plane in 0..planes {
        let bytes: Vec<u8> =
            values.iter().map(|value| ((value - shape.min) >> (plane * 8)) as u8).collect();
        expected += entropy_bytes(&bytes);
        if expected > most {
            return false;
        }
        plane_bytes.push(bytes);
    }
    out.push(PLANES);
    out.extend_from_slice(&shape.min.to_le_bytes());
    out.push(planes as u8);
    for plane in &plane_bytes {
        let worth = plane.len() - plane.len() / 16;
        let stored = codec.squeeze(plane, worth).unwrap_or(plane);
        out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        out.extend_from_slice(stored);
        if out.len() - start > most {
            return false;
        }
    }
    true
}

/// Bytes that a perfect code of single bytes would take: what an entropy coder comes near to.
fn entropy_bytes(bytes: &[u8]) -> usize {
    let mut counts = [[0_u32; 256]; 2];
    for pair in bytes.chunks(2) {
        for (counts, byte) in counts.iter_mut().zip(pair) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let total = bytes.len() as f32;
    let bits: f32 = (0..256)
        .map(|byte| (counts[0][byte] + counts[1][byte]) as f32)
        .filter(|count| *count > 0.0)
        .map(|count| count * (total / count).log2())
        .sum();
    (bits / 8.0) as usize
}

/// Appends the `count` numbers that stand next in `fields` to `out`.
pub(super) fn read<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    out: &mut Vec<T>,
) -> Whole<()> {
    match fields.u8()? {
        CONSTANT => {
            let value = fields.u64()?;
            out.resize(out.len() + count, T::cut(value));
            Ok(())
        }
        PACKED => read_packed(fields, count, out),
        PLANES => read_planes(fields, count, out),
        _ => Err("its numbers are in an unknown form"),
    }
}

fn read_packed<T: Number>(fields: &mut Fields<'_>, count: usize, out: &mut Vec<T>) -> Whole<()> {
    let packed = Packed::read(fields, count)?;
    let start = out.len();
    pack::unpack(packed.low, count, packed.width, packed.base, out)?;
    let (positions, highs) = packed.patches(fields, count)?;
    let out = &mut out[start..];
    for (at, high) in positions.into_iter().zip(highs) {
        let value = out.get_mut(at as usize).ok_or("it patches a number that is not there")?;
        let high = high.checked_shl(packed.width).unwrap_or(0);
        *value = T::cut(value.widen().wrapping_add(high));
    }
    Ok(())
}

/// Appends those at `rows`, ascending, of the `count` numbers that stand next in `fields`, to `out`.
pub(super) fn pick<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    rows: &[u32],
    out: &mut Vec<T>,
) -> Whole<()> {
    let mut ahead = *fields;
    if ahead.u8()? != PACKED {
        let mut all = Vec::with_capacity(count);
        read(fields, count, &mut all)?;
        return choose(&all, rows, out);
    }
    *fields = ahead;
    let packed = Packed::read(fields, count)?;
    let start = out.len();
    pack::pick(packed.low, (count, packed.width), packed.base, rows, out)?;
    let (positions, highs) = packed.patches(fields, count)?;
    if positions.is_empty() {
        return Ok(());
    }
    for (row, value) in rows.iter().zip(&mut out[start..]) {
        if let Ok(at) = positions.binary_search(row) {
            let high = highs[at].checked_shl(packed.width).unwrap_or(0);
            *value = T::cut(value.widen().wrapping_add(high));
        }
    }
    Ok(())
}

/// Appends the values at `rows`.
pub(super) fn choose<T: Copy>(values: &[T], rows: &[u32], out: &mut Vec<T>) -> Whole<()> {
    for row in rows {
        out.push(*values.get(*row as usize).ok_or("it has no such row")?);
    }
    Ok(())
}

/// The parts of packed numbers.
struct Packed<'a> {
    base: u64,
    width: u32,
    high: u32,
    patches: usize,
    low: &'a [u8],
}

impl<'a> Packed<'a> {
    fn read(fields: &mut Fields<'a>, count: usize) -> Whole<Packed<'a>> {
        let base = fields.u64()?;
        let (width, high) = (u32::from(fields.u8()?), u32::from(fields.u8()?));
        let patches = fields.u32()? as usize;
        if width + high > 64 {
            return Err("its numbers have more than 64 bits");
        }
        if patches > count {
            return Err("it claims more patches than numbers");
        }
        let low = fields.take(packed_len(count, width))?;
        Ok(Packed { base, width, high, patches, low })
    }

    /// The positions of the patches, ascending, and their high bits.
    fn patches(&self, fields: &mut Fields<'_>, count: usize) -> Whole<(Vec<u32>, Vec<u64>)> {
        let (mut positions, mut highs) = (Vec::new(), Vec::new());
        if self.patches > 0 {
            let position = position_bits(count);
            let stored = fields.take(packed_len(self.patches, position))?;
            pack::unpack(stored, self.patches, position, 0, &mut positions)?;
            let stored = fields.take(packed_len(self.patches, self.high))?;
            pack::unpack(stored, self.patches, self.high, 0, &mut highs)?;
        }
        Ok((positions, highs))
    }
}

fn read_planes<T: Number>(fields: &mut Fields<'_>, count: usize, out: &mut Vec<T>) -> Whole<()> {
    let base = fields.u64()?;
    let planes = u32::from(fields.u8()?);
    if planes > 8 {
        return Err("its numbers have more than 8 bytes");
    }
    let start = out.len();
    out.resize(start + count, T::cut(base));
    let mut plain = Vec::new();
    for plane in 0..planes {
        let length = fields.u32()? as usize;
        let stored = fields.take(length)?;
        let bytes = if length == count {
            stored
        } else {
            plain.resize(count, 0);
            unsqueeze(stored, &mut plain)?;
            &plain
        };
        for (value, byte) in out[start..].iter_mut().zip(bytes) {
            *value = T::cut(value.widen().wrapping_add(u64::from(*byte) << (plane * 8)));
        }
    }
    Ok(())
}
