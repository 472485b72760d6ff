//! Properties of queries: what a store answers does not depend on how its rows are kept.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use weir_store::query::{
    self, Answer, FlowRow, Key, Limits, Order, Partial, Plan, Question, Totals, View,
};
use weir_store::{Address, Batch, Column, Reader, Store, StoreConfig};

const NETWORK_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        6 => (0..8u8).prop_map(|last| Address::from_v4([192, 0, 2, last])),
        2 => (0..4u16).prop_map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()),
        1 => Just(Address::ABSENT),
    ]
}

fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..2000u64, 1 => Just(1_500_000), 1 => Just(u64::MAX)]
}

prop_compose! {
    fn row()(
        received_ms in 0..4000u64,
        first_ms in 1000..1100u64,
        duration in prop_oneof![Just(0), 1..100u64],
        addresses in (address(), address(), address(), address()),
        ports in (0..4u16, 0..4u16),
        protocol in prop_oneof![Just(1), Just(6), Just(17), Just(58)],
        bytes in (any::<u8>(), 0..3u8),
        counters in (counter(), counter()),
        small in (0..3u32, 0..3u32, 0..3u32, 0..3u32, 0..3u16),
    ) -> FlowRow {
        FlowRow {
            received_ms,
            first_ms,
            last_ms: first_ms + duration,
            source_address: addresses.0,
            destination_address: addresses.1,
            next_hop: addresses.2,
            exporter: addresses.3,
            source_port: ports.0,
            destination_port: ports.1,
            protocol,
            tcp_flags: bytes.0.into(),
            tos: bytes.1,
            packets: counters.0,
            bytes: counters.1,
            input_interface: small.0,
            output_interface: small.1,
            source_as: small.2,
            destination_as: small.3,
            vlan: small.4,
            nat_source_port: ports.0 / 3,
            nat_source_address: addresses.2,
            source_mac: u64::from(bytes.1) << 40,
            ..FlowRow::default()
        }
    }
}

/// A filter as a tree of its own, which writes itself and judges rows one by one.
#[derive(Clone, Debug)]
enum Filter {
    Any,
    Family(bool),
    Protocol(u8),
    Address(Side, Vec<Address>),
    Network(Side, u8),
    Port(Side, &'static str, u16),
    Ports(Side, Vec<u16>),
    System(Side, u32),
    Interface(Side, u32),
    Flags(u16),
    Counter(&'static str, &'static str, u64),
    Router(Address),
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Either,
    Source,
    Destination,
    Both,
}

impl Side {
    fn text(self, direction: bool) -> &'static str {
        match (self, direction) {
            (Side::Source, false) => "src ",
            (Side::Destination, false) => "dst ",
            (Side::Both, false) => "src and dst ",
            (Side::Source, true) => "in ",
            (Side::Destination, true) => "out ",
            _ => "",
        }
    }

    fn judge<T>(self, source: T, destination: T, test: impl Fn(T) -> bool) -> bool {
        match self {
            Side::Either => test(source) | test(destination),
            Side::Source => test(source),
            Side::Destination => test(destination),
            Side::Both => test(source) & test(destination),
        }
    }
}

