//! Real exporters' connections on loopback, TCP and TLS, into a slave's real worker: what is framed
//! right, what ends a connection, what is bounded, and that every connection and message is counted.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use weir_controlplane::status::Streams as Status;
use weir_controlplane::streams::{End, Streams};
use weir_controlplane::topology::{Gate, StreamSettings, TlsFiles};
use weir_dataplane::Counters;
use weir_dataplane::collect::CollectorConfig;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::memory::MemoryReceive;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::worker::{SlaveMail, SlaveWorker, SlaveWorkerConfig, ToStore, WorkerHandle};
use weir_store::Batch;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A slave's worker behind listening ports.
struct Lab {
    streams: Streams,
    worker: Option<WorkerHandle<SlaveMail>>,
    counters: Arc<Counters>,
    batches: Receiver<Batch>,
    _files: tempfile::TempDir,
}

impl Lab {
    fn new(settings: &StreamSettings, gates: &[Gate], files: tempfile::TempDir) -> Lab {
        let (streams, outlet) = Streams::start(settings, &[LOCAL], gates).unwrap();
        let counters = Arc::new(Counters::default());
        let config = SlaveWorkerConfig {
            collector: CollectorConfig {
                sessions: SessionLimits::default(),
                hold: HoldLimits::default(),
                batch_rows: 4_096,
            },
            sampling: Arc::default(),
            hand_over_ms: 10,
            core: None,
        };
        let (rows, batches) = bounded(1_024);
        let to_store = ToStore { rows, names: bounded(16).0 };
        let receive = MemoryReceive::new().0;
        let worker = SlaveWorker::spawn(config, receive, to_store, Arc::clone(&counters)).unwrap();
        worker.mailbox.send(SlaveMail::Connections(outlet)).unwrap();
        Lab { streams, worker: Some(worker), counters, batches, _files: files }
    }

    fn tcp() -> Lab {
        Lab::with(StreamSettings::default())
    }

    fn with(settings: StreamSettings) -> Lab {
        Lab::new(&StreamSettings { tcp: vec![0], ..settings }, &[], tempfile::tempdir().unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.streams.addresses()[0].0
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// Waits until the status is as wished.
    fn wait(&self, what: &str, wish: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            let status = self.streams.status();
            if wish(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "no {what}: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many connections have ended for this reason.
    fn ended(&self, end: End, times: u64) -> Status {
        self.wait(end.name(), |status| status.ended.get(end.name()) == Some(&times))
    }

    /// Stops all; every connection, message and record must be accounted for. Returns the rows.
    fn finish(mut self) -> usize {
        self.streams.stop();
        let worker = self.worker.take().unwrap();
        worker.mailbox.send(SlaveMail::Stop).unwrap();
        worker.join().unwrap();
        let status = self.streams.status();
        assert_eq!(status.open, 0);
        assert!(status.is_conserved(), "{status:?}");
        assert_eq!(status.messages, self.counters.datagrams_received.get());
        let rows: usize = self.batches.try_iter().map(|batch| batch.rows()).sum();
        assert_eq!(self.counters.records_decoded.get(), rows as u64);
        assert_eq!(self.counters.records_delivered.get(), rows as u64);
        rows
    }
}

/// An IPFIX message around these sets, for this domain.
fn message(domain: u32, sequence: u32, sets: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 10];
    message.extend((16 + sets.len() as u16).to_be_bytes());
    for word in [1_700_000_000, sequence, domain] {
        message.extend(word.to_be_bytes());
    }
    message.extend(sets);
    message
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut set = id.to_be_bytes().to_vec();
    set.extend((4 + body.len() as u16).to_be_bytes());
    set.extend(body);
    set
}

/// Template 256: the packets, in four bytes.
fn template() -> Vec<u8> {
    set(2, &[1, 0, 0, 1, 0, 2, 0, 4])
}

fn data(records: usize) -> Vec<u8> {
    set(256, &[0, 0, 0, 1].repeat(records))
}

/// Everything that a peer hears until the end of the connection.
fn until_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut heard).is_ok();
    assert!(heard.is_empty());
}

#[test]
fn several_connections_each_with_templates_of_its_own() {
    let lab = Lab::tcp();
    let mut connections: Vec<_> = (0..8).map(|_| lab.connect()).collect();
    for (n, stream) in connections.iter_mut().enumerate() {
        // The same domain and template id, and records of another length each.
        let length = 1 + n as u8;
        let bytes = [template_of(length), set(256, &vec![0; 40 * usize::from(length)])].concat();
        let message = message(7, 0, &bytes);
        // In pieces that part headers and sets.
        for piece in message.chunks(11 + n) {
            stream.write_all(piece).unwrap();
        }
    }
    let status = lab.wait("8 messages", |status| status.messages == 8);
    assert_eq!((status.open, status.connections.len()), (8, 8));
    assert!(status.connections.iter().all(|one| one.transport == "tcp" && one.messages == 1));
    drop(connections);
    lab.ended(End::Finished, 8);
    assert_eq!(lab.finish(), 8 * 40);
}

fn template_of(length: u8) -> Vec<u8> {
    set(2, &[1, 0, 0, 1, 0, 210, 0, length])
}

#[test]
fn the_longest_message_comes_whole() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &template())).unwrap();
    let mut long = message(1, 0, &data(16_378));
    long.extend([0; 3]);
    long[2..4].copy_from_slice(&[255, 255]);
    let set_length = (65_535u16 - 16).to_be_bytes();
    long[18..20].copy_from_slice(&set_length);
    assert_eq!(long.len(), 65_535);
    stream.write_all(&long).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    until_closed(&stream);
    let status = lab.ended(End::Finished, 1);
    assert_eq!(status.bytes, 24 + 4 + 65_535);
    assert_eq!(lab.finish(), 16_378);
}

