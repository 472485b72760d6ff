//! The part of `weir status` that is about a packet path's threads, delays, verdicts and devices.

use super::super::paint::Paint;
use super::super::table::{Table, grouped};
use crate::status::{Latency, Traffic, UnitStatus};

/// Sources that the kernel forwards, printed of each unit.
const SOURCES: usize = 10;

/// What is only worth a line where it has happened.
pub(super) fn further(traffic: &Traffic, paint: Paint, lines: &mut Vec<String>) {
    if traffic.sets_held > 0 {
        let held = grouped(traffic.sets_held);
        lines.push(format!("  held          {held} data sets wait for their template"));
    }
    if traffic.copies_sent + traffic.copies_failed > 0 {
        let line = format!(
            "  copies        {} sent, {} failed",
            grouped(traffic.copies_sent),
            grouped(traffic.copies_failed)
        );
        lines.push(if traffic.copies_failed > 0 { paint.bad(&line) } else { line });
    }
    if traffic.templates_unheard > 0 {
        let unheard = grouped(traffic.templates_unheard);
        lines.push(paint.warning(&format!(
            "  unheard       {unheard} forwarded messages that no worker could listen in to"
        )));
    }
    if traffic.rates_refused > 0 {
        let refused = grouped(traffic.rates_refused);
        lines.push(paint.warning(&format!(
            "  sampling      {refused} rates refused: their exporters have told too many"
        )));
    }
    if traffic.names_lost > 0 {
        let lost = grouped(traffic.names_lost);
        lines.push(
            paint.warning(&format!("  names         {lost} that the store could not take in time")),
        );
    }
    if traffic.news_lost > 0 {
        let lost = grouped(traffic.news_lost);
        lines.push(format!("  news          {lost} of new sources and refusals untold"));
    }
}

/// Threads, delays, verdicts, devices and forwarded sources.
pub(super) fn lines(status: &UnitStatus, paint: Paint, lines: &mut Vec<String>) {
    if let Some(latency) = status.latency.as_ref().filter(|latency| latency.messages > 0) {
        lines.push(format!("  delay         {}", delay(latency)));
    }
    workers(status, paint, lines);
    for verdict in &status.verdicts {
        lines.push(format!("  xdp           {} {}", grouped(verdict.count), verdict.meaning));
    }
    for device in status.devices.iter().filter(|device| device.lost() > 0) {
        lines.push(paint.warning(&format!(
            "  device {:<7}lost {} received (no room {}, missed {}, errors {}), {} to send (no room {}, errors {})",
            device.name,
            grouped(device.rx_dropped + device.rx_missed + device.rx_errors),
            grouped(device.rx_dropped),
            grouped(device.rx_missed),
            grouped(device.rx_errors),
            grouped(device.tx_dropped + device.tx_errors),
            grouped(device.tx_dropped),
            grouped(device.tx_errors)
        )));
    }
    sources(status, lines);
}

fn delay(latency: &Latency) -> String {
    format!(
        "half of {} messages within {}, 99 % {}, 99.9 % {}, longest {}",
        grouped(latency.messages),
        time(latency.p50_ns),
        time(latency.p99_ns),
        time(latency.p999_ns),
        time(latency.max_ns)
    )
}

/// `850 µs`, `12.3 ms`, `1.50 s`.
fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// A line for each worker, where there are several or something is to be said of the one.
fn workers(status: &UnitStatus, paint: Paint, lines: &mut Vec<String>) {
    let told =
        |worker: &crate::status::Worker| worker.core.is_some() || worker.datagrams_dropped > 0;
    if status.workers.len() < 2 && !status.workers.iter().any(told) {
        return;
    }
    let headings = ["worker", "core", "received", "dropped", "handed over", "records", "messages"];
    let mut table = Table::new(&headings);
    for worker in &status.workers {
        table.row(vec![
            worker.name.clone(),
            worker.core.map_or_else(|| "any".to_owned(), |core| core.to_string()),
            grouped(worker.datagrams_received),
            grouped(worker.datagrams_dropped),
            grouped(worker.handed_over),
            grouped(worker.records_decoded),
            grouped(worker.messages_sent),
        ]);
    }
    let whole =
        std::iter::once(true).chain(status.workers.iter().map(|w| w.datagrams_dropped == 0));
    let rows = table.lines(2).into_iter().zip(whole);
    lines.extend(rows.map(|(line, whole)| if whole { line } else { paint.bad(&line) }));
}

fn sources(status: &UnitStatus, lines: &mut Vec<String>) {
    if status.sources.is_empty() {
        return;
    }
    let mut table = Table::new(&["source in the kernel", "port", "<rule", "datagrams", "bytes"]);
    for source in status.sources.iter().take(SOURCES) {
        table.row(vec![
            source.address.clone(),
            source.port.to_string(),
            source.rule.clone(),
            grouped(source.packets),
            grouped(source.bytes),
        ]);
    }
    lines.extend(table.lines(2));
    let more = status.sources.len().saturating_sub(SOURCES) as u64;
    let more = more + u64::from(status.sources_omitted);
    if more > 0 {
        lines.push(format!("  and {} sources more", grouped(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Device, Source, Verdict, Worker};

    #[test]
    fn times_have_units() {
        let shown: Vec<_> = [999, 850_000, 12_345_678, 1_500_000_000].map(time).into();
        assert_eq!(shown, ["1 µs", "850 µs", "12.3 ms", "1.50 s"]);
    }

    #[test]
    fn everything_at_its_largest_fits_120_columns() {
        let many = 999_999_999_999;
        let status = UnitStatus {
            latency: Some(Latency {
                messages: many,
                p50_ns: 999_999,
                p99_ns: 999_900_000,
                p999_ns: 9_999_000_000,
                max_ns: 59_999_000_000,
            }),
            workers: vec![
                Worker {
                    name: "queue 63".into(),
                    core: Some(127),
                    datagrams_received: many,
                    datagrams_dropped: many,
                    handed_over: many,
                    records_decoded: many,
                    messages_sent: many,
                };
                2
            ],
            verdicts: vec![Verdict { name: "x".into(), meaning: "y".into(), count: many }],
            devices: vec![Device { name: "enp1s0".into(), rx_missed: 12_345, ..Device::default() }],
            sources: vec![Source { address: "2001:db8::1".into(), ..Source::default() }; 11],
            ..UnitStatus::default()
        };
        let mut shown = Vec::new();
        lines(&status, Paint::none(), &mut shown);
        for line in &shown {
            assert!(line.chars().count() <= 120, "{line}");
        }
        assert!(shown.iter().any(|line| line.contains("and 1 sources more")), "{shown:?}");
    }
}
