//! Payloads written down as text: hex digits alone, or as hexdump, xxd, tcpdump or a program's source
//! write them.
//!
//! An offset of zero begins another packet; without offsets, a line that begins a message of a known
//! version does.

/// Characters between digits that say nothing.
const BETWEEN: [char; 8] = [',', ';', '"', '\'', '{', '}', '[', ']'];

/// Bytes of a line at most where a dump is wrapped.
const WRAPPED: usize = 32;

/// Whether a message of a known version begins here.
fn is_known(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 1 | 5..=10, ..] | [0, 0, 0, 5, ..])
}

/// The packets of a hex dump; `None` of anything else.
pub fn packets(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for line in text.lines() {
        let Line { offset, bytes } = Line::parse(line)?;
        let begins = match offset {
            Some(offset) => offset == 0,
            // Shorter lines are those of one message, wrapped.
            None => bytes.len() > WRAPPED && is_known(&bytes),
        };
        match packets.last_mut() {
            Some(packet) if !begins => packet.extend(bytes),
            _ if bytes.is_empty() => {}
            _ => packets.push(bytes),
        }
    }
    (!packets.is_empty()).then_some(packets)
}

/// A line of a dump.
struct Line {
    offset: Option<u64>,
    bytes: Vec<u8>,
}

impl Line {
    /// Reads a line; `None` when it holds anything but an offset, digits and their text at the end.
    fn parse(line: &str) -> Option<Line> {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') || trimmed.starts_with("//") {
            return Some(Line { offset: None, bytes: Vec::new() });
        }
        // hexdump -C has its text between bars.
        let (digits, _) = trimmed.split_once('|').unwrap_or((trimmed, ""));
        let (offset, digits) = offset(digits);
        // xxd and tcpdump have theirs behind two spaces.
        let digits = match offset {
            Some(_) => digits.trim_start().split("  ").next().unwrap_or_default(),
            None => digits,
        };
        let digits = digits.replace("\\x", " ").replace("0x", " ").replace("0X", " ");
        let digits = digits.replace(BETWEEN, " ");
        let mut bytes = Vec::new();
        for word in digits.split_whitespace() {
            bytes.extend(of_word(word)?);
        }
        Some(Line { offset, bytes })
    }
}

/// An offset at the head of a line, and what follows it.
fn offset(line: &str) -> (Option<u64>, &str) {
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    if let Some((word, rest)) = line.split_once(':')
        && let Some(offset) = number(word.trim())
    {
        return (Some(offset), rest);
    }
    // hexdump's: longer than the words behind it, of two digits each.
    if let Some((word, rest)) = line.split_once(char::is_whitespace)
        && (4..=16).contains(&word.len())
        && rest.split_whitespace().next().is_some_and(|next| next.len() == 2)
        && let Some(offset) = number(word)
    {
        return (Some(offset), rest);
    }
    (None, line)
}

/// The bytes of a word of hex digits; of a single digit too, as programs write `0x5`.
fn of_word(word: &str) -> Option<Vec<u8>> {
    if !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    if word.len() == 1 {
        return u8::from_str_radix(word, 16).ok().map(|byte| vec![byte]);
    }
    let pairs = word.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Vec<u8> {
        let mut packets = packets(text.as_bytes()).expect("a dump");
        assert_eq!(packets.len(), 1, "{text}");
        packets.remove(0)
    }

    #[test]
    fn digits_are_read_however_they_are_written() {
        for text in [
            "000500aa1f",
            "00 05 00 aa\n1f",
            "0x00, 0x5, 0x00,\n0xaa, 0x1f,",
            "\"\\x00\\x05\\x00\\xaa\\x1f\"",
            "00000000  00 05 00 aa  |....|\n00000004  1f  |.|\n",
            "00000000: 0005 00aa  ....\n00000004: 1f  .\n",
            "\t0x0000:  0005 00aa\n\t0x0004:  1f\n",
        ] {
            assert_eq!(only(text), [0, 5, 0, 0xaa, 0x1f], "{text}");
        }
    }

    #[test]
    fn another_offset_of_zero_is_another_packet() {
        let text = "0000 00 05 aa\n0003 bb\n\n0000 00 09 cc\n";
        let packets = packets(text.as_bytes()).expect("a dump");
        assert_eq!(packets, [vec![0, 5, 0xaa, 0xbb], vec![0, 9, 0xcc]]);
    }

    #[test]
    fn long_lines_that_begin_messages_are_packets() {
        let (v5, ipfix) =
            ("0005".to_owned() + &"aa".repeat(40), "000a".to_owned() + &"bb".repeat(40));
        let found = packets(format!("{v5}\n{ipfix}\n0009cc\n").as_bytes()).expect("a dump");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [42, 45]);
    }

    #[test]
    fn other_text_is_no_dump() {
        for text in ["hello", "", "path\torigin", "# a comment alone"] {
            assert_eq!(packets(text.as_bytes()), None, "{text}");
        }
    }
}
