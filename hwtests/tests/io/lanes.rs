//! Several queues, long packets, several devices to send by, and one that goes down.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir_dataplane::io::afxdp::{self, AfxdpConfig, BusyPoll};
use weir_dataplane::io::{NextHop, Receive, Tag, Transmit};
use weir_ebpf::Verdict;

use super::{Lab, PORT, SLAVE_PORT, argument, config, index_of, run, say};

/// Exporters, each with a source port of its own, so that they spread over the queues.
const EXPORTERS: u16 = 64;
const ROUNDS: u32 = 20;
/// Datagrams by either IP version.
const SPREAD: u32 = EXPORTERS as u32 * ROUNDS;
/// Messages of each of three phases: up, down, up again.
const PHASE: u32 = 640;
const BURST: u32 = 64;

/// A datagram's payload: its number, and then bytes that depend on it and on their place.
fn payload(number: u32, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..length).map(|at| (at as u32 * 7 + number).to_le_bytes()[0]).collect();
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

// ---- the roles ----

/// Sends datagrams of the given lengths in turn, by both IP versions.
pub(super) fn export() {
    let lengths: Vec<usize> =
        argument("LENGTHS").split(' ').map(|length| length.parse().unwrap()).collect();
    let mut next = 0;
    for (from, to) in [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")] {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let sockets: Vec<_> =
            (0..EXPORTERS).map(|n| UdpSocket::bind((from, 4_000 + n)).unwrap()).collect();
        for _ in 0..ROUNDS {
            for socket in &sockets {
                let bytes = payload(next, lengths[next as usize % lengths.len()]);
                socket.send_to(&bytes, (to, PORT)).unwrap();
                next += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    say("\ndone");
}

/// Receives on all lanes, and says what came by each.
pub(super) fn receive() {
    let listen = ["0.0.0.0", "::"].map(|address| SocketAddr::new(address.parse().unwrap(), PORT));
    let busy_poll = (argument("BUSY") == "1").then_some(BusyPoll { us: 20, budget: 64 });
    let opened = afxdp::open(&AfxdpConfig { busy_poll, ..config("right", &listen) }).unwrap();
    say(&format!("\nready {}", opened.sentence));
    let (mut lanes, mut seen, mut twice) = (opened.lanes, HashSet::new(), 0);
    let mut counts = vec![0; lanes.len()];
    let mut last = Instant::now();
    let all = 2 * SPREAD as usize;
    while last.elapsed() < Duration::from_millis(if seen.len() < all { 5_000 } else { 300 }) {
        for (at, (receive, _)) in lanes.iter_mut().enumerate() {
            let each = &mut |datagram: weir_dataplane::io::Datagram<'_>| {
                let number = number(datagram.payload);
                assert!(datagram.payload == payload(number, datagram.payload.len()), "whole");
                twice += usize::from(!seen.insert(number));
            };
            let count = receive.burst(each, &mut |reason| panic!("{reason:?}")).unwrap();
            counts[at] += count;
            if count > 0 {
                last = Instant::now();
            }
        }
        lanes[0].0.wait(1).unwrap();
    }
    let dropped: u64 = lanes.iter().map(|(receive, _)| receive.dropped()).sum();
    let redirected = opened.kernel.tallies.read().unwrap().get(Verdict::Redirected);
    say(&format!("seen {} twice {twice} dropped {dropped} redirected {redirected}", seen.len()));
    say(&format!("lanes {counts:?}"));
}

fn hop(device: &str, mac: &str) -> NextHop {
    let mac: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    NextHop { device: index_of(device), mac: mac.try_into().unwrap() }
}

/// Sends to the left by two devices in turn, of which the second has neither address nor route.
pub(super) fn transmit() {
    let listen = ["0.0.0.0:2055".parse().unwrap()];
    let config = AfxdpConfig { egress: vec!["right2".to_owned()], ..config("right", &listen) };
    let mut opened = afxdp::open(&config).unwrap();
    say(&format!("\nready {}", opened.sentence));
    let (_, transmit) = &mut opened.lanes[0];
    let ways = [("10.77.0.1", "right", argument("MAC")), ("10.78.0.1", "right2", argument("MAC2"))];
    for (to, device, mac) in &ways {
        transmit.set_next_hop(to.parse().unwrap(), Some(hop(device, mac)));
    }
    for n in 0..PHASE {
        for (to, ..) in &ways {
            let to = SocketAddr::new(to.parse().unwrap(), SLAVE_PORT);
            send(transmit, n, to, &mut |error| panic!("{error}"));
        }
        if n % BURST == BURST - 1 {
            transmit.flush(&mut |_, error| panic!("{error}"));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    transmit.finish();
    transmit.flush(&mut |_, error| panic!("{error}"));
    say("done");
}

fn send(
    transmit: &mut impl Transmit,
    n: u32,
    to: SocketAddr,
    failed: &mut dyn FnMut(std::io::Error),
) {
    let source = "192.0.2.7:4001".parse().unwrap();
    let tag = Tag { session: n, ..Tag::default() };
    let Some(mut frame) = transmit.take() else {
        failed(std::io::ErrorKind::WouldBlock.into());
        return;
    };
    let bytes = payload(n, 1_001);
    transmit.payload(&mut frame)[..1_001].copy_from_slice(&bytes);
    transmit.send(frame, 1_001, source, to, tag);
}

/// Sends while its device is taken down and up again, or removed; says which messages failed.
pub(super) fn lose_the_device() {
    let listen = ["0.0.0.0:2055".parse().unwrap()];
    let mut opened = afxdp::open(&config("right", &listen)).unwrap();
    say(&format!("\nready {}", opened.sentence));
    let gone = argument("GONE") == "1";
    let (receive, transmit) = &mut opened.lanes[0];
    let to: SocketAddr = "10.77.0.1:32055".parse().unwrap();
    transmit.set_next_hop(to.ip(), Some(hop("right", &argument("MAC"))));
    let mut failed = [0u32; 3];
    let mut reported = HashSet::new();
    let mut report = |tag: Tag, phase: usize| {
        assert!(reported.insert(tag.session), "reported twice");
        failed[phase] += 1;
    };
    for phase in 0..3usize {
        for n in 0..PHASE {
            // In mid-burst: what is queued for the ring fails with the rest.
            if n == BURST / 2 && phase == 1 {
                let down = ["link", "set", "right", "down"];
                run("ip", if gone { &["link", "del", "right"] } else { &down });
            }
            send(transmit, phase as u32 * PHASE + n, to, &mut |error| panic!("{error}"));
            if n % BURST == BURST - 1 {
                transmit.flush(&mut |tag, _| report(tag, phase));
            }
        }
        if phase == 1 && !gone {
            run("ip", &["link", "set", "right", "up"]);
            std::thread::sleep(Duration::from_millis(1_500));
            transmit.flush(&mut |tag, _| report(tag, phase));
        }
    }
    transmit.finish();
    transmit.flush(&mut |tag, _| report(tag, 2));
    let start = Instant::now();
    for _ in 0..20 {
        receive.burst(&mut |_| (), &mut |_| ()).unwrap();
        receive.wait(10).unwrap();
    }
    assert!(start.elapsed() > Duration::from_millis(150), "a device that is gone wakes nobody");
    say(&format!("failed {failed:?}"));
}

// ---- the tests ----

/// What the receiving role said: its sentence, and the rest.
fn spread(lab: &Lab, lengths: &str, busy: &str) -> (String, String) {
    let mut receiver = lab.play(&lab.right, "lanes", &[("BUSY", busy)]);
    let mode = receiver.expect("ready");
    lab.play(&lab.left, "spread", &[("LENGTHS", lengths)]).expect("done");
    let said = receiver.finish();
    eprintln!("{mode}\n{said}");
    (mode, said)
}

#[test]
fn every_queue_has_its_lane_and_no_datagram_comes_twice() {
    let Some(lab) = Lab::with_queues("mq", 4) else { return };
    let (mode, said) = spread(&lab, "700", "0");
    assert!(mode.contains("(native XDP, copy mode"), "{mode}");
    let all = 2 * SPREAD;
    assert!(said.contains(&format!("seen {all} twice 0 dropped 0 redirected {all}")), "{said}");
    let lanes = said.lines().find_map(|line| line.strip_prefix("lanes ")).unwrap();
    let counts: Vec<u32> =
        lanes.trim_matches(['[', ']']).split(", ").map(|count| count.parse().unwrap()).collect();
    assert!(counts.len() == 4 && counts.iter().all(|&count| count > 0), "{lanes}");
}

#[test]
fn packets_longer_than_a_frame_come_whole_by_the_ring() {
    let Some(lab) = Lab::build("ju") else { return };
    lab.exec(&lab.left, &["ip", "link", "set", "left", "mtu", "9000"]);
    lab.exec(&lab.right, &["ip", "link", "set", "right", "mtu", "9000"]);
    let (mode, said) = spread(&lab, "100 3798 3799 4096 8952", "0");
    assert!(mode.contains("jumbo packets in several frames"), "{mode}");
    let all = 2 * SPREAD;
    assert!(said.contains(&format!("seen {all} twice 0 dropped 0 redirected {all}")), "{said}");
}

#[test]
fn busy_polling_is_accepted_and_receives() {
    let Some(lab) = Lab::build("bp") else { return };
    let (mode, said) = spread(&lab, "700", "1");
    assert!(mode.contains("busy polling (20 us, 64 packets)"), "{mode}");
    assert!(said.contains(&format!("seen {} twice 0 dropped 0", 2 * SPREAD)), "{said}");
}

#[test]
fn packets_leave_by_the_device_of_their_next_hop() {
    let Some(lab) = Lab::build("eg") else { return };
    lab.join("left2", "right2", 1);
    lab.configure(&lab.left, "left2", 1);
    lab.exec(&lab.left, &["ip", "addr", "add", "10.78.0.1/24", "dev", "left2"]);
    lab.exec(&lab.right, &["ethtool", "-K", "right2", "tx", "off"]);
    lab.exec(&lab.right, &["ip", "link", "set", "right2", "up"]);
    let expected = (2 * PHASE).to_string();
    let port = SLAVE_PORT.to_string();
    let arguments = [("BACKEND", "sockets"), ("PORT", &*port), ("EXPECT", &expected), ("ANY", "1")];
    let mut receiver = lab.play(&lab.left, "receive", &arguments);
    receiver.expect("ready");
    let (mac, mac2) = (lab.mac(&lab.left, "left"), lab.mac(&lab.left, "left2"));
    let mut sender = lab.play(&lab.right, "leave", &[("MAC", &mac), ("MAC2", &mac2)]);
    let mode = sender.expect("ready");
    assert!(mode.contains("sends by right2 too"), "{mode}");
    sender.expect("done");
    let seen = receiver.finish();
    for to in ["10.77.0.1", "10.78.0.1"] {
        let line = format!("192.0.2.7:4001 {to}:32055 1001 {PHASE}\n");
        assert!(seen.contains(&line), "{line} is not in\n{seen}");
    }
}

/// Messages that failed before, while and after the device is away; what arrived adds up with them.
fn failures(name: &str, gone: &str) -> Option<Vec<u32>> {
    let lab = Lab::build(name)?;
    let port = SLAVE_PORT.to_string();
    // More than can come, so that it waits until nothing does any more.
    let expected = (4 * PHASE).to_string();
    let arguments = [("BACKEND", "sockets"), ("PORT", &*port), ("EXPECT", &expected), ("ANY", "1")];
    let mut receiver = lab.play(&lab.left, "receive", &arguments);
    receiver.expect("ready");
    let mac = lab.mac(&lab.left, "left");
    let mut sender = lab.play(&lab.right, "fall", &[("MAC", &mac), ("GONE", gone)]);
    let mode = sender.expect("ready");
    let failed = sender.expect("failed");
    let seen = receiver.finish();
    eprintln!("{mode}\nfailed {failed}\n{seen}");
    let counts: Vec<u32> =
        failed.trim_matches(['[', ']']).split(", ").map(|count| count.parse().unwrap()).collect();
    let arrived = 3 * PHASE - counts.iter().sum::<u32>();
    assert!(seen.contains(&format!("10.77.0.1:32055 1001 {arrived}\n")), "{seen}");
    Some(counts)
}

#[test]
fn what_a_device_that_goes_down_did_not_send_is_reported_and_the_rest_arrives() {
    let Some(failed) = failures("dn", "0") else { return };
    assert_eq!(failed, [0, PHASE, 0], "all while it was down, none before and after");
}

#[test]
fn a_device_that_is_removed_sends_no_more_and_wakes_nobody() {
    let Some(failed) = failures("rm", "1") else { return };
    assert_eq!(failed, [0, PHASE, PHASE], "all since it was removed");
}
