//! `homeostat-shim`: one small process per attempt, which outlives the daemon.
//!
//! ```text
//!          lock ── checks ── intent ── spawn ── record ──▶ running ──▶ stopping
//! adopt: lock ── checks ──────────────────────── record ──▶    │  main ends  │
//!                                                              ▼             ▼
//!                        exit.json ◀── tree empty ◀── the rest of the tree killed
//! ```
//!
//! One thread, no async runtime, small buffers: every workload of a box pays
//! for one of these. It decides nothing; it starts once, keeps the output, ends
//! the tree when told, and writes down how it ended.
//!
//! Invariant: it executes a program only under the lock, with no process of an
//! earlier attempt alive, and never one attempt twice.

mod client;
mod drill;
mod fork;
mod output;
mod spawn;
mod watch;

use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use client::{split, through};
pub use fork::can_fork_into_cgroup;

use self::client::Clients;
use self::output::{Log, Output};
use self::watch::{Signals, Watch};
use super::cgroup::{Cgroup, Unlimited};
use super::history::History;
use super::record::{AttemptRecord, Intent, Latest, write_json};
use super::tree::{Brand, Proc, Tree};
use super::wire::{Cause, FromShim, Launch, SPEC_MAX_BYTES, Spec};
use crate::clock;
use crate::failpoint::{Failpoint, hit};
use crate::secret::Redactor;

/// The daemon writes the specification before it starts us.
const SPEC_DEADLINE: Duration = Duration::from_secs(5);
/// An earlier shim holds the lock a moment longer than its last word.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);

/// Why nothing runs, for the daemon to say.
#[derive(Debug)]
pub struct Refusal {
    pub cause: Cause,
    pub detail: String,
}

impl Refusal {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    fn system(what: &str) -> impl FnOnce(io::Error) -> Self {
        move |err| Self::new(Cause::System, format!("{what}: {err}"))
    }
}

/// The whole program. Its exit code is 0 when it did what it was started for,
/// 1 when nothing runs (the daemon was told why), 2 when nobody can be told.
pub fn run() -> ExitCode {
    // A person's terminal going away is no reason to end; a leader cannot lead
    // a second session, and needs none.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let (spec, mut clients) = match read_spec() {
        Ok(read) => read,
        Err(err) => {
            eprintln!(
                "homeostat-shim is started by homeostat, with a specification on a socket: {err}"
            );
            return ExitCode::from(2);
        }
    };
    match begin(&spec, &mut clients) {
        Ok(begun) => {
            begun.run(clients);
            ExitCode::SUCCESS
        }
        Err(Refusal { cause, detail }) => {
            clients.tell(&FromShim::Failed { cause, detail });
            clients.drain(1000);
            ExitCode::FAILURE
        }
    }
}

/// Standard input becomes an ordinary client, with nothing left in its place.
fn read_spec() -> io::Result<(Spec, Clients)> {
    // SAFETY: descriptor 0 is open (std sees to it before main), and nothing
    // in this program reads standard input, so it is ours to own.
    let mut stdin = unsafe { OwnedFd::from_raw_fd(0) };
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::io::dup2(&null, &mut stdin)?;
    std::mem::forget(stdin);

    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(SPEC_DEADLINE))?;
    let mut line = Vec::new();
    let mut chunk = [0u8; 4096];
    while !line.ends_with(b"\n") {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => line.extend_from_slice(&chunk[..len]),
        }
        if line.len() > SPEC_MAX_BYTES {
            return Err(io::Error::other("the specification is too long"));
        }
    }
    let spec = serde_json::from_slice(&line)?;
    Ok((spec, Clients::new(stream)?))
}

