//! What queries see of a store: an atomic picture of its segments and of what is in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Batch;
use crate::error::Error;
use crate::manifest::SegmentEntry;
use crate::names::Names;
use crate::range::TimeRange;
use crate::segment::SegmentFile;

/// A reader of a store; clones see the same store.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    health: StoreHealth,
}

/// A store at one moment: every row that was appended before it, once, whatever happens after.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) segments: Arc<[Arc<Segment>]>,
    pub(crate) memory: Arc<[Arc<MemoryBatch>]>,
    /// Segments that could not even be listed, with the reason; every answer names them.
    pub(crate) damaged: Arc<[String]>,
    /// What exporters call things, by now.
    pub(crate) names: Names,
}

/// A sealed segment, by what is known without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub(crate) folder: Arc<Path>,
    pub(crate) entry: SegmentEntry,
}

/// Rows that are not sealed yet.
#[derive(Debug)]
pub(crate) struct MemoryBatch {
    pub(crate) batch: Batch,
    pub(crate) range: TimeRange,
}

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Sealed segments.
    pub segments: u64,
    /// Rows in sealed segments.
    pub sealed_rows: u64,
    /// Bytes of sealed segments.
    pub bytes: u64,
    /// Rows that are only in memory.
    pub memory_rows: u64,
    /// Names of exporters' things that are known.
    pub names: u64,
    /// Names that were refused, because their exporter has told too many.
    pub refused_names: u64,
    /// Rows that were refused because memory was full.
    pub refused_rows: u64,
    /// Seals that failed since the store was opened.
    pub seal_failures: u64,
    /// Why the last seal failed; none once everything is sealed again.
    pub last_error: Option<String>,
    /// Why rows could not be spilled; none once they can again.
    pub spill_error: Option<String>,
}

impl Reader {
    pub(crate) fn new(snapshot: Snapshot, health: StoreHealth) -> Self {
        Reader { shared: Arc::new(Mutex::new(State { snapshot, health })) }
    }

    /// The store as it is now. Takes no longer than copying two pointers.
    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot.clone()
    }

    /// How the store is now.
    pub fn health(&self) -> StoreHealth {
        self.state().health.clone()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot, health: StoreHealth) {
        *self.state() = State { snapshot, health };
    }

    /// The state is replaced as a whole, so a panic elsewhere cannot have left it half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Rows, sealed and in memory.
    pub fn rows(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(|segment| segment.entry.rows).sum();
        sealed + self.memory.iter().map(|batch| batch.batch.rows() as u64).sum::<u64>()
    }

    /// What exporters call things.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The sealed segments by age of their sealing.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The times that all rows span; none without rows.
    pub fn range(&self) -> Option<TimeRange> {
        let sealed = self.segments.iter().map(|segment| &segment.entry.range);
        let ranges = sealed.chain(self.memory.iter().map(|batch| &batch.range));
        ranges.copied().reduce(TimeRange::union)
    }
}

impl Segment {
    /// The file's path.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.entry.file)
    }

    /// The file's name, by which answers call it.
    pub fn name(&self) -> &str {
        &self.entry.file
    }

    /// What the manifest says of it.
    pub fn entry(&self) -> &SegmentEntry {
        &self.entry
    }

    /// Opens the file. A scan opens a segment when its turn comes and closes it at once, so that
    /// a store of many segments costs neither file handles nor mappings.
    ///
    /// # Errors
    /// What [`SegmentFile::open`] says.
    pub fn open(&self) -> Result<SegmentFile, Error> {
        SegmentFile::open(&self.path())
    }
}

impl MemoryBatch {
    pub(crate) fn new(batch: Batch) -> Self {
        let mut range = TimeRange::default();
        range.cover(&batch);
        MemoryBatch { batch, range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_go_to_any_thread() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<Reader>();
        shared::<Snapshot>();
    }
}
