//! A segment: the rows of one time slice as an immutable column file.
//!
//! The layout is described byte by byte in `store/FORMAT.md`; this module is the only code that
//! knows it. A segment is written once, whole, and never changes. Its rows stand in blocks, each a
//! [`ColumnSource`] of its own, whose columns are read one at a time through a mapping and checked
//! against their checksums before they are believed. Whatever a file holds, reading it gives values
//! or an error that names file, column and block.
//!
//! Files of every version are read, the newest is written.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::map;
use crate::overflow::Overflow;
use crate::range::TimeRange;
use crate::{Address, Column};
use fields::Fields;

mod array;
mod attribute;
mod checksum;
mod codec;
mod dictionary;
mod fields;
mod footer;
pub(crate) mod frame;
mod number;
mod numeric_dictionary;
mod opaque;
mod pack;
mod presence;
mod runs;
#[cfg(test)]
mod tests;
mod version1;
mod version2;
mod write;
mod zone;

pub(crate) use footer::Spilled;
pub(crate) use write::encode;

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 2;

/// The most rows that a segment may have; a larger number in a file is damage.
pub const MAX_ROWS: usize = 1 << 24;

const MAGIC: [u8; 8] = *b"\x89weir\r\n\x1a";
const END_MAGIC: [u8; 8] = *b"\x1a\n\rriew\x89";
const HEADER_BYTES: usize = 16;
const TRAILER_BYTES: usize = 24;

/// The number in the footer of what the rows say beside their columns.
const OVERFLOW: u16 = 255;

/// Something read, or what is wrong with its bytes.
type Whole<T> = Result<T, &'static str>;

/// How a segment is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Whether zstd is used where it pays.
    pub(crate) compress: bool,
    /// The spill that holds the rows, and how many of its rows are sealed with these.
    pub(crate) spill: Spilled,
}

/// A segment's bytes, ready to be written.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: usize,
    pub(crate) range: TimeRange,
}

/// An opened segment file, whose columns can be read.
pub struct SegmentFile {
    path: PathBuf,
    map: Mmap,
    content: Content,
}

/// What a file holds, by its version.
enum Content {
    One(version1::Columns),
    Two(version2::Columns),
}

/// Some successive rows of a segment.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    segment: &'a SegmentFile,
    number: usize,
}

