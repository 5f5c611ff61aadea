//! Counters in Triton's names and units, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Metrics {
    succeeded: AtomicU64,
    failed: AtomicU64,
    pending: AtomicU64,
    request_us: AtomicU64,
    queue_us: AtomicU64,
    compute_us: AtomicU64,
}

/// One inference request from its first byte to its end: pending while it lives,
/// a failure unless it is told that it succeeded. A request whose client left
/// stays pending until the worker comes to it.
#[derive(Debug)]
pub struct Ticket {
    metrics: Arc<Metrics>,
    succeeded: bool,
}

impl Metrics {
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        self.pending.fetch_add(1, Relaxed);
        Ticket { metrics: self.clone(), succeeded: false }
    }

    pub fn text(&self, model: &str) -> String {
        let mut text = String::new();
        for (name, kind, help, value) in [
            ("request_success", "counter", "Requests answered", &self.succeeded),
            ("request_failure", "counter", "Requests refused, failed or given up", &self.failed),
            ("pending_request_count", "gauge", "Requests not yet answered", &self.pending),
            ("request_duration_us", "counter", "Time of answered requests", &self.request_us),
            ("queue_duration_us", "counter", "Time of those in the queue", &self.queue_us),
            (
                "compute_infer_duration_us",
                "counter",
                "Time of those in the model",
                &self.compute_us,
            ),
        ] {
            let value = value.load(Relaxed);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP nv_inference_{name} {help}.");
            let _ = writeln!(text, "# TYPE nv_inference_{name} {kind}");
            let _ =
                writeln!(text, "nv_inference_{name}{{model=\"{model}\",version=\"1\"}} {value}");
        }
        text
    }
}

impl Ticket {
    pub fn succeed(mut self, queued: Duration, computed: Duration) {
        self.succeeded = true;
        let us = |duration: Duration| duration.as_micros() as u64;
        self.metrics.succeeded.fetch_add(1, Relaxed);
        self.metrics.queue_us.fetch_add(us(queued), Relaxed);
        self.metrics.compute_us.fetch_add(us(computed), Relaxed);
        self.metrics.request_us.fetch_add(us(queued + computed), Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.metrics.pending.fetch_sub(1, Relaxed);
        if !self.succeeded {
            self.metrics.failed.fetch_add(1, Relaxed);
        }
    }
}
