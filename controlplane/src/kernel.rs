//! Forwarding in the kernel, as the control plane sees it: rules of ports and sources, and counts.
//!
//! The XDP program forwards a source's datagrams whole. What it must not forward by itself is told
//! to it here: ports with copies go to user space, which alone can copy; behind a gate only sources
//! that were let in are forwarded, and those that were refused are dropped where they arrive.
//!
//! The list of sources can be long, and each entry is a system call: it is walked beside the RPC
//! thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use weir_dataplane::forward::ForwardHandles;
use weir_dataplane::gate::older;
use weir_dataplane::io::open;
use weir_dataplane::news::News;
use weir_ebpf::{Error, PortRule, SourceEntry, SourceKey, SourceRule, Sources, Verdict};

use crate::error;
use crate::fanout::beside_rpc;
use crate::slots::worker_gate;
use crate::status::{self, Source};
use crate::topology::{Gate, ProxyGroup};

/// Sources that the kernel's forwarding knows, at most.
pub const SOURCES_MAX: u32 = 131_072;

/// A source that is silent for so long is forgotten.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// The same while the table is nearly full.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(60);

/// What the kernel did by itself.
#[derive(Debug, Default)]
pub struct Seen {
    /// Datagrams forwarded to slaves.
    pub forwarded: u64,
    /// Datagrams dropped for their source.
    pub refused_source: u64,
    /// Datagrams dropped for their format.
    pub refused_format: u64,
    /// All verdicts that there were.
    pub verdicts: Vec<status::Verdict>,
}

/// What is to be done with the datagrams of a source.
#[derive(Clone, Debug, Default)]
struct Rules {
    gates: Vec<Gate>,
    assigned: HashMap<IpAddr, u16>,
}

impl Rules {
    fn gate(&self, port: u16) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.port == port)
    }

    fn of_port(&self, port: u16) -> PortRule {
        let Some(gate) = self.gate(port) else { return PortRule::FORWARD };
        let formats = worker_gate(gate).formats;
        // Only user space tells the older versions apart: where some are named, it takes all.
        let [_, formats_of_kernel] = formats.to_be_bytes();
        PortRule {
            forward: gate.copies.is_empty() && formats & older::ALL == 0,
            gated: gate.allow.is_some(),
            formats: formats_of_kernel,
        }
    }

    fn of_source(&self, key: SourceKey) -> SourceRule {
        let allow = self.gate(key.port).and_then(|gate| gate.allow.as_ref());
        if allow.is_some_and(|allow| !allow.iter().any(|prefix| prefix.contains(key.address))) {
            return SourceRule::Refused;
        }
        self.assigned.get(&key.address).map_or(SourceRule::ByTable, |&at| SourceRule::Assigned(at))
    }
}

/// The XDP program's tables.
pub struct Kernel {
    inner: RefCell<open::Kernel>,
    sources: Sources,
    listen: Vec<SocketAddr>,
    forwards: bool,
    rules: RefCell<Rules>,
    /// Sources that were put a round ago and have not been heard of since.
    unheard: RefCell<HashSet<SourceKey>>,
    full: Cell<bool>,
    failing: Cell<bool>,
}

impl Kernel {
    /// The opened program; `forward` is there where it forwards.
    pub fn new(
        inner: open::Kernel,
        listen: &[SocketAddr],
        forward: Option<&ForwardHandles>,
    ) -> Kernel {
        Kernel {
            sources: inner.sources.clone(),
            inner: RefCell::new(inner),
            listen: listen.to_vec(),
            forwards: forward.is_some(),
            rules: RefCell::default(),
            unheard: RefCell::default(),
            full: Cell::new(false),
            failing: Cell::new(false),
        }
    }

    /// Sets ports and assigned sources to a group's rules; what is known already follows with
    /// [`Kernel::review`].
    pub fn configure(
        &self,
        group: &ProxyGroup,
        listen: &[u16],
        slot: impl Fn(&str) -> Option<u16>,
    ) {
        if !self.forwards {
            return;
        }
        let assigned = group.assigned.iter();
        let assigned = assigned.filter_map(|(source, name)| Some((*source, slot(name)?)));
        let rules = Rules { gates: group.gates.clone(), assigned: assigned.collect() };
        let ports: Vec<_> = listen.iter().map(|&port| (port, rules.of_port(port))).collect();
        if let Err(error) = self.inner.borrow_mut().program.set_ports(&ports) {
            tracing::error!(%error, "the kernel does not take the ports' rules");
        }
        for &address in rules.assigned.keys() {
            for &port in listen {
                let key = SourceKey { address, port };
                self.put(key, rules.of_source(key));
            }
        }
        *self.rules.borrow_mut() = rules;
    }

