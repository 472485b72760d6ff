//! One question to many units, and their partial answers into one.
//!
//! A unit that does not answer never makes a question fail: it is named in the coverage. Decoding,
//! merging and encoding are work of a processor, so they run beside the RPC thread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_store::query::{Limits, Partial, Plan, Question};

use crate::coverage::{Coverage, UnitAnswer};
use crate::error::Error;
use crate::service::query::{Answered, QueryLink};
use crate::status::UnitStatus;
use crate::topology::Unit;

/// The part of a deadline that a unit keeps for merging and answering, so that the units behind it
/// give up before it is given up itself.
fn for_units_behind(deadline: Duration) -> Duration {
    deadline.saturating_sub((deadline / 10).min(Duration::from_millis(500)))
}

/// A unit that can be asked.
pub struct Target {
    unit: Unit,
    link: QueryLink,
}

impl Target {
    /// The unit at its own address and this port.
    pub fn new(unit: &Unit, port: u16) -> Self {
        let link = QueryLink::new(SocketAddr::new(unit.address, port));
        Target { unit: unit.clone(), link }
    }

    /// The unit's name.
    pub fn name(&self) -> &str {
        &self.unit.name
    }

    /// Asks the unit. Where it does not answer, the answer is empty and names `behind`, the slaves
    /// whose flows are missing therefore, with the reason.
    pub async fn ask(&self, question: &Question, deadline: Duration, behind: &Behind) -> Answered {
        let began = Instant::now();
        match self.link.ask(question, for_units_behind(deadline)).await {
            Ok(mut answered) => {
                if let Behind::Itself { through } = behind {
                    for unit in &mut answered.coverage.units {
                        unit.through.clone_from(through);
                        unit.elapsed_ms = elapsed_ms(began);
                    }
                }
                answered
            }
            Err(error) => {
                tracing::warn!(unit = %self.unit.name, reason = %error.brief(), "did not answer a question");
                Answered {
                    partial: Vec::new(),
                    coverage: behind.missing(&self.unit.name, &error.brief(), began),
                }
            }
        }
    }

    /// The unit's status, or that it is down and why.
    pub async fn status(&self, deadline: Duration) -> UnitStatus {
        match self.link.status(for_units_behind(deadline)).await {
            Ok(status) => status,
            Err(error) => UnitStatus::down(&self.unit, error.brief()),
        }
    }
}

/// Whose flows are missing when a unit does not answer.
pub enum Behind {
    /// The unit's own: it is a slave.
    Itself {
        /// The proxy that asks it; empty at a master.
        through: String,
    },
    /// These slaves': it is their proxy.
    Slaves(Vec<String>),
}

impl Behind {
    fn missing(&self, unit: &str, reason: &str, began: Instant) -> Coverage {
        let answer = |name: &str, through: &str, reason: String| UnitAnswer {
            name: name.to_owned(),
            through: through.to_owned(),
            answered: false,
            reason,
            elapsed_ms: elapsed_ms(began),
        };
        let units = match self {
            Behind::Itself { through } => vec![answer(unit, through, reason.to_owned())],
            Behind::Slaves(slaves) => {
                let reason = format!("proxy {unit}: {reason}");
                slaves.iter().map(|slave| answer(slave, unit, reason.clone())).collect()
            }
        };
        Coverage { units }
    }
}

fn elapsed_ms(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX)
}

/// One answer of many, of the same question and of different flows.
///
/// # Errors
/// [`Error::Store`] when together they are too large; [`Error::Filter`].
pub async fn merge(question: Question, parts: Vec<Answered>) -> Result<Answered, Error> {
    beside_rpc(move || merge_now(&question, parts)).await
}

fn merge_now(question: &Question, parts: Vec<Answered>) -> Result<Answered, Error> {
    let plan = Plan::compile(question)?;
    let limits = Limits::default();
    let mut merged = Partial::empty(&plan);
    let mut coverage = Coverage::default();
    for mut part in parts {
        if !part.partial.is_empty() {
            match Partial::from_bytes(&part.partial, &plan) {
                Ok(partial) => merged.merge(partial, &limits)?,
                Err(error) => {
                    // Nothing of it counts, so none of its slaves answered.
                    for unit in part.coverage.units.iter_mut().filter(|unit| unit.answered) {
                        unit.answered = false;
                        unit.reason = error.to_string();
                    }
                }
            }
        }
        coverage.extend(part.coverage);
    }
    Ok(Answered { partial: merged.to_bytes()?, coverage })
}

/// Runs work of a processor or a disk beside the RPC thread.
///
/// # Errors
/// The work's own; or that it panicked.
pub async fn beside_rpc<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::Refused("the unit failed while it worked on the answer: see its log".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::query::View;

    fn question() -> Question {
        let view = View::Flows { limit: 10 };
        Question { filter: String::new(), from_ms: None, until_ms: None, view }
    }

    fn part(name: &str, partial: Vec<u8>) -> Answered {
        let unit = UnitAnswer {
            name: name.into(),
            through: String::new(),
            answered: true,
            reason: String::new(),
            elapsed_ms: 0,
        };
        Answered { partial, coverage: Coverage { units: vec![unit] } }
    }

    #[test]
    fn a_malformed_part_counts_as_not_answered() {
        let good = Partial::empty(&Plan::compile(&question()).unwrap()).to_bytes().unwrap();
        let merged =
            merge_now(&question(), vec![part("s1", good), part("s2", vec![7; 40])]).unwrap();
        let text = merged.coverage.to_string();
        assert!(text.starts_with("1 of 2 slaves answered (s2: "), "{text}");
    }

    #[test]
    fn a_silent_proxy_leaves_all_its_slaves_unanswered() {
        let behind = Behind::Slaves(vec!["s1".into(), "s2".into()]);
        let coverage = behind.missing("p1", "connection refused", Instant::now());
        assert_eq!(
            coverage.to_string(),
            "0 of 2 slaves answered (s1: proxy p1: connection refused; s2: proxy p1: connection refused)"
        );
    }

    #[test]
    fn units_behind_give_up_first() {
        assert_eq!(for_units_behind(Duration::from_secs(60)), Duration::from_millis(59_500));
        assert_eq!(for_units_behind(Duration::from_secs(1)), Duration::from_millis(900));
    }
}
