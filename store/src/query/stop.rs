//! How a query learns that nobody waits for its answer any more.
//!
//! A scan asks between the steps of its work (a segment, a batch in memory, a part of `and` or
//! `or`), so that it ends within the time of one such step and no step pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::Error;

/// Ends a query early, from any thread; clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    stopped: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
}

impl Stop {
    /// A token that [`Stop::stop`] and, if there is one, the deadline end.
    pub fn new(deadline: Option<Instant>) -> Self {
        Stop { stopped: Some(Arc::default()), deadline }
    }

    /// A token that never ends anything.
    pub fn never() -> Self {
        Stop::default()
    }

    /// Ends the queries that were given this token; those of [`Stop::never`] go on.
    pub fn stop(&self) {
        if let Some(stopped) = &self.stopped {
            // Nothing else is handed over with it, so no order is needed.
            stopped.store(true, Ordering::Relaxed);
        }
    }

    /// # Errors
    /// [`Error::Abandoned`] once the token was stopped or its deadline is over.
    pub fn check(&self) -> Result<(), Error> {
        let stopped = self.stopped.as_ref().is_some_and(|stopped| stopped.load(Ordering::Relaxed));
        if stopped || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::Abandoned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_stops_and_never_does_not() {
        let stop = Stop::new(None);
        stop.check().unwrap();
        stop.clone().stop();
        assert!(matches!(stop.check(), Err(Error::Abandoned)));
        let never = Stop::never();
        never.stop();
        never.check().unwrap();
    }

    #[test]
    fn a_deadline_that_is_over_stops() {
        assert!(matches!(Stop::new(Some(Instant::now())).check(), Err(Error::Abandoned)));
    }
}
