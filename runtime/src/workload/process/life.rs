//! What the daemon believes of a workload at this moment.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::model::AttemptId;
use crate::workload::link::Link;
use crate::workload::record::AttemptRecord;
use crate::workload::tree::Proc;
use crate::workload::wire::Hello;

/// A workload's FIFO holds 64 KiB; a shim that hangs is found before most
/// workloads have filled it.
const PING_PERIOD: Duration = Duration::from_secs(30);

/// A shim that was there and said nothing so often is replaced.
const SILENCES_MAX: u32 = 2;

pub enum Life {
    Idle,
    Live(Box<Live>),
}

pub struct Live {
    pub attempt: AttemptId,
    pub main: Proc,
    pub shim: Proc,
    pub cgroup: Option<PathBuf>,
    pub link: Option<Link>,
    /// The main process's end, seen from here too: a shim may hang.
    pub end: Option<End>,
    /// It was asked to stop, and is killed at this time.
    pub stop_by: Option<Instant>,
    /// The shim answers the last request by then.
    pub answer_by: Option<Instant>,
    /// It is asked then whether it is well.
    pub ping_at: Option<Instant>,
    /// The main process is gone; the shim says so by then.
    pub report_by: Option<Instant>,
    /// Without a link: the next try for one.
    pub retry_at: Option<Instant>,
    /// Tries at which a shim was there and said nothing.
    pub silences: u32,
}

/// A pidfd, readable when its process has ended.
pub struct End(AsyncFd<OwnedFd>);

impl End {
    /// None when it ended already, or on a kernel without pidfds.
    fn of(process: Proc) -> Option<Self> {
        let fd = process.pidfd().ok().flatten()?;
        // SAFETY: the descriptor is owned, so it is open and the same one until
        // the `AsyncFd` that owns it is dropped.
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok().map(Self)
    }

    /// Until this process is gone, or the time is over.
    pub async fn wait(process: Proc, deadline: Duration) {
        if let Some(end) = Self::of(process) {
            let _ = tokio::time::timeout(deadline, end.seen()).await;
        }
    }

    pub async fn seen(&self) {
        // An error here would be a closed reactor, with nobody left to tell.
        let _ = self.0.readable().await;
    }
}

impl Life {
    /// When something is overdue.
    pub fn due(&self) -> Option<Instant> {
        let Self::Live(live) = self else { return None };
        let times = [live.answer_by, live.ping_at, live.report_by, live.retry_at];
        times.into_iter().flatten().min()
    }

    pub fn parts(&mut self) -> (Option<&mut Link>, Option<&End>) {
        match self {
            Self::Live(live) => (live.link.as_mut(), live.end.as_ref()),
            Self::Idle => (None, None),
        }
    }

    /// The shim answered.
    pub fn acknowledge(&mut self) {
        if let Self::Live(live) = self {
            live.answer_by = None;
        }
    }

    /// It lives, by its record; nobody has a link to it yet.
    pub fn keep(&mut self, record: &AttemptRecord) {
        if let Self::Live(live) = self
            && live.main == record.main
        {
            live.shim = record.shim;
            return;
        }
        *self = Self::Live(Box::new(Live {
            attempt: record.attempt,
            main: record.main,
            shim: record.shim,
            cgroup: record.cgroup.clone(),
            link: None,
            end: None,
            stop_by: None,
            answer_by: None,
            ping_at: None,
            report_by: None,
            retry_at: None,
            silences: 0,
        }));
    }

    /// `stop_by` is for a stop that an earlier daemon asked for, and that goes on.
    pub fn attach(&mut self, link: Link, hello: Hello, stop_by: Instant) {
        let ours = match self {
            Self::Live(live) if live.main == hello.main => live.stop_by,
            _ => None,
        };
        *self = Self::Live(Box::new(Live {
            attempt: hello.attempt,
            end: End::of(hello.main),
            main: hello.main,
            shim: hello.shim,
            cgroup: hello.cgroup,
            link: Some(link),
            stop_by: ours.or(hello.stopping.then_some(stop_by)),
            answer_by: None,
            ping_at: Some(Instant::now() + PING_PERIOD),
            report_by: None,
            retry_at: None,
            silences: 0,
        }));
    }

    /// The shim was there and did not answer: once that may be, but not over
    /// and over, and not when there is an end to be told.
    pub fn is_shim_in_the_way(&mut self) -> bool {
        let Self::Live(live) = self else { return false };
        live.silences += 1;
        live.silences >= SILENCES_MAX || !live.main.lives()
    }

    /// Time to ask whether the shim is well; the next time is noted.
    pub fn pinged(&mut self) {
        if let Self::Live(live) = self {
            live.ping_at = Some(Instant::now() + PING_PERIOD);
        }
    }

    pub fn watch_alone(&mut self, retry_at: Instant) {
        if let Self::Live(live) = self {
            live.link = None;
            (live.answer_by, live.ping_at, live.report_by) = (None, None, None);
            live.end = End::of(live.main);
            // It may have ended meanwhile, with nobody to say so.
            live.retry_at = Some(if live.main.lives() { retry_at } else { Instant::now() });
        }
    }
}
