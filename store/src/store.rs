//! The store's writer: rows in, visible at once, sealed by time slice.
//!
//! Rows wait in memory by the slice of wall-clock time that they arrived in. A slice is sealed
//! when it is over, or when it has rows enough for a segment. If a seal fails, as on a full disk,
//! the rows stay in memory and visible, the next tick tries again, and beyond `memory_rows` new
//! rows are refused: counted by the caller, never half kept. Time is an argument throughout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Batch;
use crate::directory::{self, Directory, Recovery};
use crate::error::Error;
use crate::files::Files;
use crate::names::{self, Learning, Told};
use crate::reader::{MemoryBatch, Reader, Segment, Snapshot, StoreHealth};
use crate::segment;

/// The longest time between two attempts to seal after a failure, ms.
const RETRY_MS: u64 = 1000;

/// Batches in memory are merged into ones of up to this many rows.
const MERGED_ROWS: usize = 1 << 17;

/// How a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The store's folder; made when it is not there.
    pub directory: PathBuf,
    /// The length of a time slice, ms.
    pub slice_ms: u64,
    /// A slice with so many rows is sealed before it is over.
    pub seal_rows: usize,
    /// The most rows in memory; at least `seal_rows`.
    pub memory_rows: usize,
}

impl StoreConfig {
    /// The ordinary configuration: slices of a minute, a million rows a segment, four in memory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        StoreConfig {
            directory: directory.into(),
            slice_ms: 60_000,
            seal_rows: 1_000_000,
            memory_rows: 4_000_000,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::Config(reason));
        if self.slice_ms == 0 {
            return wrong("a slice must last at least a millisecond".to_owned());
        }
        if !(1..=segment::MAX_ROWS / 2).contains(&self.seal_rows) {
            return wrong(format!("seal_rows must be from 1 to {}", segment::MAX_ROWS / 2));
        }
        if self.memory_rows < self.seal_rows {
            return wrong("memory_rows must be at least seal_rows".to_owned());
        }
        Ok(())
    }
}

/// Rows that were refused because memory is full; nothing of their batch was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot take {0} rows: it cannot seal, and memory is full")]
pub struct Full(pub usize);

/// A store that this process writes; there is one writer for a folder.
pub struct Store {
    config: StoreConfig,
    directory: Directory,
    folder: Arc<Path>,
    names: names::journal::Journal,
    segments: Vec<Arc<Segment>>,
    /// What [`Reader`]s see of `segments`.
    published: Arc<[Arc<Segment>]>,
    /// By ascending slice; few, for a slice is sealed soon after it is over.
    slices: Vec<Slice>,
    reader: Reader,
    health: StoreHealth,
    failing: bool,
    retry_at_ms: u64,
}

/// The rows of one slice that are not sealed yet.
struct Slice {
    start_ms: u64,
    rows: usize,
    batches: Vec<Arc<MemoryBatch>>,
}

impl Store {
    /// Opens or makes a store, and puts in order what a crash left.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process writes it; [`Error::NewerVersion`];
    /// [`Error::Config`]; [`Error::File`].
    pub fn open(config: StoreConfig) -> Result<(Store, Recovery), Error> {
        Store::open_with(config, Files::default())
    }

    fn open_with(config: StoreConfig, files: Files) -> Result<(Store, Recovery), Error> {
        config.check()?;
        let (directory, recovery) = Directory::open(&config.directory, files.clone())?;
        let folder: Arc<Path> = directory.path().into();
        let names = names::journal::Journal::open(&folder, files)
            .map_err(|error| Error::file("read the names in", &*folder, error))?;
        let (mut snapshot, mut health) = sealed(&folder, &directory.manifest().segments);
        snapshot.names = names.names().clone();
        health.names = names.names().read().len() as u64;
        let mut store = Store {
            config,
            directory,
            folder,
            names,
            segments: snapshot.segments.to_vec(),
            published: Arc::clone(&snapshot.segments),
            slices: Vec::new(),
            reader: Reader::new(snapshot, health.clone()),
            health,
            failing: false,
            retry_at_ms: 0,
        };
        store.publish();
        Ok((store, recovery))
    }

