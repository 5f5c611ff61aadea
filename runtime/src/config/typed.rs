//! What was typed: each section as a function of one screen.
//!
//! Invariant: nothing here looks beyond its own section. Names of other things
//! stay names, with their place in the file, for `resolve` to look up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::document::At;
use super::reader::Section;
use super::secret::{self, Given, SecretOwner};
use super::{
    ApiConfig, BusConfig, CommandConfig, DrillConfig, GuardConfig, Identity, LinkConfig,
    NotifyConfig, NotifyKind, Paths, ProbeConfig, RebootConfig, ReclaimConfig, RecordingConfig,
    SourceConfig, StoreConfig, SystemdConfig, TrustConfig, WindowConfig,
    action::{self, TypedAction},
    bus, drill,
    entry::{self, TypedExternal, TypedPlugin, TypedWorkload},
    probe, remedy,
    source::{self, TypedJournal, TypedLog, TypedSensor},
    trust, value, window,
};
use crate::model::Mode;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// A name that stands in for others: [`super::resolve`] sees that it is the only one.
pub(super) struct Named<T> {
    pub name: At<String>,
    pub what: T,
}

pub(super) struct Typed {
    pub identity: Identity,
    pub mode: Mode,
    pub paths: Paths,
    pub trust: TrustConfig,
    pub publishers: Vec<At<String>>,
    pub store: StoreConfig,
    pub api: ApiConfig,
    pub bus: Option<BusConfig>,
    pub source: SourceConfig,
    pub guard: GuardConfig,
    pub approval: Vec<At<String>>,
    pub windows: Vec<Named<WindowConfig>>,
    pub incident: TypedIncident,
    pub plugins: Vec<Named<TypedPlugin>>,
    pub workloads: Vec<Named<TypedWorkload>>,
    pub externals: Vec<Named<TypedExternal>>,
    pub notify: Vec<Named<NotifyConfig>>,
    pub actions: Vec<Named<TypedAction>>,
    pub reclaim: Vec<Named<ReclaimConfig>>,
    pub resync: Option<CommandConfig>,
    pub reboot: Option<(RebootConfig, CommandConfig)>,
    pub drill: DrillConfig,
    pub recording: RecordingConfig,
    pub systemd: SystemdConfig,
    pub logs: Vec<Named<TypedLog>>,
    pub journals: Vec<Named<TypedJournal>>,
    pub links: Vec<Named<LinkConfig>>,
    pub sensors: Vec<Named<TypedSensor>>,
    pub interlocks: Vec<Named<ProbeConfig>>,
}

/// `[incident]`, its routes still naming plugins and targets.
pub(super) struct TypedIncident {
    pub hold_ms: u64,
    pub proofs_wanted: u32,
    pub decide_timeout_ms: u64,
    pub stuck_retry_ms: u64,
    pub routes: Vec<TypedRoute>,
    pub explains: BTreeMap<String, Vec<String>>,
}

pub(super) struct TypedRoute {
    pub kind: At<String>,
    pub target: At<String>,
    pub healers: Vec<At<String>>,
    pub place: String,
}

/// What a left-out key means. `profile` picks the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    pub probe_period_ms: u64,
    pub probe_timeout_ms: u64,
    pub source_period_ms: u32,
    pub plugin_period_ms: u64,
    pub hold_ms: u64,
    pub cooldown_ms: u64,
    pub boot_grace_ms: u64,
    pub backoff_ms: u64,
}

impl Defaults {
    /// A hang right after a good probe is seen by three bad ones in 3 × 5 s + 3 s = 18 s.
    const CALM: Self = Self {
        probe_period_ms: 5 * SECOND,
        probe_timeout_ms: 3 * SECOND,
        source_period_ms: 1000,
        plugin_period_ms: SECOND,
        hold_ms: 2 * MINUTE,
        cooldown_ms: 30 * SECOND,
        boot_grace_ms: MINUTE,
        backoff_ms: SECOND,
    };
    /// The same in 3 × 0.5 s + 0.4 s + one frame of 0.25 s; three proofs, hastened, fit into 3 s.
    const FAST: Self = Self {
        probe_period_ms: 500,
        probe_timeout_ms: 400,
        source_period_ms: 500,
        plugin_period_ms: 250,
        hold_ms: 10 * SECOND,
        cooldown_ms: 2 * SECOND,
        boot_grace_ms: 5 * SECOND,
        backoff_ms: 250,
    };
}

