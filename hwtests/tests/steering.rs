//! Flow source in the kernel, steered by a worker: the program itself says where each frame goes
//! (`BPF_PROG_TEST_RUN`).
//!
//! Needs: root. Skips with a sentence without.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use weir_dataplane::Counters;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::encode::Path;
use weir_dataplane::forward::ForwardHandles;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::NextHop;
use weir_dataplane::io::memory::{MemoryReceive, MemoryTransmit};
use weir_dataplane::mediate::{Distribution, MediatorConfig, SlaveCounters};
use weir_dataplane::news::News;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::wire::{ethernet, ipv4, udp};
use weir_dataplane::worker::{ProxyMail, ProxyWorker, ProxyWorkerConfig};
use weir_ebpf::{LoadConfig, PortRule, Program};
use weir_hwtests::can_run;

const PORT: u16 = 2055;
const PROXY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const EXPORTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const SLAVES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// A NetFlow v9 packet in a frame, with template 256 or three records of it.
fn frame(sequence: u32, template: bool) -> Vec<u8> {
    let set: &[u8] = if template {
        &[0, 0, 0, 12, 1, 0, 0, 1, 0, 1, 0, 4]
    } else {
        &[1, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]
    };
    let mut datagram = vec![0; udp::HEADER_LENGTH];
    datagram.extend([0, 9, 0, 1]);
    datagram.extend([100_000u32, 1_700_000_000, sequence, 7].map(u32::to_be_bytes).concat());
    datagram.extend(set);
    let to = SocketAddr::new(PROXY.into(), PORT);
    udp::emit(&mut datagram, SocketAddr::new(EXPORTER.into(), 4_000), to);
    let mut bytes = vec![0; ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH];
    ethernet::emit(&mut bytes, [2; 6], [4; 6], ethernet::ethertype::IPV4);
    let header = ipv4::Header {
        source: EXPORTER,
        destination: PROXY,
        identification: 1,
        protocol: ipv4::UDP,
    };
    header.emit(&mut bytes[ethernet::HEADER_LENGTH..], datagram.len());
    bytes.extend(datagram);
    bytes
}

/// Where the program sends a frame: to a slave, or to user space.
fn way(program: &mut Program, frame: &[u8]) -> Option<Ipv4Addr> {
    let run = program.run(frame).unwrap();
    match run.action {
        XDP_TX => Some(Ipv4Addr::from(*run.frame[30..].first_chunk::<4>().unwrap())),
        XDP_PASS => None,
        other => panic!("action {other}"),
    }
}

/// The way of this frame, once it is one of these.
fn until(
    program: &mut Program,
    frame: &[u8],
    wanted: impl Fn(Option<Ipv4Addr>) -> bool,
) -> Option<Ipv4Addr> {
    let begun = Instant::now();
    loop {
        let is = way(program, frame);
        if wanted(is) {
            return is;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the way stays {is:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn mediator() -> MediatorConfig {
    let slave = |address| {
        let path = Path { v4: Some(address), v6: None, mtu: 1500 };
        Some(SlaveConfig { identity: IpAddr::V4(address), path, weight: 1 })
    };
    let slaves = SLAVES.map(slave).to_vec();
    MediatorConfig {
        distribution: Distribution::FlowSource,
        configuration: Arc::new(Configuration { slaves, ..Configuration::default() }),
        port_offset: 30_000,
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        flush_ms: 50,
        messages: 64,
    }
}

fn health(slave: u16, healthy: bool) -> ProxyMail {
    ProxyMail::Health { slave, healthy, greet: healthy }
}

#[test]
fn a_source_moves_in_the_kernel_after_its_new_slave_was_told_its_templates() {
    if !can_run("steering", &[]) {
        return;
    }
    let config = LoadConfig { sources: 8, ..LoadConfig::default() };
    let mut loaded = Program::load(&config).unwrap_or_else(|error| panic!("{error}"));
    loaded.program.set_ports(&[(PORT, PortRule::FORWARD)]).unwrap();
    loaded.program.set_addresses(&[PROXY.into()]).unwrap();
    let forward = ForwardHandles {
        steering: loaded.steering,
        sources: loaded.sources.clone(),
        events: loaded.events,
        device: 1,
        mac: [2; 6],
        bounce: true,
    };
    let hop = Some(NextHop { device: 1, mac: [6; 6] });
    let hops = SLAVES.map(|slave| ProxyMail::NextHop { to: slave.into(), hop });
    let (news, told) = bounded(64);
    let (receive, _feed) = MemoryReceive::new();
    let (transmit, watch) = MemoryTransmit::new(64);
    let worker = ProxyWorkerConfig {
        mediator: mediator(),
        core: None,
        lane: 0,
        exchange: None,
        forward: Some(forward),
        news,
        first: hops.into_iter().chain([health(0, true), health(1, true)]).collect(),
    };
    let counters = Arc::new(Counters::default());
    let halves = (receive, transmit);
    let page = SlaveCounters::page();
    let worker = ProxyWorker::spawn(worker, halves, Arc::clone(&counters), page).unwrap();
    let program = &mut loaded.program;

    let first = until(program, &frame(0, true), |way| way.is_some()).unwrap();
    assert_eq!(way(program, &frame(1, false)), Some(first));
    let source = SocketAddr::new(EXPORTER.into(), 4_000);
    let news = told.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(news, News::Source { source, port: PORT });
    while counters.templates_received.get() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(loaded.sources.len(), 1);
    assert_eq!(watch.take(), []);

    let slave = u16::from(first == SLAVES[1]);
    let other = SLAVES[usize::from(1 - slave)];
    let died = Instant::now();
    worker.mailbox.send(health(slave, false)).unwrap();
    until(program, &frame(2, false), |way| way.is_none());
    until(program, &frame(3, false), |way| way == Some(other));
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    let sent = watch.take();
    assert_eq!(sent.len(), 1, "the templates, before the kernel forwards again");
    assert_eq!((sent[0].to.ip(), sent[0].tag.templates), (IpAddr::V4(other), 1));
    assert_eq!(sent[0].source, source);

    worker.mailbox.send(health(slave, true)).unwrap();
    until(program, &frame(4, false), |way| way == Some(first));
    assert_eq!(watch.take().len(), 1, "a slave that returns has lost its memory");
    worker.mailbox.send(ProxyMail::Stop).unwrap();
    worker.join().unwrap();
}
