//! Forwarding in the kernel, as a worker sees it: the flow-source model without user space.

use weir_ebpf::{Events, Sources, Steering};

/// What worker 0 steers the kernel's forwarding with.
#[derive(Debug)]
pub struct ForwardHandles {
    /// Tables and hops.
    pub steering: Steering,
    /// The known sources: those that the program reports are put there.
    pub sources: Sources,
    /// What the program tells.
    pub events: Events,
    /// The index of the device that exporters' packets come in by.
    pub device: u32,
    /// That device's MAC address.
    pub mac: [u8; 6],
    /// Whether packets to slaves behind that device leave by `XDP_TX`.
    pub bounce: bool,
}
