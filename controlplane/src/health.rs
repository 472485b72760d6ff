//! A slave's health: whether its proxy may deal it records, by every sign that there is.
//!
//! A slave is healthy when no sign speaks against it: its control connection (weir's own slaves),
//! its next hop (`neighbour`), its ports (`probe`, external slaves). The workers are told of every
//! change; whoever comes back is greeted, so that it hears the live templates before any record.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_dataplane::Timestamp;

/// What can speak against a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Its control connection.
    Control,
    /// The next hop towards one of its addresses.
    NextHop(IpAddr),
    /// Its UDP ports.
    Ports,
}

/// What the workers must be told after a sign has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It may get records, and must hear the live templates first.
    Back,
    /// It may not.
    Away,
}

/// The health of one slave, and what `weir status` shows of it.
#[derive(Debug)]
pub struct Health {
    name: String,
    against: RefCell<BTreeMap<Sign, String>>,
    changed_ms: Cell<u64>,
    losses: Cell<u64>,
}

impl Health {
    /// A slave of weir's own is away until its control connection stands; an external one is healthy
    /// until something speaks against it.
    pub fn new(name: &str, external: bool) -> Self {
        let waits = (!external).then(|| (Sign::Control, "not attached yet".to_owned()));
        Health {
            name: name.to_owned(),
            against: RefCell::new(waits.into_iter().collect()),
            changed_ms: Cell::new(Timestamp::now().0),
            losses: Cell::new(0),
        }
    }

    /// Whether the slave may get records.
    pub fn is_healthy(&self) -> bool {
        self.against.borrow().is_empty()
    }

    /// Why not; empty when it may.
    pub fn reason(&self) -> String {
        self.against.borrow().values().next().cloned().unwrap_or_default()
    }

    /// Since when, ms since 1970.
    pub fn changed_ms(&self) -> u64 {
        self.changed_ms.get()
    }

    /// How often it went away.
    pub fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Notes what a sign says now: nothing, or what speaks against the slave.
    pub fn note(&self, sign: Sign, against: Option<String>) -> Option<Told> {
        let before = (self.is_healthy(), self.reason());
        match against {
            Some(reason) => self.against.borrow_mut().insert(sign, reason),
            None => self.against.borrow_mut().remove(&sign),
        };
        let now = (self.is_healthy(), self.reason());
        if before == now {
            return None;
        }
        if now.0 {
            tracing::info!(slave = %self.name, "slave healthy: it gets records");
        } else {
            tracing::warn!(slave = %self.name, reason = %now.1, "slave away: it gets no records");
        }
        if before.0 == now.0 {
            return None;
        }
        self.changed_ms.set(Timestamp::now().0);
        if now.0 {
            return Some(Told::Back);
        }
        self.losses.set(self.losses.get() + 1);
        Some(Told::Away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(reason: &str) -> Option<String> {
        Some(reason.to_owned())
    }

    #[test]
    fn one_sign_against_a_slave_is_enough_and_all_must_be_gone() {
        let health = Health::new("s1", true);
        assert!(health.is_healthy());
        let hop = Sign::NextHop([10, 0, 0, 7].into());
        assert_eq!(health.note(Sign::Ports, against("refused")), Some(Told::Away));
        assert_eq!(health.note(hop, against("does not answer ARP")), None);
        assert_eq!(health.note(Sign::Ports, None), None);
        assert_eq!(health.reason(), "does not answer ARP");
        assert_eq!(health.note(hop, None), Some(Told::Back));
        assert_eq!((health.losses(), health.reason().as_str()), (1, ""));
    }

    #[test]
    fn an_own_slave_waits_for_its_control_connection() {
        let health = Health::new("s1", false);
        assert!(!health.is_healthy());
        assert_eq!(health.note(Sign::Control, None), Some(Told::Back));
        assert_eq!(health.losses(), 0);
    }
}
