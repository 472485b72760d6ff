//! The loop of a pinned core: receive a burst, read the clock once, process, flush, poll the
//! mailbox once.
//!
//! A worker owns all that it works on; the control plane speaks to it through a bounded mailbox and
//! reads its counters. Nothing blocks it: a full ring is a counted discard. When nothing arrives it
//! sleeps in the backend until something does, for so short a time that open messages leave within
//! their flush interval and mail is read. After a small burst it naps for a moment, so that the next
//! one is worth its wake-up and its system calls.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use hdrhistogram::Histogram;
use weir_store::Batch;
use weir_store::names::Told;

use crate::collect::{Collector, CollectorConfig, Sampling};
use crate::configuration::Configuration;
use crate::connection::{Arrival, Outlet};
use crate::counter::Counters;
use crate::forward::{Forward, ForwardHandles};
use crate::handover::{self, Exchange};
use crate::io::{Datagram, NextHop, Receive, Transmit};
use crate::mediate::{Mediator, MediatorConfig, SessionReport, SlaveCounters};
use crate::news::News;
use crate::remembered::Remembered;
use crate::{Discard, Timestamp};

/// Longest sleep when nothing arrives: mail waits no longer.
const IDLE_WAIT_MS: u16 = 10;
/// Longest sleep while a message is open, or while others may hand over.
const SHORT_WAIT_MS: u16 = 1;
/// A burst from which on the worker comes back for more at once. Below it waking up costs as much as
/// the packets.
const FULL_BURST: usize = 32;
/// How long it naps after a smaller one; the kernel's timers round up to twice that.
const NAP: Duration = Duration::from_micros(50);
/// Datagrams taken over from other workers between two bursts of its own.
const HANDED_BURST: usize = 64;
/// Messages of connections taken between two bursts: each may be as long as forty datagrams.
const ARRIVALS: usize = 16;
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
    /// Other slaves or gates: what was open for a slave that is no longer there goes to the others.
    Configure(Arc<Configuration>),
    /// A slave's health, by its slot in the configuration.
    Health {
        /// The slave.
        slave: u16,
        /// Whether it may get anything.
        healthy: bool,
        /// Whether it must be told the live templates: it is new or has started anew.
        greet: bool,
    },
    /// The next hop on the way to an address; `None` when it is not known.
    NextHop {
        /// The address of a slave or of a copy's destination.
        to: IpAddr,
        /// The device and the MAC address.
        hop: Option<NextHop>,
    },
    /// Asks for a report.
    Report(Sender<WorkerReport>),
    /// Asks for sessions whose templates or options data have changed since it was last asked, at
    /// most [`REMEMBERED_MAX`]; when there are so many, there may be more.
    Remember(Sender<Vec<Remembered>>),
    /// Sessions that an earlier worker remembered.
    Recall(Vec<Remembered>),
    /// Where messages of connections come from.
    Connections(Outlet),
    /// Send what is open and end.
    Stop,
}

/// Sessions in one answer to [`ProxyMail::Remember`].
pub const REMEMBERED_MAX: usize = 256;

/// What a proxy's worker says of itself.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Its transport sessions, in the order of the table.
    pub sessions: Vec<SessionReport>,
    /// The delay of each message sent, ns: from the burst that brought its first record to the flush
    /// that sent it.
    pub latency: Histogram<u64>,
}

/// What a proxy's worker is told at its start.
#[derive(Debug)]
pub struct ProxyWorkerConfig {
    /// The mediation.
    pub mediator: MediatorConfig,
    /// The core to stay on.
    pub core: Option<usize>,
    /// Which of the unit's workers it is.
    pub lane: usize,
    /// Its end of the exchange with the unit's other workers; `None` when it is the only one.
    pub exchange: Option<Exchange>,
    /// What it steers the kernel's forwarding with, where there is such and this worker is to.
    pub forward: Option<ForwardHandles>,
    /// Where its news go.
    pub news: Sender<News>,
    /// Mail that it reads before the first datagram: what is recalled, and who is healthy.
    pub first: Vec<ProxyMail>,
}

/// What a slave's worker is told while it runs.
#[derive(Debug)]
pub enum SlaveMail {
    /// Asks for a report on the sessions.
    Report(Sender<Vec<SessionReport>>),
    /// Where messages of connections come from.
    Connections(Outlet),
    /// What is configured of sampling.
    Sampling(Arc<Sampling>),
    /// Hand over what was collected and end.
    Stop,
}

/// A proxy's worker: mediation between one receiving and one sending half.
#[derive(Debug)]
pub struct ProxyWorker;

