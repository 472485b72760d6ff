//! A segment: the rows of one time slice as an immutable column file.
//!
//! The layout is described byte by byte in `store/FORMAT.md`; this file is the only code that
//! knows it. A segment is written once, whole, and never changes. Columns are read one at a time
//! through a mapping, each checked against its checksum before it is believed. Whatever a file
//! holds, reading it gives values or an error that names file and column.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::column::{self, ColumnSource, Values};
use crate::error::Error;
use crate::map;
use crate::range::TimeRange;
use crate::schema::Form;
use crate::{Batch, Column};

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The most rows that a segment may have; a larger number in a file is damage.
pub const MAX_ROWS: usize = 1 << 24;

const MAGIC: [u8; 8] = *b"\x89weir\r\n\x1a";
const END_MAGIC: [u8; 8] = *b"\x1a\n\rriew\x89";
const HEADER_BYTES: usize = 16;
const TRAILER_BYTES: usize = 24;
const FIXED_BYTES: usize = 72;
const ENTRY_BYTES: usize = 24;
const ALIGNMENT: usize = 8;

const CONSTANT: u8 = 0;
const PLAIN: u8 = 1;
const LZ4: u8 = 2;

/// A segment's bytes, ready to be written.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: usize,
    pub(crate) range: TimeRange,
}

/// Encodes the rows of `batches`, in their order.
///
/// # Panics
/// When they have more than [`MAX_ROWS`] rows: the store seals long before.
pub(crate) fn encode(slice_ms: u64, batches: &[&Batch]) -> Encoded {
    let rows: usize = batches.iter().map(|batch| batch.rows()).sum();
    assert!(rows <= MAX_ROWS, "a segment is sealed before it has {MAX_ROWS} rows");
    let mut range = TimeRange::default();
    batches.iter().for_each(|batch| range.cover(batch));

    let mut bytes = Vec::with_capacity(HEADER_BYTES + rows * 64);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let mut entries = Vec::with_capacity(Column::COUNT * ENTRY_BYTES);
    let mut plain = Vec::new();
    for &column in Column::ALL {
        if !batches.iter().any(|batch| batch.has(column)) {
            continue;
        }
        plain.clear();
        batches.iter().for_each(|batch| batch.write_plain(column, &mut plain));
        // A column that the file lacks reads as zeroes.
        if plain.iter().any(|byte| *byte != 0) {
            write_column(column, &plain, &mut bytes, &mut entries);
        }
    }
    let mut directory = Vec::with_capacity(FIXED_BYTES + entries.len());
    for number in [
        rows as u64,
        slice_ms,
        range.first_min_ms,
        range.first_max_ms,
        range.last_min_ms,
        range.last_max_ms,
        range.received_min_ms,
        range.received_max_ms,
        (entries.len() / ENTRY_BYTES) as u64,
    ] {
        directory.extend_from_slice(&number.to_le_bytes());
    }
    directory.extend_from_slice(&entries);
    let offset = bytes.len() as u64;
    let length = u32::try_from(directory.len()).expect("a directory has some hundred bytes");
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&directory).to_le_bytes());
    bytes.extend_from_slice(&END_MAGIC);
    Encoded { bytes, rows, range }
}

