//! The store's writer: rows in, visible at once, sealed by time slice.
//!
//! Rows wait in memory by the slice of wall-clock time that they arrived in. A slice is sealed
//! when it is over, or when it has rows enough for a segment. If a seal fails, as on a full disk,
//! the rows stay in memory and visible, the next tick tries again, and beyond `memory_rows` new
//! rows are refused: counted by the caller, never half kept. Rows that are not sealed soon are
//! spilled, so that a process that dies loses next to none. Time is an argument throughout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Batch;
use crate::directory::{self, Directory, Recovery, Unsealed};
use crate::error::Error;
use crate::files::Files;
use crate::names::{self, Learning, Told};
use crate::reader::{MemoryBatch, Reader, Segment, Snapshot, StoreHealth};
use crate::segment::{self, Spilled};
use crate::spill::Spill;

/// The longest time between two attempts to seal after a failure, ms.
const RETRY_MS: u64 = 1000;

/// What a row may say beside its columns before it counts as more than one: such rows are bounded by
/// their bytes, so that exporters of long texts cannot take all memory.
const OVERFLOW_BYTES_A_ROW: usize = 256;

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
    /// How long rows may be in memory alone before they are appended to a spill, ms: what a process
    /// that is killed loses, with a tenth of a second more. 0 for no spill.
    pub spill_ms: u64,
    /// How long spilled rows may wait to be made durable, ms: what a power cut loses, with
    /// `spill_ms` more.
    pub sync_ms: u64,
    /// Whether segments are compressed by zstd where it pays: about a fifth smaller, and several
    /// times slower to scan.
    pub compress: bool,
}

impl StoreConfig {
    /// The ordinary configuration: slices of a minute, a million rows a segment, four in memory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        StoreConfig {
            directory: directory.into(),
            slice_ms: 60_000,
            seal_rows: 1_000_000,
            memory_rows: 4_000_000,
            spill_ms: 500,
            sync_ms: 4000,
            compress: false,
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
    spilled_at_ms: u64,
    synced_at_ms: u64,
}

/// The rows of one slice that are not sealed yet.
struct Slice {
    start_ms: u64,
    rows: usize,
    /// The rows, those with much beside their columns counted by its bytes.
    weight: usize,
    batches: Vec<Arc<MemoryBatch>>,
    /// Rows of the slice that were sealed before these.
    sealed: u64,
    spill: Option<Spill>,
}

