//! Boxes made up: a root file system in a folder, and powers as told.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::cli::page::Colour;
use crate::config::{Config, Machine, parse};

fn powers(uid: u32) -> Powers {
    Powers {
        uid,
        capabilities: if uid == 0 { u64::MAX } else { 0 },
        pidfd: true,
        fork_into_cgroup: true,
        synchronised: Some(true),
    }
}

fn config(more: &str) -> Config {
    let text = format!("[box]\nname = \"b\"\nmode = \"observe\"\n{more}");
    parse(Path::new("/x/homeostat.toml"), &text, &Machine::default()).unwrap()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A box that has everything.
fn rich() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mounts = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let unit = "sys/fs/cgroup/system.slice/homeostat.service";
    for (path, text) in [
        ("proc/self/mountinfo", mounts),
        ("proc/self/cgroup", "0::/system.slice/homeostat.service\n"),
        ("proc/pressure/memory", "some avg10=0.00\n"),
        ("proc/sys/kernel/random/boot_id", "b-1\n"),
        ("dev/kmsg", ""),
        ("sys/class/hwmon/hwmon0/temp1_input", "41000\n"),
        ("sys/class/thermal/thermal_zone0/temp", "41000\n"),
        ("run/systemd/system/x", ""),
    ] {
        put(root.path(), path, text);
    }
    for (file, text) in [
        ("cgroup.procs", ""),
        ("cgroup.kill", ""),
        ("cgroup.freeze", "0"),
        ("cgroup.controllers", "cpu memory pids\n"),
    ] {
        put(root.path(), &format!("{unit}/{file}"), text);
    }
    root
}

fn verdict(checks: &[Check], name: &str) -> Verdict {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check is called {name:?} in {checks:#?}")).verdict
}

#[test]
fn a_box_that_has_everything_lacks_nothing() {
    let root = rich();
    let checks = kernel::checks(root.path(), &powers(0), &config(""));
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
    assert_eq!(checks.len(), 13, "{checks:#?}");
}

#[test]
fn each_thing_that_is_taken_away_is_named_with_its_cost_and_its_remedy() {
    let unit = "sys/fs/cgroup/system.slice/homeostat.service";
    for (path, name, expected) in [
        ("proc/self/mountinfo".to_owned(), "cgroup", Verdict::Lacks),
        (format!("{unit}/cgroup.kill"), "tree kill", Verdict::Lacks),
        (format!("{unit}/cgroup.freeze"), "freeze", Verdict::Lacks),
        (format!("{unit}/cgroup.controllers"), "memory limit", Verdict::Lacks),
        ("proc/pressure".into(), "pressure", Verdict::Lacks),
        ("dev/kmsg".into(), "kernel log", Verdict::Lacks),
        ("sys/class".into(), "temperature", Verdict::Lacks),
        ("run/systemd".into(), "systemd", Verdict::Lacks),
        ("proc/sys/kernel/random/boot_id".into(), "boot id", Verdict::Cannot),
    ] {
        let root = rich();
        let whole: PathBuf = root.path().join(&path);
        if whole.is_dir() {
            fs::remove_dir_all(&whole).unwrap();
        } else {
            fs::remove_file(&whole).unwrap();
        }
        let checks = kernel::checks(root.path(), &powers(0), &config(""));
        assert_eq!(verdict(&checks, name), expected, "{path}");
        let ill: Vec<_> = checks.iter().filter(|it| it.verdict != Verdict::Ok).collect();
        assert_eq!(ill.len(), 1, "{path}: {ill:#?}");
        assert!(!ill[0].costs.is_empty() && !ill[0].remedy.is_empty(), "{ill:#?}");
    }
}

#[test]
fn what_the_kernel_cannot_is_told_apart_from_what_it_does_not_say() {
    let root = rich();
    let old = Powers { pidfd: false, fork_into_cgroup: false, ..powers(0) };
    let checks = kernel::checks(root.path(), &old, &config(""));
    for name in ["pidfd", "birth in cgroup"] {
        assert_eq!(verdict(&checks, name), Verdict::Lacks, "{name}");
    }
    for (synchronised, word) in [(Some(false), "nobody"), (None, "does not say")] {
        let powers = Powers { synchronised, ..powers(0) };
        let checks = kernel::checks(root.path(), &powers, &config(""));
        let clock = checks.iter().find(|check| check.name == "clock").unwrap();
        assert!(clock.verdict == Verdict::Lacks && clock.found.contains(word), "{clock:?}");
    }
}

#[test]
fn an_ordinary_user_lacks_and_cannot_run_what_is_to_run_as_another() {
    let root = rich();
    let workload = |user: &str| {
        config(&format!("[[workload]]\nname = \"w\"\ncommand = [\"/bin/true\"]\n{user}"))
    };
    let told =
        |config: &Config, uid| verdict(&kernel::checks(root.path(), &powers(uid), config), "user");
    assert_eq!(told(&workload(""), 1000), Verdict::Lacks);
    assert_eq!(told(&workload("user = \"1000\""), 1000), Verdict::Lacks);
    assert_eq!(told(&workload("user = \"video\""), 1000), Verdict::Cannot);
    assert_eq!(told(&workload("user = \"video\""), 0), Verdict::Ok);
}

#[test]
fn a_directory_that_is_a_file_or_too_small_is_told() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "file", "");
    let paths = |state: &str, max: &str| {
        let state = dir.path().join(state);
        let run = dir.path().join("run");
        config(&format!("[paths]\nstate = {state:?}\nrun = {run:?}\n[store]\nmax = \"{max}\"\n"))
    };
    let told = |state, max| place::directories(&paths(state, max))[0].verdict;
    assert_eq!(told("new/and/deeper", "4MiB"), Verdict::Ok);
    assert_eq!(told("file", "4MiB"), Verdict::Cannot);
    assert_eq!(told("file/below", "4MiB"), Verdict::Cannot);
    assert!(!dir.path().join("new").exists(), "a look makes nothing");
}

