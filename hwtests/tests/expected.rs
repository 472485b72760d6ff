//! Every expected decode that the corpus comes with, compared field by field with weir's: each
//! difference is mended or in the table, with its reason.

use weir_hwtests::corpus::differences::Table;
use weir_hwtests::corpus::findings::Findings;
use weir_hwtests::corpus::{self, expected};

#[test]
fn every_expected_decode_is_weirs_or_explained() {
    let Some(folder) = corpus::folder() else {
        println!("skipped: no corpus beside the workspace; set WEIR_CORPUS to its folder");
        return;
    };
    let all = expected::find(&folder);
    assert!(!all.is_empty(), "the corpus has expected decodes");
    let mut total = Findings::default();
    println!("{:>8} {:>8} {:>9} {:>7}  file", "packets", "records", "fields", "differ");
    for one in &all {
        let findings = match one.compare() {
            Ok(findings) => findings,
            Err(reason) => panic!("{}: {reason}", one.name),
        };
        let compared = findings.compared;
        println!(
            "{:>8} {:>8} {:>9} {:>7}  {}",
            compared.packets,
            compared.records,
            compared.fields,
            findings.differences.len(),
            one.name
        );
        total.add(findings);
    }
    let is_ours = |file: &str| !file.contains(':');
    let verdict = Table::checked_in().judge(&total, is_ours);
    println!(
        "{} files, {} packets, {} records, {} fields compared: {} differences, {} explained, {} not",
        all.len(),
        total.compared.packets,
        total.compared.records,
        total.compared.fields,
        total.differences.len(),
        verdict.explained,
        verdict.unexplained.len()
    );
    for line in &verdict.applied {
        println!("explained: {line}");
    }
    let wrong: Vec<_> = verdict.unexplained.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "not explained:\n{}", wrong.join("\n"));
    assert!(verdict.outdated.is_empty(), "no longer so:\n{}", verdict.outdated.join("\n"));
}
