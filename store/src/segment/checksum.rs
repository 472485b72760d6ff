//! Sections of a file, each with its checksum.

use super::Whole;
use super::fields::Fields;

/// Where a section is, and what it must sum up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u32,
    /// CRC-32 (IEEE 802.3).
    checksum: u32,
}

impl Place {
    /// Bytes of a place.
    pub(super) const BYTES: usize = 16;

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Whole<Place> {
        Ok(Place { offset: fields.u64()?, length: fields.u32()?, checksum: fields.u32()? })
    }

    /// The section in `file`, if it is what was written.
    pub(super) fn of<'a>(&self, file: &'a [u8]) -> Whole<&'a [u8]> {
        let section = usize::try_from(self.offset)
            .ok()
            .and_then(|offset| file.get(offset..)?.get(..self.length as usize))
            .ok_or("it lies outside of the file")?;
        if crc32fast::hash(section) != self.checksum {
            return Err("its checksum is wrong");
        }
        Ok(section)
    }
}

/// A file that grows by sections.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) bytes: Vec<u8>,
}

impl Sections {
    /// Appends what `write` appends; where it is comes back.
    ///
    /// # Panics
    /// When a section has 4 GiB: a block's rows are bounded.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Place {
        let offset = self.bytes.len();
        write(&mut self.bytes);
        let section = &self.bytes[offset..];
        Place {
            offset: offset as u64,
            length: u32::try_from(section.len()).expect("a section is far smaller than 4 GiB"),
            checksum: crc32fast::hash(section),
        }
    }
}
