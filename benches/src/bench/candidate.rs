//! What can stand in the proxy's place: weir by each of its ways, the programs that a proxy in the
//! kernel is held against, and the peers, all in front of the same slaves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use weir_controlplane::lab::{Process, pause, tool, wait_for};

use crate::pair::{MASTER, PROXY, Pair, RIGHT, cpu_ns, poller_ns, slave, tame_pollers};

/// A candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// XDP finds the packet and drops it: what receiving alone costs.
    Drop,
    /// XDP turns every frame round: link-layer addresses swapped, `XDP_TX`.
    Bounce,
    /// The barest redirect: a device map, and no look at the frame.
    Redirect,
    /// weir: the distribution model and `--io`.
    Weir(&'static str, &'static str),
    /// weir's flow source, which the kernel sends back by `XDP_TX` as on a real card.
    WeirBounce,
    /// A `recvfrom`/`sendto` loop that keeps the source, as samplicator does.
    Relay,
    /// pmacct's tee: transparent, whole datagrams in turn.
    Tee,
    /// nfcapd, which stores, and repeats to one target under its own address.
    Nfcapd,
}

impl Candidate {
    pub(crate) fn name(self) -> String {
        match self {
            Candidate::Drop => "drop (XDP_DROP)".into(),
            Candidate::Bounce => "bare bounce (XDP_TX)".into(),
            Candidate::Redirect => "bare redirect (DEVMAP)".into(),
            Candidate::Weir(model, io) => format!("weir {model}, {io}"),
            Candidate::WeirBounce => "weir flow-source, afxdp, back by XDP_TX".into(),
            Candidate::Relay => "sendto relay, source kept".into(),
            Candidate::Tee => "pmacct tee, round robin".into(),
            Candidate::Nfcapd => "nfcapd -R (stores too)".into(),
        }
    }

    /// Whether it runs in the kernel alone, where flooding loses nothing that was paid for.
    pub(crate) fn is_in_kernel(self) -> bool {
        matches!(
            self,
            Candidate::Drop
                | Candidate::Bounce
                | Candidate::Redirect
                | Candidate::Weir("flow-source", "afxdp")
                | Candidate::WeirBounce
        )
    }

    /// Packets that it may keep until further ones come, when nothing is sent for a while: they are
    /// late rather than lost.
    pub(crate) fn keeps_back(self) -> u64 {
        match self {
            // A buffer between its processes is handed over when it is full.
            Candidate::Tee => 100,
            _ => 0,
        }
    }

    /// The program without which it cannot run, when that is missing.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Candidate::Tee => "nfacctd",
            Candidate::Nfcapd => "nfcapd",
            _ => return None,
        };
        (!tool::exists(program)).then_some(program)
    }
}

/// A candidate that runs.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
}

/// CPU time spent so far, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// By its processes.
    pub(crate) process_ns: u64,
    /// By the kernel on receiving, whatever XDP program runs there included.
    pub(crate) receive_ns: u64,
}

impl Running {
    /// Starts it in front of `slaves` slaves.
    pub(crate) fn start(candidate: Candidate, pair: &Pair, slaves: u8) -> Result<Running> {
        let mut process = match candidate {
            Candidate::Drop => hold(pair, "drop")?,
            Candidate::Bounce => hold(pair, "bounce")?,
            Candidate::Redirect => hold(pair, "redirect")?,
            Candidate::Weir(model, io) => weir(pair, model, io, slaves, false)?,
            Candidate::WeirBounce => weir(pair, "flow-source", "afxdp", slaves, true)?,
            Candidate::Relay => relay(pair, slaves)?,
            Candidate::Tee => tee(pair, slaves)?,
            Candidate::Nfcapd => nfcapd(pair)?,
        };
        match candidate {
            Candidate::Tee | Candidate::Nfcapd | Candidate::Relay => listens(&mut process)?,
            _ => process.wait_ready()?,
        }
        tame_pollers()?;
        // It may still be learning its neighbours.
        pause(Duration::from_millis(300))?;
        Ok(Running { process })
    }

