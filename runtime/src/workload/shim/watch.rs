//! The life of one attempt, from its record to its end.
//!
//! Invariant: the end is told after it is written down, and written down after
//! the tree is empty, unless not even SIGKILL empties it: then it is told who
//! is left, and the lock is kept until they are gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitOptions};

use super::client::Clients;
use super::output::Output;
use crate::clock;
use crate::failpoint::{Failpoint, hit};
use crate::model::ExitStatus;
use crate::workload::record::{AttemptRecord, Place, write_json};
use crate::workload::tree::Tree;
use crate::workload::wire::{FromShim, Hello, Spec, ToShim};

/// For the rest of the tree to end by SIGKILL, before the end is told anyway.
const EMPTY_DEADLINE: Duration = Duration::from_secs(2);
/// What outlives SIGKILL (a thread stuck in a driver) is killed again this often.
const KILL_PERIOD: Duration = Duration::from_millis(100);
/// For a client to take the last words.
const FAREWELL_MS: u64 = 500;

/// Signals as something to poll for.
pub struct Signals {
    pipe: UnixStream,
    terminate: Arc<AtomicBool>,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGTERM};

        let terminate = Arc::new(AtomicBool::new(false));
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        signal_hook::flag::register(SIGTERM, terminate.clone())?;
        signal_hook::low_level::pipe::register(SIGTERM, writer.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGCHLD, writer)?;
        Ok(Self { pipe, terminate })
    }

    fn drain(&mut self) {
        let mut chunk = [0u8; 64];
        while matches!(self.pipe.read(&mut chunk), Ok(len) if len == chunk.len()) {}
    }
}

pub struct Watch {
    pub(super) place: Place,
    pub(super) record: AttemptRecord,
    pub(super) tree: Tree,
    output: Output,
    signals: Signals,
    /// The end of a main process that is not our child.
    adopted: Option<OwnedFd>,
    /// Held until we are gone.
    lock: File,
    notes: Vec<String>,
    stop_deadline_ms: u64,
    kill_at: Option<Instant>,
    status: Option<ExitStatus>,
}

impl Watch {
    pub fn new(
        spec: &Spec,
        record: AttemptRecord,
        tree: Tree,
        output: Output,
        signals: Signals,
        notes: Vec<String>,
        lock: File,
    ) -> io::Result<Self> {
        let (mut adopted, mut status) = (None, None);
        if record.adopted {
            adopted = record.main.pidfd()?;
            // It ended between the check and here.
            status = adopted.is_none().then_some(ExitStatus::Unknown);
        }
        Ok(Self {
            place: spec.place.clone(),
            record,
            tree,
            output,
            signals,
            adopted,
            lock,
            notes,
            stop_deadline_ms: spec.stop_deadline_ms,
            kill_at: None,
            status,
        })
    }

