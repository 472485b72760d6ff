//! Debian's nfcapd, sfcapd and nfdump: the collectors whose sums weir is held against.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_controlplane::lab::{Error, Network, Process, Site, tool, units::Sums, wait_for};

/// nfdump's collector of NetFlow and IPFIX.
const NFCAPD: &str = "nfcapd";
/// Its collector of sFlow.
const SFCAPD: &str = "sfcapd";

/// A running nfcapd or sfcapd that keeps a folder for each source address.
#[derive(Debug)]
pub struct Nfcapd {
    process: Process,
    folder: PathBuf,
    port: u16,
}

/// What it stored of one exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Flows, packets and bytes as nfdump sums them.
    pub sums: Sums,
    /// Sequence errors that it reports.
    pub sequence_errors: u64,
}

impl Nfcapd {
    /// Starts it at a site on one address, and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(
        name: &str,
        site: &Site,
        address: IpAddr,
        port: u16,
        folder: &Path,
    ) -> Result<Nfcapd, Error> {
        Nfcapd::start_program(NFCAPD, name, site, address, port, folder)
    }

    fn start_program(
        program: &str,
        name: &str,
        site: &Site,
        address: IpAddr,
        port: u16,
        folder: &Path,
    ) -> Result<Nfcapd, Error> {
        let stored = folder.join(format!("{name}.flows"));
        std::fs::create_dir_all(&stored)
            .map_err(|reason| Error::File { path: stored.display().to_string(), reason })?;
        let mut command = site.command(program);
        command.arg(if address.is_ipv6() { "-6" } else { "-4" });
        command.arg("-M").arg(&stored);
        // A slot longer than any test, and a buffer that no burst of one fills.
        command.args(["-t", "86400", "-B", "16000000"]);
        command.args(["-b", &address.to_string(), "-p", &port.to_string()]);
        let process = Process::start(name, &mut command, folder)?;
        let mut nfcapd = Nfcapd { process, folder: stored, port };
        wait_for("nfcapd to listen", 20, || match nfcapd.process.is_alive() {
            true => Ok(nfcapd.queued().map(drop)),
            false => Err(nfcapd.process.failed("ended before it listened".into())),
        })?;
        Ok(nfcapd)
    }

    /// One for each IP version at each of these sites.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_all(
        network: &Network,
        sites: &[&str],
        port: u16,
        folder: &Path,
    ) -> Result<Vec<Nfcapd>, Error> {
        Nfcapd::start_programs(NFCAPD, network, sites, port, folder)
    }

    /// As [`Nfcapd::start_all`], of sfcapd.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_all_sflow(
        network: &Network,
        sites: &[&str],
        port: u16,
        folder: &Path,
    ) -> Result<Vec<Nfcapd>, Error> {
        Nfcapd::start_programs(SFCAPD, network, sites, port, folder)
    }

    fn start_programs(
        program: &str,
        network: &Network,
        sites: &[&str],
        port: u16,
        folder: &Path,
    ) -> Result<Vec<Nfcapd>, Error> {
        let mut all = Vec::new();
        for name in sites {
            let site = network.site(name);
            for (version, address) in ["4", "6"].into_iter().zip(addresses(site)) {
                let name = format!("{program}-{name}-{version}");
                all.push(Nfcapd::start_program(program, &name, site, address, port, folder)?);
            }
        }
        Ok(all)
    }

    /// Ends it once it has read all that waits; returns what it stored by exporter.
    ///
    /// # Errors
    /// When it does not end, or nfdump cannot read what it wrote.
    pub fn finish(mut self) -> Result<BTreeMap<IpAddr, Stored>, Error> {
        wait_for("nfcapd to read what waits", 20, || Ok((self.queued() == Some(0)).then_some(())))?;
        self.end()?;
        let said = self.process.output() + &self.process.log();
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(exporter) = exporter(&name) else { continue };
            let sums = nfdump(&entry.path())?;
            all.insert(exporter, Stored { sums, sequence_errors: sequence_errors(&said, &name) });
        }
        Ok(all)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.output() + &self.process.log()
    }

    /// Ends it. A signal that comes just before it waits for the next packet is lost on it, so it is
    /// told until it has heard.
    fn end(&mut self) -> Result<(), Error> {
        let mut last = Ok(());
        for _ in 0..30 {
            self.process.signal("TERM")?;
            last = self.process.wait_end(1).map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Bytes that wait in its socket; `None` when it has none.
    fn queued(&self) -> Option<u64> {
        ["udp", "udp6"].iter().find_map(|table| {
            let path = format!("/proc/{}/net/{table}", self.process.id());
            let text = std::fs::read_to_string(path).ok()?;
            queued_at(&text, self.port)
        })
    }
}

/// A site's address of each IP version.
fn addresses(site: &Site) -> [IpAddr; 2] {
    let v6 = site.v6.expect("a site in a namespace has an IPv6 address");
    [IpAddr::V4(site.v4), IpAddr::V6(v6)]
}

/// Where exporters of each IP version send to at a site.
pub fn targets(site: &Site, port: u16) -> [String; 2] {
    addresses(site).map(|ip| SocketAddr::new(ip, port).to_string())
}

/// Bytes in the receive queue of the socket at `port`, from a table like `/proc/net/udp`.
pub(crate) fn queued_at(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        local.ends_with(&format!(":{port:04X}")).then_some(())?;
        let queues = fields.nth(2)?;
        u64::from_str_radix(queues.split(':').nth(1)?, 16).ok()
    })
}

