//! The Open Inference Protocol over HTTP: from a request to its answer.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, Response, StatusCode};
use model_server::oip::{ErrorBody, InferRequest, InferResponse, ModelInfo, ServerInfo};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::faults::Faults;
use crate::metrics::{Metrics, Ticket};
use crate::worker::Job;

const BODY_LEN_MAX: usize = 1 << 20;
const BATCH_MAX: usize = 64;

pub type Answer = Response<Full<Bytes>>;

/// What every connection shares.
pub struct Service {
    pub name: String,
    pub model_name: String,
    /// Set once the model is loaded.
    pub model: OnceLock<ModelInfo>,
    pub jobs: mpsc::Sender<Job>,
    pub faults: Arc<Faults>,
    pub metrics: Arc<Metrics>,
}

/// A request that gets no result, and why.
#[derive(Debug)]
struct Failure(StatusCode, String);

enum Route<'a> {
    Server,
    Live,
    Ready,
    Metrics,
    Model(&'a str),
    ModelReady(&'a str),
    Infer(&'a str),
}

impl Service {
    pub async fn handle<B>(&self, request: Request<B>) -> Result<Answer, Infallible>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Ok(self.answer(request).await.unwrap_or_else(|Failure(status, error)| {
            crate::complain(&format!("{}: {error}", status.as_u16()));
            json_of(status, &ErrorBody { error })
        }))
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Answer, Failure>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path().to_owned();
        let route = route(&path).ok_or_else(|| not_found(format!("there is no {path}")))?;
        let wanted = if matches!(route, Route::Infer(_)) { Method::POST } else { Method::GET };
        if request.method() != wanted {
            let why = format!("{path} takes {wanted}");
            return Err(Failure(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        match route {
            Route::Server => Ok(json_of(StatusCode::OK, &self.info())),
            Route::Live => Ok(json_of(StatusCode::OK, &json!({ "live": true }))),
            Route::Ready => Ok(json_of(self.readiness(), &json!({ "ready": self.is_ready() }))),
            Route::Metrics => Ok(text_of(self.metrics.text(&self.model_name))),
            Route::Model(name) => Ok(json_of(StatusCode::OK, self.model(name)?)),
            Route::ModelReady(name) => {
                self.known(name)?;
                let body = json!({ "name": name, "ready": self.is_ready() });
                Ok(json_of(self.readiness(), &body))
            }
            Route::Infer(name) => {
                let ticket = self.metrics.ticket();
                self.infer(self.model(name)?, request.into_body(), ticket).await
            }
        }
    }

    async fn infer<B>(&self, model: &ModelInfo, body: B, ticket: Ticket) -> Result<Answer, Failure>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = Limited::new(body, BODY_LEN_MAX).collect().await.map_err(|error| {
            Failure(StatusCode::PAYLOAD_TOO_LARGE, format!("the body cannot be taken: {error}"))
        })?;
        let request: InferRequest = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| refused(format!("the body is no inference request: {error}")))?;
        let (shape, numbers) = input_of(model, &request).map_err(refused)?;

        let (reply, answer) = oneshot::channel();
        let job = Job { shape, numbers, queued: Instant::now(), ticket, reply };
        self.jobs.send(job).await.map_err(|_| failed("the worker is gone"))?;
        let answer = answer.await.map_err(|_| failed("the worker is gone"))?;
        let answer = answer.map_err(|error| failed(&format!("{error:#}")))?;
        let response = InferResponse {
            model_name: model.name.clone(),
            model_version: model.versions[0].clone(),
            id: request.id,
            outputs: vec![answer.into_tensor(&model.outputs[0].name)],
        };
        Ok(json_of(StatusCode::OK, &response))
    }

    fn known(&self, name: &str) -> Result<(), Failure> {
        match name == self.model_name {
            true => Ok(()),
            false => Err(not_found(format!("there is no model `{name}`"))),
        }
    }

    fn model(&self, name: &str) -> Result<&ModelInfo, Failure> {
        self.known(name)?;
        let loading = || Failure(StatusCode::SERVICE_UNAVAILABLE, format!("`{name}` is loading"));
        self.model.get().ok_or_else(loading)
    }

    fn is_ready(&self) -> bool {
        self.model.get().is_some() && !self.faults.standing().not_ready
    }

    fn readiness(&self) -> StatusCode {
        if self.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }

    fn info(&self) -> ServerInfo {
        ServerInfo {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: Vec::new(),
        }
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    // The version may be left out; where it is named, there is only one.
    Some(match segments.as_slice() {
        ["metrics"] => Route::Metrics,
        ["v2"] => Route::Server,
        ["v2", "health", "live"] => Route::Live,
        ["v2", "health", "ready"] => Route::Ready,
        ["v2", "models", name] | ["v2", "models", name, "versions", "1"] => Route::Model(name),
        ["v2", "models", name, "ready"] | ["v2", "models", name, "versions", "1", "ready"] => {
            Route::ModelReady(name)
        }
        ["v2", "models", name, "infer"] | ["v2", "models", name, "versions", "1", "infer"] => {
            Route::Infer(name)
        }
        _ => return None,
    })
}

/// The one input, checked against what the model takes.
fn input_of(model: &ModelInfo, request: &InferRequest) -> Result<(Vec<usize>, Vec<f32>), String> {
    let (input, output) = (&model.inputs[0], &model.outputs[0]);
    let [tensor] = request.inputs.as_slice() else {
        return Err(format!("{} inputs, wanted 1", request.inputs.len()));
    };
    if tensor.name != input.name {
        return Err(format!("input `{}`, wanted `{}`", tensor.name, input.name));
    }
    if let Some(other) = request.outputs.iter().find(|wanted| wanted.name != output.name) {
        return Err(format!("there is no output `{}`, only `{}`", other.name, output.name));
    }
    let fits = |(side, wanted): (&usize, &i64)| *wanted < 0 || *side as i64 == *wanted;
    let rank = tensor.shape.len() == input.shape.len();
    if !rank || !tensor.shape.iter().zip(&input.shape).all(fits) {
        return Err(format!("shape {:?}, wanted {:?}", tensor.shape, input.shape));
    }
    let batch = tensor.shape[0];
    if !(1..=BATCH_MAX).contains(&batch) {
        return Err(format!("a batch of {batch}, wanted 1 to {BATCH_MAX}"));
    }
    Ok((tensor.shape.clone(), tensor.numbers()?))
}

fn refused(why: String) -> Failure {
    Failure(StatusCode::BAD_REQUEST, why)
}

fn not_found(why: String) -> Failure {
    Failure(StatusCode::NOT_FOUND, why)
}

fn failed(why: &str) -> Failure {
    Failure(StatusCode::INTERNAL_SERVER_ERROR, why.into())
}

fn json_of(status: StatusCode, body: &impl Serialize) -> Answer {
    let text =
        serde_json::to_vec(body).expect("protocol types have string keys and finite numbers");
    built(status, "application/json", text)
}

fn text_of(text: String) -> Answer {
    built(StatusCode::OK, "text/plain; version=0.0.4", text.into_bytes())
}

fn built(status: StatusCode, content_type: &str, body: Vec<u8>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .expect("a constant header is valid")
}
