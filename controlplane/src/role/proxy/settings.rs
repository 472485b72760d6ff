//! How a proxy is started.

use std::path::PathBuf;

use crate::backend::BackendChoice;
use crate::topology::Topology;

/// How a proxy is started.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The whole topology.
    pub topology: Topology,
    /// The file that it was read from, and is read from again.
    pub file: PathBuf,
    /// This unit's name in it.
    pub name: String,
    /// The packet backend.
    pub backend: BackendChoice,
    /// The processor cores of the packet path, one for each worker; none to pin to none.
    pub cores: Vec<usize>,
    /// Where templates are kept over a restart.
    pub state: Option<PathBuf>,
}