impl SegmentFile {
    /// Opens a segment and checks all but its columns' bytes.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NotASegment`], [`Error::NewerVersion`], [`Error::Truncated`] and
    /// [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<SegmentFile, Error> {
        let file = File::open(path).map_err(|error| Error::file("open", path, error))?;
        let length = file.metadata().map_err(|error| Error::file("read", path, error))?.len();
        if length == 0 {
            let reason = "it is empty".to_owned();
            return Err(Error::Truncated { path: path.to_owned(), reason });
        }
        let map = map::map(&file).map_err(|error| Error::file("map", path, error))?;
        let (version, directory) = check_frame(path, &map)?;
        let content = match version {
            1 => version1::Columns::read(directory).map(Content::One),
            _ => version2::Columns::read(directory).map(Content::Two),
        };
        match content {
            Ok(content) => Ok(SegmentFile { path: path.to_owned(), map, content }),
            Err(reason) => Err(Error::Damaged {
                path: path.to_owned(),
                part: "its directory".to_owned(),
                reason: reason.to_owned(),
            }),
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the file's format.
    pub fn version(&self) -> u32 {
        match &self.content {
            Content::One(_) => 1,
            Content::Two(_) => 2,
        }
    }

    /// The beginning of the time slice that its rows arrived in, ms since 1970.
    pub fn slice_ms(&self) -> u64 {
        match &self.content {
            Content::One(columns) => columns.slice_ms,
            Content::Two(columns) => columns.footer.slice_ms,
        }
    }

    /// The times that its rows span.
    pub fn range(&self) -> &TimeRange {
        match &self.content {
            Content::One(columns) => &columns.range,
            Content::Two(columns) => &columns.footer.range,
        }
    }

    /// The file's length in bytes.
    pub fn length(&self) -> u64 {
        self.map.len() as u64
    }

    /// How far the spill that its rows were in is sealed.
    pub(crate) fn spilled(&self) -> Spilled {
        match &self.content {
            Content::One(_) => Spilled::default(),
            Content::Two(columns) => columns.footer.spill,
        }
    }

    /// Its blocks, in order; a file of version 1 is one block.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let blocks = match &self.content {
            Content::One(_) => 1,
            Content::Two(columns) => columns.footer.blocks(),
        };
        (0..blocks).map(|number| Block { segment: self, number })
    }

    /// The codes of the addresses from `first` to `last`, both inclusive; none when the file has no
    /// dictionary.
    pub(crate) fn codes_within(
        &self,
        first: Address,
        last: Address,
    ) -> Result<Option<Range<u32>>, Error> {
        match &self.content {
            Content::One(_) => Ok(None),
            Content::Two(columns) => {
                let codes = columns.search(&self.map, first, last);
                codes.map(Some).map_err(|damage| self.damaged(damage))
            }
        }
    }

    /// The blocks that hold any of the addresses with these codes, a bit each.
    pub(crate) fn blocks_of(&self, codes: Range<u32>) -> Result<u64, Error> {
        match &self.content {
            Content::One(_) => Ok(u64::MAX),
            Content::Two(columns) => {
                columns.blocks_of(&self.map, codes).map_err(|damage| self.damaged(damage))
            }
        }
    }

    /// Reads everything, to see whether the file is whole.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first part that is not.
    pub fn check(&self) -> Result<(), Error> {
        if let Content::Two(columns) = &self.content {
            columns.check(&self.map).map_err(|damage| self.damaged(damage))?;
        }
        self.blocks().try_for_each(|block| {
            Column::ALL.iter().try_for_each(|&column| block.values(column).map(drop))?;
            block.overflow().map(drop)
        })
    }

    /// What each column takes of the file, in bytes; the dictionary of addresses comes as none.
    pub fn sizes(&self) -> Vec<(Option<Column>, u64)> {
        match &self.content {
            Content::One(columns) => columns.sizes(),
            Content::Two(columns) => columns.sizes(),
        }
    }

    fn damaged(&self, damage: Damage) -> Error {
        let Damage { part, reason } = damage;
        Error::Damaged { path: self.path.clone(), part, reason }
    }
}

/// What is wrong, and with which part of a file.
struct Damage {
    part: String,
    reason: String,
}

impl Block<'_> {
    /// Its number within the segment, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The smallest and largest number of a column, or code of an address, as its zone map says;
    /// none when nothing is known.
    pub(crate) fn extremes(&self, column: Column) -> Result<Option<(u64, u64)>, Error> {
        match &self.segment.content {
            Content::One(_) => Ok(None),
            Content::Two(columns) => columns
                .extremes(&self.segment.map, column, self.number)
                .map_err(|damage| self.segment.damaged(damage)),
        }
    }

    /// The times that its rows span, of those that a question's window is compared with.
    pub(crate) fn range(&self) -> Result<TimeRange, Error> {
        let mut range = *self.segment.range();
        if let Some((min, max)) = self.extremes(Column::First)? {
            (range.first_min_ms, range.first_max_ms) = (min, max);
        }
        if let Some((min, max)) = self.extremes(Column::Last)? {
            (range.last_min_ms, range.last_max_ms) = (min, max);
        }
        Ok(range)
    }
}

