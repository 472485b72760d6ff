//! benches/RESULTS.md and benches/plots/: each part is replaced by what was last measured of it, and
//! stays as it is where nothing was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use weir_benches::engine::{AXES, BASE, Point, axis};
use weir_benches::hostile::Hostile;
use weir_controlplane::lab::tool;

use crate::cost::Cost;
use crate::decode::{self, Decoded};
use crate::instructions::NOBODY;
use crate::latency::Latency;
use crate::plot::{Panel, svg};
use crate::results;

/// Full packets of 1,500 bytes that a 10GbE port carries, a second.
const PORT_PACKETS: f64 = 812_700.0;
/// Their records, of 53 bytes.
const PORT_FLOWS: f64 = 25.0 * PORT_PACKETS;

/// Nanoseconds an iteration, by Criterion's group and function, with the elements of one iteration.
type Times = BTreeMap<(String, String), (f64, f64)>;

/// Writes everything that has been measured.
pub(crate) fn report() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("RESULTS.md");
    let mut text = std::fs::read_to_string(&path)?;
    let times = criterion()?;
    let instructions = results::load("instructions").unwrap_or_default();
    let parts = [
        ("machine", Some(machine())),
        ("engine", engine(&times, &instructions)),
        ("hostile", hostile(&times, &instructions)),
        ("kernel", results::load("kernel").map(|costs: Vec<Cost>| kernel(&costs))),
        ("peers", results::load("peers").map(|costs: Vec<Cost>| peers(&costs))),
        ("decode", results::load("decode").map(|rows: Vec<Decoded>| decode::table(&rows))),
        ("latency", results::load("latency").map(|rows: Vec<Latency>| latency(&rows))),
    ];
    for (name, part) in parts {
        match part {
            Some(part) => text = replace(&text, name, &part)?,
            None => println!("report: no {name} was measured; what stands there stays"),
        }
    }
    std::fs::write(&path, text)?;
    if let Some(plot) = plot(&times) {
        std::fs::create_dir_all(folder.join("plots"))?;
        std::fs::write(folder.join("plots/cost.svg"), plot)?;
    }
    println!("report: {}", path.display());
    Ok(())
}

