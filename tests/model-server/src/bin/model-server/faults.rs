//! The faults that hold at the moment. One watch channel carries them, so that
//! whoever waits for a fault to end or to change wakes at once.

use std::time::Duration;

use model_server::control::Standing;
use model_server::fault::{Fault, FaultFile};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::complain;

/// A leak grows in ten steps a second.
const LEAK_STEP: Duration = Duration::from_millis(100);
const LEAK_STEPS_PER_S: u64 = 10;

#[derive(Debug)]
pub struct Faults {
    standing: watch::Sender<Standing>,
}

impl Faults {
    pub fn none() -> Self {
        Self { standing: watch::Sender::new(Standing::default()) }
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Does not come back from a fault that is fatal.
    pub fn apply(&self, fault: &Fault) {
        match fault {
            Fault::Crash => std::process::abort(),
            Fault::Exit { code } => std::process::exit(i32::from(*code)),
            Fault::ErrorLine { text } => complain(text),
            lasting => self.standing.send_modify(|standing| change(standing, lasting)),
        }
    }

    /// The worker's way into a fault: waits while it hangs and as long as it is
    /// slow, and tells whether the answer is to be falsified.
    pub async fn hold(&self) -> Honesty {
        let began = Instant::now();
        let mut standing = self.standing.subscribe();
        loop {
            let now = standing.borrow_and_update().clone();
            let rest = Duration::from_millis(now.slow_ms).saturating_sub(began.elapsed());
            // The sender is in `self`: a change is the only way this wait ends.
            let change = standing.changed();
            if now.hang {
                let _ = change.await;
            } else if rest.is_zero() {
                return if now.wrong { Honesty::False } else { Honesty::True };
            } else {
                let _ = timeout(rest, change).await;
            }
        }
    }

    /// Grows and is freed as the standing leak says, up to `mb_max`; never ends.
    pub async fn leak(&self, mb_max: u32) {
        let mut standing = self.standing.subscribe();
        let bytes_max = u64::from(mb_max) << 20;
        loop {
            let _ = standing.wait_for(|standing| standing.leak_mb_per_s > 0).await;
            let mut held: Vec<Vec<u8>> = Vec::new();
            let mut held_bytes = 0;
            let mut step = interval(LEAK_STEP);
            loop {
                step.tick().await;
                let mb_per_s = u64::from(standing.borrow_and_update().leak_mb_per_s);
                if mb_per_s == 0 {
                    break;
                }
                let more = ((mb_per_s << 20) / LEAK_STEPS_PER_S).min(bytes_max - held_bytes);
                held_bytes += more;
                // Not zero: a page of zeros need not be real.
                held.push(vec![0xA5; more as usize]);
            }
        }
    }

    pub async fn apply_later(&self, file: FaultFile, start: Instant) {
        sleep_until(start + Duration::from_millis(file.after_ms)).await;
        self.apply(&file.fault);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    True,
    False,
}

fn change(standing: &mut Standing, fault: &Fault) {
    match fault {
        Fault::Hang => standing.hang = true,
        Fault::HangIgnoringSigterm => (standing.hang, standing.sigterm_ignored) = (true, true),
        Fault::Leak { mb_per_s } => standing.leak_mb_per_s = *mb_per_s,
        Fault::Slow { ms } => standing.slow_ms = *ms,
        Fault::Wrong => standing.wrong = true,
        Fault::NotReady => standing.not_ready = true,
        Fault::Heal => *standing = Standing::default(),
        Fault::Crash | Fault::Exit { .. } | Fault::ErrorLine { .. } => {}
    }
}
