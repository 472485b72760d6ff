//! `weir status`: the units as a tree, then each unit's own numbers.

use std::time::Duration;

use weir_dataplane::{Discard, Timestamp};
use weir_store::query::format;

use super::exit::Outcome;
use super::out::{line, out};
use super::paint::Paint;
use super::peer;
use super::table::{Table, grouped};
use crate::service::CALL_DEADLINE;
use crate::service::query::QueryClient;
use crate::status::{Discarded, Reasons, Traffic, UnitStatus};
use crate::unit::on_rpc_thread;

mod path;
mod streams;

/// Transport sessions printed of each unit.
const SESSIONS: usize = 10;

/// Characters of a line, where several things share one.
const COLUMNS: usize = 100;

/// Between two pictures of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `weir status --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir status -M 10.0.0.1
  weir status -M 10.0.0.1 --watch
  weir status -M 10.0.0.1 --json | jq '.units[].traffic.records_decoded'

Exit codes: 0 every unit is up and loses nothing unaccounted; 1 failed; 3 a unit is down, or its
  counters do not add up.")]
pub struct Arguments {
    /// Ask the unit at this address, usually a master
    #[arg(short = 'M', long, value_name = "HOST[:PORT]")]
    master: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print again every second until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print every transport session, not only the ten busiest of each unit
    #[arg(long)]
    all: bool,
}

/// Asks and prints.
///
/// # Errors
/// Why there is no answer.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    // The outer result is the console's, the inner one the runtime's.
    on_rpc_thread(async { Ok(show(arguments).await) })?
}

