//! The I/O backends between two network namespaces joined by a veth pair: what an exporter sends is
//! received, and what is sent under an exporter's address arrives, by AF_XDP and by sockets alike.
//!
//! Needs: root, `ip`, `ethtool`, `python3` (frames with VLAN tags), `tcpdump` and `tshark`. Skips with a
//! sentence without root. Each side runs in a process of its own: this same test program, started
//! within its namespace with a role.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod lanes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use weir_dataplane::io::afxdp::{self, AfxdpConfig, Queues};
use weir_dataplane::io::raw::RawTransmit;
use weir_dataplane::io::udp::UdpReceive;
use weir_dataplane::io::{NextHop, Receive, Tag, Transmit};
use weir_dataplane::wire::{ipv4, udp};
use weir_ebpf::Verdict;
use weir_tuning::apply::{apply_all, revert_all};
use weir_tuning::plan::plan;
use weir_tuning::{Probe, Profile};

const ROLE: &str = "WEIRIO_ROLE";
const PORT: u16 = 2055;
const SLAVE_PORT: u16 = 32_055;
const DATAGRAMS: u32 = 300;
const LARGE: usize = 5_000;
/// What a sender adds to the plain datagrams, by either IP version: one in fragments.
const PER_FAMILY: u32 = DATAGRAMS + 1;

// ---- the two namespaces ----

/// Two namespaces, `left` (10.77.0.1, fd77::1) and `right` (…2), joined by the devices `left` and
/// `right`. Removed when dropped.
struct Lab {
    left: String,
    right: String,
}

impl Lab {
    /// `None`, with a sentence, where this process may not make namespaces.
    fn build(name: &str) -> Option<Lab> {
        Lab::with_queues(name, 1)
    }

