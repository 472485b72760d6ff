//! In which blocks each address stands: most in one or a few, which are listed; the others have a
//! bit for each block.

use std::ops::Range;

use super::codec::Codec;
use super::fields::Fields;
use super::{Whole, array};

/// With more blocks than this, a bit each is shorter than a list.
const LISTED: u64 = 9;

/// Appends the blocks of some addresses, a bit each.
pub(super) fn write(masks: &[u64], codec: &mut Codec, out: &mut Vec<u8>) {
    let count = |mask: &u64| u64::from(mask.count_ones()).min(LISTED + 1);
    let counts: Vec<u64> = masks.iter().map(count).collect();
    let (mut listed, mut wide) = (Vec::new(), Vec::new());
    for (mask, count) in masks.iter().zip(&counts) {
        if *count > LISTED {
            wide.push(*mask);
            continue;
        }
        let mut left = *mask;
        while left != 0 {
            listed.push(u64::from(left.trailing_zeros()));
            left &= left - 1;
        }
    }
    array::write(&counts, codec, out);
    array::write(&listed, codec, out);
    array::write(&wide, codec, out);
}

/// The blocks that any of the addresses in `within`, of `count`, stands in.
pub(super) fn read(bytes: &[u8], count: usize, within: Range<usize>) -> Whole<u64> {
    let mut fields = Fields(bytes);
    let mut counts: Vec<u8> = Vec::new();
    array::read(&mut fields, count, &mut counts)?;
    let tally = |counts: &[u8]| {
        counts.iter().fold((0, 0), |(listed, wide), count| match u64::from(*count) {
            count if count > LISTED => (listed, wide + 1),
            count => (listed + count as usize, wide),
        })
    };
    let (all, before) = (tally(&counts), tally(&counts[..within.start]));
    let these = tally(&counts[within]);
    let (mut listed, mut wide) = (Vec::<u8>::new(), Vec::<u64>::new());
    array::read(&mut fields, all.0, &mut listed)?;
    array::read(&mut fields, all.1, &mut wide)?;
    fields.end()?;
    if listed.iter().any(|block| *block >= 64) {
        return Err("it names a block that cannot be");
    }
    let listed = &listed[before.0..before.0 + these.0];
    let wide = &wide[before.1..before.1 + these.1];
    let blocks = listed.iter().fold(0, |blocks, block| blocks | 1_u64 << block);
    Ok(wide.iter().fold(blocks, |blocks, mask| blocks | mask))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_blocks_come_back(
            masks in prop::collection::vec(prop_oneof![any::<u64>(), (0..64).prop_map(|block| 1_u64 << block)], 1..99),
            from in any::<prop::sample::Index>(),
            until in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            write(&masks, &mut Codec::new(false), &mut bytes);
            let (from, until) = (from.index(masks.len()), until.index(masks.len() + 1));
            let within = from.min(until)..until.max(from);
            let expected = masks[within.clone()].iter().fold(0, |all, mask| all | mask);
            prop_assert_eq!(read(&bytes, masks.len(), within).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_reading_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..90), count in 1..50_usize,
        ) {
            let _ = read(&bytes, count, 0..count);
        }
    }
}
