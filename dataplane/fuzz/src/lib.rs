//! What is fuzzed, as functions of bytes: the bodies that libFuzzer's targets (`targets/`) and the
//! smoke run of the ordinary tests (`dataplane/tests/fuzz.rs`) share.
//!
//! A body never returns an error: it panics when an invariant does not hold. Whatever takes a
//! datagram does so under [`watch::packet`], so that a slow one is a finding too.

pub mod collector;
pub mod fixed;
pub mod frame;
pub mod mutate;
pub mod retemplate;
pub mod sampled;
pub mod seed;
pub mod sets;
pub mod sflow;
pub mod stream;
pub mod templates;
pub mod watch;

/// Makes an input of a datagram.
type OfDatagram = fn(&[u8]) -> Vec<u8>;

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its file in `targets/`.
    pub name: &'static str,
    /// Its body.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What a datagram of a capture is to it as an input, if anything.
    pub of_datagram: Option<OfDatagram>,
}

/// Everything that is fuzzed.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "fixed",
        run: fixed::run,
        seeds: seed::fixed,
        of_datagram: Some(<[u8]>::to_vec),
    },
    Target {
        name: "netflow8",
        run: fixed::run_netflow8,
        seeds: seed::netflow8,
        of_datagram: Some(<[u8]>::to_vec),
    },
    Target {
        name: "netflow9",
        run: sets::run_netflow9,
        seeds: seed::netflow9,
        of_datagram: Some(<[u8]>::to_vec),
    },
    Target {
        name: "ipfix",
        run: sets::run_ipfix,
        seeds: seed::ipfix,
        of_datagram: Some(<[u8]>::to_vec),
    },
    Target {
        name: "sflow",
        run: sflow::run,
        seeds: seed::sflow,
        of_datagram: Some(<[u8]>::to_vec),
    },
    Target {
        name: "templates",
        run: templates::run,
        seeds: seed::templates,
        of_datagram: Some(stream::of_datagram),
    },
    Target {
        name: "retemplate",
        run: retemplate::run,
        seeds: seed::streams,
        of_datagram: Some(stream::of_datagram),
    },
    Target {
        name: "collector",
        run: collector::run,
        seeds: seed::streams,
        of_datagram: Some(stream::of_datagram),
    },
    Target { name: "sampled", run: sampled::run, seeds: seed::sampled, of_datagram: None },
    Target { name: "frame", run: frame::run, seeds: seed::frames, of_datagram: None },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
