//! Exporters' addresses, each with its share of what is there for all.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::budget::Budget;
use crate::list::List;

/// One exporter's address, while it has sessions.
#[derive(Debug)]
pub(super) struct Source {
    address: IpAddr,
    /// Its sessions that have not proved themselves, the least recently seen first.
    pub(super) on_probation: List,
    /// Its established sessions, in no order.
    pub(super) established: List,
    /// What it may use for templates.
    pub(super) templates: Arc<Budget>,
    /// What it may use for options data.
    pub(super) options: Arc<Budget>,
}

impl Source {
    pub(super) fn sessions(&self) -> usize {
        self.on_probation.len() + self.established.len()
    }
}

/// The addresses that have sessions; never more than there are sessions.
#[derive(Debug)]
pub(super) struct Sources {
    template_bytes: usize,
    option_bytes: usize,
    by_address: HashMap<IpAddr, u32>,
    places: Vec<Source>,
    free: Vec<u32>,
}

/// Bytes of memory for each address at most: its place, its budgets, its part of the map.
pub(super) const MEMORY: usize = size_of::<Source>()
    + 2 * crate::budget::heap(3 * size_of::<usize>())
    + 2 * size_of::<u32>()
    + 3 * (size_of::<(IpAddr, u32)>() + 1);

impl Sources {
    /// No addresses; each that comes may use so much memory for templates and for options data.
    pub(super) fn new(template_bytes: usize, option_bytes: usize, capacity: usize) -> Self {
        Sources {
            template_bytes,
            option_bytes,
            by_address: HashMap::with_capacity(capacity),
            places: Vec::with_capacity(capacity),
            free: Vec::new(),
        }
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<u32> {
        self.by_address.get(&address).copied()
    }

    /// The address's place, a new one if it has none; its sessions are the caller's to add.
    pub(super) fn enter(&mut self, address: IpAddr) -> u32 {
        if let Some(place) = self.find(address) {
            return place;
        }
        let source = Source {
            address,
            on_probation: List::EMPTY,
            established: List::EMPTY,
            templates: Budget::new(self.template_bytes),
            options: Budget::new(self.option_bytes),
        };
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        if place as usize == self.places.len() {
            self.places.push(source);
        } else {
            self.places[place as usize] = source;
        }
        self.by_address.insert(address, place);
        place
    }

    /// Forgets an address that has no session any more.
    pub(super) fn leave_if_empty(&mut self, place: u32) {
        let source = &self.places[place as usize];
        if source.sessions() == 0 {
            self.by_address.remove(&source.address);
            self.free.push(place);
        }
    }

    pub(super) fn get(&self, place: u32) -> &Source {
        &self.places[place as usize]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut Source {
        &mut self.places[place as usize]
    }
}
