//! What outlives a worker of a session: plain data, for the control plane to keep on disk.

use crate::session::SessionKey;

/// A session's templates and options data, as they stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What tells it from the others.
    pub key: SessionKey,
    /// The header of its newest message.
    pub header: Vec<u8>,
    /// Its live templates, in sets of their protocol.
    pub templates: Vec<u8>,
    /// The newest of its options data, in sets of their protocol.
    pub options: Vec<u8>,
}
