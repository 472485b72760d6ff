//! Columns and elements by their own names in a filter.
//!
//! Any column is tested by its name as nfdump's words are, any element by one of its names. An
//! element alone asks whether a record has it; `!=` asks for one with another value.

use super::{FilterError, PRIMITIVES, Parsed, Parser, Side};
use crate::Column;
use crate::element::{DataType, ElementId, NameError};
use crate::query::element::{ElementTest, Wanted};
use crate::query::expression::{Compare, Expression, Test};
use crate::query::lexer::{Token, TokenKind};
use crate::schema::Form;

impl<'a> Parser<'a> {
    /// A column by its own name: `nat_event 1`, `source_mac 00:1b:21:3c:9d:f8`.
    pub(super) fn column(&mut self, column: Column) -> Parsed {
        match column.form() {
            Form::Address => {
                let ranges = self.address_list()?;
                Ok(Expression::Test(Test::AddressIn { column, ranges }))
            }
            _ => self.numbers(Side::Source, (column, column)),
        }
    }

    /// An element: `cisco/appHTTPHost`, `… = "a.example"`, `… contains "example"`, `… in [ 1 2 ]`.
    pub(super) fn element(&mut self, word: Token<'a>) -> Parsed {
        let element = ElementId::parse(word.text).map_err(|error| match error {
            NameError::Unknown => {
                self.unexpected(word, &format!("a column, an element, or one of: {PRIMITIVES}"))
            }
            NameError::Ambiguous(names) => {
                let names = names.join(", ");
                self.error_at(word, &format!("several elements are called so: {names}"))
            }
        })?;
        let next = self.peek();
        let said = matches!(next.kind, TokenKind::Word | TokenKind::Quoted | TokenKind::Compare);
        let wanted = if said { self.wanted(element.kind())? } else { Wanted::Present };
        Ok(Expression::Test(Test::Element(Box::new(ElementTest { element, wanted }))))
    }

    /// What an element's value must be.
    fn wanted(&mut self, kind: DataType) -> Result<Wanted, FilterError> {
        match kind {
            DataType::Ipv4Address | DataType::Ipv6Address => {
                self.take(TokenKind::Compare);
                return self.address_list().map(Wanted::AddressIn);
            }
            DataType::Float64 => {
                return Err(
                    self.error("fractions are not compared; the element alone may be asked")
                );
            }
            _ => {}
        }
        if self.take_word("contains") {
            return Ok(Wanted::Contains(unquoted(self.text()?).as_bytes().to_vec()));
        }
        if self.take_word("in") {
            let mut values = Vec::new();
            self.list("a number", |parser, word| {
                values.push(parser.element_number(word)?);
                Ok(())
            })?;
            values.sort_unstable();
            values.dedup();
            return Ok(Wanted::NumberIn(values));
        }
        let compare = self.compare();
        let word = self.text()?;
        let hex = if kind == DataType::OctetArray { hex_bytes(word.text) } else { None };
        let bytes = match hex {
            Some(bytes) => Some(bytes),
            None if word.kind == TokenKind::Quoted || kind == DataType::String => {
                Some(unquoted(word).as_bytes().to_vec())
            }
            None => None,
        };
        match (bytes, compare) {
            (Some(bytes), Compare::Equal) => Ok(Wanted::Bytes(bytes, true)),
            (Some(bytes), Compare::NotEqual) => Ok(Wanted::Bytes(bytes, false)),
            (Some(_), _) => Err(self.error_at(word, "text is compared with = or != only")),
            (None, _) => Ok(Wanted::Number(compare, self.element_number(word)?)),
        }
    }

    /// The value of an element as a number: also a MAC address and a truth value.
    fn element_number(&self, word: Token<'a>) -> Result<i128, FilterError> {
        match word.text.to_ascii_lowercase().as_str() {
            "true" => Ok(1),
            "false" => Ok(0),
            text => match text.strip_prefix('-').and_then(|text| text.parse::<i128>().ok()) {
                Some(number) => Ok(-number),
                None => match parse_mac(text) {
                    Some(mac) => Ok(mac.into()),
                    None => self.plain_number(word).map(Into::into),
                },
            },
        }
    }

    /// A word, or what stands between quotes.
    fn text(&mut self) -> Result<Token<'a>, FilterError> {
        match self.peek().kind {
            TokenKind::Word | TokenKind::Quoted => Ok(self.next()),
            _ => Err(self.expected("a value")),
        }
    }
}

/// `00:1b:21:3c:9d:f8`, or with hyphens.
pub(super) fn parse_mac(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let byte = |part: &&str| match part.len() {
        1 | 2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    };
    let bytes: Vec<u8> = parts.iter().map(byte).collect::<Option<_>>()?;
    let fold = |mac, byte: &u8| mac << 8 | u64::from(*byte);
    (bytes.len() == 6).then(|| bytes.iter().fold(0, fold))
}

