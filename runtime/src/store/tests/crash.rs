//! Killed with -9: a child of this very test binary writes until it dies.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const DIR: &str = "HOMEOSTAT_TEST_STORE";

/// Not a test by itself: what the killed process does.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let config = StoreConfig { max_bytes: 4 << 20, ..config() };
    let mut store = Store::open(Path::new(&dir), &config, 1).unwrap().store;
    let mut journal = store.journal();
    let durable = journal.durable();
    for n in 0.. {
        let mut last = 0;
        for _ in 0..1 + n % 7 {
            last = journal.append(at(n), audit()).seq;
            journal.append(at(n), telemetry(&"z".repeat(300)));
        }
        store.checkpoints().put("p", &n.to_le_bytes()).unwrap();
        let now = wait_durable(&durable, last);
        println!("durable {}", now.seq);
    }
}

fn spawn(dir: &Path, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::tests::crash::child", "--ignored", "--nocapture"]);
    command.env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(name) = failpoint {
        command.env("HOMEOSTAT_FAILPOINT", name);
    }
    command.spawn().unwrap()
}

/// Lets it run until it has said `lines` things, kills it, and gives the last
/// number it called durable.
fn run_and_kill(dir: &Path, failpoint: Option<&str>, lines: usize) -> Seq {
    let mut child = spawn(dir, failpoint);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut durable = 0;
    let mut seen = 0;
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(seq) = line.trim().strip_prefix("durable ") {
            durable = seq.parse().unwrap();
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    durable
}

fn check(dir: &Path, durable: Seq, what: &str) {
    let config = StoreConfig { max_bytes: 4 << 20, ..config() };
    let opened = Store::open(dir, &config, 1).unwrap();
    assert_eq!(opened.conditions, [], "{what}: a crash is no damage");
    let records = replay(&opened.store.reader());
    let last = records.last().map_or(0, |record| record.seq);
    assert!(last >= durable, "{what}: {durable} was durable, the journal ends at {last}");
    let audits = records.iter().filter(|record| matches!(record.event, Event::Paused { .. }));
    assert!(audits.count() as u64 >= durable / 2, "{what}");
    opened.store.close();
}

#[test]
fn what_was_called_durable_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=12 {
        let durable = run_and_kill(dir.path(), None, round * 17 % 90 + 1);
        assert!(durable > 0);
        check(dir.path(), durable, &format!("round {round}"));
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn what_was_called_durable_survives_a_kill_around_the_commit() {
    for point in ["journal.before-commit", "journal.after-commit"] {
        let dir = tempfile::tempdir().unwrap();
        for nth in [1, 2, 9, 40] {
            let durable = run_and_kill(dir.path(), Some(&format!("{point}:{nth}")), usize::MAX);
            check(dir.path(), durable, &format!("{point}:{nth}"));
        }
    }
}