impl ProxyWorker {
    /// Starts the worker. `slaves`, a [`SlaveCounters::page`], counts what each slave gets from it.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn spawn<R, T>(
        config: ProxyWorkerConfig,
        halves: (R, T),
        counters: Arc<Counters>,
        slaves: Arc<Vec<SlaveCounters>>,
    ) -> std::io::Result<WorkerHandle<ProxyMail>>
    where
        R: Receive + Send + 'static,
        T: Transmit + Send + 'static,
        T::Frame: Send,
    {
        let ProxyWorkerConfig { mediator, core, lane, exchange, forward, news, first } = config;
        let mut mediator = Mediator::new(mediator, Arc::clone(&counters), slaves, news);
        if forward.is_some() {
            mediator.set_forwarded();
        }
        let forward = forward.map(|handles| Box::new(Forward::new(handles)));
        let (rx, tx) = halves;
        let worker = Running { mediator, rx, tx, exchange, forward, counters, connections: None };
        spawn(&format!("weir-proxy-{lane}"), core, move |mail| worker.run(first, &mail))
    }
}

/// A proxy's worker at work.
struct Running<R, T: Transmit> {
    mediator: Mediator<T::Frame>,
    rx: R,
    tx: T,
    exchange: Option<Exchange>,
    forward: Option<Box<Forward>>,
    counters: Arc<Counters>,
    connections: Option<Outlet>,
}

impl<R: Receive, T: Transmit> Running<R, T> {
    fn run(mut self, first: Vec<ProxyMail>, mail: &Receiver<ProxyMail>) -> std::io::Result<()> {
        let now = Timestamp::now();
        for letter in first {
            self.read(letter, now);
            while self.mediator.turn(&mut self.tx, now) {}
            self.mediator.settle(&mut self.tx);
        }
        let started = Instant::now();
        loop {
            let now = Timestamp::now();
            self.mediator.set_clock(clock_ns(started));
            let received = self.burst(now)?;
            let mut more_to_do = self.mediator.turn(&mut self.tx, now);
            if let Some(forward) = &mut self.forward {
                more_to_do |= forward.turn(&mut self.mediator, &mut self.tx, now);
            }
            if received == 0 {
                self.mediator.flush_idle(&mut self.tx, now);
            } else {
                self.mediator.flush_due(&mut self.tx, now);
            }
            self.mediator.settle(&mut self.tx);
            self.mediator.note_delays(clock_ns(started));
            match mail.try_recv() {
                Ok(ProxyMail::Stop) | Err(TryRecvError::Disconnected) => break,
                Ok(letter) => self.read(letter, now),
                Err(TryRecvError::Empty) if received == 0 && !more_to_do => {
                    self.rx.wait(self.patience_ms())?;
                }
                Err(TryRecvError::Empty) if received < FULL_BURST && !more_to_do => {
                    std::thread::sleep(NAP);
                }
                Err(TryRecvError::Empty) => {}
            }
        }
        // What others have handed over until now would otherwise end in no counter.
        self.take_over(handover::RING, Timestamp::now());
        while self.take_arrivals(ARRIVALS, Timestamp::now()) > 0 {}
        self.mediator.finish(&mut self.tx);
        self.tx.finish();
        self.mediator.settle(&mut self.tx);
        Ok(())
    }

    /// How long the worker may sleep in its own backend: what is open must leave soon, and what
    /// others hand over wakes nobody.
    fn patience_ms(&self) -> u16 {
        let is_alone = self.exchange.is_none() && self.connections.is_none();
        if is_alone && !self.mediator.is_waiting() { IDLE_WAIT_MS } else { SHORT_WAIT_MS }
    }

    /// Takes what has come in, here and by the other workers; returns how much.
    fn burst(&mut self, now: Timestamp) -> std::io::Result<usize> {
        let Running { mediator, rx, tx, exchange, counters, .. } = self;
        let received = rx.burst(
            &mut |datagram| match exchange
                .as_ref()
                .and_then(|e| Some((e, e.elsewhere(datagram.source)?)))
            {
                None => mediator.datagram(tx, &datagram, now),
                Some((exchange, to)) => match exchange.hand_over(to, &datagram) {
                    Ok(()) => counters.handed_over.add(1),
                    Err(reason) => count_bad(counters, reason),
                },
            },
            &mut |bad| count_bad(counters, bad),
        )?;
        counters.datagrams_dropped.set(rx.dropped());
        Ok(received + self.take_over(HANDED_BURST, now) + self.take_arrivals(ARRIVALS, now))
    }

