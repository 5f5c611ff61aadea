//! Which question gets which answer.
//!
//! Invariant: nothing but `POST /v1/commands` asks for anything to be done, and
//! it passes on nothing from a caller who may not command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::connection::Leash;
use super::{Outlets, Request, event, history, recording};
use crate::model::{Command, CommandError, IncidentId};
use crate::story;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 64 << 10;

pub(super) struct Desk {
    pub outlets: Outlets,
    pub operators: BTreeSet<u32>,
    pub own_uid: u32,
    pub closing: watch::Receiver<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub uid: u32,
    pub may_command: bool,
}

impl Desk {
    pub fn caller(&self, uid: u32) -> Caller {
        let may_command = uid == 0 || uid == self.own_uid || self.operators.contains(&uid);
        Caller { uid, may_command }
    }
}

/// Returns when the daemon stops.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // A handle that is gone closes, too.
    let _ = closing.wait_for(|closing| *closing).await;
}

pub(super) async fn answer(
    desk: &Arc<Desk>,
    caller: Caller,
    leash: &Leash,
    request: hyper::Request<Incoming>,
) -> Answer {
    let answer = timeout(REQUEST_TIMEOUT, route(desk, caller, leash, request)).await;
    leash.lengthen();
    answer.unwrap_or_else(|_| {
        answer::refusal(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "no answer within 30 s; a command may still be carried out: see `homeostat status`",
        )
    })
}

async fn route(
    desk: &Arc<Desk>,
    caller: Caller,
    leash: &Leash,
    request: hyper::Request<Incoming>,
) -> Answer {
    let path = request.uri().path().to_owned();
    let view = || desk.outlets.view.borrow().clone();
    let wanted = if path == "/v1/commands" { Method::POST } else { Method::GET };
    let known = match path.strip_prefix("/v1/") {
        Some("status" | "incidents" | "plugins" | "events" | "recording" | "commands") => true,
        Some(rest) => rest.starts_with("incidents/"),
        None => false,
    };
    if !known {
        let text = format!(
            "nothing is at {path}; there are /v1/status, /v1/incidents, /v1/incidents/ID, \
             /v1/incidents/ID/recording, /v1/plugins, /v1/events, /v1/recording and \
             POST /v1/commands"
        );
        return answer::refusal(StatusCode::NOT_FOUND, "no-such-path", text);
    }
    if request.method() != wanted {
        return answer::wrong_method(if wanted == Method::POST { "POST" } else { "GET" });
    }
    match path.as_str() {
        "/v1/status" => answer::json(StatusCode::OK, &*view()),
        "/v1/incidents" => answer::json(StatusCode::OK, &view().incidents),
        "/v1/plugins" => answer::json(StatusCode::OK, &view().plugins),
        "/v1/events" => event::answer(desk, leash, request.uri().query().unwrap_or("")),
        "/v1/recording" => recording::answer(desk, leash, request.uri().query().unwrap_or("")),
        "/v1/commands" => command(desk, caller, request).await,
        incident => {
            let incident = incident.trim_start_matches("/v1/incidents/");
            match incident.strip_suffix("/recording") {
                Some(incident) => recording::of_incident(desk, leash, incident),
                None => tell_incident(desk, incident).await,
            }
        }
    }
}

async fn tell_incident(desk: &Desk, id: &str) -> Answer {
    let Ok(id) = id.parse::<IncidentId>() else {
        let text = format!("wanted an incident such as i42, found {id:?}");
        return answer::refusal(StatusCode::BAD_REQUEST, "bad-request", text);
    };
    let records = match history::incident(&desk.outlets.history, id).await {
        Ok(records) => records,
        Err(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return answer::refusal(status, "failed", error.to_string());
        }
    };
    let view = desk.outlets.view.borrow().clone();
    let Some(mut story) = story::tell(id, &records, view.now) else {
        let text = format!("no incident is called {id}; `homeostat incidents --all` lists them");
        return answer::refusal(StatusCode::NOT_FOUND, "no-such-incident", text);
    };
    if let Some(incident) = view.incidents.iter().find(|incident| incident.id == id) {
        // The driver knows the phase better than the records do: it also waits.
        story.phase.clone_from(&incident.phase);
    }
    story.recording_bytes = desk.outlets.shelf.size(id);
    answer::json(StatusCode::OK, &story)
}

async fn command(desk: &Desk, caller: Caller, request: hyper::Request<Incoming>) -> Answer {
    if !caller.may_command {
        let text = format!(
            "user {} may read here and not command; wanted root, user {} or one of api.operators: \
             use sudo, or add {} there",
            caller.uid, desk.own_uid, caller.uid
        );
        return answer::refusal(StatusCode::FORBIDDEN, "not-allowed", text);
    }
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let text = format!("wanted a body of at most {BODY_BYTES_MAX} bytes, found: {error}");
            return answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too-large", text);
        }
    };
    let command = match serde_json::from_slice::<Command>(&body) {
        Ok(command) => command,
        Err(error) => {
            let text = format!(
                "wanted a command such as {{\"command\":\"workload-stop\",\"name\":\"digits\"}}, \
                 found: {error}"
            );
            return answer::refusal(StatusCode::BAD_REQUEST, "bad-request", text);
        }
    };
    answer::of_command(pass_on(desk, caller, command).await)
}

async fn pass_on(desk: &Desk, caller: Caller, command: Command) -> Result<String, CommandError> {
    let (reply, answer) = oneshot::channel();
    let request = Request { command, uid: caller.uid, reply };
    let stopping = || CommandError::Stopping {};
    desk.outlets.commands.send(request).await.map_err(|_| stopping())?;
    answer.await.unwrap_or_else(|_| Err(stopping()))
}
