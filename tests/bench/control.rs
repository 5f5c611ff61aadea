//! The same server under each supervisor: how often it is touched where nothing
//! is wrong, and how long it hangs behind a health endpoint that says 200.
//!
//! Side by side, each with a server of its own, so that all meet the same load.
//! What was touched is counted by what starts; whether it serves is asked by us.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use homeostat_tests::server::Server;
use homeostat_tests::{Plan, TestBox, process};
use model_server::control::{self, Request};
use model_server::fault::Fault;
use model_server::golden::Golden;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::{MONIT_START_S, Supervisor, monit, supervisord, write};
use crate::row::{Row, percentile};

/// Several times what any of them takes to see a fault.
const SPAN: Duration = Duration::from_secs(8);
/// Who has not recovered it by then does not mean to.
const NEVER: Duration = Duration::from_secs(15);
const HANGS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);
/// Less than what monit waits after a start.
const LOAD_S: u32 = 4;
const NAME: &str = "digits";
/// A line for each start.
const STARTS: &str = "starts";

/// Who looks after a server, and how it is told to.
struct Keeper {
    name: &'static str,
    raise: fn(name: &'static str, load_s: u32) -> Result<Kept>,
}

const OURS: &str = "homeostat, fast profile";

const KEEPERS: [Keeper; 5] = [
    Keeper { name: OURS, raise: ours },
    Keeper {
        name: "supervisord",
        raise: |name, load_s| peer(name, load_s, |folder, program, _| supervisord(folder, program)),
    },
    Keeper {
        name: "monit, its health at 1 s, 1 bad",
        raise: |name, load_s| {
            peer(name, load_s, |at, program, port| monit(at, program, &health(port, 1)))
        },
    },
    Keeper {
        name: "monit, an inference at 1 s, 1 bad",
        raise: |name, load_s| {
            peer(name, load_s, |at, program, port| monit(at, program, &inference(port, 1)))
        },
    },
    Keeper {
        name: "monit, an inference at 1 s, 2 bad",
        raise: |name, load_s| {
            peer(name, load_s, |at, program, port| monit(at, program, &inference(port, 2)))
        },
    },
];

/// A server that is looked after, and whoever does so.
struct Kept {
    name: &'static str,
    by: By,
}

enum By {
    Us(Box<TestBox>),
    /// The supervisor ends before its folder goes.
    Peer {
        server: Server,
        _supervisor: Supervisor,
        folder: TempDir,
    },
}

impl Kept {
    fn server(&self) -> &Server {
        match &self.by {
            By::Us(house) => house.server(NAME),
            By::Peer { server, .. } => server,
        }
    }

    fn folder(&self) -> &Path {
        match &self.by {
            By::Us(house) => house.folder(),
            By::Peer { folder, .. } => folder.path(),
        }
    }

    /// How often it was started again, whether or not it came so far as to serve.
    fn touched(&self) -> usize {
        let starts = fs::read_to_string(self.folder().join(STARTS)).unwrap_or_default();
        starts.lines().count().saturating_sub(1)
    }