    /// A reader of a store that no process, or another one, writes. It sees what is sealed at
    /// this moment, and never writes to the folder. Without a manifest it sees whatever segments
    /// lie there; every answer names those that cannot be opened.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NewerVersion`], [`Error::File`].
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<Reader, Error> {
        let folder: Arc<Path> = directory.as_ref().into();
        let (manifest, damaged) = directory::read_only(&folder)?;
        let (mut snapshot, health) = sealed(&folder, &manifest.segments);
        snapshot.damaged = damaged.into();
        snapshot.names = names::journal::read_only(&folder)
            .map_err(|error| Error::file("read the names in", &*folder, error))?;
        Ok(Reader::new(snapshot, health))
    }

    /// A reader that sees every row as soon as it is appended.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Takes a batch; its rows are visible when this returns. Seals slices that are full.
    ///
    /// # Errors
    /// [`Full`] when the rows do not fit into memory because sealing fails; none was kept.
    pub fn append(&mut self, batch: Batch) -> Result<(), Full> {
        let rows = batch.rows();
        if rows == 0 {
            return Ok(());
        }
        if self.memory_rows() + rows > self.config.memory_rows && !self.failing {
            self.seal(|_| true);
        }
        let waiting = self.memory_rows();
        // A single batch larger than the bound is taken when nothing else waits: its memory is
        // spent already, and refusing it for ever would lose what could be sealed.
        if waiting + rows > self.config.memory_rows && (waiting > 0 || self.failing) {
            self.health.refused_rows += rows as u64;
            self.publish();
            return Err(Full(rows));
        }
        self.file(batch);
        let full = self.config.seal_rows;
        if !self.failing && self.slices.iter().any(|slice| slice.rows >= full) {
            self.seal(|slice| slice.rows >= full);
        }
        self.publish();
        Ok(())
    }

    /// Takes what exporters call things; readers see it when this returns.
    ///
    /// # Errors
    /// Why it could not be written down. It is known all the same, and written with the next that
    /// can.
    pub fn learn(&mut self, told: &Told) -> Result<Learning, Error> {
        let (learning, written) = self.names.learn(told);
        self.health.refused_names += learning.refused;
        if learning.new > 0 {
            self.health.names = self.names.names().read().len() as u64;
        }
        self.publish();
        written.map_err(|error| Error::file("write", self.names.path(), error))?;
        Ok(learning)
    }

    /// Seals the slices that are over at `now_ms`, and retries what failed; to be called about
    /// every 100 ms.
    pub fn tick(&mut self, now_ms: u64) {
        // A wait longer than one was ever set means that the clock was set back since.
        let wait_ms = self.retry_at_ms.saturating_sub(now_ms);
        if self.failing && (1..=RETRY_MS).contains(&wait_ms) {
            return;
        }
        let (length, full) = (self.config.slice_ms, self.config.seal_rows);
        let due = |slice: &Slice| {
            let over = slice.start_ms.saturating_add(length) <= now_ms;
            // The clock was ahead when these rows came: nothing more is to be expected there.
            let ahead = slice.start_ms > now_ms.saturating_add(length);
            over || ahead || slice.rows >= full
        };
        if !self.failing && !self.slices.iter().any(due) {
            return;
        }
        self.seal(due);
        self.retry_at_ms = now_ms.saturating_add(RETRY_MS);
        self.publish();
    }

    /// Seals everything.
    ///
    /// # Errors
    /// Why something could not be sealed; its rows are lost with this process.
    pub fn close(mut self) -> Result<(), Error> {
        let named = self.names.save();
        self.seal_all()?;
        named.map_err(|error| Error::file("write", self.names.path(), error))
    }

    /// Seals everything that is in memory, slices that are not over included.
    ///
    /// # Errors
    /// Why something could not be sealed; its rows stay in memory.
    pub fn seal_all(&mut self) -> Result<(), Error> {
        let sealed = self.try_seal(|_| true);
        self.note(&sealed);
        self.publish();
        sealed
    }

    fn memory_rows(&self) -> usize {
        self.slices.iter().map(|slice| slice.rows).sum()
    }