    /// Takes up to so many arrivals of connections; returns how many.
    fn take_arrivals(&mut self, most: usize, now: Timestamp) -> usize {
        let Running { mediator, tx, connections, .. } = self;
        let each = |arrival| match arrival {
            Arrival::Message(connection, payload) => {
                mediator.message(tx, &connection, &payload, now);
            }
            Arrival::End(connection) => mediator.end(tx, &connection),
        };
        connections.as_ref().map_or(0, |connections| connections.take(most, each))
    }

    /// Takes up to `most` datagrams that others have handed over; returns how many.
    fn take_over(&mut self, most: usize, now: Timestamp) -> usize {
        let Running { mediator, tx, exchange, .. } = self;
        let each = &mut |datagram: Datagram<'_>| mediator.datagram(tx, &datagram, now);
        exchange.as_ref().map_or(0, |exchange| exchange.take(most, each))
    }

    fn read(&mut self, letter: ProxyMail, now: Timestamp) {
        match letter {
            ProxyMail::Configure(configuration) => {
                self.mediator.configure(&mut self.tx, &configuration, now);
            }
            ProxyMail::Health { slave, healthy, greet } => {
                self.mediator.health(&mut self.tx, slave, healthy, greet, now);
            }
            ProxyMail::NextHop { to, hop } => {
                self.tx.set_next_hop(to, hop);
                if let Some(forward) = &mut self.forward {
                    forward.set_next_hop(to, hop);
                }
            }
            ProxyMail::Report(to) => {
                let sessions = self.mediator.sessions().collect();
                let latency = self.mediator.latency().clone();
                answer(&to, WorkerReport { sessions, latency });
            }
            ProxyMail::Remember(to) => answer(&to, self.mediator.remember(REMEMBERED_MAX)),
            ProxyMail::Recall(sessions) => {
                for remembered in &sessions {
                    self.mediator.recall_session(&mut self.tx, remembered, now);
                }
            }
            ProxyMail::Connections(outlet) => self.connections = Some(outlet),
            ProxyMail::Stop => {}
        }
    }
}

/// The way to the store: rings whose lengths bound how much may wait for it.
#[derive(Clone, Debug)]
pub struct ToStore {
    /// Flows.
    pub rows: Sender<Batch>,
    /// What exporters call things.
    pub names: Sender<Told>,
}

/// A slave's worker: collects into batches and hands them to the store.
#[derive(Debug)]
pub struct SlaveWorker;

/// What a slave's worker is told at its start.
#[derive(Clone, Debug)]
pub struct SlaveWorkerConfig {
    /// The Collecting Process.
    pub collector: CollectorConfig,
    /// What is configured of sampling.
    pub sampling: Arc<Sampling>,
    /// How long a row may wait before the store gets it, milliseconds.
    pub hand_over_ms: u64,
    /// The core to stay on.
    pub core: Option<usize>,
}

impl SlaveWorker {
    /// Starts the worker; what it collects goes to `store`.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn spawn<R: Receive + Send + 'static>(
        config: SlaveWorkerConfig,
        rx: R,
        store: ToStore,
        counters: Arc<Counters>,
    ) -> std::io::Result<WorkerHandle<SlaveMail>> {
        let mut collector = Collector::new(config.collector, Arc::clone(&counters));
        collector.configure(config.sampling);
        let out = HandOver { store, hand_over_ms: config.hand_over_ms, since: None };
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
    let mut connections: Option<Outlet> = None;
    loop {
        let now = Timestamp::now();
        let mut received = rx.burst(
            &mut |datagram| out.datagram(&mut collector, &datagram, counters, now),
            &mut |bad| {
                count_bad(counters, bad);
            },
        )?;
        if let Some(connections) = &connections {
            let each = |arrival| out.arrival(&mut collector, arrival, counters, now);
            received += connections.take(ARRIVALS, each);
        }
        counters.datagrams_dropped.set(rx.dropped());
        collector.expire(now);
        out.if_due(&mut collector, counters, now);
        match mail.try_recv() {
            Ok(SlaveMail::Report(to)) => {
                let sessions = collector
                    .sessions()
                    .iter()
                    .filter(|(_, s)| !s.ended)
                    .map(|(_, s)| SessionReport::of(s));
                answer(&to, sessions.collect());
            }
            Ok(SlaveMail::Connections(outlet)) => connections = Some(outlet),
            Ok(SlaveMail::Sampling(sampling)) => collector.configure(sampling),
            Ok(SlaveMail::Stop) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) if received == 0 => {
                // What comes by connections wakes nobody.
                let patience = if connections.is_some() { SHORT_WAIT_MS } else { IDLE_WAIT_MS };
                rx.wait(patience)?;
            }
            Err(TryRecvError::Empty) if received < FULL_BURST => std::thread::sleep(NAP),
            Err(TryRecvError::Empty) => {}
        }
    }
    let mut rest = |arrival| out.arrival(&mut collector, arrival, counters, Timestamp::now());
    while connections.as_ref().is_some_and(|left| left.take(ARRIVALS, &mut rest) > 0) {}
    collector.finish();
    out.hand_over(&mut collector, counters);
    Ok(())
}

