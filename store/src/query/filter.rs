//! nfdump's filter language: text → [`Expression`].
//!
//! Recursive descent over the lexer's words, with nfdump's precedence: `not` binds closest, then
//! `and`, then `or`. Filters come from the network, so text and nesting are bounded. What nfdump
//! knows and weir does not store is refused by name, never ignored.
//!
//! ```text
//! filter    = [ either ]
//! either    = both { "or" both }
//! both      = single { "and" single }
//! single    = "not" single | "(" either ")" | primitive
//! primitive = [ side ] noun … (see Parser::primitive)
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::query::expression::{Compare, Expression, Measure, Test, disjoint};
use crate::query::lexer::{self, Token, TokenKind};
use crate::query::named::NamePattern;
use crate::query::prefix::{netmask_bits, prefix_ranges};
use crate::{Address, Column};

mod element;
mod number;

/// The longest filter, in bytes: room for some ten thousand addresses.
pub const MAX_FILTER_BYTES: usize = 1 << 20;

/// The deepest nesting of parentheses and `not`.
pub const MAX_DEPTH: usize = 64;

/// The most tests of a filter once those of one column that an `or` joins are merged: each is a
/// pass over the rows.
pub const MAX_TESTS: usize = 4096;

/// What is wrong with a question's filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong and what was expected.
    pub message: String,
    /// Where the word begins in the filter, in bytes.
    pub position: usize,
    /// How long the word is, in bytes; 0 at the filter's end.
    pub length: usize,
}

impl FilterError {
    /// The filter's line with the word underlined, in two lines of text.
    pub fn underline(&self, filter: &str) -> String {
        let position = floor_boundary(filter, self.position);
        let end = floor_boundary(filter, self.position.saturating_add(self.length)).max(position);
        let line = filter[..position].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = filter[position..].find('\n').map_or(filter.len(), |at| position + at);
        let before = filter[line..position].chars().count();
        let marks = filter[position..end.min(line_end)].chars().count().max(1);
        format!("{}\n{}{}", &filter[line..line_end], " ".repeat(before), "^".repeat(marks))
    }
}

fn floor_boundary(text: &str, position: usize) -> usize {
    (0..=position.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {} of the filter)", self.message, self.position)
    }
}

impl std::error::Error for FilterError {}

/// Compiles a filter; an empty one selects everything.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_FILTER_BYTES {
        let message = format!("the filter has {} bytes, more than {MAX_FILTER_BYTES}", text.len());
        return Err(FilterError { message, position: MAX_FILTER_BYTES, length: 0 });
    }
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, negated: false, codes: 0 };
    if parser.peek().kind == TokenKind::End {
        return Ok(Expression::All);
    }
    let expression = parser.either()?;
    match parser.peek().kind {
        TokenKind::End if expression.tests() > MAX_TESTS => Err(too_many_tests()),
        TokenKind::End => Ok(expression),
        TokenKind::Close => Err(parser.error("this ')' closes nothing")),
        _ => Err(parser.expected("'and', 'or' or the end of the filter")),
    }
}

fn too_many_tests() -> FilterError {
    let message = format!(
        "the filter makes more than {MAX_TESTS} tests; put addresses and numbers into lists: \
         in [ … ]"
    );
    FilterError { message, position: 0, length: 0 }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    depth: usize,
    /// Whether an odd number of `not` stands around what is read.
    negated: bool,
    /// How many tests of ICMP codes there are; they are long and never merge.
    codes: usize,
}

type Parsed = Result<Expression, FilterError>;

/// Which of two columns a primitive means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Either,
    Source,
    Destination,
    Both,
}

impl Side {
    fn apply(self, columns: (Column, Column), test: impl Fn(Column) -> Expression) -> Expression {
        match self {
            Side::Source => test(columns.0),
            Side::Destination => test(columns.1),
            Side::Either => Expression::any_of(vec![test(columns.0), test(columns.1)]),
            Side::Both => Expression::all_of(vec![test(columns.0), test(columns.1)]),
        }
    }
}

