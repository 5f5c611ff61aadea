//! A box that lives: a real daemon with real workloads in a folder of its own.
//!
//! Invariant: whatever becomes of the story, nothing of it outlives this value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::view::{PluginState, PluginView, WorkloadState, WorkloadView};
use homeostat::model::{Command, Decision, Event, Finding, IncidentId, Record, TargetId, View};
use model_server::record::{self, Start};
use rustix::process::Signal;

use crate::client::Client;
use crate::daemon::{self, Daemon};
use crate::events::Events;
use crate::journal;
use crate::plan::Plan;
use crate::process;
use crate::program;
use crate::server::Server;
use crate::settings::Settings;
use crate::wait::{Seen, look_until, wait_until};

/// How long a story waits for what should take a second or two: a loaded
/// machine is slow, and only a failing test pays for the patience.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct TestBox {
    plan: Plan,
    config: PathBuf,
    daemon: Option<Daemon>,
    program: PathBuf,
    events: Events,
    pub client: Client,
}

impl TestBox {
    /// A box as planned, its daemon not yet started.
    pub fn new(plan: Plan) -> Self {
        let config = plan.write();
        let client = Client::new(plan.path().join("socket"));
        let events = Events::follow(client.clone());
        let program = program::program("homeostat");
        Self { plan, config, daemon: None, program, events, client }
    }

    #[track_caller]
    pub fn raise(plan: Plan, env: &[(&str, &str)]) -> Self {
        let mut raised = Self::new(plan);
        raised.start(env);
        raised
    }

