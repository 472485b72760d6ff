//! The loop of a pinned core: receive a burst, read the clock once, process, flush, poll the
//! mailbox once.
//!
//! A worker owns all that it works on; the control plane speaks to it through a bounded mailbox and
//! reads its counters. Nothing blocks it: a full ring is a counted discard. When nothing arrives it
//! sleeps in the backend until something does, for so short a time that open messages leave within
//! their flush interval and mail is read.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use weir_store::Batch;

use crate::collect::{Collector, CollectorConfig};
use crate::counter::Counters;
use crate::io::{Receive, Transmit};
use crate::mediate::{Mediator, MediatorConfig, SessionReport, SlaveCounters};
use crate::steer::{Slave, Steer};
use crate::{Discard, Timestamp};

/// Longest sleep when nothing arrives: mail waits no longer.
const IDLE_WAIT_MS: u16 = 10;
/// Letters that may wait.
const MAILBOX: usize = 1024;

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle<Mail> {
    /// Where to send it mail.
    pub mailbox: Sender<Mail>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl<Mail> WorkerHandle<Mail> {
    /// Waits for the worker's end, which `Stop` brings about.
    ///
    /// # Errors
    /// The system call that ended it early, or that its thread panicked.
    pub fn join(self) -> std::io::Result<()> {
        drop(self.mailbox);
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the worker panicked")))
    }

    /// Whether the worker has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What a proxy's worker is told while it runs.
#[derive(Debug)]
pub enum ProxyMail {
    /// A slave's health, by its index in the configuration.
    Health {
        /// The slave.
        slave: u16,
        /// Whether it may get anything.
        healthy: bool,
        /// Whether it must be told the live templates: it is new or has started anew.
        greet: bool,
    },
    /// The link-layer address on the way to a slave; `None` when it is not known.
    NextHop {
        /// The slave's address.
        to: IpAddr,
        /// The next hop's MAC address.
        mac: Option<[u8; 6]>,
    },
    /// Asks for a report on the sessions.
    Report(Sender<Vec<SessionReport>>),
    /// Send what is open and end.
    Stop,
}

/// What a slave's worker is told while it runs.
#[derive(Debug)]
pub enum SlaveMail {
    /// Asks for a report on the sessions.
    Report(Sender<Vec<SessionReport>>),
    /// Hand over what was collected and end.
    Stop,
}

/// A proxy's worker: mediation between one receiving and one sending half.
#[derive(Debug)]
pub struct ProxyWorker;

impl ProxyWorker {
    /// Starts the worker, on `core` if one is given. `healthy` is the slaves' first health, in the
    /// order of the configured paths, and `slaves` counts what each gets.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn spawn<R, T>(
        config: MediatorConfig,
        core: Option<usize>,
        healthy: &[bool],
        (rx, tx): (R, T),
        counters: Arc<Counters>,
        slaves: Arc<Vec<SlaveCounters>>,
    ) -> std::io::Result<WorkerHandle<ProxyMail>>
    where
        R: Receive + Send + 'static,
        T: Transmit + Send + 'static,
        T::Frame: Send,
    {
        let steer = Steer::new(
            (config.paths.iter().zip(healthy))
                .map(|(path, &healthy)| Slave {
                    identity: path.v4.map_or_else(
                        || path.v6.map_or(IpAddr::from([0; 4]), IpAddr::V6),
                        IpAddr::V4,
                    ),
                    healthy,
                    v4: path.v4.is_some(),
                    v6: path.v6.is_some(),
                })
                .collect(),
        );
        let mediator = Mediator::new(config, steer, Arc::clone(&counters), slaves);
        spawn("weir-proxy", core, move |mail| run_proxy(mediator, rx, tx, &counters, &mail))
    }
}

fn run_proxy<R: Receive, T: Transmit>(
    mut mediator: Mediator<T::Frame>,
    mut rx: R,
    mut tx: T,
    counters: &Counters,
    mail: &Receiver<ProxyMail>,
) -> std::io::Result<()> {
    loop {
        let now = Timestamp::now();
        let received =
            rx.burst(&mut |datagram| mediator.datagram(&mut tx, &datagram, now), &mut |bad| {
                count_bad(counters, bad);
            })?;
        counters.datagrams_dropped.set(rx.dropped());
        mediator.flush_due(&mut tx, now);
        mediator.settle(&mut tx);
        match mail.try_recv() {
            Ok(ProxyMail::Health { slave, healthy, greet }) => {
                mediator.health(&mut tx, slave, healthy, greet, now);
            }
            Ok(ProxyMail::NextHop { to, mac }) => tx.set_next_hop(to, mac),
            Ok(ProxyMail::Report(to)) => report(&to, mediator.sessions()),
            Ok(ProxyMail::Stop) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) if received == 0 => rx.wait(IDLE_WAIT_MS)?,
            Err(TryRecvError::Empty) => {}
        }
    }
    mediator.flush_all(&mut tx);
    mediator.settle(&mut tx);
    Ok(())
}

