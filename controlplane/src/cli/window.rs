//! The time window of a query, as `-t` takes it. Times are UTC, as in the tables.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::unit::duration;

/// Both bounds are inclusive, ms since 1970; a flow must lie wholly between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// From this time; `None` is no bound.
    pub from_ms: Option<u64>,
    /// To this time; `None` is no bound.
    pub until_ms: Option<u64>,
}

impl Window {
    /// Reads `5m` (the last five minutes before `now_ms`), nfdump's
    /// `2026/11/22.18:00-2026/11/22.19:00`, or ISO times as `2026-11-22T18:00..2026-11-22T19:00`.
    ///
    /// nfdump's times are instants: the window ends at 19:00:00.000. The ISO form names spans: either
    /// end may be left out, and the last minute (hour, day, second) is in it as a whole.
    ///
    /// # Errors
    /// What is not understood, and how to write it.
    pub fn parse(text: &str, now_ms: u64) -> Result<Window, String> {
        if let Ok(last) = duration(text) {
            let last_ms = u64::try_from(last.as_millis()).unwrap_or(u64::MAX);
            return Ok(Window { from_ms: Some(now_ms.saturating_sub(last_ms)), until_ms: None });
        }
        if text.contains('/') {
            let (from_ms, until_ms) =
                weir_store::query::window::parse(text).map_err(|_| advice(text))?;
            return Ok(Window { from_ms, until_ms });
        }
        let (from, until) = text.split_once("..").unwrap_or((text, ""));
        let window = Window { from_ms: bound(from, false)?, until_ms: bound(until, true)? };
        match window {
            Window { from_ms: None, until_ms: None } => Err(advice(text)),
            Window { from_ms: Some(from), until_ms: Some(until) } if from > until => {
                Err(format!("the window {text:?} ends before it begins"))
            }
            window => Ok(window),
        }
    }
}

fn advice(text: &str) -> String {
    format!(
        "no time window {text:?}: write 5m for the last five minutes, \
         2026/11/22.18:00:00-2026/11/22.19:00:00, or 2026-11-22T18:00..2026-11-22T19:00 (UTC), \
         the earlier time first"
    )
}

fn bound(text: &str, end: bool) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.trim_end_matches('Z');
    let (date, time) = plain.split_once(['T', ' ']).unwrap_or((plain, ""));
    let (time, span_ms) = match time.matches(':').count() {
        _ if time.is_empty() => ("00:00:00".to_owned(), 86_400_000),
        0 => (format!("{time}:00:00"), 3_600_000),
        1 => (format!("{time}:00"), 60_000),
        _ if time.contains('.') => (time.to_owned(), 1),
        _ => (time.to_owned(), 1_000),
    };
    let time: DateTime = format!("{date}T{time}").parse().map_err(|_| advice(text))?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|_| advice(text))?;
    let ms = u64::try_from(zoned.timestamp().as_millisecond()).map_err(|_| advice(text))?;
    Ok(Some(if end { ms + span_ms - 1 } else { ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 18:00:00 UTC.
    const SIX: u64 = 1_795_370_400_000;

    fn window(from_ms: Option<u64>, until_ms: Option<u64>) -> Result<Window, String> {
        Ok(Window { from_ms, until_ms })
    }

    #[test]
    fn nfdump_s_window_ends_at_the_instant_written() {
        let expected = window(Some(SIX), Some(SIX + 3_600_000));
        assert_eq!(Window::parse("2026/11/22.18:00:00-2026/11/22.19:00:00", 0), expected);
        assert_eq!(Window::parse("2026/11/22.18-2026/11/22.19:00", 0), expected);
        assert_eq!(Window::parse("2026/11/22.18", 0), window(Some(SIX), None));
        assert!(Window::parse("2026/11/22.18-2026/11/22.17", 0).unwrap_err().contains("earlier"));
    }

    #[test]
    fn the_iso_way_takes_in_the_whole_of_its_end() {
        for (text, span_ms) in [
            ("2026-11-22T18:00:00..2026-11-22T18:00:00Z", 1_000),
            ("2026-11-22T18:00..2026-11-22T18:00", 60_000),
            ("2026-11-22T18..2026-11-22T18", 3_600_000),
        ] {
            assert_eq!(
                Window::parse(text, 0),
                window(Some(SIX), Some(SIX + span_ms - 1)),
                "{text}"
            );
        }
    }

    #[test]
    fn either_end_may_be_open_and_the_last_minutes_count_from_now() {
        assert_eq!(Window::parse("2026-11-22T18", 0), window(Some(SIX), None));
        assert_eq!(Window::parse("..2026-11-22T17:59", 0), window(None, Some(SIX - 1)));
        assert_eq!(Window::parse("5m", SIX), window(Some(SIX - 300_000), None));
        assert_eq!(Window::parse("7d", SIX), window(Some(SIX - 7 * 86_400_000), None));
    }

    #[test]
    fn nonsense_is_told_how_to_write_it() {
        for text in ["", "yesterday", "2026-13-01", ".."] {
            assert!(Window::parse(text, 0).unwrap_err().contains("5m"), "{text}");
        }
        let backwards = Window::parse("2026-11-22T18:00..2026-11-22T17:00", 0);
        assert!(backwards.unwrap_err().contains("ends before it begins"));
    }
}
