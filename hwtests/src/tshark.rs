//! tshark as an independent reader, for what nfdump does not store.

use std::path::Path;
use std::process::Command;

use weir_controlplane::lab::{Error, tool};

/// Flow records of a pcap file whose exporters send to `port`, as tshark dissects them.
///
/// # Errors
/// When tshark cannot read it.
pub fn flows(pcap: &Path, port: u16) -> Result<u64, Error> {
    let mut command = Command::new("tshark");
    command.args(["-d", &format!("udp.port=={port},cflow"), "-V", "-r"]).arg(pcap);
    let said = tool::run(&mut command)?;
    Ok(said.lines().filter(|line| is_flow(line)).count() as u64)
}

/// Whether the line begins a record: `        Flow 12`.
fn is_flow(line: &str) -> bool {
    let number = line.trim_start().strip_prefix("Flow ");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_flows_are_records() {
        assert!(is_flow("        Flow 12"));
        assert!(!is_flow("    FlowSequence: 1"));
        assert!(!is_flow("        Flow Direction"));
    }
}
