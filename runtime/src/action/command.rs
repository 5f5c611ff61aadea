//! An operator's own commands, as the box's file declares them.
//!
//! Invariant: a parameter fills a place within one argument, is never split and
//! read by no shell. While a command of an attempt runs, it holds that attempt's
//! lock, so a daemon that comes after one that was killed waits for it instead
//! of believing that nothing happens.

mod holder;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

use crate::config::{CommandConfig, placeholders};
use crate::model::catalogue::UNDO;
use crate::model::frame::attr;
use crate::model::{AttemptId, Attrs, Outcome, TargetId};
use crate::program::{End, Ended, Heard, Program};

/// A question to the box is answered within this, or it is no answer.
const ASK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(200);
/// For what a SIGKILL has been sent to.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// What of its output is told.
const TOLD_CHARS_MAX: usize = 200;

pub struct Commands {
    configs: BTreeMap<String, CommandConfig>,
    /// Locks of the attempts that run.
    dir: PathBuf,
    alive: watch::Receiver<bool>,
}

/// What is to be done to what.
#[derive(Clone, Copy)]
pub struct Order<'o> {
    pub attempt: AttemptId,
    /// Its name in the catalogue.
    pub action: &'o str,
    pub target: &'o TargetId,
    pub params: &'o Attrs,
}

impl Commands {
    pub fn new(configs: Vec<CommandConfig>, dir: PathBuf, alive: watch::Receiver<bool>) -> Self {
        let configs = configs.into_iter().map(|it| (it.name.clone(), it)).collect();
        Self { configs, dir, alive }
    }

    /// The entry behind a name of the catalogue, and whether it is to be taken back.
    fn find(&self, action: &str) -> Option<(&CommandConfig, bool)> {
        let undone = || Some((self.configs.get(action.strip_suffix(UNDO)?)?, true));
        self.configs.get(action).map(|it| (it, false)).or_else(undone)
    }

    pub fn knows(&self, action: &str) -> bool {
        self.find(action).is_some()
    }

    pub async fn run(&self, order: Order<'_>, limit: Duration) -> Outcome {
        let Some((config, undo)) = self.find(order.action) else {
            return failed(format!("no hands for action {}", order.action));
        };
        let precondition = config.precondition.as_ref().filter(|_| !undo);
        if let Some(precondition) = precondition {
            match self.ask(config, precondition, order).await {
                Ok(ended) if ended.status.success() => {}
                Ok(ended) => {
                    let detail = format!("its precondition does not hold: {}", told(&ended));
                    return Outcome::Lapsed { detail };
                }
                Err(why) => {
                    let detail = format!("its precondition cannot be looked at: {why}");
                    return Outcome::Lapsed { detail };
                }
            }
        }
        let words = if undo { config.undo.as_ref() } else { Some(&config.command) };
        let Some(words) = words else { return failed("it cannot be taken back".into()) };
        let lock = match self.lock(order.attempt) {
            Ok(lock) => lock,
            Err(error) => {
                return failed(format!("no lock in {}: {error}", self.dir.display()));
            }
        };
        let output = match self.output(order.attempt) {
            Ok(output) => output,
            Err(error) => {
                return failed(format!("no output in {}: {error}", self.dir.display()));
            }
        };
        let program = self.program(config, words, order).reads(lock).outlives(output);
        let ended = program.run(limit).await;
        // It is over: the lock says nothing any more.
        self.forget(order.attempt);
        match ended {
            Ok(ended) if ended.end == End::TimedOut => {
                failed(format!("it did not end within {} ms and was killed", limit.as_millis()))
            }
            Ok(ended) if ended.status.success() => Outcome::Done { detail: told(&ended) },
            Ok(ended) => failed(told(&ended)),
            Err(why) => failed(why),
        }
    }

    /// Looks for what a daemon that was killed left of it.
    pub async fn observe(&self, order: Order<'_>, limit: Duration) -> Outcome {
        let Some((config, undo)) = self.find(order.action) else {
            return failed(format!("this box knows no action {} any more", order.action));
        };
        if tokio::time::timeout(limit, self.wait_for_its_end(order.attempt)).await.is_err() {
            // It had its time, from this daemon alone.
            let lock = self.lock_path(order.attempt);
            let killed = tokio::task::spawn_blocking(move || holder::kill(&lock)).await;
            let over = self.wait_for_its_end(order.attempt);
            if tokio::time::timeout(KILLED_WITHIN, over).await.is_err() {
                let count = killed.unwrap_or(0);
                return failed(format!("it does not end, and {count} processes were killed"));
            }
            return failed(format!("it was killed: it ran for {} ms more", limit.as_millis()));
        }
        let Some(observe) = config.observe.as_ref().filter(|_| !undo) else {
            // Saying that nothing was done would do it twice.
            return Outcome::Done { detail: "its end was not seen; its proof tells".into() };
        };
        match self.ask(config, observe, order).await {
            Ok(ended) => match ended.status.code() {
                Some(0) => Outcome::Done { detail: format!("it was done: {}", told(&ended)) },
                Some(1) => failed(format!("it was not done: {}", told(&ended))),
                _ => Outcome::Done { detail: format!("its proof tells: {}", told(&ended)) },
            },
            Err(why) => Outcome::Done { detail: format!("its proof tells: {why}") },
        }
    }

