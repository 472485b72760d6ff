//! Peers that mean harm, or are broken: each loses its connection, nobody else notices.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use capnp_rpc::rpc_capnp::message;
use common::{Unit, address, start_slave, topology_text, weir};
use weir_controlplane::error::Error;
use weir_controlplane::service::control::{ControlClient, ControlService, Identity};
use weir_controlplane::service::query::{Answered, Answers, QueryClient, QueryService};
use weir_controlplane::service::{CHUNK_BYTES, Limits, Listener, ServiceCounters};
use weir_controlplane::status::UnitStatus;
use weir_controlplane::unit::on_rpc_thread;
use weir_store::query::{Question, View};

const PORTS: [u16; 2] = [weir_rpc::CONTROL_PORT, weir_rpc::QUERY_PORT];

fn slave(folder: &tempfile::TempDir) -> Unit {
    let addresses = [(); 4].map(|()| address());
    let topology = folder.path().join("weir.toml");
    std::fs::write(&topology, topology_text(addresses)).unwrap();
    start_slave(&topology, folder.path(), 0, addresses[2])
}

fn connect(unit: &Unit, port: u16) -> TcpStream {
    let stream = TcpStream::connect((unit.address, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream
}

/// Whether the peer closes the connection before the stream's read timeout.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

fn assert_well(unit: &mut Unit) {
    assert!(unit.is_running());
    let output = weir(&["status", "-M", &unit.address.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn framed(build: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut words = capnp::message::Builder::new_default();
    build(words.init_root());
    capnp::serialize::write_message_to_words(&words)
}

fn bootstrap(question: u32) -> Vec<u8> {
    framed(|message| message.init_bootstrap().set_question_id(question))
}

/// A call of `Query.ping` on what the bootstrap question 0 promises.
fn ping_call(question: u32) -> Vec<u8> {
    /// The id of the interface in `query.capnp`.
    const QUERY: u64 = <weir_rpc::query_capnp::query::Client as capnp::traits::HasTypeId>::TYPE_ID;
    framed(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.set_interface_id(QUERY);
        call.set_method_id(2);
        call.reborrow().init_target().init_promised_answer().set_question_id(0);
        call.init_params();
    })
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut unit = slave(&folder);
    let mut seed = 1_u64;
    let mut garbage = vec![0; 4096];
    for byte in &mut garbage {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (seed >> 56) as u8;
    }
    for port in PORTS {
        for bytes in [&garbage[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64]] {
            let mut stream = connect(&unit, port);
            let _ = stream.write_all(bytes);
            assert!(is_closed(&mut stream), "port {port}: {:?}", &bytes[..8]);
            assert_well(&mut unit);
        }
    }
}

#[test]
fn a_header_that_announces_60_mib_is_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut unit = slave(&folder);
    let before = unit.resident();
    let words = (60_u32 << 20) / 8;
    let header = [0_u32.to_le_bytes(), words.to_le_bytes()].concat();
    let mut streams: Vec<_> = PORTS.iter().cycle().take(40).map(|&p| connect(&unit, p)).collect();
    for stream in &mut streams {
        stream.write_all(&header).unwrap();
    }
    for stream in &mut streams {
        assert!(is_closed(stream));
    }
    let grown = unit.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    assert_well(&mut unit);
}

#[test]
fn a_peer_that_never_reads_is_not_listened_to_and_then_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut unit = slave(&folder);
    let before = unit.resident();
    let mut stream = connect(&unit, weir_rpc::QUERY_PORT);
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(&bootstrap(0)).unwrap();
    let (began, mut question, mut paused) = (Instant::now(), 1, None);
    let closed = loop {
        match stream.write_all(&ping_call(question)) {
            Ok(()) => question += 1,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                paused.get_or_insert_with(|| began.elapsed());
                assert_well(&mut unit);
            }
            Err(_) => break began.elapsed(),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "still served after {question} calls");
    };
    let paused = paused.expect("calls are not read any more before the connection is closed");
    let grown = unit.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more after {question} calls");
    assert!(closed - paused < Duration::from_secs(20), "{closed:?} - {paused:?}");
    assert_well(&mut unit);
}

/// A control listener of this process with these limits.
async fn control(limits: Limits, counters: &Rc<ServiceCounters>) -> SocketAddr {
    let at = SocketAddr::new(address().into(), 0);
    let listener = Listener::bind("control", at, limits, counters.clone()).await.unwrap();
    let bound = listener.address().unwrap();
    let identity = Identity::of_this_process("s1", None);
    let reloader = weir_controlplane::reload::Reloads::listen().unwrap().reloader();
    tokio::task::spawn_local(listener.serve(ControlService::bootstrap(identity, reloader)));
    bound
}

fn short() -> Limits {
    Limits { idle: Duration::from_millis(300), ..Limits::CONTROL }
}

/// Runs a blocking peer beside the RPC thread.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn blocking(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn run(test: impl AsyncFnOnce()) {
    on_rpc_thread(async {
        test().await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn half_a_message_and_silence_are_not_waited_for() {
    run(async || {
        let counters = Rc::default();
        let at = control(short(), &counters).await;
        let closed = beside(move || {
            let mut half = blocking(at);
            half.write_all(&bootstrap(0)[..12]).unwrap();
            let mut silent = blocking(at);
            is_closed(&mut half) && is_closed(&mut silent)
        });
        assert!(closed.await);
        assert_eq!(counters.broken.load(Ordering::Relaxed), 2);
        assert_eq!(counters.connections.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn questions_without_end_are_cut_off_at_the_bound() {
    run(async || {
        let counters = Rc::default();
        let at = control(Limits::CONTROL, &counters).await;
        let closed = beside(move || {
            let mut stream = blocking(at);
            for question in 0..1_000 {
                if stream.write_all(&bootstrap(question)).is_err() {
                    break;
                }
            }
            is_closed(&mut stream)
        });
        assert!(closed.await);
        assert_eq!(counters.broken.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn connections_over_the_bound_are_refused_and_others_go_on() {
    run(async || {
        let counters = Rc::default();
        let at = control(Limits { connections: 2, ..Limits::CONTROL }, &counters).await;
        let identity = Identity::of_this_process("p1", None);
        let first = ControlClient::attach(at, &identity).await.unwrap();
        let second = ControlClient::attach(at, &identity).await.unwrap();
        let third = ControlClient::attach(at, &identity).await;
        assert!(matches!(third, Err(Error::Lost { .. })));
        assert_eq!(counters.refused.load(Ordering::Relaxed), 1);
        first.ping(Duration::from_secs(1)).await.unwrap();
        drop(second);
        tokio::time::sleep(Duration::from_millis(100)).await;
        ControlClient::attach(at, &identity).await.unwrap();
    });
}

#[test]
fn a_lease_is_renewed_as_often_as_one_likes() {
    run(async || {
        let counters = Rc::default();
        let at = control(Limits::CONTROL, &counters).await;
        let identity = Identity::of_this_process("p1", None);
        let client = ControlClient::attach(at, &identity).await.unwrap();
        for _ in 0..1_000 {
            client.ping(Duration::from_secs(1)).await.unwrap();
        }
        assert_eq!(counters.broken.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_quiet_connection_that_is_pinged_outlives_the_window_of_silence() {
    run(async || {
        let counters = Rc::default();
        let limits = short();
        let at = control(limits, &counters).await;
        let identity = Identity::of_this_process("p1", None);
        let client = ControlClient::attach(at, &identity).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < 4 * limits.idle {
            client.ping(Duration::from_secs(1)).await.unwrap();
            tokio::time::sleep(limits.idle / 10).await;
        }
        assert_eq!(counters.broken.load(Ordering::Relaxed), 0);
    });
}

/// A unit whose answer has this many bytes.
struct Talkative(usize);

impl Answers for Talkative {
    async fn ask(&self, _: Question, _: Duration) -> Result<Answered, Error> {
        let partial = (0..self.0).map(|at| at as u8).collect();
        Ok(Answered { partial, ..Answered::default() })
    }

    async fn status(&self, _: Duration) -> UnitStatus {
        UnitStatus::default()
    }
}

#[test]
fn an_answer_larger_than_a_message_comes_in_chunks_and_whole() {
    run(async || {
        for length in [0, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES / 2] {
            let at = SocketAddr::new(address().into(), 0);
            let listener = Listener::bind("query", at, Limits::QUERY, Rc::default()).await.unwrap();
            let at = listener.address().unwrap();
            let unit = Rc::new(Talkative(length));
            tokio::task::spawn_local(listener.serve(QueryService::bootstrap(unit)));
            let client = QueryClient::connect(at).await.unwrap();
            let view = View::Flows { limit: 1 };
            let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
            let answered = client.ask(&question, Duration::from_secs(10)).await.unwrap();
            assert_eq!(answered.partial.len(), length);
            assert!((0..length).all(|at| answered.partial[at] == at as u8));
        }
    });
}

#[test]
fn a_unit_that_accepts_and_says_nothing_costs_its_deadline() {
    run(async || {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = silent.local_addr().unwrap();
        let client = QueryClient::connect(at).await.unwrap();
        let began = Instant::now();
        let status = client.status(Duration::from_millis(300)).await;
        assert!(matches!(status, Err(Error::Deadline { .. })), "{status:?}");
        assert!(began.elapsed() < Duration::from_secs(1));
        let view = View::Flows { limit: 1 };
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let began = Instant::now();
        let asked = client.ask(&question, Duration::from_secs(60)).await;
        assert!(matches!(asked, Err(Error::Deadline { .. })), "{asked:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}
