//! How the packets behind flow records were sampled: one in how many.
//!
//! Exporters say it in options data, of everything or of a sampler, an interface or a template apart;
//! v5 in its header; sFlow in each sample; some in the flow record itself. Counters are stored as they
//! came, and the rate beside them, so that estimates can be had and nothing is lost.
//!
//! Which rate a record has, the first that is known of:
//! 1. that of the topology file for its interface, then for its exporter ([`Overrides`]);
//! 2. its own;
//! 3. that of its sampler, of its interface, of its template, of its session;
//! 4. that of its header.
//!
//! The rates of a session are looked up when options data changes them, and of a set of records, once
//! for all of them; record by record only where a session has samplers or interfaces of different
//! rates. What a session knows is bounded, and paid from a budget for all.

use std::ops::Range;
use std::sync::Arc;

use weir_store::Batch;

use crate::budget::{Budget, Purse, heap};
use crate::told::Scope;

mod overrides;

pub use overrides::{Configured, Override, Overrides};

/// Memory of the rates of one session, bytes.
const BYTES_PER_SESSION: usize = 256 << 10;

/// Whether a rate was taken note of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Now, or before.
    Known,
    /// There is no room for it.
    Full,
}

/// What a session's exporter has said of its sampling.
#[derive(Debug)]
pub struct Rates {
    /// Of everything that is not spoken of apart; 0 when nothing was said.
    all: u32,
    /// Most sessions have none.
    apart: Option<Box<Apart>>,
    /// Of the topology file.
    configured: Option<Arc<Configured>>,
    purse: Purse,
}

#[derive(Debug, Default)]
struct Apart {
    samplers: Table,
    interfaces: Table,
    templates: Table,
    /// Bytes taken of the purse.
    bytes: usize,
}

/// Rates by number, ascending.
#[derive(Debug, Default)]
struct Table(Vec<(u64, u32)>);

impl Table {
    /// Bytes of memory of an entry; the vector doubles, so that half of it may be empty.
    const ENTRY: usize = 2 * size_of::<(u64, u32)>();

    fn get(&self, id: u64) -> Option<u32> {
        let at = self.0.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(self.0[at].1)
    }

    /// Where the number's rate is to be written; `make_room` says whether a new entry may be made.
    fn set(&mut self, id: u64, rate: u32, make_room: impl FnOnce() -> bool) -> Noted {
        match self.0.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => self.0[at].1 = rate,
            Err(at) if make_room() => self.0.insert(at, (id, rate)),
            Err(_) => return Noted::Full,
        }
        Noted::Known
    }
}

impl Rates {
    /// Nothing is known yet; `all` is what the rates of all sessions may take.
    pub fn new(all: &Arc<Budget>, configured: Option<Arc<Configured>>) -> Self {
        let purse = Purse::new(Budget::new(BYTES_PER_SESSION), Arc::clone(all));
        Rates { all: 0, apart: None, configured, purse }
    }

    /// Takes what the topology file says of this session's exporter now.
    pub(crate) fn configure(&mut self, configured: Option<Arc<Configured>>) {
        self.configured = configured;
    }

    /// Takes note of a rate, in place of the one that was said of the same before.
    pub(crate) fn note(&mut self, scope: Scope, rate: u32) -> Noted {
        if scope == Scope::All {
            self.all = rate;
            return Noted::Known;
        }
        let purse = &self.purse;
        if self.apart.is_none() {
            let bytes = heap(size_of::<Apart>()) + 3 * heap(4 * size_of::<(u64, u32)>());
            if purse.take(bytes).is_err() {
                return Noted::Full;
            }
            self.apart = Some(Box::new(Apart { bytes, ..Apart::default() }));
        }
        let apart = self.apart.as_mut().expect("it was made where it was missing");
        let bytes = &mut apart.bytes;
        let make_room = || {
            let taken = purse.take(Table::ENTRY).is_ok();
            *bytes += if taken { Table::ENTRY } else { 0 };
            taken
        };
        match scope {
            Scope::Sampler(id) => apart.samplers.set(id, rate, make_room),
            Scope::Interface(index) => apart.interfaces.set(index.into(), rate, make_room),
            Scope::Template(id) => apart.templates.set(id.into(), rate, make_room),
            Scope::All => unreachable!("it was handled above"),
        }
    }

