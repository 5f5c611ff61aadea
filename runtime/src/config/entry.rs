//! What there may be several of: plugins, workloads, externals.
//!
//! Invariant: as in `typed`: names of other things stay names.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::document::At;
use super::probe::{command, environment, probes};
use super::reader::Section;
use super::secret::{self, Given, SecretOwner};
use super::typed::{DAY, Defaults, GIB, HOUR, MIB, MINUTE, Named, SECOND};
use super::{
    ExternalConfig, LimitsConfig, PluginConfig, SystemdConfig, WorkloadConfig, WorkloadKind, value,
};

pub(super) struct TypedPlugin {
    pub config: PluginConfig,
    pub targets: Vec<At<String>>,
    pub grants: Vec<At<String>>,
    pub place: String,
}

pub(super) struct TypedWorkload {
    pub config: WorkloadConfig,
    pub needs: Vec<At<String>>,
    pub place: String,
}

pub(super) struct TypedExternal {
    pub config: ExternalConfig,
    pub needs: Vec<At<String>>,
    pub place: String,
}

pub(super) fn plugin(section: &mut Section<'_>, defaults: &Defaults) -> Named<TypedPlugin> {
    let name = section.need_name("name");
    let package = section.need_text("package", "the path of a .plugin file", "");
    section.default("targets", vec!["*"]);
    let targets = section
        .texts("targets")
        .unwrap_or_else(|| vec![At { value: "*".into(), offset: section.offset() }]);
    let period_ms = section.preset("period", defaults.plugin_period_ms, 50..=HOUR);
    let usual = PluginConfig::unnamed(&name.value);
    let deadline_ms = section.duration("deadline", usual.deadline_ms.into(), 1..=MINUTE);
    let (quarantine_faults, quarantine_window_ms) = section.section("quarantine", |section| {
        let faults = section.integer("faults", usual.quarantine_faults, 1..=1000);
        (faults, section.duration("window", usual.quarantine_window_ms, SECOND..=7 * DAY))
    });
    let package = section.doc.resolve(&package.value);
    section.amend_path("package", &package);
    let grants = section.texts("grants").unwrap_or_default();
    let config = PluginConfig {
        name: name.value.clone(),
        package,
        digest: digest(section),
        grants: BTreeSet::new(),
        config: section.json("config"),
        targets: Vec::new(),
        judges: BTreeSet::new(),
        period_ms: u32::try_from(period_ms).unwrap_or(u32::MAX),
        deadline_ms: u32::try_from(deadline_ms).unwrap_or(u32::MAX),
        memory_max_bytes: section.size("memory_max", usual.memory_max_bytes, MIB / 4..=GIB),
        checkpoint_ms: section.duration("checkpoint", usual.checkpoint_ms, SECOND..=DAY),
        backoff_ms: section.preset("backoff", defaults.backoff_ms, 10..=MINUTE),
        quarantine_faults,
        quarantine_window_ms,
    };
    Named { name, what: TypedPlugin { config, targets, grants, place: section.place.clone() } }
}

fn digest(section: &mut Section<'_>) -> String {
    let wanted = "the SHA-256 of its component.wasm, as sha256:HEX";
    let hint = "this is the box's own word for the plugin, beside the publisher's signature";
    let text = section.need_text("digest", wanted, hint);
    value::digest(&text.value).unwrap_or_else(|| {
        if section.has("digest") {
            section.note("digest", wanted, value::quoted(&text.value), "it has 64 hex digits");
        }
        String::new()
    })
}