/// Appends the column by the smallest encoding, and its entry to the directory.
fn write_column(column: Column, plain: &[u8], bytes: &mut Vec<u8>, directory: &mut Vec<u8>) {
    let width = column.width();
    let same = plain.get(..width).is_none_or(|first| plain.chunks_exact(width).all(|v| v == first));
    let packed;
    let (encoding, stored) = if same {
        (CONSTANT, &plain[..width.min(plain.len())])
    } else {
        packed = lz4_flex::block::compress(plain);
        // Less than a tenth saved is not worth the time of unpacking.
        if packed.len() + packed.len() / 9 < plain.len() {
            (LZ4, &packed[..])
        } else {
            (PLAIN, plain)
        }
    };
    let offset = bytes.len() as u64;
    directory.extend_from_slice(&[column as u8, encoding, width as u8, 0]);
    directory.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
    directory.extend_from_slice(&offset.to_le_bytes());
    directory.extend_from_slice(&(stored.len() as u64).to_le_bytes());
    bytes.extend_from_slice(stored);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// An opened segment file, whose columns can be read.
pub struct SegmentFile {
    path: PathBuf,
    map: Mmap,
    rows: usize,
    slice_ms: u64,
    range: TimeRange,
    entries: Vec<Entry>,
}

/// Where a column is in the file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u8,
    encoding: u8,
    width: u8,
    checksum: u32,
    offset: u64,
    length: u64,
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
        let directory = check_frame(path, &map)?;
        let damaged = |reason: &str| Error::Damaged {
            path: path.to_owned(),
            part: "its directory".to_owned(),
            reason: reason.to_owned(),
        };
        let mut fields = Fields(directory);
        let rows = fields.u64();
        let slice_ms = fields.u64();
        let range = TimeRange {
            first_min_ms: fields.u64(),
            first_max_ms: fields.u64(),
            last_min_ms: fields.u64(),
            last_max_ms: fields.u64(),
            received_min_ms: fields.u64(),
            received_max_ms: fields.u64(),
        };
        let columns = fields.u64();
        let rows = usize::try_from(rows).ok().filter(|rows| *rows <= MAX_ROWS);
        let rows = rows.ok_or_else(|| damaged("it claims an impossible number of rows"))?;
        if (columns as usize).checked_mul(ENTRY_BYTES) != Some(fields.0.len()) {
            return Err(damaged("its length contradicts its number of columns"));
        }
        let entries = fields.0.chunks_exact(ENTRY_BYTES).map(Entry::read).collect();
        Ok(SegmentFile { path: path.to_owned(), map, rows, slice_ms, range, entries })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The beginning of the time slice that its rows arrived in, ms since 1970.
    pub fn slice_ms(&self) -> u64 {
        self.slice_ms
    }

    /// The times that its rows span.
    pub fn range(&self) -> &TimeRange {
        &self.range
    }

    /// The file's length in bytes.
    pub fn length(&self) -> u64 {
        self.map.len() as u64
    }

    /// Reads every column, to see whether the file is whole.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first column that is not.
    pub fn check(&self) -> Result<(), Error> {
        Column::ALL.iter().try_for_each(|&column| self.values(column).map(drop))
    }

    fn damaged(&self, column: Column, reason: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            part: format!("column {}", column.name()),
            reason: reason.into(),
        }
    }

    /// The column's stored bytes, checked.
    fn stored(&self, column: Column, entry: &Entry) -> Result<&[u8], Error> {
        let stored = usize::try_from(entry.offset)
            .ok()
            .zip(usize::try_from(entry.length).ok())
            .and_then(|(offset, length)| self.map.get(offset..offset.checked_add(length)?))
            .ok_or_else(|| self.damaged(column, "it lies outside of the file"))?;
        let checksum = crc32fast::hash(stored);
        if checksum != entry.checksum {
            let reason = format!("checksum {checksum:08x} instead of {:08x}", entry.checksum);
            return Err(self.damaged(column, reason));
        }
        Ok(stored)
    }
}

