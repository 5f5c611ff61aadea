//! The one typed file, and what it means.
//!
//! Two stages: what was typed (`config/`), and what it means (the types below).
//! All mistakes are found together, each with its line and a hint. A room is
//! handed its own part, never the whole.

mod action;
mod bus;
mod cycle;
mod document;
mod drill;
mod entry;
mod machine;
mod mistake;
mod modbus;
mod probe;
mod reader;
mod remedy;
mod resolve;
mod secret;
mod shown;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod trust;
mod typed;
mod value;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::model::catalogue::Catalogue;
use crate::model::{Graph, Mode, TargetId, Value, selects};

pub use action::placeholders;
pub use machine::Machine;
pub use mistake::{Mistake, Mistakes};
pub use secret::{SecretConfig, SecretOwner, Secrets, Unrevealed};
pub use shown::{Shown, Shows, Table, ValueOrigin};

/// Where a box keeps its file.
pub const DEFAULT_FILE: &str = "/etc/homeostat/homeostat.toml";
/// Where a client looks for the daemon when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/homeostat/homeostat.sock";
const RUN_DIR: &str = "/run/homeostat";
const SOCKET_NAME: &str = "homeostat.sock";

#[derive(Clone, Debug)]
pub struct Config {
    /// SHA-256 of the file's text, in hex.
    pub digest: String,
    pub identity: Identity,
    pub mode: Mode,
    pub paths: Paths,
    pub trust: TrustConfig,
    pub store: StoreConfig,
    pub api: ApiConfig,
    /// The one MQTT link, where there is a broker.
    pub bus: Option<BusConfig>,
    pub source: SourceConfig,
    pub guard: GuardConfig,
    pub incident: IncidentConfig,
    pub plugins: Vec<PluginConfig>,
    pub workloads: Vec<WorkloadConfig>,
    pub externals: Vec<ExternalConfig>,
    pub notify: Vec<NotifyConfig>,
    /// By the action's name in the catalogue.
    pub commands: Vec<CommandConfig>,
    pub reclaim: Vec<ReclaimConfig>,
    /// Every action of this box.
    pub catalogue: Arc<Catalogue>,
    pub drill: DrillConfig,
    pub recording: RecordingConfig,
    pub systemd: SystemdConfig,
    /// Where secrets lie; [`Config::reveal`] reads them.
    pub secrets: Vec<SecretConfig>,
    /// Every target and what it needs, from the parts above. Acyclic.
    pub graph: Graph,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub site: String,
}

#[derive(Clone, Debug)]
pub struct Paths {
    /// Journal, checkpoints, trust slot, sealed cache. Survives reboots.
    pub state: PathBuf,
    /// Sockets, locks, attempt records. May be a tmpfs.
    pub run: PathBuf,
    /// Where `homeostat-shim` and `homeostat-compile` lie; the daemon's own folder by default.
    pub programs: PathBuf,
}

#[derive(Clone, Debug)]
pub struct TrustConfig {
    /// Who may publish plugins: name and ed25519 public key (32 bytes).
    pub publishers: Vec<PublisherKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherKey {
    pub name: String,
    pub key: [u8; 32],
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Ceiling of the database on disk, in bytes.
    pub max_bytes: u64,
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
    /// How long a commit waits for company, in milliseconds; 0 commits at once.
    pub commit_window_ms: u64,
}

#[derive(Clone, Debug)]
pub struct ApiConfig {
    pub socket: PathBuf,
    /// Users that may command, besides root and the daemon's own.
    pub operators: BTreeSet<u32>,
    /// Group of the socket, whose members may connect and read; the daemon's own when none.
    pub group: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// `/proc`, unless a test pretends.
    pub proc_root: PathBuf,
    pub period_ms: u32,
    /// Mount points whose space is watched.
    pub filesystems: Vec<PathBuf>,
    /// The kernel's messages, unless they are not to be read.
    pub kmsg: Option<KmsgConfig>,
    pub logs: Vec<LogConfig>,
    pub journals: Vec<JournalConfig>,
    /// `journalctl`, unless a test pretends.
    pub journalctl: PathBuf,
    /// `/sys`, unless a test pretends.
    pub sys_root: PathBuf,
    /// Disks are asked for their health, where the box says so.
    pub smart: Option<SmartConfig>,
    pub links: Vec<LinkConfig>,
    pub sensors: Vec<SensorConfig>,
    /// What says whether the line may be disturbed now; each is a probe of its name.
    pub interlocks: Vec<ProbeConfig>,
}

/// Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct BusConfig {
    /// `HOST:PORT` of the broker.
    pub address: String,
    pub client_id: String,
    pub username: Option<String>,
    /// Given by [`Config::reveal`].
    pub password: Option<String>,
    pub keep_alive_ms: u64,
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, client_id, username, password: _, keep_alive_ms } = self;
        f.debug_struct("BusConfig")
            .field("address", address)
            .field("client_id", client_id)
            .field("username", username)
            .field("keep_alive_ms", keep_alive_ms)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartConfig {
    pub smartctl: PathBuf,
    pub period_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsgConfig {
    /// `/dev/kmsg`, unless a test pretends.
    pub path: PathBuf,
    /// Where it is written down how far they were read.
    pub place: PathBuf,
}

/// A log file of somebody else's, followed across rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What its lines call their source.
    pub name: String,
    pub path: PathBuf,
    /// Whose lines they are.
    pub target: TargetId,
    pub from: LogStart,
}

