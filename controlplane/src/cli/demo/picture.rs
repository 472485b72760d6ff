//! The topology in a few lines of text, with live counters; at most 80 columns.

use std::net::IpAddr;
use std::time::Instant;

use super::super::paint::Paint;
use super::super::table::grouped;
use crate::lab::units::{PROXY, unit};
use crate::status::UnitStatus;

/// An exporter of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exporter {
    pub(super) protocol: &'static str,
    pub(super) address: IpAddr,
}

/// What stays the same from one picture to the next.
#[derive(Debug)]
pub(super) struct Picture {
    paint: Paint,
    exporters: Vec<Exporter>,
    model: &'static str,
    began: Instant,
}

/// The numbers of one moment.
struct Moment {
    /// Records that the proxy has decoded of each exporter.
    exported: Vec<u64>,
    backend: String,
    datagrams: u64,
    records: u64,
    /// Rows that each slave has stored.
    stored: Vec<(String, u64)>,
}

impl Picture {
    pub(super) fn new(paint: Paint, exporters: Vec<Exporter>, model: &'static str) -> Self {
        Picture { paint, exporters, model, began: Instant::now() }
    }

    /// The picture of this moment.
    pub(super) fn lines(&self, status: &UnitStatus) -> Vec<String> {
        let moment = self.moment(status);
        let exporters: Vec<_> = self
            .exporters
            .iter()
            .zip(&moment.exported)
            .map(|(exporter, records)| {
                (format!("{:<5} {}", exporter.protocol, exporter.address), flows(*records))
            })
            .collect();
        let exporter = |n: usize| exporters.get(n).cloned().unwrap_or_default();
        let slave = |n: usize| {
            let (name, rows) = moment.stored.get(n).cloned().unwrap_or_default();
            (name, flows(rows))
        };
        let total = flows(moment.stored.iter().map(|(_, rows)| rows).sum());
        let proxy = format!("proxy ({})", moment.backend);
        let datagrams = format!("{:>7} datagrams", grouped(moment.datagrams));
        let decoded = flows(moment.records);
        let ((e1, f1), (e2, f2), (e3, f3)) = (exporter(0), exporter(1), exporter(2));
        let ((s1, r1), (s2, r2)) = (slave(0), slave(1));
        let rows: [[&str; 7]; 6] = [
            [&e1, "", "", "", "", "", ""],
            [&f1, "─┐", "", "┌▶", &s1, "", ""],
            [&e2, " │", &proxy, "│", &r1, "─┐", "master"],
            [&f2, "─┼▶", &datagrams, "┤", "", " ├▶", &total],
            [&e3, " │", &decoded, "└▶", &s2, " │", ""],
            [&f3, "─┘", "", "", &r2, "─┘", ""],
        ];
        let seconds = self.began.elapsed().as_secs_f64();
        let mut lines = vec![
            String::new(),
            self.paint.head(&format!("{seconds:4.1} s   {}", self.model)),
            String::new(),
        ];
        lines.extend(rows.map(columns));
        lines.push(String::new());
        lines
    }

    /// The same in one line, for a log.
    pub(super) fn line(&self, status: &UnitStatus) -> String {
        let moment = self.moment(status);
        let slaves: Vec<_> =
            moment.stored.iter().map(|(name, rows)| format!("{name} {}", grouped(*rows))).collect();
        format!(
            "{:4.1} s  proxy ({}) {} datagrams, {} flows; stored: {}",
            self.began.elapsed().as_secs_f64(),
            moment.backend,
            grouped(moment.datagrams),
            grouped(moment.records),
            slaves.join(", ")
        )
    }

    fn moment(&self, status: &UnitStatus) -> Moment {
        let proxy = unit(status, PROXY).cloned().unwrap_or_default();
        let traffic = proxy.traffic.unwrap_or_default();
        let of_exporter = |exporter: &Exporter| {
            let own = proxy.sessions.iter().filter(|session| {
                let source: Option<std::net::SocketAddr> = session.exporter.parse().ok();
                source.is_some_and(|source| source.ip() == exporter.address)
            });
            own.map(|session| session.records).sum()
        };
        let stored = proxy.slaves.iter().map(|slave| {
            let storing = unit(status, &slave.name).and_then(|slave| slave.storing.as_ref());
            (slave.name.clone(), storing.map_or(0, |storing| storing.records_delivered))
        });
        Moment {
            exported: self.exporters.iter().map(of_exporter).collect(),
            backend: proxy.backend,
            datagrams: traffic.datagrams_received,
            records: traffic.records_decoded,
            stored: stored.collect(),
        }
    }
}

/// A number of flows, so that it stays in its place while it grows.
fn flows(count: u64) -> String {
    format!("{:>9} flows", grouped(count))
}

/// One line of the picture: cells at fixed columns.
fn columns(cells: [&str; 7]) -> String {
    const WIDTHS: [usize; 7] = [21, 4, 18, 3, 15, 3, 16];
    let line: String =
        cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}")).collect();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Delivery, Session, Traffic};

    fn status() -> UnitStatus {
        let slave = |name: &str, rows| UnitStatus {
            name: name.into(),
            storing: Some(Traffic { records_delivered: rows, ..Traffic::default() }),
            ..UnitStatus::default()
        };
        let delivery = |name: &str| Delivery { name: name.into(), ..Delivery::default() };
        let session = |exporter: &str, records| Session {
            exporter: exporter.into(),
            records,
            ..Session::default()
        };
        let proxy = UnitStatus {
            name: PROXY.into(),
            backend: "afxdp".into(),
            traffic: Some(Traffic {
                datagrams_received: 987_654,
                records_decoded: 12_345_678,
                ..Traffic::default()
            }),
            slaves: vec![delivery("slave1"), delivery("slave2")],
            sessions: vec![session("10.77.1.1:40000", 1_234_567), session("[fd77::1:3]:40000", 89)],
            units: vec![slave("slave1", 6_172_839), slave("slave2", 6_172_838)],
            ..UnitStatus::default()
        };
        UnitStatus { units: vec![proxy], ..UnitStatus::default() }
    }

    fn picture() -> Picture {
        let exporter =
            |protocol, address: &str| Exporter { protocol, address: address.parse().unwrap() };
        let exporters = vec![
            exporter("v5", "10.77.1.1"),
            exporter("v9", "127.250.250.102"),
            exporter("IPFIX", "fd77::1:3"),
        ];
        Picture::new(Paint::none(), exporters, "round robin: one record each, in turn")
    }

    #[test]
    fn the_picture_fits_80_columns_and_has_every_number() {
        let lines = picture().lines(&status());
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?} in\n{}", lines.join("\n"));
        let text = lines.join("\n");
        for number in ["1,234,567", "89", "987,654", "12,345,678", "6,172,839", "12,345,677"] {
            assert!(text.contains(number), "{number} in\n{text}");
        }
    }

    #[test]
    fn the_line_tells_the_same() {
        let line = picture().line(&status());
        assert!(line.contains("987,654 datagrams") && line.contains("slave2 6,172,838"), "{line}");
    }
}