    pub fn folder(&self) -> &Path {
        self.plan.path()
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    pub fn log(&self) -> PathBuf {
        self.folder().join("daemon.log")
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    // The daemon's life.

    /// Starts the daemon and waits until each plugin runs or is refused.
    #[track_caller]
    pub fn start(&mut self, env: &[(&str, &str)]) {
        self.spawn(env);
        self.until_answers();
        let plugins = self.plan.settings.count("plugin");
        self.until_view("every plugin to be ready, or refused", |view| {
            let settled = |it: &PluginView| it.state != PluginState::Starting;
            (view.plugins.len() == plugins && view.plugins.iter().all(settled)).then_some(())
        });
    }

    /// Changes the configuration; the next start of the daemon reads it.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.plan.settings);
        self.config = self.plan.write();
    }

    /// Where the daemon's own program lies, from the next start on.
    pub fn install(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Starts the daemon; whether it ever answers is the story's to see.
    pub fn spawn(&mut self, env: &[(&str, &str)]) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let daemon = Daemon::start_at(&self.program, &self.config, &self.log(), env);
        self.daemon = Some(daemon.expect("the daemon's program can be started"));
    }

    #[track_caller]
    pub fn until_answers(&mut self) {
        let (client, log) = (self.client.clone(), self.log());
        let daemon = self.daemon.as_mut().expect("a daemon was started");
        wait_until(PATIENCE, "the daemon to answer", || {
            if let Some(status) = daemon.ended() {
                panic!("the daemon ended with {status}; its log:\n{}", daemon::tail(&log));
            }
            match client.view() {
                Ok(_) => Seen::Yes(()),
                Err(error) => Seen::Not(format!("{error}; its log:\n{}", daemon::tail(&log))),
            }
        });
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("a daemon was started")
    }

    /// SIGKILL. Workloads live on.
    pub fn kill_daemon(&mut self) {
        self.daemon.take().expect("a daemon was started").kill();
    }

    /// SIGTERM; it must end well.
    #[track_caller]
    pub fn stop_daemon(&mut self) {
        let status = self.daemon().stop(PATIENCE);
        self.daemon = None;
        assert!(status.success(), "the daemon ended with {status}:\n{}", daemon::tail(&self.log()));
    }

    /// Ends workloads and daemon in good order, as far as they let us; what is
    /// left is swept away when the value goes.
    pub fn close(&mut self) {
        let Some(daemon) = self.daemon.as_mut() else { return };
        for server in &self.plan.servers {
            let _ = self.client.command(&Command::WorkloadStop { name: server.name.clone() });
        }
        daemon.signal(Signal::TERM);
        let _ = look_until(PATIENCE, || Seen::some(daemon.ended(), String::new));
        self.daemon = None;
    }

    /// Waits until a failpoint has killed it.
    #[track_caller]
    pub fn until_dead(&mut self) {
        self.daemon().until_ended(PATIENCE);
        self.daemon = None;
    }

    /// Whether it died by itself meanwhile; then it is forgotten, and can be started.
    pub fn died(&mut self) -> bool {
        let dead = self.daemon.as_mut().is_none_or(|daemon| daemon.ended().is_some());
        if dead {
            self.daemon = None;
        }
        dead
    }

    // What it shows.

    pub fn view(&self) -> View {
        self.client.view().unwrap_or_else(|error| {
            panic!("no view: {error}; its log:\n{}", daemon::tail(&self.log()))
        })
    }

    /// Waits for a view in which `pick` finds what it wants.
    #[track_caller]
    pub fn until_view<T>(&self, what: &str, mut pick: impl FnMut(&View) -> Option<T>) -> T {
        wait_until(PATIENCE, what, || match self.client.view() {
            Ok(view) => Seen::some(pick(&view), || self.tell(&view)),
            Err(error) => Seen::Not(format!("{error}; log:\n{}", daemon::tail(&self.log()))),
        })
    }

    /// Waits for a record, in the whole journal or behind `after`.
    #[track_caller]
    pub fn until_event<T>(
        &self,
        after: u64,
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> (u64, T) {
        wait_until(PATIENCE, what, || {
            let found = self.events.find(|record| {
                (record.seq > after).then(|| pick(&record.event)).flatten().map(|t| (record.seq, t))
            });
            Seen::some(found, || self.events_told())
        })
    }

    /// Waits until `rule` holds something back: a proposal is refused, or the
    /// healer is told beforehand and waits. Either way it is written down.
    #[track_caller]
    pub fn until_held_back(&self, after: u64, rule: Rule) -> IncidentId {
        let told = format!("({rule}: ");
        let held =
            self.until_event(
                after,
                &format!("{rule} to hold something back"),
                |event| match event {
                    Event::Refused { incident, refusal, .. } if refusal.rule == rule => *incident,
                    Event::Decided { incident, decision: Decision::Wait { why, .. }, .. } => {
                        why.contains(&told).then_some(*incident)
                    }
                    _ => None,
                },
            );
        held.1
    }

    /// Everything seen of the journal so far.
    pub fn events(&self) -> Vec<Record> {
        self.events.all()
    }

    /// The newest sequence number written down so far. Asked of the daemon: the
    /// thread that follows the journal may be behind, above all after a restart.
    #[track_caller]
    pub fn now(&self) -> u64 {
        self.view().journal_seq
    }

    /// The journal as the daemon gives it, whole, with all that it had written
    /// down when it was asked. Only what is durable is given, and what was seen to
    /// happen may be durable a moment later; a disk that refuses is not waited for.
    #[track_caller]
    pub fn journal(&self) -> Vec<Record> {
        let written = self.now();
        self.until_view("the journal to be durable", |view| {
            let failing = view.conditions.iter().any(|it| it.name == "store.failing");
            (view.journal_durable >= written || failing).then_some(())
        });
        self.client.journal().unwrap_or_else(|error| {
            panic!("no journal: {error}; its log:\n{}", daemon::tail(&self.log()))
        })
    }

    /// The workload as the daemon sees it.
    #[track_caller]
    pub fn workload(&self, name: &str) -> WorkloadView {
        find_workload(&self.view(), name)
    }

    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        self.workload(name).pid.unwrap_or_else(|| panic!("{name} has no process"))
    }

    /// Waits until `name` runs and answers our own question rightly.
    #[track_caller]
    pub fn until_serving(&self, name: &str) -> u32 {
        let server = self.server(name);
        wait_until(PATIENCE, &format!("{name} to serve"), || {
            let view = match self.client.view() {
                Ok(view) => view,
                Err(error) => {
                    return Seen::Not(format!("{error}; log:\n{}", daemon::tail(&self.log())));
                }
            };
            let workload = find_workload(&view, name);
            let running = workload.state == WorkloadState::Running;
            match (workload.pid.filter(|_| running), server.answers()) {
                (Some(pid), Ok(())) => Seen::Yes(pid),
                (_, answer) => Seen::Not(format!("{answer:?}\n{}", self.tell(&view))),
            }
        })
    }

    /// Waits until another process than `old` serves.
    #[track_caller]
    pub fn until_another_serves(&self, name: &str, old: u32) -> u32 {
        self.until_view(&format!("another process of {name} than {old}"), |view| {
            find_workload(view, name).pid.filter(|pid| *pid != old)
        });
        self.until_serving(name)
    }

    /// As [`Self::until_serving`], and until the detector has seen it do so: a
    /// probe that was never good is no fault within the start's grace.
    #[track_caller]
    pub fn until_watched(&self, name: &str) -> u32 {
        let pid = self.until_serving(name);
        self.until_looked("liveness");
        pid
    }

    /// Waits until `detector` was called a few times more.
    #[track_caller]
    pub fn until_looked(&self, detector: &str) {
        let calls = |view: &View| {
            let found = view.plugins.iter().find(|plugin| plugin.name == detector);
            found.unwrap_or_else(|| panic!("no plugin {detector:?} in {view:#?}")).calls
        };
        let before = calls(&self.view());
        self.until_view(&format!("{detector} to look a few times"), |view| {
            (calls(view) >= before + 5).then_some(())
        });
    }

    /// Waits for a finding of that kind, raised behind `after`.
    #[track_caller]
    pub fn until_raised(&self, after: u64, kind: &str) -> Finding {
        let raised = self.until_event(after, kind, |event| match event {
            Event::FindingRaised { finding, .. } if finding.kind == kind => Some(finding.clone()),
            _ => None,
        });
        raised.1
    }

    /// Waits until an incident of `name` opened behind `after` is proven and closed.
    #[track_caller]
    pub fn until_healed(&self, name: &str, after: u64) -> IncidentId {
        let root = TargetId::workload(name);
        let opened = |event: &Event| {
            matches!(event, Event::IncidentOpened { root: found, .. } if *found == root)
                .then_some(())
        };
        let (seq, ()) = self.until_event(after, &format!("an incident of {name}"), opened);
        let id = IncidentId(seq);
        self.until_event(seq, &format!("{id} to be proven"), |event| {
            matches!(event, Event::IncidentProven { incident, .. } if *incident == id).then_some(())
        });
        self.until_event(seq, &format!("{id} to be closed"), |event| {
            matches!(event, Event::IncidentClosed { incident, .. } if *incident == id).then_some(())
        });
        id
    }

    /// Waits until no incident is open.
    #[track_caller]
    pub fn until_quiet(&self) {
        self.until_view("every incident to be closed", |view| {
            view.incidents.iter().all(|incident| incident.phase == "closed").then_some(())
        });
    }

    // What one does to it.

    pub fn servers(&self) -> &[Server] {
        &self.plan.servers
    }

    pub fn server(&self, name: &str) -> &Server {
        let found = self.plan.servers.iter().find(|server| server.name == name);
        found.unwrap_or_else(|| panic!("no server is called {name:?}"))
    }

    /// Posts a command that must be taken.
    #[track_caller]
    pub fn command(&self, command: &Command) {
        let reply = self.client.command(command);
        match reply {
            Ok(reply) if (200..300).contains(&reply.status) => {}
            other => panic!("{command:?} was not taken: {other:?}"),
        }
    }

    /// Runs the command line against this box.
    pub fn cli(&self, args: &[&str]) -> Output {
        cli(args, &[("HOMEOSTAT_SOCKET", &self.folder().join("socket"))])
    }

    /// The same, which must go well; gives what it printed.
    #[track_caller]
    pub fn does(&self, args: &[impl AsRef<str>]) -> String {
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        let output = self.cli(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, which must be refused, exit code 1; gives what it said.
    #[track_caller]
    pub fn is_refused(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        said
    }

    // What must hold at the end of any story.

    /// The journal is whole, no attempt was executed twice, and each that was
    /// executed had its permit. Gives back the journal.
    #[track_caller]
    pub fn check(&self) -> Vec<Record> {
        // Before the journal: what was started by now has its permit there.
        let starts: Vec<Start> = self.plan.servers.iter().flat_map(Server::starts).collect();
        let records = self.journal();
        journal::check(&records);
        Self::check_ledger(&starts, &records);
        records
    }

    #[track_caller]
    fn check_ledger(starts: &[Start], records: &[Record]) {
        let doubled = record::doubled(starts);
        assert!(doubled.is_empty(), "executed twice: {doubled:?}\n{starts:#?}");
        if records.iter().any(|record| matches!(record.event, Event::JournalGap { .. })) {
            return;
        }
        let permits = journal::permits(records);
        for start in starts {
            let attempt = start.attempt.as_deref().and_then(|text| text.parse().ok());
            let known = attempt.is_some_and(|attempt| permits.contains(&attempt));
            assert!(known, "no permit for {start:?}\n{}", journal::show(records));
        }
    }

    /// How it stands, for a message.
    fn tell(&self, view: &View) -> String {
        let view = serde_json::to_string_pretty(view).unwrap_or_else(|error| error.to_string());
        format!("{view}\n{}", self.events_told())
    }

    fn events_told(&self) -> String {
        format!("{}\nits log:\n{}", journal::show(&self.events.all()), daemon::tail(&self.log()))
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        self.daemon = None;
        self.events.end();
        sweep(self.folder());
        if std::thread::panicking() && std::env::var_os("HOMEOSTAT_KEEP").is_some() {
            self.plan.folder.disable_cleanup(true);
            eprintln!("kept: {}", self.folder().display());
        }
    }
}

/// Kills whatever carries the story's mark, until nothing does.
pub fn sweep(folder: &Path) {
    let left = look_until(Duration::from_secs(10), || {
        let marked = process::marked(folder);
        for pid in &marked {
            process::kill(*pid);
        }
        Seen::when(marked.is_empty(), || format!("{marked:?}"))
    });
    if let Err(left) = left {
        eprintln!("these processes of {} would not die: {left}", folder.display());
    }
}

/// Runs `homeostat` with `args` and waits for its end.
pub fn cli(args: &[&str], env: &[(&str, &Path)]) -> Output {
    let run = || -> io::Result<Output> {
        Process::new(program::program("homeostat"))
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
    };
    run().expect("the command line can be started")
}

#[track_caller]
fn find_workload(view: &View, name: &str) -> WorkloadView {
    let found = view.workloads.iter().find(|workload| workload.name == name);
    found.unwrap_or_else(|| panic!("no workload {name:?} in {view:#?}")).clone()
}
