//! `weir query`: a question in nfdump's words, and the answer with what it is made of.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use weir_dataplane::Timestamp;
use weir_store::query::{Answer, Limits, Partial, Plan, Question, View, answer, format};
use weir_store::{Store, query::Totals};

use super::exit::{Outcome, UsageError};
use super::out::{line, out};
use super::paint::Paint;
use super::peer;
use super::unit::duration;
use super::window::Window;
use crate::coverage::Coverage;
use crate::service::QUERY_DEADLINE;
use crate::service::query::QueryClient;
use crate::unit::on_rpc_thread;

/// Rows of a statistic where `-n` says nothing, as in nfdump.
const TOP: usize = 10;

/// Flows of a listing where `-n` says nothing.
const LISTED: usize = 100;

/// `weir query --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir query -M 10.0.0.1 'proto tcp and dst port 443' -s dstip/bytes -n 10
  weir query -M 10.0.0.1 'net 192.0.2.0/24' -t 15m
  weir query -M 10.0.0.1 -s srcip/flows -s dstport/packets --json
  weir query -R /var/lib/weir 'src ip 192.0.2.1' --csv

Statistics: srcip dstip ip srcport dstport port proto tos srcas dstas as inif outif if nhip router
  flags vlan dir odid record, joined by commas; ordered by /flows /packets /bytes /pps /bps /bpp.

Exit codes: 0 every slave answered; 1 failed, or no slave answered; 2 usage; 3 some slaves did not
  answer: the answer is right for those that did.")]
pub struct Arguments {
    /// Ask the unit at this address: a master, or a proxy or slave for its own part
    #[arg(short = 'M', long, value_name = "HOST[:PORT]", required_unless_present = "read")]
    master: Option<String>,
    /// Read the store in this folder, without any server
    #[arg(short = 'R', long, value_name = "DIR", conflicts_with = "master")]
    read: Option<PathBuf>,
    /// Which flows, in nfdump's filter language [default: all]
    #[arg(value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Statistic of these elements, ordered; may be repeated
    #[arg(short = 's', long, value_name = "ELEM[,ELEM…][/ORDER]")]
    statistic: Vec<String>,
    /// Aggregate by these keys
    #[arg(short = 'A', long, value_name = "KEY[,KEY…]", conflicts_with = "statistic")]
    aggregate: Option<String>,
    /// Rows to print, 0 for all [default: 10 of a statistic, 100 flows]
    #[arg(short = 'n', long, value_name = "N")]
    number: Option<usize>,
    /// Only flows wholly within this time, UTC: 15m, 7d (the last 15 minutes, 7 days);
    /// 2026/11/22.18:00-2026/11/22.19:00 as in nfdump: up to the very instant 19:00:00; or
    /// 2026-11-22T18:00..2026-11-22T19:00 with the whole of its last minute (or hour, day, second)
    #[arg(short = 't', long, value_name = "WINDOW")]
    time: Option<String>,
    /// Wait at most so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print JSON: one object, or with several -s an array of them
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV; what the answer is made of goes to stderr
    #[arg(long)]
    csv: bool,
}

/// Asks and prints.
///
/// # Errors
/// What makes no sense, or why there is no answer.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let questions = questions(arguments)?;
    let replies = match (&arguments.read, &arguments.master) {
        (Some(folder), _) => read(folder, &questions)?,
        (None, Some(master)) => {
            ask(master, arguments.timeout.unwrap_or(QUERY_DEADLINE), &questions)?
        }
        (None, None) => unreachable!("clap requires one of the two"),
    };
    replies.iter().try_for_each(Reply::answered_by_some)?;
    if arguments.json {
        print_json(&questions, &replies)?;
    } else {
        let paint = Paint::for_stdout();
        for (at, reply) in replies.iter().enumerate() {
            print(reply, arguments.csv, paint, at > 0)?;
        }
    }
    let complete = replies.iter().all(Reply::is_complete);
    Ok(if complete { Outcome::Done } else { Outcome::Partial })
}

/// An answer and what it is made of.
struct Reply {
    answer: Answer,
    /// `None` when a folder was read.
    coverage: Option<Coverage>,
    elapsed: Duration,
}

impl Reply {
    fn is_complete(&self) -> bool {
        self.coverage.as_ref().is_none_or(Coverage::is_complete)
            && self.answer.coverage.damaged.is_empty()
    }

    /// An answer of nobody is none: its zeroes would pass for "no such flows".
    fn answered_by_some(&self) -> anyhow::Result<()> {
        let Some(coverage) = &self.coverage else { return Ok(()) };
        if coverage.asked() == 0 || coverage.answered() > 0 {
            return Ok(());
        }
        let mut reasons: Vec<&str> = Vec::new();
        for unit in &coverage.units {
            if !reasons.contains(&unit.reason.as_str()) {
                reasons.push(&unit.reason);
            }
        }
        bail!("none of {} slaves answered: {}", coverage.asked(), reasons.join("; "));
    }
}

