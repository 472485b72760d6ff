//! Expected decodes that captures come with, found beside them by their names, and compared field by
//! field.
//!
//! | name | origin | captures |
//! |---|---|---|
//! | `X-flow.json` | NetGauze | `X.pcap` |
//! | `output-flow-*.json` | pmacct | `traffic-*.pcap` there, above, or in the folder of the same name |
//! | `expected.out` | telegraf | the folder's `*.bin` |
//! | `X.out`, `X-*.out` | tcpdump | `X.pcap` |
//! | `netflow_spec.rb` | Logstash | the `*.dat` that it names |

use std::path::{Path, PathBuf};

use weir_dataplane::describe::{Content, Set};

use super::decoded::Decoded;
use super::findings::{Findings, Place};

mod logstash;
mod moment;
mod netgauze;
mod pmacct;
mod structures;
mod tcpdump;
mod telegraf;

/// Who made an expected decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// NetGauze's tests.
    NetGauze,
    /// pmacct's test framework.
    Pmacct,
    /// telegraf's test cases.
    Telegraf,
    /// tcpdump's tests.
    Tcpdump,
    /// The specification of Logstash's NetFlow codec.
    Logstash,
}

/// A file with an expected decode, and the captures that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its path from the corpus's folder.
    pub name: String,
    /// Who made it.
    pub origin: Origin,
    /// Of what; in the order in which they were sent.
    pub captures: Vec<PathBuf>,
    path: PathBuf,
}

impl Expected {
    /// Compares it with what weir makes of its captures.
    ///
    /// # Errors
    /// In words, when it cannot be read.
    pub fn compare(&self) -> Result<Findings, String> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let place = Place::of(&self.name);
        if self.origin == Origin::Logstash {
            let folder = self.path.parent().unwrap_or(&self.path);
            return Ok(logstash::compare(&text, folder, &place));
        }
        let ours = Decoded::of(&self.captures);
        if let Some((file, reason)) = ours.unread.first() {
            return Err(format!("{}: {reason}", file.display()));
        }
        Ok(match self.origin {
            Origin::NetGauze => netgauze::compare(&text, &ours.descriptions, &place),
            Origin::Pmacct => pmacct::compare(&text, &ours, &place),
            Origin::Telegraf => telegraf::compare(&text, &ours.descriptions, &place),
            Origin::Tcpdump | Origin::Logstash => {
                tcpdump::compare(&text, &ours.descriptions, &place)
            }
        })
    }
}

/// All expected decodes below a folder.
pub fn find(folder: &Path) -> Vec<Expected> {
    let files = super::folder::files(folder);
    let mut all = Vec::new();
    for path in &files {
        let Some((origin, captures)) = expectation(path, &files) else { continue };
        let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
        if !captures.is_empty() {
            all.push(Expected { name, origin, captures, path: path.clone() });
        }
    }
    all
}

/// Whether the file's name says that it is an expected decode, and of which of these files.
fn expectation(path: &Path, files: &[PathBuf]) -> Option<(Origin, Vec<PathBuf>)> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let beside = |stem: &str| {
        let pcaps = ["pcap", "pcapng", "pcap.gz"].map(|kind| folder.join(format!("{stem}.{kind}")));
        pcaps.into_iter().filter(|pcap| files.contains(pcap)).take(1).collect::<Vec<_>>()
    };
    if let Some(stem) = name.strip_suffix("-flow.json") {
        return Some((Origin::NetGauze, beside(stem)));
    }
    if name.starts_with("output-flow-") && name.ends_with(".json") {
        return Some((Origin::Pmacct, of_pmacct(folder, files)));
    }
    if name == "expected.out" {
        let is_payload = |file: &&PathBuf| {
            file.parent() == Some(folder) && file.extension() == Some("bin".as_ref())
        };
        return Some((Origin::Telegraf, files.iter().filter(is_payload).cloned().collect()));
    }
    if name == "netflow_spec.rb" {
        let is_payload = |file: &&PathBuf| {
            file.parent() == Some(folder) && file.extension() == Some("dat".as_ref())
        };
        return Some((Origin::Logstash, files.iter().filter(is_payload).cloned().collect()));
    }
    let stem = name.strip_suffix(".out")?;
    let captures = beside(stem);
    // Options of tcpdump stand behind the capture's name: `X-nv.out`.
    let captures = match captures.is_empty() {
        true => stem.rsplit_once('-').map(|(stem, _)| beside(stem)).unwrap_or_default(),
        false => captures,
    };
    Some((Origin::Tcpdump, captures))
}

/// The captures of one of pmacct's test cases: its own or its case's, or those of a folder of the
/// same name elsewhere.
fn of_pmacct(folder: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let is_traffic = |file: &&PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("traffic-") && name.ends_with(".pcap")
    };
    let of = |folder: &Path| {
        let own = files.iter().filter(is_traffic);
        own.filter(|file| file.parent() == Some(folder)).cloned().collect::<Vec<_>>()
    };
    let case = match folder.file_name().and_then(|name| name.to_str()) {
        Some(name) if name.starts_with("scenario-") => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let own = [of(folder), of(case)].into_iter().find(|found| !found.is_empty());
    let elsewhere = || {
        let is_same = |file: &&PathBuf| {
            file.parent().and_then(Path::file_name) == case.file_name() && is_traffic(file)
        };
        files.iter().filter(is_same).cloned().collect()
    };
    own.unwrap_or_else(elsewhere)
}

/// Whether a set holds options data.
fn is_options(set: &Set) -> bool {
    matches!(set.content, Content::Data { options: true, .. })
}
