//! What is in force, where it comes from, and what is not shown.

use super::*;

/// `key = value, origin` of a table.
fn shown(text: &str, place: &str) -> Vec<String> {
    let machine = Machine { hostname: "press-7.lan".into(), ..Machine::default() };
    let (_, shown) =
        super::super::read(Path::new("/etc/homeostat/h.toml"), text, &machine).unwrap();
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
    let shown = super::super::read(&file, text, &Machine::default()).unwrap().1;
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
