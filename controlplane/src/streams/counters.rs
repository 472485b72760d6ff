//! What connections of exporters come to: every one ends for exactly one reason, and every byte is
//! part of a whole message or is counted as cut.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! define_ends {
    ($($name:ident, $text:literal, $meaning:literal;)*) => {
        /// Every reason for which a connection can end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum End {
            $(#[doc = $meaning] $name,)*
        }

        impl End {
            /// All reasons, in the order of their index.
            pub const ALL: &[End] = &[$(End::$name),*];

            /// The counter's name, in `weir status` and `--json`.
            pub const fn name(self) -> &'static str {
                match self { $(End::$name => $text,)* }
            }

            /// One line for the person who sees the counter rise.
            pub const fn meaning(self) -> &'static str {
                match self { $(End::$name => $meaning,)* }
            }
        }
    };
}

define_ends! {
    Finished, "finished", "the exporter closed it between two messages";
    Cut, "cut", "the exporter closed it in the middle of a message";
    Broken, "broken", "the network or the exporter's system broke it, or it did not answer any more";
    Stalled, "stalled", "a message that had begun did not come whole in time";
    Idle, "idle", "nothing came for longer than the topology allows";
    NotIpfix, "not_ipfix", "it spoke something else than IPFIX";
    Malformed, "malformed", "the last few messages were malformed";
    Domains, "domains", "it named more observation domains than there is place for";
    GaveWay, "gave_way", "its templates had to give way, and only a new connection brings them again";
    Handshake, "handshake", "TLS could not be agreed on, or took too long";
    NotNamed, "not_named", "its certificate bears none of the names that the topology allows";
    NotAllowed, "source_not_allowed", "the listening port's gate does not let its address in";
    TooMany, "too_many", "too many connections were open";
    TooManyOfSource, "too_many_of_source", "too many connections of its address were open";
    Displaced, "displaced", "it had not sent a message yet when another one needed its place";
    Stopped, "stopped", "the unit stopped";
}

impl End {
    /// Whether somebody should look into it.
    pub const fn is_trouble(self) -> bool {
        !matches!(self, End::Finished | End::Stopped)
    }
}

/// The counters of all connections of a unit.
#[derive(Debug)]
pub(super) struct StreamCounters {
    /// Connections that the system has accepted.
    pub(super) accepted: AtomicU64,
    /// Whole messages handed to the packet path.
    pub(super) messages: AtomicU64,
    /// Bytes of these.
    pub(super) bytes: AtomicU64,
    /// Bytes that came and were no whole message.
    pub(super) bytes_cut: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
}

impl Default for StreamCounters {
    fn default() -> Self {
        StreamCounters {
            accepted: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_cut: AtomicU64::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl StreamCounters {
    /// Counts a connection that has ended.
    pub(super) fn end(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections have ended for this reason.
    pub(super) fn ended(&self, end: End) -> u64 {
        self.ended[end as usize].load(Ordering::Relaxed)
    }
}
