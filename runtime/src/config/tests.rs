//! The file's mistakes, one row each, and what a file means.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::model::TargetId;

mod shown;
mod source;
mod syntax;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const DIGEST: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";

fn machine() -> Machine {
    Machine {
        hostname: "Press-7.local".into(),
        programs: PathBuf::from("/usr/lib/homeostat"),
        users: BTreeMap::from([("root".into(), 0), ("anna".into(), 1000)]),
        groups: BTreeMap::from([("operators".into(), 50)]),
    }
}

fn read(text: &str) -> Result<Config, Mistakes> {
    parse(Path::new("/etc/homeostat/box.toml"), text, &machine())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}\nin\n{text}"))
}

/// Each mistake in one line, the hint behind a bar.
fn mistakes(text: &str) -> Vec<String> {
    let Err(mistakes) = read(text) else { panic!("no mistake is found in\n{text}") };
    let one = |m: &Mistake| {
        let (line, column) = (m.line.unwrap_or(0), m.column.unwrap_or(0));
        let hint = m.hint.as_deref().unwrap_or("");
        format!("{line}:{column} {}: wanted {}, found {} | {hint}", m.place, m.wanted, m.found)
    };
    mistakes.mistakes.iter().map(one).collect()
}

const BOX: &str = "[box]\nmode = \"enforce\"\n";

/// What follows a good `[box]`, so that its first line is line 3.
fn row(text: &str) -> String {
    mistakes(&format!("{BOX}{text}")).join("\n")
}

#[test]
fn one_line_is_a_whole_configuration() {
    let config = good("box.mode = \"observe\"");
    assert_eq!(config.identity, Identity { name: "press-7".into(), site: "default".into() });
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.paths.state, Path::new("/var/lib/homeostat"));
    assert_eq!(config.paths.programs, Path::new("/usr/lib/homeostat"));
    assert_eq!(config.api.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(config.source.filesystems, [Path::new("/")]);
    assert!(config.graph.get(&TargetId::the_box()).is_some());
    assert!(config.incident.routes.is_empty());
}

