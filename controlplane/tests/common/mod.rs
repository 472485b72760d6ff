//! Real units on loopback: processes of the binary under test, on addresses of this process's own.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// An address that no other test, here or in another process, uses.
pub(crate) fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    // 127.64.0.0/10, so that the everyday 127.0.0.0/16 is left alone.
    let (a, b) = (((process >> 8) & 0x3f) as u8 | 0x40, process as u8);
    Ipv4Addr::new(127, a, b, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running unit; killed when dropped.
pub(crate) struct Unit {
    pub(crate) child: Child,
    pub(crate) address: Ipv4Addr,
}

impl Unit {
    /// Starts a role and waits until it is ready.
    pub(crate) fn start(
        topology: &Path,
        role: &str,
        name: &str,
        address: Ipv4Addr,
        more: &[&str],
    ) -> Unit {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args([role, "--topology", topology.to_str().unwrap(), "--unit", name])
            .args(more)
            .env("WEIR_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("ready: {role} {name} on {address}\n"));
        Unit { child, address }
    }

    /// Memory of the process, bytes.
    pub(crate) fn resident(&self) -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its number.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own: a bare Debian has no other.
        let kill = format!("kill {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A master, a proxy and two slaves.
pub(crate) struct System {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) topology: PathBuf,
    pub(crate) master: Unit,
    pub(crate) proxy: Unit,
    pub(crate) slaves: Vec<Option<Unit>>,
    addresses: [Ipv4Addr; 4],
}

impl System {
    pub(crate) fn start() -> System {
        System::start_as("round-robin")
    }

    /// With this distribution.
    pub(crate) fn start_as(distribution: &str) -> System {
        let folder = tempfile::tempdir().unwrap();
        let addresses = [(); 4].map(|()| address());
        let topology = folder.path().join("weir.toml");
        let group = format!("[[proxy_group]]\ndistribution = \"{distribution}\"\n");
        let text = topology_text(addresses).replace("[[proxy_group]]\n", &group);
        std::fs::write(&topology, text).unwrap();
        let start = |role: &str, name: &str, at: usize, more: &[&str]| {
            Unit::start(&topology, role, name, addresses[at], more)
        };
        let slaves: Vec<_> =
            [0, 1].map(|n| Some(start_slave(&topology, folder.path(), n, addresses[2 + n]))).into();
        let proxy = start("proxy", "p1", 1, &["--io", "socket"]);
        let master = start("master", "m1", 0, &[]);
        let system =
            System { master, proxy, slaves, topology: topology.clone(), folder, addresses };
        system.until(|status| healthy(status) == 2);
        system
    }

    pub(crate) fn start_slave_again(&mut self, n: usize) {
        let unit = start_slave(&self.topology, self.folder.path(), n, self.addresses[2 + n]);
        self.slaves[n] = Some(unit);
    }

    /// Waits until the status is as wanted.
    pub(crate) fn until(&self, wanted: impl Fn(&serde_json::Value) -> bool) {
        let began = Instant::now();
        loop {
            let output = weir(&["status", "-M", &self.master.address.to_string(), "--json"]);
            let status = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
            if wanted(&status) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "not within 10 s: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the master.
    pub(crate) fn query(&self, more: &[&str]) -> Output {
        let master = self.master.address.to_string();
        weir(&[&["query", "-M", &master], more].concat())
    }

    /// Flows in the answer to an empty question.
    pub(crate) fn flows(&self) -> u64 {
        let output = self.query(&["-s", "srcip", "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["totals"]["flows"].as_u64().unwrap()
    }

    /// Sends `count` NetFlow v5 packets of one flow each from an exporter of this host.
    pub(crate) fn export(&self, count: u32) {
        let exporter = shared_socket(address());
        for sequence in 0..count {
            exporter.send_to(&netflow5(sequence), (self.proxy.address, 2055)).unwrap();
        }
    }
}

/// An exporter's socket of this host that lets a proxy without rights send under its address.
pub(crate) fn shared_socket(address: Ipv4Addr) -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&std::net::SocketAddr::from((address, 0)).into()).unwrap();
    socket.into()
}

/// How many slaves the proxy deals to.
pub(crate) fn healthy(status: &serde_json::Value) -> usize {
    let slaves = status["units"][0]["slaves"].as_array();
    slaves.map_or(0, |slaves| slaves.iter().filter(|slave| slave["healthy"] == true).count())
}

pub(crate) fn start_slave(topology: &Path, folder: &Path, n: usize, address: Ipv4Addr) -> Unit {
    let name = format!("s{}", n + 1);
    let store = folder.join(&name);
    Unit::start(topology, "slave", &name, address, &["--dir", store.to_str().unwrap()])
}

/// Runs the console.
pub(crate) fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output().unwrap()
}

pub(crate) fn topology_text([master, proxy, s1, s2]: [Ipv4Addr; 4]) -> String {
    let unit = |name: &str, role: &str, address: Ipv4Addr| {
        format!("[[unit]]\nname = \"{name}\"\nrole = \"{role}\"\naddress = \"{address}\"\n")
    };
    [
        unit("m1", "master", master),
        unit("p1", "proxy", proxy),
        unit("s1", "slave", s1),
        unit("s2", "slave", s2),
        "[[proxy_group]]\nname = \"g1\"\nproxy = \"p1\"\nslaves = [\"s1\", \"s2\"]\n".to_owned(),
        "[[source_group]]\nname = \"site\"\nproxy_groups = [\"g1\"]\n".to_owned(),
    ]
    .concat()
}

/// A NetFlow v5 packet with one flow of 100 bytes in 2 packets.
fn netflow5(sequence: u32) -> Vec<u8> {
    let mut packet = vec![0; 72];
    packet[..2].copy_from_slice(&5_u16.to_be_bytes());
    packet[2..4].copy_from_slice(&1_u16.to_be_bytes());
    packet[4..8].copy_from_slice(&60_000_u32.to_be_bytes());
    packet[8..12].copy_from_slice(&1_700_000_000_u32.to_be_bytes());
    packet[16..20].copy_from_slice(&sequence.to_be_bytes());
    let record = &mut packet[24..];
    record[..4].copy_from_slice(&[192, 0, 2, 1]);
    record[4..8].copy_from_slice(&[192, 0, 2, 2]);
    record[16..20].copy_from_slice(&2_u32.to_be_bytes());
    record[20..24].copy_from_slice(&100_u32.to_be_bytes());
    record[24..28].copy_from_slice(&50_000_u32.to_be_bytes());
    record[28..32].copy_from_slice(&55_000_u32.to_be_bytes());
    record[38] = 17;
    packet
}
