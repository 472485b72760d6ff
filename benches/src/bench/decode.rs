//! The slave's decoder and its peers: how many records a second of one core, and weir's instructions
//! a record.
//!
//! weir is measured in memory, from datagram to columns. Its peers can only be had whole: the
//! collectors of nfdump read the same datagrams from a socket and write their files, of which their
//! own code's share is shown beside the kernel's; those of pmacct read them from a capture and count
//! them by one key, which is the least that they can be asked for.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use weir_benches::decode::{Decoder, Format};
use weir_benches::is_quick;
use weir_controlplane::lab::process::Process;
use weir_controlplane::lab::tool;
use weir_dataplane::wire::{ethernet, ipv4, udp};

use crate::{instructions, results};

/// Bursts before anything is counted: columns have their memory.
const WARM_BURSTS: u32 = 50;
const COUNTED_BURSTS: u32 = 20;
/// The port of a peer that listens.
const PORT: u16 = 39_055;
/// Datagrams that a peer gets in a row; its socket holds many more.
const IN_A_ROW: u32 = 256;

/// What was measured of one decoder and one format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Decoded {
    format: String,
    decoder: String,
    /// Records that were decoded.
    records: u64,
    /// Nanoseconds of the processor, in its own code and in all.
    own_ns: f64,
    total_ns: f64,
    instructions: Option<f64>,
}

/// Measures everything that is here, and keeps it for the report.
pub(crate) fn decode() -> Result<()> {
    let mut all = Vec::new();
    for (at, format) in Format::ALL.into_iter().enumerate() {
        let mut weir = weir(format);
        if tool::exists("valgrind") {
            let words = ["count-decode", &at.to_string()];
            let count = instructions::count("*Decoder*measured*", &words)?;
            let records = u64::from(COUNTED_BURSTS) * Decoder::new(format).records();
            weir.instructions = Some(count as f64 / records as f64);
        }
        println!("{weir:?}");
        all.push(weir);
        for peer in [Peer::Nfdump, Peer::Pmacct] {
            if !tool::exists(peer.program(format)) {
                println!("{} skipped: it is not installed", peer.program(format));
                continue;
            }
            match peer.measure(format) {
                Ok(decoded) => {
                    println!("{decoded:?}");
                    all.push(decoded);
                }
                Err(error) => println!("{} skipped: {error:#}", peer.program(format)),
            }
        }
    }
    results::save("decode", &all)
}

/// What runs under callgrind.
pub(crate) fn run(format: usize) -> Result<()> {
    let format = *Format::ALL.get(format).context("no such format")?;
    let mut decoder = Decoder::new(format);
    (0..WARM_BURSTS).for_each(|_| decoder.burst());
    decoder.measured(COUNTED_BURSTS);
    Ok(())
}

/// The best of many samples: what disturbs one only makes it slower.
fn weir(format: Format) -> Decoded {
    let mut decoder = Decoder::new(format);
    (0..WARM_BURSTS).for_each(|_| decoder.burst());
    let samples = if is_quick() { 20 } else { 200 };
    let sample = |_| {
        let began = Instant::now();
        decoder.measured(50);
        began.elapsed()
    };
    let best = (0..samples).map(sample).min().unwrap_or(Duration::MAX);
    let records = 50 * decoder.records();
    let ns = best.as_nanos() as f64;
    Decoded {
        format: format.name().into(),
        decoder: "weir, datagrams to columns".into(),
        records,
        own_ns: ns,
        total_ns: ns,
        instructions: None,
    }
}

/// Whose collector.
#[derive(Clone, Copy)]
enum Peer {
    Nfdump,
    Pmacct,
}

impl Peer {
    fn program(self, format: Format) -> &'static str {
        match (self, format) {
            (Peer::Nfdump, Format::Sflow) => "sfcapd",
            (Peer::Nfdump, _) => "nfcapd",
            (Peer::Pmacct, Format::Sflow) => "sfacctd",
            (Peer::Pmacct, _) => "nfacctd",
        }
    }

    fn measure(self, format: Format) -> Result<Decoded> {
        let folder = tempfile::tempdir()?;
        let datagrams = if is_quick() { 4_000 } else { 40_000 };
        let program = self.program(format);
        let (what, cost, records) = match self {
            Peer::Nfdump => nfdump(program, format, datagrams, folder.path())?,
            Peer::Pmacct => pmacct(program, format, datagrams, folder.path())?,
        };
        let sent = u64::from(datagrams * format.records());
        if records < sent * 9 / 10 {
            bail!("{records} records of {sent} were decoded");
        }
        Ok(Decoded {
            format: format.name().into(),
            decoder: format!("{program}, {what}"),
            records: records.min(sent),
            own_ns: cost.own.as_nanos() as f64,
            total_ns: cost.total.as_nanos() as f64,
            instructions: None,
        })
    }
}

/// What a peer does, what that cost, and how many records it has decoded.
type Measured = (&'static str, Cost, u64);

fn nfdump(program: &str, format: Format, datagrams: u32, folder: &Path) -> Result<Measured> {
    let flows = folder.join("flows");
    std::fs::create_dir(&flows)?;
    let mut command = Command::new(program);
    command.args(["-b", "127.0.0.1", "-B", "33554432", "-t", "3600", "-p", &PORT.to_string()]);
    let mut process = Process::start(program, command.arg("-w").arg(&flows), folder)?;
    std::thread::sleep(Duration::from_millis(500));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, PORT))?;
    let template = format.template();
    template.iter().try_for_each(|template| socket.send(template).map(drop))?;
    std::thread::sleep(Duration::from_millis(100));
    let before = Cost::of(process.id())?;
    for n in 0..datagrams {
        socket.send(&format.data(n))?;
        if n % IN_A_ROW == 0 {
            until_quiet(process.id(), Duration::from_millis(3))?;
        }
    }
    let cost = until_quiet(process.id(), Duration::from_millis(300))?.since(before);
    process.stop()?;
    let said = tool::run(Command::new("nfdump").arg("-I").arg("-R").arg(&flows))?;
    let line = said.lines().find_map(|line| line.strip_prefix("Flows: "));
    let records = line.context("nfdump tells no flows")?.trim().parse()?;
    Ok(("from its socket into its file", cost, records))
}