impl ColumnSource for SegmentFile {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        let found = self.entries.iter().find(|entry| entry.number == column as u8);
        let Some(entry) = found else {
            // No row says anything, or it was written before the column existed.
            return Ok(column::zeroes(column, self.rows));
        };
        let width = usize::from(entry.width);
        let narrower = width > 0 && width < column.width() && column.form() != Form::Address;
        if width != column.width() && !narrower {
            return Err(self.damaged(column, format!("its values have {width} bytes")));
        }
        let stored = self.stored(column, entry)?;
        let bytes = self.rows * width;
        let right = |length: usize, right: usize| {
            if length == right {
                Ok(())
            } else {
                Err(self.damaged(column, format!("it has {length} bytes instead of {right}")))
            }
        };
        // Written before the column became wider; a number's low bytes come first.
        let wide = |plain: &[u8]| {
            let mut wide = vec![0; plain.len() / width * column.width()];
            let values = wide.chunks_exact_mut(column.width()).zip(plain.chunks_exact(width));
            values.for_each(|(wide, value)| wide[..width].copy_from_slice(value));
            wide
        };
        let read = |plain: &[u8]| {
            if narrower {
                column::read_plain(column, &wide(plain))
            } else {
                column::read_plain(column, plain)
            }
        };
        match entry.encoding {
            CONSTANT if self.rows == 0 => Ok(column::read_plain(column, &[])),
            CONSTANT => {
                right(stored.len(), width)?;
                Ok(column::repeat(column, &wide(stored), self.rows))
            }
            PLAIN => {
                right(stored.len(), bytes)?;
                Ok(read(stored))
            }
            LZ4 => {
                let mut plain = vec![0; bytes];
                let length = lz4_flex::block::decompress_into(stored, &mut plain)
                    .map_err(|error| self.damaged(column, error.to_string()))?;
                right(length, bytes)?;
                Ok(read(&plain))
            }
            other => Err(self.damaged(column, format!("unknown encoding {other}"))),
        }
    }

    fn has(&self, column: Column) -> bool {
        self.entries.iter().any(|entry| entry.number == column as u8)
    }
}

impl Entry {
    fn read(bytes: &[u8]) -> Entry {
        let (number, encoding, width) = (bytes[0], bytes[1], bytes[2]);
        let mut fields = Fields(&bytes[4..]);
        let checksum = fields.u32();
        Entry { number, encoding, width, checksum, offset: fields.u64(), length: fields.u64() }
    }
}

/// Little-endian numbers, one after the other, of a slice that is known to be long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        u32::from_le_bytes(*number)
    }

    fn u64(&mut self) -> u64 {
        let (number, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        u64::from_le_bytes(*number)
    }
}

