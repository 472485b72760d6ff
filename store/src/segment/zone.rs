//! The zone map of a column: for each block, where it is and its smallest and largest value, so that
//! a scan passes over blocks that cannot hold what it looks for.

use super::Whole;
use super::checksum::Place;
use super::fields::Fields;

/// A block of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) place: Place,
    /// Of addresses their codes.
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Zone {
    const BYTES: usize = Place::BYTES + 16;

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.place.write(out);
        out.extend_from_slice(&self.min.to_le_bytes());
        out.extend_from_slice(&self.max.to_le_bytes());
    }

    /// The zones of `blocks` blocks.
    pub(super) fn read_all(bytes: &[u8], blocks: usize) -> Whole<Vec<Zone>> {
        if blocks.checked_mul(Zone::BYTES) != Some(bytes.len()) {
            return Err("its zone map has another number of blocks");
        }
        let zone = |bytes| {
            let mut fields = Fields(bytes);
            let place = Place::read(&mut fields)?;
            Ok(Zone { place, min: fields.u64()?, max: fields.u64()? })
        };
        bytes.chunks_exact(Zone::BYTES).map(zone).collect()
    }
}