    /// The rate of a template's records that is said of no sampler and no interface.
    fn of_template(&self, template: u16, header: u32) -> u32 {
        let apart = self.apart.as_ref().and_then(|apart| apart.templates.get(template.into()));
        let said = apart.unwrap_or(self.all);
        if said == 0 { header } else { said }
    }

    /// Completes the rates of `rows`, which came under `template` and under a header that says
    /// `header`; 0 where either is nothing. The other columns are there as far as the records say
    /// something in them.
    #[inline]
    pub(crate) fn fill(&self, batch: &mut Batch, rows: Range<usize>, template: u16, header: u32) {
        let said = self.of_template(template, header);
        let apart = self
            .apart
            .as_deref()
            .is_some_and(|apart| !apart.samplers.0.is_empty() || !apart.interfaces.0.is_empty());
        let own = batch.sampling_rate.len() > rows.start;
        if self.configured.is_none() && !apart {
            if said == 0 && !own {
                return;
            }
            complete(&mut batch.sampling_rate, rows, |rate| if rate == 0 { said } else { rate });
            return;
        }
        self.fill_apart(batch, rows, said);
    }

    /// As [`Rates::fill`], where records may differ.
    fn fill_apart(&self, batch: &mut Batch, rows: Range<usize>, said: u32) {
        if let Some(rate) = self.configured.as_ref().and_then(|configured| configured.only()) {
            complete(&mut batch.sampling_rate, rows, |_| rate);
            return;
        }
        let begin = rows.start;
        batch.sampling_rate.resize(rows.end, 0);
        let (samplers, input) = (tail(&batch.sampler, begin), tail(&batch.input_interface, begin));
        let output = tail(&batch.output_interface, begin);
        let direction = tail(&batch.direction, begin);
        let mut last = None;
        for (row, cell) in batch.sampling_rate[rows].iter_mut().enumerate() {
            // Where the packets were seen: what leaves is sampled at its output.
            let seen = if at(direction, row) == EGRESS { output } else { input };
            let key = (at(samplers, row), at(seen, row), *cell);
            *cell = match last {
                Some((known, rate)) if known == key => rate,
                _ => self.rate_of(key, said),
            };
            last = Some((key, *cell));
        }
    }

    /// Of a record with this sampler, interface and rate of its own.
    fn rate_of(&self, (sampler, interface, own): (u64, u32, u32), said: u32) -> u32 {
        if let Some(rate) = self.configured.as_ref().and_then(|known| known.rate_at(interface)) {
            return rate;
        }
        if own != 0 {
            return own;
        }
        let apart = self.apart.as_deref();
        let of_sampler = apart.and_then(|apart| apart.samplers.get(sampler));
        of_sampler
            .or_else(|| apart?.interfaces.get(interface.into()))
            .filter(|&rate| rate != 0)
            .unwrap_or(said)
    }
}

/// IANA element 61, flowDirection.
const EGRESS: u8 = 1;

/// A column's values from a row on; none where it has none there.
fn tail<T>(column: &[T], from: usize) -> &[T] {
    column.get(from..).unwrap_or_default()
}

fn at<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}

fn complete(column: &mut Vec<u32>, rows: Range<usize>, each: impl Fn(u32) -> u32) {
    column.resize(rows.end, 0);
    column[rows].iter_mut().for_each(|rate| *rate = each(*rate));
}

