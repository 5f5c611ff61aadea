//! The one thread that runs the model, fed through a bounded queue.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use model_server::oip::ModelInfo;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::faults::{Faults, Honesty};
use crate::metrics::Ticket;
use crate::model::{Answer, Model};

/// Requests waiting for the worker; more wait in their connections.
pub const QUEUE_LEN_MAX: usize = 64;

pub struct Job {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
    pub queued: Instant,
    pub ticket: Ticket,
    pub reply: oneshot::Sender<anyhow::Result<Answer>>,
}

/// Loads the model off the caller's thread, says so through the receiver, and
/// then answers jobs until the queue's sender is gone.
pub fn spawn(
    load: impl FnOnce() -> anyhow::Result<Model> + Send + 'static,
    load_delay: Duration,
    jobs: mpsc::Receiver<Job>,
    faults: Arc<Faults>,
) -> std::io::Result<oneshot::Receiver<anyhow::Result<ModelInfo>>> {
    let (tell, loaded) = oneshot::channel();
    let handle = Handle::current();
    let work = move || {
        handle.block_on(async { tokio::time::sleep(load_delay).await });
        match load() {
            Ok(model) => {
                let _ = tell.send(Ok(model.info().clone()));
                serve(&handle, &model, jobs, &faults);
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    };
    thread::Builder::new().name("inference".into()).spawn(work)?;
    Ok(loaded)
}

fn serve(handle: &Handle, model: &Model, mut jobs: mpsc::Receiver<Job>, faults: &Faults) {
    while let Some(job) = handle.block_on(jobs.recv()) {
        let taken = Instant::now();
        let honesty = handle.block_on(faults.hold());
        if job.reply.is_closed() {
            continue; // its client left while it waited
        }
        let mut answer = model.run(&job.shape, &job.numbers);
        if let (Ok(answer), Honesty::False) = (&mut answer, honesty) {
            answer.falsify();
        }
        // Work that was done counts, even if its client leaves just now: a
        // server that is merely too slow shows progress.
        if answer.is_ok() {
            job.ticket.succeed(taken - job.queued, taken.elapsed());
        }
        let _ = job.reply.send(answer);
    }
}