    /// Puts a batch into its slice, or its parts into theirs.
    fn file(&mut self, batch: Batch) {
        let slice_of = |received: &u64| received - received % self.config.slice_ms;
        // No part has more rows than a segment should: so a segment has at most twice as many.
        let runs: Vec<(u64, usize)> = batch
            .received_ms
            .chunk_by(|a, b| slice_of(a) == slice_of(b))
            .flat_map(|run| run.chunks(self.config.seal_rows))
            .map(|run| (slice_of(&run[0]), run.len()))
            .collect();
        if let [(start_ms, _)] = runs[..] {
            return self.slice(start_ms).push(batch);
        }
        let mut at = 0;
        for (start_ms, rows) in runs {
            let part = batch.range(at..at + rows);
            self.slice(start_ms).push(part);
            at += rows;
        }
    }

    fn slice(&mut self, start_ms: u64) -> &mut Slice {
        let at = self.slices.partition_point(|slice| slice.start_ms < start_ms);
        if self.slices.get(at).is_none_or(|slice| slice.start_ms != start_ms) {
            self.slices.insert(at, Slice { start_ms, rows: 0, batches: Vec::new() });
        }
        &mut self.slices[at]
    }

    /// Seals the slices that are `due` and notes how it went.
    fn seal(&mut self, due: impl Fn(&Slice) -> bool) {
        let sealed = self.try_seal(due);
        self.note(&sealed);
    }

    fn note(&mut self, sealed: &Result<(), Error>) {
        self.failing = sealed.is_err();
        self.health.last_error = sealed.as_ref().err().map(ToString::to_string);
        self.health.seal_failures += u64::from(self.failing);
    }

    fn try_seal(&mut self, due: impl Fn(&Slice) -> bool) -> Result<(), Error> {
        let mut at = 0;
        while at < self.slices.len() {
            if !due(&self.slices[at]) {
                at += 1;
                continue;
            }
            while let Some(count) = self.slices[at].next_segment(self.config.seal_rows) {
                self.seal_batches(at, count)?;
            }
            self.slices.remove(at);
        }
        if self.directory.is_unsaved() {
            self.directory.save_manifest()?;
        }
        Ok(())
    }

    /// Seals the first `count` batches of a slice; they leave memory once they are on disk.
    fn seal_batches(&mut self, at: usize, count: usize) -> Result<(), Error> {
        let slice = &mut self.slices[at];
        let batches: Vec<&Batch> = slice.batches[..count].iter().map(|held| &held.batch).collect();
        let encoded = segment::encode(slice.start_ms, &batches);
        let entry = self.directory.seal(slice.start_ms, &encoded)?;
        slice.batches.drain(..count);
        slice.rows -= encoded.rows;
        self.health.segments += 1;
        self.health.sealed_rows += entry.rows;
        self.health.bytes += entry.bytes;
        self.segments.push(Arc::new(Segment { folder: Arc::clone(&self.folder), entry }));
        Ok(())
    }

    /// Shows readers the present state, in one step.
    fn publish(&mut self) {
        if self.published.len() != self.segments.len() {
            self.published = self.segments.as_slice().into();
        }
        self.health.memory_rows = self.memory_rows() as u64;
        let snapshot = Snapshot {
            segments: Arc::clone(&self.published),
            memory: self.slices.iter().flat_map(|slice| slice.batches.iter().cloned()).collect(),
            damaged: Arc::default(),
            names: self.names.names().clone(),
        };
        self.reader.publish(snapshot, self.health.clone());
    }
}

/// What readers see of segments alone.
fn sealed(
    folder: &Arc<Path>,
    entries: &[crate::manifest::SegmentEntry],
) -> (Snapshot, StoreHealth) {
    let segment = |entry: &crate::manifest::SegmentEntry| {
        Arc::new(Segment { folder: Arc::clone(folder), entry: entry.clone() })
    };
    let health = StoreHealth {
        segments: entries.len() as u64,
        sealed_rows: entries.iter().map(|entry| entry.rows).sum(),
        bytes: entries.iter().map(|entry| entry.bytes).sum(),
        ..StoreHealth::default()
    };
    let segments = entries.iter().map(segment).collect();
    (Snapshot { segments, ..Snapshot::default() }, health)
}

