//! The workers of a proxy, as one: letters to all of them, and their counters together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use futures::future::join_all;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_dataplane::Counters;
use weir_dataplane::mediate::SlaveCounters;
use weir_dataplane::worker::{ProxyMail, WorkerHandle};

use crate::error::Error;
use crate::fanout::beside_rpc;
use crate::packet_path::{self, post};
use crate::status::{Latency, Session, Traffic, Worker};

/// Letters that may wait for one worker: more than its mailbox holds, since nothing here may wait.
const OUTBOX: usize = 16_384;

/// How often the workers' end is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// A started worker, and the pages that it writes.
pub struct Started {
    /// What it serves: `queue 0`, `sockets`.
    pub name: String,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// The worker.
    pub handle: WorkerHandle<ProxyMail>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// What each slave got from it.
    pub slaves: Arc<Vec<SlaveCounters>>,
}

/// What is kept of a worker beside its handle.
struct Running {
    name: String,
    core: Option<usize>,
    mailbox: Sender<ProxyMail>,
    counters: Arc<Counters>,
    slaves: Arc<Vec<SlaveCounters>>,
}

/// All workers of a proxy.
pub struct Workers {
    workers: Vec<Running>,
    /// Taken at the end.
    handles: RefCell<Vec<WorkerHandle<ProxyMail>>>,
    outboxes: Vec<mpsc::Sender<ProxyMail>>,
    overrun: Cell<bool>,
    /// Carries the letters from outbox to mailbox.
    _carriers: JoinSet<()>,
}

/// What the workers say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Transport sessions.
    pub sessions: Vec<Session>,
    /// The delay of messages.
    pub latency: Option<Latency>,
}

impl Workers {
    /// Takes started workers over. Runs on the RPC thread's `LocalSet`.
    pub fn new(started: Vec<Started>) -> Rc<Workers> {
        let mut carriers = JoinSet::new();
        let (mut workers, mut handles, mut outboxes) = (Vec::new(), Vec::new(), Vec::new());
        for Started { name, core, handle, counters, slaves } in started {
            let mailbox = handle.mailbox.clone();
            let (outbox, mut letters) = mpsc::channel(OUTBOX);
            let to = mailbox.clone();
            carriers.spawn_local(async move {
                while let Some(letter) = letters.recv().await {
                    if !post(&to, letter).await {
                        break;
                    }
                }
            });
            workers.push(Running { name, core, mailbox, counters, slaves });
            handles.push(handle);
            outboxes.push(outbox);
        }
        Rc::new(Workers {
            workers,
            handles: RefCell::new(handles),
            outboxes,
            overrun: Cell::new(false),
            _carriers: carriers,
        })
    }

    /// Tells every worker the same, in the order of the calls.
    pub fn tell(&self, letter: impl Fn() -> ProxyMail) {
        for outbox in &self.outboxes {
            // A worker that has ended is noticed by `ended`.
            if let Err(mpsc::error::TrySendError::Full(_)) = outbox.try_send(letter())
                && !self.overrun.replace(true)
            {
                tracing::error!("a worker does not read its mail; letters are lost");
            }
        }
    }

    /// Tells the first worker alone; what comes by connections is its.
    pub fn tell_first(&self, letter: ProxyMail) {
        if let Some(outbox) = self.outboxes.first() {
            // Nothing else was told yet, so that there is room.
            let _ = outbox.try_send(letter);
        }
    }

    /// The mailboxes.
    pub fn mailboxes(&self) -> Vec<Sender<ProxyMail>> {
        self.workers.iter().map(|worker| worker.mailbox.clone()).collect()
    }

    /// Waits for the end of any worker, which none reaches by itself unless something broke.
    pub async fn ended(&self) {
        while !self.handles.borrow().iter().any(WorkerHandle::is_finished) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Their counters, summed once each page adds up; at most `attempts` readings.
    pub async fn traffic(&self, attempts: u32) -> Traffic {
        let pages = self.workers.iter().map(|worker| Traffic::settled(&worker.counters, attempts));
        let mut sum = Traffic::default();
        join_all(pages).await.iter().for_each(|page| sum += page);
        sum
    }

    /// Messages, records and options that a slave's slot was given.
    pub fn given(&self, slot: u16) -> [u64; 3] {
        let pages = self.workers.iter().filter_map(|w| w.slaves.get(usize::from(slot)));
        pages.fold([0; 3], |[messages, records, options], page| {
            [
                messages + page.messages.get(),
                records + page.records.get(),
                options + page.options.get(),
            ]
        })
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<Worker> {
        let line = |worker: &Running| Worker {
            name: worker.name.clone(),
            core: worker.core.and_then(|core| u32::try_from(core).ok()),
            datagrams_received: worker.counters.datagrams_received.get(),
            datagrams_dropped: worker.counters.datagrams_dropped.get(),
            handed_over: worker.counters.handed_over.get(),
            records_decoded: worker.counters.records_decoded.get(),
            messages_sent: worker.counters.messages_sent.get(),
        };
        self.workers.iter().map(line).collect()
    }

    /// Asks all of them; one that does not answer in time is left out.
    pub async fn report(&self) -> Report {
        let asked = self
            .workers
            .iter()
            .map(|worker| packet_path::report(&worker.mailbox, ProxyMail::Report));
        let mut report = Report::default();
        let mut delays: Option<Histogram<u64>> = None;
        for answer in join_all(asked).await.into_iter().flatten() {
            report.sessions.extend(answer.sessions.iter().map(packet_path::session));
            match &mut delays {
                None => delays = Some(answer.latency),
                // All have the same bounds, so that adding cannot fail.
                Some(all) => all.add(&answer.latency).unwrap_or_default(),
            }
        }
        report.latency = delays.as_ref().map(latency);
        report
    }

    /// Ends all in good order.
    ///
    /// # Errors
    /// Why one had ended before.
    pub async fn stop(&self) -> Result<(), Error> {
        let handles = self.handles.take();
        beside_rpc(move || {
            let stop = |handle| packet_path::stop(handle, ProxyMail::Stop);
            let stopped: Vec<_> = handles.into_iter().map(stop).collect();
            stopped.into_iter().collect()
        })
        .await
    }
}

fn latency(delays: &Histogram<u64>) -> Latency {
    let at = |quantile| delays.value_at_quantile(quantile);
    let any = !delays.is_empty();
    Latency {
        messages: delays.len(),
        p50_ns: if any { at(0.5) } else { 0 },
        p99_ns: if any { at(0.99) } else { 0 },
        p999_ns: if any { at(0.999) } else { 0 },
        max_ns: if any { delays.max() } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_by_their_quantiles() {
        let mut delays = Histogram::new_with_bounds(1_000, 60_000_000_000, 2).unwrap();
        for _ in 0..999 {
            delays.record(10_000).unwrap();
        }
        delays.record(5_000_000).unwrap();
        let latency = latency(&delays);
        assert_eq!(latency.messages, 1_000);
        assert!((9_900..10_300).contains(&latency.p50_ns), "{latency:?}");
        assert!(latency.p999_ns < 11_000 && latency.max_ns > 4_900_000, "{latency:?}");
    }
}