/// Checks header and trailer and gives the directory's bytes, at least [`FIXED_BYTES`] of them.
fn check_frame<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    let truncated =
        |reason: &str| Error::Truncated { path: path.to_owned(), reason: reason.to_owned() };
    if !bytes.starts_with(&MAGIC) {
        return Err(Error::NotASegment { path: path.to_owned() });
    }
    if bytes.len() < HEADER_BYTES {
        return Err(truncated("its header is not complete"));
    }
    let version = Fields(&bytes[MAGIC.len()..]).u32();
    if version > VERSION {
        let path = path.to_owned();
        return Err(Error::NewerVersion { path, version, readable: VERSION });
    }
    if bytes.len() < HEADER_BYTES + TRAILER_BYTES || !bytes.ends_with(&END_MAGIC) {
        return Err(truncated("its end mark is missing"));
    }
    let trailer_at = bytes.len() - TRAILER_BYTES;
    let mut trailer = Fields(&bytes[trailer_at..]);
    let (offset, length, checksum) = (trailer.u64(), trailer.u32(), trailer.u32());
    let damaged = |reason: &str| Error::Damaged {
        path: path.to_owned(),
        part: "its directory".to_owned(),
        reason: reason.to_owned(),
    };
    let directory = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes[..trailer_at].get(offset..))
        .filter(|directory| directory.len() == length as usize && length as usize >= FIXED_BYTES)
        .ok_or_else(|| damaged("it does not lie where the end mark says"))?;
    if crc32fast::hash(directory) != checksum {
        return Err(damaged("its checksum is wrong"));
    }
    if version == 0 {
        return Err(damaged("the file bears version 0, which does not exist"));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows: constant, plain and compressible columns.
    fn sample() -> Batch {
        let mut batch = Batch::default();
        batch.received_ms.extend([1_795_370_460_000; 3]);
        batch.first_ms.extend([10, 20, 30]);
        batch.last_ms.extend([11, 22, 33]);
        batch
            .source_address
            .extend([1, 2, 3].map(|last| crate::Address::from_v4([10, 0, 0, last])));
        batch.source_port.extend([1, 2, 0x1234]);
        batch.fill(3);
        batch
    }

    fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.weir");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read_back(batch: &Batch) {
        let (_folder, path) = written(&encode(60_000, &[batch]).bytes);
        let segment = SegmentFile::open(&path).unwrap();
        assert_eq!((segment.rows(), segment.slice_ms()), (batch.rows(), 60_000));
        for &column in Column::ALL {
            assert_eq!(segment.values(column).unwrap(), batch.column(column), "{column:?}");
        }
    }

    #[test]
    fn every_encoding_comes_back_as_it_was() {
        let mut long = Batch::default();
        for _ in 0..200 {
            long.append(&sample());
        }
        read_back(&sample());
        read_back(&long);
        read_back(&Batch::default());
        let (_folder, path) = written(&encode(0, &[&long]).bytes);
        let entries = SegmentFile::open(&path).unwrap().entries;
        let encodings: Vec<u8> = entries.iter().map(|entry| entry.encoding).collect();
        assert!(encodings.contains(&CONSTANT) && encodings.contains(&LZ4), "{encodings:?}");
    }

    #[test]
    fn the_times_of_the_rows_are_in_the_directory() {
        let (_folder, path) = written(&encode(0, &[&sample()]).bytes);
        let segment = SegmentFile::open(&path).unwrap();
        let range = segment.range();
        assert_eq!((range.first_min_ms, range.first_max_ms), (10, 30));
        assert_eq!((range.last_min_ms, range.last_max_ms), (11, 33));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = encode(0, &[&sample()]).bytes;
        for length in 0..bytes.len() {
            let (_folder, path) = written(&bytes[..length]);
            let error = SegmentFile::open(&path).err().unwrap();
            let named = matches!(error, Error::Truncated { .. } | Error::NotASegment { .. });
            assert!(named, "cut to {length}: {error}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed_or_means_nothing() {
        let batch = sample();
        let bytes = encode(0, &[&batch]).bytes;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            let (_folder, path) = written(&changed);
            let Ok(segment) = SegmentFile::open(&path) else { continue };
            for &column in Column::ALL {
                match segment.values(column) {
                    Ok(values) => assert_eq!(values, batch.column(column), "byte {at}"),
                    Err(error) => assert!(error.to_string().contains(column.name()), "{error}"),
                }
            }
        }
    }

    #[test]
    fn damage_names_the_file_and_the_column_and_leaves_the_others() {
        let mut bytes = encode(0, &[&sample()]).bytes;
        let (_whole, path) = written(&bytes);
        let entries = SegmentFile::open(&path).unwrap().entries;
        let at = |column: Column| entries.iter().find(|e| e.number == column as u8).unwrap().offset;
        bytes[at(Column::SourcePort) as usize] ^= 1;
        let (_folder, path) = written(&bytes);
        let segment = SegmentFile::open(&path).unwrap();
        let error = segment.values(Column::SourcePort).unwrap_err().to_string();
        assert!(error.contains("one.weir") && error.contains("source_port"), "{error}");
        segment.values(Column::SourceAddress).unwrap();
        assert!(segment.check().is_err());
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = encode(0, &[&sample()]).bytes;
        bytes[8] = 2;
        let (_folder, path) = written(&bytes);
        let error = SegmentFile::open(&path).err().unwrap();
        assert!(matches!(error, Error::NewerVersion { version: 2, .. }), "{error}");
    }

    #[test]
    fn a_directory_that_claims_too_much_allocates_nothing() {
        let mut bytes = encode(0, &[&sample()]).bytes;
        let trailer = bytes.len() - TRAILER_BYTES;
        let offset = Fields(&bytes[trailer..]).u64() as usize;
        bytes[offset..offset + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        let checksum = crc32fast::hash(&bytes[offset..trailer]);
        bytes[trailer + 12..trailer + 16].copy_from_slice(&checksum.to_le_bytes());
        let (_folder, path) = written(&bytes);
        let error = SegmentFile::open(&path).err().unwrap().to_string();
        assert!(error.contains("impossible number of rows"), "{error}");
    }
}
