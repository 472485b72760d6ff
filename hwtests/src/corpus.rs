//! The corpus: captures of many vendors' exporters, kept outside the repository for their licences.
//!
//! Its manifest names each file's protocol. Files that belong together (a template and the data
//! that needs it) are sent one after another from one exporter: a [`Conversation`].

use std::path::{Path, PathBuf};

pub mod claim;
pub mod decoded;
pub mod differences;
pub mod differential;
pub mod expected;
pub mod file;
pub mod findings;
pub mod flows;
pub mod folder;
pub mod hex;
pub mod peer;
pub mod traffic;

/// Protocols of this collector, as the manifest names them.
const PROTOCOLS: [&str; 7] = ["v1", "v5", "v7", "v9", "ipfix", "sflow5", "sflow5+v5"];

/// Files of one exporter, in the order in which it sent them; each line: folder, then files.
const TOGETHER: &str = "\
akvorado/outlet/flow/decoder/netflow/testdata template.pcap data.pcap
akvorado/outlet/flow/decoder/netflow/testdata options-template.pcap options-data.pcap
akvorado/outlet/flow/decoder/netflow/testdata samplingrate-template.pcap samplingrate-data.pcap
akvorado/outlet/flow/decoder/netflow/testdata icmp-template.pcap icmp-data.pcap
akvorado/outlet/flow/decoder/netflow/testdata ipfix-srv6-template.pcap ipfix-srv6-data.pcap
fluent-plugin-netflow/test/dump netflow.v9.template.dump netflow.v9.dump
fluent-plugin-netflow/test/dump netflow.v9.template.flowStartMilliseconds.dump netflow.v9.flowStartMilliseconds.dump
goflow2-testbytes netflow-netflow_01_TestDecodeNetFlowV9_template.bin netflow-netflow_02_TestDecodeNetFlowV9_data.bin
graylog-plugin-netflow/src/test/resources/netflow-data netflow-v9-2-1.dat netflow-v9-2-2.dat netflow-v9-2-3.dat
logstash-codec-netflow/spec/codecs ipfix_test_mikrotik_tpl.dat ipfix_test_mikrotik_data258.dat ipfix_test_mikrotik_data259.dat
logstash-codec-netflow/spec/codecs ipfix_test_netscaler_tpl.dat ipfix_test_netscaler_data.dat
logstash-codec-netflow/spec/codecs ipfix_test_openbsd_pflow_tpl.dat ipfix_test_openbsd_pflow_data.dat
logstash-codec-netflow/spec/codecs ipfix_test_vmware_vds_tpl.dat ipfix_test_vmware_vds_data264.dat ipfix_test_vmware_vds_data266.dat ipfix_test_vmware_vds_data266_267.dat
logstash-codec-netflow/spec/codecs ipfix_test_yaf_tpls_option_tpl.dat ipfix_test_yaf_tpl45841.dat ipfix_test_yaf_data45841.dat ipfix_test_yaf_data45873.dat
logstash-codec-netflow/spec/codecs netflow9_test_cisco_asa_1_tpl.dat netflow9_test_cisco_asa_1_data.dat
logstash-codec-netflow/spec/codecs netflow9_test_cisco_asa_2_tpl_26x.dat netflow9_test_cisco_asa_2_tpl_27x.dat netflow9_test_cisco_asa_2_data.dat
logstash-codec-netflow/spec/codecs netflow9_test_cisco_asr9k_opttpl256.dat netflow9_test_cisco_asr9k_opttpl257.dat netflow9_test_cisco_asr9k_opttpl334.dat netflow9_test_cisco_asr9k_tpl260.dat netflow9_test_cisco_asr9k_tpl266.dat netflow9_test_cisco_asr9k_data256.dat netflow9_test_cisco_asr9k_data260.dat
logstash-codec-netflow/spec/codecs netflow9_test_fortigate_fortios_521_tpl.dat netflow9_test_fortigate_fortios_521_data256.dat netflow9_test_fortigate_fortios_521_data257.dat
logstash-codec-netflow/spec/codecs netflow9_test_fortigate_fortios_542_appid_tpl258-269.dat netflow9_test_fortigate_fortios_542_appid_data258_262.dat
logstash-codec-netflow/spec/codecs netflow9_test_h3c_netstream_varstring_tpl3281.dat netflow9_test_h3c_netstream_varstring_data3281.dat
logstash-codec-netflow/spec/codecs netflow9_test_macaddr_tpl.dat netflow9_test_macaddr_data.dat
logstash-codec-netflow/spec/codecs netflow9_test_nprobe_tpl.dat netflow9_test_nprobe_data.dat netflow9_test_nprobe_dpi.dat
logstash-codec-netflow/spec/codecs netflow9_test_paloalto_panos_tpl.dat netflow9_test_paloalto_panos_data.dat
python-netflow-testbytes PACKET_V9_TEMPLATE.bin PACKETS_V9_0.bin PACKETS_V9_1.bin PACKETS_V9_2.bin
python-netflow-testbytes PACKET_IPFIX_TEMPLATE.bin PACKET_IPFIX.bin
telegraf/plugins/inputs/netflow/testcases/ipfix_example ipfix_0.bin ipfix_1.bin ipfix_2.bin ipfix_3.bin ipfix_4.bin ipfix_5.bin ipfix_6.bin
telegraf/plugins/inputs/netflow/testcases/ipfix_pen_35632 message-1.bin message-2.bin message-3.bin message-4.bin
vflow-testbytes decoder-ipfix_01_init_tpl.bin decoder-ipfix_02_optsTpl.bin
vflow-testbytes decoder-ipfix_06_TestDecodeDataTpl_tpl.bin decoder-ipfix_05_TestDecodeDataTpl_payload.bin
";