fn weight(batch: &Batch) -> usize {
    batch.rows().max(batch.overflow.bytes() / OVERFLOW_BYTES_A_ROW)
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
        let (directory, unsealed, recovery) = Directory::open(&config.directory, files.clone())?;
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
            slices: unsealed.into_iter().map(Slice::resume).collect(),
            reader: Reader::new(snapshot, health.clone()),
            health,
            failing: false,
            retry_at_ms: 0,
            spilled_at_ms: 0,
            synced_at_ms: 0,
        };
        store.slices.sort_by_key(|slice| slice.start_ms);
        store.publish();
        Ok((store, recovery))
    }

    /// A reader of a store that no process, or another one, writes. It sees what is sealed or
    /// spilled at this moment, and never writes to the folder. Without a manifest it sees whatever segments
    /// lie there; every answer names those that cannot be opened.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NewerVersion`], [`Error::File`].
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<Reader, Error> {
        let folder: Arc<Path> = directory.as_ref().into();
        let (manifest, damaged, unsealed) = directory::read_only(&folder)?;
        let (mut snapshot, mut health) = sealed(&folder, &manifest.segments);
        snapshot.damaged = damaged.into();
        health.memory_rows = unsealed.iter().map(|batch| batch.rows() as u64).sum();
        let memory = unsealed.into_iter().map(|batch| Arc::new(MemoryBatch::new(batch)));
        snapshot.memory = memory.collect();
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
        let weight = weight(&batch);
        if self.memory_weight() + weight > self.config.memory_rows && !self.failing {
            self.seal(|_| true);
        }
        let waiting = self.memory_weight();
        // A single batch larger than the bound is taken when nothing else waits: its memory is
        // spent already, and refusing it for ever would lose what could be sealed.
        if waiting + weight > self.config.memory_rows && (waiting > 0 || self.failing) {
            self.health.refused_rows += rows as u64;
            self.publish();
            return Err(Full(rows));
        }
        self.file(batch);
        let full = self.config.seal_rows;
        if !self.failing && self.slices.iter().any(|slice| slice.weight >= full) {
            self.seal(|slice| slice.weight >= full);
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

    /// Seals the slices that are over at `now_ms`, spills what has waited long enough, and retries
    /// what failed; to be called about every 100 ms.
    pub fn tick(&mut self, now_ms: u64) {
        self.seal_due(now_ms);
        self.spill_due(now_ms);
    }

    fn seal_due(&mut self, now_ms: u64) {
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
            over || ahead || slice.weight >= full
        };
        if !self.failing && !self.slices.iter().any(due) {
            return;
        }
        self.seal(due);
        self.retry_at_ms = now_ms.saturating_add(RETRY_MS);
        self.publish();
    }

    /// Appends what is in memory alone to spills, and makes them durable, each when it is time.
    fn spill_due(&mut self, now_ms: u64) {
        // A clock that was set back makes it time too.
        let due = |last: u64, wait: u64| now_ms < last || now_ms - last >= wait;
        if self.config.spill_ms == 0 || !due(self.spilled_at_ms, self.config.spill_ms) {
            return;
        }
        self.spilled_at_ms = now_ms;
        let mut done = self.spill();
        if due(self.synced_at_ms, self.config.sync_ms) {
            self.synced_at_ms = now_ms;
            done = done.and_then(|()| self.sync());
        }
        let error = done.err().map(|error| error.to_string());
        if error != self.health.spill_error {
            self.health.spill_error = error;
            self.publish();
        }
    }

    fn spill(&mut self) -> Result<(), Error> {
        for slice in &mut self.slices {
            if slice.sealed + slice.rows as u64 <= slice.spill.as_ref().map_or(0, Spill::rows) {
                continue;
            }
            let spill = match &mut slice.spill {
                Some(spill) => spill,
                none => none.insert(self.directory.new_spill(slice.start_ms)?),
            };
            let batches: Vec<&Batch> = slice.batches.iter().map(|held| &held.batch).collect();
            spill.append(self.directory.files(), &batches, slice.sealed)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        let files = self.directory.files();
        let mut spills = self.slices.iter_mut().filter_map(|slice| slice.spill.as_mut());
        spills.try_for_each(|spill| spill.sync(files))
    }

    /// Seals everything.
    ///
    /// # Errors
    /// Why something could not be sealed; its rows are lost with this process unless they are
    /// spilled.
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

    fn memory_weight(&self) -> usize {
        self.slices.iter().map(|slice| slice.weight).sum()
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
            let (batches, spill) = (Vec::new(), None);
            let slice = Slice { start_ms, rows: 0, weight: 0, batches, sealed: 0, spill };
            self.slices.insert(at, slice);
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
            if let Some(spill) = self.slices.remove(at).spill {
                self.directory.give_up(&spill);
            }
        }
        if self.directory.is_unsaved() {
            self.directory.save_manifest()?;
        }
        self.directory.remove_sealed();
        Ok(())
    }

    /// Seals the first `count` batches of a slice; they leave memory once they are on disk.
    fn seal_batches(&mut self, at: usize, count: usize) -> Result<(), Error> {
        let slice = &mut self.slices[at];
        let batches: Vec<&Batch> = slice.batches[..count].iter().map(|held| &held.batch).collect();
        let rows: usize = batches.iter().map(|batch| batch.rows()).sum();
        let sealed = slice.sealed + rows as u64;
        let spill =
            slice.spill.as_ref().map_or_else(Spilled::default, |spill| spill.sealed(sealed));
        let options = segment::Options { compress: self.config.compress, spill };
        let encoded = segment::encode(slice.start_ms, &batches, &options);
        let entry = self.directory.seal(slice.start_ms, &encoded, spill)?;
        slice.batches.drain(..count);
        slice.rows -= rows;
        slice.weight = slice.batches.iter().map(|held| weight(&held.batch)).sum();
        slice.sealed = sealed;
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
    /// The rows of a spill, to be sealed as if they had just come.
    fn resume(unsealed: Unsealed) -> Slice {
        let Unsealed { spill, contents } = unsealed;
        let sealed = contents.batches.first().map_or(spill.rows(), |(first, _)| *first);
        let mut slice = Slice {
            start_ms: contents.slice_ms,
            rows: 0,
            weight: 0,
            batches: Vec::new(),
            sealed,
            spill: Some(spill),
        };
        contents.batches.into_iter().for_each(|(_, batch)| slice.push(batch));
        slice
    }

    /// Adds a batch, and merges small ones such that their number grows with the logarithm of
    /// the rows: a batch is merged with the one before it unless that one is clearly larger.
    fn push(&mut self, batch: Batch) {
        self.rows += batch.rows();
        self.weight += weight(&batch);
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
mod tests;