/// Puts `part` between its two marks.
fn replace(text: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no mark {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no mark {end}"))?;
    Ok(format!("{before}{begin}{part}{end}{after}"))
}

/// One line on what all this was measured with.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let said = |program: &str, words: &[&str]| {
        let said = tool::run(Command::new(program).args(words)).unwrap_or_default();
        said.trim().to_owned()
    };
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once([':', '='])
            .map_or("", |(_, value)| value)
            .trim()
            .trim_matches('"')
            .to_owned()
    };
    let model = line(&read("/proc/cpuinfo"), "model name");
    let memory = line(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let system = line(&read("/etc/os-release"), "PRETTY_NAME");
    format!(
        "Machine: {cores} cores of {model}, {} GiB, Linux {}, {system}, {}; commit {}, {}.\n",
        kib >> 20,
        kernel.trim().split('-').next().unwrap_or_default(),
        said("rustc", &["--version"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        said("date", &["--iso-8601"]),
    )
}

/// Reads what Criterion left beside the built programs.
fn criterion() -> Result<Times> {
    #[derive(Deserialize)]
    struct About {
        group_id: String,
        function_id: Option<String>,
        throughput: Option<BTreeMap<String, f64>>,
    }
    #[derive(Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
    }
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("…/release/weir-bench")?;
    let mut times = Times::new();
    let mut folders: Vec<PathBuf> = vec![target.join("criterion")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        if folder.ends_with("new")
            && let (Ok(about), Ok(estimates)) = (read("benchmark.json"), read("estimates.json"))
        {
            let about: About = serde_json::from_str(&about)?;
            let estimates: Estimates = serde_json::from_str(&estimates)?;
            let elements = about.throughput.and_then(|t| t.get("Elements").copied());
            let key = (about.group_id, about.function_id.unwrap_or_default());
            times.insert(key, (estimates.median.point_estimate, elements.unwrap_or(1.0)));
        }
    }
    Ok(times)
}

/// Nanoseconds a record at a point.
fn record_ns(times: &Times, point: &Point) -> Option<f64> {
    times.get(&("engine".to_owned(), point.name())).map(|(ns, records)| ns / records)
}

fn packet_ns(times: &Times, point: &Point) -> Option<f64> {
    record_ns(times, point).map(|ns| ns * f64::from(point.load.records))
}

fn engine(times: &Times, instructions: &BTreeMap<String, f64>) -> Option<String> {
    record_ns(times, &BASE)?;
    let mut out = String::from(
        "| axis | value | ns a packet | flows/s on one core | of the port's limit | instructions a record |\n\
         |---|---|---|---|---|---|\n",
    );
    for name in AXES {
        for (value, point) in axis(name) {
            let Some(ns) = record_ns(times, &point) else { continue };
            let base = if point == BASE { " (base)" } else { "" };
            let count = instructions.get(&point.name());
            // The port carries more of smaller packets, and fewer records in each.
            let limit = match name {
                "protocol" | "records" => "–".to_owned(),
                _ => format!("{:.1}×", 1e9 / ns / PORT_FLOWS),
            };
            out += &format!(
                "| {name} | {value}{base} | {:.0} | {:.1} M | {limit} | {} |\n",
                ns * f64::from(point.load.records),
                1e3 / ns,
                count.map_or("–".to_owned(), |count| format!("{count:.0}")),
            );
        }
    }
    Some(out)
}

fn hostile(times: &Times, instructions: &BTreeMap<String, f64>) -> Option<String> {
    let time = |group: &str, name: &str| times.get(&(group.to_owned(), name.to_owned())).copied();
    let (nobody, _) = time("hostile", "nobody")?;
    let honest = time("engine", &Point { sources: 1_000, ..BASE }.name());
    let mut out = String::from(
        "| a hostile exporter sends | honest packets cost, in time | in instructions | its own packets cost, of an honest one's |\n|---|---|---|---|\n",
    );
    for name in Hostile::ALL.map(Hostile::name) {
        let Some((ns, _)) = time("hostile", name) else { continue };
        let own = time("hostile alone", name).zip(honest).map(|((own, packets), (ns, records))| {
            format!("{:.2}×", own / packets / (ns / records * f64::from(BASE.load.records)))
        });
        let counted = instructions.get(name).zip(instructions.get(NOBODY));
        out += &format!(
            "| {name} | {:.2}× | {} | {} |\n",
            ns / nobody,
            counted.map_or("–".into(), |(with, without)| format!("{:.2}×", with / without)),
            own.unwrap_or("–".into())
        );
    }
    Some(out)
}

fn kernel(costs: &[Cost]) -> String {
    let of =
        |name: &str| costs.iter().find(|cost| cost.candidate.contains(name)).map(Cost::total_ns);
    let (drop, bare) = (of("drop").unwrap_or_default(), of("redirect"));
    let mut out = String::from(
        "| way | ns a packet | over drop | of the bare redirect | packets that came back |\n|---|---|---|---|---|\n",
    );
    for cost in costs {
        out += &format!(
            "| {} | {:.0} | {:+.0} | {} | {:.1} % |\n",
            cost.candidate,
            cost.total_ns(),
            cost.total_ns() - drop,
            bare.map_or("–".to_owned(), |bare| format!("{:.2}×", cost.total_ns() / bare)),
            100.0 * cost.returned as f64 / cost.packets as f64,
        );
    }
    out
}

fn peers(costs: &[Cost]) -> String {
    let mut out = String::from(
        "| packets | proxy | ns a packet: its processes | receiving | flows per CPU second | of the best peer | highest rate without loss, packets/s |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for cost in costs {
        let rivals = costs
            .iter()
            .filter(|other| other.load == cost.load && !other.candidate.starts_with("weir"));
        let best = rivals.map(Cost::flows).fold(0.0, f64::max);
        out += &format!(
            "| {} | {} | {:.0} | {:.0} | {:.2} M | {:.2}× | {:.0} |\n",
            cost.load,
            cost.candidate,
            cost.process_ns,
            cost.receive_ns,
            cost.flows() / 1e6,
            cost.flows() / best,
            cost.saturation.unwrap_or_default(),
        );
    }
    out
}

fn latency(rows: &[Latency]) -> String {
    let mut out = String::from(
        "| way | load, of its highest rate | packets/s | p50, µs | p99, µs | p99.9, µs | records lost |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let micros = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    for row in rows {
        out += &format!(
            "| {} | {:.0} % | {:.0} | {} | {} | {} | {} |\n",
            row.candidate,
            100.0 * row.share,
            row.rate,
            micros(row.p50),
            micros(row.p99),
            micros(row.p999),
            row.lost_records,
        );
    }
    out
}

/// Cost against sources, slaves and packet size.
fn plot(times: &Times) -> Option<String> {
    let dots = |name: &str| -> Option<Vec<(String, f64)>> {
        let label = |value: String, point: &Point| match name {
            "records" => format!("{} B", point.load.data_packet(0, 0).len()),
            _ => value,
        };
        let dot = |(value, point): (String, Point)| {
            Some((label(value, &point), packet_ns(times, &point)?))
        };
        axis(name).into_iter().map(dot).collect()
    };
    let panels = [
        Panel { axis: "sources", dots: dots("sources")? },
        Panel { axis: "slaves", dots: dots("slaves")? },
        Panel { axis: "packet size (payload, 1 to 25 records)", dots: dots("records")? },
    ];
    let title = "What a NetFlow v9 packet costs the proxy's engine, round robin";
    Some(svg(title, &panels, ("a 10GbE port's full packets: 1,230 ns", 1e9 / PORT_PACKETS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        assert_eq!(replace(text, "x", "new\n").unwrap(), "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
        assert!(replace(text, "y", "new\n").is_err());
    }
}
