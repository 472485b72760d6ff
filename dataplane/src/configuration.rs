//! What a proxy's workers are told of its slaves and listening ports, and can be told anew while
//! they run.

use std::net::IpAddr;

use crate::encode::Path;
use crate::gate::Gate;

/// The most slaves that one proxy deals to.
pub const SLAVES_MAX: usize = weir_ebpf::SLAVES_MAX;

/// One slave of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlaveConfig {
    /// What its rank for a source is drawn from; the same for a slave on every proxy and run.
    pub identity: IpAddr,
    /// Where it is.
    pub path: Path,
    /// Its share, relative to the others'. A slave of weight 0 is drained: it gets no new records,
    /// but is still told templates.
    pub weight: u16,
}

impl SlaveConfig {
    /// Whether this is the same slave in other words: with another weight or MTU. One under another
    /// address has heard nothing yet.
    pub fn is_same(&self, other: &SlaveConfig) -> bool {
        let who = |slave: &SlaveConfig| (slave.identity, slave.path.v4, slave.path.v6);
        who(self) == who(other)
    }
}

/// Slaves and gates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// A slot for each slave, at most [`SLAVES_MAX`]; a slave keeps its slot while it lives, and
    /// what is beyond the bound is ignored.
    pub slaves: Vec<Option<SlaveConfig>>,
    /// The rules of listening ports.
    pub gates: Vec<Gate>,
    /// Flow source: sources that belong to a slot whatever the table says, while its slave is
    /// healthy.
    pub assigned: Vec<(IpAddr, u16)>,
}
