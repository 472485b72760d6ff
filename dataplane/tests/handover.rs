//! Two workers on two threads: whatever receives a datagram, its session lives on one of them.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use weir_dataplane::Counters;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::{Discard, Unit};
use weir_dataplane::encode::Path;
use weir_dataplane::handover;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::memory::{Feed, MemoryReceive, MemoryTransmit};
use weir_dataplane::mediate::{Distribution, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::worker::{ProxyMail, ProxyWorker, ProxyWorkerConfig, WorkerHandle};

const SOURCES: u32 = 200;
const ROUNDS: u32 = 20;

fn config() -> MediatorConfig {
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let path = Path { v4: Some(address), v6: None, mtu: 1500 };
    let slave = SlaveConfig { identity: address.into(), path, weight: 1 };
    let configuration = Configuration { slaves: vec![Some(slave)], ..Configuration::default() };
    MediatorConfig {
        distribution: Distribution::RoundRobin,
        configuration: Arc::new(configuration),
        port_offset: 30_000,
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        flush_ms: 50,
        messages: 256,
    }
}

/// A NetFlow v9 packet with template 256 and one record of it.
fn packet(sequence: u32) -> Vec<u8> {
    let mut out = vec![0, 9, 0, 2];
    out.extend([100_000u32, 1_700_000_000, sequence, 7].map(u32::to_be_bytes).concat());
    out.extend([0, 0, 0, 12, 1, 0, 0, 1, 0, 1, 0, 4, 1, 0, 0, 8, 0, 0, 0, 9]);
    out
}

struct Worker {
    feed: Feed,
    counters: Arc<Counters>,
    handle: WorkerHandle<ProxyMail>,
}

fn start(lane: usize, exchange: handover::Exchange) -> Worker {
    let (receive, feed) = MemoryReceive::new();
    let (transmit, _) = MemoryTransmit::new(256);
    let counters = Arc::new(Counters::default());
    let config = ProxyWorkerConfig {
        mediator: config(),
        core: None,
        lane,
        exchange: Some(exchange),
        forward: None,
        news: bounded(1).0,
        first: vec![ProxyMail::Health { slave: 0, healthy: true, greet: true }],
    };
    let (halves, page) = ((receive, transmit), SlaveCounters::page());
    let handle = ProxyWorker::spawn(config, halves, Arc::clone(&counters), page);
    let handle = handle.expect("a thread starts");
    Worker { feed, counters, handle }
}

#[test]
fn sessions_that_come_in_everywhere_live_in_one_place_and_every_datagram_counts_once() {
    let workers: Vec<_> =
        handover::exchange(2).into_iter().enumerate().map(|(n, end)| start(n, end)).collect();
    let sum = |of: &dyn Fn(&Counters) -> u64| workers.iter().map(|w| of(&w.counters)).sum::<u64>();
    for round in 0..ROUNDS {
        for source in 0..SOURCES {
            let from = SocketAddr::from((Ipv4Addr::from_bits(0xc633_6400 + source), 4_000));
            let to = SocketAddr::from(([192, 0, 2, 1], 2055));
            let worker = &workers[((round + source) % 2) as usize];
            worker.feed.push(from, to, &packet(round));
        }
        let sent = u64::from((round + 1) * SOURCES);
        while sum(&|c| c.datagrams_received.get()) < sent {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut sessions = HashSet::new();
    for worker in &workers {
        let (to, report) = bounded(1);
        worker.handle.mailbox.send(ProxyMail::Report(to)).unwrap();
        for session in report.recv().unwrap().sessions {
            assert!(sessions.insert(session.key), "{:?} lives twice", session.key);
            assert_eq!((session.datagrams, session.lost), (u64::from(ROUNDS), 0));
        }
    }
    assert_eq!(sessions.len(), SOURCES as usize);
    let counters: Vec<_> = workers.iter().map(|worker| Arc::clone(&worker.counters)).collect();
    for worker in workers {
        worker.handle.mailbox.send(ProxyMail::Stop).unwrap();
        worker.handle.join().unwrap();
    }
    let sum = |of: &dyn Fn(&Counters) -> u64| counters.iter().map(|c| of(c)).sum::<u64>();
    let all = u64::from(ROUNDS * SOURCES);
    assert_eq!(sum(&|c| c.datagrams_received.get()), all);
    assert_eq!(sum(&|c| c.datagrams_accepted.get()), all);
    assert_eq!(sum(&|c| c.records_delivered.get()), all);
    assert_eq!(sum(&|c| c.discarded_total(Unit::Datagram)), 0);
    assert_eq!(sum(&|c| c.discarded(Discard::HandOverFull)), 0);
    // Every other datagram comes in at the wrong worker.
    assert_eq!(sum(&|c| c.handed_over.get()), all / 2);
}
