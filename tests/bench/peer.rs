//! The same death under the supervisors people use today, beside ours.
//!
//! Each is configured as its manual has it for a process that is to be
//! restarted; monit at its shortest cycle. What is not installed is not
//! measured, and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use homeostat_tests::process;
use homeostat_tests::testbox::sweep;
use model_server::moment::Moment;

use crate::repair::{SUCCESSOR, until_life};
use crate::row::{Row, percentile};

/// monit looks at no port for so long after a start. Half a minute, if it is
/// not told otherwise; this much the servers here may take.
pub const MONIT_START_S: u64 = 5;
/// monit takes a cycle or two over each.
const KILLS: usize = 20;

struct Peer {
    name: &'static str,
    start: fn(&Path, &str) -> Result<Command>,
}

const PEERS: &[Peer] = &[
    Peer { name: "supervisord", start: supervisord },
    Peer { name: "monit, cycle 1 s", start: |folder, program| monit(folder, program, "") },
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
pub struct Supervisor {
    child: Child,
    folder: PathBuf,
}

impl Supervisor {
    pub fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{program} is not installed"))?;
        Ok(Self { child, folder: folder.to_owned() })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        sweep(&self.folder);
    }
}

pub fn supervisord(folder: &Path, program: &str) -> Result<Command> {
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
/// `checks` are lines of its own language.
pub fn monit(folder: &Path, program: &str, checks: &str) -> Result<Command> {
    let file = |name: &str| folder.join(name);
    let own = folder.display();
    // Two seconds to end by itself, which is what our own workloads get here.
    let stop = format!(
        "#!/bin/sh\npid=$(cat {own}/w.pid)\nkill $pid\nfor _ in $(seq 20); do\n  \
         kill -0 $pid 2>/dev/null || exit 0\n  sleep 0.1\ndone\nkill -9 $pid\n"
    );
    let config = format!(
        "set daemon 1\nset pidfile {own}/pid\nset idfile {own}/id\nset statefile {own}/state\n\
         check process w with pidfile {own}/w.pid\n  start program = \"{own}/start\" \
         with timeout {MONIT_START_S} seconds\n  \
         stop program = \"{own}/stop\"\n{checks}\n"
    );
    write(&file("start"), 0o755, &format!("#!/bin/sh\n{program} &\necho $! > {own}/w.pid\n"))?;
    write(&file("stop"), 0o755, &stop)?;
    write(&file("monitrc"), 0o700, &config)?;
    let mut command = Command::new("monit");
    command.arg("-I").arg("-c").arg(file("monitrc"));
    Ok(command)
}

pub fn write(file: &Path, mode: u32, text: &str) -> Result<()> {
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
    Ok(())
}
