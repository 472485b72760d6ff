//! A proxy and its slaves with a witness at each, at which exporters' frames are sent.
//!
//! What arrived is told record by record twice: by the slaves' stores, asked through the master, and
//! by tshark, which read what came to the slaves' devices.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use weir_controlplane::lab::units::{EXPORTERS, Group, MASTER, PROXY, Units};
use weir_controlplane::lab::{Answer, Cable, Error, Network, Site, wait_for};
use weir_controlplane::status::UnitStatus;

use crate::exporter::{Exporter, Flow};
use crate::frames::{self, Hop, Wrap};
use crate::witness::{Seen, Witness};
use crate::{must, weir};

/// What tells every record of [`crate::exporter`] from all others.
const STATISTIC: &str = "router,dstip/flows";

/// A stored flow: destination, packets, bytes.
pub type Stored = (IpAddr, u64, u64);

/// The exporters' end of the cable.
#[derive(Clone, Debug)]
pub struct Line(Site);

impl Line {
    /// Sends frames in order, so many a second, to the end.
    ///
    /// # Errors
    /// When one could not be sent.
    pub fn send(&self, frames: &[Vec<u8>], rate: u32) -> Result<(), Error> {
        frames::send(&self.0, &sender(), frames, rate)
    }
}

/// A running lab.
pub struct Stage {
    /// The units.
    pub units: Units,
    witnesses: Vec<(String, Witness)>,
    hop: Hop,
}

