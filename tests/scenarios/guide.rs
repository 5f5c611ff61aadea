//! The author's guide, typed as it stands: from nothing to a signed detector
//! that runs in shadow on a box.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostat_tests::wait::{self, Seen};
use homeostat_tests::{PATIENCE, Plan, TestBox, program};
use serde_json::json;

const GUIDE: &str = include_str!("../../sdk/README.md");

/// The commands of its shell blocks, in their order.
fn commands() -> VecDeque<&'static str> {
    let blocks = GUIDE.split("```sh\n").skip(1);
    let texts = blocks.filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    texts.flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect()
}

/// Somebody at a shell.
struct Author {
    dir: PathBuf,
    /// Of the box, once there is one.
    socket: Option<PathBuf>,
}

impl Author {
    fn shell(&self, line: &str) -> Command {
        let programs = program::program("homeostat");
        let programs = programs.parent().expect("a program lies in a folder").display();
        let path = std::env::var("PATH").expect("a shell has a PATH");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(&self.dir)
            .env("PATH", format!("{programs}:{path}"))
            .envs(self.socket.iter().map(|socket| ("HOMEOSTAT_SOCKET", socket)))
            // What was built once for these stories serves the next.
            .env("CARGO_TARGET_DIR", program::target().join("author"))
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("RUSTFLAGS");
        shell
    }

    /// Types a line, and gives what it printed.
    #[track_caller]
    fn types(&mut self, line: &str) -> String {
        if let Some(dir) = line.strip_prefix("cd ") {
            self.dir.push(dir);
            return String::new();
        }
        let output = self.shell(line).output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "$ {line}\n{said}{wrong}");
        said
    }
}

/// A box that trusts who made this key, and whose level is above every limit.
fn a_box(printed: &str) -> TestBox {
    let value = |key: &str| -> String {
        let line = printed.lines().find_map(|it| it.strip_prefix(key));
        line.expect("it is printed").trim_matches([' ', '=', '"']).to_owned()
    };
    let publisher = json!({ "name": value("name"), "key": value("key") });
    Plan::bare()
        .with(|settings| {
            settings.push("trust.publishers", publisher).push(
                "sensor",
                json!({
                    "name": "level", "unit": "1", "kind": "command",
                    "command": ["/bin/echo", "95"], "period_ms": 200,
                }),
            );
        })
        .raise()
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut house = None;
    let mut author = Author { dir: folder.path().to_owned(), socket: None };
    let mut commands = commands();
    assert!(commands.len() >= 15, "the guide has its commands: {commands:?}");
    while let Some(line) = commands.pop_front() {
        let said = author.types(line);
        if line.contains("homeostat key new") {
            let raised = a_box(&said);
            author.socket = Some(raised.folder().join("socket"));
            house = Some(raised);
        }
        if line.contains("plugin install") {
            assert!(said.contains("runs in shadow for 86400 s"), "{said}");
            let house = house.as_ref().expect("the key was made before");
            until_it_says_so(&mut author, house);
        }
        if line.contains("--bless") {
            assert!(said.contains("too-hot.high of box"), "{said}");
            assert!(is_there(&author.dir, "golden/today.jsonl"));
        }
    }
    let house = house.expect("a box was raised");
    let view = house.view();
    assert!(view.incidents.is_empty(), "nothing followed: {:?}", view.incidents);
    assert!(view.plugins.is_empty(), "it was removed: {:?}", view.plugins);
    house.check();
}

fn until_it_says_so(author: &mut Author, house: &TestBox) {
    wait::wait_until(PATIENCE, "the shadow to say what is wrong", || {
        let list = author.types("homeostat plugin list");
        let says = list.contains("too-hot.high") && list.contains("in shadow");
        Seen::when(says, || format!("{list}\n{}", house.log_text()))
    });
}

fn is_there(dir: &Path, name: &str) -> bool {
    fs::metadata(dir.join(name)).is_ok_and(|it| it.len() > 0)
}

/// It builds, and cargo may wait for another story that does.
const BUILD: Duration = Duration::from_secs(240);

#[track_caller]
fn until_shadow_says(house: &TestBox, words: &str, log: &Path) {
    wait::wait_until(BUILD, &format!("{words:?} in shadow"), || {
        let view = house.view();
        let findings = view.plugins.iter().flat_map(|it| &it.shadow_findings);
        let said: Vec<_> = findings.map(|it| it.message.clone()).collect();
        let says = said.iter().any(|it| it.contains(words));
        Seen::when(says, || format!("{said:?}\n{}", fs::read_to_string(log).unwrap_or_default()))
    });
}

#[test]
fn a_change_that_is_saved_runs_on_the_box_a_moment_later() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut author = Author { dir: folder.path().to_owned(), socket: None };
    author.types("homeostat plugin new too-warm --kind detector");
    author.types("cd too-warm");
    let house = a_box(&author.types("homeostat key new --name acme --out acme.key"));
    author.socket = Some(house.folder().join("socket"));
    let log = house.folder().join("dev.log");
    let out = fs::File::create(&log).expect("the story's folder can be written");
    let mut dev = author
        .shell("exec homeostat plugin dev --key acme.key")
        .stdout(out.try_clone().expect("a file has many handles"))
        .stderr(out)
        .spawn()
        .expect("it can be started");
    until_shadow_says(&house, "is above 90", &log);

    // What it says is in its recording as well, and that is held to.
    let source = author.dir.join("src/lib.rs");
    for file in [author.dir.join("golden/first.jsonl"), source.clone()] {
        let text = fs::read_to_string(&file).expect("the scaffold wrote it");
        fs::write(&file, text.replace("is above", "is far above")).expect("it can be written");
    }
    until_shadow_says(&house, "is far above 90", &log);

    // What does not build changes nothing.
    let before = house.now();
    fs::write(&source, "fn broken(").expect("it can be written");
    wait::wait_until(BUILD, "the build to fail", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        Seen::when(log.contains("what ran before goes on"), || log)
    });
    until_shadow_says(&house, "is far above 90", &log);
    let exchanged = |record: &homeostat::model::Record| {
        record.seq > before
            && matches!(record.event, homeostat::model::Event::PluginInstalled { .. })
    };
    assert!(!house.journal().iter().any(exchanged));
    dev.kill().expect("it runs");
    dev.wait().expect("it ends");
    let said = fs::read_to_string(&log).expect("it was written");
    assert!(said.contains("raised   too-warm.high of box"), "{said}");
    house.check();
}
