//! What a packet path says of itself beside its counters: threads, verdicts, delays, devices, sources.

use serde::{Deserialize, Serialize};

/// One thread of the packet path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// What it serves: `queue 0`, `sockets`.
    pub name: String,
    /// The processor core that it is pinned to.
    pub core: Option<u32>,
    /// Datagrams taken from the network.
    pub datagrams_received: u64,
    /// Datagrams that the system dropped before.
    pub datagrams_dropped: u64,
    /// Datagrams handed over to another worker, which counts them.
    pub handed_over: u64,
    /// Records decoded.
    pub records_decoded: u64,
    /// Messages to slaves.
    pub messages_sent: u64,
}

/// How often the XDP program did something with a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The counter's name.
    pub name: String,
    /// What it means, in a sentence.
    pub meaning: String,
    /// How often.
    pub count: u64,
}

/// The delay that a proxy adds to messages, from the burst that brought their first record to the
/// flush that sent them. Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Messages measured.
    pub messages: u64,
    /// Half of them took at most this.
    pub p50_ns: u64,
    /// 99 of 100 took at most this.
    pub p99_ns: u64,
    /// 999 of 1,000 took at most this.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What a network device itself lost since the unit started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Packets received and dropped by device or system, for want of room for one.
    pub rx_dropped: u64,
    /// Packets that the device had no room for.
    pub rx_missed: u64,
    /// Packets received with errors.
    pub rx_errors: u64,
    /// Packets that were not sent for want of room.
    pub tx_dropped: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

impl Device {
    /// Everything lost.
    pub fn lost(&self) -> u64 {
        self.rx_dropped + self.rx_missed + self.rx_errors + self.tx_dropped + self.tx_errors
    }
}

/// A source whose datagrams the kernel forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// The exporter's address.
    pub address: String,
    /// The listening port.
    pub port: u16,
    /// `by table`, `assigned to s1`, `refused`.
    pub rule: String,
    /// Datagrams.
    pub packets: u64,
    /// Their bytes, of UDP payload and headers.
    pub bytes: u64,
}
