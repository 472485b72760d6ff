//! Reading the topology file again while a unit runs: asked for by SIGHUP or by `weir reload`.
//!
//! The unit itself decides what it can change at once; here is only how it is asked, one at a time,
//! and how it answers. A file that cannot work changes nothing.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;

/// Requests that may wait; further ones are refused.
const WAITING: usize = 4;

/// What a reload changed, in sentences.
pub type Changes = Vec<String>;

/// The asking side, for the control interface.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<oneshot::Sender<Result<Changes, String>>>);

impl Reloader {
    /// Has the unit read its topology file again; the changes.
    ///
    /// # Errors
    /// In the unit's own words: the problems of the file, or that it is busy.
    pub async fn reload(&self) -> Result<Changes, String> {
        let (answer, answered) = oneshot::channel();
        let busy = || "the unit is already reading its topology file; ask again".to_owned();
        self.0.try_send(answer).map_err(|_| busy())?;
        answered.await.map_err(|_| "the unit is about to end".to_owned())?
    }
}

/// The unit's side.
#[derive(Debug)]
pub struct Reloads {
    hangup: Signal,
    asked: mpsc::Receiver<oneshot::Sender<Result<Changes, String>>>,
    /// Kept, so that `asked` never ends.
    reloader: Reloader,
}

impl Reloads {
    /// Takes SIGHUP over from its default, which would end the process.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn listen() -> Result<Reloads, Error> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|source| Error::Start { what: "signal handling", source })?;
        let (ask, asked) = mpsc::channel(WAITING);
        Ok(Reloads { hangup, asked, reloader: Reloader(ask) })
    }

    /// The asking side.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Waits until somebody asks.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked(None),
            asked = self.asked.recv() => Asked(asked),
        }
    }
}

/// A reload that somebody waits for.
#[derive(Debug)]
pub struct Asked(Option<oneshot::Sender<Result<Changes, String>>>);

impl Asked {
    /// Says in the log, and to whoever asked, what has come of it.
    pub fn answer(self, outcome: Result<Changes, Error>) {
        match &outcome {
            Ok(changes) if changes.is_empty() => {
                tracing::info!("topology read again: nothing that touches this unit has changed");
            }
            Ok(changes) => {
                tracing::info!(changes = changes.len(), "topology read again");
                changes.iter().for_each(|change| tracing::info!("topology: {change}"));
            }
            Err(error) => tracing::error!("topology refused, the old one stays: {error}"),
        }
        if let Some(answer) = self.0 {
            // Whoever asked may have gone.
            let _gone = answer.send(outcome.map_err(|error| error.to_string()));
        }
    }
}