impl ColumnSource for Block<'_> {
    fn rows(&self) -> usize {
        match &self.segment.content {
            Content::One(columns) => columns.rows,
            Content::Two(columns) => columns.rows(self.number),
        }
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        let file = &self.segment.map;
        let values = match &self.segment.content {
            Content::One(columns) => columns.values(file, column),
            Content::Two(columns) => columns.values(file, column, self.number),
        };
        values.map_err(|damage| self.segment.damaged(damage))
    }

    fn has(&self, column: Column) -> bool {
        self.segment.has(column)
    }

    fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error> {
        match &self.segment.content {
            Content::One(_) => Ok(None),
            Content::Two(columns) => columns
                .overflow(&self.segment.map, self.number)
                .map(|overflow| overflow.map(Cow::Owned))
                .map_err(|damage| self.segment.damaged(damage)),
        }
    }

    fn pick(&self, column: Column, rows: &[u32]) -> Result<Values<'static>, Error> {
        match &self.segment.content {
            Content::One(_) => Ok(self.values(column)?.pick(rows)),
            Content::Two(columns) => columns
                .pick(&self.segment.map, column, self.number, rows)
                .map_err(|damage| self.segment.damaged(damage)),
        }
    }

    fn codes(&self, column: Column) -> Result<Option<Vec<u32>>, Error> {
        match &self.segment.content {
            Content::One(_) => Ok(None),
            Content::Two(columns) => columns
                .codes(&self.segment.map, column, self.number)
                .map_err(|damage| self.segment.damaged(damage)),
        }
    }
}

impl ColumnSource for SegmentFile {
    fn rows(&self) -> usize {
        match &self.content {
            Content::One(columns) => columns.rows,
            Content::Two(columns) => columns.footer.rows,
        }
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        let values = match &self.content {
            Content::One(columns) => columns.values(&self.map, column),
            Content::Two(columns) => columns.all_values(&self.map, column),
        };
        values.map_err(|damage| self.damaged(damage))
    }

    fn has(&self, column: Column) -> bool {
        match &self.content {
            Content::One(columns) => columns.has(column),
            Content::Two(columns) => columns.has(column),
        }
    }

    fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error> {
        let (mut all, mut rows) = (Overflow::default(), 0);
        for block in self.blocks() {
            if let Some(overflow) = block.overflow()? {
                all.append(rows, &overflow, 0..block.rows());
            }
            rows += block.rows();
        }
        Ok((!all.is_empty()).then_some(Cow::Owned(all)))
    }
}

/// Appends the directory and the end.
fn write_end(bytes: &mut Vec<u8>, directory: &[u8]) {
    let offset = bytes.len() as u64;
    let length = u32::try_from(directory.len()).expect("a directory has some thousand bytes");
    bytes.extend_from_slice(directory);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(directory).to_le_bytes());
    bytes.extend_from_slice(&END_MAGIC);
}

/// Checks header and end and gives the version and the directory's bytes.
fn check_frame<'a>(path: &Path, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), Error> {
    let truncated =
        |reason: &str| Error::Truncated { path: path.to_owned(), reason: reason.to_owned() };
    let damaged = |reason: &str| Error::Damaged {
        path: path.to_owned(),
        part: "its directory".to_owned(),
        reason: reason.to_owned(),
    };
    if !bytes.starts_with(&MAGIC) {
        return Err(Error::NotASegment { path: path.to_owned() });
    }
    let version = Fields(&bytes[MAGIC.len()..]).u32();
    let (Ok(version), true) = (version, bytes.len() >= HEADER_BYTES) else {
        return Err(truncated("its header is not complete"));
    };
    if version > VERSION {
        let path = path.to_owned();
        return Err(Error::NewerVersion { path, version, readable: VERSION });
    }
    if bytes.len() < HEADER_BYTES + TRAILER_BYTES || !bytes.ends_with(&END_MAGIC) {
        return Err(truncated("its end mark is missing"));
    }
    let trailer_at = bytes.len() - TRAILER_BYTES;
    let mut trailer = Fields(&bytes[trailer_at..]);
    let place = checksum::Place::read(&mut trailer).map_err(damaged)?;
    let ends = place.offset.checked_add(place.length.into());
    if ends != Some(trailer_at as u64) {
        return Err(damaged("it does not lie where the end mark says"));
    }
    let directory = place.of(bytes).map_err(damaged)?;
    if version == 0 {
        return Err(damaged("the file bears version 0, which does not exist"));
    }
    Ok((version, directory))
}
