//! Hostile exporters at a proxy: whatever they send, everything is counted, memory stays within its
//! bounds, and honest records arrive, each once, after their templates and without a gap.

mod attacks;
mod counting;
mod exporter;
#[path = "../mediation/harness.rs"]
#[allow(dead_code, reason = "the writers of messages are shared, the small proxy is not")]
mod harness;
mod properties;
mod siege;
mod slaves;
mod wire;