impl Slice {
    /// Adds a batch, and merges small ones such that their number grows with the logarithm of
    /// the rows: a batch is merged with the one before it unless that one is clearly larger.
    fn push(&mut self, batch: Batch) {
        self.rows += batch.rows();
        let mut merged = batch;
        while let Some(last) = self.batches.last() {
            let rows = last.batch.rows();
            if rows > merged.rows() * 2 || rows + merged.rows() > MERGED_ROWS {
                break;
            }
            let last = self.batches.pop().expect("there is a last batch");
            // Readers may hold the older one; then its rows are copied once more.
            let mut joined =
                Arc::try_unwrap(last).map_or_else(|shared| shared.batch.clone(), |own| own.batch);
            joined.append(&merged);
            merged = joined;
        }
        self.batches.push(Arc::new(MemoryBatch::new(merged)));
    }

    /// How many of the first batches make the next segment; none when there is no batch.
    fn next_segment(&self, seal_rows: usize) -> Option<usize> {
        let mut rows = 0;
        for (count, batch) in self.batches.iter().enumerate() {
            rows += batch.batch.rows();
            if rows >= seal_rows {
                return Some(count + 1);
            }
        }
        Some(self.batches.len()).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::column::ColumnSource;
    use crate::query::{self, Limits, Plan, Question, View};
    use crate::{Address, Column};

    fn config(folder: &Path) -> StoreConfig {
        StoreConfig { slice_ms: 1000, seal_rows: 100, memory_rows: 300, ..StoreConfig::new(folder) }
    }

    /// `rows` rows that arrived at `received_ms`, each with its own number in `bytes`.
    fn batch(received_ms: u64, numbers: std::ops::Range<u64>) -> Batch {
        let rows = numbers.clone().count();
        let mut batch = Batch::with_capacity(rows);
        batch.received_ms.extend(vec![received_ms; rows]);
        batch.bytes.extend(numbers);
        batch.source_address.extend(vec![Address::from_v4([10, 0, 0, 1]); rows]);
        batch.fill(rows);
        batch
    }

    /// How often each number is in the store, sealed or in memory.
    fn numbers(reader: &Reader) -> BTreeMap<u64, usize> {
        let mut found = BTreeMap::new();
        let snapshot = reader.snapshot();
        for segment in snapshot.segments() {
            let file = segment.open().unwrap();
            for number in file.values(Column::Bytes).unwrap().as_u64() {
                *found.entry(*number).or_default() += 1;
            }
        }
        for number in snapshot.memory.iter().flat_map(|memory| &memory.batch.bytes) {
            *found.entry(*number).or_default() += 1;
        }
        found
    }

    fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
        numbers.map(|number| (number, 1)).collect()
    }