#[test]
fn a_program_that_is_not_ours_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let told = || program::checks(dir.path())[0].clone();
    assert!(told().found.contains("No such file"), "{:?}", told());
    std::os::unix::fs::symlink("/bin/true", dir.path().join("homeostat-shim")).unwrap();
    assert!(told().found.contains("ends with exit status: 0"), "{:?}", told());
}

#[test]
fn a_file_that_is_wrong_is_impossible_and_one_that_is_not_there_is_lacking() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("homeostat.toml");
    assert_eq!(place::configuration(&file, Named::No).1.verdict, Verdict::Lacks);
    assert_eq!(place::configuration(&file, Named::Yes).1.verdict, Verdict::Cannot);
    fs::write(&file, "[box]\nmode = \"dance\"\n").unwrap();
    let (config, check) = place::configuration(&file, Named::No);
    assert!(check.verdict == Verdict::Cannot && check.found.contains("1 mistake"), "{check:?}");
    assert_eq!(config.identity.name, "box");
}

#[test]
fn the_page_says_first_whether_anything_is_impossible() {
    let told = |checks: Vec<Check>| {
        let diagnosis = Diagnosis { file: "/f".into(), checks };
        let mut page = Page::new(Colour::Off);
        draw(&mut page, &diagnosis);
        (page.text(), exit(&diagnosis))
    };
    let ok = Check::ok("clock", "it is synchronised");
    let lacks = Check::lacks("pressure", "none", "it is not known", "boot with psi=1");
    let cannot = Check::cannot("run", "/run: full", "no start", "free some");
    let (text, code) = told(vec![ok.clone()]);
    assert!(text.starts_with("this box can do everything"), "{text}");
    assert_eq!(code, Exit::Fine);
    let (text, code) = told(vec![ok, lacks.clone()]);
    assert_eq!(
        text,
        "1 thing lacking; the daemon does without\n  ok     clock     it is synchronised\n  \
         lacks  pressure  none\n                   costs: it is not known\n                   \
         to do: boot with psi=1\n"
    );
    assert_eq!(code, Exit::Fine);
    assert_eq!(told(vec![lacks, cannot]).1, Exit::Ill);
}

#[test]
fn what_may_be_done_to_the_box_is_looked_for_and_not_done() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "sys/class/net/eth0/flags", "0x1003\n");
    fs::create_dir(root.path().join("logs")).unwrap();
    let dir = root.path().display();
    let text = format!(
        "[source]\nsys_root = \"{dir}/sys\"\n[reboot]\nallow = true\ncommand = [\"{dir}/reboot\"]\n\
         [[reclaim]]\nname = \"logs\"\ndir = \"{dir}/logs\"\nevict = \"*\"\n\
         [[reclaim]]\nname = \"gone\"\ndir = \"{dir}/gone\"\nevict = \"*\"\n\
         [[link]]\nname = \"eth0\"\nbounce = true\n\
         [[action]]\nname = \"mend\"\ntargets = [\"box\"]\ncommand = [\"/bin/true\"]\n\
         undo = [\"{dir}/undo\"]\n\
         [[workload]]\nname = \"llm\"\nkind = \"systemd\"\nunit = \"llm.service\"\n\
         [systemd]\naddress = \"unix:path={dir}/private\"\n"
    );
    let checks = hand::checks(&config(&text));
    for (name, expected) in [
        ("action command.mend", Verdict::Ok),
        ("action command.mend undo", Verdict::Cannot),
        ("action system.reboot", Verdict::Cannot),
        ("reclaim logs", Verdict::Ok),
        ("reclaim gone", Verdict::Cannot),
        ("bounce eth0", Verdict::Ok),
        ("systemd", Verdict::Cannot),
    ] {
        assert_eq!(verdict(&checks, name), expected, "{name}");
    }
    assert_eq!(checks.len(), 7, "{checks:#?}");
}

#[test]
fn disks_that_nobody_asks_and_a_program_or_a_power_that_is_missing_are_said() {
    let root = rich();
    let health = |uid: u32, more: &str| {
        let checks = kernel::checks(root.path(), &powers(uid), &config(more));
        checks.into_iter().find(|check| check.name == "disk health")
    };
    assert_eq!(health(0, ""), None);
    std::fs::create_dir_all(root.path().join("sys/block/nvme0n1")).unwrap();
    let unasked = health(0, "").unwrap();
    assert_eq!((unasked.verdict, unasked.found.as_str()), (Verdict::Lacks, "nvme0n1 not asked"));

    let smart = |program: &str| format!("[source]\nsmart = true\nsmartctl = \"{program}\"\n");
    let missing = health(0, &smart("/nowhere/smartctl")).unwrap();
    assert!(missing.verdict == Verdict::Cannot && missing.found.contains("/nowhere/smartctl"));
    let powerless = health(1_000, &smart("/bin/sh")).unwrap();
    assert!(powerless.verdict == Verdict::Cannot && powerless.found.contains("CAP_SYS_RAWIO"));
    assert_eq!(health(0, &smart("/bin/sh")).unwrap().verdict, Verdict::Ok);
}

#[test]
fn a_broker_that_listens_is_well_and_one_that_does_not_is_lacking() {
    assert_eq!(bus::checks(&config("")), None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let broker = config(&format!("[bus]\naddress = \"{address}\"\n"));
    assert_eq!(bus::checks(&broker).unwrap().verdict, Verdict::Ok);
    drop(listener);
    let away = bus::checks(&broker).unwrap();
    assert!(away.verdict == Verdict::Lacks && away.found.contains("refused"), "{away:?}");
}