fn pmacct(program: &str, format: Format, datagrams: u32, folder: &Path) -> Result<Measured> {
    let capture = capture(format, datagrams, folder)?;
    let table = folder.join("table.csv");
    // The plugin's queue holds everything, so that nothing is lost on the way to the count.
    let settings = format!(
        "plugins: print\naggregate: proto,flows\nprint_output: csv\nprint_output_file: {}\n\
         print_refresh_time: 3600\npcap_savefile: {}\npcap_sf_wait: true\n\
         plugin_pipe_size: 268435456\nplugin_buffer_size: 65536\n",
        table.display(),
        capture.display(),
    );
    let file = folder.join("settings");
    std::fs::write(&file, settings)?;
    let mut process = Process::start(program, Command::new(program).arg("-f").arg(&file), folder)?;
    std::thread::sleep(Duration::from_millis(500));
    let cost = until_quiet(process.id(), Duration::from_secs(3))?;
    process.signal("INT")?;
    process.wait_end(30)?;
    let said = std::fs::read_to_string(&table).context("it wrote no table")?;
    // PROTOCOL,PACKETS,FLOWS,BYTES
    let mut lines = said.lines();
    let header = lines.next().context("an empty table")?;
    let column = header.split(',').position(|name| name == "FLOWS").context("no flows in it")?;
    let records = lines.filter_map(|line| line.split(',').nth(column)?.parse::<u64>().ok()).sum();
    Ok(("from a capture, counted by protocol", cost, records))
}

/// A pcap file of all datagrams.
fn capture(format: Format, datagrams: u32, folder: &Path) -> Result<PathBuf> {
    let mut bytes = Vec::new();
    let word = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
    bytes.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
    [0, 0, 65_535, 1].into_iter().for_each(|number| word(&mut bytes, number));
    let payloads = format.template().into_iter().chain((0..datagrams).map(|n| format.data(n)));
    for payload in payloads {
        let frame = frame(&payload);
        let length = frame.len() as u32;
        [1_700_000_000, 0, length, length].into_iter().for_each(|number| word(&mut bytes, number));
        bytes.extend(frame);
    }
    let path = folder.join("datagrams.pcap");
    std::fs::write(&path, bytes)?;
    Ok(path)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    const SEGMENT: usize = ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH;
    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 255, 0, 1));
    let mut out = vec![0; SEGMENT + udp::HEADER_LENGTH];
    out.extend_from_slice(payload);
    let ends = [SocketAddr::from((source, 50_000)), SocketAddr::from((destination, 2_055))];
    udp::emit(&mut out[SEGMENT..], ends[0], ends[1]);
    let length = out.len() - SEGMENT;
    let header = ipv4::Header { source, destination, identification: 1, protocol: ipv4::UDP };
    header.emit(&mut out[ethernet::HEADER_LENGTH..], length);
    ethernet::emit(&mut out, [2; 6], [4; 6], ethernet::ethertype::IPV4);
    out
}

/// What a process has taken of the processor.
#[derive(Clone, Copy, Debug)]
struct Cost {
    own: Duration,
    total: Duration,
}

impl Cost {
    /// Of all its threads; how much of it was the process's own code the kernel says by the tick.
    fn of(process: u32) -> Result<Cost> {
        let mut total = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = times.split(' ').next().context("a time")?.parse()?;
            total += Duration::from_nanos(ran);
        }
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, behind) = stat.rsplit_once(") ").context("a name in parentheses")?;
        let ticks = |at: usize| behind.split(' ').nth(at).and_then(|t| t.parse::<f64>().ok());
        let (user, system) = (ticks(11).unwrap_or(0.0), ticks(12).unwrap_or(0.0));
        let share = if user + system > 0.0 { user / (user + system) } else { 1.0 };
        Ok(Cost { own: total.mul_f64(share), total })
    }

    fn since(self, before: Cost) -> Cost {
        let own = self.own.saturating_sub(before.own);
        Cost { own, total: self.total.saturating_sub(before.total) }
    }
}

/// Waits until a process has done nothing for so long; what it has taken by then.
fn until_quiet(process: u32, quiet: Duration) -> Result<Cost> {
    let mut last = Cost::of(process)?;
    loop {
        std::thread::sleep(quiet);
        let now = Cost::of(process)?;
        // A process that waits looks up now and then.
        if now.total - last.total < quiet / 50 {
            return Ok(now);
        }
        last = now;
    }
}

/// The table of the report.
pub(crate) fn table(all: &[Decoded]) -> String {
    let mut out = String::from(
        "| format | decoder | records/s of one core | its own code alone | instructions a record |\n\
         |---|---|---|---|---|\n",
    );
    let rate = |records: u64, ns: f64| format!("{:.2} M", records as f64 / ns * 1e3);
    for row in all {
        let is_weir = row.instructions.is_some() || row.decoder.starts_with("weir");
        out += &format!(
            "| {} | {} | {} | {} | {} |\n",
            row.format,
            row.decoder,
            rate(row.records, row.total_ns),
            if is_weir { "–".into() } else { rate(row.records, row.own_ns) },
            row.instructions.map_or("–".into(), |count| format!("{count:.0}")),
        );
    }
    out
}
