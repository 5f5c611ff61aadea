//! The file's mistakes, one row each, and what a file means.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::model::TargetId;

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
fn the_kernels_messages_are_read_unless_they_are_not_to_be() {
    let kmsg = |text: &str| good(&format!("{BOX}{text}")).source.kmsg.map(|it| it.path);
    assert_eq!(kmsg("").as_deref(), Some(Path::new("/dev/kmsg")));
    assert_eq!(
        kmsg("[source]\nkmsg = \"/run/pretend\"").as_deref(),
        Some(Path::new("/run/pretend"))
    );
    assert_eq!(kmsg("[source]\nkmsg = \"off\""), None);
    let place = good(&format!("{BOX}[paths]\nrun = \"/run/h\"")).source.kmsg.map(|it| it.place);
    assert_eq!(place.as_deref(), Some(Path::new("/run/h/kmsg")));
}

#[test]
fn a_log_belongs_to_the_box_unless_it_says_to_whom() {
    let config = good(&format!(
        "{BOX}[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n\
         [[log]]\nname = \"a\"\npath = \"/var/log/a\"\n\
         [[log]]\nname = \"b\"\npath = \"b\"\ntarget = \"workload:w\"\nfrom = \"start\"\n"
    ));
    let [a, b] = &config.source.logs[..] else { panic!("{:?}", config.source.logs) };
    assert_eq!((a.target.as_str(), a.from), ("box", LogStart::End));
    assert_eq!((b.target.as_str(), b.from), ("workload:w", LogStart::Start));
    assert_eq!(b.path, Path::new("/etc/homeostat/b"));
    for (text, expected) in [
        ("", "3:1 log.a.path: wanted the path of a log file, found nothing"),
        (
            "path = \"/a\"\ntarget = \"workload:x\"",
            "6:10 log.a.target: wanted targets of this file",
        ),
        ("path = \"/a\"\ntarget = \"*\"", "6:10 log.a.target: wanted one target of this file"),
        ("path = \"/a\"\nfrom = \"tail\"", "wanted one of end, start, found \"tail\""),
        ("path = \"/a\"\n[[log]]\nname = \"a\"\npath = \"/b\"", "found \"a\" again"),
        (
            "path = \"/a\"\n[[log]]\nname = \"kmsg\"\npath = \"/b\"",
            "log.kmsg.name: wanted a name of",
        ),
    ] {
        let found = row(&format!("[[log]]\nname = \"a\"\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_link_is_a_target_that_workloads_and_externals_may_need() {
    let text = "[[link]]\nname = \"enP2s0.7\"\nhosts = [\"10.0.0.1:80\"]\n\
         [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nneeds = [\"cam\"]\n\
         [[external]]\nname = \"cam\"\nneeds = [\"link:enP2s0.7\"]\n\
         probe = [{ kind = \"tcp\", address = \"h:1\" }]\n";
    let config = good(&format!("{BOX}{text}"));
    assert_eq!(config.source.links[0].hosts, ["10.0.0.1:80"]);
    let link = TargetId::from_text("link:enP2s0.7");
    assert!(config.graph.depends_on(&TargetId::workload("w"), &link));
    assert!(config.graph.depends_on(&link, &TargetId::the_box()));

    let external = |needs: &str| text.replace("link:enP2s0.7", needs);
    let wanted = "external.cam.needs: wanted links of this file, found \"w\"";
    assert!(row(&external("w")).contains(wanted), "{}", row(&external("w")));
    for (text, expected) in [
        ("name = \"a b\"", "4:8 link.a b.name: wanted a network interface, such as eth0"),
        ("name = \"sixteen-letters-\"", "the kernel takes 1 to 15 bytes"),
        ("hosts = []", "link[1].name: wanted a network interface, such as eth0, found nothing"),
        ("name = \"e\"\nhosts = [\"h\"]", "5:10 link.e.hosts: wanted HOST:PORT, found \"h\""),
        ("name = \"e\"\nhosts = [\"h:1\", \"h:1\"]", "it is there twice"),
    ] {
        let found = row(&format!("[[link]]\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
}

#[test]
fn a_sensor_is_a_channel_or_a_command_with_a_unit() {
    let config = good(&format!(
        "{BOX}[[sensor]]\nname = \"oil\"\nunit = \"Cel\"\nfactor = 0.001\nkind = \"iio\"\n\
         device = \"bme280\"\nchannel = \"in_temp\"\n\
         [[sensor]]\nname = \"press\"\nunit = \"bar\"\nkind = \"command\"\n\
         command = [\"/bin/read\"]\npointer = \"/bar\"\nperiod_s = 2\n"
    ));
    let [oil, press] = &config.source.sensors[..] else { panic!("{:?}", config.source.sensors) };
    assert_eq!((oil.factor, oil.target.as_str(), oil.period_ms), (0.001, "box", 5000));
    assert!(matches!(&oil.kind, SensorKind::Iio { device, .. } if device == "bme280"));
    assert_eq!((press.factor, press.period_ms), (1.0, 2000));
    assert!(matches!(&press.kind, SensorKind::Command { pointer: Some(it), .. } if it == "/bar"));
    for (text, expected) in [
        ("", "sensor.s.kind: wanted one of iio, command, modbus, mqtt, found nothing"),
        (
            "kind = \"can\"",
            "6:8 sensor.s.kind: wanted one of iio, command, modbus, mqtt, found \"can\"",
        ),
        ("kind = \"iio\"", "sensor.s.device: wanted the name of an IIO device, found nothing"),
        ("kind = \"command\"\ncommand = [\"x\"]", "a program by its absolute path"),
        (
            "kind = \"command\"\ncommand = [\"/x\"]\npointer = \"a\"",
            "sensor.s.pointer: wanted a JSON pointer, such as /data/0/value, found \"a\"",
        ),
        ("factor = \"1\"", "6:10 sensor.s.factor: wanted a number, found \"1\""),
        ("factor = inf", "sensor.s.factor: wanted a number, found inf"),
        ("target = \"external:x\"", "sensor.s.target: wanted targets of this file"),
    ] {
        let found = row(&format!("[[sensor]]\nname = \"s\"\nunit = \"1\"\n{text}"));
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
    assert!(
        row("[[sensor]]\nname = \"s\"").contains("sensor.s.unit: wanted what it is measured in")
    );
}

#[test]
fn a_modbus_sensor_is_a_value_of_a_device_in_one_of_four_tables() {
    let sensor = |keys: &str| {
        format!(
            "[[sensor]]\nname = \"s\"\nunit = \"1\"\nkind = \"modbus\"\n\
             address = \"plc:502\"\n{keys}"
        )
    };
    let (long, short) = (ModbusType::F32(WordOrder::Little), ModbusType::I16);
    for (keys, unit_id, table, register, wanted_ms) in [
        ("table = \"coil\"\nregister = 65535", 1, ModbusTable::Coil, 65_535, 1000),
        (
            "table = \"input\"\ntype = \"i16\"\nregister = 65535\nunit_id = 0\ntimeout_s = 2",
            0,
            ModbusTable::Input(short),
            65_535,
            2000,
        ),
        (
            "table = \"holding\"\ntype = \"f32\"\nword_order = \"little\"\nregister = 0\nunit_id = 255",
            255,
            ModbusTable::Holding(long),
            0,
            1000,
        ),
        (
            "table = \"input\"\ntype = \"u32\"\nregister = 7",
            1,
            ModbusTable::Input(ModbusType::U32(WordOrder::Big)),
            7,
            1000,
        ),
    ] {
        let config = good(&format!("{BOX}{}", sensor(keys)));
        let SensorKind::Modbus { address, point, timeout_ms } = &config.source.sensors[0].kind
        else {
            panic!("{keys}")
        };
        assert_eq!((address.as_str(), *timeout_ms), ("plc:502", wanted_ms), "{keys}");
        assert_eq!(*point, ModbusPoint { unit_id, table, register }, "{keys}");
    }
}

#[test]
fn a_mistake_in_a_modbus_sensor_is_named() {
    for (keys, expected) in [
        ("", "sensor.s.address: wanted HOST:PORT, found nothing"),
        ("address = \"plc\"", "7:11 sensor.s.address: wanted HOST:PORT, found \"plc\""),
        ("address = \"plc:0\"", "a port is a number from 1 to 65535"),
        ("unit_id = 256", "sensor.s.unit_id: wanted a whole number from 0 to 255, found 256"),
        ("", "sensor.s.table: wanted one of holding, input, coil, discrete, found nothing"),
        ("table = \"coils\"", "found \"coils\" | did you mean `coil`?"),
        ("", "sensor.s.register: wanted a whole number from 0 to 65535, found nothing"),
        ("", "what a manual calls 40001 is holding register 0"),
        ("register = 65536", "wanted a whole number from 0 to 65535, found 65536"),
        ("register = -1", "wanted a whole number from 0 to 65535, found -1"),
        (
            "table = \"input\"",
            "sensor.s.type: wanted one of u16, i16, u32, i32, f32, found nothing",
        ),
        ("table = \"input\"\ntype = \"u8\"", "one of u16, i16, u32, i32, f32, found \"u8\""),
        (
            "table = \"coil\"\ntype = \"u16\"",
            "sensor.s.type: wanted no type here, found \"u16\" | a coil and a discrete input are",
        ),
        (
            "table = \"input\"\ntype = \"i16\"\nword_order = \"big\"",
            "sensor.s.word_order: wanted no word_order here, found \"big\" | one register has one",
        ),
        (
            "table = \"input\"\ntype = \"i32\"\nword_order = \"middle\"",
            "sensor.s.word_order: wanted one of big, little, found \"middle\"",
        ),
        (
            "table = \"input\"\ntype = \"f32\"\nregister = 65535",
            "sensor.s.register: wanted a whole number from 0 to 65534, found 65535",
        ),
        ("timeout_s = 61", "sensor.s.timeout_s: wanted a number of seconds from"),
        ("pointer = \"/a\"", "sensor.s: wanted a known key, found `pointer`"),
    ] {
        let text = format!("[[sensor]]\nname = \"s\"\nunit = \"1\"\nkind = \"modbus\"\n{keys}");
        let found = row(&text);
        assert!(found.contains(expected), "wanted\n  {expected}\nfound\n  {found}");
    }
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
fn all_mistakes_are_told_together_and_in_order() {
    let found = mistakes(
        r#"[box]
mode = "enforced"
nam = "x"
[[workload]]
name = "a"
command = ["/a"]
needs = ["b"]
[[workload]]
name = "b"
command = ["/b"]
needs = ["c", "cam"]
[[workload]]
name = "c"
command = ["c"]
needs = ["a"]
[[workload]]
name = "a"
command = ["/a"]
[[external]]
name = "camera"
probe = [{ kind = "tcp", address = "h:1" }]
"#,
    );
    let starts = [
        "2:8 box.mode: wanted one of observe, suggest, enforce, found \"enforced\" | did you mean `enforce`?",
        "3:1 box: wanted a known key, found `nam` | did you mean `name`?",
        "11:15 workload.b.needs: wanted workloads, externals and links of this file, found \"cam\" | did you mean `camera`?",
        "14:11 workload.c.command: wanted a program by its absolute path, found \"c\"",
        "15:10 workload.c.needs: wanted needs that lead nowhere back, found a circle: a → b → c → a",
        "17:8 workload.a.name: wanted a name of its own, found \"a\" again | the first is in line 5",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "wanted\n  {start}\nfound\n  {found}");
    }
}

#[test]
fn a_syntax_error_is_one_mistake_with_its_line() {
    for text in ["[box]\nmode = \n", "[box]\nmode = \"observe\"\nmode = \"b\"\n", "[box\n"] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(['1', '2', '3']), "{found:?}");
    }
    let shown = read("[box]\nmode = \n").unwrap_err().to_string();
    assert!(shown.starts_with("/etc/homeostat/box.toml:2:"), "{shown}");
    assert!(shown.ends_with("1 mistake in the configuration"), "{shown}");
}

#[test]
fn broken_syntax_hides_no_other_mistake_and_makes_none() {
    let workload = "[[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n";
    for (story, text, expected) in [
        (
            "no quotes",
            "[box]\nmode = enforce\n[guard]\ncooldown_s = true\n[[workload]]\nname = \"w\"\nneeds = [\"x\"]\n",
            &["2:8 : wanted TOML", "4:14 guard.cooldown_s", "5:1 workload.w.command: wanted"][..],
        ),
        (
            "two that are broken",
            "[box]\nmode = enforce\nsite = \"a\nprofile = 3\n[guard]\nnonsense = 1\n",
            &["2:8 : wanted TOML", "3:10 : wanted TOML", "6:1 guard: wanted a known key"],
        ),
        (
            "a table's header",
            "[box\nmode = 3\nnonsense = 1\n[guard]\nnonsense = 1\n",
            &["1:5 : wanted TOML", "5:1 guard"],
        ),
        (
            "a list's header, with tables below it",
            &format!(
                "[guard]\nnonsense = 1\n[box]\nmode = 3\n[[workload]\nname = 3\n[workload.limits]\nx = 1\n{workload}"
            ),
            &["2:1 guard", "5:12 : wanted TOML"],
        ),
        (
            "a list that does not end",
            "[box]\nmode = \"enforce\"\n[source]\nfilesystems = [\"/\"\nperiod_s = true\n[guard]\n\nnonsense = 1\n",
            &["5:1 : wanted TOML", "8:1 guard: wanted a known key"],
        ),
        (
            "a comma in a list over lines",
            "[box]\nmode = 3\n[source]\nfilesystems = [\n  \"/\"\n  \"/var\",\n]\n[guard]\nnonsense = 1\n",
            &["2:8 box.mode", "6:3 : wanted TOML", "9:1 guard: wanted a known key"],
        ),
        (
            "a text over lines that does not end",
            "[box]\nmode = \"\"\"enforce\n[guard]\nnonsense = 1\n",
            &["4:1 guard: wanted a known key", "5:1 : wanted TOML"],
        ),
        (
            "twice",
            "[box]\nmode = \"enforce\"\nmode = 3\n[guard]\nnonsense = 1\n",
            &["3:1 : wanted TOML", "5:1 guard"],
        ),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), expected.len(), "{story}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{story}: wanted\n  {expected}\nfound\n  {found}");
        }
    }
}

#[test]
fn a_file_that_is_nothing_but_broken_is_told_so_in_few_words() {
    let found = mistakes(&"# é\n= ü\n\r\n".repeat(500));
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|one| one.contains("wanted TOML")), "{found:#?}");
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

/// The shipped file with its examples in force, and the folder of its key.
fn shipped_examples() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key.pub");
    std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
    let examples: String = include_str!("../../../deploy/homeostat.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') => format!("{example}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let examples =
        examples.replace("/etc/homeostat/homeostat.pub", key_file.to_str().expect("UTF-8"));
    (dir, examples)
}

#[test]
fn whichever_line_is_broken_nothing_else_is_said_to_be_wrong() {
    let (_dir, examples) = shipped_examples();
    let lines: Vec<&str> = examples.lines().collect();
    let mut broken = 0;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let uncommented = line.split(" #").next().unwrap_or_default().trim_end();
        let half = uncommented.floor_char_boundary(uncommented.len() / 2);
        let most = uncommented.floor_char_boundary(uncommented.len().saturating_sub(1));
        for cut in [&uncommented[..half], &uncommented[..most]] {
            let mut lines = lines.clone();
            lines[number] = cut;
            let Err(Mistakes { mistakes }) = read(&lines.join("\n")) else { continue };
            let is_syntax = |mistake: &Mistake| mistake.wanted == "TOML";
            if mistakes.iter().any(is_syntax) {
                broken += 1;
                let others: Vec<_> = mistakes.iter().filter(|it| !is_syntax(it)).collect();
                assert!(others.is_empty(), "{} as {cut:?}: {others:#?}", number + 1);
                assert_eq!(mistakes.len(), 1, "{} as {cut:?}: {mistakes:#?}", number + 1);
            }
        }
    }
    assert!(broken > 100, "{broken}");
}

