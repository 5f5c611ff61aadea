//! What goes back to a caller.
//!
//! Invariant: every answer but a stream of events is one JSON text, refusals too.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::CommandError;

pub(super) type Answer = Response<Content>;

/// What a command that was carried out answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub done: String,
}

/// What every refusal and failure answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A word for programs, such as `not-allowed`.
    pub error: String,
    /// What was wanted, what was found, what to do.
    pub text: String,
}

/// A whole text, or lines as they come.
pub(super) enum Content {
    Whole(Option<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            respond(status, "application/json", Content::Whole(Some(text.into())))
        }
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            format!("the answer cannot be written as JSON: {error}"),
        ),
    }
}

/// JSON texts, one per line.
pub(super) fn lines(lines: mpsc::Receiver<Bytes>) -> Answer {
    respond(StatusCode::OK, "application/x-ndjson", Content::Lines(lines))
}

pub(super) fn refusal(status: StatusCode, error: &str, text: impl Into<String>) -> Answer {
    // Two texts always make JSON.
    let text = serde_json::json!({ "error": error, "text": text.into() }).to_string() + "\n";
    respond(status, "application/json", Content::Whole(Some(text.into())))
}

pub(super) fn wrong_method(allowed: &'static str) -> Answer {
    let text = format!("wanted {allowed} here");
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

pub(super) fn of_command(result: Result<String, CommandError>) -> Answer {
    let error = match result {
        Ok(done) => return json(StatusCode::OK, &Done { done }),
        Err(error) => error,
    };
    let (status, word) = match &error {
        CommandError::NoSuchWorkload { .. } => (StatusCode::NOT_FOUND, "no-such-workload"),
        CommandError::NoSuchPlugin { .. } => (StatusCode::NOT_FOUND, "no-such-plugin"),
        CommandError::NoSuchIncident { .. } => (StatusCode::NOT_FOUND, "no-such-incident"),
        CommandError::NotNow { .. } => (StatusCode::CONFLICT, "not-now"),
        CommandError::Refused { .. } => (StatusCode::CONFLICT, "refused"),
        CommandError::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        CommandError::Stopping {} => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    refusal(status, word, error.to_string())
}

fn respond(status: StatusCode, kind: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take()),
            Self::Lines(lines) => lines.poll_recv(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}
