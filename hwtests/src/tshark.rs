//! tshark as an independent reader, for what nfdump does not store.

use std::path::Path;
use std::process::Command;

use weir_controlplane::lab::units::Sums;
use weir_controlplane::lab::{Error, tool};

/// Flow records of a pcap file whose exporters send to `port`, as tshark dissects them, with the
/// packets and bytes that they count.
///
/// # Errors
/// When tshark cannot read it.
pub fn sums(pcap: &Path, port: u16) -> Result<Sums, Error> {
    let mut command = Command::new("tshark");
    command.args(["-d", &format!("udp.port=={port},cflow"), "-V", "-r"]).arg(pcap);
    let said = tool::run(&mut command)?;
    let sum = |name| said.lines().filter_map(|line| number(line, name)).sum();
    let flows = said.lines().filter(|line| is_flow(line)).count() as u64;
    Ok(Sums { flows, packets: sum("Packets: "), bytes: sum("Octets: ") })
}

/// The number of a field with this name.
fn number(line: &str, name: &str) -> Option<u64> {
    line.trim_start().strip_prefix(name)?.parse().ok()
}

/// Whether the line begins a record: `        Flow 12`, of versions 1 to 8 `    pdu 12/30`.
fn is_flow(line: &str) -> bool {
    let line = line.trim_start();
    let of_packet = || line.strip_prefix("pdu ")?.split_once('/').map(|(number, _)| number);
    let number = line.strip_prefix("Flow ").or_else(of_packet);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_name_and_a_number() {
        assert_eq!(number("            Packets: 5", "Packets: "), Some(5));
        assert_eq!(number("            Packets: 5 (odd)", "Packets: "), None);
        assert_eq!(number("            Octets: 5", "Packets: "), None);
    }

    #[test]
    fn only_numbered_flows_are_records() {
        assert!(is_flow("        Flow 12"));
        assert!(is_flow("    pdu 12/30"));
        assert!(!is_flow("    FlowSequence: 1"));
        assert!(!is_flow("        Flow Direction"));
    }
}
