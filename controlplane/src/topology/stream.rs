//! Listening ports for connections: IPFIX over TCP and TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Open connections where no bound is given, in all and of one address.
const CONNECTIONS: usize = 512;
/// Of one address.
const CONNECTIONS_PER_SOURCE: usize = 64;

/// The ports that exporters connect to, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Ports for plain TCP, ascending; 4739 is IPFIX's own.
    pub tcp: Vec<u16>,
    /// Ports for TLS, ascending; 4740 is IPFIX's own.
    pub tls: Vec<u16>,
    /// The certificate and what goes with it; there where there are TLS ports.
    pub files: Option<TlsFiles>,
    /// Connections at one time.
    pub connections: usize,
    /// Connections of one address at one time.
    pub connections_per_source: usize,
    /// A connection ends after this long without a message; `None` for never.
    pub idle: Option<Duration>,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            tcp: Vec::new(),
            tls: Vec::new(),
            files: None,
            connections: CONNECTIONS,
            connections_per_source: CONNECTIONS_PER_SOURCE,
            idle: None,
        }
    }
}

impl StreamSettings {
    /// All ports, ascending.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports = [&self.tcp[..], &self.tls].concat();
        ports.sort_unstable();
        ports
    }
}

/// What TLS needs, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The unit's certificate, with those between it and its authority behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities; with them, an exporter must show a certificate that one of them has signed.
    pub client_ca: Option<PathBuf>,
    /// Names of which an exporter's certificate must bear one; with none every certificate is good.
    pub client_names: Vec<String>,
}

impl TlsFiles {
    /// With relative paths taken from this folder.
    pub(super) fn within(self, folder: &Path) -> TlsFiles {
        TlsFiles {
            certificate: folder.join(self.certificate),
            key: folder.join(self.key),
            client_ca: self.client_ca.map(|path| folder.join(path)),
            client_names: self.client_names,
        }
    }
}
