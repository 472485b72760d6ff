//! The benches' XDP programs: a generator, a sink, and what a proxy in the kernel is held against.
//!
//! The generator runs on live frames (`BPF_PROG_TEST_RUN`): the kernel makes copies of one frame, the
//! program gives each its source, sequence number and time stamps, and the device sends them. That
//! is many times cheaper than a socket, so that one core can saturate a proxy on the other, and they
//! arrive as from a network card's driver, in one piece and with room in front. One call lasts for a
//! whole run, since each waits for the kernel's readers; the program keeps the rate.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Array, DevMap, MapData, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, include_bytes_aligned};
use hdrhistogram::Histogram;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

static OBJECT: &[u8] = include_bytes_aligned!("../../bin/bench.bpf.o");
/// Frames between two looks for a signal, and sent at once.
const BATCH: u32 = 64;
const BUCKETS: u32 = 1_024;
const XDP_DROP: u64 = 1;
const XDP_PASS: u64 = 2;

/// What the generator makes of a frame, and when; `struct plan` of bench.bpf.c, whose words say more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) position: u64,
    pub(crate) sources: u64,
    pub(crate) first_source: u32,
    pub(crate) sequence_at: u64,
    pub(crate) sequence_base: u64,
    pub(crate) sequence_step: u64,
    /// First stamp, stride, count.
    pub(crate) stamps: Option<(u64, u64, u64)>,
    /// Frames a second; `None` = as many as can be.
    pub(crate) rate: Option<f64>,
    pub(crate) length: Duration,
}

/// Words of `struct plan`.
const PLAN_WORDS: usize = 19;
/// Bytes of Ethernet, IPv4 and UDP headers, and of their room in the plan.
const HEADERS: (usize, usize) = (42, 48);

impl Plan {
    fn words(&self, frame: &[u8]) -> [u64; PLAN_WORDS] {
        let (stamp_at, stride, stamps) = self.stamps.unwrap_or_default();
        let numbers = [
            self.position,
            self.sources,
            self.first_source.into(),
            self.sequence_at,
            self.sequence_base,
            self.sequence_step,
            stamp_at,
            stride,
            stamps,
            self.rate.map_or(0, |rate| rate as u64),
            self.length.as_nanos() as u64,
        ];
        let mut headers = [0; HEADERS.1];
        headers[..HEADERS.0].copy_from_slice(&frame[..HEADERS.0]);
        let mut words = [0; PLAN_WORDS];
        words[..numbers.len()].copy_from_slice(&numbers);
        // The two words between are the program's own.
        for (word, bytes) in words[numbers.len() + 2..].iter_mut().zip(headers.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }
}

/// How the sink reads what comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Whether frames go on to the host; else they are dropped.
    pub(crate) pass: bool,
    pub(crate) netflow9_length: u64,
    pub(crate) ipfix_fixed: u64,
    /// Where a v9 record bears its stamp.
    pub(crate) stamp_at: Option<u64>,
}

/// What came to the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sunk {
    pub(crate) packets: u64,
    /// Of UDP payload.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl std::ops::Add for Sunk {
    type Output = Sunk;

    fn add(self, other: Sunk) -> Sunk {
        Sunk {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            records: self.records + other.records,
        }
    }
}

/// The loaded programs; what they are attached to lets go when this is dropped.
pub(crate) struct Programs {
    ebpf: Ebpf,
    plan: Array<MapData, [u64; PLAN_WORDS]>,
    reading: Array<MapData, [u64; 4]>,
    sunk: PerCpuArray<MapData, [u64; 3]>,
    latency: PerCpuArray<MapData, u64>,
    egress: DevMap<MapData>,
}