pub(super) fn workload(section: &mut Section<'_>, defaults: &Defaults) -> Named<TypedWorkload> {
    let name = section.need_name("name");
    let is_unit = section.choice("kind", &[("process", false), ("systemd", true)]);
    section.default("kind", "process");
    if is_unit == Some(true) {
        return unit(section, defaults, name);
    }
    section.default("desired", "running");
    let desired = section.choice("desired", &[("running", true), ("stopped", false)]);
    let needs = section.texts("needs").unwrap_or_default();
    let replicas = section.text("replicas").map(|group| {
        section.check_name("replicas", &group);
        group.value
    });
    let dir = section.text("dir");
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.value.starts_with('/')) {
        section.note("dir", "an absolute path", value::quoted(&dir.value), "");
    }
    let owner = SecretOwner::Workload { name: name.value.clone() };
    secret::secrets(section, &owner, Given::Variable);
    let config = WorkloadConfig {
        name: name.value.clone(),
        kind: WorkloadKind::Process,
        command: command(section, "command"),
        env: environment(section),
        dir: dir.map(|dir| PathBuf::from(dir.value)),
        user: section.word("user").map(|user| user.value),
        limits: section.section("limits", limits),
        replicas,
        needs: Vec::new(),
        desired_running: desired.unwrap_or(true),
        stop_deadline_ms: section.duration("stop_deadline", 10 * SECOND, 0..=HOUR),
        start_grace_ms: section.duration("start_grace", MINUTE, 0..=DAY),
        log_max_bytes: section.size("log_max", MIB, 4096..=GIB),
        log_files: section.integer("log_files", 3, 1..=100),
        probes: probes(section, defaults),
    };
    Named { name, what: TypedWorkload { config, needs, place: section.place.clone() } }
}

/// A workload that systemd keeps: its unit says how it runs.
fn unit(section: &mut Section<'_>, defaults: &Defaults, name: At<String>) -> Named<TypedWorkload> {
    let wanted = "a service of systemd's, such as llm.service";
    let unit = section.need_text("unit", wanted, "").value;
    if section.has("unit") && (!unit.ends_with(".service") || unit.contains(['/', ' '])) {
        section.note("unit", wanted, value::quoted(&unit), "");
    }
    section.default("desired", "running");
    let desired = section.choice("desired", &[("running", true), ("stopped", false)]);
    let replicas = section.text("replicas").map(|group| {
        section.check_name("replicas", &group);
        group.value
    });
    let needs = section.texts("needs").unwrap_or_default();
    let config = WorkloadConfig {
        name: name.value.clone(),
        kind: WorkloadKind::Systemd { unit },
        command: Vec::new(),
        env: Default::default(),
        dir: None,
        user: None,
        limits: LimitsConfig::default(),
        replicas,
        needs: Vec::new(),
        desired_running: desired.unwrap_or(true),
        stop_deadline_ms: section.duration("stop_deadline", 10 * SECOND, 0..=HOUR),
        start_grace_ms: section.duration("start_grace", MINUTE, 0..=DAY),
        log_max_bytes: 0,
        log_files: 0,
        probes: probes(section, defaults),
    };
    Named { name, what: TypedWorkload { config, needs, place: section.place.clone() } }
}

pub(super) fn systemd(section: &mut Section<'_>) -> SystemdConfig {
    const DEFAULT: &str = "unix:path=/run/dbus/system_bus_socket";
    section.default("address", DEFAULT);
    let address = section.text("address").map_or_else(|| DEFAULT.to_owned(), |text| text.value);
    if !address.starts_with("unix:path=/") {
        let hint = "the system's bus, unix:path=/run/dbus/system_bus_socket, is the default";
        section.note("address", "a D-Bus address, unix:path=…", value::quoted(&address), hint);
    }
    SystemdConfig { address }
}

fn limits(section: &mut Section<'_>) -> LimitsConfig {
    LimitsConfig {
        memory_max_bytes: section.size_opt("memory_max", MIB..=1024 * GIB),
        open_files_max: section.integer_opt("open_files_max", 16..=1_048_576),
        processes_max: section.integer_opt("processes_max", 1..=4_194_304),
        // The range of cgroup 2's cpu.weight.
        cpu_weight: section.integer_opt("cpu_weight", 1..=10_000),
        core_max_bytes: section.size_opt("core_max", 0..=1024 * GIB),
    }
}

pub(super) fn external(section: &mut Section<'_>, defaults: &Defaults) -> Named<TypedExternal> {
    let name = section.need_name("name");
    let needs = section.texts("needs").unwrap_or_default();
    let probes = probes(section, defaults);
    if probes.is_empty() {
        let hint = "without one nothing is known of it: add an [[external.probe]]";
        section.note("probe", "at least one probe", "none", hint);
    }
    let config = ExternalConfig { name: name.value.clone(), needs: Vec::new(), probes };
    Named { name, what: TypedExternal { config, needs, place: section.place.clone() } }
}