    fn files(folder: &Path, suffix: &str) -> usize {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().ends_with(suffix)).count()
    }

    #[test]
    fn rows_are_visible_at_once_and_sealed_when_their_slice_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        let reader = store.reader();
        store.append(batch(5500, 0..10)).unwrap();
        assert_eq!((reader.health().memory_rows, reader.health().segments), (10, 0));
        assert_eq!(numbers(&reader), once(0..10));
        store.tick(5999);
        assert_eq!(reader.health().segments, 0);
        store.tick(6000);
        assert_eq!((reader.health().memory_rows, reader.health().segments), (0, 1));
        assert_eq!(numbers(&reader), once(0..10));
    }

    #[test]
    fn a_full_slice_is_sealed_before_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        for start in (0..250).step_by(10) {
            store.append(batch(0, start..start + 10)).unwrap();
        }
        let health = store.reader().health();
        assert_eq!((health.sealed_rows, health.memory_rows), (200, 50));
        assert_eq!(numbers(&store.reader()), once(0..250));
    }

    #[test]
    fn a_batch_over_two_slices_is_divided() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        let mut both = batch(999, 0..3);
        both.append(&batch(1000, 3..5));
        store.append(both).unwrap();
        store.tick(1500);
        let health = store.reader().health();
        assert_eq!((health.sealed_rows, health.memory_rows), (3, 2));
        assert_eq!(numbers(&store.reader()), once(0..5));
    }

    #[test]
    fn a_snapshot_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..10)).unwrap();
        let before = store.reader().snapshot();
        store.append(batch(0, 10..20)).unwrap();
        store.tick(5000);
        assert_eq!(before.rows(), 10);
        assert_eq!(store.reader().snapshot().rows(), 20);
    }

    #[test]
    fn many_small_batches_become_few() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { seal_rows: 100_000, memory_rows: 100_000, ..config(folder.path()) };
        let (mut store, _) = Store::open(config).unwrap();
        for number in 0..5000 {
            store.append(batch(0, number..number + 1)).unwrap();
        }
        let count = store.reader().snapshot().memory.len();
        assert!(count <= 16, "{count} batches");
        assert_eq!(numbers(&store.reader()), once(0..5000));
    }

    #[test]
    fn a_batch_larger_than_memory_is_still_taken_when_it_can_be_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..1000)).unwrap();
        store.append(batch(0, 1000..1250)).unwrap();
        assert_eq!(numbers(&store.reader()), once(0..1250));
    }

    #[test]
    fn what_was_sealed_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..50)).unwrap();
        store.close().unwrap();
        let (store, recovery) = Store::open(config(folder.path())).unwrap();
        assert_eq!((recovery.segments, recovery.rows), (1, 50));
        assert_eq!(numbers(&store.reader()), once(0..50));
        let read_only = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(numbers(&read_only), once(0..50));
    }

    #[test]
    fn a_folder_without_a_store_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Store::open_read_only(folder.path()).err().unwrap();
        assert!(matches!(error, Error::NoStore { .. }), "{error}");
    }

    #[test]
    fn without_a_manifest_one_bad_segment_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..50)).unwrap();
        store.close().unwrap();
        fs::remove_file(folder.path().join("manifest.json")).unwrap();
        fs::write(folder.path().join("20260101T000000Z-00000008.weir"), "torn").unwrap();
        let reader = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(numbers(&reader), once(0..50));
        let plan = Plan::compile(&Question {
            filter: String::new(),
            from_ms: None,
            until_ms: None,
            view: View::Flows { limit: 1 },
        });
        let partial = query::answer(&reader.snapshot(), &plan.unwrap(), &Limits::default());
        let damaged = partial.unwrap().coverage.damaged;
        assert!(damaged.len() == 1 && damaged[0].contains("00000008.weir"), "{damaged:?}");
    }

    #[test]
    fn a_lost_manifest_is_made_anew_from_the_segments() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..50)).unwrap();
        store.append(batch(1000, 50..70)).unwrap();
        store.close().unwrap();
        for damage in ["", "{\"version\": 1, \"segm"] {
            fs::write(folder.path().join("manifest.json"), damage).unwrap();
            let (store, recovery) = Store::open(config(folder.path())).unwrap();
            assert!(recovery.manifest_rebuilt);
            assert_eq!(recovery.adopted.len(), 2);
            assert_eq!(numbers(&store.reader()), once(0..70));
        }
    }

    #[test]
    fn unfinished_files_go_and_torn_ones_are_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(0, 0..50)).unwrap();
        store.close().unwrap();
        let name = |name: &str| folder.path().join(name);
        fs::write(name("20260101T000000Z-00000007.weir.tmp"), "half").unwrap();
        fs::write(name("20260101T000000Z-00000008.weir"), "torn").unwrap();
        let (store, recovery) = Store::open(config(folder.path())).unwrap();
        assert_eq!((recovery.temporary_removed, recovery.torn.len()), (1, 1));
        assert_eq!(files(folder.path(), ".tmp") + files(folder.path(), "8.weir"), 0);
        assert_eq!(files(folder.path(), ".torn"), 1);
        assert_eq!(numbers(&store.reader()), once(0..50));
    }

    #[test]
    fn a_full_disk_keeps_rows_in_memory_then_refuses_then_seals_all() {
        let folder = tempfile::tempdir().unwrap();
        let full = Files::default();
        let (mut store, _) = Store::open_with(config(folder.path()), full.clone()).unwrap();
        let reader = store.reader();
        store.append(batch(0, 0..60)).unwrap();
        store.tick(1000);
        full.faults.fail(0, u64::MAX);
        store.append(batch(2000, 60..150)).unwrap();
        store.tick(3000);
        let health = reader.health();
        assert_eq!((health.segments, health.memory_rows, health.seal_failures), (1, 90, 1));
        assert!(health.last_error.unwrap().contains("weir"));
        store.append(batch(3000, 150..350)).unwrap();
        assert_eq!(store.append(batch(3000, 350..370)), Err(Full(20)));
        assert_eq!(reader.health().refused_rows, 20);
        assert_eq!(numbers(&reader), once(0..350));
        full.faults.fail(0, 0);
        store.tick(3500);
        assert!(reader.health().last_error.is_some(), "not retried within a second");
        store.tick(4000);
        let health = reader.health();
        assert_eq!((health.last_error, health.memory_rows), (None, 0));
        store.append(batch(4000, 350..370)).unwrap();
        assert_eq!(numbers(&reader), once(0..370));
        store.close().unwrap();
        assert_eq!(files(folder.path(), ".tmp"), 0);
        assert_eq!(numbers(&Store::open_read_only(folder.path()).unwrap()), once(0..370));
    }

    #[test]
    fn a_clock_set_back_does_not_postpone_the_retry() {
        let folder = tempfile::tempdir().unwrap();
        let full = Files::default();
        let (mut store, _) = Store::open_with(config(folder.path()), full.clone()).unwrap();
        store.append(batch(0, 0..10)).unwrap();
        full.faults.fail(0, u64::MAX);
        store.tick(1_000_000);
        full.faults.fail(0, 0);
        store.tick(999_500);
        assert!(store.reader().health().last_error.is_none(), "1.5 s is longer than any wait");
        assert_eq!(store.reader().health().sealed_rows, 10);
    }

    #[test]
    fn a_slice_of_a_clock_that_was_ahead_is_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        store.append(batch(3_600_000, 0..10)).unwrap();
        store.append(batch(6_500, 10..15)).unwrap();
        store.tick(5_000);
        let health = store.reader().health();
        assert_eq!((health.sealed_rows, health.memory_rows), (10, 5), "one slice ahead may grow");
        assert_eq!(numbers(&store.reader()), once(0..15));
    }

    /// Appends and seals; what has been sealed as far as the store says.
    fn write_some(store: &mut Store) -> u64 {
        for step in 0..4 {
            store.append(batch(step * 1000, step * 40..step * 40 + 40)).unwrap();
            store.tick(step * 1000 + 1000);
        }
        store.reader().health().sealed_rows
    }

    #[test]
    fn one_failure_at_any_step_loses_nothing_and_doubles_nothing() {
        for step in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let files_ = Files::default();
            let (mut store, _) = Store::open_with(config(folder.path()), files_.clone()).unwrap();
            files_.faults.fail(step, 1);
            write_some(&mut store);
            assert_eq!(numbers(&store.reader()), once(0..160), "step {step}");
            let done = files_.faults.steps() <= step;
            store.tick(100_000);
            assert_eq!(store.reader().health().last_error, None, "step {step}");
            drop(store);
            let (store, recovery) = Store::open(config(folder.path())).unwrap();
            assert_eq!(numbers(&store.reader()), once(0..160), "step {step}: {recovery:?}");
            assert_eq!(files(folder.path(), ".tmp"), 0);
            if done {
                assert!(step > 10, "the faults were never reached");
                break;
            }
        }
    }

    #[test]
    fn a_crash_at_any_step_leaves_every_sealed_row() {
        for step in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let files_ = Files::default();
            let (mut store, _) = Store::open_with(config(folder.path()), files_.clone()).unwrap();
            // From this step on nothing succeeds any more, as when the process is gone.
            files_.faults.fail(step, u64::MAX);
            let sealed = write_some(&mut store);
            let done = files_.faults.steps() <= step;
            drop(store);
            let (store, recovery) = Store::open(config(folder.path())).unwrap();
            let found = numbers(&store.reader());
            assert_eq!(found, once(0..found.len() as u64), "step {step}: {recovery:?}");
            assert!(found.len() as u64 >= sealed, "step {step}: {recovery:?}");
            assert!(recovery.torn.is_empty() && recovery.damaged.is_empty());
            if done {
                break;
            }
        }
    }

    #[test]
    fn readers_count_every_row_once_while_it_is_written_and_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(config(folder.path())).unwrap();
        let reader = store.reader();
        let writer = std::thread::spawn(move || {
            for step in 0..300 {
                store.append(batch(step * 100, step..step + 1)).unwrap();
                store.tick(step * 100);
            }
        });
        let mut seen = 0;
        while seen < 300 {
            let rows = reader.snapshot().rows();
            assert!(rows >= seen, "{rows} after {seen}");
            seen = rows;
        }
        writer.join().unwrap();
        assert_eq!(numbers(&reader), once(0..300));
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig { memory_rows: 1, ..config(folder.path()) };
        assert!(matches!(Store::open(config), Err(Error::Config(_))));
    }
}
