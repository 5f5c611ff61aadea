//! What the driver listens to, and in what order.

use tokio::sync::{mpsc, oneshot, watch};

use super::{Arrival, Request};
use crate::action::Ended;
use crate::plugin::Said;
use crate::source::SourceEvent;
use crate::store::Durable;
use crate::workload::WorkloadEvent;

pub struct Inlets {
    pub sources: mpsc::Receiver<SourceEvent>,
    pub workloads: mpsc::Receiver<WorkloadEvent>,
    pub plugins: mpsc::Receiver<Said>,
    pub arrivals: mpsc::Receiver<Arrival>,
    pub ended: mpsc::Receiver<Ended>,
    pub requests: mpsc::Receiver<Request>,
    pub durable: watch::Receiver<Durable>,
    /// Closes when the daemon stops.
    pub stop: oneshot::Receiver<()>,
}

pub(super) enum Input {
    Source(SourceEvent),
    Workload(WorkloadEvent),
    Plugin(Said),
    Arrival(Arrival),
    Ended(Ended),
    Request(Request),
    Durable,
    Tick,
    Stop,
}

impl Inlets {
    pub(super) async fn next(&mut self, tick: &mut tokio::time::Interval) -> Input {
        // In this order: what ended and what died first, because it waits for us;
        // numbers last, because there are always more.
        tokio::select! {
            biased;
            _ = &mut self.stop => Input::Stop,
            Some(event) = self.workloads.recv() => Input::Workload(event),
            Some(said) = self.plugins.recv() => Input::Plugin(said),
            Some(ended) = self.ended.recv() => Input::Ended(ended),
            Some(request) = self.requests.recv() => Input::Request(request),
            Some(arrival) = self.arrivals.recv() => Input::Arrival(arrival),
            Ok(()) = self.durable.changed() => Input::Durable,
            _ = tick.tick() => Input::Tick,
            Some(event) = self.sources.recv() => Input::Source(event),
        }
    }
}