pub(super) fn file(root: &mut Section<'_>) -> Typed {
    let (identity, mode, defaults) = root.section("box", the_box);
    let paths = root.section("paths", paths);
    let (trust, publishers) = root.section("trust", trust::trust);
    let (guard, approval) = root.section("guard", |section| guard(section, &defaults));
    Typed {
        mode,
        trust,
        publishers,
        store: root.section("store", store),
        api: root.section("api", |section| api(section, &paths)),
        bus: root.section("bus", |section| bus::bus(section, &identity.name)),
        source: root.section("source", |section| source::source(section, &defaults, &paths)),
        guard,
        approval,
        windows: root.each("maintenance", window::window),
        incident: root.section("incident", |section| incident(section, &defaults)),
        plugins: root.each("plugin", |section| entry::plugin(section, &defaults)),
        workloads: root.each("workload", |section| entry::workload(section, &defaults)),
        externals: root.each("external", |section| entry::external(section, &defaults)),
        notify: root.each("notify", notify),
        actions: root.each("action", action::action),
        reclaim: root.each("reclaim", remedy::reclaim),
        resync: root.section("resync", remedy::resync),
        reboot: root.section("reboot", remedy::reboot),
        drill: root.section("drill", drill::drill),
        recording: root.section("recording", recording),
        systemd: root.section("systemd", entry::systemd),
        logs: root.each("log", source::log),
        journals: root.each("journal", source::journal),
        links: root.each("link", source::link),
        sensors: root.each("sensor", source::sensor),
        interlocks: root.each("interlock", probe::interlock),
        paths,
        identity,
    }
}

fn the_box(section: &mut Section<'_>) -> (Identity, Mode, Defaults) {
    let modes =
        [("observe", Mode::Observe), ("suggest", Mode::Suggest), ("enforce", Mode::Enforce)];
    let mode = section.choice("mode", &modes);
    if !section.has("mode") {
        let hint = "observe: show what is wrong; suggest: also show what would be done; \
                    enforce: do what the guard permits";
        section.note("mode", "one of observe, suggest, enforce", "nothing", hint);
    }
    let profiles = [("default", Defaults::CALM), ("fast", Defaults::FAST)];
    let defaults = section.choice("profile", &profiles).unwrap_or(Defaults::CALM);
    section.default("profile", "default");
    section.doc.profile.set((defaults == Defaults::FAST).then_some("fast"));
    let site = section.text("site");
    section.default("site", "default");
    if let Some(site) = &site {
        section.check_name("site", site);
    }
    let identity = Identity {
        name: box_name(section),
        site: site.map_or_else(|| "default".into(), |site| site.value),
    };
    (identity, mode.unwrap_or(Mode::Observe), defaults)
}

/// The box's name; the host name up to its first dot, when there is none.
fn box_name(section: &mut Section<'_>) -> String {
    if section.has("name") {
        return section.need_name("name").value;
    }
    section.text("name");
    let host = section.doc.machine.hostname.to_ascii_lowercase();
    let name = host.split('.').next().unwrap_or_default().to_owned();
    if value::check_name(&name).is_err() {
        let found = format!("nothing, and the host name {}", value::quoted(&host));
        section.note("name", value::NAME_WANTED, found, "say name = \"…\"");
    }
    section.machine_says("name", name.as_str());
    name
}

fn paths(section: &mut Section<'_>) -> Paths {
    let programs = section.doc.machine.programs.clone();
    Paths {
        state: section.path("state", || PathBuf::from("/var/lib/homeostat")),
        run: section.path("run", || PathBuf::from(super::RUN_DIR)),
        programs: section.path("programs", || programs),
    }
}

fn store(section: &mut Section<'_>) -> StoreConfig {
    StoreConfig {
        max_bytes: section.size("max", 64 * MIB, 4 * MIB..=64 * GIB),
        cache_bytes: section.size("cache", 2 * MIB, MIB / 4..=GIB),
        commit_window_ms: section.duration("commit_window", 2, 0..=SECOND),
    }
}

fn recording(section: &mut Section<'_>) -> RecordingConfig {
    let incidents_max = section.integer("incidents", 16_u32, 0..=1_000);
    RecordingConfig {
        keep_ms: section.duration("keep", 5 * MINUTE, SECOND..=DAY),
        memory_max_bytes: section.size("memory_max", MIB / 2, MIB / 16..=GIB),
        incidents_max: usize::try_from(incidents_max).unwrap_or(usize::MAX),
        disk_max_bytes: section.size("disk_max", 16 * MIB, MIB..=64 * GIB),
    }
}

fn api(section: &mut Section<'_>, paths: &Paths) -> ApiConfig {
    /// `sun_path` of a Unix socket's address, with its closing zero (unix(7)).
    const SOCKET_LEN_MAX: usize = 107;
    let socket = section.path("socket", || paths.run.join(super::SOCKET_NAME));
    let len = socket.as_os_str().len();
    if len > SOCKET_LEN_MAX {
        let wanted = format!("a path of at most {SOCKET_LEN_MAX} bytes");
        section.note("socket", wanted, format!("{len}"), "the kernel takes no longer one");
    }
    let machine = section.doc.machine;
    let mut operators = BTreeSet::new();
    for word in section.words("operators") {
        operators.extend(id(section, "operators", &word, "user", &machine.users));
    }
    let group = section.word("group");
    let group = group.and_then(|word| id(section, "group", &word, "group", &machine.groups));
    ApiConfig { socket, operators, group }
}

