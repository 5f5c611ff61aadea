use std::path::Path;
use std::time::Instant;

use super::*;
use crate::program::PATH;

/// For what is expected to end by itself.
const LONG: Duration = Duration::from_secs(20);

struct Shell {
    probe: CommandProbe,
    stop: watch::Sender<bool>,
}

fn shell(script: &str) -> Shell {
    command(&["/bin/sh", "-c", script])
}

fn command(words: &[&str]) -> Shell {
    let (stop, alive) = watch::channel(false);
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
    Shell { probe: CommandProbe::new(&words, &env, &alive), stop }
}

async fn ask(script: &str) -> Verdict {
    shell(script).probe.ask(LONG).await
}

/// Whether the process is there and not only waiting to be collected.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

/// Pids that a script wrote, one in a line.
fn written(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exit_codes_mean_what_the_convention_says() {
    for (code, good) in
        [(0, Some(true)), (1, Some(true)), (2, Some(false)), (3, None), (4, None), (127, None)]
    {
        let verdict = ask(&format!("exit {code}")).await;
        assert_eq!(verdict.good, good, "exit {code}: {}", verdict.detail);
    }
    assert_eq!(ask("kill -9 $$").await.good, None);
}

#[tokio::test]
async fn the_first_line_is_the_detail_with_what_cannot_be_shown_taken_out() {
    let verdict = ask("printf '\\n DISK OK\\033[1m - 7%% | /=7%%;80;90\\nmore\\n'").await;
    assert_eq!(verdict.detail, "exit 0: DISK OK [1m - 7% | /=7%;80;90");
    assert_eq!((verdict.good, verdict.numbers), (Some(true), vec![("/".to_owned(), 0.07)]));
    let verdict = ask("echo lost >&2; exit 2").await;
    assert_eq!(verdict, Verdict::bad("exit 2: lost"));
    let verdict = ask("head -c 100000 /dev/zero | tr '\\0' x").await;
    assert_eq!(verdict.detail.len(), "exit 0: ".len() + DETAIL_CHARS_MAX);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_no_reading() {
    let verdict = command(&["/no/such/program"]).probe.ask(LONG).await;
    assert_eq!(verdict.good, None);
    assert!(verdict.detail.contains("cannot be run"), "{}", verdict.detail);
}

#[tokio::test]
async fn the_environment_and_the_folder_are_not_ours() {
    let verdict = ask("tr '\\0' ' ' </proc/$$/environ").await;
    let expected = format!("exit 0: GREETING=hello LANG=C PATH={PATH}");
    assert_eq!(verdict, Verdict::good(expected));
    let verdict = ask("test $PWD = /").await;
    assert_eq!(verdict.good, Some(true));
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script =
        format!("trap '' TERM; sleep 1000 & echo $! >>{0}; echo $$ >>{0}; wait", pids.display());
    let mut shell = shell(&script);
    // Long enough for a busy machine to start it, and over soon enough.
    let verdict = shell.probe.ask(Duration::from_secs(2)).await;
    assert_eq!(verdict.good, Some(false));
    assert!(verdict.detail.contains("killed"), "{}", verdict.detail);
    let pids = written(&pids);
    assert_eq!(pids.len(), 2);
    until("their end", || !pids.iter().any(|pid| runs(pid))).await;
}

#[tokio::test]
async fn a_command_that_forks_and_exits_is_judged_at_once_and_its_rest_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    // The one left behind holds our end of the output open.
    let verdict = ask(&format!("sleep 1000 & echo $! >{}; echo fine", pids.display())).await;
    assert_eq!(verdict, Verdict::good("exit 0: fine"));
    let pids = written(&pids);
    until("its end", || !runs(&pids[0])).await;
}

#[tokio::test]
async fn a_command_that_writes_without_end_is_bounded_in_time() {
    let mut yes = command(&["/usr/bin/yes"]);
    assert_eq!(yes.probe.ask(Duration::from_millis(200)).await.good, Some(false));
}

#[tokio::test]
async fn a_cancelled_command_is_killed_and_its_thread_ends() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let Shell { mut probe, stop } =
        shell(&format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", pids.display()));
    tokio::select! {
        verdict = probe.ask(LONG) => panic!("{verdict:?}"),
        () = until("its start", || pids.exists()) => {}
    }
    drop(probe);
    tokio::time::timeout(LONG, stop.closed()).await.expect("its thread ends");
    assert!(!runs(&written(&pids)[0]));
}