fn questions(arguments: &Arguments) -> anyhow::Result<Vec<Question>> {
    let usage = |words: String| anyhow::Error::from(UsageError(words));
    let window = match &arguments.time {
        Some(text) => Window::parse(text, Timestamp::now().0).map_err(usage)?,
        None => Window::default(),
    };
    let statistics = arguments.statistic.iter().chain(&arguments.aggregate);
    let mut views = Vec::new();
    for text in statistics {
        let limit = arguments.number.unwrap_or(TOP);
        views.push(View::statistic(text, limit).map_err(|error| usage(error.to_string()))?);
    }
    if views.is_empty() {
        views.push(View::Flows { limit: arguments.number.unwrap_or(LISTED) });
    }
    let question = |view| Question {
        filter: arguments.filter.clone(),
        from_ms: window.from_ms,
        until_ms: window.until_ms,
        view,
    };
    let questions: Vec<Question> = views.into_iter().map(question).collect();
    for question in &questions {
        Plan::compile(question).map_err(|error| {
            let shown = error.underline(&question.filter).replace('\n', "\n  ");
            usage(format!("the filter makes no sense: {}\n  {shown}", error.message))
        })?;
    }
    Ok(questions)
}

fn read(folder: &Path, questions: &[Question]) -> anyhow::Result<Vec<Reply>> {
    let reader = Store::open_read_only(folder)?;
    let snapshot = reader.snapshot();
    let mut replies = Vec::new();
    for question in questions {
        let began = Instant::now();
        let plan = Plan::compile(question)?;
        let partial = answer(&snapshot, &plan, &Limits::default())?;
        let elapsed = began.elapsed();
        replies.push(Reply { answer: partial.finish(question), coverage: None, elapsed });
    }
    Ok(replies)
}

fn ask(master: &str, deadline: Duration, questions: &[Question]) -> anyhow::Result<Vec<Reply>> {
    // The outer result is the console's, the inner one the runtime's.
    on_rpc_thread(async {
        Ok(async {
            let address = peer::resolve(master).await?;
            ask_at(address, deadline, questions).await
        }
        .await)
    })?
}

async fn ask_at(
    address: SocketAddr,
    deadline: Duration,
    questions: &[Question],
) -> anyhow::Result<Vec<Reply>> {
    let advise = |error| peer::advice(error, address);
    let client = QueryClient::connect(address).await.map_err(advise)?;
    let mut replies = Vec::new();
    for question in questions {
        let began = Instant::now();
        let answered = client.ask(question, deadline).await.map_err(advise)?;
        let plan = Plan::compile(question)?;
        let partial = Partial::from_bytes(&answered.partial, &plan)
            .with_context(|| format!("the unit at {address} gave an answer that cannot be read"))?;
        replies.push(Reply {
            answer: partial.finish(question),
            coverage: Some(answered.coverage),
            elapsed: began.elapsed(),
        });
    }
    Ok(replies)
}

fn print_json(questions: &[Question], replies: &[Reply]) -> anyhow::Result<()> {
    let mut objects: Vec<serde_json::Value> =
        questions.iter().zip(replies).map(|(question, reply)| object(question, reply)).collect();
    let value = match objects.len() {
        1 => objects.remove(0),
        _ => serde_json::Value::Array(objects),
    };
    line(&serde_json::to_string_pretty(&value)?)
}

fn object(question: &Question, reply: &Reply) -> serde_json::Value {
    let mut object = format::json(&reply.answer);
    let scanned = object["coverage"].take();
    let columns: Vec<_> = reply.answer.columns.iter().map(|column| &column.name).collect();
    object["columns"] = serde_json::json!(columns);
    object["question"] = serde_json::json!({
        "filter": question.filter,
        "from_ms": question.from_ms,
        "until_ms": question.until_ms,
    });
    object["scanned"] = scanned;
    object["coverage"] = serde_json::json!(reply.coverage);
    object["elapsed_ms"] = serde_json::json!(reply.elapsed.as_millis());
    object
}

fn print(reply: &Reply, csv: bool, paint: Paint, another: bool) -> anyhow::Result<()> {
    if another {
        line("")?;
    }
    let made_of = made_of(reply);
    if csv {
        out(&format::csv(&reply.answer))?;
        eprintln!("{}\n{made_of}", time_covered(&reply.answer.totals));
        for damaged in &reply.answer.coverage.damaged {
            eprintln!("left out: {damaged}");
        }
        return Ok(());
    }
    out(&format::table(&reply.answer))?;
    line(&if reply.is_complete() { made_of } else { paint.bad(&made_of) })
}

/// What the answer is made of: who answered, or what was read.
fn made_of(reply: &Reply) -> String {
    let seconds = reply.elapsed.as_secs_f64();
    let scanned = &reply.answer.coverage;
    match &reply.coverage {
        Some(coverage) => format!("{coverage} in {seconds:.3} s"),
        None => format!(
            "read {} segments ({} outside the time window skipped) in {seconds:.3} s",
            scanned.segments_scanned, scanned.segments_skipped
        ),
    }
}

fn time_covered(totals: &Totals) -> String {
    if totals.flows == 0 {
        return "time covered: no flow matches".to_owned();
    }
    let (first, last) = (format::time(totals.first_ms), format::time(totals.last_ms));
    format!("time covered: {first} to {last} UTC")
}
