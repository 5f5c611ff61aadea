//! A detector: one thread that owns one instance, and a mailbox of one.
//!
//! Invariant: each frame that was taken comes back as a `Report` or as a
//! `Faulted`; after each fresh instance comes a `Ready`, which the driver
//! answers with the series, and no frame is taken before.
//!
//! ```text
//! instance ─▶ configure ─▶ restore ─▶ Ready ─▶ bind ─▶ observe ─▶ Report
//!    ▲                                                    │ every checkpoint_ms: save
//!    └── at once · after a backoff ◀── Faulted ◀── trap, overrun, over a limit,
//!                                        │          refusal, foreign target
//!                                        ▼
//!                                   quarantined: the thread ends
//! ```

mod live;
mod session;
mod thread;

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use self::live::{Live, Pre};
pub use self::session::Session;
use self::thread::Life;
use super::engine::{Engine, THREAD_STACK_BYTES};
use super::mailbox::{Busy, Mailbox};
use super::sandbox::{Plugin, Stats};
use super::{CheckpointStore, Events};
use crate::config::PluginConfig;
use crate::model::{Frame, Series};

/// For a call in flight when all is to end; what takes longer is interrupted.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A handle on the thread. Dropping it lets the thread end by itself.
#[derive(Debug)]
pub struct Detector {
    plugin: Arc<Plugin>,
    mailbox: Arc<Mailbox<Frame>>,
    thread: Option<JoinHandle<()>>,
    /// Nothing ever comes; it is closed when the thread is about to end.
    ended: mpsc::Receiver<Infallible>,
}

/// A frame that was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Untaken {
    pub why: Busy,
    pub frame: Frame,
}

impl Detector {
    pub(super) fn start(
        engine: &Arc<Engine>,
        pre: &Pre,
        config: &PluginConfig,
        checkpoints: Arc<dyn CheckpointStore>,
        events: Events,
    ) -> std::io::Result<Self> {
        let plugin = Plugin::new(config);
        let mailbox = Arc::new(Mailbox::new());
        let life = Life::new(engine, pre, config, &plugin, &mailbox, checkpoints, events);
        let (lives, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(thread_name(&config.name))
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                life.live();
                drop(lives);
            })?;
        Ok(Self { plugin, mailbox, thread: Some(thread), ended })
    }

    /// The series that its frames have from now on, in column order. The
    /// answer to a `Ready`, and whenever they change. Ignored while there is
    /// no instance to tell.
    pub fn bind(&self, series: Vec<Series>) {
        self.mailbox.bind(series);
    }

    /// Hands it a frame that fits the newest binding.
    pub fn observe(&self, frame: Frame) -> Result<(), Box<Untaken>> {
        let taken = self.mailbox.put(frame, |frame, columns| {
            let columns = columns.ok_or(Busy::NotReady)?;
            let wanted = frame.rows.len().checked_mul(columns);
            match wanted == Some(frame.values.len()) {
                true => Ok(()),
                false => Err(Busy::Shape { wanted: columns, found: frame.values.len() }),
            }
        });
        taken.map_err(|(why, frame)| Box::new(Untaken { why, frame }))
    }

    pub fn stats(&self) -> Stats {
        self.plugin.stats()
    }

    /// Ends it and waits, as [`stop_all`] does.
    pub fn stop(self) {
        stop_all(vec![self]);
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        self.mailbox.stop();
    }
}

/// Ends them and waits: for the calls in flight, since an interrupted one costs
/// what was learnt since the last checkpoint, and for a last checkpoint of each.
/// Their events must still be received, or their channel be closed.
pub fn stop_all(detectors: Vec<Detector>) {
    detectors.iter().for_each(|detector| detector.mailbox.stop());
    let until = Instant::now() + STOP_GRACE;
    for detector in &detectors {
        let rest = until.saturating_duration_since(Instant::now());
        if detector.ended.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Timeout) {
            detector.plugin.stop();
        }
    }
    for mut detector in detectors {
        if let Some(thread) = detector.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// The kernel shows 15 bytes.
pub(super) fn thread_name(plugin: &str) -> String {
    let name: String = plugin.chars().filter(char::is_ascii_graphic).take(12).collect();
    format!("p:{name}")
}