const ADDRESSES: (Column, Column) = (Column::SourceAddress, Column::DestinationAddress);
const PORTS: (Column, Column) = (Column::SourcePort, Column::DestinationPort);
const SYSTEMS: (Column, Column) = (Column::SourceAs, Column::DestinationAs);
const INTERFACES: (Column, Column) = (Column::InputInterface, Column::OutputInterface);
const VRFS: (Column, Column) = (Column::InputVrf, Column::OutputVrf);
const APPLICATION: (Column, Column) = (Column::Application, Column::Application);
const MASKS: (Column, Column) = (Column::SourceMask, Column::DestinationMask);

/// What a primitive may begin with, for messages.
const PRIMITIVES: &str = "any, inet, inet6, proto, ip, host, net, port, as, if, flags, tos, \
    packets, bytes, duration, pps, bps, bpp, mask, vlan, vrf, flowdir, icmp-type, icmp-code, \
    next ip, router ip, if name, vrf name, app name, src …, dst …, in …, out …";

/// nfdump's words that the language still lacks.
const NOT_YET: &[&str] = &[
    "geo",
    "mpls",
    "mac",
    "xip",
    "xport",
    "xnet",
    "nip",
    "nport",
    "nat",
    "asa",
    "ident",
    "payload",
    "tun",
    "tunip",
    "engine-type",
    "engine-id",
    "sysid",
    "count",
    "flows",
    "ingress",
    "egress",
    "pblock",
    "client",
    "server",
    "bgpnext",
    "prev",
    "fwdstat",
    "observation",
    "nbar",
];

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        // The end stays where it is, however often it is read.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, kind: TokenKind) -> bool {
        let found = self.peek().kind == kind;
        if found {
            self.next();
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(self.at, word);
        if found {
            self.next();
        }
        found
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text.eq_ignore_ascii_case(word))
    }

    fn either(&mut self) -> Parsed {
        let mut parts = vec![self.both()?];
        while self.take(TokenKind::Or) {
            parts.push(self.both()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::any_of(parts) })
    }

    fn both(&mut self) -> Parsed {
        let mut parts = vec![self.single()?];
        while self.take(TokenKind::And) {
            parts.push(self.single()?);
        }
        Ok(Expression::all_of(parts))
    }

    fn single(&mut self) -> Parsed {
        let token = self.peek();
        if !matches!(token.kind, TokenKind::Not | TokenKind::Open) {
            return self.primitive();
        }
        if self.depth == MAX_DEPTH {
            return Err(self.error(&format!("the filter nests deeper than {MAX_DEPTH} levels")));
        }
        self.next();
        self.depth += 1;
        let inner = if token.kind == TokenKind::Not {
            self.negated = !self.negated;
            let inner = self.single()?;
            self.negated = !self.negated;
            Expression::Not(Box::new(inner))
        } else {
            let inner = self.either()?;
            if !self.take(TokenKind::Close) {
                return Err(self.expected("')', 'and' or 'or'"));
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    /// One test, from its first word on.
    fn primitive(&mut self) -> Parsed {
        let word = self.peek();
        if word.kind != TokenKind::Word {
            return Err(self.expected(&format!("one of: {PRIMITIVES}")));
        }
        match word.text.to_ascii_lowercase().as_str() {
            "src" | "dst" => self.sided(),
            "in" | "out" => self.directed(),
            "next" => {
                self.next();
                self.address_of(Column::NextHop)
            }
            "router" | "exporter" => {
                self.next();
                self.address_of(Column::Exporter)
            }
            _ => self.noun(Side::Either),
        }
    }

    /// `src …`, `dst …`, `src or dst …`, `src and dst …`.
    fn sided(&mut self) -> Parsed {
        let first = self.next();
        let source = first.text.eq_ignore_ascii_case("src");
        let other = if source { "dst" } else { "src" };
        let side = match self.peek().kind {
            TokenKind::Or if self.is_word(self.at + 1, other) => Side::Either,
            TokenKind::And if self.is_word(self.at + 1, other) => Side::Both,
            _ if source => Side::Source,
            _ => Side::Destination,
        };
        if matches!(side, Side::Either | Side::Both) {
            self.next();
            self.next();
        }
        let sided = ["ip", "host", "net", "port", "as", "mask", "vlan", "tos"];
        if sided.iter().any(|noun| self.is_word(self.at, noun)) {
            self.noun(side)
        } else {
            Err(self.expected(&format!("one of: {}", sided.join(", "))))
        }
    }

    /// `in if`, `out if`, `in packets`, `in bytes`, `out packets`, `out bytes`.
    fn directed(&mut self) -> Parsed {
        let direction = self.next();
        let inward = direction.text.eq_ignore_ascii_case("in");
        for (word, columns) in [("if", INTERFACES), ("vrf", VRFS)] {
            if self.take_word(word) {
                let side = if inward { Side::Source } else { Side::Destination };
                return self.things(side, columns);
            }
        }
        let counters = [("packets", Measure::OutPackets), ("bytes", Measure::OutBytes)];
        let counter = counters.iter().find(|(noun, _)| self.is_word(self.at, noun));
        match counter {
            Some(_) if inward => self.noun(Side::Either),
            Some(&(_, measure)) => {
                self.next();
                self.measure(measure)
            }
            None => Err(self.expected("if, vrf, packets or bytes")),
        }
    }

    /// What comes after the side.
    fn noun(&mut self, side: Side) -> Parsed {
        let word = self.next();
        let number = |parser: &mut Self, column| parser.numbers(Side::Source, (column, column));
        match word.text.to_ascii_lowercase().as_str() {
            "any" => Ok(Expression::All),
            "inet" | "ipv4" => Ok(family_4()),
            "inet6" | "ipv6" => Ok(family_6()),
            "ip" | "host" => self.addresses(side),
            "net" => self.network(side),
            "port" => self.numbers(side, PORTS),
            "as" => self.numbers(side, SYSTEMS),
            "mask" => self.numbers(side, MASKS),
            "if" => self.things(side, INTERFACES),
            "vrf" => self.things(side, VRFS),
            "app" => self.named(side, APPLICATION),
            "vlan" => number(self, Column::Vlan),
            "tos" => number(self, Column::Tos),
            "proto" => number(self, Column::Protocol),
            "flowdir" => number(self, Column::Direction),
            "packets" => number(self, Column::Packets),
            "bytes" => number(self, Column::Bytes),
            "flags" => self.flags(),
            "duration" => self.measure(Measure::Duration),
            "pps" => self.measure(Measure::Pps),
            "bps" => self.measure(Measure::Bps),
            "bpp" => self.measure(Measure::Bpp),
            "icmp-type" => self.icmp(|kind| (kind << 8, kind << 8 | 0xff)),
            "icmp-code" => self.icmp_code(),
            name if NOT_YET.contains(&name) => {
                let message = format!(
                    "weir does not know nfdump's '{name}' yet; test a column by its name, such as \
                     {}, or an element",
                    Column::NatEvent.name()
                );
                Err(self.error_at(word, &message))
            }
            name => match Column::from_name(name) {
                Some(column) => self.column(column),
                None => self.element(word),
            },
        }
    }

    /// `ip A` of one certain column.
    fn address_of(&mut self, column: Column) -> Parsed {
        if !self.take_word("ip") && !self.take_word("host") {
            return Err(self.expected("ip"));
        }
        let ranges = self.address_list()?;
        Ok(Expression::Test(Test::AddressIn { column, ranges }))
    }

    fn addresses(&mut self, side: Side) -> Parsed {
        let ranges = self.address_list()?;
        Ok(side.apply(ADDRESSES, |column| {
            Expression::Test(Test::AddressIn { column, ranges: ranges.clone() })
        }))
    }

    /// `A`, or `in [ A B, C/8 ]`.
    fn address_list(&mut self) -> Result<Vec<(Address, Address)>, FilterError> {
        if !self.take_word("in") {
            let word = self.word("an IP address or 'in [ … ]'")?;
            if word.text.contains('/') {
                return Err(self.error_at(word, "'ip' takes an address; use 'net' for a prefix"));
            }
            return self.ip(word).map(|ip| vec![(ip.into(), ip.into())]);
        }
        let mut ranges = Vec::new();
        self.list("an IP address or prefix", |parser, word| {
            ranges.extend(match word.text.split_once('/') {
                Some((network, bits)) => parser.prefix(word, network, bits)?,
                None => parser.ip(word).map(|ip| vec![(ip.into(), ip.into())])?,
            });
            Ok(())
        })?;
        Ok(disjoint(ranges))
    }

    /// `net A/B` or `net A MASK`.
    fn network(&mut self, side: Side) -> Parsed {
        let word = self.word("a network such as 192.0.2.0/24")?;
        let ranges = match word.text.split_once('/') {
            Some((network, bits)) => self.prefix(word, network, bits)?,
            None => {
                let mask = self.word("a netmask such as 255.255.255.0, or A.B.C.D/bits")?;
                let bits = mask.text.parse().ok().and_then(netmask_bits).ok_or_else(|| {
                    self.unexpected(mask, "a netmask such as 255.255.255.0, or A.B.C.D/bits")
                })?;
                self.prefix(word, word.text, &bits.to_string())?
            }
        };
        Ok(side.apply(ADDRESSES, |column| {
            Expression::Test(Test::AddressIn { column, ranges: ranges.clone() })
        }))
    }

    /// Things that have numbers and names: `name …`, or as [`Parser::numbers`].
    fn things(&mut self, side: Side, columns: (Column, Column)) -> Parsed {
        if self.is_word(self.at, "name") {
            self.named(side, columns)
        } else {
            self.numbers(side, columns)
        }
    }

    /// `name N`, in quotes where it holds more than a word; a star stands for any text.
    fn named(&mut self, side: Side, columns: (Column, Column)) -> Parsed {
        if !self.take_word("name") {
            return Err(self.expected("name"));
        }
        self.take(TokenKind::Compare);
        let token = self.peek();
        let text = match token.kind {
            TokenKind::Word => token.text,
            TokenKind::Quoted => &token.text[1..token.text.len() - 1],
            _ => return Err(self.expected("a name, in quotes if it is more than a word")),
        };
        self.next();
        let name = NamePattern::new(text);
        Ok(side.apply(columns, |column| {
            Expression::Test(Test::Named { column, name: name.clone(), spans: Arc::default() })
        }))
    }

    /// `[compare] N` or `in [ N M ]`.
    fn numbers(&mut self, side: Side, columns: (Column, Column)) -> Parsed {
        if self.take_word("in") {
            let mut values = Vec::new();
            self.list("a number", |parser, word| {
                values.push(parser.number(word, columns.0)?);
                Ok(())
            })?;
            values.sort_unstable();
            values.dedup();
            return Ok(side.apply(columns, |column| {
                Expression::Test(Test::NumberIn { column, values: values.clone() })
            }));
        }
        let compare = self.compare();
        let word = self.word("a number")?;
        let value = self.number(word, columns.0)?;
        let test = |compare| {
            side.apply(columns, |column| Expression::Test(Test::Number { column, compare, value }))
        };
        Ok(match compare {
            // `port != 80` is `not port = 80`: neither port may be 80.
            Compare::NotEqual => Expression::Not(Box::new(test(Compare::Equal))),
            _ => test(compare),
        })
    }

    fn measure(&mut self, measure: Measure) -> Parsed {
        let compare = self.compare();
        let word = self.word("a number")?;
        let value = self.plain_number(word)?;
        Ok(Expression::Test(Test::Measure { measure, compare, value }))
    }

    /// `flags SYN`, `flags SA`, `flags = 0x12`. Letters mean that all are set, but under an odd
    /// number of `not` that any is, as in nfdump: `not flags AF` selects flows with neither.
    fn flags(&mut self) -> Parsed {
        let compare = self.compare();
        let word = self.word("TCP flags such as SYN or SA")?;
        if word.text.starts_with(|c: char| c.is_ascii_digit()) {
            let (column, value) = (Column::TcpFlags, self.number(word, Column::TcpFlags)?);
            return Ok(Expression::Test(Test::Number { column, compare, value }));
        }
        match flag_bits(word.text) {
            Some(bits) if compare == Compare::Equal => Ok(Expression::Test(if self.negated {
                Test::AnyFlag(bits)
            } else {
                Test::Flags(bits)
            })),
            Some(_) => Err(self.error_at(word, "letters of flags are not compared with signs")),
            None => {
                let expected = "the letters of A S F R P U E C X, or SYN ACK FIN RST PSH URG";
                Err(self.unexpected(word, expected))
            }
        }
    }

    /// `icmp-type N`: the destination port of ICMP holds type * 256 + code.
    fn icmp(&mut self, ports: impl Fn(u64) -> (u64, u64)) -> Parsed {
        let word = self.icmp_number()?;
        let (low, high) = ports(word);
        let port = |compare, value| {
            Expression::Test(Test::Number { column: Column::DestinationPort, compare, value })
        };
        Ok(Expression::And(vec![
            is_icmp(),
            port(Compare::AtLeast, low),
            port(Compare::AtMost, high),
        ]))
    }

    fn icmp_code(&mut self) -> Parsed {
        let code = self.icmp_number()?;
        self.codes += 1;
        if self.codes > MAX_TESTS {
            return Err(too_many_tests());
        }
        let values = (0..256).map(|kind| kind << 8 | code).collect();
        let test = Test::NumberIn { column: Column::DestinationPort, values };
        Ok(Expression::And(vec![is_icmp(), Expression::Test(test)]))
    }

    fn icmp_number(&mut self) -> Result<u64, FilterError> {
        self.take(TokenKind::Compare);
        let word = self.word("a number from 0 to 255")?;
        self.number(word, Column::Protocol)
    }

    /// The items of `[ a b, c ]`, each given to `item`.
    fn list(
        &mut self,
        what: &str,
        mut item: impl FnMut(&mut Self, Token<'a>) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        if !self.take(TokenKind::OpenList) {
            return Err(self.expected("'['"));
        }
        let word = self.word(what)?;
        item(self, word)?;
        loop {
            if self.take(TokenKind::CloseList) {
                return Ok(());
            }
            self.take(TokenKind::Comma);
            let word = self.word(&format!("{what} or ']'"))?;
            item(self, word)?;
        }
    }

    /// The comparison sign, `=` where there is none.
    fn compare(&mut self) -> Compare {
        if self.peek().kind != TokenKind::Compare {
            return Compare::Equal;
        }
        match self.next().text.to_ascii_lowercase().as_str() {
            "<" | "lt" => Compare::Less,
            "<=" | "le" => Compare::AtMost,
            ">" | "gt" => Compare::Greater,
            ">=" | "ge" => Compare::AtLeast,
            "!=" | "ne" => Compare::NotEqual,
            _ => Compare::Equal,
        }
    }

    fn word(&mut self, what: &str) -> Result<Token<'a>, FilterError> {
        let word = self.peek();
        if word.kind == TokenKind::Word { Ok(self.next()) } else { Err(self.expected(what)) }
    }

    fn expected(&self, what: &str) -> FilterError {
        self.unexpected(self.peek(), what)
    }

    fn unexpected(&self, token: Token<'_>, what: &str) -> FilterError {
        let found = match token.kind {
            TokenKind::End => "the filter ends here".to_owned(),
            _ => format!("'{}' is not expected here", shorten(token.text)),
        };
        self.error_at(token, &format!("{found}; expected {what}"))
    }

    fn error(&self, message: &str) -> FilterError {
        self.error_at(self.peek(), message)
    }

    fn error_at(&self, token: Token<'_>, message: &str) -> FilterError {
        FilterError {
            message: message.to_owned(),
            position: token.position,
            length: token.text.len(),
        }
    }
}

/// A word for a message, never longer than a line.
fn shorten(text: &str) -> String {
    if text.len() <= 40 { text.to_owned() } else { format!("{}…", &text[..40]) }
}

fn in_range(column: Column, ranges: Vec<(Address, Address)>) -> Expression {
    Expression::Test(Test::AddressIn { column, ranges })
}

fn is_icmp() -> Expression {
    let values = vec![1, 58];
    Expression::Test(Test::NumberIn { column: Column::Protocol, values })
}

fn family_4() -> Expression {
    let all = prefix_ranges(Ipv4Addr::UNSPECIFIED.into(), 0);
    Side::Both.apply(ADDRESSES, |column| in_range(column, all.clone()))
}

/// Both addresses are IPv6 and not both absent: `::` is a source in its own right there.
fn family_6() -> Expression {
    let all = prefix_ranges(Ipv6Addr::UNSPECIFIED.into(), 0);
    let absent = vec![(Address::ABSENT, Address::ABSENT)];
    Expression::And(vec![
        Side::Both.apply(ADDRESSES, |column| in_range(column, all.clone())),
        Expression::Not(Box::new(
            Side::Both.apply(ADDRESSES, |column| in_range(column, absent.clone())),
        )),
    ])
}

/// TCP flags by nfdump's letters (any mix) or by one name.
fn flag_bits(text: &str) -> Option<u16> {
    let name = text.to_ascii_uppercase();
    let named = [
        ("FIN", 0x01),
        ("SYN", 0x02),
        ("RST", 0x04),
        ("PSH", 0x08),
        ("ACK", 0x10),
        ("URG", 0x20),
        ("ECE", 0x40),
        ("CWR", 0x80),
    ];
    if let Some((_, bits)) = named.iter().find(|(known, _)| *known == name) {
        return Some(*bits);
    }
    let letter = |letter: char| match letter {
        'X' => Some(0x3f),
        _ => "FSRPAUEC".find(letter).map(|bit| 1u16 << bit),
    };
    name.chars().try_fold(0, |bits, next| letter(next).map(|bit| bits | bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::query::row::FlowRow;

    fn flow(source: u8, destination: u8, ports: (u16, u16), rest: [u64; 9]) -> FlowRow {
        let [protocol, flags, tos, packets, bytes, input, output, first, last] = rest;
        FlowRow {
            source_address: Address::from_v4([10, 0, 0, source]),
            destination_address: Address::from_v4([10, 0, 0, destination]),
            source_port: ports.0,
            destination_port: ports.1,
            protocol: protocol as u8,
            tcp_flags: flags as u16,
            tos: tos as u8,
            packets,
            bytes,
            input_interface: input as u32,
            output_interface: output as u32,
            first_ms: first,
            last_ms: last,
            exporter: Address::from_v4([127, 0, 0, 1]),
            next_hop: Address::from_v4([10, 9, 9, if source == 1 { 9 } else { 8 }]),
            ..FlowRow::default()
        }
    }

    /// Six flows that were also sent to nfcapd 1.7.1, so that nfdump could be asked the same.
    fn flows() -> Batch {
        let mut batch = Batch::default();
        for row in [
            flow(1, 1, (80, 80), [6, 0x02, 0, 10, 1000, 1, 1, 0, 1000]),
            flow(1, 2, (1234, 80), [6, 0x1b, 0, 5, 5_000_000, 1, 2, 500, 500]),
            flow(3, 2, (53, 53), [17, 0, 8, 1, 60, 2, 2, 2000, 12_000]),
            flow(4, 5, (0, 0x0803), [1, 0, 0, 2, 120, 2, 3, 3000, 3000]),
            flow(4, 6, (4444, 443), [6, 0x3f, 0, 1200, 1_500_000, 2, 3, 3000, 63_000]),
            flow(7, 6, (4445, 443), [6, 0x12, 184, 1200, 2_500_000_000, 2, 3, 3000, 63_000]),
        ] {
            batch.push(&row);
        }
        batch
    }

    fn selected(filter: &str) -> Vec<usize> {
        let expression = parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        expression.select(&flows()).unwrap().iter().collect()
    }

    #[test]
    fn a_filter_selects_what_nfdump_selects() {
        // What nfdump 1.7.1 printed for the same six flows.
        let table: &[(&str, &[usize])] = &[
            ("", &[0, 1, 2, 3, 4, 5]),
            ("any", &[0, 1, 2, 3, 4, 5]),
            ("not any", &[]),
            ("inet", &[0, 1, 2, 3, 4, 5]),
            ("ipv6", &[]),
            ("flags S", &[0, 1, 4, 5]),
            ("flags SF", &[1, 4]),
            ("flags X", &[4]),
            ("flags 2", &[0]),
            ("flags 0x12", &[5]),
            ("flags S and not flags AFRPU", &[0]),
            ("flags S and not (flags A or flags F)", &[0]),
            ("not flags SF", &[2, 3]),
            ("not (flags SF)", &[2, 3]),
            ("not flags 0x12", &[0, 1, 2, 3, 4]),
            ("not not flags SF", &[1, 4]),
            ("not (not not flags FR)", &[0, 2, 3, 5]),
            ("not (flags S and not flags AF)", &[1, 2, 3, 4]),
            ("not (flags SA and not flags FU)", &[2, 3, 4]),
            ("flags F or not flags SA", &[1, 2, 3, 4]),
            ("pps > 0", &[0, 4, 5]),
            ("pps = 0", &[1, 2, 3]),
            ("bps < 1", &[1, 3]),
            ("bps > 1k", &[0, 4, 5]),
            ("bpp > 1m", &[5]),
            ("duration > 1000", &[2, 4, 5]),
            ("duration = 1000", &[0]),
            ("bytes > 1k", &[1, 4, 5]),
            ("bytes >= 1k", &[0, 1, 4, 5]),
            ("bytes = 1k", &[0]),
            ("bytes 60", &[2]),
            ("in packets > 100", &[4, 5]),
            ("packets gt 100", &[4, 5]),
            ("net 10.0.0.4/30", &[3, 4, 5]),
            ("net 10.0.0.4 255.255.255.252", &[3, 4, 5]),
            ("net 10.0.0/24", &[0, 1, 2, 3, 4, 5]),
            ("net ::/0", &[]),
            ("src net 10.0.0.4/30 or dst net 10.0.0.1/32", &[0, 3, 4, 5]),
            ("src ip in [10.0.0.4/31]", &[3, 4]),
            ("src ip in [10.0.0.1, 10.0.0.7]", &[0, 1, 5]),
            ("port in [80 53]", &[0, 1, 2]),
            ("port > 1000", &[1, 3, 4, 5]),
            ("src port > 1000 and not dst port 443", &[1]),
            ("src or dst port 80", &[0, 1]),
            ("src and dst port 80", &[0]),
            ("port=80", &[0, 1]),
            ("src port EQ 80", &[0]),
            ("proto 6", &[0, 1, 4, 5]),
            ("PROTO TCP AND DST PORT 80", &[0, 1]),
            ("! proto tcp", &[2, 3]),
            ("host 10.0.0.1 || proto icmp", &[0, 1, 3]),
            ("in if 2", &[2, 3, 4, 5]),
            ("if 3", &[3, 4, 5]),
            ("tos 8", &[2]),
            ("src tos 8", &[2]),
            ("icmp-type 8", &[3]),
            ("icmp-code 3", &[3]),
            ("next ip 10.9.9.9", &[0, 1]),
            ("router ip 127.0.0.1", &[0, 1, 2, 3, 4, 5]),
            ("flowdir ingress", &[0, 1, 2, 3, 4, 5]),
            ("not proto tcp or dst port 80", &[0, 1, 2, 3]),
            ("src ip 10.0.0.3 or src ip 10.0.0.1 and dst port 80", &[0, 1, 2]),
            ("not src ip 10.0.0.3 and dst port 53", &[]),
        ];
        for (filter, rows) in table {
            assert_eq!(selected(filter), *rows, "{filter}");
        }
    }

    #[test]
    fn words_of_its_own_select_as_they_read() {
        assert_eq!(selected("flags SYN"), [0, 1, 4, 5]);
        assert_eq!(selected("port != 80"), [2, 3, 4, 5]);
        assert_eq!(selected("exporter ip 127.0.0.1 and proto in [udp icmp]"), [2, 3]);
        assert_eq!(selected("if in [3]"), [3, 4, 5]);
    }

    /// The word that an error points at.
    fn pointed(filter: &str) -> (String, String) {
        let error = parse(filter).unwrap_err();
        let word = &filter[error.position..error.position + error.length];
        (word.to_owned(), error.message)
    }

    #[test]
    fn an_error_points_at_the_word_and_says_what_was_expected() {
        for (filter, word, hint) in [
            ("proto tcp and foo 1", "foo", "an element, or one of: any"),
            ("proto tcp and", "", "the filter ends here"),
            ("proto nosuch", "nosuch", "protocol's name"),
            ("port 70000", "70000", "outside of 0 to 65535"),
            ("tos 300", "300", "outside of 0 to 255"),
            ("ip 10.0.0", "10.0.0", "not an IP address"),
            ("ip 10.0.0.1/24", "10.0.0.1/24", "use 'net'"),
            ("net 10.0.0.0/33", "10.0.0.0/33", "at most 32 bits"),
            ("net 10.0.0.0 255.0.255.0", "255.0.255.0", "netmask"),
            ("ip in [10.0.0.1", "", "or ']'"),
            ("(proto tcp", "", "')'"),
            ("proto tcp)", ")", "closes nothing"),
            ("proto tcp dst port 80", "dst", "'and', 'or'"),
            ("bytes > 1.5k", "1.5k", "a number"),
            ("mpls label1 5", "mpls", "does not know"),
            ("flags Q", "Q", "letters"),
            ("src bytes 5", "bytes", "one of: ip, host"),
            ("bytes > 99999999999g", "99999999999g", "a number"),
        ] {
            let (pointed_at, message) = pointed(filter);
            assert_eq!(pointed_at, word, "{filter}: {message}");
            assert!(message.contains(hint), "{filter}: {message}");
        }
    }

    #[test]
    fn the_word_is_underlined_in_its_line() {
        let filter = "any # all\nand foo 1";
        let error = parse(filter).unwrap_err();
        assert_eq!(error.underline(filter), "and foo 1\n    ^^^");
    }

    #[test]
    fn nesting_is_bounded() {
        for (open, close) in [("(", ")"), ("not ", "")] {
            let filter = |depth| format!("{}any{}", open.repeat(depth), close.repeat(depth));
            parse(&filter(MAX_DEPTH)).unwrap();
            assert!(parse(&filter(MAX_DEPTH + 1)).unwrap_err().message.contains("deeper"));
            assert!(parse(&filter(100_000)).is_err());
        }
    }

    #[test]
    fn ten_thousand_addresses_are_one_look_up_a_side() {
        let parts: Vec<String> =
            (0..10_000).map(|n| format!("ip 10.1.{}.{}", n / 256, n % 256)).collect();
        let Expression::Or(tests) = parse(&parts.join(" or ")).unwrap() else { panic!("an or") };
        assert_eq!(tests.len(), 2);
    }

    #[test]
    fn more_tests_than_the_bound_are_refused_once_merged() {
        let filter = |test: &str, count| vec![test; count].join(" or ");
        parse(&filter("pps > 1", MAX_TESTS)).unwrap();
        for test in ["pps > 1", "icmp-code 3", "(src port 1 and dst port 2)"] {
            let error = parse(&filter(test, MAX_TESTS + 1)).unwrap_err();
            assert!(error.message.contains("more than 4096 tests"), "{test}: {error}");
        }
    }

    #[test]
    fn a_filter_too_long_is_refused() {
        assert!(parse(&" ".repeat(MAX_FILTER_BYTES + 1)).unwrap_err().message.contains("bytes"));
    }
}
