//! The topology file as it is written: tables of TOML, whose words still have their places.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::gate::{CopySource, CopyTo, Format, Gate, Prefix};
use super::{
    DEFAULT_LISTEN, DEFAULT_MTU, Distribution, ProxyGroup, Role, Sampling, SourceGroup,
    StreamSettings, TlsFiles, Topology, Unit,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) unit: Vec<UnitEntry>,
    #[serde(default)]
    pub(super) proxy_group: Vec<ProxyGroupEntry>,
    #[serde(default)]
    pub(super) source_group: Vec<SourceGroupEntry>,
    #[serde(default)]
    pub(super) sampling: Vec<SamplingEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitEntry {
    pub(super) name: Spanned<String>,
    pub(super) role: Role,
    pub(super) address: Spanned<IpAddr>,
    pub(super) address6: Option<Spanned<Ipv6Addr>>,
    #[serde(default)]
    pub(super) external: bool,
    pub(super) mtu: Option<Spanned<u16>>,
    pub(super) weight: Option<Spanned<u16>>,
    pub(super) drain: Option<Spanned<bool>>,
    pub(super) probe: Option<Spanned<bool>>,
    pub(super) keep_one_in: Option<Spanned<u32>>,
}

impl UnitEntry {
    pub(super) fn has_v4(&self) -> bool {
        self.address.get_ref().is_ipv4()
    }

