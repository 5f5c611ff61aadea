//! The same death under the supervisors people use today, beside ours.
//!
//! Each is configured as its manual has it for a process that is to be
//! restarted; monit at its shortest cycle. What is not installed is not
//! measured, and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use homeostat_tests::process;
use homeostat_tests::testbox::sweep;
use model_server::moment::Moment;

use crate::repair::{SUCCESSOR, until_life};
use crate::row::{Row, percentile};

/// monit takes a cycle or two over each.
const KILLS: usize = 20;

struct Peer {
    name: &'static str,
    start: fn(&Path, &str) -> Result<Command>,
}

const PEERS: &[Peer] = &[
    Peer { name: "supervisord", start: supervisord },
    Peer { name: "monit, cycle 1 s", start: monit },
];

pub fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for peer in PEERS {
        let what = |percent| format!("killed → restarted by {}, p{percent}", peer.name);
        match killed(peer) {
            Ok(taken_ms) => rows.extend([50, 99].into_iter().filter_map(|percent| {
                let value = percentile(&taken_ms, percent)?;
                Some(Row::new(what(percent), value, "ms").note(format!("{KILLS} kills")))
            })),
            Err(error) => rows.push(Row::failed(what(50), "ms", format!("{error:#}"))),
        }
    }
    Ok(rows)
}

fn killed(peer: &Peer) -> Result<Vec<f64>> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let log = folder.path().join("lives");
    let own = std::env::current_exe()?;
    let program = format!("{} {SUCCESSOR} {}", own.display(), log.display());
    let _supervisor = Supervisor::start((peer.start)(folder.path(), &program)?, folder.path())?;
    let mut taken_ms = Vec::with_capacity(KILLS);
    let mut life = until_life(&log, 1)?;
    for kill in 0..KILLS {
        // supervisord calls a process started when it has lived for a second.
        std::thread::sleep(Duration::from_millis(1_500));
        let killed = Moment::now();
        process::kill(life.1);
        life = until_life(&log, kill + 2)?;
        taken_ms.push(life.0.saturating_sub(killed.mono_ns) as f64 / 1e6);
    }
    taken_ms.sort_by(f64::total_cmp);
    Ok(taken_ms)
}

/// With all that it started; gone with the value.
struct Supervisor<'f> {
    child: Child,
    folder: &'f Path,
}

impl<'f> Supervisor<'f> {
    fn start(mut command: Command, folder: &'f Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{program} is not installed"))?;
        Ok(Self { child, folder })
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        sweep(self.folder);
    }
}

fn supervisord(folder: &Path, program: &str) -> Result<Command> {
    let config = folder.join("supervisord.conf");
    let own = folder.display();
    fs::write(
        &config,
        format!(
            "[supervisord]\nnodaemon=true\nlogfile={own}/log\npidfile={own}/pid\n\
             childlogdir={own}\n[program:w]\ncommand={program}\nautorestart=true\n"
        ),
    )?;
    let mut command = Command::new("supervisord");
    command.arg("-c").arg(config);
    Ok(command)
}

/// monit starts what goes into the background by itself and leaves a pid file.
fn monit(folder: &Path, program: &str) -> Result<Command> {
    let (config, start) = (folder.join("monitrc"), folder.join("start"));
    let own = folder.display();
    fs::write(&start, format!("#!/bin/sh\n{program} &\necho $! > {own}/w.pid\n"))?;
    fs::write(
        &config,
        format!(
            "set daemon 1\nset pidfile {own}/pid\nset idfile {own}/id\nset statefile {own}/state\n\
             check process w with pidfile {own}/w.pid\n  start program = \"{own}/start\"\n"
        ),
    )?;
    for (file, mode) in [(&config, 0o700), (&start, 0o755)] {
        fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
    }
    let mut command = Command::new("monit");
    command.arg("-I").arg("-c").arg(config);
    Ok(command)
}
