//! Moments as text: always UTC, in the shapes that logs, status and receipts need. A clock that
//! stands before 1970 reads as 1970; none of this can fail.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment taken apart, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    year: u64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// `2026-11-23T20:00:00Z` (RFC 3339), cut to the second.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let mut text = date_time(seconds_and_millis(at).0);
    text.push('Z');
    text
}

/// `2026-11-23T20:00:00.000Z` (RFC 3339), cut to the millisecond.
#[must_use]
pub fn rfc3339_millis(at: SystemTime) -> String {
    let (seconds, millis) = seconds_and_millis(at);
    format!("{}.{millis:03}Z", date_time(seconds))
}

/// Whole seconds since 1970, and the milliseconds within the second.
fn seconds_and_millis(at: SystemTime) -> (u64, u32) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_millis())
}

/// `2026-11-23T20:00:00`, without a zone so that a fraction can follow.
pub(super) fn date_time(seconds: u64) -> String {
    let Moment { year, month, day, hour, minute, second } = moment(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// `23/Nov/2026:20:00:00 +0000`, as in Apache's and nginx's logs.
pub(super) fn common_log(seconds: u64) -> String {
    let Moment { year, month, day, hour, minute, second } = moment(seconds);
    let name = MONTHS
        .get(usize::from(month).saturating_sub(1))
        .copied()
        .unwrap_or_default();
    format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Counts in years that begin in March, so that the leap day is the last one and a month's start is
/// a straight line through the day of the year (Howard Hinnant's `civil_from_days`).
fn moment(seconds: u64) -> Moment {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    Moment {
        year,
        month: small(month),
        day: small(day),
        hour: small(rest / 3600),
        minute: small(rest / 60 % 60),
        second: small(rest % 60),
    }
}

/// Parts of a date are below 60.
fn small(part: u64) -> u8 {
    u8::try_from(part).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(rfc3339(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(at(951_782_400_000)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(at(1_795_464_000_999)), "2026-11-23T20:00:00Z");
        assert_eq!(rfc3339_millis(at(1_795_464_000_007)), "2026-11-23T20:00:00.007Z");
        assert_eq!(common_log(1_795_464_000), "23/Nov/2026:20:00:00 +0000");
    }

    #[test]
    fn every_day_of_four_centuries_agrees_with_another_calendar() {
        for day in 0..146_097_u64 {
            let moment = UNIX_EPOCH + Duration::from_secs(day * 86_400 + 86_399);
            assert_eq!(rfc3339(moment), humantime::format_rfc3339_seconds(moment).to_string());
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }
}