fn compares(left: u64, sign: &str, right: u64) -> bool {
    match sign {
        "<" | "lt" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        "!=" => left != right,
        _ => left == right,
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("in [{}]", items.collect::<Vec<_>>().join(" , "))
}

fn show(address: Address) -> String {
    if address == Address::ABSENT { "::".to_owned() } else { address.to_string() }
}

impl Filter {
    fn text(&self) -> String {
        let joined = |parts: &[Filter], word: &str| {
            let parts: Vec<_> = parts.iter().map(|part| format!("({})", part.text())).collect();
            parts.join(word)
        };
        match self {
            Filter::Any => "any".to_owned(),
            Filter::Family(v4) => if *v4 { "inet" } else { "ipv6" }.to_owned(),
            Filter::Protocol(6) => "proto TCP".to_owned(),
            Filter::Protocol(number) => format!("proto {number}"),
            Filter::Address(side, list_of) => match list_of[..] {
                [one] => format!("{}ip {}", side.text(false), show(one)),
                _ => format!("{}host {}", side.text(false), list(list_of.iter().map(|a| show(*a)))),
            },
            Filter::Network(side, bits) => format!("{}net {NETWORK_4}/{bits}", side.text(false)),
            Filter::Port(side, sign, port) => format!("{}port {sign} {port}", side.text(false)),
            Filter::Ports(side, ports) => {
                format!("{}port {}", side.text(false), list(ports.iter().map(u16::to_string)))
            }
            Filter::System(side, number) => format!("{}as {number}", side.text(false)),
            Filter::Interface(side, number) => format!("{}if {number}", side.text(true)),
            Filter::Flags(bits) => {
                let letters = "FSRPAUEC".chars().enumerate();
                let set: String =
                    letters.filter(|(bit, _)| bits >> bit & 1 == 1).map(|l| l.1).collect();
                format!("flags {set}")
            }
            Filter::Counter(name, sign, value) => format!("{name} {sign} {value}"),
            Filter::Router(address) => format!("router ip {}", show(*address)),
            Filter::Not(inner) => format!("! ({})", inner.text()),
            Filter::And(parts) => joined(parts, " and "),
            Filter::Or(parts) => joined(parts, " || "),
        }
    }

    fn judge(&self, row: &FlowRow) -> bool {
        self.judge_under(row, false)
    }

    fn judge_under(&self, row: &FlowRow, negated: bool) -> bool {
        let (source, destination) = (row.source_address, row.destination_address);
        let rate = |count: u64, per: u128| {
            let duration = u128::from(row.last_ms - row.first_ms);
            let rate = (u128::from(count) * per).checked_div(duration).unwrap_or(0);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        match self {
            Filter::Any => true,
            Filter::Family(true) => source.is_v4() && destination.is_v4(),
            Filter::Family(false) => {
                let absent = source == Address::ABSENT && destination == Address::ABSENT;
                !source.is_v4() && !destination.is_v4() && !absent
            }
            Filter::Protocol(number) => row.protocol == *number,
            Filter::Address(side, addresses) => {
                side.judge(source, destination, |address| addresses.contains(&address))
            }
            Filter::Network(side, bits) => side.judge(source, destination, |address| {
                let IpAddr::V4(ip) = address.to_ip() else { return false };
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                ip.to_bits() & mask == NETWORK_4.to_bits() & mask
            }),
            Filter::Port(side, sign, port) => {
                // "port != 80" means "not port 80".
                let (not, sign) = if *sign == "!=" { (true, "=") } else { (false, *sign) };
                not ^ side.judge(row.source_port, row.destination_port, |number| {
                    compares(number.into(), sign, (*port).into())
                })
            }
            Filter::Ports(side, ports) => {
                side.judge(row.source_port, row.destination_port, |port| ports.contains(&port))
            }
            Filter::System(side, number) => {
                side.judge(row.source_as, row.destination_as, |system| system == *number)
            }
            Filter::Interface(side, number) => {
                side.judge(row.input_interface, row.output_interface, |index| index == *number)
            }
            // Under an odd number of `not`, letters mean any of them.
            Filter::Flags(bits) if negated => row.tcp_flags & bits != 0,
            Filter::Flags(bits) => row.tcp_flags & bits == *bits,
            Filter::Counter(name, sign, value) => {
                let left = match *name {
                    "packets" => row.packets,
                    "bytes" => row.bytes,
                    "duration" => row.last_ms - row.first_ms,
                    "pps" => rate(row.packets, 1000),
                    "bps" => rate(row.bytes, 8000),
                    "bpp" => row.bytes.checked_div(row.packets).unwrap_or(0),
                    "tos" => row.tos.into(),
                    _ => row.vlan.into(),
                };
                compares(left, sign, *value)
            }
            Filter::Router(address) => row.exporter == *address,
            Filter::Not(inner) => !inner.judge_under(row, !negated),
            Filter::And(parts) => parts.iter().all(|part| part.judge_under(row, negated)),
            Filter::Or(parts) => parts.iter().any(|part| part.judge_under(row, negated)),
        }
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let side =
        || prop::sample::select(vec![Side::Either, Side::Source, Side::Destination, Side::Both]);
    let direction = prop::sample::select(vec![Side::Either, Side::Source, Side::Destination]);
    let sign = || prop::sample::select(vec!["", "=", "==", "<", "<=", ">", ">=", "!=", "lt"]);
    let counters = vec!["packets", "bytes", "duration", "pps", "bps", "bpp", "tos", "vlan"];
    let leaf = prop_oneof![
        Just(Filter::Any),
        any::<bool>().prop_map(Filter::Family),
        prop::sample::select(vec![1, 6, 17, 58]).prop_map(Filter::Protocol),
        (side(), prop::collection::vec(address(), 1..4)).prop_map(|(s, a)| Filter::Address(s, a)),
        (side(), 0..=32u8).prop_map(|(side, bits)| Filter::Network(side, bits)),
        (side(), sign(), 0..5u16).prop_map(|(side, sign, port)| Filter::Port(side, sign, port)),
        (side(), prop::collection::vec(0..5u16, 1..4)).prop_map(|(s, p)| Filter::Ports(s, p)),
        (side(), 0..3u32).prop_map(|(side, number)| Filter::System(side, number)),
        (direction, 0..3u32).prop_map(|(side, number)| Filter::Interface(side, number)),
        (1..=0xff_u16).prop_map(Filter::Flags),
        (prop::sample::select(counters), sign(), 0..200u64)
            .prop_map(|(name, sign, value)| Filter::Counter(name, sign, value)),
        address().prop_map(Filter::Router),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Filter::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::And),
            prop::collection::vec(inner, 1..4).prop_map(Filter::Or),
        ]
    })
}

fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(vec![
        Key::Column(Column::SourceAddress),
        Key::Column(Column::Protocol),
        Key::Column(Column::DestinationPort),
        Key::Address,
        Key::Port,
        Key::As,
        Key::Interface,
    ])
}

fn view() -> impl Strategy<Value = View> {
    let order = prop::sample::select(Order::ALL.to_vec());
    prop_oneof![
        (0..6usize).prop_map(|limit| View::Flows { limit }),
        (prop::collection::vec(key(), 0..3), order, 0..6usize).prop_map(
            |(mut keys, order, limit)| {
                // At most two: equal ones, which are refused, are neighbours.
                keys.dedup();
                View::Statistic { keys, order, limit }
            }
        ),
    ]
}

fn question() -> impl Strategy<Value = (Filter, Question)> {
    let window = (prop::option::of(1000..1100u64), prop::option::of(1000..1200u64));
    (filter(), window, view()).prop_map(|(filter, (from_ms, until_ms), view)| {
        let question = Question { filter: filter.text(), from_ms, until_ms, view };
        (filter, question)
    })
}

fn batch(rows: &[FlowRow]) -> Batch {
    let mut batch = Batch::default();
    rows.iter().for_each(|row| batch.push(row));
    batch
}

/// A reader over `rows`, those at `sealed` in segments, and what keeps it alive.
fn store(rows: &[FlowRow], chunk: usize, seal: bool) -> (tempfile::TempDir, Store, Reader) {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        slice_ms: 1000,
        seal_rows: 16,
        memory_rows: 1000,
        ..StoreConfig::new(folder.path())
    };
    let (mut store, _) = Store::open(config).unwrap();
    for rows in rows.chunks(chunk) {
        store.append(batch(rows)).unwrap();
    }
    if seal {
        store.seal_all().unwrap();
    }
    let reader = store.reader();
    (folder, store, reader)
}

fn ask(reader: &Reader, question: &Question) -> Partial {
    let plan = Plan::compile(question).unwrap();
    let mut partial = query::answer(&reader.snapshot(), &plan, &Limits::default()).unwrap();
    // How many segments were read is the one thing that may differ.
    partial.coverage = query::Coverage::default();
    partial
}