    /// Brings the sources that are known to the rules that hold now.
    pub async fn review(&self) {
        if !self.forwards {
            return;
        }
        let (sources, rules) = (self.sources.clone(), self.rules.borrow().clone());
        let reviewed = beside_rpc(move || Ok(review(&sources, &rules))).await;
        if let Ok(Err(error)) = reviewed {
            tracing::error!(%error, "the kernel's sources cannot be brought to the new rules");
        }
    }

    /// What it has done.
    pub fn seen(&self) -> Seen {
        let Ok(verdicts) = self.inner.borrow().tallies.read() else { return Seen::default() };
        let told = Verdict::ALL.into_iter().filter(|&verdict| verdicts.get(verdict) > 0);
        let told = told.map(|verdict| status::Verdict {
            name: verdict.name().to_owned(),
            meaning: meaning(verdict).to_owned(),
            count: verdicts.get(verdict),
        });
        Seen {
            forwarded: verdicts.get(Verdict::Forwarded),
            refused_source: verdicts.get(Verdict::RefusedSource),
            refused_format: verdicts.get(Verdict::RefusedFormat),
            verdicts: told.collect(),
        }
    }

    /// The sources that it knows.
    pub async fn sources(&self, name: impl Fn(u16) -> Option<String>) -> Vec<Source> {
        if !self.forwards {
            return Vec::new();
        }
        let sources = self.sources.clone();
        let listed = beside_rpc(move || Ok(sources.list().unwrap_or_default())).await;
        let source = |entry: SourceEntry| Source {
            address: entry.key.address.to_string(),
            port: entry.key.port,
            rule: match entry.rule {
                SourceRule::ByTable => "by table".to_owned(),
                SourceRule::Assigned(slot) => {
                    let name = name(slot).unwrap_or_else(|| "a slave that is gone".to_owned());
                    format!("assigned to {name}")
                }
                SourceRule::Refused => "refused".to_owned(),
            },
            packets: entry.packets,
            bytes: entry.bytes,
        };
        listed.unwrap_or_default().into_iter().map(source).collect()
    }

    /// Datagrams forwarded to the slave in this slot.
    pub fn forwarded(&self, slot: u16) -> u64 {
        let read = self.inner.borrow().tallies.read();
        read.map_or(0, |verdicts| verdicts.slave(slot).packets)
    }

    /// Takes note of a source.
    pub fn hear(&self, news: &News) {
        let (News::Source { source, port } | News::Refused { source, port, .. }) = *news;
        if !self.forwards {
            return;
        }
        let key = SourceKey { address: source.ip(), port };
        let rule = self.rules.borrow().of_source(key);
        // Anybody can make up sources to be refused: they must leave room for the others.
        if rule != SourceRule::Refused || self.sources.len() < SOURCES_MAX / 2 {
            self.put(key, rule);
        }
    }

    fn put(&self, key: SourceKey, rule: SourceRule) {
        match self.sources.put(key, rule) {
            Ok(()) => {}
            Err(Error::Full { .. }) => {
                if !self.full.replace(true) {
                    tracing::warn!(
                        most = SOURCES_MAX,
                        "the kernel's table of sources is full: further ones are not listed"
                    );
                }
            }
            Err(error) => tracing::debug!(source = %key.address, %error, "a source is not listed"),
        }
    }

    /// Sets the addresses that it takes datagrams for to those that this host bears now.
    pub fn refresh(&self) {
        match self.inner.borrow_mut().refresh_addresses(&self.listen) {
            Ok(()) => self.failing.set(false),
            Err(error) => {
                if !self.failing.replace(true) {
                    tracing::error!(%error, "the kernel does not take this host's addresses");
                }
            }
        }
    }

    /// Forgets sources that have long been silent; assigned ones stay.
    pub async fn forget_idle(&self) {
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return };
        if !self.forwards {
            return;
        }
        let (sources, now) = (self.sources.clone(), Duration::from(now));
        let scarce = sources.len() > SOURCES_MAX / 10 * 9;
        let idle = if scarce { IDLE_WHEN_FULL } else { IDLE };
        let unheard = self.unheard.take();
        let forgotten = beside_rpc(move || Ok(forget(&sources, now, idle, &unheard))).await;
        if let Ok(Ok((forgotten, unheard))) = forgotten {
            self.unheard.replace(unheard);
            if forgotten > 0 {
                self.full.set(false);
            }
        }
    }
}

/// Puts every known source anew whose rule has changed.
fn review(sources: &Sources, rules: &Rules) -> Result<(), Error> {
    for entry in sources.list()? {
        let rule = rules.of_source(entry.key);
        if rule != entry.rule {
            sources.put(entry.key, rule)?;
        }
    }
    Ok(())
}