async fn show(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let address = peer::resolve(&arguments.master).await?;
    let paint = Paint::for_stdout();
    loop {
        let asked = async { QueryClient::connect(address).await?.status(CALL_DEADLINE).await };
        let status = asked.await.map_err(|error| peer::advice(error, address))?;
        if arguments.json {
            line(&serde_json::to_string_pretty(&status)?)?;
        } else {
            let sessions = if arguments.all { usize::MAX } else { SESSIONS };
            let text = picture(&status, paint, sessions);
            // Home and clear, so that the picture stays in its place.
            let clear = if arguments.watch && paint.is_on() { "\x1b[H\x1b[2J" } else { "" };
            out(&format!("{clear}{text}"))?;
        }
        if !arguments.watch {
            return Ok(if is_well(&status) { Outcome::Done } else { Outcome::Partial });
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn is_well(status: &UnitStatus) -> bool {
    status.up && status.conserved != Some(false) && status.units.iter().all(is_well)
}

/// Everything that is printed, for one moment.
fn picture(status: &UnitStatus, paint: Paint, sessions: usize) -> String {
    let mut lines = Vec::new();
    tree(status, paint, &mut lines);
    lines.push(String::new());
    numbers(status, paint, sessions, &mut lines);
    lines.push(conservation(status, paint));
    lines.extend(all_discarded(status).iter().map(|line| paint.warning(line)));
    lines.push(String::new());
    lines.join("\n")
}

fn tree(status: &UnitStatus, paint: Paint, lines: &mut Vec<String>) {
    let now_ms = Timestamp::now().0;
    let mut table =
        Table::new(&["UNIT", "<ADDRESS", "<STATE", "<VERSION", "<BACKEND", "<UDP PORTS"]);
    let mut up = Vec::new();
    branch(status, "", "", now_ms, &mut table, &mut up);
    for (at, line) in table.lines(0).into_iter().enumerate() {
        lines.push(match at.checked_sub(1).map(|at| up[at]) {
            None => paint.head(&line),
            Some(true) => line,
            Some(false) => paint.bad(&line),
        });
    }
}

fn branch(
    status: &UnitStatus,
    first: &str,
    rest: &str,
    now_ms: u64,
    table: &mut Table,
    up: &mut Vec<bool>,
) {
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let role = status.role.map_or_else(|| "unit".to_owned(), |role| role.to_string());
    let ports: Vec<_> = status.listen.iter().map(u16::to_string).collect();
    let state = if status.up {
        format!("up {}", age(now_ms.saturating_sub(status.started_ms)))
    } else {
        format!("DOWN: {}", status.reason)
    };
    table.row(vec![
        format!("{first}{} {role}", status.name),
        status.address.clone(),
        state,
        dash(&status.version),
        dash(&status.backend),
        dash(&ports.join(",")),
    ]);
    up.push(status.up);
    for (at, unit) in status.units.iter().enumerate() {
        let last = at + 1 == status.units.len();
        let (own, below) = if last { ("└ ", "  ") } else { ("├ ", "│ ") };
        branch(unit, &format!("{rest}{own}"), &format!("{rest}{below}"), now_ms, table, up);
    }
}

/// `3d 04:05:06`.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// The unit's numbers, then those of the units behind it.
fn numbers(status: &UnitStatus, paint: Paint, sessions: usize, lines: &mut Vec<String>) {
    if status.up && status.traffic.is_some() {
        let role = status.role.map_or_else(String::new, |role| format!(" {role}"));
        lines.push(paint.head(&format!("{}{role}", status.name)));
        if !status.backend_sentence.is_empty() {
            lines.push(format!("  packets       {}", status.backend_sentence));
        }
        if let Some(traffic) = &status.traffic {
            traffic_lines(traffic, paint, lines);
        }
        path::lines(status, paint, lines);
        streams::lines(status, sessions, paint, lines);
        if let Some(storing) = &status.storing {
            storing_lines(storing, paint, lines);
        }
        store_lines(status, paint, lines);
        slave_lines(status, paint, lines);
        session_lines(status, sessions, lines);
        if status.service.refused + status.service.broken > 0 {
            lines.push(format!(
                "  connections   {} open; {} refused, {} closed for breaking the rules",
                status.service.connections,
                grouped(status.service.refused),
                grouped(status.service.broken)
            ));
        }
        lines.push(String::new());
    }
    for unit in &status.units {
        numbers(unit, paint, sessions, lines);
    }
}

fn total(reasons: &Reasons) -> u64 {
    reasons.values().sum()
}

fn traffic_lines(traffic: &Traffic, paint: Paint, lines: &mut Vec<String>) {
    lines.push(format!(
        "  datagrams     {} received = {} accepted + {} discarded",
        grouped(traffic.datagrams_received),
        grouped(traffic.datagrams_accepted),
        grouped(total(&traffic.discarded.datagram))
    ));
    if traffic.datagrams_forwarded > 0 {
        let forwarded = grouped(traffic.datagrams_forwarded);
        lines.push(format!("  of these      {forwarded} forwarded whole in the kernel"));
    }
    if traffic.datagrams_dropped > 0 {
        let dropped = grouped(traffic.datagrams_dropped);
        lines.push(
            paint.bad(&format!("  before that   {dropped} dropped by the system: buffer full")),
        );
    }
    lines.push(format!("  records       {}", record_sum(traffic)));
    lines.push(format!(
        "  also          {} options records, {} templates; lost upstream {}, restarts {}",
        grouped(traffic.options_decoded),
        grouped(traffic.templates_received),
        grouped(traffic.sequence_lost),
        grouped(traffic.sequence_resets)
    ));
    if traffic.counter_samples + traffic.samples_unknown > 0 {
        lines.push(format!(
            "  of sFlow      {} counter samples, not kept; {} samples of unknown kinds",
            grouped(traffic.counter_samples),
            grouped(traffic.samples_unknown)
        ));
    }
    if traffic.messages_sent + traffic.messages_failed > 0 {
        lines.push(format!(
            "  messages      {} sent to slaves, {} failed; {} templates or options not delivered",
            grouped(traffic.messages_sent),
            grouped(traffic.messages_failed),
            grouped(traffic.broadcasts_failed)
        ));
    }
    path::further(traffic, paint, lines);
    discarded_lines(&traffic.discarded, paint, lines);
}

fn record_sum(traffic: &Traffic) -> String {
    format!(
        "{} decoded = {} delivered + {} in flight + {} discarded",
        grouped(traffic.records_decoded),
        grouped(traffic.records_delivered),
        grouped(traffic.records_in_flight),
        grouped(total(&traffic.discarded.record))
    )
}

fn discarded_lines(discarded: &Discarded, paint: Paint, lines: &mut Vec<String>) {
    let kinds = [
        ("datagrams", &discarded.datagram),
        ("sets", &discarded.set),
        ("records", &discarded.record),
    ];
    for (kind, reasons) in kinds {
        for (reason, &count) in reasons {
            let meaning = meaning(reason).map_or(String::new(), |means| format!(" ({means})"));
            let line = format!("  discarded     {} {kind}: {reason}{meaning}", grouped(count));
            lines.push(paint.bad(&line));
        }
    }
}

/// What a reason means, in one line; none of one that only another version of weir knows.
fn meaning(reason: &str) -> Option<&'static str> {
    let known = Discard::ALL.iter().find(|known| known.name() == reason)?;
    Some(known.meaning())
}

fn storing_lines(storing: &Traffic, paint: Paint, lines: &mut Vec<String>) {
    lines.push(format!(
        "  to store      {} records = {} stored + {} discarded",
        grouped(storing.records_decoded),
        grouped(storing.records_delivered),
        grouped(total(&storing.discarded.record))
    ));
    discarded_lines(&storing.discarded, paint, lines);
}

fn store_lines(status: &UnitStatus, paint: Paint, lines: &mut Vec<String>) {
    let Some(store) = &status.store else { return };
    lines.push(format!(
        "  store         {}: {} segments, {} rows, {} bytes; {} rows in memory",
        store.directory,
        grouped(store.segments),
        grouped(store.sealed_rows),
        grouped(store.bytes),
        grouped(store.memory_rows)
    ));
    if store.names > 0 {
        lines.push(format!(
            "  names         {} of interfaces, applications and VRFs",
            grouped(store.names)
        ));
    }
    if store.refused_names > 0 {
        let refused = grouped(store.refused_names);
        lines.push(paint.warning(&format!(
            "  names         {refused} refused: their exporters have told too many"
        )));
    }
    if !store.last_error.is_empty() {
        lines.push(paint.bad(&format!(
            "  store         cannot seal ({} failures): {}",
            grouped(store.seal_failures),
            store.last_error
        )));
    }
}

fn slave_lines(status: &UnitStatus, paint: Paint, lines: &mut Vec<String>) {
    if status.slaves.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "slave",
        "<state",
        "weight",
        "messages",
        "records",
        "options",
        "forwarded",
        "lost",
    ]);
    for slave in &status.slaves {
        let state = match (slave.healthy, slave.drained) {
            (false, _) => format!("away: {}", slave.reason),
            (true, true) => "drained".to_owned(),
            (true, false) if slave.external => "external".to_owned(),
            (true, false) => "healthy".to_owned(),
        };
        table.row(vec![
            slave.name.clone(),
            state,
            if slave.drained { "-".to_owned() } else { slave.weight.to_string() },
            grouped(slave.messages),
            grouped(slave.records),
            grouped(slave.options),
            grouped(slave.forwarded),
            grouped(slave.losses),
        ]);
    }
    let healthy = std::iter::once(true).chain(status.slaves.iter().map(|slave| slave.healthy));
    for (line, healthy) in table.lines(2).into_iter().zip(healthy) {
        lines.push(if healthy { line } else { paint.bad(&line) });
    }
}