    async fn ask(
        &self,
        config: &CommandConfig,
        words: &[String],
        order: Order<'_>,
    ) -> Result<Ended, String> {
        let ended = self.program(config, words, order).run(ASK_LIMIT).await?;
        match ended.end {
            End::Exited => Ok(ended),
            End::TimedOut => Err(format!("no answer within {} s", ASK_LIMIT.as_secs())),
            End::Cancelled => Err("the daemon is stopping".into()),
        }
    }

    fn program(&self, config: &CommandConfig, words: &[String], order: Order<'_>) -> Program {
        let words: Vec<String> = words.iter().map(|word| filled(word, config, order)).collect();
        Program::new(&words, &config.env, Heard::OutputAndErrors, &self.alive)
    }

    /// Where it writes: whoever asked for it may be gone before it is over.
    fn output(&self, attempt: AttemptId) -> io::Result<File> {
        let path = self.dir.join(format!("{attempt}.output"));
        OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
    }

    fn forget(&self, attempt: AttemptId) {
        for end in ["lock", "output"] {
            let _ = fs::remove_file(self.dir.join(format!("{attempt}.{end}")));
        }
    }

    fn lock_path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.lock"))
    }

    fn lock(&self, attempt: AttemptId) -> io::Result<File> {
        fs::create_dir_all(&self.dir)?;
        let path = self.lock_path(attempt);
        let file =
            OpenOptions::new().create(true).truncate(true).write(true).read(true).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// None runs when nobody holds its lock.
    async fn wait_for_its_end(&self, attempt: AttemptId) {
        let path = self.lock_path(attempt);
        while let Ok(file) = File::open(&path) {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.forget(attempt);
                return;
            }
            tokio::time::sleep(LOCK_LOOK_EVERY).await;
        }
    }
}

/// A word with its parameters in their places.
fn filled(word: &str, config: &CommandConfig, order: Order<'_>) -> String {
    let mut text = String::new();
    let mut rest = word;
    // Left to right and once: what a parameter says is never read again.
    for name in placeholders(word) {
        let place = format!("{{{name}}}");
        let value = match name {
            "target" => Some(order.target.name().to_owned()),
            name => attr(order.params, name)
                .or_else(|| config.defaults.get(name))
                .map(ToString::to_string),
        };
        let (Some(value), Some((before, after))) = (value, rest.split_once(&place)) else {
            continue;
        };
        text.push_str(before);
        text.push_str(&value);
        rest = after;
    }
    text + rest
}

fn failed(detail: String) -> Outcome {
    Outcome::Failed { detail }
}

