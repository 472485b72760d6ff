//! The part of `weir status` that is about connections of exporters.

use weir_store::query::format;

use super::super::paint::Paint;
use super::super::table::{Table, grouped};
use crate::status::{Streams, UnitStatus};
use crate::streams::End;

/// Connections: how many there were, what came by them, why they ended, and those open.
pub(super) fn lines(status: &UnitStatus, shown: usize, paint: Paint, lines: &mut Vec<String>) {
    let Some(streams) = &status.streams else { return };
    let ports = streams.ports.iter().map(|port| {
        let transport = if port.tls { "tls" } else { "tcp" };
        format!("{transport} {}", port.port)
    });
    lines.push(format!(
        "  exporters     {} connected of {} ({}); {} messages of {} bytes, {} bytes cut",
        grouped(streams.open),
        grouped(streams.accepted),
        ports.collect::<Vec<_>>().join(", "),
        grouped(streams.messages),
        grouped(streams.bytes),
        grouped(streams.bytes_cut)
    ));
    ends(streams, paint, lines);
    table(streams, shown, lines);
}

fn ends(streams: &Streams, paint: Paint, lines: &mut Vec<String>) {
    for (reason, count) in &streams.ended {
        // An older console may not know a newer unit's reason.
        let known = End::ALL.iter().find(|end| end.name() == reason);
        let meaning = known.map_or(reason.as_str(), |end| end.meaning());
        let line = format!("  ended         {} {reason}: {meaning}", grouped(*count));
        let is_trouble = known.is_none_or(|end| end.is_trouble());
        lines.push(if is_trouble { paint.warning(&line) } else { line });
    }
}

fn table(streams: &Streams, shown: usize, lines: &mut Vec<String>) {
    if streams.connections.is_empty() {
        return;
    }
    let headings = ["connected", "<name", "<over", "port", "messages", "bytes", "misuses"];
    let mut table = Table::new(&headings);
    for connection in streams.connections.iter().take(shown) {
        table.row(vec![
            connection.exporter.clone(),
            connection.name.clone(),
            connection.transport.clone(),
            connection.port.to_string(),
            format::scaled(connection.messages),
            format::scaled(connection.bytes),
            format::scaled(connection.misuses),
        ]);
    }
    lines.extend(table.lines(2));
    let hidden = streams.connections.len().saturating_sub(shown) as u64;
    let more = hidden + u64::from(streams.connections_omitted);
    if more > 0 {
        lines.push(format!("  and {} connections more", grouped(more)));
    }
}