    fn until_serves(&self, patience: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.server().answers_within(Duration::from_millis(500)).is_ok() {
                return Some(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

/// Shell before the server: it counts its starts, and loads its model so long.
fn before(folder: &Path, load_s: u32) -> String {
    format!("echo >> {}; sleep {load_s}", folder.join(STARTS).display())
}

fn ours(name: &'static str, load_s: u32) -> Result<Kept> {
    let plan = Plan::plain();
    let before = before(plan.path(), load_s);
    let house = plan
        .with(|settings| {
            settings.set("box.profile", "fast");
        })
        .server_with(NAME, |_| {})
        .starts_with(NAME, &before)
        .detector("liveness", json!({}))
        .healer("ladder", json!({}))
        .raise();
    Ok(Kept { name, by: By::Us(Box::new(house)) })
}

fn peer(
    name: &'static str,
    load_s: u32,
    configured: fn(&Path, &str, u16) -> Result<Command>,
) -> Result<Kept> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let server = Server::new(NAME, folder.path());
    let workload = server.workload();
    let words = workload["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    let program = folder.path().join("serve");
    let before = before(folder.path(), load_s);
    let script = format!("#!/bin/sh\n{before}\nexec {}\n", words.join(" "));
    write(&program, 0o755, &script)?;
    let command = configured(folder.path(), &program.display().to_string(), server.port())?;
    let supervisor = Supervisor::start(command, folder.path())?;
    Ok(Kept { name, by: By::Peer { server, _supervisor: supervisor, folder } })
}

/// As monit's manual has it.
fn health(port: u16, bad: u32) -> String {
    format!(
        "  if failed host 127.0.0.1 port {port} protocol http request \"/v2/health/ready\" \
         with timeout 1 seconds for {bad} cycles then restart"
    )
}

/// monit's http sends no body, so the question is written out by hand.
fn inference(port: u16, bad: u32) -> String {
    let golden = Golden::committed();
    let body = serde_json::to_string(&golden.request(&golden.cases[3..4]));
    let body = body.expect("a question serialises");
    format!(
        "  if failed host 127.0.0.1 port {port}\n    \
         send \"POST /v2/models/digits/infer HTTP/1.1\\r\\nHost: localhost\\r\\n\
         Content-Type: application/json\\r\\nConnection: close\\r\\n\
         Content-Length: {}\\r\\n\\r\\n{}\"\n    \
         expect \"HTTP/1.1 200.*\"\n    with timeout 1 seconds for {bad} cycles then restart",
        body.len(),
        body.replace('"', "\\0x22"),
    )
}

/// Where nothing is wrong, and what goes on meanwhile.
struct Control {
    name: &'static str,
    begin: fn(&Kept) -> Option<Work>,
    goes_on: fn(&[Kept]),
}

const CONTROLS: [Control; 6] = [
    Control { name: "idle", begin: |_| None, goes_on: time_passes },
    Control {
        name: "slow",
        begin: |kept| breaks(kept, Fault::Slow { ms: 300 }),
        goes_on: time_passes,
    },
    Control { name: "blinks", begin: |_| None, goes_on: health_blinks },
    Control { name: "backup", begin: |kept| works(kept, BACKUP), goes_on: time_passes },
    Control { name: "slow disk", begin: |kept| works(kept, DISK), goes_on: time_passes },
    Control {
        name: "memory",
        begin: |kept| breaks(kept, Fault::Leak { mb_per_s: 8 }),
        goes_on: time_passes,
    },
];

fn time_passes(_: &[Kept]) {
    std::thread::sleep(SPAN);
}

/// Not ready for a moment now and then, shorter than anybody's period, and in
/// step with nobody's: it serves all the same.
fn health_blinks(kept: &[Kept]) {
    let until = Instant::now() + SPAN;
    std::thread::scope(|scope| {
        // Each for itself: one that is just being started again holds up no other's heal.
        for it in kept {
            let control = it.server().control();
            scope.spawn(move || {
                while Instant::now() < until {
                    for (fault, ms) in [(Fault::NotReady, 300), (Fault::Heal, 1_400)] {
                        tries(&control, fault);
                        std::thread::sleep(Duration::from_millis(ms));
                    }
                }
            });
        }
    });
}

/// Breaks the server behind `control`, unless it is just being started again.
fn tries(control: &Path, fault: Fault) {
    let _ = control::ask(control, &Request::Apply(fault), Duration::from_millis(500));
}

const BACKUP: &str = "dd if=/dev/zero of=data bs=1M count=64 2>/dev/null; \
                      while :; do tar cf copy data; gzip -1 -f -k copy; done";
const DISK: &str =
    "while :; do dd if=/dev/zero of=sync bs=4k count=200 oflag=dsync 2>/dev/null; done";

fn breaks(kept: &Kept, fault: Fault) -> Option<Work> {
    kept.server().breaks(fault);
    None
}

fn works(kept: &Kept, script: &str) -> Option<Work> {
    Some(Work::shell(kept.folder(), script))
}

/// Somebody else's work on this machine; it ends with the value.
struct Work(Child);

impl Work {
    fn shell(folder: &Path, script: &str) -> Self {
        let child = Command::new("timeout")
            .args(["--kill-after=1", "60", "/bin/sh", "-c", script])
            .current_dir(folder)
            .env(process::MARK, folder)
            .stdin(Stdio::null())
            .spawn();
        Self(child.expect("a shell can be started"))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        process::signal(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

pub fn rows() -> Result<Vec<Row>> {
    let mut wrong = touched_while_loading()?;
    let kept = raised(0)?;
    for it in &kept {
        it.until_serves(PATIENCE).with_context(|| format!("nothing serves under {}", it.name))?;
    }
    for control in &CONTROLS {
        let before: Vec<_> = kept.iter().map(Kept::touched).collect();
        let works: Vec<_> = kept.iter().map(|it| (control.begin)(it)).collect();
        (control.goes_on)(&kept);
        drop(works);
        for ((it, before), wrong) in kept.iter().zip(before).zip(&mut wrong) {
            wrong.extend(std::iter::repeat_n(control.name, it.touched() - before));
            tries(&it.server().control(), Fault::Heal);
        }
    }
    let mut rows: Vec<_> = kept.iter().zip(&wrong).map(|(it, wrong)| touched(it, wrong)).collect();
    for it in &kept {
        rows.push(hung(it)?);
    }
    Ok(rows)
}

fn raised(load_s: u32) -> Result<Vec<Kept>> {
    KEEPERS.iter().map(|keeper| (keeper.raise)(keeper.name, load_s)).collect()
}

/// A server that loads its model for a few seconds is not ill.
fn touched_while_loading() -> Result<Vec<Vec<&'static str>>> {
    let kept = raised(LOAD_S)?;
    std::thread::sleep(SPAN);
    Ok(kept.iter().map(|it| vec!["loading"; it.touched()]).collect())
}

fn touched(kept: &Kept, names: &[&str]) -> Row {
    let what = format!("wrong actions on {} controls, {}", CONTROLS.len() + 1, kept.name);
    let row = Row::new(what, names.len() as f64, "").note(names.join(", "));
    if kept.name == OURS { row.at_most(0.0) } else { row }
}

/// From the hang to an inference that is right again.
fn hung(kept: &Kept) -> Result<Row> {
    let what = format!("hang behind a 200 → recovered, {}", kept.name);
    let mut taken_s = Vec::with_capacity(HANGS);
    for _ in 0..HANGS {
        kept.until_serves(NEVER).with_context(|| format!("nothing serves under {}", kept.name))?;
        // By then monit looks at ports again.
        std::thread::sleep(Duration::from_secs(MONIT_START_S + 2));
        kept.server().breaks(Fault::Hang);
        let Some(taken) = kept.until_serves(NEVER) else {
            let never = format!("not within {} s, and nothing looks", NEVER.as_secs());
            return Ok(Row::new(what, f64::INFINITY, "s").note(never));
        };
        taken_s.push(taken.as_secs_f64());
    }
    taken_s.sort_by(f64::total_cmp);
    let p50 = percentile(&taken_s, 50).context("no hang was measured")?;
    let row = Row::new(what, p50, "s").note(format!("p50 of {HANGS}"));
    Ok(if kept.name == OURS { row.at_most(3.0) } else { row })
}