fn session_lines(status: &UnitStatus, sessions: usize, lines: &mut Vec<String>) {
    if status.sessions.is_empty() {
        return;
    }
    let headings = [
        "exporter",
        "port",
        "<protocol",
        "<over",
        "domain",
        "templates",
        "datagrams",
        "records",
        "lost",
        "restarts",
    ];
    let mut table = Table::new(&headings);
    for session in status.sessions.iter().take(sessions) {
        table.row(vec![
            session.exporter.clone(),
            session.port.to_string(),
            session.protocol.clone(),
            session.transport.clone(),
            session.domain.to_string(),
            session.templates.to_string(),
            format::scaled(session.datagrams),
            format::scaled(session.records),
            format::scaled(session.lost),
            format::scaled(session.resets),
        ]);
    }
    lines.extend(table.lines(2));
    let hidden = status.sessions.len().saturating_sub(sessions) as u64;
    let more = hidden + u64::from(status.sessions_omitted);
    if more > 0 {
        lines.push(format!("  and {} transport sessions more", grouped(more)));
    }
}

/// One line: whether everything that any unit took is accounted for.
fn conservation(status: &UnitStatus, paint: Paint) -> String {
    let (mut holds, mut broken, mut unknown) = (0, Vec::new(), Vec::new());
    judge(status, &mut holds, &mut broken, &mut unknown);
    let mut line = match broken.as_slice() {
        [] => format!("conservation: holds at {holds} unit{}", if holds == 1 { "" } else { "s" }),
        names => {
            format!("conservation: BROKEN at {}: its counters do not add up", names.join(", "))
        }
    };
    if !unknown.is_empty() {
        line.push_str(&format!("; unknown at {}", unknown.join(", ")));
    }
    if broken.is_empty() && unknown.is_empty() { paint.good(&line) } else { paint.bad(&line) }
}

/// What was discarded where, if anything: `discarded: 100 records at p1 (record_no_slave)`, in as
/// many lines as it needs.
fn all_discarded(status: &UnitStatus) -> Vec<String> {
    let mut places = Vec::new();
    discarded_places(status, &mut places);
    let mut lines: Vec<String> = Vec::new();
    for place in places {
        match lines.last_mut() {
            Some(line) if line.len() + place.len() + 2 < COLUMNS => {
                line.push_str("; ");
                line.push_str(&place);
            }
            _ => lines.push(format!("discarded: {place}")),
        }
    }
    lines
}