/// The journal of systemd, whole or of some units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    pub name: String,
    /// What its lines call their source.
    pub source: String,
    /// `journalctl`, unless a test pretends.
    pub program: PathBuf,
    /// All of it when none.
    pub units: Vec<String>,
    /// Whose lines they are.
    pub target: TargetId,
    /// Where it lies, if not where journals do.
    pub dir: Option<PathBuf>,
}

/// A network interface of the box, which is a target of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// As the kernel calls it.
    pub name: String,
    /// `HOST:PORT` of whom it should reach.
    pub hosts: Vec<String>,
    /// Between two attempts to reach a host.
    pub period_ms: u64,
    pub timeout_ms: u64,
    /// Whether it may be taken down and up again.
    pub bounce: bool,
}

/// Something that gives a number: one series, `sensor.NAME`.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorConfig {
    pub name: String,
    /// UCUM.
    pub unit: String,
    pub target: TargetId,
    pub period_ms: u64,
    /// What is read is multiplied by this.
    pub factor: f64,
    pub kind: SensorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SensorKind {
    /// A channel of Linux's industrial I/O, such as `in_voltage0`.
    Iio { device: String, channel: String },
    /// Writes a number, or JSON in which the pointer leads to one.
    Command {
        command: Vec<String>,
        env: BTreeMap<String, String>,
        pointer: Option<String>,
        timeout_ms: u64,
    },
    /// What a device tells by Modbus TCP.
    Modbus { address: String, point: ModbusPoint, timeout_ms: u64 },
    /// What comes on a topic of the bus: a number, or JSON with one.
    Mqtt { topic: String, pointer: Option<String> },
}

/// Where in a device a value is, and how it is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModbusPoint {
    pub unit_id: u8,
    pub table: ModbusTable,
    /// As on the wire, from zero.
    pub register: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModbusTable {
    Coil,
    Discrete,
    Holding(ModbusType),
    Input(ModbusType),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModbusType {
    U16,
    I16,
    U32(WordOrder),
    I32(WordOrder),
    F32(WordOrder),
}

impl ModbusTable {
    /// How many registers, or bits, the value takes.
    pub fn count(self) -> u16 {
        match self {
            Self::Coil | Self::Discrete => 1,
            Self::Holding(number) | Self::Input(number) => match number {
                ModbusType::U16 | ModbusType::I16 => 1,
                ModbusType::U32(_) | ModbusType::I32(_) | ModbusType::F32(_) => 2,
            },
        }
    }
}

/// Which of two registers comes first: the one with the high word is big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordOrder {
    Big,
    Little,
}

/// Where a log that is there when the daemon starts is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    Start,
    End,
}

#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Between two of the same action on the same target.
    pub cooldown_ms: u64,
    /// At most `rate_max` disrupting actions in `rate_window_ms`, over the whole box.
    pub rate_max: u32,
    pub rate_window_ms: u64,
    /// No plugin's action before the box is up this long.
    pub boot_grace_ms: u64,
    /// How long a permit is good.
    pub permit_ttl_ms: u64,
    /// More incidents than this in `storm_window_ms`, and nothing disrupting is done.
    pub storm_max: u32,
    pub storm_window_ms: u64,
    /// Actions that want a person's word first.
    pub approval: BTreeSet<String>,
    /// How long a person has to give it.
    pub approval_ttl_ms: u64,
    pub windows: Vec<WindowConfig>,
    /// Unless the box never boots itself.
    pub reboot: Option<RebootConfig>,
    /// Group of each workload that has one.
    pub replicas: BTreeMap<TargetId, String>,
}

/// A maintenance window: actions that disrupt at least so much wait for one.
#[derive(Clone, Debug)]
pub struct WindowConfig {
    pub name: String,
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Minutes since midnight of the zone's own clock. `to` is on the next day
    /// when it is not behind `from`.
    pub from_min: u16,
    pub to_min: u16,
    pub zone: jiff::tz::TimeZone,
    pub disruption: u8,
}

