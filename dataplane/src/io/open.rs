//! Which backend: AF_XDP where the device and the process's rights allow it, else UDP sockets in and
//! raw sockets out, else sockets bound to the exporters' own addresses.
//!
//! The choice is told in one sentence, with the reason for each step down. Which one it became is
//! known to the caller alone: workers are generic over the two traits.

use std::io;
use std::net::SocketAddr;

use super::afxdp::{self, AfxdpConfig, AfxdpReceive, AfxdpTransmit};
use super::bound::BoundTransmit;
use super::raw::RawTransmit;
use super::udp::UdpReceive;
use crate::forward::ForwardHandles;

pub use super::afxdp::{BusyPoll, Kernel, Queues};

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The best that can be had.
    #[default]
    Auto,
    /// AF_XDP, or fail.
    Afxdp,
    /// Sockets, even where AF_XDP could be had.
    Sockets,
}

/// What a backend is opened with.
#[derive(Clone, Debug)]
pub struct OpenConfig {
    /// Which backend is wanted.
    pub wish: Wish,
    /// The device that exporters' packets come in by; without one there is no AF_XDP.
    pub device: Option<String>,
    /// The device's receive queues that get a lane with AF_XDP.
    pub queues: Queues,
    /// Further devices to send by with AF_XDP; by all others the kernel sends.
    pub egress: Vec<String>,
    /// Listening addresses and ports.
    pub listen: Vec<SocketAddr>,
    /// Kernel buffer of each receiving socket, in bytes.
    pub buffer_bytes: usize,
    /// Outgoing frames of a lane.
    pub frames: usize,
    /// Exporters whose own sockets are kept open where that is the way.
    pub exporters: usize,
    /// Whether and how AF_XDP polls busily.
    pub busy_poll: Option<BusyPoll>,
    /// Sources that the kernel's forwarding knows, at most.
    pub sources: u32,
    /// Whether the kernel is to forward (flow source): then one lane takes what it cannot.
    pub forward: bool,
    /// Whether what it forwards may go back out of a virtual device too, see
    /// [`AfxdpConfig::bounce`].
    pub bounce: bool,
}

/// What was opened.
#[derive(Debug)]
pub struct Opened {
    /// What each worker gets: with AF_XDP one for each queue, else one.
    pub lanes: Vec<Backend>,
    /// The XDP program, with AF_XDP. It stays with the control plane.
    pub kernel: Option<Kernel>,
    /// What the first worker steers the kernel's forwarding with, where the kernel forwards.
    pub forward: Option<ForwardHandles>,
    /// What it became, and why nothing better, for the console.
    pub sentence: String,
}

/// Both halves of an opened backend.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a worker, moved into it at once")]
pub enum Backend {
    /// Frames from and to a device's queue.
    Afxdp(AfxdpReceive, AfxdpTransmit),
    /// UDP sockets in, raw sockets out.
    Raw(UdpReceive, RawTransmit),
    /// UDP sockets in, sockets bound to the exporters' addresses out.
    Bound(UdpReceive, BoundTransmit),
}

impl Backend {
    /// A short name for status and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Backend::Afxdp(..) => "afxdp",
            Backend::Raw(..) => "udp+raw",
            Backend::Bound(..) => "udp+bound",
        }
    }
}

/// Opens what is wanted; [`Opened::sentence`] says what it became, and why nothing better.
///
/// # Errors
/// When `wish` is AF_XDP and it cannot be had; when a listening address cannot be bound.
pub fn open(config: &OpenConfig) -> io::Result<Opened> {
    let why_not = match (config.wish, config.device.as_deref()) {
        (Wish::Sockets, _) => "as asked".to_owned(),
        (Wish::Afxdp, None) => {
            let text = "AF_XDP needs to know the device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        (Wish::Auto, None) => "no device was named for AF_XDP".to_owned(),
        (wish, Some(device)) => match afxdp::open(&afxdp_config(config, device)) {
            Ok(afxdp::Opened { lanes, kernel, forward, sentence }) => {
                let lanes = lanes.into_iter().map(|(rx, tx)| Backend::Afxdp(rx, tx)).collect();
                return Ok(Opened { lanes, kernel: Some(kernel), forward, sentence });
            }
            Err(error) if wish == Wish::Afxdp => return Err(io::Error::other(error)),
            Err(error) => format!("no AF_XDP: {error}"),
        },
    };
    let (backend, sentence) = open_sockets(config, &why_not)?;
    Ok(Opened { lanes: vec![backend], kernel: None, forward: None, sentence })
}

fn afxdp_config(config: &OpenConfig, device: &str) -> AfxdpConfig {
    AfxdpConfig {
        device: device.to_owned(),
        queues: config.queues.clone(),
        egress: config.egress.clone(),
        listen: config.listen.clone(),
        frames: u32::try_from(config.frames).unwrap_or(u32::MAX),
        buffer_bytes: config.buffer_bytes,
        busy_poll: config.busy_poll,
        sources: config.sources,
        forward: config.forward,
        bounce: config.bounce,
    }
}

fn open_sockets(config: &OpenConfig, why_not: &str) -> io::Result<(Backend, String)> {
    let receive = UdpReceive::open(&config.listen, config.buffer_bytes)?;
    match RawTransmit::open(config.frames) {
        Ok(transmit) => {
            let sentence = format!("UDP sockets in, raw sockets out ({why_not})");
            Ok((Backend::Raw(receive, transmit), sentence))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let transmit = BoundTransmit::open(config.frames, config.exporters)?;
            let sentence = format!(
                "ordinary UDP sockets, which pass on only exporters of this host whose sockets have \
                 SO_REUSEADDR ({why_not}; raw sockets need CAP_NET_RAW)"
            );
            Ok((Backend::Bound(receive, transmit), sentence))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(wish: Wish, device: Option<&str>) -> OpenConfig {
        OpenConfig {
            wish,
            device: device.map(str::to_owned),
            queues: Queues::Auto,
            egress: Vec::new(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            buffer_bytes: 1 << 16,
            frames: 4,
            exporters: 4,
            busy_poll: None,
            sources: 16,
            forward: false,
            bounce: false,
        }
    }

    #[test]
    fn a_device_that_is_not_there_means_sockets_and_the_sentence_says_so() {
        let Opened { lanes, kernel, sentence, .. } =
            open(&config(Wish::Auto, Some("weir-none"))).unwrap();
        assert!(lanes.len() == 1 && lanes[0].name().starts_with("udp") && kernel.is_none());
        assert!(sentence.contains("weir-none: there is no such device"), "{sentence}");
    }

    #[test]
    fn af_xdp_that_cannot_be_had_is_an_error_where_it_was_asked_for() {
        for device in [None, Some("weir-none")] {
            assert!(open(&config(Wish::Afxdp, device)).is_err());
        }
    }

    #[test]
    fn sockets_are_opened_as_asked() {
        let sentence = open(&config(Wish::Sockets, Some("weir-none"))).unwrap().sentence;
        assert!(sentence.contains("as asked"), "{sentence}");
    }
}