#[test]
fn the_shipped_file_is_good_as_it_is_and_with_its_examples() {
    let shipped = include_str!("../../../deploy/homeostat.toml");
    assert_eq!(good(shipped).mode, Mode::Observe);

    let (_dir, examples) = shipped_examples();
    let config = good(&examples);
    // Whatever can be written can be shown: a new kind of value is noted, too.
    let shown = super::read(Path::new("/f"), &examples, &machine()).unwrap().1;
    let lines: BTreeSet<usize> = shown
        .tables
        .iter()
        .flat_map(|table| &table.values)
        .filter_map(|shows| match shows.origin {
            ValueOrigin::File { line } => Some(line),
            _ => None,
        })
        .collect();
    for (line, text) in (1..).zip(examples.lines()) {
        let is_value = text.contains(" = ") && !text.starts_with('#');
        assert!(!is_value || lines.contains(&line), "line {line} is not shown: {text}");
    }
    assert_eq!((config.plugins.len(), config.workloads.len(), config.externals.len()), (6, 2, 1));
    // What it calls a default is one.
    let bare = good("box.mode = \"observe\"");
    assert_eq!(config.paths.state, bare.paths.state);
    let calm = good(&examples.replace("profile = \"fast\"", ""));
    assert_eq!(calm.guard.cooldown_ms, bare.guard.cooldown_ms);
    assert_eq!(calm.guard.rate_max, bare.guard.rate_max);
    assert_eq!(calm.guard.rate_window_ms, bare.guard.rate_window_ms);
    assert_eq!(calm.guard.boot_grace_ms, bare.guard.boot_grace_ms);
    assert_eq!(calm.incident.hold_ms, bare.incident.hold_ms);
    assert_eq!(calm.incident.proofs_wanted, bare.incident.proofs_wanted);
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

/// `key = value, origin` of a table.
fn shown(text: &str, place: &str) -> Vec<String> {
    let machine = Machine { hostname: "press-7.lan".into(), ..Machine::default() };
    let (_, shown) = super::read(Path::new("/etc/homeostat/h.toml"), text, &machine).unwrap();
    let table = shown.tables.iter().find(|table| table.place == place);
    let table = table.unwrap_or_else(|| panic!("no table {place:?} in {shown:#?}"));
    let tell = |it: &Shows| match &it.origin {
        ValueOrigin::File { line } => format!("{} = {}, line {line}", it.key, it.value),
        other => format!("{} = {}, {other:?}", it.key, it.value),
    };
    let mut told: Vec<_> = table.values.iter().map(tell).collect();
    told.sort();
    told
}

#[test]
fn each_value_in_force_is_shown_with_its_origin() {
    let text = "[box]\nmode = \"observe\"\nprofile = \"fast\"\n[paths]\nrun = \"run\"\n\
                [guard]\nrate_max = 5\ncooldown_ms = 1500\n\
                [[workload]]\nname = \"w\"\ncommand = [\"/bin/w\", \"-x\"]\nenv = { A = \"b\" }\n\
                limits = { memory_max = \"64MiB\" }\n\
                [[workload.probe]]\nkind = \"tcp\"\naddress = \"h:1\"\n";
    assert_eq!(
        shown(text, "box"),
        [
            "mode = \"observe\", line 2",
            "name = \"press-7\", Machine",
            "profile = \"fast\", line 3",
            "site = \"default\", Default",
        ]
    );
    assert_eq!(
        shown(text, "guard"),
        [
            "approval_ttl_s = 900, Default",
            "boot_grace_s = 5, Profile { name: \"fast\" }",
            "cooldown_ms = 1500, line 8",
            "permit_ttl_s = 30, Default",
            "rate_max = 5, line 7",
            "rate_window_s = 600, Default",
            "storm_max = 20, Default",
            "storm_window_s = 600, Default",
        ]
    );
    assert!(shown(text, "paths").contains(&"run = \"/etc/homeostat/run\", line 5".into()));
    let workload = shown(text, "workload.w");
    for told in [
        "command = [\"/bin/w\",\"-x\"], line 11",
        "env = {\"A\":\"b\"}, line 12",
        "desired = \"running\", Default",
        "log_max = \"1MiB\", Default",
    ] {
        assert!(workload.contains(&told.to_owned()), "{told} in {workload:#?}");
    }
    assert_eq!(shown(text, "workload.w.limits"), ["memory_max = \"64MiB\", line 13"]);
    assert_eq!(
        shown(text, "workload.w.probe[1]"),
        [
            "address = \"h:1\", line 16",
            "kind = \"tcp\", line 15",
            "name = \"tcp\", Default",
            "period_ms = 500, Profile { name: \"fast\" }",
            "timeout_ms = 400, Profile { name: \"fast\" }",
        ]
    );
}

#[test]
fn what_is_in_force_without_a_profile_is_the_default() {
    let text = "[box]\nname = \"b\"\nmode = \"observe\"\n";
    assert!(shown(text, "guard").contains(&"cooldown_s = 30, Default".into()));
    let healer = format!(
        "{text}[[plugin]]\nname = \"h\"\npackage = \"h.plugin\"\ndigest = \"{}\"\n\
         grants = [\"notify\"]\n",
        "0".repeat(64)
    );
    let route = ["healers = [\"h\"], Default", "kind = \"*\", Default", "target = \"*\", Default"];
    assert_eq!(shown(&healer, "incident.route[1]"), route);
    let package = "package = \"/etc/homeostat/h.plugin\", line 6".to_owned();
    assert!(shown(&healer, "plugin.h").contains(&package));
}

#[test]
fn a_secret_is_declared_by_its_file_and_given_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    put("token", "s3cr3t-token\n", 0o600);
    put("other", "another-secret", 0o600);
    let text = "[box]\nname = \"b\"\nmode = \"observe\"\n\
                [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\n\
                secrets = { TOKEN = { file = \"token\" } }\n\
                [[workload.probe]]\nkind = \"http\"\nurl = \"http://h:1/\"\n\
                secrets = { authorization = { file = \"other\" } }\n\
                [[external]]\nname = \"e\"\n[[external.probe]]\nname = \"c\"\nkind = \"command\"\n\
                command = [\"/c\"]\nsecrets = { PASS = { file = \"token\" } }\n\
                [[notify]]\nname = \"n\"\nkind = \"webhook\"\nurl = \"http://h:1/\"\n\
                secrets = { x-key = { file = \"other\" } }\n";
    let file = dir.path().join("homeostat.toml");
    let mut config = parse(&file, text, &Machine::default()).unwrap();
    assert_eq!(config.workloads[0].env, BTreeMap::new(), "nothing is read with the file");
    let secrets = config.reveal().unwrap();
    assert_eq!(config.workloads[0].env["TOKEN"], "s3cr3t-token");
    let ProbeKind::Http { headers, .. } = &config.workloads[0].probes[0].kind else { panic!() };
    assert_eq!(headers["authorization"], "another-secret");
    let ProbeKind::Command { env, .. } = &config.externals[0].probes[0].kind else { panic!() };
    assert_eq!(env["PASS"], "s3cr3t-token");
    assert_eq!(config.notify[0].given["x-key"], "another-secret");
    assert_eq!(secrets.iter().count(), 4);
    let of_w: Vec<_> = secrets.by_workload()["w"].iter().map(|it| it.name.clone()).collect();
    assert_eq!(of_w, ["TOKEN", "authorization"]);

    // What stands in an argument list is seen by all.
    let told = text.replace("[\"/c\"]", "[\"/c\", \"--key=s3cr3t-token\"]");
    let wrong = parse(&file, &told, &Machine::default()).unwrap().reveal().unwrap_err().0;
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
    assert!(wrong[0].contains("stands in a `command`"), "{wrong:#?}");

    put("token", "short", 0o600);
    put("other", "another-secret", 0o640);
    let mut config = parse(&file, text, &Machine::default()).unwrap();
    let wrong = config.reveal().unwrap_err().0;
    assert_eq!(wrong.len(), 4, "{wrong:#?}");
    assert!(wrong[0].contains("at least 6 bytes, found 5"), "{wrong:#?}");
    assert!(
        wrong[1].contains("others can read it") && wrong[1].contains("chmod 600"),
        "{wrong:#?}"
    );
    let shown = super::read(&file, text, &Machine::default()).unwrap().1;
    assert!(!format!("{shown:?}").contains("another-secret"));
}