/// The way of batches from the collector to the store.
struct HandOver {
    store: ToStore,
    hand_over_ms: u64,
    /// When the oldest row in the collector's batch came, or the first name.
    since: Option<Timestamp>,
}

impl HandOver {
    fn datagram(
        &mut self,
        collector: &mut Collector,
        datagram: &Datagram<'_>,
        counters: &Counters,
        now: Timestamp,
    ) {
        collector.datagram(datagram, now);
        self.after(collector, counters, now);
    }

    fn arrival(
        &mut self,
        collector: &mut Collector,
        arrival: Arrival,
        counters: &Counters,
        now: Timestamp,
    ) {
        match arrival {
            Arrival::Message(connection, payload) => collector.message(&connection, &payload, now),
            Arrival::End(connection) => collector.end(&connection),
        }
        self.after(collector, counters, now);
    }

    fn after(&mut self, collector: &mut Collector, counters: &Counters, now: Timestamp) {
        if collector.is_full() {
            self.hand_over(collector, counters);
        } else if self.since.is_none() && (collector.batch_rows() > 0 || collector.has_names()) {
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
        if let Some(names) = collector.take_names() {
            let many = names.len() as u64;
            if self.store.names.try_send(names).is_err() {
                counters.names_lost.add(many);
                collector.forget_names();
            }
        }
        let Some(batch) = collector.take_batch() else { return };
        let rows = batch.rows() as u64;
        match self.store.rows.try_send(batch) {
            Ok(()) => counters.records_delivered.add(rows),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                counters.discard(Discard::RingFull, rows);
            }
        }
        counters.records_in_flight.set(0);
    }
}

fn clock_ns(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn count_bad(counters: &Counters, bad: Discard) {
    counters.datagrams_received.add(1);
    counters.discard(bad, 1);
}

fn answer<A>(to: &Sender<A>, answer: A) {
    // Whoever asked may have gone; nobody is left to tell.
    let _gone = to.try_send(answer);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::HoldLimits;
    use crate::io::memory::{MemoryReceive, MemoryTransmit};
    use crate::mediate::Distribution;
    use crate::session::SessionLimits;

    #[test]
    fn what_waits_when_a_worker_ends_is_counted() {
        const DATAGRAMS: usize = 3 * HANDED_BURST;
        let ends = handover::exchange(2);
        let source = "192.0.2.1:2055".parse().unwrap();
        // Data of a v9 template that never comes.
        let header = [0, 9, 0, 1, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1];
        let payload = [&header[..], &[1, 0, 0, 8, 1, 2, 3, 4]].concat();
        let destination = "10.0.0.1:2055".parse().unwrap();
        let [other, own] = <[Exchange; 2]>::try_from(ends).unwrap();
        for _ in 0..DATAGRAMS {
            let datagram = Datagram { source, destination, payload: &payload };
            other.hand_over(1, &datagram).unwrap();
        }
        let counters = Arc::new(Counters::default());
        let config = MediatorConfig {
            distribution: Distribution::RoundRobin,
            configuration: Arc::default(),
            port_offset: 0,
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            flush_ms: 1,
            messages: 4,
        };
        let news = bounded(1).0;
        let mediator = Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), news);
        let (rx, tx) = (MemoryReceive::new().0, MemoryTransmit::new(4).0);
        let (exchange, forward) = (Some(own), None);
        let worker = Running {
            mediator,
            rx,
            tx,
            exchange,
            forward,
            counters: Arc::clone(&counters),
            connections: None,
        };
        let (mailbox, mail) = bounded(1);
        mailbox.send(ProxyMail::Stop).unwrap();
        worker.run(Vec::new(), &mail).unwrap();
        assert_eq!(counters.datagrams_received.get(), DATAGRAMS as u64);
        assert_eq!(counters.discarded(Discard::UnknownTemplate), DATAGRAMS as u64);
        assert_eq!(counters.sets_held.get(), 0);
    }
}
