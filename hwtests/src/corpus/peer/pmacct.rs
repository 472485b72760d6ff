//! nfacctd and sfacctd: a pcap file in, a CSV file out.
//!
//! They sum by what they are asked for, so each exporter's flows come by tuple, and `flows` says how
//! many there were.

use std::path::Path;
use std::process::Command;

use weir_controlplane::lab::units::Sums;

use super::super::flows::{Flows, Tuple};
use super::super::traffic::{NETFLOW, SFLOW, Traffic};
use super::{Answer, protocol, words};

/// Files over which nfacctd 1.7.7 never ends: a template of no length keeps it at the same data set.
const ENDLESS: [&str; 3] = [
    "libnetflow9/testcases/malformed_1.pcap",
    "libnetflow9/testcases/malformed_3.pcap",
    "libnetflow9/testcases/malformed_5.pcap",
];

/// Seconds after which a run is ended.
const PATIENCE: &str = "60";
/// How often it is run until it has written what it read.
const TRIES: usize = 3;

pub(super) fn flows(traffic: &Traffic, folder: &Path) -> Result<Answer, String> {
    let mut answer = Answer::of(traffic);
    for (program, port) in [("nfacctd", NETFLOW), ("sfacctd", SFLOW)] {
        let has_some = |number: &usize| {
            traffic.sent.iter().any(|sent| sent.conversation == *number && sent.port == port)
        };
        let wanted: Vec<_> = traffic.all().into_iter().filter(has_some).collect();
        let is_endless = |number: &usize| ENDLESS.contains(&traffic.names[*number].as_str());
        let (endless, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_endless);
        answer.unread.extend(endless);
        let mut parts = vec![wanted];
        while let Some(part) = parts.pop() {
            match run(program, &traffic.pcap(port, &part), folder)? {
                Some(text) => read(&text, traffic, &mut answer.flows)?,
                None if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left.to_vec(), right.to_vec()]);
                }
                None => answer.unread.extend(part),
            }
        }
    }
    Ok(answer)
}

/// Its CSV file; `None` when it does not end.
fn run(program: &str, pcap: &[u8], folder: &Path) -> Result<Option<String>, String> {
    let file = |name: &str| folder.join(format!("{program}.{name}"));
    let (input, output, configuration) = (file("pcap"), file("csv"), file("conf"));
    std::fs::write(&input, pcap).map_err(words)?;
    let lines = [
        format!("pcap_savefile: {}", input.display()),
        format!("print_output_file: {}", output.display()),
        "plugins: print".into(),
        "print_output: csv".into(),
        "print_output_file_append: true".into(),
        "print_num_protos: true".into(),
        // Nothing is lost between its two processes, however late the second is.
        "plugin_pipe_size: 134217728".into(),
        "plugin_buffer_size: 65536".into(),
        // Its second process is killed when the first has read the file, begun or not.
        "pcap_savefile_delay: 3".into(),
        "aggregate: peer_src_ip,src_host,dst_host,src_port,dst_port,proto".into(),
        format!("{program}_disable_checks: true"),
    ];
    std::fs::write(&configuration, lines.join("\n") + "\n").map_err(words)?;
    for _ in 0..TRIES {
        let _ = std::fs::remove_file(&output);
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", PATIENCE, program, "-f"]).arg(&configuration);
        let Ok(ran) = command.output() else { return Err(format!("{program} cannot be run")) };
        if !ran.status.success() {
            return Ok(None);
        }
        // Its last words, when it was not killed before.
        if [ran.stdout, ran.stderr].iter().any(|said| contains(said, b"Purging cache - END")) {
            break;
        }
    }
    // Without a flow it writes no file.
    Ok(Some(std::fs::read_to_string(&output).unwrap_or_default()))
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// Adds what the lines of a CSV file say.
fn read(text: &str, traffic: &Traffic, all: &mut [Flows]) -> Result<(), String> {
    let conversations = traffic.conversation_of();
    if text.trim().is_empty() {
        return Ok(());
    }
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    let at = |name: &str| {
        names.iter().position(|known| *known == name).ok_or(format!("no column {name}: {names:?}"))
    };
    let columns = [
        at("PEER_SRC_IP")?,
        at("SRC_IP")?,
        at("DST_IP")?,
        at("SRC_PORT")?,
        at("DST_PORT")?,
        at("PROTOCOL")?,
        at("PACKETS")?,
        at("BYTES")?,
    ];
    for line in lines {
        let words: Vec<_> = line.split(',').collect();
        let mut row = || {
            let word = |column: usize| words.get(columns[column]).copied();
            let conversation = conversations.get(&word(0)?.parse().ok()?)?;
            let address = |column| match word(column)? {
                "" => Some(std::net::IpAddr::from([0; 16])),
                word => word.parse().ok(),
            };
            let port = |column| word(column).and_then(|word| word.parse().ok());
            let tuple =
                Tuple::new(address(1)?, address(2)?, [port(3)?, port(4)?], protocol(word(5)?)?);
            let (packets, bytes) = (word(6)?.parse().ok()?, word(7)?.parse().ok()?);
            all[*conversation].add(tuple, Sums { flows: 1, packets, bytes });
            Some(())
        };
        row().ok_or_else(|| format!("pmacct wrote an odd line: {line}"))?;
    }
    Ok(())
}