impl Programs {
    pub(crate) fn load() -> Result<Programs> {
        let mut ebpf = Ebpf::load(OBJECT).context("loading the benches' XDP programs")?;
        let mut map = |name: &'static str| {
            ebpf.take_map(name).with_context(|| format!("bench.bpf.o has no map {name}"))
        };
        Ok(Programs {
            plan: map("plan")?.try_into()?,
            reading: map("reading")?.try_into()?,
            sunk: map("sunk")?.try_into()?,
            latency: map("latency")?.try_into()?,
            egress: map("egress")?.try_into()?,
            ebpf,
        })
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("the kernel refuses {name}"))?;
        }
        Ok(program)
    }

    /// Attaches one of them natively.
    pub(crate) fn attach(&mut self, name: &str, device: &str) -> Result<()> {
        self.egress.set(0, index_of(device)?, None, 0)?;
        let program = self.program(name)?;
        program.attach(device, XdpMode::Driver).with_context(|| format!("attaching {name}"))?;
        Ok(())
    }

    pub(crate) fn read_as(&mut self, reading: &Reading) -> Result<()> {
        let action = if reading.pass { XDP_PASS } else { XDP_DROP };
        let stamp = reading.stamp_at.map_or(0, |at| at + 1);
        let words = [action, reading.netflow9_length, reading.ipfix_fixed, stamp];
        Ok(self.reading.set(0, words, 0)?)
    }

    /// Sends copies of a frame out of a device, edited by the plan and as it says; returns the
    /// plan's new position. A signal ends the call, once the plan's time is over.
    pub(crate) fn generate(&mut self, device: u32, frame: &[u8], plan: &Plan) -> Result<u64> {
        self.plan.set(0, plan.words(frame), 0)?;
        let mut context = Vec::new();
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        for word in [0, u32::try_from(frame.len())?, 0, device, 0, 0] {
            context.extend(word.to_ne_bytes());
        }
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: u32::MAX,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let interrupt = interrupt_after(plan.length + Duration::from_millis(5));
        let said = self.program("generate")?.test_run(options);
        interrupt.join().map_err(|_| anyhow::anyhow!("the clock's thread panicked"))?;
        match said {
            Err(ProgramError::SyscallError(call))
                if call.io_error.kind() == std::io::ErrorKind::Interrupted => {}
            other => {
                other.context("sending live frames")?;
            }
        }
        Ok(self.plan.get(&0, 0)?[0])
    }

    /// By the last octet of the destination, those that got anything.
    pub(crate) fn sunk(&self) -> Result<Vec<(u8, Sunk)>> {
        let mut all = Vec::new();
        for slave in 0..=u8::MAX {
            let cpus = self.sunk.get(&slave.into(), 0)?;
            let sum = cpus.iter().fold(Sunk::default(), |sum, &[packets, bytes, records]| {
                sum + Sunk { packets, bytes, records }
            });
            if sum.packets > 0 {
                all.push((slave, sum));
            }
        }
        Ok(all)
    }

    /// Records by their latency so far, nanoseconds.
    pub(crate) fn latency(&self) -> Result<Histogram<u64>> {
        let mut histogram = Histogram::new(3)?;
        for bucket in 0..BUCKETS {
            let count: u64 = self.latency.get(&bucket, 0)?.iter().sum();
            if count > 0 {
                histogram.record_n(middle(bucket), count)?;
            }
        }
        Ok(histogram)
    }
}

/// Sends this process SIGUSR1 after a while; its main thread must be in a system call then.
fn interrupt_after(length: Duration) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(length);
        let _cannot_fail = rustix::process::kill_process(rustix::process::getpid(), Signal::USR1);
    })
}

/// The middle of a bucket of the kernel's histogram.
fn middle(bucket: u32) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 64 {
        return bucket;
    }
    let shift = bucket / 32 - 1;
    ((32 + bucket % 32) << shift) + (1 << shift) / 2
}

/// The index of a device of this process's namespace.
pub(crate) fn index_of(device: &str) -> Result<u32> {
    let path = format!("/sys/class/net/{device}/ifindex");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no device {device}"))?;
    Ok(text.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_without_a_gap() {
        let values: Vec<_> = (0..BUCKETS - 64).map(middle).collect();
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
        // As the kernel's side counts: 1,000 ns is in [992, 1008).
        let bucket = (9 - 4) * 32 + ((1_000 >> (9 - 5)) & 31);
        assert_eq!(middle(bucket), 1_000);
    }
}