fn id(
    section: &Section<'_>,
    key: &str,
    word: &At<String>,
    noun: &str,
    known: &BTreeMap<String, u32>,
) -> Option<u32> {
    let id = word.value.parse().ok().or_else(|| known.get(&word.value).copied());
    if id.is_none() {
        let near = super::mistake::nearest(&word.value, known.keys().map(String::as_str));
        let hint = near.map_or_else(
            || format!("a number always works; names come from the local {noun} file"),
            |near| format!("did you mean `{near}`?"),
        );
        let wanted = format!("a {noun} of this box, by name or number");
        let found = value::quoted(&word.value);
        section.doc.note(word.offset, &section.at(key), wanted, found, Some(hint));
    }
    id
}

/// And the actions that want a person's word.
fn guard(section: &mut Section<'_>, defaults: &Defaults) -> (GuardConfig, Vec<At<String>>) {
    let guard = GuardConfig {
        cooldown_ms: section.preset("cooldown", defaults.cooldown_ms, 0..=DAY),
        rate_max: section.integer("rate_max", 10, 1..=10_000),
        rate_window_ms: section.duration("rate_window", 10 * MINUTE, SECOND..=7 * DAY),
        boot_grace_ms: section.preset("boot_grace", defaults.boot_grace_ms, 0..=HOUR),
        permit_ttl_ms: section.duration("permit_ttl", 30 * SECOND, SECOND..=HOUR),
        storm_max: section.integer("storm_max", 20, 1..=1_000),
        storm_window_ms: section.duration("storm_window", 10 * MINUTE, SECOND..=DAY),
        approval: BTreeSet::new(),
        approval_ttl_ms: section.duration("approval_ttl", 15 * MINUTE, SECOND..=7 * DAY),
        windows: Vec::new(),
        reboot: None,
        replicas: BTreeMap::new(),
    };
    (guard, section.texts("approval").unwrap_or_default())
}

fn incident(section: &mut Section<'_>, defaults: &Defaults) -> TypedIncident {
    TypedIncident {
        hold_ms: section.preset("hold", defaults.hold_ms, SECOND..=7 * DAY),
        proofs_wanted: section.integer("proofs_wanted", 3, 1..=100),
        decide_timeout_ms: section.duration("decide_timeout", 5 * SECOND, 100..=10 * MINUTE),
        stuck_retry_ms: section.duration("stuck_retry", 15 * MINUTE, SECOND..=30 * DAY),
        routes: section.each("route", route),
        explains: section.texts_map("explains"),
    }
}

fn route(section: &mut Section<'_>) -> TypedRoute {
    let everything = At { value: "*".to_owned(), offset: section.offset() };
    let healers = section.texts("healers").unwrap_or_default();
    section.default("kind", "*");
    section.default("target", "*");
    if healers.is_empty() {
        let hint = "name the plugins to ask, in order: healers = [\"ladder\"]";
        section.note("healers", "at least one plugin", "none", hint);
    }
    TypedRoute {
        kind: section.text("kind").unwrap_or_else(|| everything.clone()),
        target: section.text("target").unwrap_or(everything),
        healers,
        place: section.place.clone(),
    }
}

fn notify(section: &mut Section<'_>) -> Named<NotifyConfig> {
    #[derive(Clone, Copy)]
    enum Kind {
        Command,
        Webhook,
    }
    let name = section.need_name("name");
    let kinds = [("command", Kind::Command), ("webhook", Kind::Webhook)];
    let kind = section.choice("kind", &kinds);
    let what = match kind {
        Some(Kind::Webhook) => NotifyKind::Webhook { url: probe::url(section, "url") },
        Some(Kind::Command) => NotifyKind::Command { command: probe::command(section, "command") },
        None => {
            probe::note_kind(section, "one of command, webhook");
            section.ignore(&["url", "command"]);
            NotifyKind::Command { command: Vec::new() }
        }
    };
    let given = match &what {
        NotifyKind::Command { .. } => Given::Variable,
        NotifyKind::Webhook { .. } => Given::Header,
    };
    let owner = SecretOwner::Notify { name: name.value.clone() };
    secret::secrets(section, &owner, given);
    let timeout_ms = section.duration("timeout", 10 * SECOND, 100..=10 * MINUTE);
    let given = BTreeMap::new();
    let config = NotifyConfig { name: name.value.clone(), kind: what, given, timeout_ms };
    Named { name, what: config }
}
