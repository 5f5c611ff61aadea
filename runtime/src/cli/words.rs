//! Spans, moments and names in words, and back.
//!
//! Invariant: pure.

use crate::model::{IncidentId, Instant, Origin};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long, in at most two units.
pub(super) fn span(ms: u64) -> String {
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match ms % big / small {
        0 => format!("{} {big_unit}", ms / big),
        rest => format!("{} {big_unit} {rest} {small_unit}", ms / big),
    };
    match ms {
        0..SECOND => format!("{ms} ms"),
        SECOND..10_000 => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        10_000..MINUTE => format!("{} s", ms / SECOND),
        MINUTE..HOUR => two(MINUTE, "min", SECOND, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        _ => two(DAY, "d", HOUR, "h"),
    }
}

pub(super) fn since(then: Instant, now: Instant) -> String {
    span(now.age_ms.saturating_sub(then.age_ms))
}

/// `2026-11-23 15:04:05Z`, when the clock was trusted then.
pub(super) fn wall(at: Instant) -> Option<String> {
    let seconds = at.unix_ms?.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z"))
}

/// Year, month and day of a count of days since 1970-01-01 (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(super) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Healer { plugin, .. } => plugin.clone(),
        Origin::Approved { plugin, uid, .. } => format!("{plugin}, approved by user {uid}"),
        Origin::Operator { uid } => format!("operator (user {uid})"),
        Origin::Desired => "the configuration".into(),
        Origin::Others => "somebody, through systemd".into(),
    }
}

/// "1 thing", "2 things".
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Reads `90s`, `10min`, `2h`, `1h30m`, `1d`.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("wanted a duration such as 90s, 10min, 2h or 1d, found {text:?}");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ms" => 1,
            "s" => SECOND,
            "m" | "min" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    Ok(total)
}

pub(super) fn incident(text: &str) -> Result<IncidentId, String> {
    text.parse().map_err(|_| format!("wanted an incident such as i42, found {text:?}"))
}

/// SHA-256 in hex, with or without `sha256:` before it.
pub(super) fn digest(text: &str) -> Result<String, String> {
    hex(text.strip_prefix("sha256:").unwrap_or(text), 64, "the SHA-256 of a component")
}

/// Id of a key.
pub(super) fn key_id(text: &str) -> Result<String, String> {
    hex(text, 16, "the id of a key")
}

fn hex(text: &str, len: usize, what: &str) -> Result<String, String> {
    match text.len() == len && text.bytes().all(|it| it.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!("wanted {what}, {len} hex digits, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        for (ms, words) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (200_000, "3 min 20 s"),
            (HOUR, "1 h"),
            (2 * HOUR + 5 * MINUTE + 7, "2 h 5 min"),
            (3 * DAY + 4 * HOUR, "3 d 4 h"),
        ] {
            assert_eq!(span(ms), words);
        }
    }

    #[test]
    fn durations_are_read_back_and_nonsense_is_not() {
        for (text, ms) in [("90s", 90_000), ("1h30m", 5_400_000), ("10min", 600_000), ("1d", DAY)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "10", "ten", "-1s", "1y", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wall_time_follows_the_calendar() {
        let at = |unix_s: i64| Instant { age_ms: 0, boot: 1, unix_ms: Some(unix_s * 1000) };
        for (unix_s, words) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_795_446_245, "2026-11-23 15:04:05Z"),
            (4_107_542_399, "2100-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(wall(at(unix_s)).as_deref(), Some(words));
        }
        assert_eq!(wall(Instant::default()), None);
    }
}
