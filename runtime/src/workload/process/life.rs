//! What the daemon believes of a workload at this moment.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::model::AttemptId;
use crate::workload::link::Link;
use crate::workload::record::AttemptRecord;
use crate::workload::tree::Proc;
use crate::workload::wire::Hello;

pub enum Life {
    Idle,
    Live(Live),
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
    /// The shim says by then that it took the request.
    pub answer_by: Option<Instant>,
    /// The main process is gone; the shim says so by then.
    pub report_by: Option<Instant>,
    /// Without a link: the next try for one.
    pub retry_at: Option<Instant>,
}

/// A pidfd, readable when its process has ended.
pub struct End(AsyncFd<OwnedFd>);

impl End {
    /// None when it ended already, or on a kernel without pidfds.
    fn of(main: Proc) -> Option<Self> {
        let fd = main.pidfd().ok().flatten()?;
        // SAFETY: the descriptor is owned, so it is open and the same one until
        // the `AsyncFd` that owns it is dropped.
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok().map(Self)
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
        [live.answer_by, live.report_by, live.retry_at].into_iter().flatten().min()
    }

    pub fn parts(&mut self) -> (Option<&mut Link>, Option<&End>) {
        match self {
            Self::Live(live) => (live.link.as_mut(), live.end.as_ref()),
            Self::Idle => (None, None),
        }
    }

    /// The shim took the request to stop.
    pub fn acknowledge(&mut self) {
        if let Self::Live(live) = self {
            live.answer_by = None;
        }
    }

    /// It lives, by its record; nobody has a link to it yet.
    pub fn keep(&mut self, record: &AttemptRecord) {
        if matches!(self, Self::Live(live) if live.main == record.main) {
            return;
        }
        *self = Self::Live(Live {
            attempt: record.attempt,
            main: record.main,
            shim: record.shim,
            cgroup: record.cgroup.clone(),
            link: None,
            end: None,
            stop_by: None,
            answer_by: None,
            report_by: None,
            retry_at: None,
        });
    }

    pub fn attach(&mut self, link: Link, hello: Hello) {
        let stop_by = match self {
            Self::Live(live) if live.main == hello.main => live.stop_by,
            _ => None,
        };
        *self = Self::Live(Live {
            attempt: hello.attempt,
            end: End::of(hello.main),
            main: hello.main,
            shim: hello.shim,
            cgroup: hello.cgroup,
            link: Some(link),
            // A stop that an earlier daemon asked for goes on.
            stop_by: stop_by.or(hello.stopping.then(Instant::now)),
            answer_by: None,
            report_by: None,
            retry_at: None,
        });
    }

    pub fn watch_alone(&mut self, retry_at: Instant) {
        if let Self::Live(live) = self {
            live.link = None;
            (live.answer_by, live.report_by) = (None, None);
            live.end = End::of(live.main);
            // It may have ended meanwhile, with nobody to say so.
            live.retry_at = Some(if live.main.lives() { retry_at } else { Instant::now() });
        }
    }
}
