//! The spill: rows that are not sealed yet, on disk all the same, so that a process that dies loses
//! next to none of them.
//!
//! Each time slice has a file of its own, to which the rows that came since are appended every half
//! second and made durable every few: what a killed process loses is what it had not appended, what
//! a power cut loses is what was not durable. When the slice is sealed its spill is removed. A
//! segment says which spill its rows were in and how far that is sealed with it, so that no row is
//! ever taken twice. The file is frames, each with its checksum; whatever follows the last whole one
//! is a torn tail, which is cut off and counted.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Batch;
use crate::error::Error;
use crate::files::Files;
use crate::segment::{MAX_ROWS, Spilled, frame};

/// The version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"\x89wspl\r\n\x1a";
const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 20;

/// Rows of a frame; a torn tail costs at most so many.
const FRAME_ROWS: usize = 1 << 15;

/// The spill of a slice.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    file: File,
    number: u64,
    /// Bytes of whole frames; whatever is behind them is torn.
    length: u64,
    /// Rows that the slice has had when the last frame was written: the place of the next one.
    rows: u64,
    /// Whether everything is durable, and whether the file's name is.
    synced: bool,
    named: bool,
}

/// What the file of a spill holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) slice_ms: u64,
    pub(crate) number: u64,
    /// Rows, and the place of the first of each batch in its slice.
    pub(crate) batches: Vec<(u64, Batch)>,
    /// Bytes of whole frames, and of the torn tail behind them.
    length: u64,
    pub(crate) torn: u64,
}

impl Spill {
    /// Makes the spill number `number` at `path`.
    pub(crate) fn create(
        files: &Files,
        path: &Path,
        number: u64,
        slice_ms: u64,
    ) -> Result<Spill, Error> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&slice_ms.to_le_bytes());
        let file = files.create(path).map_err(|error| Error::file("make", path, error))?;
        let length = header.len() as u64;
        let (path, synced, named) = (path.to_owned(), false, false);
        let spill = Spill { path, file, number, length, rows: 0, synced, named };
        spill.write(files, 0, &header)?;
        Ok(spill)
    }

    /// How far the spill is sealed when the slice's first `rows` rows are.
    pub(crate) fn sealed(&self, rows: u64) -> Spilled {
        Spilled { number: self.number, rows }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rows of the slice that it has taken, from the slice's beginning.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends the rows of `batches` from the slice's row `from` on, where `batches` begin at the
    /// slice's row `start`.
    pub(crate) fn append(
        &mut self,
        files: &Files,
        batches: &[&Batch],
        start: u64,
    ) -> Result<(), Error> {
        let held: usize = batches.iter().map(|batch| batch.rows()).sum();
        let end = start + held as u64;
        let mut from = self.rows.max(start);
        while from < end {
            let until = end.min(from + FRAME_ROWS as u64);
            let rows = (from - start) as usize..(until - start) as usize;
            let payload = frame::write(batches, rows);
            let mut bytes = Vec::with_capacity(FRAME_BYTES + payload.len());
            bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&from.to_le_bytes());
            bytes.extend_from_slice(&checksum(&bytes, &payload).to_le_bytes());
            bytes.extend_from_slice(&payload);
            self.write(files, self.length, &bytes)?;
            self.length += bytes.len() as u64;
            self.synced = false;
            self.rows = until;
            from = until;
        }
        Ok(())
    }

    fn write(&self, files: &Files, at: u64, bytes: &[u8]) -> Result<(), Error> {
        files
            .write_at(&self.file, at, bytes)
            .map_err(|error| Error::file("append to", &self.path, error))
    }

    /// Makes what was appended durable, and at first the file's name.
    pub(crate) fn sync(&mut self, files: &Files) -> Result<(), Error> {
        if self.synced {
            return Ok(());
        }
        files.sync(&self.file).map_err(|error| Error::file("sync", &self.path, error))?;
        if let (false, Some(folder)) = (self.named, self.path.parent()) {
            files.sync_folder(folder).map_err(|error| Error::file("sync", folder, error))?;
            self.named = true;
        }
        self.synced = true;
        Ok(())
    }

    /// Goes on with the spill at `path` after its whole frames; what is behind them is cut off.
    pub(crate) fn resume(path: &Path, contents: &Contents) -> Result<Spill, Error> {
        let file = File::options().write(true).open(path);
        let file = file.map_err(|error| Error::file("open", path, error))?;
        if contents.torn > 0 {
            let cut = file.set_len(contents.length);
            cut.map_err(|error| Error::file("cut", path, error))?;
        }
        let Contents { number, length, .. } = *contents;
        let rows = contents.batches.last().map_or(0, |(at, batch)| at + batch.rows() as u64);
        Ok(Spill { path: path.into(), file, number, length, rows, synced: false, named: false })
    }
}