#[test]
fn a_whole_box_is_read_as_it_is_typed() {
    let config = good(&format!(
        r#"
        [box]
        name = "press-8"
        site = "hall-b"
        mode = "enforce"
        [paths]
        state = "state"
        run = "/run/h"
        [api]
        operators = ["anna", 7]
        group = "operators"
        [[trust.publishers]]
        name = "us"
        key = "{KEY}"
        [guard]
        cooldown_s = 1.5
        [incident]
        hold_ms = 2500
        explains = {{ "accelerator.lost" = ["process.gone"] }}
        [[plugin]]
        name = "liveness"
        package = "plugins/liveness.plugin"
        digest = "{DIGEST}"
        targets = ["workload:digits"]
        memory_max = "8MiB"
        [plugin.config]
        bad = 3
        window = [1, 2.5, true]
        [[workload]]
        name = "digits"
        kind = "process"
        command = ["/bin/serve", "--port", "1"]
        env = {{ LANG = "C" }}
        user = 1001
        needs = ["cache", "external:cam"]
        limits.memory_max = "64MiB"
        desired = "stopped"
        [[workload.probe]]
        kind = "http"
        url = "http://127.0.0.1:1/infer"
        body = "{{}}"
        [[workload]]
        name = "cache"
        command = ["/bin/cache"]
        [[external]]
        name = "cam"
        [[external.probe]]
        kind = "tcp"
        address = "[::1]:554"
        [[notify]]
        name = "pager"
        kind = "command"
        command = ["/bin/page"]
        "#
    ));
    assert_eq!(config.paths.state, Path::new("/etc/homeostat/state"));
    assert_eq!(config.api.socket, Path::new("/run/h/homeostat.sock"));
    assert_eq!(config.api.operators, BTreeSet::from([7, 1000]));
    assert_eq!(config.api.group, Some(50));
    assert_eq!(config.trust.publishers[0].key[0], 0xd7);
    assert_eq!((config.guard.cooldown_ms, config.incident.hold_ms), (1500, 2500));
    assert_eq!(config.incident.explains["accelerator.lost"], ["process.gone"]);

    let plugin = &config.plugins[0];
    assert_eq!(plugin.package, Path::new("/etc/homeostat/plugins/liveness.plugin"));
    assert_eq!(plugin.digest, DIGEST.strip_prefix("sha256:").unwrap());
    assert_eq!(plugin.config, r#"{"bad":3,"window":[1,2.5,true]}"#);
    assert_eq!(plugin.memory_max_bytes, 8 << 20);

    let digits = &config.workloads[0];
    assert_eq!(digits.needs, ["workload:cache", "external:cam"]);
    assert_eq!(digits.user.as_deref(), Some("1001"));
    assert_eq!(digits.limits.memory_max_bytes, Some(64 << 20));
    assert!(!digits.desired_running);
    assert_eq!(digits.probes[0].name, "http");
    assert!(matches!(&digits.probes[0].kind, ProbeKind::Http { method, .. } if method == "POST"));

    let digits = TargetId::workload("digits");
    for other in ["workload:cache", "external:cam", "box"] {
        assert!(config.graph.depends_on(&digits, &TargetId::from_text(other)), "{other}");
    }
}

#[test]
fn a_plugin_judges_those_targets_of_the_file_that_its_selectors_name() {
    let config = good(&format!(
        "{BOX}[[link]]\nname = \"eth0\"\nhosts = [\"10.0.0.1:80\"]\n\
         [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n\
         [[external]]\nname = \"cam\"\nprobe = [{{ kind = \"tcp\", address = \"h:1\" }}]\n\
         [[plugin]]\nname = \"a\"\npackage = \"a\"\ndigest = \"{DIGEST}\"\n\
         targets = [\"link:*\", \"external:cam\", \"model:*\"]\n\
         [[plugin]]\nname = \"b\"\npackage = \"b\"\ndigest = \"{DIGEST}\"\n"
    ));
    let judges = |plugin: usize| {
        config.plugins[plugin].judges.iter().map(TargetId::as_str).collect::<Vec<_>>()
    };
    assert_eq!(judges(0), ["external:cam", "link:eth0"]);
    assert_eq!(judges(1), ["box", "external:cam", "link:eth0", "workload:w"]);
}

#[test]
fn the_fast_profile_shortens_what_is_left_out_and_nothing_else() {
    let text = |profile: &str| {
        format!(
            "[box]\nmode = \"enforce\"\nprofile = \"{profile}\"\n[incident]\nhold_s = 77\n\
             [[external]]\nname = \"e\"\n[[external.probe]]\nkind = \"tcp\"\naddress = \"h:1\""
        )
    };
    let (calm, fast) = (good(&text("default")), good(&text("fast")));
    let probe = |config: &Config| config.externals[0].probes[0].clone();
    assert!(probe(&fast).period_ms < probe(&calm).period_ms);
    assert!(probe(&fast).timeout_ms < probe(&calm).timeout_ms);
    assert!(fast.guard.cooldown_ms < calm.guard.cooldown_ms);
    assert_eq!((fast.incident.hold_ms, calm.incident.hold_ms), (77_000, 77_000));
    // The ceilings of the design: seen in 18 s, and in 3 s with its three hastened proofs.
    let seen = |p: &ProbeConfig| 3 * p.period_ms + p.timeout_ms;
    assert_eq!(seen(&probe(&calm)), 18_000);
    assert!(seen(&probe(&fast)) + 250 + 3 * 250 <= 3_000);
}

#[test]
fn routes_are_tried_most_specific_first_and_default_to_whoever_was_granted_something() {
    let plugin = |name: &str, grants: &str| {
        format!(
            "[[plugin]]\nname = \"{name}\"\npackage = \"p\"\ndigest = \"{DIGEST}\"\ngrants = [{grants}]\n"
        )
    };
    let plugins =
        plugin("eye", "") + &plugin("b", "\"notify\"") + &plugin("a", "\"workload.restart\"");
    let config = good(&format!("{BOX}{plugins}"));
    assert_eq!(
        config.incident.routes,
        [Route { kind: "*".into(), target: "*".into(), healers: vec!["b".into(), "a".into()] }]
    );

    let route = |kind: &str, target: &str| {
        format!("[[incident.route]]\nkind = \"{kind}\"\ntarget = \"{target}\"\nhealers = [\"a\"]\n")
    };
    let routes = route("*", "*")
        + &route("probe.*", "*")
        + &route("probe.failing", "*")
        + &route("probe.*", "box");
    let config = good(&format!("{BOX}{plugins}{routes}"));
    let order: Vec<_> = config.incident.routes.iter().map(|r| (&*r.kind, &*r.target)).collect();
    assert_eq!(order, [("probe.failing", "*"), ("probe.*", "box"), ("probe.*", "*"), ("*", "*")]);
}

#[test]
fn each_mistake_has_its_place_and_a_hint() {
    let plugin = format!("[[plugin]]\nname = \"p\"\npackage = \"p\"\ndigest = \"{DIGEST}\"\n");
    let workload = "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n";
    for (text, expected) in [
        (
            "[guard]\ncooldwn_s = 1",
            "4:1 guard: wanted a known key, found `cooldwn_s` | did you mean `cooldown_s`?",
        ),
        (
            "[guard]\nqqq = 1",
            "4:1 guard: wanted a known key, found `qqq` | keys here: cooldown_s, cooldown_ms,",
        ),
        (
            "[gaurd]\ncooldown_s = 1",
            "3:2 : wanted a known key, found `gaurd` | did you mean `guard`?",
        ),
        ("[[route]]\nkind = \"*\"", "found `route` | write [[incident.route]]"),
        (
            "[guard]\ncooldown_s = \"1\"",
            "4:14 guard.cooldown_s: wanted a number of seconds from 0 to 86400, found \"1\"",
        ),
        (
            "[guard]\ncooldown_ms = 1.5",
            "4:15 guard.cooldown_ms: wanted a whole number of milliseconds from 0 to 86400000, found 1.5",
        ),
        ("[guard]\ncooldown_s = -1", "found -1"),
        (
            "[guard]\ncooldown_s = 1\ncooldown_ms = 1",
            "5:15 guard.cooldown_ms: wanted either cooldown_s or cooldown_ms, found both",
        ),
        (
            "[guard]\nrate_max = 0",
            "4:12 guard.rate_max: wanted a whole number from 1 to 10000, found 0",
        ),
        (
            "[store]\nmax = \"64MB\"",
            "4:7 store.max: wanted a size from 4MiB to 64GiB, found \"64MB\" | a number of bytes",
        ),
        ("guard = 3", "3:1 box: wanted a known key"),
        (
            "[api]\noperators = [\"ana\"]",
            "4:14 api.operators: wanted a user of this box, by name or number, found \"ana\" | did you mean `anna`?",
        ),
        ("[api]\nsocket = \"/run/h\"\nsoket = 1", "did you mean `socket`?"),
        (
            "[source]\nkmsg = \"no\"",
            "4:8 source.kmsg: wanted an absolute path, or \"off\", found \"no\"",
        ),
        ("[source]\nfilesystems = [\"var\"]", "4:16 source.filesystems: wanted mount points"),
        (
            "[[trust.publishers]]\nname = \"us\"",
            "3:1 trust.publishers.us.key: wanted an ed25519 public key",
        ),
        (
            "[[trust.publishers]]\nname = \"us\"\nkey = \"abc\"",
            "5:7 trust.publishers.us.key: wanted an ed25519 public key: 32 bytes in hex or base64, found \"abc\"",
        ),
        (
            "[[trust.publishers]]\nname = \"us\"\nkey = \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "found a weak key",
        ),
        (
            "[[trust.publishers]]\nname = \"us\"\nkey_file = \"/nonexistent/key\"",
            "wanted a readable key file /nonexistent/key, found No such file",
        ),
        (
            "[[workload]]\nname = \"w\"",
            "3:1 workload.w.command: wanted a program and its arguments",
        ),
        (
            "[[workload]]\ncommand = [\"/w\"]",
            "3:1 workload[1].name: wanted a name of a-z, 0-9 and -, at most 64, found nothing",
        ),
        (
            "[[workload]]\nname = \"W_1\"\ncommand = [\"/w\"]",
            "4:8 workload.W_1.name: wanted a name of a-z, 0-9 and -, at most 64, found \"W_1\" | 'W' is not among them",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = []",
            "5:11 workload.w.command: wanted a program and its arguments, such as [\"/usr/bin/server\", \"--port\", \"8000\"], found an empty list",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"w\"]",
            "5:11 workload.w.command: wanted a program by its absolute path, found \"w\"",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = \"/w\"",
            "5:11 workload.w.command: wanted a list of texts, found \"/w\"",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nkind = \"docker\"",
            "wanted one of process, systemd, found \"docker\"",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\ndesired = \"up\"",
            "wanted one of running, stopped",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nneeds = [\"x\", \"w2\"]",
            "6:10 workload.w.needs: wanted workloads, externals and links of this file, found \"x\"",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nneeds = [\"w\"]",
            "6:10 workload.w.needs: wanted needs that lead nowhere back, found a circle: w → w",
        ),
        (
            "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nlimits = { cpu_weight = 0 }",
            "wanted a whole number from 1 to 10000, found 0",
        ),
        (
            "[[external]]\nname = \"e\"",
            "3:1 external.e.probe: wanted at least one probe, found none",
        ),
        (
            "[[notify]]\nname = \"n\"\nurl = \"http://h/\"",
            "notify.n.kind: wanted one of command, webhook, found nothing",
        ),
        (
            "[incident]\nroute = 1",
            "4:9 incident.route: wanted a list of tables: [[incident.route]], found 1",
        ),
        ("[[incident.route]]\nhealers = [\"x\"]", "found \"x\" | there are no plugins here"),
        (
            "[[incident.route]]\nhealers = []",
            "incident.route[1].healers: wanted at least one plugin, found none",
        ),
        (
            "[incident]\nhold_s = 0",
            "4:10 incident.hold_s: wanted a number of seconds from 1 to 604800, found 0",
        ),
    ] {
        let found = row(text);
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
    for (text, expected) in [
        (
            "grants = [\"workload.restrt\"]",
            "7:11 plugin.p.grants: wanted actions of the catalogue, found \"workload.restrt\" | did you mean `workload.restart`?",
        ),
        ("targets = [\"workload:w\"]", "targets here: box, or a family"),
        ("config = { x = nan }", "plugin.p.config: wanted what JSON can say, found nan"),
        ("config = \"x\"", "plugin.p.config: wanted a table, found \"x\""),
        ("memory_max = 1", "wanted a size from 256KiB to 1GiB, found 1"),
        (
            "quarantine = { fault = 3 }",
            "plugin.p.quarantine: wanted a known key, found `fault` | did you mean `faults`?",
        ),
    ] {
        let found = row(&format!("{plugin}{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
    for (text, expected) in [
        (
            "kind = \"ping\"",
            "7:8 workload.w.probe[1].kind: wanted one of http, tcp, command, file, found \"ping\" | words here: http, tcp, command, file",
        ),
        ("kind = \"http\"", "probe[1].url: wanted a URL such as"),
        (
            "name = \"a\"\nkind = \"tcp\"\naddress = \"h\"",
            "workload.w.probe.a.address: wanted HOST:PORT, found \"h\" | it has no :PORT",
        ),
        ("kind = \"command\"\ncommand = [\"x\"]", "a program by its absolute path"),
        ("kind = \"tcp\"\naddress = \"h:1\"\nurl = \"x\"", "wanted a known key, found `url`"),
        (
            "kind = \"tcp\"\naddress = \"h:1\"\n[[workload.probe]]\nkind = \"tcp\"\naddress = \"h:2\"",
            "9:1 workload.w.probe[2].name: wanted a name of its own for each probe, found \"tcp\" again",
        ),
    ] {
        let found = row(&format!("{workload}[[workload.probe]]\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_maintenance_window_is_read_and_each_of_its_mistakes_is_named() {
    let text = format!(
        "{BOX}[[maintenance]]\nname = \"night\"\ndays = [\"fri\"]\nfrom = \"22:00\"\nto = \"04:30\"\n\
         [guard]\napproval = [\"workload.stop\"]\n\
         [[workload]]\nname = \"w\"\ncommand = [\"/bin/w\"]\nreplicas = \"cameras\"\n"
    );
    let guard = good(&text).guard;
    let window = &guard.windows[0];
    assert_eq!((window.from_min, window.to_min, window.disruption), (22 * 60, 4 * 60 + 30, 1));
    assert_eq!(window.days, [false, false, false, false, true, false, false]);
    assert_eq!(window.zone, jiff::tz::TimeZone::UTC);
    assert_eq!(guard.approval, BTreeSet::from(["workload.stop".to_owned()]));
    assert_eq!(guard.replicas.get(&TargetId::workload("w")).map(String::as_str), Some("cameras"));

    for (keys, word) in [
        ("from = \"22:00\"", "to: wanted a time of day"),
        ("from = \"24:01\"\nto = \"04:00\"", "from: wanted a time of day from 00:00 to 24:00"),
        ("from = \"4:00\"\nto = \"05:00\"", "from: wanted a time of day"),
        ("from = \"04:00\"\nto = \"04:00\"", "another time than from"),
        ("from = \"04:00\"\nto = \"05:00\"\ndays = [\"friday\"]", "days: mon, tue"),
        ("from = \"04:00\"\nto = \"05:00\"\nzone = \"Mars/Base\"", "a time zone of this box"),
        ("from = \"04:00\"\nto = \"05:00\"\ndisruption = 4", "a whole number from 1 to 3"),
    ] {
        let row = row(&format!("[[maintenance]]\nname = \"night\"\n{keys}\n"));
        assert!(row.contains(word), "{keys}: {row}");
    }
}

#[test]
fn an_operators_command_becomes_an_action_of_the_catalogue() {
    let text = format!(
        "{BOX}[[workload]]\nname = \"llm\"\ncommand = [\"/bin/w\"]\n\
         [[plugin]]\nname = \"ladder\"\npackage = \"l.plugin\"\ndigest = \"sha256:{}\"\n\
         grants = [\"command.resize\"]\n\
         [[action]]\nname = \"resize\"\ntargets = [\"workload:llm\"]\ndisruption = 2\nsettle_s = 5\n\
         command = [\"/bin/resize\", \"{{target}}\", \"--to={{size}}\", \"{{{{.State}}}}\"]\n\
         undo = [\"/bin/resize\", \"--back\"]\n\
         [[action.param]]\nname = \"size\"\nchoices = [\"small\", \"large\"]\ndefault = \"small\"\n\
         [[action.param]]\nname = \"threads\"\nmin = 1\nmax = 8\n",
        "0".repeat(64)
    );
    let config = good(&text);
    let spec = config.catalogue.get("command.resize").expect("it is in the catalogue");
    assert_eq!((spec.terms.disruption, spec.terms.settle_ms, spec.terms.undo), (2, 5_000, true));
    assert!(spec.applies_to(&TargetId::workload("llm")));
    let params = |size: Value, threads| vec![("size".into(), size), ("threads".into(), threads)];
    assert_eq!(spec.check(&params(Value::text("large"), Value::Int(8))), Ok(()));
    assert!(spec.check(&params(Value::text("huge"), Value::Int(8))).is_err());
    assert!(spec.check(&params(Value::text("large"), Value::Int(9))).is_err());
    assert!(spec.check(&vec![]).unwrap_err().contains("\"threads\""), "it has no default");
    let undo = config.catalogue.get("command.resize.undo").expect("it is in the catalogue");
    assert_eq!((undo.terms.disruption, undo.terms.undo), (2, false));
    assert_eq!(config.plugins[0].grants, BTreeSet::from(["command.resize".to_owned()]));

    for (keys, word) in [
        ("command = [\"/x\"]", "targets: wanted at least one target"),
        ("targets = [\"workload:llm\"]\ncommand = [\"/x\"]", "targets of this file"),
        ("targets = [\"box\"]\ncommand = [\"{size}\"]", "a program by its absolute path"),
        ("targets = [\"box\"]\ncommand = [\"/{target}\"]", "wanted a program of its own"),
        (
            "targets = [\"box\"]\ncommand = [\"/x\", \"{size}\"]",
            "wanted parameters of this action, found `{size}` | declared here: {target}",
        ),
        (
            "targets = [\"box\"]\ncommand = [\"/x\"]\n[[action.param]]\nname = \"free\"",
            "wanted choices, or min and max",
        ),
        (
            "targets = [\"box\"]\ncommand = [\"/x\"]\n[[action.param]]\nname = \"n\"\nmin = 1\n\
             max = 8\ndefault = 9",
            "default: wanted a whole number from 1 to 8, found 9",
        ),
    ] {
        let row = row(&format!("[[action]]\nname = \"resize\"\n{keys}\n"));
        assert!(row.contains(word), "{keys}: {row}");
    }
    let found = row("[guard]\napproval = [\"resize\"]\n[[action]]\nname = \"resize\"\n\
                     targets = [\"box\"]\ncommand = [\"/x\"]\n");
    assert!(found.contains("an [[action]] of this file is called command.resize"), "{found}");
}

#[test]
fn a_host_name_that_is_no_name_asks_for_one() {
    let machine = Machine { hostname: "(none)".into(), ..machine() };
    let error = parse(Path::new("f"), "box.mode = \"observe\"", &machine).unwrap_err();
    assert!(error.to_string().contains("and the host name \"(none)\""), "{error}");
}

#[test]
fn an_address_in_two_kinds_must_say_which() {
    let found = row("[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nneeds = [\"x\"]\n\
         [[workload]]\nname = \"x\"\ncommand = [\"/x\"]\n\
         [[external]]\nname = \"x\"\nprobe = [{ kind = \"tcp\", address = \"h:1\" }]\n");
    assert!(found.contains("\"x\", which is two | write workload:x or external:x"), "{found}");
}

#[test]
fn a_file_that_is_missing_or_that_others_can_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.toml");
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");

    std::fs::File::create(&path).unwrap().write_all(b"box.mode = \"observe\"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o646)).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("mode 646: everybody can write it"), "{error}");
    assert!(error.contains("chmod go-w"), "{error}");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    // The host name of the test's machine may be no name.
    if let Err(mistakes) = load(&path) {
        assert!(mistakes.to_string().contains("box.name"), "{mistakes}");
    }

    // Its key files are held to the same.
    let key = dir.path().join("key.pub");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o666)).unwrap();
    let text = "box = { mode = \"observe\", name = \"b\" }\n\
                trust.publishers = [{ name = \"us\", key_file = \"key.pub\" }]";
    std::fs::write(&path, text).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("mode 666: everybody can write it"), "{error}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&path).unwrap().trust.publishers[0].name, "us");
}
