//! What a worker tells the control plane without being asked: bounded, and never waited for.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::{Counters, Discard};

/// Something that the control plane may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A source that was not known before.
    Source {
        /// The exporter's address and port.
        source: SocketAddr,
        /// The listening port.
        port: u16,
    },
    /// One of the datagrams that a gate has refused.
    Refused {
        /// Who sent it.
        source: SocketAddr,
        /// The listening port.
        port: u16,
        /// Why.
        reason: Discard,
    },
}

/// The way of news out of a worker. What finds the channel full is counted and lost.
#[derive(Clone, Debug)]
pub(crate) struct Herald {
    to: Sender<News>,
    counters: Arc<Counters>,
}

impl Herald {
    pub(crate) fn new(to: Sender<News>, counters: Arc<Counters>) -> Self {
        Herald { to, counters }
    }

    pub(crate) fn tell(&self, news: News) {
        if self.to.try_send(news).is_err() {
            self.counters.news_lost.add(1);
        }
    }
}
