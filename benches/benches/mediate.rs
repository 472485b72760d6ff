//! The proxy's engine alone, in memory: datagrams in, frames ready to send out.
//!
//! `cargo bench -p weir-benches --bench mediate`

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_channel::bounded;
use weir_benches::{exporter, traffic};
use weir_dataplane::Timestamp;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::{Datagram, Tag, Transmit};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;

const RECORDS: u16 = 25;
const BURST: u32 = 64;

/// Frames that are written and then forgotten: the engine's own cost is all that is left.
struct Nowhere {
    frames: Vec<Box<[u8]>>,
}

impl Transmit for Nowhere {
    type Frame = Box<[u8]>;

    fn take(&mut self) -> Option<Box<[u8]>> {
        self.frames.pop()
    }

    fn room(&self) -> usize {
        2048
    }

    fn payload<'a>(&'a mut self, frame: &'a mut Box<[u8]>) -> &'a mut [u8] {
        frame
    }

    fn send(&mut self, frame: Box<[u8]>, length: usize, _: SocketAddr, _: SocketAddr, _: Tag) {
        black_box(&frame[..length]);
        self.frames.push(frame);
    }

    fn send_copy(&mut self, payload: &[u8], _: SocketAddr, _: SocketAddr, _: u16, _: Tag) {
        black_box(payload);
    }

    fn give_back(&mut self, frame: Box<[u8]>) {
        self.frames.push(frame);
    }

    fn flush(&mut self, _failed: &mut dyn FnMut(Tag, std::io::Error)) {}
}

struct Proxy {
    mediator: Mediator<Box<[u8]>>,
    io: Nowhere,
    now: Timestamp,
}

impl Proxy {
    fn new(distribution: Distribution, slaves: u8, sources: u32) -> Self {
        let slave = |n| SlaveConfig {
            identity: Ipv4Addr::new(10, 255, 0, n).into(),
            path: Path { v4: Some(Ipv4Addr::new(10, 255, 0, n)), v6: None, mtu: 1500 },
            weight: 1,
        };
        let configuration = Configuration {
            slaves: (0..slaves).map(|n| Some(slave(n))).collect(),
            ..Configuration::default()
        };
        let config = MediatorConfig {
            distribution,
            configuration: Arc::new(configuration),
            port_offset: 30_000,
            sessions: SessionLimits { sessions: 200_000, ..SessionLimits::default() },
            hold: HoldLimits::default(),
            flush_ms: 50,
            messages: 8_192,
        };
        let (news, _) = bounded(1);
        let mut proxy = Proxy {
            mediator: Mediator::new(config, Arc::default(), SlaveCounters::page(), news),
            io: Nowhere { frames: (0..8_192).map(|_| vec![0; 2048].into()).collect() },
            now: Timestamp(1_700_000_000_000),
        };
        for slave in 0..u16::from(slaves) {
            proxy.mediator.health(&mut proxy.io, slave, true, true, proxy.now);
        }
        let template = traffic::template_packet();
        (0..sources).for_each(|n| proxy.take(n, &template));
        proxy
    }

    fn take(&mut self, source: u32, payload: &[u8]) {
        let destination = SocketAddr::from(([10, 255, 1, 1], 2055));
        let datagram = Datagram { source: exporter(source), destination, payload };
        self.mediator.datagram(&mut self.io, &datagram, self.now);
    }

    fn settle(&mut self) {
        self.mediator.flush_due(&mut self.io, self.now);
        self.mediator.settle(&mut self.io);
    }
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("mediate");
    group.throughput(Throughput::Elements(u64::from(BURST) * u64::from(RECORDS)));
    for (distribution, name) in
        [(Distribution::RoundRobin, "round-robin"), (Distribution::FlowSource, "flow-source")]
    {
        for (slaves, sources) in [(4, 8), (64, 8), (4, 100_000)] {
            let mut proxy = Proxy::new(distribution, slaves, sources);
            let packets: Vec<_> = (0..BURST).map(|n| traffic::data_packet(n, RECORDS)).collect();
            let mut at = 0;
            group.bench_function(format!("{name}/v9/{slaves}-slaves/{sources}-sources"), |b| {
                b.iter(|| {
                    for packet in &packets {
                        proxy.take(at % sources, packet);
                        at = at.wrapping_add(7_919);
                    }
                    proxy.settle();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
