//! The words for connections of exporters.

use weir_rpc::query_capnp::{stream_connection, streams};

use super::{length, text};
use crate::status::{Reasons, StreamConnection, StreamPort, Streams};

pub(super) fn write(ours: &Streams, mut words: streams::Builder<'_>) {
    let mut ports = words.reborrow().init_ports(length(&ours.ports));
    for (at, port) in (0..).zip(&ours.ports) {
        let mut words = ports.reborrow().get(at);
        words.set_port(port.port);
        words.set_tls(port.tls);
    }
    words.set_accepted(ours.accepted);
    words.set_open(ours.open);
    let reasons = u32::try_from(ours.ended.len()).unwrap_or(u32::MAX);
    let mut ended = words.reborrow().init_ended(reasons);
    for (at, (reason, &count)) in (0..).zip(&ours.ended) {
        let mut words = ended.reborrow().get(at);
        words.set_reason(reason);
        words.set_count(count);
    }
    words.set_messages(ours.messages);
    words.set_bytes(ours.bytes);
    words.set_bytes_cut(ours.bytes_cut);
    let mut connections = words.reborrow().init_connections(length(&ours.connections));
    for (at, connection) in (0..).zip(&ours.connections) {
        write_connection(connection, connections.reborrow().get(at));
    }
    words.set_connections_omitted(ours.connections_omitted);
}

pub(super) fn read(words: streams::Reader<'_>) -> capnp::Result<Streams> {
    let mut ended = Reasons::new();
    for reason in words.get_ended()? {
        ended.insert(text(reason.get_reason())?, reason.get_count());
    }
    let connections = words.get_connections()?.iter().map(read_connection);
    let ports = words.get_ports()?.iter();
    Ok(Streams {
        ports: ports.map(|p| StreamPort { port: p.get_port(), tls: p.get_tls() }).collect(),
        accepted: words.get_accepted(),
        open: words.get_open(),
        ended,
        messages: words.get_messages(),
        bytes: words.get_bytes(),
        bytes_cut: words.get_bytes_cut(),
        connections: connections.collect::<capnp::Result<_>>()?,
        connections_omitted: words.get_connections_omitted(),
    })
}

fn write_connection(ours: &StreamConnection, mut words: stream_connection::Builder<'_>) {
    words.set_exporter(&ours.exporter);
    words.set_name(&ours.name);
    words.set_port(ours.port);
    words.set_transport(&ours.transport);
    words.set_messages(ours.messages);
    words.set_bytes(ours.bytes);
    words.set_misuses(ours.misuses);
    words.set_since_ms(ours.since_ms);
    words.set_last_ms(ours.last_ms);
}

fn read_connection(words: stream_connection::Reader<'_>) -> capnp::Result<StreamConnection> {
    Ok(StreamConnection {
        exporter: text(words.get_exporter())?,
        name: text(words.get_name())?,
        port: words.get_port(),
        transport: text(words.get_transport())?,
        messages: words.get_messages(),
        bytes: words.get_bytes(),
        misuses: words.get_misuses(),
        since_ms: words.get_since_ms(),
        last_ms: words.get_last_ms(),
    })
}
