//! Events on their way to the driver.
//!
//! Invariant: what is told of a workload's life waits for the driver; its lines
//! wait up to a bound, beyond which they are counted. Both keep their order.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::WorkloadEvent;
use crate::model::{AttemptId, Line};

/// Lines that wait for the driver.
const LINES_MAX: usize = 2048;
const LINES_PER_EVENT: usize = 256;

#[derive(Debug)]
pub struct Outlet {
    workload: String,
    events: mpsc::Sender<WorkloadEvent>,
    queue: VecDeque<WorkloadEvent>,
    lines: usize,
    lost: u64,
}

impl Outlet {
    pub fn new(workload: &str, events: mpsc::Sender<WorkloadEvent>) -> Self {
        let queue = VecDeque::new();
        Self { workload: workload.to_owned(), events, queue, lines: 0, lost: 0 }
    }

    pub fn push(&mut self, event: WorkloadEvent) {
        self.tell_lost();
        self.queue.push_back(event);
    }

    pub fn line(&mut self, line: Line) {
        if self.lines >= LINES_MAX {
            self.lost += 1;
            return;
        }
        self.tell_lost();
        self.lines += 1;
        match self.queue.back_mut() {
            Some(WorkloadEvent::Lines(lines)) if lines.len() < LINES_PER_EVENT => lines.push(line),
            _ => self.queue.push_back(WorkloadEvent::Lines(vec![line])),
        }
    }

    pub fn lost(&mut self, count: u64) {
        self.lost += count;
    }

    /// Sends one event; gives back the attempt whose end it told. Never returns
    /// while there is none, and may be dropped at any time without losing one.
    pub async fn send(&mut self) -> Option<AttemptId> {
        if self.lines < LINES_MAX {
            self.tell_lost();
        }
        if self.queue.is_empty() {
            return std::future::pending().await;
        }
        let permit = self.events.reserve().await;
        let event = self.queue.pop_front().expect("it was not empty, and is ours alone");
        if let WorkloadEvent::Lines(lines) = &event {
            self.lines -= lines.len();
        }
        let ended = match &event {
            WorkloadEvent::Exited { attempt, .. } => Some(*attempt),
            _ => None,
        };
        // Without a driver nobody is left to tell.
        permit.ok()?.send(event);
        ended
    }

    fn tell_lost(&mut self) {
        let more = std::mem::take(&mut self.lost);
        match self.queue.back_mut() {
            _ if more == 0 => {}
            Some(WorkloadEvent::LinesLost { count, .. }) => *count += more,
            _ => self.queue.push_back(WorkloadEvent::LinesLost {
                workload: self.workload.clone(),
                count: more,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetId;

    fn line(number: usize) -> Line {
        Line {
            target: TargetId::workload("a"),
            source: "output".into(),
            age_ms: 0,
            priority: 6,
            text: number.to_string(),
        }
    }

    #[tokio::test]
    async fn lines_beyond_the_bound_are_counted_in_their_place() {
        let (events, mut received) = mpsc::channel(100);
        let mut outlet = Outlet::new("a", events);
        for number in 0..LINES_MAX + 5 {
            outlet.line(line(number));
        }
        let attempt = AttemptId { birth: 1, seq: 1 };
        outlet.push(WorkloadEvent::Started { workload: "a".into(), attempt, pid: 1 });
        let mut lines = 0;
        loop {
            outlet.send().await;
            match received.recv().await.expect("sent") {
                WorkloadEvent::Lines(some) => lines += some.len(),
                WorkloadEvent::LinesLost { count, .. } => {
                    assert_eq!((lines, count), (LINES_MAX, 5));
                }
                _ => break,
            }
        }
        outlet.line(line(1));
        outlet.send().await;
        assert!(
            matches!(received.recv().await, Some(WorkloadEvent::Lines(some)) if some.len() == 1)
        );
    }
}
