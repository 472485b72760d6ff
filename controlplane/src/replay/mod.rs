//! Sends exporters' packets again: captures or generated ones, at a chosen rate, from chosen
//! addresses.
//!
//! What was sent is counted by weir's own Collecting Process, datagram by datagram, under the
//! address that each one left with: a collector that loses nothing must come to the same sums.
//! Deliberately not here: the captured timing. Rates are what one wants to choose.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::capture::{self, Capture, Skipped};
use crate::generate::{Generator, Totals};

mod pace;
mod sender;
mod sources;
mod tally;

pub use sources::{Given, Sources};

use pace::Pace;
use sender::Sender;
use tally::Tally;

/// What to send, from where, to where, how fast.
#[derive(Debug)]
pub struct Replay {
    /// The datagrams.
    pub load: Load,
    /// Whose addresses they bear.
    pub sources: Sources,
    /// Where they go: the first address of a datagram's own IP version.
    pub to: Vec<SocketAddr>,
    /// Datagrams a second; `None` = as fast as the system takes them.
    pub rate: Option<f64>,
    /// Largest IP packet on the way, bytes; larger ones leave in fragments.
    pub mtu: u16,
}

/// Datagrams to be sent.
#[derive(Debug)]
pub enum Load {
    /// Those of these files, one after another, so many times over.
    Captures {
        /// In order.
        files: Vec<PathBuf>,
        /// How often the whole is sent.
        times: u64,
    },
    /// Those of these exporters, which take turns.
    Generated(Vec<Generator>),
}

/// What stops a replay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// A capture without addresses, and no address given.
    #[error(
        "the capture does not say whose packets it holds: give an address with --source ADDRESS"
    )]
    NoSource,
    /// An exporter of the other IP version.
    #[error(
        "exporter {exporter} cannot send to {}: give an address of its IP version with a second --to",
        list(to)
    )]
    OtherVersion {
        /// The address that its packets bear.
        exporter: SocketAddr,
        /// All targets.
        to: Vec<SocketAddr>,
    },
    /// Sending from foreign addresses is not allowed.
    #[error(
        "cannot send from {exporter}: it is not an address of this host, and packets from others' \
         addresses need root or CAP_NET_RAW ({reason})"
    )]
    Raw {
        /// The first address that needed it.
        exporter: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// A socket.
    #[error("cannot send from {exporter} to {to}: {reason}")]
    Send {
        /// The address that the packet bore.
        exporter: SocketAddr,
        /// Where it should have gone.
        to: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" or ")
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Datagrams sent, and what weir's own collector makes of them.
    #[serde(flatten)]
    pub totals: Totals,
    /// Datagrams that the system refused to send; not among the sent.
    pub refused: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// By the address (and port) that the packets bore.
    pub exporters: BTreeMap<SocketAddr, Totals>,
    /// Why datagrams, sets or records of what was sent count for nothing.
    pub discarded: BTreeMap<String, u64>,
    /// Options data records, which are not flows.
    pub options: u64,
    /// Frames of the captures that are no UDP datagrams.
    pub skipped: Skipped,
}

/// Who sent a datagram in the first place; `None` where the capture does not say.
type Original = Option<SocketAddr>;

impl Replay {
    /// Sends everything. `progress` hears about once a second how many datagrams have been sent;
    /// when it says false the replay stops there.
    ///
    /// # Errors
    /// When a capture cannot be read, or an address cannot be sent from; a single datagram that the
    /// system refuses is counted.
    pub fn run(self, mut progress: impl FnMut(u64) -> bool) -> Result<Report, Error> {
        let mut way = Way {
            sender: Sender::new(self.mtu),
            sources: self.sources,
            to: self.to,
            tally: Tally::default(),
            pace: Pace::new(self.rate),
            reported: Instant::now(),
        };
        let mut skipped = Skipped::default();
        let began = Instant::now();
        match self.load {
            Load::Captures { files, times } => {
                let captures: Result<Vec<_>, _> =
                    files.iter().map(|file| Capture::read(file)).collect();
                let captures = captures?;
                captures.iter().for_each(|capture| skipped += capture.skipped);
                let all = (0..times).flat_map(|_| captures.iter().flat_map(|c| &c.datagrams));
                for datagram in all {
                    if !way.send(datagram.source, &datagram.payload, &mut progress)? {
                        break;
                    }
                }
            }
            Load::Generated(generators) => way.send_generated(generators, &mut progress)?,
        }
        way.sender.flush();
        let refused = way.sender.refused();
        Ok(Report {
            refused,
            seconds: began.elapsed().as_secs_f64(),
            skipped,
            ..way.tally.report()
        })
    }
}

/// The way of a datagram from the load to the network.
struct Way {
    sender: Sender,
    sources: Sources,
    to: Vec<SocketAddr>,
    tally: Tally,
    pace: Pace,
    reported: Instant,
}