/// How it ended, and the last thing that it said.
fn told(ended: &Ended) -> String {
    let output = String::from_utf8_lossy(&ended.output);
    let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match last {
        Some(line) => {
            let line: String = line.chars().take(TOLD_CHARS_MAX).collect();
            format!("{}: {line}", ended.status)
        }
        None => ended.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;
    use crate::model::Value;

    fn config(command: &[&str]) -> CommandConfig {
        CommandConfig {
            name: "command.resize".into(),
            command: command.iter().map(|it| (*it).to_owned()).collect(),
            precondition: None,
            observe: None,
            undo: None,
            env: BTreeMap::new(),
            defaults: BTreeMap::from([("size".into(), Value::Int(3))]),
        }
    }

    struct Bench {
        commands: Commands,
        target: TargetId,
        params: Attrs,
        _closing: watch::Sender<bool>,
        dir: tempfile::TempDir,
    }

    impl Bench {
        fn new(config: CommandConfig, params: Attrs) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (closing, closed) = watch::channel(false);
            let commands = Commands::new(vec![config], dir.path().join("actions"), closed);
            let target = TargetId::workload("llm");
            Self { commands, target, params, _closing: closing, dir }
        }

        fn order<'b>(&'b self, action: &'b str) -> Order<'b> {
            let attempt = AttemptId { birth: 1, seq: 2 };
            Order { attempt, action, target: &self.target, params: &self.params }
        }

        async fn run(&self, action: &str) -> Outcome {
            self.commands.run(self.order(action), Duration::from_secs(20)).await
        }

        async fn observe(&self) -> Outcome {
            self.commands.observe(self.order("command.resize"), Duration::from_secs(20)).await
        }
    }

    fn detail(outcome: &Outcome) -> (&'static str, &str) {
        match outcome {
            Outcome::Done { detail } => ("done", detail),
            Outcome::Failed { detail } => ("failed", detail),
            Outcome::Lapsed { detail } => ("lapsed", detail),
        }
    }

    #[tokio::test]
    async fn a_parameter_stays_within_its_argument() {
        let words = ["/usr/bin/printf", "%s|", "{target}", "--how={how}", "{size}", "{{.State}}"];
        let params = vec![("how".into(), Value::text("a b; {size} $(reboot)"))];
        let bench = Bench::new(config(&words), params);
        let outcome = bench.run("command.resize").await;
        let said = "exit status: 0: llm|--how=a b; {size} $(reboot)|3|{{.State}}|";
        assert_eq!(detail(&outcome), ("done", said));
    }

    #[tokio::test]
    async fn how_it_ended_is_how_the_action_did() {
        let fails = config(&["/bin/sh", "-c", "echo first; echo no such model >&2; exit 4"]);
        let outcome = Bench::new(fails, vec![]).run("command.resize").await;
        assert_eq!(detail(&outcome), ("failed", "exit status: 4: no such model"));
        let missing = Bench::new(config(&["/nowhere/x"]), vec![]).run("command.resize").await;
        assert_eq!(detail(&missing).0, "failed");
        let other = Bench::new(config(&["/bin/true"]), vec![]).run("command.other").await;
        assert_eq!(detail(&other), ("failed", "no hands for action command.other"));
    }

    #[tokio::test]
    async fn without_its_precondition_nothing_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let touched = dir.path().join("touched");
        let mut touches = config(&["/usr/bin/touch", touched.to_str().unwrap()]);
        touches.precondition =
            Some(["/bin/sh", "-c", "echo it is loading; exit 1"].map(str::to_owned).to_vec());
        let outcome = Bench::new(touches, vec![]).run("command.resize").await;
        let why = "its precondition does not hold: exit status: 1: it is loading";
        assert_eq!(detail(&outcome), ("lapsed", why));
        assert!(!touched.exists());
    }

    #[tokio::test]
    async fn what_was_done_is_taken_back_by_the_undo() {
        let mut config = config(&["/bin/false"]);
        config.undo = Some(["/bin/echo", "back to {size}"].map(str::to_owned).to_vec());
        let outcome = Bench::new(config, vec![]).run("command.resize.undo").await;
        assert_eq!(detail(&outcome), ("done", "exit status: 0: back to 3"));
    }

    #[tokio::test]
    async fn what_a_crash_hid_is_looked_for_and_not_done_again() {
        for (script, expected) in [
            (Some("exit 0"), ("done", "it was done: exit status: 0")),
            (Some("exit 1"), ("failed", "it was not done: exit status: 1")),
            (Some("exit 3"), ("done", "its proof tells: exit status: 3")),
            (None, ("done", "its end was not seen; its proof tells")),
        ] {
            let mut config = config(&["/bin/false"]);
            config.observe =
                script.map(|script| ["/bin/sh", "-c", script].map(str::to_owned).to_vec());
            let outcome = Bench::new(config, vec![]).observe().await;
            assert_eq!(detail(&outcome), expected);
        }
    }

    #[tokio::test]
    async fn a_command_that_outlived_its_daemon_is_waited_for() {
        let bench = Bench::new(config(&["/bin/false"]), vec![]);
        let lock = bench.commands.lock(AttemptId { birth: 1, seq: 2 }).unwrap();
        let outlives = std::process::Command::new("/bin/sleep").arg("60").stdin(lock).spawn();
        let mut outlives = outlives.unwrap();
        // Its standard input is the lock.
        let observed = bench.observe();
        tokio::pin!(observed);
        let early = tokio::time::timeout(Duration::from_millis(500), &mut observed).await;
        outlives.kill().unwrap();
        outlives.wait().unwrap();
        if let Ok(outcome) = early {
            panic!("it did not wait: {outcome:?}");
        }
        assert_eq!(detail(&observed.await), ("done", "its end was not seen; its proof tells"));
        assert_eq!(fs::read_dir(bench.dir.path().join("actions")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_running_is_ended_when_its_time_is_over() {
        let bench = Bench::new(config(&["/bin/true"]), vec![]);
        let order = bench.order("command.resize");
        let lock = bench.commands.lock(order.attempt).unwrap();
        // Neither the shell nor what it runs has it as standard input any more.
        let script = ["-c", "/bin/sleep 600 </dev/null; /bin/true"];
        // In one breath: a command that lives on holds the lock as well.
        let left =
            std::process::Command::new("/bin/sh").args(script).stdin(lock).process_group(0).spawn();
        let mut left = left.unwrap();
        let limit = Duration::from_millis(300);
        let outcome = bench.commands.observe(order, limit).await;
        assert_eq!(detail(&outcome), ("failed", "it was killed: it ran for 300 ms more"));
        assert!(!left.wait().unwrap().success());
        assert!(!bench.commands.lock_path(order.attempt).exists());
    }

    #[tokio::test]
    async fn nothing_of_a_command_that_is_over_is_left_in_its_folder() {
        let bench = Bench::new(config(&["/bin/sh", "-c", "echo one; echo two >&2"]), vec![]);
        assert_eq!(detail(&bench.run("command.resize").await), ("done", "exit status: 0: two"));
        assert_eq!(fs::read_dir(bench.dir.path().join("actions")).unwrap().count(), 0);
    }
}
