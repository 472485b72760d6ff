//! The re-templating round trip: what the slaves of a proxy collect is what one collector would
//! have got straight from the exporters, whatever they sent.
//!
//! Two things are not compared, since their bounds are each side's own: inputs of which either side
//! has refused a template, a session or a set to hold for want of room.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::bounded;
use weir_dataplane::Discard;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::counter::{Counters, Unit};
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::memory::{MemoryTransmit, Watch};
use weir_dataplane::io::{Datagram, Transmit};
use weir_dataplane::mediate::{Distribution, Mediator, MediatorConfig, SlaveCounters};
use weir_store::Batch;
use weir_store::column::Values;

use super::collector::{Lab, NOW, WIDE};
use super::stream::{self, PORT, Step};
use super::watch;

const PORT_OFFSET: u16 = 30_000;
const HOLD: usize = 1 << 20;
/// Frames, and so messages that may be open at once.
const FRAMES: usize = 24;
/// Ends for want of room, of which each side may have its own.
const NO_ROOM: [Discard; 5] = [
    Discard::SessionTableFull,
    Discard::SourceSessionsFull,
    Discard::TemplateTableFull,
    Discard::SourceTemplatesFull,
    Discard::UnknownTemplate,
];

/// A proxy with a collector behind each slave.
struct Proxy {
    mediator: Mediator<<MemoryTransmit as Transmit>::Frame>,
    io: MemoryTransmit,
    watch: Watch,
    counters: Arc<Counters>,
    slaves: Vec<Lab>,
    /// Rows of slaves that were lost and came back with nothing in their memory.
    rows: Vec<Batch>,
}

impl Proxy {
    fn new(distribution: Distribution, slaves: u8) -> Self {
        let counters = Arc::new(Counters::default());
        let address = |n: u8| Ipv4Addr::new(10, 0, 0, n + 1);
        let slave = |n| {
            let v6 = Some(address(n).to_ipv6_mapped());
            let path = Path { v4: Some(address(n)), v6, mtu: 1_500 };
            Some(SlaveConfig { identity: address(n).into(), path, weight: 1 })
        };
        let configuration =
            Configuration { slaves: (0..slaves).map(slave).collect(), ..Configuration::default() };
        let config = MediatorConfig {
            distribution,
            configuration: Arc::new(configuration),
            port_offset: PORT_OFFSET,
            sessions: WIDE,
            hold: HoldLimits {
                bytes: HOLD,
                bytes_per_source: HOLD,
                bytes_per_session: HOLD,
                ms: 30_000,
            },
            flush_ms: 50,
            messages: FRAMES,
        };
        let (io, watch) = MemoryTransmit::new(FRAMES);
        let (herald, _) = bounded(16);
        let mediator = Mediator::new(config, Arc::clone(&counters), SlaveCounters::page(), herald);
        let labs = (0..slaves).map(|_| Lab::new(WIDE, HOLD)).collect();
        let mut proxy = Proxy { mediator, io, watch, counters, slaves: labs, rows: Vec::new() };
        for slave in 0..u16::from(slaves) {
            proxy.mediator.health(&mut proxy.io, slave, true, true, NOW);
        }
        proxy
    }

    fn take(&mut self, source: SocketAddr, payload: &[u8]) {
        let destination = SocketAddr::from(([192, 0, 2, 99], PORT));
        let datagram = Datagram { source, destination, payload };
        let (mediator, io) = (&mut self.mediator, &mut self.io);
        watch::packet(|| mediator.datagram(io, &datagram, NOW));
        self.read();
    }

    /// Closes what is open, tells slaves what they are to be told, and lets them read.
    fn deliver(&mut self) {
        while watch::packet(|| self.mediator.turn(&mut self.io, NOW)) {
            self.read();
        }
        self.mediator.flush_all(&mut self.io);
        self.read();
    }

    /// Lets slaves read what was sent, and counts.
    fn read(&mut self) {
        self.mediator.settle(&mut self.io);
        let c = &self.counters;
        let ended = c.datagrams_accepted.get() + c.discarded_total(Unit::Datagram);
        assert_eq!(c.datagrams_received.get(), ended, "every datagram ends in one counter");
        let ended = c.records_delivered.get() + c.discarded_total(Unit::Record);
        assert_eq!(c.records_decoded.get(), ended + c.records_in_flight.get());
        for sent in self.watch.take() {
            assert_eq!(sent.to.port(), PORT + PORT_OFFSET);
            let to = match sent.to.ip() {
                IpAddr::V4(to) => to,
                IpAddr::V6(to) => to.to_ipv4_mapped().expect("slaves have mapped addresses"),
            };
            let slave = &mut self.slaves[usize::from(to.octets()[3]) - 1];
            slave.take(sent.source, &sent.payload, NOW);
        }
    }