    pub(crate) fn spent(&self) -> Result<Spent> {
        Ok(Spent { process_ns: cpu_ns(self.process.id()), receive_ns: poller_ns(RIGHT)? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Some have processes beside their first one, which would outlive it: the lab has given
        // each a process group of its own.
        if let Some(group) = Pid::from_raw(self.process.id().cast_signed()) {
            let _gone_already = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Spent {
    pub(crate) fn since(self, before: Spent) -> Spent {
        Spent {
            process_ns: self.process_ns.saturating_sub(before.process_ns),
            receive_ns: self.receive_ns.saturating_sub(before.receive_ns),
        }
    }
}

/// Waits until somebody is bound to the listening port.
fn listens(process: &mut Process) -> Result<()> {
    let table = format!("/proc/{}/net/udp", process.id());
    let waited = wait_for("the listening port", 20, || {
        let text = std::fs::read_to_string(&table).unwrap_or_default();
        Ok(text.contains(":0807 ").then_some(()))
    });
    if waited.is_err() {
        return Err(process.failed("does not listen".into()).into());
    }
    Ok(())
}

fn hold(pair: &Pair, program: &str) -> Result<Process> {
    let mut command = pair.command(false, std::env::current_exe()?);
    pair.start(program, command.args(["hold", program]))
}

/// The built `weir`, beside this program.
pub(crate) fn weir_program() -> Result<PathBuf> {
    let weir = std::env::current_exe()?.with_file_name("weir");
    anyhow::ensure!(weir.exists(), "{} is missing: cargo build --release", weir.display());
    Ok(weir)
}

/// A topology of one proxy; its slaves are foreign collectors, or weir's own.
pub(crate) fn topology(model: &str, slaves: u8, external: bool) -> String {
    let mut text = format!(
        "[[unit]]\nname = \"master\"\nrole = \"master\"\naddress = \"{MASTER}\"\n\
         [[unit]]\nname = \"proxy\"\nrole = \"proxy\"\naddress = \"{PROXY}\"\n"
    );
    let names: Vec<_> = (1..=slaves).map(|n| format!("slave{n}")).collect();
    for (n, name) in (1..).zip(&names) {
        text += &format!(
            "[[unit]]\nname = \"{name}\"\nrole = \"slave\"\naddress = \"{}\"\nexternal = {external}\n",
            slave(n)
        );
    }
    text + &format!(
        "[[proxy_group]]\nname = \"group\"\nproxy = \"proxy\"\nslaves = {names:?}\n\
         distribution = \"{model}\"\n\
         [[source_group]]\nname = \"site\"\nproxy_groups = [\"group\"]\n"
    )
}

/// Starts a proxy of a topology file.
pub(crate) fn proxy(pair: &Pair, topology: &Path, io: &str, bounce: bool) -> Result<Process> {
    let mut command = pair.command(false, weir_program()?);
    command.args(["proxy", "--unit", "proxy", "--io", io, "--topology"]).arg(topology);
    if io != "socket" {
        command.args(["--device", RIGHT]);
    }
    if bounce {
        command.arg("--bounce");
    }
    pair.start("proxy", &mut command)
}

fn weir(pair: &Pair, model: &str, io: &str, slaves: u8, bounce: bool) -> Result<Process> {
    let path = pair.folder.path().join("weir.toml");
    std::fs::write(&path, topology(model, slaves, true))?;
    proxy(pair, &path, io, bounce)
}

fn relay(pair: &Pair, slaves: u8) -> Result<Process> {
    let mut command = pair.command(false, std::env::current_exe()?);
    command.arg("relay").args((1..=slaves).map(|n| format!("{}:32055", slave(n))));
    pair.start("relay", &mut command)
}

fn tee(pair: &Pair, slaves: u8) -> Result<Process> {
    let folder = pair.folder.path();
    let receivers = folder.join("tee.lst");
    let all: Vec<_> = (1..=slaves).map(|n| format!("{}:32055", slave(n))).collect();
    std::fs::write(&receivers, format!("id=1 ip={} balance-alg=rr\n", all.join(",")))?;
    let configuration = folder.join("tee.conf");
    let text = format!(
        "daemonize: false\nnfacctd_ip: {PROXY}\nnfacctd_port: 2055\nnfacctd_pipe_size: 33554432\n\
         plugins: tee[a]\ntee_receivers[a]: {}\ntee_transparent: true\n\
         plugin_pipe_size: 67108864\nplugin_buffer_size: 65536\n",
        receivers.display()
    );
    std::fs::write(&configuration, text)?;
    let mut command = pair.command(false, "nfacctd");
    pair.start("tee", command.arg("-f").arg(&configuration))
}

fn nfcapd(pair: &Pair) -> Result<Process> {
    let folder = pair.folder.path().join("nfcapd");
    std::fs::create_dir_all(&folder).context("nfcapd's folder")?;
    let mut command = pair.command(false, "nfcapd");
    command.args(["-4", "-b", PROXY, "-p", "2055", "-t", "86400", "-B", "33554432"]);
    command.arg("-w").arg(&folder).args(["-R", &format!("{}/32055", slave(1))]);
    pair.start("nfcapd", &mut command)
}
