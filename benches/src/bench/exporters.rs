//! The exporters: data by the generator in XDP, templates and what new sources say through a raw
//! socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_benches::traffic::{IPFIX_FIXED, Load, Protocol};
use weir_controlplane::lab::tool;
use weir_dataplane::io::raw::RawTransmit;
use weir_dataplane::io::{Tag, Transmit};
use weir_dataplane::wire::{ipv4, udp};

use crate::agent::Arguments;
use crate::pair::{LEFT, PROXY};
use crate::programs::{Plan, Programs, Reading, index_of};

/// The sources' first address.
const FIRST_SOURCE: u32 = u32::from_be_bytes([172, 16, 0, 1]);
/// Packets that leave together through the socket.
const BATCH: u64 = 16;

/// All exporters of one measurement.
pub(crate) struct Exporters {
    programs: Programs,
    device: u32,
    raw: RawTransmit,
    load: Load,
    sources: u64,
    stamped: bool,
    template: Option<Vec<u8>>,
    data: Vec<u8>,
    frame: Vec<u8>,
    /// Data packets so far, of all sources together.
    sent: u64,
    /// What templates have added to every source's sequence.
    sequence_base: u64,
}

impl Exporters {
    pub(crate) fn new(arguments: &Arguments, load: Load) -> Result<Exporters> {
        let mut programs = Programs::load()?;
        let v9 = load.protocol == Protocol::V9;
        programs.read_as(&Reading {
            pass: arguments.pass,
            netflow9_length: if v9 { load.record_length() as u64 } else { 0 },
            ipfix_fixed: IPFIX_FIXED as u64,
            stamp_at: (arguments.stamped && v9).then_some(0),
        })?;
        programs.attach("sink", LEFT)?;
        let data = load.data_packet(0, 0);
        Ok(Exporters {
            device: index_of(LEFT)?,
            raw: RawTransmit::open(4 * BATCH as usize)?,
            template: load.template_packet(),
            frame: frame(&arguments.to_mac, &arguments.from_mac, &data)?,
            data,
            programs,
            load,
            sources: arguments.sources.into(),
            stamped: arguments.stamped,
            sent: 0,
            sequence_base: 0,
        })
    }

    /// The sink's counters.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Every source tells its templates; returns how many packets left.
    pub(crate) fn tell_templates(&mut self) -> Result<u64> {
        let Some(template) = self.template.clone() else { return Ok(0) };
        for source in 0..self.sources {
            // Data packets of this source so far.
            let before = (self.sent + self.sources - 1 - source) / self.sources;
            let sequence = self.sequence(before);
            self.queue(source, sequence, &template);
            self.breathe(source);
        }
        self.flush();
        self.sequence_base += u64::from(self.load.template_step());
        Ok(self.sources)
    }

    /// Sources beyond the steady ones send a template and a data packet each.
    pub(crate) fn appear(&mut self, first: u32, count: u32) -> Result<u64> {
        let (template, data) = (self.template.clone(), self.data.clone());
        for source in u64::from(first)..u64::from(first) + u64::from(count) {
            if let Some(template) = &template {
                self.queue(source, 0, template);
            }
            self.queue(source, self.load.template_step(), &data);
            self.breathe(source);
        }
        self.flush();
        Ok(count.into())
    }

    /// Sends data packets at a rate, or as many as can be; returns how many left.
    pub(crate) fn send(&mut self, rate: Option<f64>, seconds: f64) -> Result<u64> {
        let stride = self.load.record_length() as u64;
        let stamps = (self.load.first_record() as u64, stride, self.load.records.into());
        let plan = Plan {
            position: self.sent,
            sources: self.sources,
            first_source: FIRST_SOURCE,
            sequence_at: self.load.sequence_at() as u64,
            sequence_base: self.sequence_base,
            sequence_step: self.load.sequence_step().into(),
            stamps: self.stamped.then_some(stamps),
            rate,
            length: Duration::from_secs_f64(seconds),
        };
        let (before, refused_before) = (self.sent, refused()?);
        self.sent = self.programs.generate(self.device, &self.frame, &plan)?;
        Ok(self.sent - before - (refused()? - refused_before))
    }

    /// The sequence number of a source's packet after so many of data.
    fn sequence(&self, before: u64) -> u32 {
        (self.sequence_base + before * u64::from(self.load.sequence_step())) as u32
    }

    fn queue(&mut self, source: u64, sequence: u32, payload: &[u8]) {
        let mut frame = self.raw.take().expect("frames for more than one batch");
        let room = &mut self.raw.payload(&mut frame)[..payload.len()];
        room.copy_from_slice(payload);
        let at = self.load.sequence_at();
        room[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        let source = Ipv4Addr::from_bits(FIRST_SOURCE + source as u32);
        self.raw.send(frame, payload.len(), (source, 50_000).into(), target(), Tag::default());
    }

    fn flush(&mut self) {
        self.raw.flush(&mut |_, error| eprintln!("an exporter's packet was refused: {error}"));
    }

    /// Lets the other side catch up where packets leave without a rate.
    fn breathe(&mut self, n: u64) {
        if n.is_multiple_of(BATCH) {
            self.flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Frames that the cable had no room for: veth's ring is short, and these were never sent.
fn refused() -> Result<u64> {
    let mut command = Command::new("ethtool");
    command.args(["-S", LEFT]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let said = tool::run(&mut command)?;
    let line = said.lines().find(|line| line.contains("tx_queue_0_xdp_xmit_errors"));
    let count = line.and_then(|line| line.rsplit(' ').next()).context("veth's error counter")?;
    Ok(count.parse()?)
}

/// Where exporters send to.
fn target() -> SocketAddr {
    SocketAddr::new(PROXY.parse().expect("the proxy's address"), 2_055)
}

/// An Ethernet frame around a payload; its source address is the generator's to write. Without a UDP
/// checksum, which IPv4 allows.
fn frame(to_mac: &str, from_mac: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for mac in [to_mac, from_mac] {
        let bytes: Result<Vec<u8>, _> =
            mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        out.extend(bytes.context("a MAC address")?);
    }
    out.extend([8, 0]);
    let mut packet = vec![0; 28];
    packet.extend_from_slice(payload);
    let (source, destination) = (Ipv4Addr::from_bits(FIRST_SOURCE), PROXY.parse()?);
    udp::emit(&mut packet[20..], (source, 50_000).into(), (destination, 2_055).into());
    packet[26..28].fill(0);
    let header = ipv4::Header { source, destination, identification: 0, protocol: ipv4::UDP };
    header.emit(&mut packet, 8 + payload.len());
    out.extend(packet);
    Ok(out)
}