#[test]
fn a_secret_that_cannot_be_given_is_a_mistake() {
    let text = "[box]\nname = \"b\"\nmode = \"observe\"\n\
                [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nenv = { A = \"b\" }\n\
                secrets = { A = { file = \"x\" }, \"B=C\" = { file = \"x\" }, D = { value = \"y\" } }\n\
                [[workload.probe]]\nkind = \"tcp\"\naddress = \"h:1\"\n\
                secrets = { E = { file = \"x\" } }\n\
                [[workload.probe]]\nname = \"p\"\nkind = \"http\"\nurl = \"http://h:1/\"\n\
                secrets = { \"a b\" = { file = \"x\" } }\n";
    let found = parse(Path::new("/f"), text, &Machine::default()).unwrap_err().to_string();
    for word in
        ["it is in env, too", "without =", "`value`", "the path of a file", "`secrets`", "\"a b\""]
    {
        assert!(found.contains(word), "{word} in {found}");
    }
}

#[test]
fn a_bus_is_a_broker_and_a_sensor_of_it_one_topic() {
    let sensor = "[[sensor]]\nname = \"p\"\nunit = \"bar\"\nkind = \"mqtt\"\n\
                  topic = \"line/3/pressure\"\npointer = \"/bar\"\n";
    let config = good(&format!(
        "{BOX}[bus]\naddress = \"plant:1883\"\nusername = \"press-7\"\n\
         password_file = \"mqtt\"\n{sensor}"
    ));
    let bus = config.bus.unwrap();
    assert_eq!((bus.address.as_str(), bus.keep_alive_ms), ("plant:1883", 30_000));
    assert_eq!((bus.client_id.as_str(), bus.password), ("homeostat-press-7", None));
    let [secret] = &config.secrets[..] else { panic!("{:?}", config.secrets) };
    assert_eq!((&secret.owner, secret.name.as_str()), (&SecretOwner::Bus, "password"));
    assert_eq!(
        config.source.sensors[0].kind,
        SensorKind::Mqtt { topic: "line/3/pressure".into(), pointer: Some("/bar".into()) }
    );
    assert_eq!(good(BOX).bus, None);

    let bus = "[bus]\naddress = \"h:1\"\n";
    for (text, expected) in [
        (sensor.to_owned(), "sensor.p.kind: wanted a broker to read it from, found no [bus]"),
        (format!("{bus}{}", sensor.replace("/3/", "/+/")), "one topic for each sensor"),
        (format!("{bus}{}", sensor.replace("line/3/pressure", "")), "it is empty"),
        ("[bus]\nusername = \"x\"\n".into(), "bus.address: wanted HOST:PORT of the broker"),
        ("[bus]\naddress = \"plant\"\n".into(), "bus.address: wanted HOST:PORT"),
        (format!("{bus}password_file = \"f\"\n"), "bus.username: wanted the name that the"),
        (format!("{bus}client_id = \"\"\n"), "bus.client_id: wanted a name"),
        (format!("{bus}pasword_file = \"f\"\n"), "did you mean `password_file`?"),
    ] {
        let found = row(&text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}