fn begin(spec: &Spec, clients: &mut Clients) -> Result<Watch, Refusal> {
    let started = Instant::now();
    let lock = loop {
        match spec.place.lock().map_err(Refusal::system("cannot take the lock"))? {
            Some(lock) => break lock,
            None if started.elapsed() > LOCK_DEADLINE => {
                return Err(Refusal::new(Cause::Busy, "another shim holds the lock"));
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    hit(Failpoint::ShimLocked);
    // Whoever comes after our daemon and finds the lock free believes that
    // nothing was started. Asked under the lock, this keeps it true.
    if spec.launch.is_some() && clients.is_starter_gone() {
        return Err(Refusal::new(Cause::Gone, "the daemon that wanted this is gone"));
    }

    let brand = Brand::new(&spec.workload, &spec.run, spec.user);
    let boot_id = clock::boot_id().map_err(Refusal::system("cannot read the boot id"))?;
    let latest = spec.place.latest().map_err(Refusal::system("cannot read the records"))?;
    let me = Proc::of(std::process::id())
        .ok_or_else(|| Refusal::new(Cause::System, "cannot read /proc/self/stat"))?;

    // All that can fail is made before there is a child that it would orphan.
    let log = Log::new(spec.place.log(), spec.log_max_bytes, spec.log_files);
    let redactor = Redactor::new(&spec.secrets);
    let output = Output::open(&spec.place.fifo(), log, redactor)
        .map_err(Refusal::system("cannot open the output FIFO"))?;
    let signals = Signals::listen().map_err(Refusal::system("cannot listen for signals"))?;

    let mut begin = Begin { spec, brand, boot_id, me, notes: Vec::new() };
    let record = match &spec.launch {
        Some(launch) => begin.start(launch, latest, clients)?,
        None => begin.adopt(latest, clients)?,
    };
    hit(Failpoint::ShimRecorded);

    let Begin { brand, notes, .. } = begin;
    // What the shim reaps for descends from it; what it adopted, from the main process.
    let root = if record.adopted { record.main } else { me };
    let tree = Tree::new(&brand, record.cgroup.as_ref(), Some(root));
    Watch::new(spec, record, tree, output, signals, notes, lock)
        .map_err(Refusal::system("cannot watch the process"))
}

struct Begin<'a> {
    spec: &'a Spec,
    brand: Brand,
    boot_id: String,
    me: Proc,
    notes: Vec<String>,
}

impl Begin<'_> {
    fn start(
        &mut self,
        launch: &Launch,
        latest: Latest,
        clients: &mut Clients,
    ) -> Result<AttemptRecord, Refusal> {
        self.refuse_used(&latest)?;
        self.refuse_company(launch, &latest)?;
        self.settle(&latest)?;

        let place = &self.spec.place;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|err| Refusal::system("cannot become a subreaper")(err.into()))?;
        let (cgroup, unlimited) = self.cgroup(launch);
        let (limits, notes) = spawn::limits(&launch.limits, unlimited, launch.user.as_ref());
        self.notes.extend(notes);

        let owner = launch.user.as_ref().map(|user| user.uid);
        let end = || Output::workload_end(&place.fifo(), owner);
        let (stdout, stderr) = end()
            .and_then(|out| Ok((out, end()?)))
            .map_err(Refusal::system("cannot open the output FIFO"))?;
        clients.listen(&place.socket()).map_err(Refusal::system("cannot open the socket"))?;

        let intent = Intent {
            attempt: self.spec.attempt,
            boot_id: self.boot_id.clone(),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned()),
            shim: self.me,
        };
        let record =
            place.write_intent(&intent).map_err(Refusal::system("cannot write the intent"))?;
        hit(Failpoint::ShimBeforeSpawn);
        let ends = spawn::Ends { record, cgroup: cgroup.clone(), stdout, stderr };
        let spawned = spawn::spawn(launch, &self.brand, self.spec.attempt, limits, ends);
        hit(Failpoint::ShimAfterSpawn);

        let word = place.child_word();
        let pid = match spawned {
            Ok(pid) => pid,
            Err(err) => {
                let refusal = spawn::refusal(launch, &err, word);
                place.withdraw_intent().map_err(Refusal::system("cannot withdraw the intent"))?;
                if let Some(cgroup) = cgroup {
                    cgroup.remove();
                }
                return Err(refusal);
            }
        };
        if word.outside {
            self.notes.push("could not enter its cgroup; followed by the process table".into());
        }
        let main = word.proc.filter(|main| main.pid == pid);
        let main = main
            .ok_or_else(|| Refusal::new(Cause::System, "the child's own record is unreadable"))?;
        let record = AttemptRecord {
            attempt: intent.attempt,
            boot_id: intent.boot_id,
            cgroup: intent.cgroup.filter(|_| !word.outside),
            shim: self.me,
            main,
            adopted: false,
            stopping: false,
            held_until_boottime_ms: None,
            earlier: self.spec.place.begun(),
        };
        self.write(&record);
        Ok(record)
    }

    /// Takes over what a dead shim left running.
    fn adopt(&mut self, latest: Latest, clients: &mut Clients) -> Result<AttemptRecord, Refusal> {
        let gone = || Refusal::new(Cause::Gone, "nothing runs that could be adopted");
        let Latest::Begun(mut record) = latest else { return Err(gone()) };
        if record.boot_id != self.boot_id || !record.main.lives() {
            return Err(gone());
        }
        let socket = self.spec.place.socket();
        clients.listen(&socket).map_err(Refusal::system("cannot open the socket"))?;
        record.adopted = true;
        record.shim = self.me;
        self.write(&record);
        Ok(record)
    }

    /// Nothing is executed twice.
    fn refuse_used(&self, latest: &Latest) -> Result<(), Refusal> {
        let attempt = self.spec.attempt;
        let used = match latest {
            Latest::Begun(record) => record.attempt == attempt,
            Latest::Ended(exit) => exit.attempt == attempt,
            // In an earlier boot its child's own word may have been lost.
            Latest::Intended(intent) => intent.attempt == attempt && intent.boot_id != self.boot_id,
            Latest::Nothing => false,
        };
        let place = &self.spec.place;
        let remembered =
            || place.begun().contains(&attempt) || History::load(place).find(attempt).is_some();
        if used || remembered() {
            return Err(Refusal::new(Cause::Used, format!("attempt {attempt} was begun before")));
        }
        Ok(())
    }

    /// Never doubled: neither what was recorded nor what only carries the brand.
    fn refuse_company(&self, launch: &Launch, latest: &Latest) -> Result<(), Refusal> {
        let alive = |what: String| Err(Refusal::new(Cause::Alive, what));
        if let Latest::Begun(record) = latest
            && record.boot_id == self.boot_id
            && record.main.lives()
        {
            return alive(format!(
                "attempt {} lives as process {}",
                record.attempt, record.main.pid
            ));
        }
        let recorded = match latest {
            Latest::Begun(record) => record.cgroup.clone(),
            Latest::Intended(intent) => intent.cgroup.clone(),
            _ => None,
        };
        for dir in [recorded, launch.cgroup.clone()].into_iter().flatten() {
            let cgroup = Cgroup::at(dir);
            if cgroup.populated() {
                return alive(format!(
                    "processes {:?} of an earlier attempt live in {}",
                    cgroup.pids(),
                    cgroup.dir().display()
                ));
            }
        }
        let bearers = self.brand.bearers();
        if !bearers.is_empty() {
            let pids: Vec<u32> = bearers.iter().map(|proc| proc.pid).collect();
            return alive(format!("processes {pids:?} of an earlier attempt live"));
        }
        Ok(())
    }

    /// An earlier attempt that died with its shim is ended here, so that its
    /// record is not lost with the next intent.
    fn settle(&self, latest: &Latest) -> Result<(), Refusal> {
        if let Latest::Begun(record) = latest {
            let status = crate::model::ExitStatus::Unknown;
            self.spec
                .place
                .conclude(record.attempt, status, record.stopping)
                .map_err(Refusal::system("cannot write the exit record"))?;
        }
        Ok(())
    }

    fn cgroup(&mut self, launch: &Launch) -> (Option<Cgroup>, Unlimited) {
        let none = Unlimited::all(&launch.limits);
        let Some(dir) = &launch.cgroup else { return (None, none) };
        match Cgroup::make(dir, &launch.limits) {
            Ok((cgroup, unlimited)) => (Some(cgroup), unlimited),
            Err(err) => {
                self.notes.push(format!("no cgroup, cannot make {}: {err}", dir.display()));
                (None, none)
            }
        }
    }

    /// The child's own record says nearly as much, so a full disk ends nothing.
    fn write(&mut self, record: &AttemptRecord) {
        if let Err(err) = write_json(&self.spec.place.attempt(), record) {
            self.notes.push(format!("cannot write the attempt record: {err}"));
        }
    }
}