    /// A slave fails, and comes back with nothing in its memory.
    fn restart(&mut self, slave: u16) {
        self.mediator.health(&mut self.io, slave, false, false, NOW);
        self.deliver();
        let lab = &mut self.slaves[usize::from(slave)];
        let old = std::mem::replace(lab, Lab::new(WIDE, HOLD));
        assert_eq!(old.given_up(), 0, "no data before its template");
        self.rows.push(old.finish());
        self.mediator.health(&mut self.io, slave, true, true, NOW);
    }

    /// Whether either has refused something that the other may have taken.
    fn lacked_room(&self, straight: &Lab) -> bool {
        let counters = [&self.counters, &straight.counters];
        counters.iter().any(|c| NO_ROOM.iter().any(|&reason| c.discarded(reason) > 0))
    }

    fn finish(mut self) -> Vec<Batch> {
        self.mediator.finish(&mut self.io);
        self.read();
        assert_eq!(self.counters.records_in_flight.get(), 0);
        let frames = (0..FRAMES).map_while(|_| self.io.take()).count();
        assert_eq!(frames, FRAMES, "every frame comes home");
        let labs = self.slaves.into_iter().map(Lab::finish);
        labs.chain(self.rows).collect()
    }
}

/// The target's body: the first byte says how the proxy deals, and to how many.
pub fn run(input: &[u8]) {
    let setting = stream::setting(input);
    let is_round_robin = setting & 1 == 0;
    let model = if is_round_robin { Distribution::RoundRobin } else { Distribution::FlowSource };
    let slaves = 1 + (setting >> 1) % 3;
    let mut proxy = Proxy::new(model, slaves);
    let mut straight = Lab::new(WIDE, HOLD);
    for Step { source, event, payload, .. } in stream::steps(input) {
        match event {
            1..=3 => proxy.deliver(),
            4..=5 if slaves > 1 => {
                proxy.deliver();
                proxy.restart(u16::from(event % slaves));
            }
            _ => {}
        }
        proxy.take(source, &payload);
        straight.take(source, &payload, NOW);
    }
    proxy.deliver();
    let compared = !proxy.lacked_room(&straight);
    let dealt = proxy.finish();
    let straight = straight.finish();
    if compared {
        compare(&dealt, &straight);
    }
}

/// Whether the same rows are in both, each as often.
fn compare(dealt: &[Batch], straight: &Batch) {
    let mut balance: HashMap<u64, i64> = HashMap::new();
    let expected = rows(straight);
    let got: Vec<Vec<u64>> = dealt.iter().map(rows).collect();
    expected.iter().for_each(|&row| *balance.entry(row).or_default() += 1);
    got.iter().flatten().for_each(|&row| *balance.entry(row).or_default() -= 1);
    let amiss = |wanted: fn(i64) -> bool, batch: &Batch, rows: &[u64]| {
        let row = rows.iter().position(|row| wanted(balance[row]))?;
        Some(format!("{:?}", batch.range(row..row + 1)))
    };
    let lacking = amiss(|times| times > 0, straight, &expected);
    let mut slaves = dealt.iter().zip(&got);
    let surplus = slaves.find_map(|(batch, rows)| amiss(|times| times < 0, batch, rows));
    assert!(
        lacking.is_none() && surplus.is_none(),
        "{} rows behind the proxy, {} straight; lacking {lacking:#?}, instead {surplus:#?}",
        got.iter().flatten().count(),
        expected.len(),
    );
}

/// What each row says in all columns, as one number; columns that say nothing do not count.
fn rows(batch: &Batch) -> Vec<u64> {
    let mut rows = vec![0; batch.rows()];
    for column in batch.present() {
        let values = batch.column(column);
        for (at, row) in rows.iter_mut().enumerate() {
            let value: u128 = match &values {
                Values::Address(addresses) => u128::from_be_bytes(addresses[at].0),
                numbers => numbers.number(at).into(),
            };
            if value != 0 {
                let mut hasher = DefaultHasher::new();
                (*row, column as usize, value).hash(&mut hasher);
                *row = hasher.finish();
            }
        }
    }
    rows
}
