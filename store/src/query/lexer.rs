//! The words of a filter, each with its place in the text.

use crate::query::filter::FilterError;

/// A word or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    /// Where it begins, in bytes.
    pub(crate) position: usize,
}

/// What a token is; a word is a keyword, number, address or prefix as its place demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Word,
    /// Text in quotes, which belong to it.
    Quoted,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Not,
    And,
    Or,
    Compare,
    End,
}

/// The signs, longer ones before their beginnings.
const SIGNS: &[(&str, TokenKind)] = &[
    ("&&", TokenKind::And),
    ("||", TokenKind::Or),
    ("==", TokenKind::Compare),
    ("!=", TokenKind::Compare),
    ("<=", TokenKind::Compare),
    (">=", TokenKind::Compare),
    ("=", TokenKind::Compare),
    ("<", TokenKind::Compare),
    (">", TokenKind::Compare),
    ("!", TokenKind::Not),
    ("(", TokenKind::Open),
    (")", TokenKind::Close),
    ("[", TokenKind::OpenList),
    ("]", TokenKind::CloseList),
    (",", TokenKind::Comma),
];

/// All tokens of `text`; the last is [`TokenKind::End`]. A `#` begins a comment to the line's end.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(next) = text[position..].chars().next() {
        let rest = &text[position..];
        if next.is_whitespace() {
            position += next.len_utf8();
            continue;
        }
        if next == '#' {
            position += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let token = token(rest, position).ok_or_else(|| FilterError {
            message: format!("'{}' has no meaning in a filter", next.escape_debug()),
            position,
            length: next.len_utf8(),
        })?;
        position += token.text.len();
        tokens.push(token);
    }
    tokens.push(Token { kind: TokenKind::End, text: "", position: text.len() });
    Ok(tokens)
}

fn token(rest: &str, position: usize) -> Option<Token<'_>> {
    if let Some(&(sign, kind)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        return Some(Token { kind, text: &rest[..sign.len()], position });
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        let end = rest[1..].find(quote)? + 2;
        return Some(Token { kind: TokenKind::Quoted, text: &rest[..end], position });
    }
    let of_word = |c: char| c.is_ascii_alphanumeric() || "._:/-+*".contains(c);
    let length = rest.find(|c: char| !of_word(c)).unwrap_or(rest.len());
    let word = Token { kind: keyword(&rest[..length]), text: &rest[..length], position };
    (length > 0).then_some(word)
}

fn keyword(word: &str) -> TokenKind {
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    if is("and") {
        TokenKind::And
    } else if is("or") {
        TokenKind::Or
    } else if is("not") {
        TokenKind::Not
    } else if ["eq", "ne", "lt", "gt", "le", "ge"].into_iter().any(is) {
        TokenKind::Compare
    } else {
        TokenKind::Word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).unwrap().into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn signs_need_no_space_around_them() {
        assert_eq!(texts("port>=80&&!(any)"), ["port", ">=", "80", "&&", "!", "(", "any", ")", ""]);
    }

    #[test]
    fn text_in_quotes_is_one_word_whatever_it_holds() {
        assert_eq!(
            texts("if name \"a (b) or c\" and any"),
            ["if", "name", "\"a (b) or c\"", "and", "any", ""]
        );
        assert_eq!(tokens("name 'a").unwrap_err().position, 5);
    }

    #[test]
    fn a_comment_ends_with_its_line() {
        assert_eq!(texts("any # or none\nor any"), ["any", "or", "any", ""]);
    }

    #[test]
    fn a_sign_without_meaning_is_pointed_at() {
        let error = tokens("any \u{20ac}").unwrap_err();
        assert_eq!((error.position, error.length), (4, 3));
    }
}