#[test]
fn templates_end_with_their_connection() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &[template(), data(3)].concat())).unwrap();
    drop(stream);
    lab.ended(End::Finished, 1);
    let mut stream = lab.connect();
    stream.write_all(&message(1, 3, &data(5))).unwrap();
    drop(stream);
    lab.ended(End::Finished, 2);
    assert_eq!(lab.finish(), 3);
}

#[test]
fn what_is_no_ipfix_is_closed_at_once_and_the_port_goes_on() {
    let lab = Lab::tcp();
    let hello: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let nonsense: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0, 9, 0, 1, 0], hello, &[0, 10, 0, 15]];
    for (n, bytes) in (1..).zip(nonsense) {
        let mut stream = lab.connect();
        stream.write_all(bytes).unwrap();
        until_closed(&stream);
        lab.ended(End::NotIpfix, n);
    }
    let cut: usize = nonsense.iter().map(|bytes| bytes.len()).sum();
    assert_eq!(lab.streams.status().bytes_cut, cut as u64);
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &[template(), data(2)].concat())).unwrap();
    lab.wait("a message", |status| status.messages == 1);
    assert_eq!(lab.finish(), 2);
}

#[test]
fn a_connection_cut_in_a_message_loses_that_one_alone() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    let whole = message(1, 0, &[template(), data(2)].concat());
    stream.write_all(&[&whole[..], &whole[..20]].concat()).unwrap();
    drop(stream);
    let status = lab.ended(End::Cut, 1);
    assert_eq!((status.messages, status.bytes_cut), (1, 20));
    assert_eq!(lab.finish(), 2);
}

#[test]
fn an_exporter_of_malformed_messages_is_closed_after_a_few() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    let malformed = message(1, 0, &[1, 0, 255, 255]);
    while stream.write_all(&malformed).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = lab.ended(End::Malformed, 1);
    assert!((3..1_000).contains(&status.messages), "{}", status.messages);
    assert_eq!(lab.finish(), 0);
}

#[test]
fn domains_of_one_connection_are_bounded() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    for domain in 0..200 {
        if stream.write_all(&message(domain, 0, &template())).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    lab.ended(End::Domains, 1);
    lab.finish();
}

#[test]
fn connections_are_bounded_for_an_address_and_those_refused_are_closed() {
    let lab = Lab::with(StreamSettings { connections_per_source: 3, ..StreamSettings::default() });
    let connections: Vec<_> = (0..3).map(|_| lab.connect()).collect();
    lab.wait("3 connections", |status| status.open == 3);
    for n in 1..=5 {
        until_closed(&lab.connect());
        lab.ended(End::TooManyOfSource, n);
    }
    drop(connections);
    lab.ended(End::Finished, 3);
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &[template(), data(1)].concat())).unwrap();
    lab.wait("a message", |status| status.messages == 1);
    assert_eq!(lab.finish(), 1);
}

#[test]
fn a_gate_lets_in_whom_it_names() {
    let gate = |network: &str, port| Gate {
        port,
        allow: Some(vec![network.parse().unwrap()]),
        formats: None,
        copies: Vec::new(),
        log_refused: 0,
    };
    let lab = Lab::tcp();
    let port = lab.address().port();
    let settings = StreamSettings { tcp: vec![0], ..StreamSettings::default() };
    lab.streams.change(&settings, &[gate("192.0.2.0/24", port)]).unwrap();
    until_closed(&lab.connect());
    lab.ended(End::NotAllowed, 1);
    lab.streams.change(&settings, &[gate("127.0.0.0/8", port)]).unwrap();
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &[template(), data(1)].concat())).unwrap();
    lab.wait("a message", |status| status.messages == 1);
    assert_eq!(lab.finish(), 1);
}

#[test]
fn silence_ends_a_connection_where_it_is_bounded() {
    let idle = Some(Duration::from_millis(200));
    let lab = Lab::with(StreamSettings { idle, ..StreamSettings::default() });
    let stream = lab.connect();
    until_closed(&stream);
    lab.ended(End::Idle, 1);
    lab.finish();
}

#[test]
fn what_is_on_its_way_when_the_unit_stops_still_arrives() {
    let lab = Lab::tcp();
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &template())).unwrap();
    for sequence in 0..100 {
        stream.write_all(&message(1, sequence * 1_000, &data(1_000))).unwrap();
    }
    lab.wait("a message", |status| status.messages > 0);
    assert_eq!(lab.finish(), 100_000);
    until_closed(&stream);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = StreamSettings { tcp: vec![port], ..StreamSettings::default() };
    let error = Streams::start(&settings, &[LOCAL], &[]).err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port} for IPFIX over TCP")), "{error}");
}

