//! A box of its own for each test: directories, workloads, the events they make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeostat::clock::{Clock, SavedClock};
use homeostat::config::{LimitsConfig, Paths, WorkloadConfig, WorkloadKind};
use homeostat::model::{AttemptId, ExitStatus};
use homeostat::workload::{Options, WorkloadEvent, WorkloadStatus, Workloads};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// For whatever is waited for; far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub dir: PathBuf,
    pub paths: Paths,
    pub options: Options,
    pub configs: Vec<WorkloadConfig>,
    pub workloads: Option<Workloads>,
    events: mpsc::Receiver<WorkloadEvent>,
    /// Text of all lines seen so far.
    pub lines: Vec<String>,
    pub lost: u64,
    pub adoptions: usize,
    /// Made for this rig, whether its workload uses it or not.
    cgroup_home: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

pub fn attempt(seq: u64) -> AttemptId {
    AttemptId { birth: 1, seq }
}

/// A shell script as a workload.
pub fn script(name: &str, text: &str) -> WorkloadConfig {
    WorkloadConfig {
        kind: WorkloadKind::Process,
        name: name.into(),
        command: vec!["/bin/sh".into(), "-c".into(), text.into()],
        env: BTreeMap::new(),
        dir: None,
        user: None,
        limits: LimitsConfig::default(),
        replicas: None,
        needs: vec![],
        desired_running: true,
        stop_deadline_ms: 5_000,
        start_grace_ms: 0,
        log_max_bytes: 1 << 20,
        log_files: 3,
        probes: vec![],
    }
}

impl Rig {
    /// One workload `a` that runs this script, with `$D` as the rig's directory.
    pub async fn new(text: &str) -> Self {
        Self::with(text, |_, _| {}).await
    }

    pub async fn with(text: &str, adjust: impl FnOnce(&mut WorkloadConfig, &mut Options)) -> Self {
        let tempdir = tempfile::tempdir().expect("a directory");
        let dir = tempdir.path().to_owned();

        let shim = Path::new(env!("CARGO_BIN_EXE_homeostat-shim"));
        let paths = Paths {
            state: dir.join("state"),
            run: dir.join("run"),
            programs: shim.parent().expect("a folder").to_owned(),
        };
        fs::create_dir_all(&paths.run).expect("made");
        let mut options = Options::of_this_machine(&paths);
        let cgroup_home = options.cgroup_home.clone().ok();
        let mut config = script("a", text);
        config.env.insert("D".into(), dir.display().to_string());
        adjust(&mut config, &mut options);
        let (_, events) = mpsc::channel(1);
        let mut rig = Self {
            dir,
            paths,
            options,
            configs: vec![config],
            workloads: None,
            events,
            lines: vec![],
            lost: 0,
            adoptions: 0,
            cgroup_home,
            _dir: tempdir,
        };
        rig.open().await;
        rig
    }

    /// A daemon; the one before, if there was one, is gone without a word.
    pub async fn open(&mut self) {
        self.workloads = None;
        let (sender, events) = mpsc::channel(64);
        self.events = events;
        let clock = Clock::resume(SavedClock::default(), "boot", 0);
        let opened = Workloads::open_with(
            self.configs.clone(),
            &self.paths,
            clock,
            sender,
            self.options.clone(),
        );
        self.workloads = Some(opened.await.expect("opened"));
    }

    pub fn workloads(&self) -> &Workloads {
        self.workloads.as_ref().expect("open")
    }

    pub async fn start(&self, seq: u64) -> u32 {
        self.workloads().start("a", attempt(seq)).await.expect("started")
    }

    pub fn status(&self) -> WorkloadStatus {
        self.workloads().snapshot().borrow().get("a").cloned().expect("in the snapshot")
    }

    /// The next event that is not about lines; those are collected.
    pub async fn event(&mut self) -> WorkloadEvent {
        loop {
            match self.any_event().await {
                None => {}
                Some(WorkloadEvent::Adopted { .. }) => self.adoptions += 1,
                Some(event) => return event,
            }
        }
    }

