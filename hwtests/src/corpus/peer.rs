//! Other people's collectors over the same traffic: Debian's nfdump, tshark and pmacct.
//!
//! Each reads the whole of it in one run and gives its flows by conversation. What a peer counts in
//! its own way is said here once, by [`Peer::of_ours`]; what it reads wrongly is the table's matter.

use std::collections::BTreeSet;
use std::path::Path;

use weir_controlplane::lab::tool;

use super::flows::Flows;
use super::traffic::Traffic;

mod nfdump;
mod pmacct;
mod tshark;

/// A collector that reads what weir reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// nfcapd and sfcapd, shown by nfdump.
    Nfdump,
    /// tshark's dissectors of NetFlow, IPFIX and sFlow.
    Tshark,
    /// nfacctd and sfacctd.
    Pmacct,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 3] = [Peer::Nfdump, Peer::Tshark, Peer::Pmacct];

    /// As the table of differences writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Peer::Nfdump => "nfdump",
            Peer::Tshark => "tshark",
            Peer::Pmacct => "pmacct",
        }
    }

    /// Whether its programs are installed.
    pub fn is_here(self) -> bool {
        let programs: &[&str] = match self {
            Peer::Nfdump => &["nfcapd", "sfcapd", "nfdump"],
            Peer::Tshark => &["tshark"],
            Peer::Pmacct => &["nfacctd", "sfacctd"],
        };
        programs.iter().all(|program| tool::exists(program))
    }

    /// What it makes of the traffic; its files stand in `folder`.
    ///
    /// # Errors
    /// In words, when it cannot be run or does not end.
    pub fn flows(self, traffic: &Traffic, folder: &Path) -> Result<Answer, String> {
        match self {
            Peer::Nfdump => nfdump::flows(traffic, folder),
            Peer::Tshark => tshark::flows(traffic, folder),
            Peer::Pmacct => pmacct::flows(traffic, folder),
        }
    }
}

/// What a peer makes of some traffic.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its flows, by conversation.
    pub flows: Vec<Flows>,
    /// Conversations that it cannot read at all.
    pub unread: BTreeSet<usize>,
}

impl Answer {
    fn of(traffic: &Traffic) -> Answer {
        Answer { flows: vec![Flows::default(); traffic.conversations()], unread: BTreeSet::new() }
    }
}

/// An error of any kind, in words.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A protocol by number, or by the name that the system has for it.
fn protocol(word: &str) -> Option<u8> {
    let of_system = || {
        let known = std::fs::read_to_string("/etc/protocols").ok()?;
        known.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (name, number) = (words.next()?, words.next()?);
            let is_it = name == word || words.any(|alias| alias == word);
            is_it.then(|| number.parse().ok()).flatten()
        })
    };
    word.parse().ok().or_else(of_system)
}
