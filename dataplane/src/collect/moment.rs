//! What exporters write of time, as milliseconds since 1970; pure functions of the values.

/// What makes an uptime a moment. Uptimes have 32 bits of milliseconds and wrap after 49.7 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uptime {
    /// The uptime at the export time, from the header of v5 and v9.
    AtExport(u32),
    /// When the exporter started, milliseconds since 1970 (IPFIX systemInitTimeMilliseconds).
    Boot(u64),
    /// IPFIX that has not said it.
    Unknown,
}

impl Uptime {
    /// How far a moment may be ahead of the export time, a quarter of the circle: exporters whose
    /// clocks disagree among themselves are common, flows that last for weeks are not.
    const AHEAD_MS: u32 = 1 << 30;

    pub(super) fn from_boot(boot_ms: Option<u64>) -> Self {
        boot_ms.map_or(Uptime::Unknown, Uptime::Boot)
    }

    /// The moment at which the uptime was `at_ms`, milliseconds since 1970.
    #[inline]
    pub(super) fn moment(self, export_ms: u64, at_ms: u32) -> u64 {
        match self {
            Uptime::AtExport(uptime_ms) => {
                let ahead = at_ms.wrapping_sub(uptime_ms);
                if ahead <= Self::AHEAD_MS {
                    export_ms + u64::from(ahead)
                } else {
                    export_ms.saturating_sub(uptime_ms.wrapping_sub(at_ms).into())
                }
            }
            Uptime::Boot(boot_ms) => {
                let at = boot_ms.saturating_add(at_ms.into());
                let wraps = (export_ms + u64::from(Self::AHEAD_MS)).saturating_sub(at) >> 32;
                at + (wraps << 32)
            }
            Uptime::Unknown => export_ms,
        }
    }
}

/// Milliseconds since 1970 of an NTP timestamp (RFC 7011, Section 6.1.9; RFC 5905, Section 6).
#[inline]
pub(super) fn ntp_ms(timestamp: u64) -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCH: u64 = 2_208_988_800;
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    // Seconds before 1970 are of the era that begins in 2036.
    let seconds = if seconds < EPOCH { seconds + (1 << 32) } else { seconds };
    (seconds - EPOCH) * 1000 + ((fraction * 1000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT_MS: u64 = 1_700_000_000_000;

    #[test]
    fn an_uptime_from_before_its_wrap_is_in_the_past() {
        let uptime = Uptime::AtExport(1_000);
        assert_eq!(uptime.moment(EXPORT_MS, u32::MAX), EXPORT_MS - 1_001);
        assert_eq!(uptime.moment(EXPORT_MS, 3_000), EXPORT_MS + 2_000);
        let long_up = Uptime::AtExport(3_000_000_000);
        assert_eq!(long_up.moment(EXPORT_MS, 0), EXPORT_MS - 3_000_000_000);
    }

    #[test]
    fn an_uptime_counts_from_the_start_however_often_it_wrapped() {
        let boot = EXPORT_MS - (3 << 32) - 5_000;
        assert_eq!(Uptime::Boot(boot).moment(EXPORT_MS, 2_000), EXPORT_MS - 3_000);
        let started_now = Uptime::Boot(EXPORT_MS + 1_000);
        assert_eq!(started_now.moment(EXPORT_MS, 2_000), EXPORT_MS + 3_000);
    }

    #[test]
    fn no_uptime_overflows() {
        for uptime in [Uptime::Boot(u64::MAX), Uptime::Boot(0), Uptime::AtExport(u32::MAX)] {
            for export_ms in [0, u64::from(u32::MAX) * 1000] {
                uptime.moment(export_ms, 0);
                uptime.moment(export_ms, u32::MAX);
            }
        }
    }

    #[test]
    fn ntp_seconds_go_on_after_2036() {
        assert_eq!(ntp_ms(0), ((1 << 32) - 2_208_988_800) * 1000);
    }
}