#[derive(Clone, Debug)]
pub struct IncidentConfig {
    /// Quiet this long after recovery is proven.
    pub hold_ms: u64,
    /// Good proofs in a row that make `recovered`.
    pub proofs_wanted: u32,
    /// A healer's answer is waited for this long.
    pub decide_timeout_ms: u64,
    /// A stuck incident is looked at again this often.
    pub stuck_retry_ms: u64,
    /// Most specific first; the first that matches names the healers.
    pub routes: Vec<Route>,
    /// A finding of the kind on the left may absorb findings of these kinds on
    /// targets that need its target.
    pub explains: BTreeMap<String, Vec<String>>,
}

impl IncidentConfig {
    /// Who is asked about trouble of `kind` on `target`, in order: by the first
    /// route that fits.
    pub fn healers(&self, kind: &str, target: &TargetId) -> &[String] {
        let fits =
            |route: &&Route| selects(&route.kind, kind) && selects(&route.target, target.as_str());
        self.routes.iter().find(fits).map_or(&[], |route| &route.healers)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Selector of the root finding's kind, such as `process.*`.
    pub kind: String,
    /// Selector of the root target.
    pub target: String,
    /// Asked in this order; a `decline` passes on.
    pub healers: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct PluginConfig {
    pub name: String,
    /// The `.plugin` file.
    pub package: PathBuf,
    /// SHA-256 of `component.wasm`, in hex: the box's own word for this plugin.
    pub digest: String,
    /// Actions that a healer may propose.
    pub grants: BTreeSet<String>,
    /// JSON text, handed to the plugin as it is.
    pub config: String,
    /// Selectors of the targets that a detector judges.
    pub targets: Vec<String>,
    /// Those of this file's targets that `targets` name.
    pub judges: BTreeSet<TargetId>,
    pub period_ms: u32,
    /// Of the processor, for one call; by the clock it may take ten times as long.
    pub deadline_ms: u32,
    pub memory_max_bytes: u64,
    /// A checkpoint is taken this often, where the plugin has one.
    pub checkpoint_ms: u64,
    /// First pause after a fault; doubles up to a minute.
    pub backoff_ms: u64,
    /// Faults in `quarantine_window_ms` that end it.
    pub quarantine_faults: u32,
    pub quarantine_window_ms: u64,
}

impl PluginConfig {
    /// What holds where the box's file says nothing of a plugin.
    pub fn unnamed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            package: PathBuf::new(),
            digest: String::new(),
            grants: BTreeSet::new(),
            config: "{}".into(),
            targets: Vec::new(),
            judges: BTreeSet::new(),
            period_ms: 1_000,
            deadline_ms: 100,
            memory_max_bytes: 16 << 20,
            checkpoint_ms: 60_000,
            backoff_ms: 1_000,
            quarantine_faults: 5,
            quarantine_window_ms: 600_000,
        }
    }
}

/// What keeps a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A shim of ours.
    Process,
    /// systemd, as a unit such as `llm.service`.
    Systemd { unit: String },
}

