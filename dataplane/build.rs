//! Generates the table of information elements (`element::TABLE`) from `elements/iana.tsv`.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const SOURCE: &str = "elements/iana.tsv";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(SOURCE).unwrap_or_else(|error| panic!("{SOURCE}: {error}"));
    let to = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let to = Path::new(&to).join("elements.rs");
    fs::write(&to, table(&text)).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}

/// The Rust array of the elements, in the order of their numbers.
fn table(text: &str) -> String {
    let mut rust = String::from("[\n");
    let mut last = 0;
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [number, name, kind, units] = fields[..] else {
            panic!("{SOURCE}:{}: four columns are needed", at + 1);
        };
        let number: u16 = number.parse().unwrap_or_else(|e| panic!("{SOURCE}:{}: {e}", at + 1));
        assert!(number > last, "{SOURCE}:{}: numbers must rise", at + 1);
        last = number;
        let kind = kind[..1].to_uppercase() + &kind[1..];
        let units = units.trim_start_matches('-');
        writeln!(
            rust,
            "Element {{ enterprise: 0, id: {number}, name: {name:?}, kind: DataType::{kind}, units: {units:?} }},"
        )
        .expect("a string takes what is written to it");
    }
    rust + "]"
}
