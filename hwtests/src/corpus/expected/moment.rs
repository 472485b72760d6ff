//! Moments as JSON has them: `2023-02-28T09:47:14.512Z`.

/// Milliseconds since 1970; `None` of anything else. What is finer than a millisecond is dropped.
pub(super) fn moment_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut numbers = date.split('-').map(|number| number.parse::<i64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut numbers = time.split(':').map(|number| number.parse::<i64>().ok());
    let (hour, minute, second) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(seconds * 1_000 + ms).ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years are counted from March, so that
/// the day that some have more is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Five months from March on, and from August on, have 153 days.
    year * 365 + leap + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_milliseconds_since_1970() {
        assert_eq!(moment_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(moment_ms("2000-03-01T00:00:00.5Z"), Some(951_868_800_500));
        assert_eq!(moment_ms("2024-02-29T23:59:59.999Z"), Some(1_709_251_199_999));
        assert_eq!(moment_ms("::1"), None);
    }
}
