//! How the link stands, as a person sees it; and how long it waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock;
use crate::model::Condition;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A connection that held so long was a good one.
const HELD: Duration = Duration::from_secs(30);

/// Of what a broker or the library says, so much is passed on.
const WHY_BYTES_MAX: usize = 200;

#[derive(Clone)]
pub(super) struct State {
    address: String,
    /// Why it is away, as it was last said.
    said: Arc<Mutex<Option<String>>>,
    condition: watch::Sender<Option<Condition>>,
}

impl State {
    pub(super) fn new(address: &str) -> (Self, watch::Receiver<Option<Condition>>) {
        let (condition, seen) = watch::channel(None);
        (Self { address: address.to_owned(), said: Arc::default(), condition }, seen)
    }

    /// All topics but those `refused` are subscribed to.
    pub(super) fn connected(&self, refused: &[String]) {
        self.said().take();
        tracing::info!(broker = self.address, "the bus is connected");
        let condition = (!refused.is_empty()).then(|| {
            let detail = format!(
                "wanted to read {} at {}, found that the broker refuses it; allow it there, or \
                 correct the topics",
                refused.join(", "),
                self.address
            );
            tracing::warn!(condition = "bus.refused", "{detail}");
            Condition { name: "bus.refused".into(), detail }
        });
        self.condition.send_replace(condition);
    }

    pub(super) fn away(&self, why: &str) {
        let why = short(why);
        let detail = format!(
            "wanted the broker at {}, found: {why}; what comes by MQTT is not read meanwhile",
            self.address
        );
        if self.said().replace(why.clone()).as_ref() != Some(&why) {
            tracing::warn!(condition = "bus.away", "{detail}");
        }
        self.condition.send_replace(Some(Condition { name: "bus.away".into(), detail }));
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A broker's words are a stranger's: one short line of them.
fn short(text: &str) -> String {
    let line: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    line[..line.floor_char_boundary(WHY_BYTES_MAX)].to_owned()
}

/// Pauses between connections: doubling, and each box at its own moment, or all
/// of them would come back to a broker together.
pub(super) struct Backoff {
    pause: Duration,
    seed: u64,
}

impl Backoff {
    pub(super) fn new(client_id: &str) -> Self {
        Self { pause: PAUSE_MIN, seed: clock::spread(client_id) }
    }

    /// The pause after a connection that held so long.
    pub(super) fn next(&mut self, held: Duration) -> Duration {
        if held >= HELD {
            self.pause = PAUSE_MIN;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        // splitmix64's step: up to half of it more.
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let spread = (self.seed ^ (self.seed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32;
        pause + pause.mul_f64(spread as f64 / f64::from(u32::MAX) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_connection_that_held() {
        let mut backoff = Backoff::new("homeostat-press-7");
        for base_s in [1_u64, 2, 4, 8, 16, 32, 60, 60] {
            let pause = backoff.next(Duration::from_secs(1));
            let base = Duration::from_secs(base_s);
            assert!(pause >= base && pause <= base.mul_f64(1.5), "{pause:?} for {base:?}");
        }
        assert!(backoff.next(HELD) <= PAUSE_MIN.mul_f64(1.5));
    }

    #[test]
    fn two_boxes_do_not_come_back_at_one_moment() {
        let first = |id| Backoff::new(id).next(Duration::ZERO);
        assert_ne!(first("homeostat-a"), first("homeostat-b"));
    }

    #[test]
    fn what_stands_against_it_ends_with_the_next_connection() {
        let (state, seen) = State::new("h:1883");
        state.away("refused\nby a stranger");
        let said = seen.borrow().clone().unwrap();
        assert_eq!(said.name, "bus.away");
        assert!(said.detail.contains("h:1883") && said.detail.contains("refused by"), "{said:?}");
        state.connected(&[]);
        assert_eq!(*seen.borrow(), None);
        state.connected(&["line/1".into()]);
        assert_eq!(seen.borrow().as_ref().unwrap().name, "bus.refused");
        state.away(&"é".repeat(1_000));
        assert!(seen.borrow().as_ref().unwrap().detail.len() < 400);
    }
}
