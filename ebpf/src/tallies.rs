//! The program's counters, summed over the cpus: `struct weir_tally`.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};

use crate::abi::SLAVES_MAX;
use crate::error::{Error, map_error};
use crate::load::take;

/// Where a frame went, and why: `enum weir_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// To its source's slave, in the kernel.
    Forwarded,
    /// Dropped: user space lets no datagram of its source in.
    RefusedSource,
    /// Dropped: its port does not take its format.
    RefusedFormat,
    /// To its queue's socket, as its port's rule says.
    Redirected,
    /// To the socket: the table has no slave for its source.
    SocketNoSlave,
    /// To the socket: no way to its slave is known, or it is just changing.
    SocketUnresolved,
    /// To the socket: its slave's path is too narrow.
    SocketMtu,
    /// To the socket: user space has yet to let its source in.
    SocketGate,
    /// To the socket: its headers cannot be rewritten in place (IPv4 options, IPv6 extension headers,
    /// no IPv6 checksum, lengths that lie).
    SocketHeaders,
    /// It was for the socket, but its queue has none.
    PassedQueue,
    /// UDP to a port that nobody listens on here.
    PassedPort,
    /// A listening port, but another host's address.
    PassedAddress,
    /// A piece of an IP packet, which the kernel reassembles.
    PassedFragment,
    /// No UDP over IP, or behind more headers than are walked.
    PassedOther,
    /// It ends within a header, or a header contradicts itself.
    PassedTruncated,
}

impl Verdict {
    /// All verdicts, in the order of their counters.
    pub const ALL: [Verdict; 15] = [
        Verdict::Forwarded,
        Verdict::RefusedSource,
        Verdict::RefusedFormat,
        Verdict::Redirected,
        Verdict::SocketNoSlave,
        Verdict::SocketUnresolved,
        Verdict::SocketMtu,
        Verdict::SocketGate,
        Verdict::SocketHeaders,
        Verdict::PassedQueue,
        Verdict::PassedPort,
        Verdict::PassedAddress,
        Verdict::PassedFragment,
        Verdict::PassedOther,
        Verdict::PassedTruncated,
    ];

    /// The counter's name in metrics and tests.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Forwarded => "forwarded",
            Verdict::RefusedSource => "refused_source",
            Verdict::RefusedFormat => "refused_format",
            Verdict::Redirected => "redirected",
            Verdict::SocketNoSlave => "socket_no_slave",
            Verdict::SocketUnresolved => "socket_unresolved",
            Verdict::SocketMtu => "socket_mtu",
            Verdict::SocketGate => "socket_gate",
            Verdict::SocketHeaders => "socket_headers",
            Verdict::PassedQueue => "passed_queue",
            Verdict::PassedPort => "passed_port",
            Verdict::PassedAddress => "passed_address",
            Verdict::PassedFragment => "passed_fragment",
            Verdict::PassedOther => "passed_other",
            Verdict::PassedTruncated => "passed_truncated",
        }
    }

    /// Whether the frame went to an AF_XDP socket.
    pub const fn is_to_socket(self) -> bool {
        matches!(
            self,
            Verdict::Redirected
                | Verdict::SocketNoSlave
                | Verdict::SocketUnresolved
                | Verdict::SocketMtu
                | Verdict::SocketGate
                | Verdict::SocketHeaders
        )
    }
}

/// Words of `struct weir_tally`.
const WORDS: usize = Verdict::ALL.len() + 1 + 2 * SLAVES_MAX;
const UNHEARD: usize = Verdict::ALL.len();
const SLAVES: usize = UNHEARD + 1;

/// What was forwarded to a slave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlaveTally {
    /// IP packets.
    pub packets: u64,
    /// Their octets, from the IP header on.
    pub bytes: u64,
}

/// The counters at one moment, since the program was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts(Box<[u64; WORDS]>);

impl Verdicts {
    /// How many frames got `verdict`.
    pub fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// How many events found the ring full: sources and templates that user space was not told of.
    pub fn unheard(&self) -> u64 {
        self.0[UNHEARD]
    }

    /// What was forwarded to a slave; nothing to one beyond [`SLAVES_MAX`].
    pub fn slave(&self, slave: u16) -> SlaveTally {
        let at = SLAVES + 2 * usize::from(slave);
        match self.0.get(at..at + 2) {
            Some(&[packets, bytes]) => SlaveTally { packets, bytes },
            _ => SlaveTally::default(),
        }
    }
}

/// A handle on the program's counters.
pub struct Tallies {
    tallies: PerCpuArray<MapData, [u64; WORDS]>,
}

impl std::fmt::Debug for Tallies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tallies").finish_non_exhaustive()
    }
}

impl Tallies {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Tallies { tallies: take(ebpf, "tallies")? })
    }

    /// All counters, summed over the cpus.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn read(&self) -> Result<Verdicts, Error> {
        let mut sums = Box::new([0; WORDS]);
        for cpu in self.tallies.get(&0, 0).map_err(map_error("counters"))?.iter() {
            for (sum, count) in sums.iter_mut().zip(cpu) {
                *sum += count;
            }
        }
        Ok(Verdicts(sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_in_the_order_of_their_numbers() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
        }
    }

    #[test]
    fn a_slave_beyond_the_last_has_nothing() {
        let mut words = Box::new([0; WORDS]);
        words[WORDS - 2..].copy_from_slice(&[3, 4]);
        let verdicts = Verdicts(words);
        assert_eq!(verdicts.slave(63), SlaveTally { packets: 3, bytes: 4 });
        assert_eq!(verdicts.slave(64), SlaveTally::default());
    }
}
