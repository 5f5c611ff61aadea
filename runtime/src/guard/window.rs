//! Maintenance windows, by the clock on the wall of their zone.
//!
//! Invariant: pure; the time is handed in. A window is open when that clock
//! shows one of its minutes: one that a change of the clock skips does not open,
//! and one that comes twice opens twice.

use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, ToSpan};

use crate::config::WindowConfig;

/// Beyond this many days a window that opens at all has opened.
const AHEAD_DAYS: i32 = 8;

pub(super) fn is_open(window: &WindowConfig, unix_ms: i64) -> bool {
    local(window, unix_ms).is_some_and(|now| covers(window, now))
}

/// When it opens next, in milliseconds of Unix time.
pub(super) fn opens(window: &WindowConfig, unix_ms: i64) -> Option<i64> {
    let today = local(window, unix_ms)?.date();
    let from = time(window.from_min)?;
    (0..=AHEAD_DAYS).find_map(|days| {
        let date = today.checked_add(days.days()).ok()?;
        let at_ms = window.zone.to_timestamp(date.to_datetime(from)).ok()?.as_millisecond();
        (at_ms > unix_ms && is_open(window, at_ms)).then_some(at_ms)
    })
}

fn local(window: &WindowConfig, unix_ms: i64) -> Option<DateTime> {
    Some(window.zone.to_datetime(Timestamp::from_millisecond(unix_ms).ok()?))
}

fn covers(window: &WindowConfig, at: DateTime) -> bool {
    let minute = u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs());
    let day = usize::from(at.weekday().to_monday_zero_offset().unsigned_abs());
    let (today, yesterday) = (window.days[day], window.days[(day + 6) % 7]);
    if window.from_min < window.to_min {
        return today && (window.from_min..window.to_min).contains(&minute);
    }
    (today && minute >= window.from_min) || (yesterday && minute < window.to_min)
}

/// None for 24:00, at which nothing begins.
fn time(minutes: u16) -> Option<Time> {
    let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
    Time::new(hour, minute, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn window(days: &[usize], from: &str, to: &str) -> WindowConfig {
        let minutes = |text: &str| {
            let (hour, minute) = text.split_once(':').unwrap();
            hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
        };
        let mut which = [false; 7];
        days.iter().for_each(|day| which[*day] = true);
        WindowConfig {
            name: "night".into(),
            days: which,
            from_min: minutes(from),
            to_min: minutes(to),
            // Central European time by its rule, so that no database is needed.
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            disruption: 1,
        }
    }

    /// Unix milliseconds of a moment in UTC.
    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // Fridays 22:00 to 04:00, winter: UTC is an hour behind.
        let night = window(&[4], "22:00", "04:00");
        for (moment, open) in [
            ("2026-11-27T20:59:59Z", false),
            ("2026-11-27T21:00:00Z", true),
            ("2026-11-28T02:59:59Z", true),
            ("2026-11-28T03:00:00Z", false),
            ("2026-11-28T21:30:00Z", false),
        ] {
            assert_eq!(is_open(&night, at(moment)), open, "{moment}");
        }
        assert_eq!(opens(&night, at("2026-11-27T22:00:00Z")), Some(at("2026-12-04T21:00:00Z")));
    }

    #[test]
    fn summer_and_winter_move_it_by_an_hour_of_utc() {
        let noon = window(&[0, 1, 2, 3, 4, 5, 6], "12:00", "13:00");
        assert!(is_open(&noon, at("2026-07-01T10:30:00Z")));
        assert!(!is_open(&noon, at("2026-01-05T10:30:00Z")));
        assert!(is_open(&noon, at("2026-01-05T11:30:00Z")));
    }

    #[test]
    fn an_hour_that_the_clock_skips_does_not_open_and_one_that_comes_twice_opens_twice() {
        let early = window(&[0, 1, 2, 3, 4, 5, 6], "02:00", "03:00");
        // On 2026-03-29 the clock goes from 02:00 to 03:00, on 2026-10-25 back.
        assert!(!is_open(&early, at("2026-03-29T00:59:59Z")));
        assert!(!is_open(&early, at("2026-03-29T01:00:00Z")));
        assert_eq!(opens(&early, at("2026-03-29T00:30:00Z")), Some(at("2026-03-30T00:00:00Z")));
        assert!(is_open(&early, at("2026-10-25T00:30:00Z")));
        assert!(is_open(&early, at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn a_whole_day_ends_at_midnight() {
        let sunday = window(&[6], "00:00", "24:00");
        assert!(is_open(&sunday, at("2026-11-28T23:00:00Z")));
        assert!(is_open(&sunday, at("2026-11-29T22:59:59Z")));
        assert!(!is_open(&sunday, at("2026-11-29T23:00:00Z")));
    }
}