    pub(super) fn has_v6(&self) -> bool {
        self.address.get_ref().is_ipv6() || self.address6.is_some()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyGroupEntry {
    pub(super) name: Spanned<String>,
    pub(super) proxy: Spanned<String>,
    pub(super) slaves: Spanned<Vec<Spanned<String>>>,
    pub(super) listen: Option<Spanned<Vec<Spanned<u16>>>>,
    #[serde(default)]
    pub(super) port: Vec<PortEntry>,
    pub(super) stream: Option<StreamEntry>,
    #[serde(default)]
    pub(super) distribution: Distribution,
    #[serde(default)]
    pub(super) assign: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl ProxyGroupEntry {
    /// The listening UDP ports: those of `listen` and of the gates that are none of connections
    /// alone, or the usual one.
    pub(super) fn ports(&self) -> Vec<u16> {
        let listed = self.listen.iter().flat_map(|listen| listen.get_ref());
        let streams = self.stream_ports();
        let gates = self.port.iter().map(|gate| &gate.port);
        let gates = gates.filter(|port| !streams.contains(port.get_ref()));
        let mut ports: Vec<u16> = listed.chain(gates).map(|port| *port.get_ref()).collect();
        if ports.is_empty() {
            ports.push(DEFAULT_LISTEN);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl ProxyGroupEntry {
    /// The listening TCP ports.
    pub(super) fn stream_ports(&self) -> Vec<u16> {
        let ports = self.stream.iter().flat_map(|stream| stream.tcp.iter().chain(&stream.tls));
        ports.map(|port| *port.get_ref()).collect()
    }
}

/// `[proxy_group.stream]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamEntry {
    #[serde(default)]
    pub(super) tcp: Vec<Spanned<u16>>,
    #[serde(default)]
    pub(super) tls: Vec<Spanned<u16>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) client_ca: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) client_names: Vec<Spanned<String>>,
    pub(super) connections: Option<Spanned<u16>>,
    pub(super) connections_per_source: Option<Spanned<u16>>,
    pub(super) idle_s: Option<Spanned<u32>>,
}

impl StreamEntry {
    fn into_settings(self, folder: &Path) -> StreamSettings {
        let ascending = |ports: Vec<Spanned<u16>>| {
            let mut ports: Vec<u16> = ports.into_iter().map(Spanned::into_inner).collect();
            ports.sort_unstable();
            ports
        };
        let files = self.certificate.zip(self.key).map(|(certificate, key)| TlsFiles {
            certificate: certificate.into_inner(),
            key: key.into_inner(),
            client_ca: self.client_ca.map(Spanned::into_inner),
            client_names: self.client_names.into_iter().map(Spanned::into_inner).collect(),
        });
        let defaults = StreamSettings::default();
        let bound = |given: Option<Spanned<u16>>, default| {
            given.map_or(default, |given| usize::from(given.into_inner()))
        };
        StreamSettings {
            tcp: ascending(self.tcp),
            tls: ascending(self.tls),
            files: files.map(|files| files.within(folder)),
            connections: bound(self.connections, defaults.connections),
            connections_per_source: bound(
                self.connections_per_source,
                defaults.connections_per_source,
            ),
            idle: self.idle_s.map(|idle| Duration::from_secs(idle.into_inner().into())),
        }
    }
}

/// `[[proxy_group.port]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortEntry {
    pub(super) port: Spanned<u16>,
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) formats: Option<Spanned<Vec<Format>>>,
    #[serde(default)]
    pub(super) copies: Vec<CopyEntry>,
    #[serde(default)]
    pub(super) log_refused: u32,
}

impl PortEntry {
    fn into_gate(self) -> Gate {
        let prefix = |text: &Spanned<String>| text.get_ref().parse::<Prefix>().ok();
        Gate {
            port: self.port.into_inner(),
            allow: self.allow.map(|list| list.get_ref().iter().filter_map(prefix).collect()),
            formats: self.formats.map(|list| {
                let mut formats = list.into_inner();
                formats.sort_unstable();
                formats.dedup();
                formats
            }),
            copies: self.copies.into_iter().map(CopyEntry::into_copy).collect(),
            log_refused: self.log_refused,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyEntry {
    pub(super) to: Spanned<SocketAddr>,
    #[serde(default)]
    pub(super) source: CopySource,
    pub(super) mtu: Option<Spanned<u16>>,
}

impl CopyEntry {
    fn into_copy(self) -> CopyTo {
        CopyTo {
            to: self.to.into_inner(),
            source: self.source,
            mtu: self.mtu.map_or(DEFAULT_MTU, Spanned::into_inner),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceGroupEntry {
    pub(super) name: Spanned<String>,
    pub(super) proxy_groups: Spanned<Vec<Spanned<String>>>,
    pub(super) primary: Option<Spanned<String>>,
}

/// `[[sampling]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SamplingEntry {
    pub(super) source: Spanned<String>,
    pub(super) interface: Option<u32>,
    pub(super) rate: Spanned<u32>,
}

impl SamplingEntry {
    fn into_sampling(self) -> Option<Sampling> {
        let source = self.source.get_ref().parse().ok()?;
        Some(Sampling { source, interface: self.interface, rate: self.rate.into_inner() })
    }
}

impl File {
    /// As a topology whose file is in this folder.
    pub(super) fn into_topology(self, folder: &Path) -> Topology {
        let units = self.unit.into_iter().map(|entry| Unit {
            name: entry.name.into_inner(),
            role: entry.role,
            address: entry.address.into_inner(),
            address6: entry.address6.map(Spanned::into_inner),
            external: entry.external,
            mtu: entry.mtu.map_or(DEFAULT_MTU, Spanned::into_inner),
            weight: entry.weight.map_or(1, Spanned::into_inner),
            drain: entry.drain.is_some_and(Spanned::into_inner),
            probe: entry.probe.is_none_or(Spanned::into_inner),
            keep_one_in: entry.keep_one_in.map_or(1, Spanned::into_inner),
        });
        let proxy_groups = self.proxy_group.into_iter().map(|entry| {
            let listen = entry.ports();
            let mut gates: Vec<Gate> = entry.port.into_iter().map(PortEntry::into_gate).collect();
            gates.sort_by_key(|gate| gate.port);
            let assigned = entry.assign.into_iter().filter_map(|(source, slave)| {
                let source: IpAddr = source.get_ref().parse().ok()?;
                Some((source.to_canonical(), slave.into_inner()))
            });
            ProxyGroup {
                name: entry.name.into_inner(),
                proxy: entry.proxy.into_inner(),
                slaves: plain(entry.slaves),
                listen,
                stream: entry.stream.map(|stream| stream.into_settings(folder)),
                gates,
                distribution: entry.distribution,
                assigned: assigned.collect(),
            }
        });
        let source_groups = self.source_group.into_iter().map(|entry| {
            let mut proxy_groups = plain(entry.proxy_groups);
            if let Some(primary) = entry.primary {
                // Stable: the others keep the order of the file.
                proxy_groups.sort_by_key(|name| name != primary.get_ref());
            }
            SourceGroup { name: entry.name.into_inner(), proxy_groups }
        });
        Topology {
            units: units.collect(),
            proxy_groups: proxy_groups.collect(),
            source_groups: source_groups.collect(),
            samplings: self.sampling.into_iter().filter_map(SamplingEntry::into_sampling).collect(),
        }
    }
}

fn plain<T>(list: Spanned<Vec<Spanned<T>>>) -> Vec<T> {
    list.into_inner().into_iter().map(Spanned::into_inner).collect()
}