/// Files that one exporter sends, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Names within the corpus.
    pub names: Vec<String>,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Whether there is sFlow in it, which nfdump leaves to a collector of its own.
    pub sflow: bool,
}

/// Where the corpus is: `$WEIR_CORPUS`, else `../shared/corpus` beside the workspace.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.tsv").is_file().then_some(folder)
}

/// All of NetFlow, IPFIX and sFlow in the corpus, each file in exactly one conversation.
///
/// # Panics
/// When the manifest cannot be read, or lacks a file that is known to belong to a conversation.
pub fn conversations(corpus: &Path) -> Vec<Conversation> {
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.tsv")).expect("a manifest");
    conversations_of(&manifest, corpus)
}

fn conversations_of(manifest: &str, corpus: &Path) -> Vec<Conversation> {
    let mut sflow = Vec::new();
    let mut alone: Vec<String> = manifest
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let (name, protocol) = (fields.first()?, fields.get(3)?);
            if protocol.starts_with("sflow") {
                sflow.push((*name).to_owned());
            }
            PROTOCOLS.contains(protocol).then(|| (*name).to_owned())
        })
        .collect();
    let mut all = Vec::new();
    for line in TOGETHER.lines() {
        let mut words = line.split_whitespace();
        let folder = words.next().unwrap_or_default();
        let names: Vec<_> = words.map(|file| format!("{folder}/{file}")).collect();
        if alone.iter().any(|name| names.contains(name)) {
            alone.retain(|name| !names.contains(name));
            all.push(names);
        }
    }
    all.extend(alone.into_iter().map(|name| vec![name]));
    let conversation = |names: Vec<String>| Conversation {
        files: names.iter().map(|name| corpus.join(name)).collect(),
        sflow: names.iter().any(|name| sflow.contains(name)),
        names,
    };
    all.into_iter().map(conversation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_belong_together_are_one_conversation() {
        let manifest = "path\torigin\tlicence\tprotocol\n\
                        vflow-testbytes/decoder-ipfix_01_init_tpl.bin\tx\ty\tipfix\n\
                        other/a.pcap\tx\ty\tv9\n\
                        other/b.pcap\tx\ty\tmalformed\n\
                        other/c.pcap\tx\ty\tsflow5\n\
                        vflow-testbytes/decoder-ipfix_02_optsTpl.bin\tx\ty\tipfix\n";
        let all = conversations_of(manifest, Path::new("/c"));
        let names: Vec<_> = all.iter().map(|conversation| conversation.names.len()).collect();
        assert_eq!(names, [2, 1, 1]);
        assert_eq!(all.iter().map(|c| c.sflow).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(all[1].files, [Path::new("/c/other/a.pcap")]);
    }
}