/// A slave's worker: collects into batches and hands them to the store.
#[derive(Debug)]
pub struct SlaveWorker;

/// What a slave's worker is told at its start.
#[derive(Clone, Debug)]
pub struct SlaveWorkerConfig {
    /// The Collecting Process.
    pub collector: CollectorConfig,
    /// How long a row may wait before the store gets it, milliseconds.
    pub hand_over_ms: u64,
    /// The core to stay on.
    pub core: Option<usize>,
}

impl SlaveWorker {
    /// Starts the worker; batches go to `ring`, which bounds how many may wait for the store.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn spawn<R: Receive + Send + 'static>(
        config: SlaveWorkerConfig,
        rx: R,
        ring: Sender<Batch>,
        counters: Arc<Counters>,
    ) -> std::io::Result<WorkerHandle<SlaveMail>> {
        let collector = Collector::new(config.collector, Arc::clone(&counters));
        let out = HandOver { ring, hand_over_ms: config.hand_over_ms, since: None };
        spawn("weir-slave", config.core, move |mail| {
            run_slave(collector, rx, out, &counters, &mail)
        })
    }
}

fn run_slave<R: Receive>(
    mut collector: Collector,
    mut rx: R,
    mut out: HandOver,
    counters: &Counters,
    mail: &Receiver<SlaveMail>,
) -> std::io::Result<()> {
    loop {
        let now = Timestamp::now();
        let received = rx.burst(
            &mut |datagram| out.datagram(&mut collector, &datagram, counters, now),
            &mut |bad| {
                count_bad(counters, bad);
            },
        )?;
        counters.datagrams_dropped.set(rx.dropped());
        out.if_due(&mut collector, counters, now);
        match mail.try_recv() {
            Ok(SlaveMail::Report(to)) => {
                report(&to, collector.sessions().iter().map(|(_, s)| SessionReport::of(s)));
            }
            Ok(SlaveMail::Stop) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) if received == 0 => rx.wait(IDLE_WAIT_MS)?,
            Err(TryRecvError::Empty) => {}
        }
    }
    out.hand_over(&mut collector, counters);
    Ok(())
}

/// The way of batches from the collector to the store.
struct HandOver {
    ring: Sender<Batch>,
    hand_over_ms: u64,
    /// When the oldest row in the collector's batch came.
    since: Option<Timestamp>,
}

impl HandOver {
    fn datagram(
        &mut self,
        collector: &mut Collector,
        datagram: &crate::io::Datagram<'_>,
        counters: &Counters,
        now: Timestamp,
    ) {
        collector.datagram(datagram, now);
        if collector.is_full() {
            self.hand_over(collector, counters);
        } else if self.since.is_none() && collector.batch_rows() > 0 {
            self.since = Some(now);
        }
    }

    fn if_due(&mut self, collector: &mut Collector, counters: &Counters, now: Timestamp) {
        counters.records_in_flight.set(collector.batch_rows() as u64);
        // A clock set back must not hold rows for ever: an age below zero is due.
        if let Some(since) = self.since
            && (now < since || now >= since.plus_ms(self.hand_over_ms))
        {
            self.hand_over(collector, counters);
        }
    }

    fn hand_over(&mut self, collector: &mut Collector, counters: &Counters) {
        self.since = None;
        let Some(batch) = collector.take_batch() else { return };
        let rows = batch.rows() as u64;
        match self.ring.try_send(batch) {
            Ok(()) => counters.records_delivered.add(rows),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                counters.discard(Discard::RingFull, rows);
            }
        }
        counters.records_in_flight.set(0);
    }
}

fn count_bad(counters: &Counters, bad: Discard) {
    counters.datagrams_received.add(1);
    counters.discard(bad, 1);
}

fn report(to: &Sender<Vec<SessionReport>>, sessions: impl Iterator<Item = SessionReport>) {
    // Whoever asked may have gone; nobody is left to tell.
    let _gone = to.try_send(sessions.collect());
}

fn spawn<Mail: Send + 'static>(
    name: &str,
    core: Option<usize>,
    run: impl FnOnce(Receiver<Mail>) -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<WorkerHandle<Mail>> {
    let (mailbox, mail) = bounded(MAILBOX);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(id) = core {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        run(mail)
    })?;
    Ok(WorkerHandle { mailbox, thread })
}
