//! Two network namespaces joined by a veth pair: exporters and slaves on the left, the proxy under
//! test on the right.
//!
//! Both devices poll in kernel threads of their own (threaded NAPI), so that what the proxy's side
//! spends on receiving is told apart from what generator and sink spend, to the nanosecond and
//! whatever else the machine does. The left side has core 0, the right side core 1; the kernel
//! threads go before all else there, as interrupts would, and can be held back for a moment, as a
//! network card holds interrupts back to take several packets at once.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_controlplane::lab::{Process, tool};

/// The exporters' and slaves' device.
pub(crate) const LEFT: &str = "wbl";
/// The proxy's device.
pub(crate) const RIGHT: &str = "wbr";
/// The proxy's address.
pub(crate) const PROXY: &str = "10.98.0.1";
/// The master's address, on the left.
pub(crate) const MASTER: &str = "10.98.2.1";
/// Socket buffers that may be asked for while a bench runs, bytes.
const SOCKET_BUFFER: &str = "67108864";
const BUFFER_LIMIT: &str = "/proc/sys/net/core/rmem_max";

/// The namespaces; gone when dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) left: String,
    pub(crate) right: String,
    pub(crate) folder: tempfile::TempDir,
    buffer_limit: String,
}

/// The address of slave `n`, from 1.
pub(crate) fn slave(n: u8) -> String {
    format!("10.98.1.{n}")
}

impl Pair {
    /// Namespaces with `slaves` slaves' addresses beyond the cable; both devices wait for `coalesce`
    /// before they take what came.
    pub(crate) fn new(slaves: u8, coalesce: Duration) -> Result<Pair> {
        let id = std::process::id();
        let buffer_limit = std::fs::read_to_string(BUFFER_LIMIT)?.trim().to_owned();
        let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir()?;
        let (left, right) = (format!("wbe-{id}-l"), format!("wbe-{id}-r"));
        let pair = Pair { left, right, folder, buffer_limit };
        std::fs::write(BUFFER_LIMIT, SOCKET_BUFFER)?;
        for namespace in [&pair.left, &pair.right] {
            ip(&format!("netns add {namespace}"))?;
        }
        ip(&format!(
            "-n {} link add {LEFT} numtxqueues 1 numrxqueues 1 type veth \
             peer name {RIGHT} netns {} numtxqueues 1 numrxqueues 1",
            pair.left, pair.right
        ))?;
        pair.settle(&pair.left, LEFT, "10.98.255.254", coalesce)?;
        pair.settle(&pair.right, RIGHT, PROXY, coalesce)?;
        let mac = pair.mac(false)?;
        ip(&format!(
            "-n {} neigh replace {PROXY} lladdr {mac} dev {LEFT} nud permanent",
            pair.left
        ))?;
        let mac = pair.mac(true)?;
        let right = &pair.right;
        ip(&format!("-n {right} route add default via 10.98.255.254"))?;
        let hosts = (1..=slaves).map(slave).chain(["10.98.255.254".to_owned()]);
        for host in hosts {
            ip(&format!("-n {right} neigh replace {host} lladdr {mac} dev {RIGHT} nud permanent"))?;
        }
        Ok(pair)
    }

    fn settle(
        &self,
        namespace: &str,
        device: &str,
        address: &str,
        coalesce: Duration,
    ) -> Result<()> {
        let nanoseconds = coalesce.as_nanos();
        let line = format!(
            "cd /proc/sys/net; \
             for c in all default {device}; do \
               echo 0 > ipv4/conf/$c/rp_filter; echo 1 > ipv6/conf/$c/disable_ipv6; \
             done; \
             ip link set lo up; ip link set {device} up; ip addr add {address}/16 dev {device}; \
             ethtool -K {device} tx off tso off gso off gro on txvlan off rxvlan off >/dev/null; \
             cd /sys/class/net/{device}; echo 1 > threaded; \
             echo {} > napi_defer_hard_irqs; echo {nanoseconds} > gro_flush_timeout",
            u8::from(nanoseconds > 0)
        );
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "sh", "-ec", &line]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        tool::run(&mut command)?;
        Ok(())
    }

    /// The link-layer address of the left or the right device.
    pub(crate) fn mac(&self, left: bool) -> Result<String> {
        let (namespace, device) = if left { (&self.left, LEFT) } else { (&self.right, RIGHT) };
        let path = format!("/sys/class/net/{device}/address");
        let said = tool::run(Command::new("ip").args(["netns", "exec", namespace, "cat", &path]))?;
        Ok(said.trim().to_owned())
    }

    /// A command in one of the namespaces, on that side's core and before ordinary processes; it dies
    /// with this thread.
    pub(crate) fn command(&self, left: bool, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let (namespace, core) = if left { (&self.left, "0") } else { (&self.right, "1") };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", "--"]);
        command.args(["nice", "-n", "-20", "taskset", "-c", core]).arg(program);
        command
    }

    /// Gives the left device an address of a unit there.
    pub(crate) fn add_left(&self, address: &str) -> Result<()> {
        ip(&format!("-n {} addr add {address}/16 dev {LEFT}", self.left))
    }

    /// Starts something; what it writes goes to files of the folder.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(Process::start(name, command, self.folder.path())?)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.left, &self.right] {
            let _ = ip(&format!("netns del {namespace}"));
        }
        let _ = std::fs::write(BUFFER_LIMIT, &self.buffer_limit);
    }
}

fn ip(words: &str) -> Result<()> {
    tool::run(Command::new("ip").args(words.split_whitespace()))?;
    Ok(())
}

/// The kernel thread that polls a device; attaching a program begins a new one.
pub(crate) fn poller(device: &str) -> Result<u32> {
    let prefix = format!("napi/{device}-");
    let began = Instant::now();
    loop {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if comm.starts_with(&prefix) {
                return Ok(id);
            }
        }
        ensure!(began.elapsed() < Duration::from_secs(5), "{device} is not polled by a thread");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Puts both pollers on their cores, before all else there.
pub(crate) fn tame_pollers() -> Result<()> {
    for (device, core) in [(LEFT, "0"), (RIGHT, "1")] {
        let id = poller(device)?.to_string();
        tool::run(Command::new("taskset").args(["-cp", core, &id]))?;
        tool::run(Command::new("chrt").args(["-f", "-p", "50", &id]))?;
    }
    Ok(())
}

/// CPU time of a process with all its threads and descendants, nanoseconds.
pub(crate) fn cpu_ns(root: u32) -> u64 {
    let mut family = vec![root];
    let parents = parents();
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| id));
        at += 1;
    }
    let tasks = family.iter().flat_map(|id| std::fs::read_dir(format!("/proc/{id}/task")));
    tasks.flatten().flatten().filter_map(|task| running_ns(&task.path())).sum()
}

/// All processes with their parents.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: std::fs::DirEntry| {
        let id = entry.file_name().to_string_lossy().parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before it stands in brackets and can hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        Some((id, rest.split(' ').nth(1)?.parse().ok()?))
    };
    entries.filter_map(parent).collect()
}

/// The first number of a task's schedstat: how long it has run, nanoseconds.
fn running_ns(task: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// CPU time of the kernel thread that polls a device, nanoseconds.
pub(crate) fn poller_ns(device: &str) -> Result<u64> {
    let task = Path::new("/proc").join(poller(device)?.to_string());
    running_ns(&task).context("the poller's time")
}