/// An authority, and what it has signed.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a certificate for this name, and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    fn settings(&self, client_ca: bool, client_names: &[&str]) -> StreamSettings {
        let (certificate, key) = self.sign("localhost");
        StreamSettings {
            tls: vec![0],
            files: Some(TlsFiles {
                certificate,
                key,
                client_ca: client_ca.then(|| self.path("ca.pem")),
                client_names: client_names.iter().map(|&name| name.to_owned()).collect(),
            }),
            ..StreamSettings::default()
        }
    }

    /// A client that trusts this authority, with a certificate of this one's or none.
    fn client(&self, identity: Option<(&Authority, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((authority, name)) => {
                let (certificate, key) = authority.sign(name);
                let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

fn secure(lab: &Lab, client: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let session = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(session, lab.connect())
}

#[test]
fn messages_come_by_tls_and_a_renewed_certificate_needs_no_restart() {
    let authority = Authority::new();
    let settings = authority.settings(false, &[]);
    let lab = Lab::new(&settings, &[], tempfile::tempdir().unwrap());
    let client = authority.client(None);
    let bytes = message(1, 0, &[template(), data(400)].concat());
    let mut stream = secure(&lab, Arc::clone(&client));
    stream.write_all(&bytes).unwrap();
    let first = stream.conn.peer_certificates().unwrap()[0].clone();
    // Without TLS's own farewell: the messages are whole all the same.
    drop(stream);
    lab.ended(End::Finished, 1);
    authority.sign("localhost");
    lab.streams.change(&settings, &[]).unwrap();
    let mut stream = secure(&lab, client);
    stream.write_all(&bytes).unwrap();
    assert_ne!(stream.conn.peer_certificates().unwrap()[0], first);
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    drop(stream);
    lab.ended(End::Finished, 2);
    assert_eq!(lab.finish(), 800);
}

#[test]
fn exporters_must_show_a_certificate_of_the_authority_and_one_of_the_names() {
    let (authority, other) = (Authority::new(), Authority::new());
    let settings = authority.settings(true, &["r1.example.net", "r2.example.net"]);
    let lab = Lab::new(&settings, &[], tempfile::tempdir().unwrap());
    let strangers = [None, Some((&other, "r1.example.net"))];
    for (n, identity) in (1..).zip(strangers) {
        let mut stream = secure(&lab, authority.client(identity));
        // The client hears of the refusal after its own part is done (RFC 8446, Section 2).
        let _ = stream.write_all(&message(1, 0, &template())).is_ok();
        lab.ended(End::Handshake, n);
    }
    let mut stream = secure(&lab, authority.client(Some((&authority, "r3.example.net"))));
    let _ = stream.write_all(&message(1, 0, &template())).is_ok();
    lab.ended(End::NotNamed, 1);
    let mut stream = secure(&lab, authority.client(Some((&authority, "r2.example.net"))));
    stream.write_all(&message(1, 0, &[template(), data(3)].concat())).unwrap();
    let status = lab.wait("a message", |status| status.messages == 1);
    assert_eq!(status.connections[0].name, "r2.example.net");
    assert_eq!(status.connections[0].transport, "tls");
    drop(stream);
    assert_eq!(lab.finish(), 3);
}

#[test]
fn plain_text_at_the_tls_port_is_refused() {
    let authority = Authority::new();
    let lab = Lab::new(&authority.settings(false, &[]), &[], tempfile::tempdir().unwrap());
    let mut stream = lab.connect();
    stream.write_all(&message(1, 0, &template())).unwrap();
    lab.ended(End::Handshake, 1);
    assert_eq!(lab.finish(), 0);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_and_changes_nothing() {
    let authority = Authority::new();
    let good = authority.settings(false, &[]);
    let lab = Lab::new(&good, &[], tempfile::tempdir().unwrap());
    let files = good.files.clone().unwrap();
    let with = |files: TlsFiles| StreamSettings { files: Some(files), ..good.clone() };
    let other_key = authority.sign("other").1;
    let empty = authority.path("empty.pem");
    std::fs::write(&empty, "no PEM").unwrap();
    let bad = [
        (TlsFiles { certificate: authority.path("none.pem"), ..files.clone() }, "none.pem"),
        (TlsFiles { key: empty.clone(), ..files.clone() }, "empty.pem"),
        (TlsFiles { key: other_key, ..files.clone() }, "other.key"),
        (TlsFiles { client_ca: Some(empty), ..files.clone() }, "empty.pem"),
    ];
    for (files, named) in bad {
        let error = lab.streams.change(&with(files), &[]).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let mut stream = secure(&lab, authority.client(None));
    stream.write_all(&message(1, 0, &[template(), data(1)].concat())).unwrap();
    lab.wait("a message", |status| status.messages == 1);
    assert_eq!(lab.finish(), 1);
}
