//! nfdump's time windows (`-t`): text → the two bounds of a [`Question`](crate::query::Question).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time window that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a time window; expected YYYY/MM/dd.hh:mm:ss[-YYYY/MM/dd.hh:mm:ss] in UTC, \
     the time or its end may be left out"
)]
pub struct WindowError {
    /// The part that is not understood.
    pub text: String,
}

/// The first and last moment of `2026/11/22.18:00:00-2026/11/22.18:05`, ms since 1970.
///
/// As in nfdump the parts of a time may be left out from its end on, and without a second time the
/// window has no end. Times are UTC.
///
/// # Errors
/// The part that is not understood, or that the window ends before it begins.
pub fn parse(text: &str) -> Result<(Option<u64>, Option<u64>), WindowError> {
    let (from, until) = match text.split_once('-') {
        Some((from, until)) => (moment(from)?, Some(moment(until)?)),
        None => (moment(text)?, None),
    };
    if until.is_some_and(|until| until < from) {
        return Err(WindowError { text: text.to_owned() });
    }
    Ok((Some(from), until))
}

fn moment(text: &str) -> Result<u64, WindowError> {
    let text = text.trim();
    let formats = ["%Y/%m/%d.%H:%M:%S", "%Y/%m/%d.%H:%M", "%Y/%m/%d.%H", "%Y/%m/%d"];
    let civil = formats.into_iter().find_map(|format| match format {
        "%Y/%m/%d" => jiff::civil::Date::strptime(format, text).ok().map(DateTime::from),
        // A date and an hour alone are no time of day to the library.
        "%Y/%m/%d.%H" => DateTime::strptime("%Y/%m/%d.%H:%M", format!("{text}:00")).ok(),
        _ => DateTime::strptime(format, text).ok(),
    });
    civil
        .and_then(|civil| civil.to_zoned(TimeZone::UTC).ok())
        .and_then(|zoned| u64::try_from(zoned.timestamp().as_millisecond()).ok())
        .ok_or_else(|| WindowError { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 1_795_305_600_000;

    #[test]
    fn parts_may_be_left_out_from_the_end_on() {
        for (text, from) in [
            ("2026/11/22", DAY_MS),
            ("2026/11/22.18", DAY_MS + 18 * 3_600_000),
            ("2026/11/22.18:01", DAY_MS + 18 * 3_600_000 + 60_000),
            ("2026/11/22.18:01:02", DAY_MS + 18 * 3_600_000 + 62_000),
        ] {
            assert_eq!(parse(text), Ok((Some(from), None)), "{text}");
        }
    }

    #[test]
    fn a_window_has_two_ends_in_order() {
        assert_eq!(
            parse("2026/11/22-2026/11/22.00:00:01"),
            Ok((Some(DAY_MS), Some(DAY_MS + 1000)))
        );
        assert!(parse("2026/11/22-2026/11/21").is_err());
    }

    #[test]
    fn what_is_no_time_is_named() {
        assert!(parse("yesterday").unwrap_err().to_string().contains("'yesterday'"));
        assert!(parse("2026/13/01").is_err());
        assert!(parse("").is_err());
    }
}
