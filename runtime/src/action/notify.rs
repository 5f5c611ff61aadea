//! Telling a person, through a command or a webhook that the box's own
//! configuration names. A plugin picks the name and the words, never the command.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{NotifyConfig, NotifyKind};
use crate::guard::Permit;
use crate::http;
use crate::model::frame::attr;
use crate::model::{Outcome, Value};
use crate::program::{End, Heard, Program};

/// What a webhook may answer; the body is not looked at.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

pub async fn notify(
    notifiers: &BTreeMap<String, NotifyConfig>,
    alive: &watch::Receiver<bool>,
    permit: &Permit,
) -> Outcome {
    let params = &permit.proposal().params;
    let to = attr(params, "to").map(Value::to_string).unwrap_or_default();
    let Some(config) = notifiers.get(&to) else {
        let known: Vec<_> = notifiers.keys().map(String::as_str).collect();
        let detail = format!("wanted one of the [[notify]] entries {known:?}, found {to:?}");
        return Outcome::Failed { detail };
    };
    let message = serde_json::json!({
        "attempt": permit.id(),
        "incident": permit.incident().map(|id| id.to_string()),
        "target": permit.target(),
        "text": attr(params, "text").map(Value::to_string).unwrap_or_else(|| permit.proposal().reason.clone()),
        "reason": permit.proposal().reason,
    })
    .to_string();
    let limit = Duration::from_millis(config.timeout_ms);
    let sent = match &config.kind {
        NotifyKind::Command { command } => {
            run(Program::new(command, &config.given, Heard::Output, alive), &message, limit).await
        }
        NotifyKind::Webhook { url } => post(url, &config.given, message, limit).await,
    };
    match sent {
        Ok(detail) => Outcome::Done { detail: format!("told {to}: {detail}") },
        Err(detail) => Outcome::Failed { detail: format!("could not tell {to}: {detail}") },
    }
}

/// A command that does not read its input is its own affair.
async fn run(program: Program, message: &str, limit: Duration) -> Result<String, String> {
    let program = program.reads_text(message).map_err(|error| format!("no input: {error}"))?;
    let ended = program.run(limit).await?;
    match ended.end {
        End::Exited if ended.status.success() => Ok("its command took it".into()),
        End::Exited => Err(format!("its command ended with {}", ended.status)),
        End::TimedOut => Err(format!("its command did not end within {} ms", limit.as_millis())),
        End::Cancelled => Err("the daemon is stopping".into()),
    }
}

async fn post(
    url: &str,
    headers: &BTreeMap<String, String>,
    message: String,
    limit: Duration,
) -> Result<String, String> {
    let mut headers = headers.clone();
    headers.insert("content-type".to_owned(), "application/json".to_owned());
    let answer = http::request("POST", url, &headers, message.as_bytes(), limit, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())?;
    if (200..300).contains(&answer.status) {
        Ok(format!("HTTP {}", answer.status))
    } else {
        Err(format!("wanted HTTP 2xx, found {}", answer.status))
    }
}