/// The address in the name of a source's folder: dots and colons are written as dashes.
pub(crate) fn exporter(folder: &str) -> Option<IpAddr> {
    folder.replace('-', ".").parse().or_else(|_| folder.replace('-', ":").parse()).ok()
}

/// The sums over a folder.
fn nfdump(folder: &Path) -> Result<Sums, Error> {
    let mut command = Command::new("nfdump");
    command.arg("-R").arg(folder).args(["-N", "-n", "1"]);
    let said = tool::run(&mut command)?;
    let sum = |name: &str| summary(&said, name);
    match (sum("total flows"), sum("total packets"), sum("total bytes")) {
        (Some(flows), Some(packets), Some(bytes)) => Ok(Sums { flows, packets, bytes }),
        // Without a single flow there is no summary.
        _ => Ok(Sums::default()),
    }
}

/// A number of nfdump's last lines: `Summary: total flows: 12, total bytes: 34, …`.
fn summary(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.starts_with("Summary:"))?;
    let (_, rest) = line.split_once(&format!("{name}: "))?;
    rest.split(',').next()?.trim().parse().ok()
}

/// Sequence errors that nfcapd tells of a source when it ends a slot.
fn sequence_errors(said: &str, ident: &str) -> u64 {
    let of_source = |line: &&str| line.contains(&format!("Ident: '{ident}'"));
    let errors = said.lines().filter(of_source).filter_map(|line| {
        let (_, rest) = line.split_once("Sequence Errors: ")?;
        rest.split(',').next()?.trim().parse::<u64>().ok()
    });
    errors.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_folder_is_an_address() {
        assert_eq!(exporter("10-77-1-2"), Some("10.77.1.2".parse().unwrap()));
        assert_eq!(exporter("fd77--1-2"), Some("fd77::1:2".parse().unwrap()));
        assert_eq!(exporter("nfcapd.current"), None);
    }

    #[test]
    fn the_summary_is_read_by_name() {
        let said = "Summary: total flows: 12, total bytes: 3456, total packets: 78, avg bps: 9\n";
        assert_eq!(summary(said, "total packets"), Some(78));
        assert_eq!(summary("No matching flows", "total flows"), None);
    }

    #[test]
    fn sequence_errors_of_all_slots_are_summed() {
        let said = "Ident: '10-0-0-1' Flows: 2, Packets: 4, Bytes: 9, Sequence Errors: 1, Bad Packets: 0\n\
                    Ident: '10-0-0-1' Flows: 0, Packets: 0, Bytes: 0, Sequence Errors: 2, Bad Packets: 0\n\
                    Ident: '10-0-0-12' Flows: 0, Packets: 0, Bytes: 0, Sequence Errors: 5, Bad Packets: 0\n";
        assert_eq!(sequence_errors(said, "10-0-0-1"), 3);
    }

    #[test]
    fn the_receive_queue_is_found_by_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr\n \
                     12: 0100007F:7D37 00000000:0000 07 00000000:00000300 00:00000000 00000000\n";
        assert_eq!(queued_at(table, 32_055), Some(0x300));
        assert_eq!(queued_at(table, 2_055), None);
    }
}
