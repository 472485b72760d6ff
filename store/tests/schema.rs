//! `SCHEMA.md` says of the columns and elements what the code does.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fmt::Write;
use std::path::Path;

use weir_store::Column;
use weir_store::element::{ENTERPRISES, ElementId, TABLE};
use weir_store::schema::Form;

const HEAD: &str = "\
# The record schema

What weir keeps of a flow. `store/tests/schema.rs` holds this file to the code; to bring it up to date:
`cargo test -p weir-store --test schema -- --ignored`.

## Columns

Every flow has these columns. Zero (`::` of an address) means that the record did not say it. A column
of which no row of a batch or segment says anything is absent there, and costs nothing in memory, on
disk and in a query. Filters and statistics take a column by this name (`nat_event 1`, `-s input_vrf`),
by nfdump's words where the language has one, and by the name of an element that fills it
(`octetDeltaCount > 1m`); JSON and CSV call it so. *nfdump* is its word in `-o fmt:%…`. Elements stand in
the order of their numbers; where a record has several of one column, the first that is not zero
counts, and the others are kept beside the columns.

| column | type | nfdump | elements | meaning |
|---|---|---|---|---|
";

const TAIL: &str = "
Counters stand as the exporter sent them. What a flow adds to the sums of a statistic or summary is all
that it counts, as in nfdump: `packets`, `output_packets` and `reverse_packets`, and likewise bytes.
`sampling_rate` says what to multiply them by for an estimate.

## Everything else

An element that no column takes is kept with its number and bytes, and so is one of which a column
holds only a part: a second element of the same column, a number wider than the column, a field that
stands twice. Padding is not kept. Elements are named as IANA's registry names them
(`interfaceName`); those of an enterprise behind the enterprise (`cisco/appHTTPHost`, `ntop/L7_PROTO`),
which may be left out where no other enterprise has an element of that name; any element by its numbers
(`9/12235`, `0/82`), and elements of the reverse direction (RFC 5103) as `reverse/reverseOctetDeltaCount`
or `29305/1`. NetFlow v9 has no enterprises; its numbers for elements of Cisco (33002), ntop (57590) and
Palo Alto Networks (56701) are read as those.

| in a filter | selects flows |
|---|---|
| `cisco/appHTTPHost` | that have the element |
| `cisco/appHTTPHost = \"www.example\"` | with this text; `!=` with another |
| `appHTTPHost contains example` | with this text in it |
| `ntop/L7_PROTO in [ 5 7 ]`, `9/9268 > 3` | with such a number; times are ms since 1970 |
| `exporterIPv4Address in [ 192.0.2.0/24 ]` | with an address in there |
| `0/104 = 0x01ff` | with these bytes |

`-s cisco/appHTTPHost/bytes` makes a statistic by an element (texts count as equal after 64 bytes).
JSON shows the elements of a flow as the object `elements` with a value for each name: numbers as
numbers, times in ms since 1970, addresses and text as text, and what has no better form (octet
arrays, the lists of RFC 6313, elements that weir does not know) as its bytes in hexadecimal. CSV has
them in one cell.

The registry is `elements/iana.tsv` and `elements/enterprise.tsv`, with the source of each row; of
enterprises it knows:

| number | name | whose | elements |
|---|---|---|---|
";

fn schema() -> String {
    let mut text = HEAD.to_owned();
    for &column in Column::ALL {
        let elements: Vec<String> = column
            .elements()
            .map(|(enterprise, id)| {
                let element = ElementId::new(enterprise, id);
                let number =
                    if enterprise == 0 { id.to_string() } else { format!("{enterprise}/{id}") };
                format!("{element} ({number})")
            })
            .collect();
        let word = match column.nfdump_word() {
            "" => String::new(),
            word => format!("%{word}"),
        };
        let kind = match column.form() {
            Form::Address => "IPv4 or IPv6",
            Form::Mac => "MAC",
            _ => column.type_name(),
        };
        writeln!(
            text,
            "| `{}` | {kind} | {word} | {} | {} |",
            column.name(),
            elements.join(", "),
            column.meaning()
        )
        .unwrap();
    }
    text.push_str(TAIL);
    for &(number, name, whose) in ENTERPRISES {
        let elements = TABLE.iter().filter(|element| element.enterprise == number).count();
        writeln!(text, "| {number} | `{name}` | {whose} | {elements} |").unwrap();
    }
    text
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("SCHEMA.md")
}

#[test]
fn the_schemas_file_says_what_the_code_does() {
    let written = std::fs::read_to_string(file()).unwrap_or_default();
    let stale = schema().lines().zip(written.lines().chain(std::iter::repeat(""))).find_map(
        |(now, then)| (now != then).then(|| format!("it says {then:?} instead of {now:?}")),
    );
    assert_eq!(stale, None, "run: cargo test -p weir-store --test schema -- --ignored");
    assert_eq!(schema().lines().count(), written.lines().count());
}

#[test]
#[ignore = "writes SCHEMA.md"]
fn write_the_schemas_file() {
    std::fs::write(file(), schema()).unwrap();
}

#[test]
fn every_enterprise_element_has_its_source() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("elements/enterprise.tsv");
    for line in std::fs::read_to_string(table).unwrap().lines().filter(|l| !l.starts_with('#')) {
        let source = line.split('\t').nth(5).unwrap_or_default();
        assert!(source.len() > 3, "{line}");
    }
}