/// A token's text without the quotes around it.
fn unquoted(token: Token<'_>) -> &str {
    match token.kind {
        TokenKind::Quoted => &token.text[1..token.text.len() - 1],
        _ => token.text,
    }
}

/// `0x…` with two digits a byte.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.as_bytes().chunks(2).map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::column::ColumnSource;
    use crate::overflow::{Extra, Field, Shape};
    use crate::query::FlowRow;
    use crate::query::filter::parse;
    use crate::{Address, Batch};

    fn extra(name: &str, value: &[u8]) -> Extra {
        Extra { element: ElementId::parse(name).unwrap(), value: value.into() }
    }

    /// Six rows: five with elements, one with none.
    fn rows() -> Batch {
        let mut batch = Batch::default();
        for elements in [
            vec![extra("cisco/appHTTPHost", b"www.example")],
            vec![extra("cisco/appHTTPHost", b"other.test\0\0"), extra("9/9999", &[1, 2])],
            vec![extra("ipTTL", &[64]), extra("flowKeyIndicator", &[0, 7])],
            vec![extra("exporterIPv4Address", &[192, 0, 2, 1])],
            vec![extra("octetTotalCount", &[3, 0xe8])],
            vec![],
        ] {
            batch.push(&FlowRow { bytes: 40, elements, ..FlowRow::default() });
        }
        batch
    }

    fn selected(filter: &str) -> Vec<usize> {
        let rows = rows();
        parse(filter)
            .unwrap_or_else(|e| panic!("{filter}: {e}"))
            .select(&rows)
            .unwrap()
            .iter()
            .collect()
    }

    #[test]
    fn elements_are_tested_by_their_names() {
        for (filter, expected) in [
            ("appHTTPHost", &[0, 1][..]),
            ("not appHTTPHost", &[2, 3, 4, 5]),
            ("cisco/appHTTPHost = www.example", &[0]),
            ("9/12235 \"other.test\"", &[1]),
            ("cisco/apphttphost != 'www.example'", &[1]),
            ("0/45003 contains \".\" and bytes 40", &[0, 1]),
            ("9/9999 0x0102 or flowKeyIndicator > 6", &[1, 2]),
            ("9/9999 = 258", &[1]),
            ("flowKeyIndicator in [ 1 7 ]", &[2]),
            ("exporterIPv4Address in [ 192.0.2.0/24 ]", &[3]),
            ("exporterIPv4Address 192.0.2.2", &[]),
        ] {
            assert_eq!(selected(filter), expected, "{filter}");
        }
    }

    #[test]
    fn an_element_with_a_column_is_sought_in_both() {
        assert_eq!(selected("octetTotalCount > 999"), [4], "beside the columns");
        assert_eq!(selected("octetTotalCount = 40"), [0, 1, 2, 3, 5], "in the column");
        assert_eq!(selected("octetDeltaCount = 40"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(selected("ipTTL = 64"), [2]);
    }

    #[test]
    fn any_column_is_tested_by_its_name() {
        let mut batch = Batch::default();
        let address = Address::from_v4([198, 51, 100, 7]);
        batch.push(&FlowRow { nat_source_address: address, nat_event: 1, ..FlowRow::default() });
        batch.push(&FlowRow { source_mac: 0x001b_213c_9df8, ..FlowRow::default() });
        let selected = |filter: &str| -> Vec<usize> {
            parse(filter).unwrap().select(&batch).unwrap().iter().collect()
        };
        assert_eq!(selected("nat_event 1"), [0]);
        assert_eq!(selected("nat_source_address 198.51.100.7"), [0]);
        assert_eq!(selected("nat_source_address in [ 198.51.100.0/24 ]"), [0]);
        assert_eq!(selected("source_mac 00:1b:21:3c:9d:f8"), [1]);
        assert_eq!(selected("mpls_1 0"), [0, 1], "no row says anything there");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_pointed_at() {
        for (filter, hint) in [
            ("appHTTPHost > 'a'", "= or !="),
            ("flowKeyIndicator = x", "a number"),
            ("samplingProbability = 1", "not compared"),
            ("clientRetransPackets = ", "a value"),
            ("nosuch/1 = 1", "an element"),
        ] {
            let error = parse(filter).unwrap_err();
            assert!(error.message.contains(hint), "{filter}: {error}");
        }
    }

    #[test]
    fn rows_of_shapes_without_the_element_are_passed_over() {
        let mut batch = Batch::default();
        let field = Field { element: ElementId::new(9, 1), length: 1 };
        batch.overflow.extend(
            0,
            &Arc::new(Shape::new([field])),
            &[5, 6],
            1,
            std::slice::from_ref(&(0..1)),
        );
        batch.fill(3);
        assert!(batch.overflow().unwrap().is_some());
        let rows: Vec<usize> = parse("9/1 > 5").unwrap().select(&batch).unwrap().iter().collect();
        assert_eq!(rows, [1]);
    }
}