/// The answer, row by row.
fn naive(rows: &[FlowRow], filter: &Filter, question: &Question) -> Totals {
    let mut totals = Totals::default();
    let matching = rows.iter().filter(|row| {
        filter.judge(row)
            && row.first_ms >= question.from_ms.unwrap_or(0)
            && row.last_ms <= question.until_ms.unwrap_or(u64::MAX)
    });
    for row in matching {
        totals.add(&Totals {
            flows: 1,
            packets: row.packets,
            bytes: row.bytes,
            flows_estimated: 1,
            packets_estimated: row.packets,
            bytes_estimated: row.bytes,
            first_ms: row.first_ms,
            last_ms: row.last_ms,
        });
    }
    totals
}

fn describe(answer: &Answer) -> String {
    let mut text = String::new();
    for row in &answer.rows {
        writeln!(text, "{row:?}").unwrap();
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_selects_what_judging_each_row_selects(
        rows in prop::collection::vec(row(), 0..150),
        (filter, question) in question(),
    ) {
        let (_folder, _store, reader) = store(&rows, 20, false);
        prop_assert_eq!(ask(&reader, &question).totals, naive(&rows, &filter, &question));
    }

    #[test]
    fn sealed_rows_answer_as_rows_in_memory_do(
        rows in prop::collection::vec(row(), 1..150),
        (_, question) in question(),
    ) {
        let (_folder, _store, sealed) = store(&rows, 7, true);
        let (_other, _keep, memory) = store(&rows, 150, false);
        let (sealed, memory) = (ask(&sealed, &question), ask(&memory, &question));
        prop_assert_eq!(&sealed, &memory);
        let answers = (sealed.finish(&question), memory.finish(&question));
        prop_assert_eq!(describe(&answers.0), describe(&answers.1));
    }

    #[test]
    fn parts_merged_in_any_order_are_the_answer_of_one_store(
        rows in prop::collection::vec(row(), 1..120),
        (_, question) in question(),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let plan = Plan::compile(&question).unwrap();
        let limits = Limits::default();
        let (_folder, _store, whole) = store(&rows, 120, false);
        let mut parts = vec![Partial::empty(&plan)];
        for rows in rows.chunks(rows.len() / 4 + 1) {
            let (_folder, _store, reader) = store(rows, 50, true);
            let part = ask(&reader, &question);
            // Over the wire and back, as between units.
            parts.push(Partial::from_bytes(&part.to_bytes().unwrap(), &plan).unwrap());
        }
        // Merge two at random until one is left: any order, any grouping.
        for index in shuffle {
            if parts.len() > 1 {
                let part = parts.swap_remove(index.index(parts.len()));
                let into = index.index(parts.len());
                parts[into].merge(part, &limits).unwrap();
            }
        }
        let mut merged = parts.pop().unwrap();
        parts.into_iter().for_each(|part| merged.merge(part, &limits).unwrap());
        prop_assert_eq!(merged, ask(&whole, &question));
    }

    #[test]
    fn no_bytes_make_a_partial_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let view = View::Statistic { keys: vec![Key::Address], order: Order::Bytes, limit: 3 };
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let bytes: Vec<u8> = std::iter::once(1).chain(bytes).collect();
        if let Ok(partial) = Partial::from_bytes(&bytes, &plan) {
            let mut merged = Partial::empty(&plan);
            merged.merge(partial, &Limits::default()).unwrap();
            merged.finish(&question);
        }
    }

    #[test]
    fn a_changed_byte_of_a_partial_is_an_error_or_another_partial(
        rows in prop::collection::vec(row(), 1..40),
        view in view(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        let plan = Plan::compile(&question).unwrap();
        let (_folder, _store, reader) = store(&rows, 40, false);
        let mut bytes = ask(&reader, &question).to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(partial) = Partial::from_bytes(&bytes, &plan) {
            partial.finish(&question);
        }
    }

    #[test]
    fn no_text_makes_the_filter_panic(text in "[a-z0-9 ()\\[\\]!=<>/.:,#|&\u{20ac}]{0,60}") {
        if let Err(error) = query::filter::parse(&text) {
            prop_assert!(error.position + error.length <= text.len());
            prop_assert!(text.get(error.position..error.position + error.length).is_some());
            error.underline(&text);
        }
    }
}