#[derive(Clone, Debug)]
pub struct WorkloadConfig {
    pub name: String,
    pub kind: WorkloadKind,
    /// Program and arguments. The program is an absolute path. A unit has its own.
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub dir: Option<PathBuf>,
    pub user: Option<String>,
    pub limits: LimitsConfig,
    /// Never under repair together with another of this group.
    pub replicas: Option<String>,
    /// Workloads, externals and links it needs (`workload:NAME`, `external:NAME`, `link:NAME`).
    pub needs: Vec<String>,
    /// Runs unless an operator says otherwise.
    pub desired_running: bool,
    /// From SIGTERM to SIGKILL of the whole tree.
    pub stop_deadline_ms: u64,
    /// From start to its first good probe; a failing probe is no fault before.
    pub start_grace_ms: u64,
    pub log_max_bytes: u64,
    pub log_files: u32,
    pub probes: Vec<ProbeConfig>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LimitsConfig {
    pub memory_max_bytes: Option<u64>,
    pub open_files_max: Option<u64>,
    pub processes_max: Option<u64>,
    pub cpu_weight: Option<u64>,
    pub core_max_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct ExternalConfig {
    pub name: String,
    /// Links that lead to it (`link:NAME`).
    pub needs: Vec<String>,
    pub probes: Vec<ProbeConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    pub name: String,
    pub kind: ProbeKind,
    pub period_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    Http {
        method: String,
        /// `http://HOST:PORT/PATH`
        url: String,
        headers: BTreeMap<String, String>,
        body: Option<String>,
        expect_status: u16,
        expect_text: Option<String>,
    },
    Tcp {
        address: String,
    },
    /// Good while the file says so: it is there and holds the text, or it is not there.
    File {
        path: PathBuf,
        expect: FileExpect,
    },
    /// The Nagios convention: exit 0 good, 1 warning (good), 2 bad, 3 no reading.
    Command {
        command: Vec<String>,
        env: BTreeMap<String, String>,
        /// Labels of what it measures that are kept, each a series of its own.
        perfdata: Vec<String>,
    },
}

/// A command as an action of the catalogue. Arguments may name parameters, and
/// the target, in braces.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandConfig {
    /// In the catalogue, such as `command.reload`.
    pub name: String,
    pub command: Vec<String>,
    /// Exit 0: it may be run now.
    pub precondition: Option<Vec<String>>,
    /// Looks for what a crash hid. Exit 0: it was done; 1: it was not.
    pub observe: Option<Vec<String>>,
    pub undo: Option<Vec<String>>,
    pub env: BTreeMap<String, String>,
    /// Of parameters that a proposal leaves out.
    pub defaults: BTreeMap<String, Value>,
}

/// Files of one folder that may go when room is wanted. `*` in a pattern stands
/// for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReclaimConfig {
    pub name: String,
    pub dir: PathBuf,
    /// Files of such names are removed, the oldest first, ...
    pub evict: Option<String>,
    /// ... but for the newest, ...
    pub keep: u32,
    /// ... and for those that were written to a moment ago, ...
    pub older_than_ms: u64,
    /// ... and only until the filesystem has so much room.
    pub until_free_bytes: Option<u64>,
    /// Files of such names lose their beginning, whoever writes to them.
    pub trim: Option<String>,
    /// This much of the end stays.
    pub trim_to_bytes: u64,
}

/// How often the box may boot itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebootConfig {
    pub max: u32,
    pub window_ms: u64,
}

/// Where systemd is reached, for workloads that are units of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdConfig {
    /// D-Bus address of the bus that it is on.
    pub address: String,
}

/// What came in, kept for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// What is older is let go.
    pub keep_ms: u64,
    /// Ceiling of what is held in memory, in bytes.
    pub memory_max_bytes: u64,
    /// Incidents whose recording is kept; 0 keeps none.
    pub incidents_max: usize,
    /// Ceiling of their files together, in bytes.
    pub disk_max_bytes: u64,
}

/// Faults that an operator may stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillConfig {
    pub allow: bool,
    /// A target is held still for so long at most.
    pub hang_max_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileExpect {
    Absent,
    /// With this text somewhere in it; any content when none.
    Present(Option<String>),
}

#[derive(Clone, Debug)]
pub struct NotifyConfig {
    pub name: String,
    pub kind: NotifyKind,
    /// Secrets: variables of a command, headers of a webhook.
    pub given: BTreeMap<String, String>,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug)]
pub enum NotifyKind {
    /// Gets the notification as JSON on its standard input.
    Command { command: Vec<String> },
    /// Gets it as the body of a POST.
    Webhook { url: String },
}

/// Reads the file at `path` and finds out what it means on this machine.
///
/// The file, and the key files it names, must be such that only root or their
/// owner can write them: whoever writes them commands the box.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    show(path).map(|(config, _)| config)
}

/// As [`load`], and how it came about: each value with its origin.
pub fn show(path: &Path) -> Result<(Config, Shown), Mistakes> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = machine::read_trusted(&path).map_err(|unreadable| {
        Mistakes::of_file(
            &path,
            "a configuration file, writable only by root or its owner",
            unreadable.found,
            unreadable.hint,
        )
    })?;
    read(&path, &text, &Machine::here())
}

/// What `text` means on `machine`. `path` names the file in mistakes, and
/// relative paths start at its folder.
pub fn parse(path: &Path, text: &str, machine: &Machine) -> Result<Config, Mistakes> {
    read(path, text, machine).map(|(config, _)| config)
}

fn read(path: &Path, text: &str, machine: &Machine) -> Result<(Config, Shown), Mistakes> {
    let syntax::Sound { text: sound, is_file, broken, lost } = syntax::sound(text);
    let (root, _) = DeTable::parse_recoverable(&sound);
    let doc = document::Document::new(path, text, machine, lost);
    let is_whole = broken.is_empty();
    broken.into_iter().for_each(|broken| doc.note_syntax(broken));
    let typed = is_file.then(|| doc.read(root.get_ref(), typed::file));
    // What one part of the file says of another is not looked at where the
    // other may be what is broken.
    match typed {
        Some(typed) if is_whole => {
            let config = doc.finish(resolve::config(&doc, typed))?;
            Ok((config, doc.shown.take()))
        }
        _ => Err(doc.mistakes()),
    }
}