impl Drop for Rates {
    fn drop(&mut self) {
        if let Some(apart) = self.apart.take() {
            self.purse.give_back(apart.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        Rates::new(&Budget::new(1 << 20), None)
    }

    /// The rates of records with these samplers and interfaces.
    fn filled(rates: &Rates, records: &[(u64, u32)], own: &[u32]) -> Vec<u32> {
        let mut batch = Batch::default();
        batch.sampler.extend(records.iter().map(|&(sampler, _)| sampler));
        batch.input_interface.extend(records.iter().map(|&(_, input)| input));
        batch.sampling_rate.extend(own);
        rates.fill(&mut batch, 0..records.len(), 256, 0);
        batch.sampling_rate
    }

    #[test]
    fn what_nobody_has_said_costs_no_column() {
        assert!(filled(&rates(), &[(0, 0); 3], &[]).is_empty());
        assert_eq!(filled(&rates(), &[(0, 0); 3], &[0, 5, 0]), [0, 5, 0]);
    }

    #[test]
    fn the_nearest_word_counts() {
        let mut rates = rates();
        for (scope, rate) in [
            (Scope::All, 10),
            (Scope::Interface(7), 20),
            (Scope::Sampler(3), 30),
            (Scope::Template(256), 40),
            (Scope::Template(257), 50),
        ] {
            assert_eq!(rates.note(scope, rate), Noted::Known);
        }
        let records = [(3, 7), (3, 0), (0, 7), (1, 1), (3, 7), (3, 7)];
        assert_eq!(filled(&rates, &records, &[]), [30, 30, 20, 40, 30, 30]);
        assert_eq!(filled(&rates, &records, &[0, 2, 2, 2, 2, 0]), [30, 2, 2, 2, 2, 30]);
        rates.note(Scope::Sampler(3), 31);
        assert_eq!(filled(&rates, &[(3, 7)], &[]), [31]);
        let mut batch = Batch::default();
        rates.fill(&mut batch, 0..1, 0, 99);
        assert_eq!(batch.sampling_rate, [10], "what options data says goes before the header");
    }

    #[test]
    fn a_header_speaks_for_records_of_which_nothing_else_is_said() {
        let mut batch = Batch::default();
        batch.bytes.extend([1, 2]);
        rates().fill(&mut batch, 0..2, 0, 100);
        rates().fill(&mut batch, 2..3, 0, 0);
        batch.bytes.push(3);
        rates().fill(&mut batch, 3..5, 0, 7);
        assert_eq!(batch.sampling_rate, [100, 100, 0, 7, 7]);
    }

    #[test]
    fn what_leaves_is_sampled_at_its_output() {
        let mut rates = rates();
        rates.note(Scope::Interface(1), 10);
        rates.note(Scope::Interface(2), 20);
        let mut batch = Batch::default();
        batch.input_interface.extend([1, 1, 9]);
        batch.output_interface.extend([2, 2, 2]);
        batch.direction.extend([0, EGRESS, 0]);
        rates.fill(&mut batch, 0..3, 256, 0);
        assert_eq!(batch.sampling_rate, [10, 20, 0]);
    }

    #[test]
    fn the_topology_file_goes_before_what_exporters_say() {
        let source = "192.0.2.1".parse().unwrap();
        let one = |interface, rate| Override { source, length: 32, interface, rate };
        let overrides = Overrides::new(&[one(None, 1000), one(Some(7), 70)]);
        let mut rates = Rates::new(&Budget::new(1 << 20), overrides.of(source));
        rates.note(Scope::All, 10);
        assert_eq!(filled(&rates, &[(0, 7), (0, 8)], &[5, 5]), [70, 1000]);
        let overrides = Overrides::new(&[one(Some(7), 70)]);
        rates.configure(overrides.of(source));
        assert_eq!(filled(&rates, &[(0, 7), (0, 8), (0, 8)], &[5, 5, 0]), [70, 5, 10]);
        rates.configure(Overrides::new(&[one(None, 1)]).of(source));
        assert_eq!(filled(&rates, &[(0, 7), (0, 8)], &[5, 5]), [1, 1]);
        rates.configure(None);
        assert_eq!(filled(&rates, &[(0, 7), (0, 8)], &[]), [10, 10]);
    }

    #[test]
    fn what_a_session_says_is_bounded_and_given_back() {
        let all = Budget::new(4 << 10);
        let mut rates = Rates::new(&all, None);
        let told = (0..10_000).filter(|&id| rates.note(Scope::Sampler(id), 5) == Noted::Known);
        let known = told.count();
        assert!(known > 50 && known < 200, "{known}");
        assert_eq!(rates.note(Scope::Sampler(0), 6), Noted::Known, "what is known may change");
        assert_eq!(rates.note(Scope::All, 6), Noted::Known);
        let mut second = Rates::new(&all, None);
        assert_eq!(second.note(Scope::Interface(1), 6), Noted::Full);
        drop(rates);
        assert_eq!(second.note(Scope::Interface(1), 6), Noted::Known);
        drop(second);
        assert_eq!(all.left(), 4 << 10);
    }
}