fn discarded_places(status: &UnitStatus, places: &mut Vec<String>) {
    for traffic in status.traffic.iter().chain(&status.storing) {
        let Discarded { datagram, set, record } = &traffic.discarded;
        for (kind, reasons) in [("datagrams", datagram), ("sets", set), ("records", record)] {
            for (reason, &count) in reasons {
                places.push(format!("{} {kind} at {} ({reason})", grouped(count), status.name));
            }
        }
    }
    status.units.iter().for_each(|unit| discarded_places(unit, places));
}

fn judge<'a>(
    status: &'a UnitStatus,
    holds: &mut usize,
    broken: &mut Vec<&'a str>,
    unknown: &mut Vec<&'a str>,
) {
    match status.conserved {
        _ if !status.up => unknown.push(&status.name),
        Some(true) => *holds += 1,
        Some(false) => broken.push(&status.name),
        None => {}
    }
    for unit in &status.units {
        judge(unit, holds, broken, unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Delivery, Session, StoreStatus};
    use crate::topology::Role;

    fn topology() -> UnitStatus {
        let mut traffic = Traffic {
            datagrams_received: 1_234_567,
            datagrams_accepted: 1_234_560,
            records_decoded: 20,
            records_delivered: 20,
            ..Traffic::default()
        };
        traffic.discarded.datagram.insert("unknown_version".into(), 7);
        let unit = |name: &str, role| UnitStatus {
            name: name.into(),
            role: Some(role),
            address: "10.0.0.3".into(),
            up: true,
            version: "0.1.0".into(),
            ..UnitStatus::default()
        };
        let mut slave = unit("s1", Role::Slave);
        slave.traffic = Some(traffic.clone());
        slave.store = Some(StoreStatus { directory: "/var/lib/weir".into(), ..Default::default() });
        slave.judge();
        let down = UnitStatus {
            up: false,
            reason: "connection refused".into(),
            ..unit("s2", Role::Slave)
        };
        let mut proxy = unit("p1", Role::Proxy);
        proxy.traffic = Some(traffic);
        proxy.slaves.push(Delivery { name: "s1".into(), healthy: true, ..Delivery::default() });
        proxy.sessions.push(Session {
            exporter: format!("[{}]:65535", "2001:db8:1111:2222:3333:4444:5555:6666"),
            protocol: "netflow9".into(),
            domain: u32::MAX,
            datagrams: u64::MAX,
            ..Session::default()
        });
        proxy.units = vec![slave, down];
        proxy.judge();
        UnitStatus { units: vec![proxy], ..unit("m1", Role::Master) }
    }

    #[test]
    fn a_picture_fits_100_columns_and_names_who_is_down() {
        let text = picture(&topology(), Paint::none(), 10);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(text.contains("  └ s2 slave"), "{text}");
        assert!(text.contains("DOWN: connection refused"), "{text}");
        assert!(text.contains("7 datagrams: unknown_version"), "{text}");
        assert!(text.contains("conservation: holds at 2 units; unknown at s2"), "{text}");
    }

    #[test]
    fn what_is_discarded_is_named_beside_the_conservation() {
        let mut status = topology();
        let traffic = status.units[0].traffic.as_mut().unwrap();
        traffic.discarded.record.insert("record_no_slave".into(), 100);
        assert_eq!(
            all_discarded(&status),
            [
                "discarded: 7 datagrams at p1 (unknown_version); 100 records at p1 (record_no_slave)",
                "discarded: 7 datagrams at s1 (unknown_version)"
            ]
        );
        assert!(all_discarded(&UnitStatus::default()).is_empty());
    }

    #[test]
    fn what_sflow_brings_beside_its_flows_is_shown_where_there_is_any() {
        let mut status = topology();
        assert!(!picture(&status, Paint::none(), 10).contains("sFlow"));
        status.units[0].traffic.as_mut().unwrap().counter_samples = 1_502;
        let text = picture(&status, Paint::none(), 10);
        assert!(
            text.contains("of sFlow      1,502 counter samples, not kept; 0 samples"),
            "{text}"
        );
    }

    #[test]
    fn broken_conservation_is_named() {
        let mut status = topology();
        status.units[0].traffic.as_mut().unwrap().records_decoded += 1;
        status.units[0].judge();
        let text = picture(&status, Paint::none(), 10);
        assert!(text.contains("conservation: BROKEN at p1"), "{text}");
        assert!(!is_well(&status));
    }
}
