//! README.md's table against the RFCs' sections and the tests that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every section of RFC 7011, those in parts by their parts.
const RFC_7011: [&str; 74] = [
    "1", "1.1", "1.2", "2", "2.1", "3", "3.1", "3.2", "3.3", "3.3.1", "3.3.2", "3.4", "3.4.1",
    "3.4.2", "3.4.2.1", "3.4.2.2", "3.4.3", "4", "4.1", "4.2", "4.3", "4.4", "5", "5.1", "5.2",
    "6", "6.1", "6.1.1", "6.1.2", "6.1.3", "6.1.4", "6.1.5", "6.1.6", "6.1.7", "6.1.8", "6.1.9",
    "6.1.10", "6.2", "7", "8", "8.1", "8.2", "8.3", "8.4", "9", "9.1", "9.2", "9.3", "10", "10.1",
    "10.2", "10.3", "10.3.1", "10.3.2", "10.3.3", "10.3.4", "10.3.5", "10.4", "10.4.1", "10.4.2",
    "10.4.3", "10.4.4", "10.4.5", "11", "11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7",
    "11.8", "12", "13",
];

/// A row: the section, and the tests that hold it.
struct Row {
    section: String,
    binds: bool,
    tests: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// The rows of the table under this heading.
fn rows(heading: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let part = text.split("\n## ").find(|part| part.starts_with(heading)).unwrap();
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|-");
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [section, what, tests] = cells[..] else { panic!("three columns: {line}") };
        let quoted = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let binds = !what.starts_with('–');
        Row { section: section.to_owned(), binds, tests: quoted }
    };
    part.lines().filter(is_row).skip(1).map(row).collect()
}

/// The file of a test, and its name: `module::name` of this folder, `path.rs::name` from the root.
fn place(test: &str) -> (PathBuf, &str) {
    let (file, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("`{test}` names no file"));
    let path = match file.strip_suffix(".rs") {
        None => folder().join(file).with_extension("rs"),
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file),
    };
    (path, name)
}

#[test]
fn every_section_of_rfc_7011_has_its_row() {
    let sections: Vec<_> = rows("RFC 7011").into_iter().map(|row| row.section).collect();
    assert_eq!(sections, RFC_7011);
}

#[test]
fn every_row_that_binds_has_a_test_and_every_test_is_there() {
    for row in rows("RFC 7011").into_iter().chain(rows("RFC 5471")) {
        assert_eq!(row.binds, !row.tests.is_empty(), "section {}", row.section);
        for test in &row.tests {
            let (path, name) = place(test);
            let text = std::fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(text.contains(&format!("fn {name}(")), "{} has no {name}", path.display());
        }
    }
}

#[test]
fn every_test_here_has_its_row() {
    let named: BTreeSet<_> =
        rows("RFC 7011").into_iter().chain(rows("RFC 5471")).flat_map(|row| row.tests).collect();
    for module in ["message", "options", "encoding", "templates", "collecting"] {
        let text = std::fs::read_to_string(folder().join(module).with_extension("rs")).unwrap();
        for after in text.split("#[test]\nfn ").skip(1) {
            let (name, _) = after.split_once('(').unwrap();
            let test = format!("{module}::{name}");
            assert!(named.contains(&test), "README.md does not say what {test} holds");
        }
    }
}
