//! What a collector keeps beside its sessions and rows: which records are kept, and what options data
//! tells of other sessions and of names.

use std::sync::Arc;

use super::header::Header;
use crate::budget::Budget;
use crate::names::Names;
use crate::sampling::{Configured, Noted, Overrides, Rates};
use crate::told::{Scope, Told};
use crate::valve::Valve;
use crate::{Counters, Timestamp};

/// What is configured of sampling, for a collector that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Rates that go before those that exporters tell.
    pub overrides: Overrides,
    /// Of so many flow records one is kept; 0 and 1 keep all.
    pub keep_one_in: u32,
}

/// Memory of what all sessions' exporters say of sampling, bytes.
const RATES_BYTES: usize = 16 << 20;
/// Rates of other observation domains that one message may tell; a line card each.
const ELSEWHERE_MAX: usize = 256;

/// What a collector keeps beside its sessions and rows.
#[derive(Debug)]
pub(super) struct Aside {
    /// Which flow records are kept.
    pub(super) valve: Valve,
    /// What exporters call things.
    pub(super) names: Names,
    /// Sampling rates that a message has told of other observation domains.
    pub(super) elsewhere: Vec<(u32, Scope, u32)>,
    /// What the rates of all sessions may take.
    budget: Arc<Budget>,
}

impl Default for Aside {
    fn default() -> Self {
        Aside {
            valve: Valve::default(),
            names: Names::default(),
            elsewhere: Vec::new(),
            budget: Budget::new(RATES_BYTES),
        }
    }
}

impl Aside {
    /// The rates of a session of which nothing was heard.
    pub(super) fn rates(&self, configured: Option<Arc<Configured>>) -> Rates {
        Rates::new(&self.budget, configured)
    }

    /// Takes note of what an options record tells, that came under this header; `rates` are its
    /// session's.
    pub(super) fn note(
        &mut self,
        told: &Told<'_>,
        rates: &mut Rates,
        header: &Header,
        counters: &Counters,
    ) {
        let domain = told.domain().unwrap_or(header.domain);
        let noted = match told.rate() {
            Some((scope, rate)) if domain == header.domain => rates.note(scope, rate),
            Some((scope, rate)) if self.elsewhere.len() < ELSEWHERE_MAX => {
                self.elsewhere.push((domain, scope, rate));
                Noted::Known
            }
            Some(_) => Noted::Full,
            None => Noted::Known,
        };
        counters.rates_refused.add(u64::from(noted == Noted::Full));
        let received = Timestamp(header.received_ms);
        for named in told.names() {
            let noted = self.names.note(header.exporter, &named, received);
            counters.names_lost.add(u64::from(!noted));
        }
    }
}