    pub fn run(mut self, mut clients: Clients) {
        clients.tell(&FromShim::Hello(self.hello()));
        if self.record.stopping {
            // The shim before us was told to, and died over it.
            self.stop(self.stop_deadline_ms, &mut clients);
        }
        loop {
            if let Some(status) = self.status {
                return self.end(status, clients);
            }
            let ready = self.wait(&clients);
            self.signals.drain();
            if ready.output {
                self.pump(&mut clients);
            }
            if ready.main {
                self.status = Some(ExitStatus::Unknown);
            }
            self.reap();
            if ready.clients {
                clients.accept(&self.hello());
                for request in clients.requests() {
                    match request {
                        ToShim::Stop { deadline_ms } => self.stop(deadline_ms, &mut clients),
                        ToShim::Ping {} => clients.tell(&FromShim::Pong {}),
                        ToShim::Crash {} => self.crash(&mut clients),
                        ToShim::Hang { ms } => self.hold(ms, &mut clients),
                    }
                }
            }
            if self.signals.terminate.swap(false, Ordering::SeqCst) {
                self.stop(self.stop_deadline_ms, &mut clients);
            }
            clients.flush();
            self.release_when_due();
            if self.kill_at.is_some_and(|at| Instant::now() >= at) {
                self.kill();
                self.kill_at = Some(Instant::now() + KILL_PERIOD);
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            attempt: self.record.attempt,
            main: self.record.main,
            shim: self.record.shim,
            cgroup: self.record.cgroup.clone(),
            adopted: self.record.adopted,
            stopping: self.record.stopping,
            notes: self.notes.clone(),
        }
    }

    fn wait(&self, clients: &Clients) -> Ready {
        let mut fds = vec![
            PollFd::new(&self.signals.pipe, PollFlags::IN),
            PollFd::from_borrowed_fd(self.output.fd(), PollFlags::IN),
        ];
        fds.extend(self.adopted.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let main = fds.len();
        for (fd, has_more) in clients.fds() {
            let wanted = if has_more { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(fd, wanted));
        }
        let rest = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let rest = rest.into_iter().chain(self.held_for()).min();
        // A failed poll (a signal) is answered by looking at nothing but signals.
        if poll(&mut fds, rest.map(timespec).as_ref()).is_err() {
            return Ready::default();
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ready {
            output: is_ready(&fds[1]),
            main: fds[2..main].iter().any(is_ready),
            clients: fds[main..].iter().any(is_ready),
        }
    }

    /// Ours and, because we are their subreaper, the orphans of its tree.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if self.record.adopted || pid.as_raw_pid().cast_unsigned() != self.record.main.pid {
                continue;
            }
            self.status = Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code { code },
                (_, Some(signal)) => ExitStatus::Signal { signal },
                _ => ExitStatus::Unknown,
            });
        }
    }

    fn pump(&mut self, clients: &mut Clients) {
        self.output.pump(&mut |text| {
            clients.line(&FromShim::Line { boottime_ms: clock::boottime_ms(), text });
        });
        if let Some(text) = self.output.news() {
            clients.tell(&FromShim::Note { text });
        }
    }

    /// SIGTERM once; a second request can only bring the deadline nearer.
    fn stop(&mut self, deadline_ms: u64, clients: &mut Clients) {
        let deadline = Instant::now() + Duration::from_millis(deadline_ms);
        let first = self.kill_at.is_none();
        self.kill_at = Some(self.kill_at.map_or(deadline, |at| at.min(deadline)));
        self.release();
        if first {
            self.record.stopping = true;
            // Written before anything happens: whoever finds the workload gone
            // shall know that it was meant to be.
            if let Err(err) = write_json(&self.place.attempt(), &self.record) {
                self.notes.push(format!("cannot write the attempt record: {err}"));
            }
        }
        clients.tell(&FromShim::Stopping {});
        if first {
            self.record.main.signal_group(Signal::TERM);
            // A stopped process would sleep through its SIGTERM.
            self.record.main.signal_group(Signal::CONT);
            hit(Failpoint::ShimStopping);
        }
    }

    pub(super) fn kill(&self) {
        self.record.main.signal(Signal::KILL);
        self.tree.kill();
    }

    fn end(mut self, status: ExitStatus, mut clients: Clients) {
        hit(Failpoint::ShimExitSeen);
        self.tree.kill();
        let left = self.empty(Instant::now() + EMPTY_DEADLINE);
        self.output.finish(&mut |text| {
            clients.line(&FromShim::Line { boottime_ms: clock::boottime_ms(), text });
        });
        let (attempt, wanted) = (self.record.attempt, self.record.stopping);
        if let Err(err) = self.place.conclude(attempt, status, wanted) {
            let text = format!("cannot write the exit record: {err}");
            clients.tell(&FromShim::Note { text });
        }
        hit(Failpoint::ShimExitWritten);
        clients.tell(&FromShim::Exited { attempt, status, wanted, left: left.clone() });
        clients.drain(FAREWELL_MS);
        let _ = std::fs::remove_file(self.place.socket());
        if !left.is_empty() {
            drop(clients);
            while !self.empty(Instant::now() + KILL_PERIOD).is_empty() {}
        }
        if let Some(cgroup) = &self.tree.cgroup {
            cgroup.remove();
        }
        drop(self.lock);
    }

    /// Waits until nothing of the tree lives; gives back what still does.
    fn empty(&mut self, deadline: Instant) -> Vec<u32> {
        let events = self.tree.cgroup.as_ref().and_then(|cgroup| cgroup.events().ok());
        let mut pause = Duration::from_millis(1);
        loop {
            self.reap();
            let left = self.tree.members();
            let emptied = left.is_empty()
                && self.tree.cgroup.as_ref().is_none_or(|cgroup| !cgroup.populated());
            if emptied || Instant::now() >= deadline {
                return left.iter().map(|proc| proc.pid).collect();
            }
            self.tree.kill();
            self.wait_for_the_dying(events.as_ref(), pause);
            // The kernel may hold the cgroup's notice back; a look now and then
            // costs less than waiting for it.
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn wait_for_the_dying(&mut self, events: Option<&File>, pause: Duration) {
        let mut fds = vec![PollFd::new(&self.signals.pipe, PollFlags::IN)];
        fds.extend(events.map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)));
        let _ = poll(&mut fds, Some(&timespec(pause)));
        self.signals.drain();
    }
}

#[derive(Default)]
struct Ready {
    output: bool,
    main: bool,
    clients: bool,
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}