impl Contents {
    /// Reads the spill at `path`; none when it has no whole header.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::NewerVersion`].
    pub(crate) fn read(path: &Path) -> Result<Option<Contents>, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error::file("read", path, error))?;
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        if !header.starts_with(&MAGIC) {
            return Ok(None);
        }
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let version = word(8) as u32;
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerVersion { path, version, readable: VERSION });
        }
        let (mut at, mut rows, mut batches) = (HEADER_BYTES, 0, Vec::new());
        while let Some((first, batch, length)) = whole_frame(&bytes[at..], rows) {
            rows = first + batch.rows() as u64;
            batches.push((first, batch));
            at += length;
        }
        let (number, slice_ms) = (word(16), word(24));
        let (length, torn) = (at as u64, (bytes.len() - at) as u64);
        Ok(Some(Contents { slice_ms, number, batches, length, torn }))
    }

    /// Keeps the rows that are not sealed, when the slice's first `sealed` rows are.
    ///
    /// Where a frame does not go on where the one before it ended, rows were sealed before they were
    /// spilled, and with them whatever came before.
    pub(crate) fn leave_out(&mut self, sealed: u64) {
        let (mut kept, mut expected): (Vec<(u64, Batch)>, u64) = (Vec::new(), 0);
        for (first, batch) in self.batches.drain(..) {
            if first != expected {
                kept.clear();
            }
            expected = first + batch.rows() as u64;
            let passed = sealed.saturating_sub(first) as usize;
            if passed == 0 {
                kept.push((first, batch));
            } else if passed < batch.rows() {
                kept.push((sealed, batch.range(passed..batch.rows())));
            }
        }
        self.batches = kept;
    }

    /// Rows that it holds.
    pub(crate) fn rows(&self) -> u64 {
        self.batches.iter().map(|(_, batch)| batch.rows() as u64).sum()
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// The frame that `bytes` begin with, if it is whole and comes after the first `rows` rows: where it
/// stands in the slice, its rows, and its length.
fn whole_frame(bytes: &[u8], rows: u64) -> Option<(u64, Batch, usize)> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    let length = usize::try_from(u64::from_le_bytes(*head.first_chunk()?)).ok()?;
    let first = u64::from_le_bytes(*head.last_chunk()?);
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..length)?;
    if checksum(head, payload) != u32::from_le_bytes(*sum) || first < rows {
        return None;
    }
    let batch = frame::read(payload).ok().filter(|batch| batch.rows() <= MAX_ROWS)?;
    Some((first, batch, FRAME_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::FlowRow;
    use crate::{Address, Column};

    fn batch(numbers: std::ops::Range<u64>) -> Batch {
        let mut batch = Batch::default();
        for n in numbers {
            batch.push(&FlowRow {
                received_ms: n,
                bytes: n,
                source_address: Address::from_v4([10, 0, 0, n as u8]),
                destination_address: Address(u128::from(n).to_be_bytes()),
                nat_source_port: n as u16,
                ..FlowRow::default()
            });
        }
        batch
    }

    fn numbers(found: &Contents) -> Vec<u64> {
        found.batches.iter().flat_map(|(_, batch)| batch.bytes.clone()).collect()
    }

    fn spilled(folder: &Path) -> Spill {
        let files = Files::default();
        let mut spill = Spill::create(&files, &folder.join("spill"), 9, 60_000).unwrap();
        let (first, second) = (batch(0..40_000), batch(40_000..40_100));
        spill.append(&files, &[&first], 0).unwrap();
        spill.append(&files, &[&first, &second], 0).unwrap();
        spill
    }

    #[test]
    fn what_was_spilled_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = spilled(folder.path()).path().to_owned();
        let found = Contents::read(&path).unwrap().unwrap();
        assert_eq!((found.slice_ms, found.torn, found.number), (60_000, 0, 9));
        assert_eq!(numbers(&found), (0..40_100).collect::<Vec<u64>>());
        let (_, first) = &found.batches[0];
        let range = batch(0..first.rows() as u64);
        assert!(Column::ALL.iter().all(|&column| first.column(column) == range.column(column)));
    }

    #[test]
    fn rows_that_are_sealed_already_are_not_spilled() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let mut spill = Spill::create(&files, &folder.path().join("spill"), 9, 0).unwrap();
        spill.append(&files, &[&batch(100..120)], 100).unwrap();
        let found = Contents::read(spill.path()).unwrap().unwrap();
        assert_eq!((found.batches[0].0, found.rows()), (100, 20));
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_counted_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let path = folder.path().join("spill");
        let mut spill = Spill::create(&files, &path, 9, 0).unwrap();
        spill.append(&files, &[&batch(0..5)], 0).unwrap();
        let whole = spill.length as usize;
        spill.append(&files, &[&batch(0..8)], 0).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in HEADER_BYTES..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let found = Contents::read(&path).unwrap().unwrap();
            let (rows, kept) = match length {
                _ if length == bytes.len() => (8, length),
                _ if length >= whole => (5, whole),
                _ => (0, HEADER_BYTES),
            };
            assert_eq!(numbers(&found), (0..rows).collect::<Vec<u64>>(), "cut to {length}");
            assert_eq!(found.torn, (length - kept) as u64);
            let spill = Spill::resume(&path, &found).unwrap();
            assert_eq!(spill.rows(), rows);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), kept as u64);
        }
        for length in 0..HEADER_BYTES {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Contents::read(&path).unwrap().is_none());
        }
    }

    #[test]
    fn a_changed_byte_ends_the_spill_before_its_frame() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let path = folder.path().join("spill");
        let mut spill = Spill::create(&files, &path, 9, 0).unwrap();
        spill.append(&files, &[&batch(0..5)], 0).unwrap();
        let whole = spill.length as usize;
        spill.append(&files, &[&batch(0..8)], 0).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in HEADER_BYTES..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x21;
            std::fs::write(&path, &changed).unwrap();
            let rows = if at < whole { 0 } else { 5 };
            assert_eq!(numbers(&Contents::read(&path).unwrap().unwrap()).len(), rows, "byte {at}");
        }
    }

    #[test]
    fn rows_that_were_sealed_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let mut spill = Spill::create(&files, &folder.path().join("spill"), 9, 0).unwrap();
        spill.append(&files, &[&batch(0..5)], 0).unwrap();
        spill.append(&files, &[&batch(0..9)], 0).unwrap();
        let left = |sealed: u64| {
            let mut found = Contents::read(spill.path()).unwrap().unwrap();
            found.leave_out(sealed);
            numbers(&found)
        };
        for sealed in 0..12 {
            assert_eq!(left(sealed), (sealed.min(9)..9).collect::<Vec<u64>>());
        }
        // Seven more were sealed before they were spilled.
        spill.append(&files, &[&batch(16..20)], 16).unwrap();
        let mut found = Contents::read(spill.path()).unwrap().unwrap();
        found.leave_out(0);
        assert_eq!(numbers(&found), (16..20).collect::<Vec<u64>>());
    }
}
