//! Run lengths: where each run of equal numbers ends, and its number.

use super::Whole;
use super::array;
use super::codec::Codec;
use super::fields::Fields;
use super::pack::Number;

/// Appends the runs of `values`.
pub(super) fn write(values: &[u64], codec: &mut Codec, out: &mut Vec<u8>) {
    let (mut lengths, mut numbers) = (Vec::new(), Vec::new());
    for run in values.chunk_by(|a, b| a == b) {
        lengths.push(run.len() as u64);
        numbers.push(run[0]);
    }
    out.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    array::write(&lengths, codec, out);
    array::write(&numbers, codec, out);
}

/// Appends the `count` numbers of the runs that stand next in `fields`.
pub(super) fn read<T: Number>(
    fields: &mut Fields<'_>,
    count: usize,
    out: &mut Vec<T>,
) -> Whole<()> {
    let runs = fields.u32()? as usize;
    if runs > count {
        return Err("it claims more runs than numbers");
    }
    let (mut lengths, mut numbers) = (Vec::<u64>::new(), Vec::<T>::new());
    array::read(fields, runs, &mut lengths)?;
    array::read(fields, runs, &mut numbers)?;
    out.reserve(count);
    let mut left = count;
    for (length, number) in lengths.into_iter().zip(numbers) {
        let length = usize::try_from(length).ok().filter(|length| *length <= left);
        let length = length.ok_or("its runs are longer than it is")?;
        out.resize(out.len() + length, number);
        left -= length;
    }
    if left == 0 { Ok(()) } else { Err("its runs are shorter than it is") }
}
