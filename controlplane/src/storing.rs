//! A slave's second stage: the thread that takes batches from the ring and appends them to the store.
//!
//! The ring is bounded and its sender never waits, so a store that is slow or cannot seal costs
//! counted records, never the collector's time. The thread ends when the ring's sender is gone and
//! the ring is empty, and then seals.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use weir_dataplane::worker::ToStore;
use weir_dataplane::{Counters, Discard, Timestamp};
use weir_store::names::Told;
use weir_store::{Batch, Reader, Recovery, Store, StoreConfig};

use crate::error::Error;
use crate::status::StoreStatus;

/// Batches that may wait for the store.
const RING: usize = 64;

/// Portions of names that may wait for the store.
const NAMES_RING: usize = 16;

/// How often the store is told the time when nothing arrives.
const TICK: Duration = Duration::from_millis(100);

/// The store of a slave and its thread.
pub struct Storing {
    directory: PathBuf,
    reader: Reader,
    /// Decoded = taken from the ring; delivered = visible to queries.
    pub counters: Arc<Counters>,
    thread: RefCell<Option<JoinHandle<Result<(), weir_store::Error>>>>,
}

impl Storing {
    /// Opens the store and starts its thread; returns the rings' sending ends with it.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Start`].
    pub fn start(config: StoreConfig) -> Result<(Storing, ToStore), Error> {
        let directory = config.directory.clone();
        let (store, recovery) = Store::open(config)?;
        let reader = store.reader();
        let health = reader.health();
        tracing::info!(
            directory = %directory.display(),
            segments = health.segments,
            rows = health.sealed_rows,
            bytes = health.bytes,
            "store opened"
        );
        tell(&recovery);
        let (rows, batches) = bounded(RING);
        let (names, told) = bounded(NAMES_RING);
        let counters = Arc::new(Counters::default());
        let page = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("weir-store".into())
            .spawn(move || run(store, &batches, &told, &page))
            .map_err(|source| Error::Start { what: "the store's thread", source })?;
        let thread = RefCell::new(Some(thread));
        Ok((Storing { directory, reader, counters, thread }, ToStore { rows, names }))
    }

    /// What queries read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether the thread has ended, which it does not while the ring has a sender.
    pub fn is_finished(&self) -> bool {
        self.thread.borrow().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The store as `weir status` shows it.
    pub fn status(&self) -> StoreStatus {
        let health = self.reader.health();
        StoreStatus {
            directory: self.directory.display().to_string(),
            segments: health.segments,
            sealed_rows: health.sealed_rows,
            memory_rows: health.memory_rows,
            bytes: health.bytes,
            seal_failures: health.seal_failures,
            names: health.names,
            refused_names: health.refused_names,
            last_error: health.last_error.unwrap_or_default(),
        }
    }

    /// Waits until the ring is drained and everything is sealed; the ring's sender must be gone.
    ///
    /// # Errors
    /// [`Error::Store`] with what could not be sealed.
    pub fn join(&self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        match thread.join() {
            Ok(sealed) => Ok(sealed?),
            Err(_) => Err(Error::Configuration("the store's thread panicked: see the log".into())),
        }
    }
}

/// What a crash left, where it left something.
fn tell(recovery: &Recovery) {
    let Recovery { adopted, temporary_removed, torn, missing, damaged, manifest_rebuilt, .. } =
        recovery;
    if *manifest_rebuilt {
        tracing::warn!("the store's manifest was unreadable: rebuilt from its segments");
    }
    if !adopted.is_empty() || *temporary_removed > 0 {
        tracing::info!(?adopted, temporary_removed, "put in order after a crash");
    }
    if recovery.spilled_rows > 0 || recovery.torn_bytes > 0 {
        let Recovery { spilled_rows, torn_bytes, .. } = recovery;
        tracing::warn!(
            spilled_rows,
            torn_bytes,
            "rows that were not sealed came back; torn ones did not"
        );
    }
    for (names, meaning) in [
        (torn, "segments cut short, set aside"),
        (missing, "segments missing"),
        (damaged, "segments damaged: queries leave them out"),
    ] {
        if !names.is_empty() {
            tracing::warn!(?names, "{meaning}");
        }
    }
}

fn run(
    mut store: Store,
    batches: &Receiver<Batch>,
    told: &Receiver<Told>,
    counters: &Counters,
) -> Result<(), weir_store::Error> {
    let reader = store.reader();
    let (mut shown, mut spill_shown) = (None, None);
    loop {
        match batches.recv_timeout(TICK) {
            Ok(batch) => {
                let rows = batch.rows() as u64;
                counters.records_decoded.add(rows);
                match store.append(batch) {
                    Ok(()) => counters.records_delivered.add(rows),
                    Err(_full) => counters.discard(Discard::StoreFull, rows),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        told.try_iter().for_each(|told| learn(&mut store, &told));
        store.tick(Timestamp::now().0);
        let health = reader.health();
        if health.spill_error != spill_shown {
            match &health.spill_error {
                Some(reason) => tracing::error!(%reason, "cannot spill: a crash would lose rows"),
                None => tracing::info!("spilling works again"),
            }
            spill_shown = health.spill_error;
        }
        let error = health.last_error;
        if error != shown {
            match &error {
                Some(reason) => tracing::error!(%reason, "cannot seal: rows stay in memory"),
                None => tracing::info!("sealing works again"),
            }
            shown = error;
        }
    }
    told.try_iter().for_each(|told| learn(&mut store, &told));
    store.close()
}

fn learn(store: &mut Store, told: &Told) {
    match store.learn(told) {
        Ok(learning) if learning.refused > 0 => {
            let refused = learning.refused;
            tracing::warn!(refused, "names refused: their exporter has told too many");
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "names cannot be written down: they stay in memory"),
    }
}
