//! Command probes: the convention of the Nagios plugins
//! (<https://nagios-plugins.org/doc/guidelines.html>): exit 0 is good, 1 a
//! warning and still good, 2 bad, anything else no reading; the first line of the
//! output says why.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;

use super::Verdict;
use crate::program::{End, Ended, Heard, Program};

mod perfdata;

const DETAIL_CHARS_MAX: usize = 200;

pub(in crate::source) struct CommandProbe {
    program: Program,
}

impl CommandProbe {
    pub(super) fn new(
        command: &[String],
        env: &BTreeMap<String, String>,
        alive: &watch::Receiver<bool>,
    ) -> Self {
        Self { program: Program::new(command, env, Heard::OutputAndErrors, alive) }
    }

    /// Cancelled, it kills what it started.
    pub(super) async fn ask(&mut self, timeout: Duration) -> Verdict {
        let Ended { end, status, output } = match self.program.run(timeout).await {
            Ok(ended) => ended,
            Err(why) => return Verdict::none(why),
        };
        match end {
            End::Exited => Verdict {
                numbers: perfdata::numbers(&String::from_utf8_lossy(&output)),
                ..judge(status, &line(&output))
            },
            End::TimedOut => {
                let ms = timeout.as_millis();
                Verdict::bad(format!("it did not end within {ms} ms and was killed"))
            }
            End::Cancelled => Verdict::none("it was cancelled"),
        }
    }
}

fn judge(status: ExitStatus, line: &str) -> Verdict {
    let said = |word: &str| match line {
        "" => word.to_owned(),
        line => format!("{word}: {line}"),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::good(said("exit 0")),
        (Some(1), _) => Verdict::good(said("exit 1, a warning")),
        (Some(2), _) => Verdict::bad(said("exit 2")),
        (Some(code), _) => Verdict::none(said(&format!("exit {code}"))),
        (None, signal) => Verdict::none(said(&format!("signal {}", signal.unwrap_or(0)))),
    }
}

/// The first line that says something, fit to be shown.
fn line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    line.chars().take(DETAIL_CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests;