    /// How attempt `seq` ended, and whether that was wanted.
    pub async fn exited(&mut self, seq: u64) -> (ExitStatus, bool) {
        loop {
            if let WorkloadEvent::Exited { attempt: ended, status, wanted, .. } = self.event().await
            {
                assert_eq!(ended, attempt(seq), "an end of another attempt");
                return (status, wanted);
            }
        }
    }

    pub async fn adopted(&mut self) -> u32 {
        loop {
            if let Some(WorkloadEvent::Adopted { pid, .. }) = self.any_event().await {
                self.adoptions += 1;
                return pid;
            }
        }
    }

    /// Until a line says this.
    pub async fn line(&mut self, text: &str) {
        while !self.lines.iter().any(|line| line == text) {
            assert!(
                self.any_event()
                    .await
                    .is_none_or(|event| !matches!(event, WorkloadEvent::Exited { .. }))
                    || self.lines.iter().any(|line| line == text),
                "it ended without saying {text:?}: {:?}",
                self.lines
            );
        }
    }

    /// Until the snapshot looks like this.
    pub async fn until(
        &self,
        what: &str,
        looks: impl Fn(&WorkloadStatus) -> bool,
    ) -> WorkloadStatus {
        let mut snapshot = self.workloads().snapshot();
        let seen = timeout(DEADLINE, snapshot.wait_for(|all| all.get("a").is_some_and(&looks)));
        let seen = seen.await.unwrap_or_else(|_| panic!("never {what}: {:?}", self.status()));
        seen.expect("the daemon lives")["a"].clone()
    }

    pub async fn any_event(&mut self) -> Option<WorkloadEvent> {
        let event = timeout(DEADLINE, self.events.recv());
        match event.await.expect("an event in time").expect("the daemon lives") {
            WorkloadEvent::Lines(lines) => {
                self.lines.extend(lines.into_iter().map(|line| line.text));
                None
            }
            WorkloadEvent::LinesLost { count, .. } => {
                self.lost += count;
                None
            }
            event => Some(event),
        }
    }

    /// Attempts in the order in which the script wrote them down.
    pub fn ledger(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("ledger")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Pids of all living processes of this rig's workload.
    pub fn members(&self) -> Vec<u32> {
        let run = format!("HOMEOSTAT_RUN={}", self.paths.run.display());
        pids()
            .filter(|pid| {
                let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environ.split(|byte| *byte == 0).any(|entry| entry == run.as_bytes()) && alive(*pid)
            })
            .collect()
    }

    /// Pids of all living shims of this rig.
    pub fn shims(&self) -> Vec<u32> {
        let lock = self.paths.run.join("workloads/a/lock");
        pids()
            .filter(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                name.trim() == "homeostat-shim"
                    && fs::read_dir(format!("/proc/{pid}/fd"))
                        .into_iter()
                        .flatten()
                        .flatten()
                        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == lock))
            })
            .collect()
    }

    pub fn run_file(&self, name: &str) -> PathBuf {
        self.paths.run.join("workloads/a").join(name)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.workloads = None;
        // Again and again: what is killed may have been forking, and a daemon
        // that is letting go may have been adopting.
        let kill_all = || {
            for pid in self.shims().into_iter().chain(self.members()) {
                kill(pid, rustix::process::Signal::KILL);
            }
        };
        kill_all();
        if let Some(home) = &self.cgroup_home {
            eventually("its cgroups are gone", || {
                kill_all();
                let _ = fs::remove_dir(home.join("a"));
                fs::remove_dir(home).is_ok() || !home.exists()
            });
        }
    }
}

pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned());
    state.is_some_and(|state| !state.starts_with('Z') && !state.starts_with('X'))
}

pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    let _ = rustix::process::kill_process(pid, signal);
}

/// For what nothing tells of.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = std::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(std::time::Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
