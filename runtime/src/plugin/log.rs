//! A plugin's own words, into the daemon's log, so many and no more.
//!
//! Invariant: what a plugin says costs the box a bounded number of lines and
//! bytes; what was left out is counted and said with the next line.

use std::time::Instant;

/// Lines a second, and how many may come at once.
const LINES_PER_S: f64 = 5.0;
const LINES_BURST: f64 = 20.0;
/// Bytes of one line; the rest is cut.
const LINE_BYTES_MAX: usize = 1 << 10;

/// One plugin's allowance; outlives its instances.
#[derive(Debug)]
pub(super) struct Quota {
    lines: f64,
    filled: Instant,
    /// Since the last line that passed.
    left_out: u64,
    left_out_ever: u64,
}

impl Quota {
    pub(super) fn new(now: Instant) -> Self {
        Self { lines: LINES_BURST, filled: now, left_out: 0, left_out_ever: 0 }
    }

    /// Whether one more line may pass, and how many did not before it.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * LINES_PER_S;
        self.lines = (self.lines + gained).min(LINES_BURST);
        self.filled = now;
        if self.lines < 1.0 {
            self.left_out += 1;
            self.left_out_ever += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }

    pub(super) fn left_out_ever(&self) -> u64 {
        self.left_out_ever
    }
}

/// Writes it under the plugin's name. Levels are syslog severities.
pub(super) fn forward(plugin: &str, level: u8, message: &str, left_out: u64) {
    if left_out > 0 {
        tracing::warn!(target: "plugin", plugin, left_out, "lines were left out: it says too much");
    }
    match level {
        0..=3 => tracing::error!(target: "plugin", plugin, "{message}"),
        4 => tracing::warn!(target: "plugin", plugin, "{message}"),
        5 | 6 => tracing::info!(target: "plugin", plugin, "{message}"),
        _ => tracing::debug!(target: "plugin", plugin, "{message}"),
    }
}

/// One line of it: cut at a character, and nothing that a terminal obeys.
pub(super) fn one_line(message: &str) -> String {
    let cut = message.floor_char_boundary(LINE_BYTES_MAX);
    message[..cut].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_passes_in_part_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let passed = (0..1_000).filter(|_| quota.take(start).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(quota.left_out_ever(), 980);
        assert_eq!(quota.take(start + Duration::from_millis(199)), None);
        assert_eq!(quota.take(start + Duration::from_millis(200)), Some(981));
        assert_eq!(quota.take(start + Duration::from_secs(100)), Some(0));
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\nb\x1b[31mc"), "a b [31mc");
        assert_eq!(one_line(&"ä".repeat(2_000)).len(), LINE_BYTES_MAX);
    }
}
