//! Numbers, addresses and prefixes in a filter.

use std::net::IpAddr;

use super::element::parse_mac;
use super::{FilterError, Parser, shorten};
use crate::query::lexer::Token;
use crate::query::prefix::{parse_network, prefix_ranges};
use crate::query::protocol;
use crate::schema::Form;
use crate::{Address, Column};

impl<'a> Parser<'a> {
    /// A number that fits the column, or a name that stands for one there.
    pub(super) fn number(&self, word: Token<'a>, column: Column) -> Result<u64, FilterError> {
        let name = word.text.to_ascii_lowercase();
        if column.form() == Form::Mac
            && let Some(mac) = parse_mac(&name)
        {
            return Ok(mac);
        }
        let named = match column {
            Column::Protocol => protocol::number(&name).map(u64::from),
            Column::Direction if name == "ingress" => Some(0),
            Column::Direction if name == "egress" => Some(1),
            _ => None,
        };
        if let Some(number) = named {
            return Ok(number);
        }
        if column == Column::Protocol && !name.starts_with(|c: char| c.is_ascii_digit()) {
            let expected = "a protocol's name such as tcp, udp, icmp, or its number";
            return Err(self.unexpected(word, expected));
        }
        let number = self.plain_number(word)?;
        let bits = column.width() as u32 * 8;
        let largest = u64::MAX >> (64 - bits.min(64));
        if number > largest {
            let message = format!("{} is outside of 0 to {largest}", shorten(word.text));
            return Err(self.error_at(word, &message));
        }
        Ok(number)
    }

    /// Decimal with an optional k, m, g or t (powers of 1,000), or 0x….
    pub(super) fn plain_number(&self, word: Token<'a>) -> Result<u64, FilterError> {
        let text = word.text.to_ascii_lowercase();
        let number = if let Some(hex) = text.strip_prefix("0x") {
            u64::from_str_radix(hex, 16).ok()
        } else {
            let scales = [('k', 1), ('m', 2), ('g', 3), ('t', 4)];
            let (digits, thousands) = scales
                .into_iter()
                .find_map(|(suffix, power)| Some((text.strip_suffix(suffix)?, power)))
                .unwrap_or((&text, 0));
            let digits = Some(digits).filter(|digits| !digits.starts_with('+'));
            digits
                .and_then(|digits| digits.parse::<u64>().ok())
                .and_then(|number| number.checked_mul(1_000_u64.pow(thousands)))
        };
        number.ok_or_else(|| self.unexpected(word, "a number such as 80, 10k or 0x1b"))
    }

    pub(super) fn ip(&self, word: Token<'a>) -> Result<IpAddr, FilterError> {
        word.text.parse().map_err(|_| {
            let message = format!(
                "'{}' is not an IP address; host names are not looked up",
                shorten(word.text)
            );
            self.error_at(word, &message)
        })
    }

    /// The addresses of a prefix; IPv6 prefixes never cover IPv4's.
    pub(super) fn prefix(
        &self,
        word: Token<'a>,
        network: &str,
        bits: &str,
    ) -> Result<Vec<(Address, Address)>, FilterError> {
        let expected = "a network such as 192.0.2.0/24 or 2001:db8::/32";
        let ip = parse_network(network).ok_or_else(|| self.unexpected(word, expected))?;
        let bits: u32 = bits.parse().map_err(|_| self.unexpected(word, expected))?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        if bits > longest {
            let message = format!("a prefix of this address has at most {longest} bits");
            return Err(self.error_at(word, &message));
        }
        Ok(prefix_ranges(ip, bits))
    }
}