/// Removes the silent ones; how many there were, and which have not been heard of since they were
/// put. Of these, such as stood in `unheard` a round ago go too: whoever sends from an address once
/// must not keep a place.
fn forget(
    sources: &Sources,
    now: Duration,
    idle: Duration,
    unheard: &HashSet<SourceKey>,
) -> Result<(u32, HashSet<SourceKey>), Error> {
    let (mut forgotten, mut still) = (0, HashSet::new());
    for entry in sources.list()? {
        if matches!(entry.rule, SourceRule::Assigned(_)) {
            continue;
        }
        if is_idle(&entry, now, idle, unheard) {
            forgotten += u32::from(sources.remove(entry.key)?);
        } else if entry.last_seen_ns == 0 {
            still.insert(entry.key);
        }
    }
    Ok((forgotten, still))
}

fn is_idle(
    entry: &SourceEntry,
    now: Duration,
    idle: Duration,
    unheard: &HashSet<SourceKey>,
) -> bool {
    match entry.last_seen_ns {
        0 => unheard.contains(&entry.key),
        last => now.saturating_sub(Duration::from_nanos(last)) > idle,
    }
}

/// One line for the person who sees the counter rise.
const fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forwarded => "forwarded to their slave in the kernel",
        Verdict::RefusedSource => "dropped: the gate lets their source in nowhere",
        Verdict::RefusedFormat => "dropped: their port takes no such format",
        Verdict::Redirected => "to the queue's AF_XDP socket",
        Verdict::SocketNoSlave => "to the socket: no slave for their source",
        Verdict::SocketUnresolved => "to the socket: the way to their slave is not known",
        Verdict::SocketMtu => "to the socket: too long for the way to their slave",
        Verdict::SocketGate => "to the socket: their source is not let in yet",
        Verdict::SocketHeaders => "to the socket: headers that cannot be rewritten in place",
        Verdict::PassedQueue => "to the system: their queue has no AF_XDP socket",
        Verdict::PassedPort => "to the system: UDP to ports that nobody listens on here",
        Verdict::PassedAddress => "to the system: another host's address",
        Verdict::PassedFragment => "to the system: fragments, to be put together",
        Verdict::PassedOther => "to the system: no UDP",
        Verdict::PassedTruncated => "to the system: headers cut short or wrong",
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        error::Error::Backend { backend: "XDP", reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{CopySource, CopyTo, Format};

    fn gate(port: u16) -> Gate {
        Gate { port, allow: None, formats: None, copies: Vec::new(), log_refused: 0 }
    }

    #[test]
    fn a_port_with_copies_goes_to_user_space_and_a_gated_one_waits_for_its_sources() {
        let copy =
            CopyTo { to: "10.0.0.9:9995".parse().unwrap(), source: CopySource::Proxy, mtu: 1500 };
        let rules = Rules {
            gates: vec![
                Gate { copies: vec![copy], ..gate(1) },
                Gate {
                    allow: Some(vec!["10.0.0.0/8".parse().unwrap()]),
                    formats: Some(vec![Format::Ipfix]),
                    ..gate(2)
                },
            ],
            assigned: HashMap::from([([10, 0, 0, 1].into(), 3)]),
        };
        assert!(!rules.of_port(1).forward);
        assert_eq!(rules.of_port(2), PortRule { forward: true, gated: true, formats: 4 });
        let formats = Some(vec![Format::Ipfix, Format::Netflow7]);
        let older = Rules { gates: vec![Gate { formats, ..gate(2) }], ..Rules::default() };
        assert!(!older.of_port(2).forward, "the kernel does not know version 7");
        assert_eq!(rules.of_port(3), PortRule::FORWARD);
        let source =
            |address: [u8; 4], port| rules.of_source(SourceKey { address: address.into(), port });
        assert_eq!(source([192, 0, 2, 1], 2), SourceRule::Refused);
        assert_eq!(source([192, 0, 2, 1], 3), SourceRule::ByTable);
        assert_eq!(source([10, 0, 0, 1], 2), SourceRule::Assigned(3));
    }

    #[test]
    fn a_source_that_is_silent_or_came_only_once_loses_its_place() {
        let key = SourceKey { address: [192, 0, 2, 1].into(), port: 2055 };
        let entry = |last: Duration| SourceEntry {
            key,
            rule: SourceRule::ByTable,
            packets: 0,
            bytes: 0,
            last_seen_ns: u64::try_from(last.as_nanos()).unwrap(),
        };
        let now = Duration::from_secs(10_000);
        let (fresh, known) = (HashSet::new(), HashSet::from([key]));
        assert!(!is_idle(&entry(now - IDLE), now, IDLE, &fresh));
        assert!(is_idle(&entry(now - IDLE - Duration::from_secs(1)), now, IDLE, &fresh));
        assert!(!is_idle(&entry(Duration::ZERO), now, IDLE, &fresh));
        assert!(is_idle(&entry(Duration::ZERO), now, IDLE, &known));
    }
}
