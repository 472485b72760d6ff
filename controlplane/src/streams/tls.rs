//! TLS of a listening port (RFC 7011, Section 11): its certificate, and whose certificates exporters
//! must show.
//!
//! The files are read again at each reload, so that a renewed certificate needs no restart.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::topology::TlsFiles;

/// TLS as it is configured now.
#[derive(Clone)]
pub(super) struct Tls {
    /// Agrees on TLS with a peer.
    pub(super) acceptor: TlsAcceptor,
    names: Arc<[ServerName<'static>]>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Tls`], with the file that is to blame.
    pub(super) fn load(files: &TlsFiles) -> Result<Tls, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| of_file(&files.key, format!("no private key in PEM: {error}")))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_file(&files.certificate, error.to_string()))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| of_file(path, error.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier =
                    verifier.build().map_err(|error| of_file(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let other = files.key.display();
            of_file(&files.certificate, format!("it does not go with the key {other}: {error}"))
        })?;
        // An exporter never reads: a ticket would lie in its system's buffer, and when it closes, that
        // system would reset the connection and what is still on its way would be lost.
        config.send_tls13_tickets = 0;
        let names = files.client_names.iter().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| {
                Error::Configuration(format!(
                    "client_names: {name:?} is neither a DNS name nor an IP address"
                ))
            })
        });
        let names = names.collect::<Result<_, _>>()?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), names })
    }

    /// The allowed name that a peer's certificate bears (RFC 7011, Section 11.3); an empty one where
    /// every certificate of the authority is good.
    ///
    /// # Errors
    /// A sentence, when it bears none of them.
    pub(super) fn name_of(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<String, String> {
        if self.names.is_empty() {
            return Ok(String::new());
        }
        let certificate = chain.and_then(<[_]>::first).ok_or("it showed no certificate")?;
        let certificate = ParsedCertificate::try_from(certificate)
            .map_err(|error| format!("its certificate cannot be read: {error}"))?;
        let is =
            |name: &&ServerName<'_>| rustls::client::verify_server_name(&certificate, name).is_ok();
        let name = self.names.iter().find(is);
        name.map(|name| name.to_str().into_owned())
            .ok_or_else(|| "its certificate bears none of the allowed names".to_owned())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| of_file(path, error.to_string()))?;
    if found.is_empty() {
        return Err(of_file(path, "no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn of_file(path: &Path, reason: String) -> Error {
    Error::Tls { path: path.to_owned(), reason }
}
