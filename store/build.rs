//! Generates the tables of information elements (`element::TABLE` and its companions) from the files
//! in `elements/`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const IANA: &str = "elements/iana.tsv";
const ENTERPRISE: &str = "elements/enterprise.tsv";
const ENTERPRISES: &str = "elements/enterprises.tsv";

/// The enterprise number of the reverse direction (RFC 5103).
const REVERSE: u32 = 29305;
const CISCO: u32 = 9;
const PALO_ALTO: u32 = 25461;
const CERT: u32 = 6871;
const NTOP: u32 = 35632;

/// Name, type and units by enterprise and number.
type Elements = BTreeMap<(u32, u16), (String, String, String)>;

fn main() {
    println!("cargo::rerun-if-changed=elements");
    println!("cargo::rerun-if-changed=build.rs");
    let mut elements = Elements::new();
    for fields in rows::<4>(IANA) {
        let [id, name, kind, units] = fields;
        insert(&mut elements, IANA, 0, &id, [name, kind, units]);
    }
    let iana = elements.clone();
    for fields in rows::<6>(ENTERPRISE) {
        let [enterprise, id, name, kind, units, _source] = fields;
        insert(
            &mut elements,
            ENTERPRISE,
            number(ENTERPRISE, &enterprise),
            &id,
            [name, kind, units],
        );
    }
    let aliases = aliases(&elements);
    for ((_, id), (name, kind, units)) in iana {
        elements.insert((REVERSE, id), (reverse(&name), kind, units));
    }
    // CERT marks the reverse direction of its own elements by a bit.
    let cert: Vec<_> = elements.range((CERT, 0)..(CERT, 1 << 14)).collect();
    let cert: Vec<_> = cert
        .into_iter()
        .map(|(&(_, id), (n, k, u))| (id, reverse(n), k.clone(), u.clone()))
        .collect();
    for (id, name, kind, units) in cert {
        elements.entry((CERT, id | 1 << 14)).or_insert((name, kind, units));
    }
    let enterprises = rows::<3>(ENTERPRISES).map(|[id, short, whose]| {
        format!("({}, {short:?}, {whose:?}),\n", number::<u32>(ENTERPRISES, &id))
    });
    write("elements.rs", &table(&elements));
    write("aliases.rs", &format!("[\n{aliases}]"));
    write("enterprises.rs", &format!("[\n{}]", enterprises.collect::<String>()));
}

/// The rows of a file of `N` columns, as text.
fn rows<const N: usize>(source: &'static str) -> impl Iterator<Item = [String; N]> {
    let text = fs::read_to_string(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.into_iter().enumerate().filter(|(_, line)| !line.starts_with('#')).map(
        move |(at, line)| {
            let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            fields
                .try_into()
                .unwrap_or_else(|_| panic!("{source}:{}: {N} columns are needed", at + 1))
        },
    )
}

fn number<T: std::str::FromStr>(source: &str, text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{source}: {text:?} is no number"))
}

/// Adds an element whose number must be above those before it.
fn insert(elements: &mut Elements, source: &str, enterprise: u32, id: &str, row: [String; 3]) {
    let key = (enterprise, number(source, id));
    let [name, kind, units] = row;
    let last = elements.last_key_value().map(|(&key, _)| key);
    assert!(last.is_none_or(|last| last < key), "{source}: {key:?}: numbers must rise");
    elements.insert(key, (name, kind, units));
}

/// The numbers by which NetFlow v9, which has no enterprises, carries enterprises' elements.
fn aliases(elements: &Elements) -> String {
    let mut aliases = BTreeMap::new();
    for &(enterprise, id) in elements.keys() {
        let alias = match enterprise {
            CISCO => 0x8000 | id,
            NTOP => 57472 + id,
            PALO_ALTO => id,
            _ => continue,
        };
        let other = aliases.insert(alias, (enterprise, id));
        assert!(other.is_none(), "{ENTERPRISE}: v9's {alias} has two meanings");
    }
    let line = |(alias, (enterprise, id))| format!("({alias}, {enterprise}, {id}),\n");
    aliases.into_iter().map(line).collect()
}

/// `reverseOctetDeltaCount` (RFC 5103, Section 6.1).
fn reverse(name: &str) -> String {
    format!("reverse{}{}", name[..1].to_uppercase(), &name[1..])
}

/// The Rust array of the elements, in the order of their numbers.
fn table(elements: &Elements) -> String {
    let mut rust = String::from("[\n");
    for ((enterprise, id), (name, kind, units)) in elements {
        let kind = kind[..1].to_uppercase() + &kind[1..];
        let units = units.trim_start_matches('-');
        writeln!(
            rust,
            "Element {{ enterprise: {enterprise}, id: {id}, name: {name:?}, kind: DataType::{kind}, \
             units: {units:?} }},"
        )
        .expect("a string takes what is written to it");
    }
    rust + "]"
}

fn write(name: &str, rust: &str) {
    let to = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let to = Path::new(&to).join(name);
    fs::write(&to, rust).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}
