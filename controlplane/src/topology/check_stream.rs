//! What must hold of a proxy group's ports for connections.

use std::collections::BTreeSet;

use super::Format;
use super::check::Check;
use super::file::{ProxyGroupEntry, StreamEntry};

impl Check<'_> {
    pub(super) fn stream(&mut self, group: &ProxyGroupEntry) {
        let Some(stream) = &group.stream else { return };
        let name = group.name.get_ref();
        if stream.tcp.is_empty() && stream.tls.is_empty() {
            self.problem(
                &group.name,
                format!(
                    "proxy group {name}: `stream` names no port: say tcp = [4739] or tls = [4740]"
                ),
            );
        }
        let mut seen = BTreeSet::new();
        for port in stream.tcp.iter().chain(&stream.tls) {
            self.port(name, port);
            let number = port.get_ref();
            if !seen.insert(number) {
                self.problem(port, format!("proxy group {name} names TCP port {number} twice"));
            }
        }
        self.tls(name, stream);
        let bounds = [
            ("connections", &stream.connections),
            ("connections_per_source", &stream.connections_per_source),
        ];
        for (word, bound) in bounds {
            if let Some(bound) = bound.as_ref().filter(|bound| *bound.get_ref() == 0) {
                let message = format!("proxy group {name}: {word} = 0 would let nobody connect");
                self.problem(bound, message);
            }
        }
        if let Some(idle) = stream.idle_s.as_ref().filter(|idle| *idle.get_ref() == 0) {
            self.problem(idle, format!("proxy group {name}: idle_s = 0 would end every connection at once: leave it out for never"));
        }
        self.formats_of_streams(group);
    }

    fn tls(&mut self, name: &str, stream: &StreamEntry) {
        match (&stream.certificate, &stream.key, stream.tls.first()) {
            (Some(_), Some(_), _) | (None, None, None) => {}
            (None, _, Some(port)) | (_, None, Some(port)) => self.problem(
                port,
                format!("proxy group {name}: TLS needs `certificate` and `key`, each the path of a PEM file"),
            ),
            (Some(given), None, None) | (None, Some(given), None) => self.problem(
                given,
                format!("proxy group {name}: `certificate` and `key` belong together, and to a port in `tls`"),
            ),
        }
        if let Some(first) = stream.client_names.first().filter(|_| stream.client_ca.is_none()) {
            self.problem(
                first,
                format!("proxy group {name}: client_names are looked for in certificates, which `client_ca` must vouch for"),
            );
        }
        if let Some(authority) = stream.client_ca.as_ref().filter(|_| stream.certificate.is_none())
        {
            self.problem(
                authority,
                format!("proxy group {name}: client_ca needs `certificate` and `key` too"),
            );
        }
    }

    /// Only IPFIX comes by connections.
    fn formats_of_streams(&mut self, group: &ProxyGroupEntry) {
        let (streams, udp) = (group.stream_ports(), group.ports());
        for gate in &group.port {
            let port = gate.port.get_ref();
            let Some(formats) = gate.formats.as_ref().filter(|_| streams.contains(port)) else {
                continue;
            };
            if !formats.get_ref().contains(&Format::Ipfix) && !udp.contains(port) {
                self.problem(formats, format!("port {port} takes connections, by which only ipfix can come, and lets no ipfix in"));
            }
        }
    }
}