impl Way {
    /// The generated exporters take turns until all are done.
    fn send_generated(
        &mut self,
        generators: Vec<Generator>,
        progress: &mut impl FnMut(u64) -> bool,
    ) -> Result<(), Error> {
        let mut waiting: Vec<_> = (1..).zip(generators).collect();
        while !waiting.is_empty() {
            let mut still = Vec::with_capacity(waiting.len());
            for (number, mut generator) in waiting {
                let Some(payload) = generator.packet() else { continue };
                if !self.send(Some(sources::generated(number)), &payload, progress)? {
                    return Ok(());
                }
                still.push((number, generator));
            }
            waiting = still;
        }
        Ok(())
    }

    /// Sends one datagram when it is due; false when the replay shall stop.
    fn send(
        &mut self,
        original: Original,
        payload: &[u8],
        progress: &mut impl FnMut(u64) -> bool,
    ) -> Result<bool, Error> {
        while let Some(pause) = self.pace.pause() {
            self.sender.flush();
            std::thread::sleep(pause);
        }
        let (source, to) = self.sender.prepare(original, &mut self.sources, &self.to)?;
        self.sender.send(source, to, payload)?;
        self.tally.count(source, to, payload);
        self.pace.sent();
        if self.reported.elapsed() >= Duration::from_secs(1) {
            self.reported = Instant::now();
            return Ok(progress(self.tally.datagrams()));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Dialect, Plan};
    use std::net::UdpSocket;

    fn generator(dialect: Dialect, flows: u64, seed: u64) -> Generator {
        Generator::new(Plan { dialect, flows, start_secs: 1_700_000_000, domain: 1, seed })
    }

    fn replay(load: Load, sources: Sources, to: SocketAddr) -> Report {
        let replay = Replay { load, sources, to: vec![to], rate: Some(5_000.0), mtu: 1_500 };
        replay.run(|_| true).unwrap()
    }

    /// A receiver that holds what a test sends.
    fn receiver() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    #[test]
    fn what_the_tally_counts_is_what_the_generator_knows() {
        let receiver = receiver();
        for dialect in [Dialect::V5, Dialect::V9, Dialect::Ipfix] {
            let mut known = generator(dialect, 1_000, 3);
            while known.packet().is_some() {}
            let load = Load::Generated(vec![generator(dialect, 1_000, 3)]);
            let report = replay(load, Sources::Own, receiver.local_addr().unwrap());
            assert_eq!(report.totals, known.totals(), "{dialect:?}");
            assert!(report.discarded.is_empty(), "{:?}", report.discarded);
        }
    }

    #[test]
    fn a_local_source_is_borne_by_the_packets() {
        let receiver = receiver();
        let given = Given { ip: "127.0.0.9".parse().unwrap(), port: Some(47_011) };
        let load = Load::Generated(vec![generator(Dialect::V5, 10, 1)]);
        let report = replay(load, Sources::mapped(vec![given]), receiver.local_addr().unwrap());
        let (_, from) = receiver.recv_from(&mut [0; 2_000]).unwrap();
        assert_eq!(from, "127.0.0.9:47011".parse().unwrap());
        assert_eq!(report.exporters.keys().collect::<Vec<_>>(), [&from]);
    }

    #[test]
    fn exporters_without_an_address_of_their_own_keep_apart_by_port() {
        let receiver = receiver();
        let load = Load::Generated((1..=2).map(|n| generator(Dialect::V5, 10, n)).collect());
        let report = replay(load, Sources::Own, receiver.local_addr().unwrap());
        assert_eq!(report.exporters.len(), 2);
        assert_eq!(report.totals.flows, 20);
    }

    #[test]
    fn an_exporter_of_the_other_ip_version_is_refused_in_words() {
        let sources =
            Sources::mapped(vec![Given { ip: "::1".parse().unwrap(), port: Some(4_000) }]);
        let load = Load::Generated(vec![generator(Dialect::V5, 10, 1)]);
        let to = vec!["127.0.0.1:9".parse().unwrap()];
        let replay = Replay { load, sources, to, rate: None, mtu: 1_500 };
        let error = replay.run(|_| true).unwrap_err().to_string();
        assert!(error.contains("[::1]:4000") && error.contains("--to"), "{error}");
    }

    #[test]
    fn a_replay_that_is_told_to_stop_stops() {
        let receiver = receiver();
        let load = Load::Generated(vec![generator(Dialect::V5, 1_000_000, 1)]);
        let to = vec![receiver.local_addr().unwrap()];
        let replay = Replay { load, sources: Sources::Own, to, rate: Some(50.0), mtu: 1_500 };
        let report = replay.run(|_| false).unwrap();
        assert!((1..1_000).contains(&report.totals.datagrams));
    }
}