    /// As [`Lab::build`], with so many queues at each end.
    fn with_queues(name: &str, queues: u32) -> Option<Lab> {
        let made = Command::new("id").arg("-u").output().expect("id runs");
        if made.stdout.trim_ascii() != b"0" {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let id = std::process::id();
        let lab = Lab { left: format!("wi-{name}-{id}-l"), right: format!("wi-{name}-{id}-r") };
        run("ip", &["netns", "add", &lab.left]);
        run("ip", &["netns", "add", &lab.right]);
        lab.join("left", "right", queues);
        lab.configure(&lab.left, "left", 1);
        lab.configure(&lab.right, "right", 2);
        lab.introduce(&lab.left, "left", 2, &lab.mac(&lab.right, "right"));
        lab.introduce(&lab.right, "right", 1, &lab.mac(&lab.left, "left"));
        Some(lab)
    }

    /// Joins the namespaces by a further pair of devices.
    fn join(&self, left: &str, right: &str, queues: u32) {
        let count = format!("numtxqueues {queues} numrxqueues {queues}");
        let veth = format!("link add {left} {count} type veth peer name {right}");
        let veth = format!("-n {} {veth} netns {} {count}", self.left, self.right);
        run("ip", &veth.split(' ').collect::<Vec<_>>());
        if queues > 1 {
            let queues = queues.to_string();
            for (namespace, device) in [(&self.left, left), (&self.right, right)] {
                self.exec(namespace, &["ethtool", "-L", device, "rx", &queues, "tx", &queues]);
            }
        }
    }

    fn configure(&self, namespace: &str, device: &str, number: u8) {
        // With checksum or VLAN offload the frames would not be what stands on a wire.
        let off = "tx off txvlan off rxvlan off".split(' ');
        let ethtool: Vec<_> = ["ethtool", "-K", device].into_iter().chain(off).collect();
        self.exec(namespace, &ethtool);
        for line in [
            &format!("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{device}.rp_filter=0"),
            &format!("sysctl -qw net.ipv6.conf.{device}.accept_dad=0"),
            "ip link set lo up",
            &format!("ip addr add 10.77.0.{number}/24 dev {device}"),
            &format!("ip addr add fd77::{number}/64 dev {device} nodad"),
            &format!("ip link set {device} up"),
        ] {
            self.exec(namespace, &line.split(' ').collect::<Vec<_>>());
        }
    }

    /// Tells a namespace its neighbour: while the kernel asks, it keeps but a few packets.
    fn introduce(&self, namespace: &str, device: &str, number: u8, mac: &str) {
        for address in [format!("10.77.0.{number}"), format!("fd77::{number}")] {
            let line =
                format!("ip neigh replace {address} lladdr {mac} dev {device} nud permanent");
            self.exec(namespace, &line.split(' ').collect::<Vec<_>>());
        }
    }

    fn exec(&self, namespace: &str, command: &[&str]) {
        run("ip", &[&["netns", "exec", namespace], command].concat());
    }

    fn mac(&self, namespace: &str, device: &str) -> String {
        let path = format!("/sys/class/net/{device}/address");
        let output = Command::new("ip")
            .args(["netns", "exec", namespace, "cat", &path])
            .output()
            .expect("ip runs");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Starts this test program with a role within a namespace.
    fn play(&self, namespace: &str, role: &str, arguments: &[(&str, &str)]) -> Actor {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe().expect("has a path"));
        command.args(["--exact", "a_role_within_a_namespace", "--ignored", "--nocapture"]);
        command.env(ROLE, role).envs(arguments.iter().copied());
        Actor::start(command)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.left, &self.right] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A process that says "ready" and later what it saw; killed when dropped.
struct Actor {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Actor {
    fn start(mut command: Command) -> Actor {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        Actor { child, lines }
    }

    /// Waits for a line that starts with `word`; returns the rest of it.
    fn expect(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("its output is text");
            assert!(read > 0, "it ended before it said {word}");
            if let Some(rest) = line.trim_end().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Reads all that it still says.
    fn finish(mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("its output is text");
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "it failed: {rest}");
        rest
    }

    fn stop(&mut self) {
        let kill = format!("kill -INT {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- the roles ----

#[test]
#[ignore = "a role that the other tests start"]
fn a_role_within_a_namespace() {
    match std::env::var(ROLE).as_deref() {
        Ok("receive") => receive(),
        Ok("export") => export(),
        Ok("transmit") => transmit(),
        Ok("tune") => tune(),
        Ok("lanes") => lanes::receive(),
        Ok("spread") => lanes::export(),
        Ok("leave") => lanes::transmit(),
        Ok("fall") => lanes::lose_the_device(),
        _ => eprintln!("skipped: no role given"),
    }
}

fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("the output is read");
}

/// Receives on a port until nothing more comes; says how many came by source and length.
fn receive() {
    let port: u16 = argument("PORT").parse().unwrap();
    let expected: u64 = argument("EXPECT").parse().unwrap();
    let listen = [SocketAddr::new("0.0.0.0".parse().unwrap(), port), {
        SocketAddr::new("::".parse().unwrap(), port)
    }];
    if argument("BACKEND") == "afxdp" {
        let mut opened = afxdp::open(&config("right", &listen)).unwrap();
        say(&format!("\nready {}", opened.sentence));
        collect(&mut opened.lanes[0].0, expected);
        let verdicts = opened.kernel.tallies.read().unwrap();
        say(&format!("redirected {}", verdicts.get(Verdict::Redirected)));
    } else {
        let mut receive = UdpReceive::open(&listen, 8 << 20).unwrap();
        say("\nready sockets");
        collect(&mut receive, expected);
    }
}

fn config(device: &str, listen: &[SocketAddr]) -> AfxdpConfig {
    AfxdpConfig {
        device: device.to_owned(),
        queues: Queues::Auto,
        egress: Vec::new(),
        listen: listen.to_vec(),
        frames: 256,
        buffer_bytes: 8 << 20,
        busy_poll: None,
        sources: 16,
        forward: false,
        bounce: false,
    }
}

fn collect(receive: &mut impl Receive, expected: u64) {
    let mut seen: BTreeMap<(SocketAddr, SocketAddr, usize), u64> = BTreeMap::new();
    let (mut total, mut bad) = (0u64, Vec::new());
    // Unless told otherwise, a payload repeats one byte.
    let any = argument("ANY") == "1";
    let mut last = Instant::now();
    // A little longer than needed: a datagram that comes twice must be seen twice.
    while last.elapsed() < Duration::from_millis(if total < expected { 8_000 } else { 400 }) {
        receive.wait(50).unwrap();
        let count = receive
            .burst(
                &mut |datagram| {
                    let first = datagram.payload[0];
                    assert!(any || datagram.payload.iter().all(|&byte| byte == first));
                    let key = (datagram.source, datagram.destination, datagram.payload.len());
                    *seen.entry(key).or_default() += 1;
                },
                &mut |reason| bad.push(reason),
            )
            .unwrap();
        total += count as u64;
        if count > 0 {
            last = Instant::now();
        }
    }
    for ((source, destination, length), count) in seen {
        say(&format!("{source} {destination} {length} {count}"));
    }
    say(&format!("bad {bad:?} dropped {}", receive.dropped()));
}

/// Sends as exporters do: many datagrams by v4 and v6, a large one each, some to a port that nobody
/// listens on.
fn export() {
    for (from, to) in [("10.77.0.1:4000", "10.77.0.2"), ("[fd77::1]:4000", "fd77::2")] {
        let to: IpAddr = to.parse().unwrap();
        let socket = UdpSocket::bind(from).unwrap();
        for n in 0..DATAGRAMS {
            socket.send_to(&[n.to_le_bytes()[0]; 1_000], (to, PORT)).unwrap();
            if n % 50 == 0 {
                socket.send_to(&[1; 10], (to, PORT + 1)).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        socket.send_to(&[7; LARGE], (to, PORT)).unwrap();
    }
    say("\ndone");
}

/// Sends frames with one and with two VLAN tags, as they would come from a trunk port. Python opens
/// the packet socket: this kernel's VLAN devices may be missing, and tests here have no `unsafe`.
fn export_tagged(lab: &Lab) {
    let (from, to) = ("10.77.0.1:4000".parse().unwrap(), "10.77.0.2:2055".parse().unwrap());
    let mut packet = vec![0; 28];
    packet.extend([5; 700]);
    udp::emit(&mut packet[20..], from, to);
    ipv4::Header {
        source: Ipv4Addr::new(10, 77, 0, 1),
        destination: Ipv4Addr::new(10, 77, 0, 2),
        identification: 1,
        protocol: ipv4::UDP,
    }
    .emit(&mut packet, 708);
    let destination = lab.mac(&lab.right, "right");
    let mac = |n: usize| u8::from_str_radix(&destination[3 * n..3 * n + 2], 16).unwrap();
    let mut frames = String::new();
    for tags in [&[0x81, 0, 0, 5][..], &[0x88, 0xa8, 0, 6, 0x81, 0, 0, 5]] {
        let header = [mac(0), mac(1), mac(2), mac(3), mac(4), mac(5), 2, 2, 2, 2, 2, 2];
        for byte in header.iter().chain(tags).chain(&[8, 0]).chain(&packet) {
            frames.push_str(&format!("{byte:02x}"));
        }
        frames.push('\n');
    }
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
        s.bind(('left', 0))\n\
        [s.send(bytes.fromhex(line)) for line in sys.stdin]";
    let mut python = Command::new("ip")
        .args(["netns", "exec", &lab.left, "python3", "-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ip runs");
    let mut input = python.stdin.take().expect("its input is piped");
    input.write_all(frames.as_bytes()).expect("python reads");
    drop(input);
    assert!(python.wait().expect("python ends").success(), "this test needs python3");
}

/// Sends under addresses that are not this host's, to a slave.
fn transmit() {
    let pairs = [("192.0.2.7:4001", "10.77.0.1"), ("[2001:db8:7::7]:4002", "fd77::1")];
    let mac: Vec<u8> =
        argument("MAC").split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let mac: Option<[u8; 6]> = mac.try_into().ok();
    let hop = mac.map(|mac| NextHop { device: index_of("right"), mac });
    if argument("BACKEND") == "afxdp" {
        let listen = ["0.0.0.0:2055".parse().unwrap()];
        let mut opened = afxdp::open(&config("right", &listen)).unwrap();
        say(&format!("\nready {}", opened.sentence));
        let (_, transmit) = &mut opened.lanes[0];
        for (_, to) in pairs {
            transmit.set_next_hop(to.parse().unwrap(), hop);
        }
        send_all(transmit, &pairs);
    } else {
        let mut transmit = RawTransmit::open(256).unwrap();
        say("\nready sockets");
        send_all(&mut transmit, &pairs);
    }
}

/// A device's number, as netlink tells it to the proxy.
fn index_of(device: &str) -> u32 {
    let path = format!("/sys/class/net/{device}/ifindex");
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

fn send_all<T: Transmit>(transmit: &mut T, pairs: &[(&str, &str)]) {
    let tag = Tag::default();
    for (source, to) in pairs {
        let source = source.parse().unwrap();
        let to = SocketAddr::new(to.parse().unwrap(), SLAVE_PORT);
        for n in 0..DATAGRAMS {
            let mut frame = transmit.take().expect("a free frame");
            transmit.payload(&mut frame)[..1_001].fill(n.to_le_bytes()[0]);
            transmit.send(frame, 1_001, source, to, tag);
            if n == DATAGRAMS / 2 {
                transmit.send_copy(&[9; LARGE], source, to, 1_500, tag);
            }
            if n % 100 == 99 {
                transmit.flush(&mut |_, error| panic!("{error}"));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        transmit.send_copy(&[3; 20], source, to, 1_500, tag);
        transmit.flush(&mut |_, error| panic!("{error}"));
    }
    say("done");
}

/// Plans by the lab's profile, makes the changes, plans again, undoes them, and plans once more.
fn tune() {
    let profile = Profile::named("lab").unwrap();
    let planned = || {
        let changes = plan(&profile, &Probe::read(&["left"])).changes;
        let mine = changes.into_iter().filter(|change| change.setting.to_string().contains("left"));
        mine.collect::<Vec<_>>()
    };
    let first = planned();
    let outcomes = apply_all(&first);
    say("");
    for outcome in &outcomes {
        say(&format!("made {} {:?}", outcome.change, outcome.result));
    }
    say(&format!("left over {:?}", planned()));
    assert!(revert_all(&outcomes).iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(planned(), first, "undone");
    say("undone");
}

// ---- the tests ----

#[test]
fn the_labs_profile_is_applied_to_a_virtual_device_and_undone() {
    let Some(lab) = Lab::build("tu") else { return };
    lab.exec(&lab.left, &["ethtool", "-K", "left", "tx", "on"]);
    lab.exec(&lab.left, &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"]);
    let said = lab.play(&lab.left, "tune", &[]).finish();
    for change in ["net.ipv4.conf.left.rp_filter 0 -> 2", "left tx checksum offload 1 -> 0"] {
        let line = said.lines().find(|line| line.contains(change));
        assert!(line.is_some_and(|line| line.ends_with("Ok(())")), "{change} is not in\n{said}");
    }
    assert!(said.contains("left over []\nundone\n"), "{said}");
}

fn everything_exported_is_received(name: &str, backend: &str) {
    let Some(lab) = Lab::build(name) else { return };
    // The kernel drops tagged frames where it has no VLAN device; the ring takes them.
    let tagged = if backend == "afxdp" { 2 } else { 0 };
    let expected = (2 * PER_FAMILY + tagged).to_string();
    let port = PORT.to_string();
    let arguments = [("BACKEND", backend), ("PORT", &port), ("EXPECT", &expected)];
    let mut receiver = lab.play(&lab.right, "receive", &arguments);
    let mode = receiver.expect("ready");
    if tagged > 0 {
        export_tagged(&lab);
    }
    lab.play(&lab.left, "export", &[]).expect("done");
    let seen = receiver.finish();
    eprintln!("{mode}\n{seen}");
    let v4 = ("10.77.0.1:4000", "10.77.0.2:2055");
    let v6 = ("[fd77::1]:4000", "[fd77::2]:2055");
    let mut lines = vec![(v4, 1_000, DATAGRAMS), (v6, 1_000, DATAGRAMS), (v4, LARGE, 1)];
    lines.push((v6, LARGE, 1));
    if tagged > 0 {
        lines.push((v4, 700, tagged));
    }
    for ((from, to), length, count) in &lines {
        let line = format!("{from} {to} {length} {count}\n");
        assert!(seen.contains(&line), "{line} is not in\n{seen}");
    }
    let others = seen.lines().filter(|line| line.contains(":2055 ")).count();
    assert_eq!(others, lines.len(), "nothing else came:\n{seen}");
    assert!(seen.contains("bad [] dropped 0"), "{seen}");
    if backend == "afxdp" {
        // All but the large ones came by the ring.
        let redirected = 2 * DATAGRAMS + tagged;
        assert!(seen.contains(&format!("redirected {redirected}\n")), "{seen}");
    }
}

#[test]
fn afxdp_receives_v4_v6_and_vlan_and_leaves_fragments_and_other_ports_to_the_kernel() {
    everything_exported_is_received("rx", "afxdp");
}

#[test]
fn sockets_receive_v4_v6_and_fragments() {
    everything_exported_is_received("rs", "sockets");
}

fn everything_sent_arrives(name: &str, backend: &str, next_hop_is_known: bool) {
    let Some(lab) = Lab::build(name) else { return };
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("left.pcap");
    let mut dump = record(&lab, &capture);
    let expected = (2 * (DATAGRAMS + 2)).to_string();
    let port = SLAVE_PORT.to_string();
    let arguments = [("BACKEND", "sockets"), ("PORT", &port), ("EXPECT", &expected)];
    let mut receiver = lab.play(&lab.left, "receive", &arguments);
    receiver.expect("ready");
    let mac = if next_hop_is_known { lab.mac(&lab.left, "left") } else { String::new() };
    let mut sender = lab.play(&lab.right, "transmit", &[("BACKEND", backend), ("MAC", &mac)]);
    let mode = sender.expect("ready");
    sender.expect("done");
    let seen = receiver.finish();
    std::thread::sleep(Duration::from_millis(300));
    dump.stop();
    eprintln!("{mode}\n{seen}");
    for (from, to) in
        [("192.0.2.7:4001", "10.77.0.1:32055"), ("[2001:db8:7::7]:4002", "[fd77::1]:32055")]
    {
        for (length, count) in [(1_001, DATAGRAMS), (LARGE, 1), (20, 1)] {
            let line = format!("{from} {to} {length} {count}\n");
            assert!(seen.contains(&line), "{line} is not in\n{seen}");
        }
    }
    checksums_are_right(&capture);
}

fn record(lab: &Lab, capture: &Path) -> Actor {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &lab.left, "tcpdump", "-U", "--immediate-mode", "-i"])
        .args(["left", "-s", "2048", "-B", "16384", "-w"])
        .arg(capture);
    command.args(["udp", "or", "ip6", "or", "ip"]).stderr(Stdio::null());
    let actor = Actor::start(command);
    // tcpdump writes the file's header once it listens.
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::fs::metadata(capture).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "tcpdump does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    actor
}

/// An independent reader of the capture: every checksum is right, every fragment has its place.
fn checksums_are_right(capture: &PathBuf) {
    let count = |filter: &str| {
        let output = Command::new("tshark")
            .args(["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r"])
            .arg(capture)
            .args(["-Y", filter])
            .output()
            .expect("tshark runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout.iter().filter(|&&byte| byte == b'\n').count()
    };
    let ours = "udp.dstport == 32055 && (ip.src == 192.0.2.7 || ipv6.src == 2001:db8:7::7)";
    let sent = 2 * (DATAGRAMS as usize + 2);
    assert_eq!(count(ours), sent, "datagrams, whole or reassembled");
    let good = format!("{ours} && udp.checksum.status == \"Good\"");
    assert_eq!(count(&good), sent, "right UDP checksums");
    assert_eq!(count("ip.checksum.status == \"Bad\""), 0);
    assert_eq!(count("_ws.malformed"), 0);
}

#[test]
fn afxdp_sends_under_the_exporters_address() {
    everything_sent_arrives("tx", "afxdp", true);
}

#[test]
fn afxdp_sends_by_the_kernel_while_it_knows_no_next_hop() {
    everything_sent_arrives("tn", "afxdp", false);
}

#[test]
fn raw_sockets_send_under_the_exporters_address() {
    everything_sent_arrives("ts", "sockets", false);
}

#[test]
fn the_program_is_gone_when_its_process_is_killed() {
    let Some(lab) = Lab::build("kl") else { return };
    let port = PORT.to_string();
    let arguments = [("BACKEND", "afxdp"), ("PORT", &port), ("EXPECT", "1")];
    for _ in 0..2 {
        let mut receiver = lab.play(&lab.right, "receive", &arguments);
        receiver.expect("ready");
        // `ip netns exec` replaces itself by the program, so this is the receiver.
        receiver.child.kill().unwrap();
        receiver.child.wait().unwrap();
    }
    let output = Command::new("ip")
        .args(["-n", &lab.right, "link", "show", "right"])
        .output()
        .expect("ip runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("right") && !shown.contains("xdp"), "{shown}");
}