impl Stage {
    /// Starts a group; `cable` is the exporters' and the proxy's, `others` are further sites. There
    /// is a witness at each slave and at each further site.
    ///
    /// # Errors
    /// When something does not start.
    pub fn build(group: Group, cable: Cable, others: &[&str]) -> Result<Stage, Error> {
        let slaves = group.slaves.clone();
        let plain = Cable::default();
        let mut sites = vec![(EXPORTERS, cable), (PROXY, cable), (MASTER, plain)];
        sites.extend(slaves.iter().map(|name| (name.as_str(), plain)));
        sites.extend(others.iter().map(|&name| (name, plain)));
        let network = Network::wired(&sites)?;
        let units = Units::start(network, &weir(), group)?;
        let network = units.network();
        let hop = Hop::between(network.site(EXPORTERS), network.site(PROXY))?;
        let watched = slaves.iter().map(String::as_str).chain(others.iter().copied());
        let witnesses = watched
            .map(|name| {
                let witness = Witness::start(network.site(name), units.folder())?;
                Ok((name.to_owned(), witness))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Stage { units, witnesses, hop })
    }

    /// Where exporters of this IP version send to.
    ///
    /// # Panics
    /// Never: the lab's targets are addresses.
    pub fn target(&self, v6: bool) -> SocketAddr {
        must(self.units.target(v6).parse())
    }

    /// An exporter's address: that of this number, at a port of its own.
    pub fn exporter(&self, number: u8, v6: bool) -> SocketAddr {
        let address = self.units.network().exporter(u16::from(number), v6);
        SocketAddr::new(address, 40_000 + u16::from(number))
    }

    /// The frames of one message to the proxy's listening port.
    pub fn frames(&self, wrap: Wrap, exporter: &Exporter, message: &[u8]) -> Vec<Vec<u8>> {
        self.frames_to(self.target(exporter.at().is_ipv6()), wrap, exporter, message)
    }

    /// The frames of one message to the proxy's address and port `to`.
    pub fn frames_to(
        &self,
        to: SocketAddr,
        wrap: Wrap,
        exporter: &Exporter,
        message: &[u8],
    ) -> Vec<Vec<u8>> {
        // Different for the datagrams of one exporter, which is all that putting together needs.
        let identification = exporter.flows().len() as u16;
        self.hop.frames(wrap, exporter.at(), to, message, identification)
    }

    /// Sends frames in order, so many a second, to the end.
    ///
    /// # Errors
    /// When one could not be sent.
    pub fn send(&self, frames: &[Vec<u8>], rate: u32) -> Result<(), Error> {
        self.line().send(frames, rate)
    }

    /// The exporters' end of the cable, by which another thread can send meanwhile.
    pub fn line(&self) -> Line {
        Line(self.units.network().site(EXPORTERS).clone())
    }

    /// Waits until so many datagrams have gone the whole way, and until so many flows can be found,
    /// or for as long as a test can: what is missing then, the test will tell.
    ///
    /// # Errors
    /// When the datagrams do not settle.
    pub fn settle(&self, datagrams: usize, flows: usize) -> Result<UnitStatus, Error> {
        self.units.wait_settled(datagrams as u64)?;
        let stored = wait_for("the flows to be stored", 10, || {
            Ok((self.units.sums("any")?.flows >= flows as u64).then_some(()))
        });
        drop(stored);
        self.units.status()
    }

    /// What each witness saw, as messages to `port`; the witnesses are gone after it.
    ///
    /// # Errors
    /// When a recording cannot be read.
    pub fn seen(&mut self, port: u16) -> Result<BTreeMap<String, Seen>, Error> {
        let all = self.witnesses.drain(..);
        all.map(|(name, witness)| Ok((name, witness.finish(port)?))).collect()
    }

    /// Stored flows by exporter's address, sorted, as the master has them from all slaves.
    ///
    /// # Errors
    /// When the master does not answer.
    ///
    /// # Panics
    /// When a slave does not answer, or a row lacks what was asked for.
    pub fn stored(&self) -> Result<BTreeMap<IpAddr, Vec<Stored>>, Error> {
        self.stored_at(MASTER)
    }

    /// The same of one unit.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Panics
    /// As [`Stage::stored`].
    pub fn stored_at(&self, unit: &str) -> Result<BTreeMap<IpAddr, Vec<Stored>>, Error> {
        let address = self.units.network().site(unit).v4.to_string();
        let words = ["query", "-M", &address, "--json", "any", "-s", STATISTIC, "-n", "0"];
        let said = self.units.weir(MASTER, &words)?;
        let answer: Answer = serde_json::from_str(&said).map_err(|error| Error::Answer {
            command: words.join(" "),
            reason: error.to_string(),
        })?;
        assert_eq!(answer.coverage.asked(), answer.coverage.answered(), "all slaves answer");
        let mut all: BTreeMap<IpAddr, Vec<Stored>> = BTreeMap::new();
        for row in &answer.rows {
            let address = |column: &str| row.get(column)?.as_str()?.parse().ok();
            let number = |column: &str| row.get(column)?.as_u64();
            let flow = || {
                let exporter: IpAddr = address("exporter")?;
                let destination = address("destination_address")?;
                let flow = (destination, number("packets")?, number("bytes")?);
                Some((exporter, flow, number("flows")?))
            };
            let (exporter, flow, times) = flow().unwrap_or_else(|| panic!("no flow: {row:?}"));
            // A record that came twice is one row with doubled sums, and stands here twice.
            all.entry(exporter).or_default().extend((0..times).map(|_| flow));
        }
        all.values_mut().for_each(|flows| flows.sort_unstable());
        Ok(all)
    }
}

/// Flows of exporters as [`Stage::stored`] gives them.
pub fn sent<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> BTreeMap<IpAddr, Vec<Stored>> {
    let mut all: BTreeMap<IpAddr, Vec<Stored>> = BTreeMap::new();
    for flow in flows {
        let stored = (IpAddr::V4(flow.destination), flow.packets, flow.bytes);
        all.entry(flow.exporter.ip()).or_default().push(stored);
    }
    all.values_mut().for_each(|flows| flows.sort_unstable());
    all
}

/// The program of this package that writes frames; cargo builds it before the tests run.
fn sender() -> PathBuf {
    weir().with_file_name("send-frames")
}
