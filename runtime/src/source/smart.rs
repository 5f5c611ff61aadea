//! What disks say of their own health: SMART of ATA, the health log of NVMe.
//!
//! Invariant: one disk is asked at a time, by a program that is killed when it
//! does not return; a disk that sleeps is left to. What a disk does not say has
//! no reading.
//!
//! smartmontools' `smartctl` is run, because what vendors mean by their numbers
//! is a database that others keep. Its exit status is a set of bits (smartctl(8),
//! EXIT STATUS): the first two say that there is no answer, the others speak of
//! the disk. Names are OpenTelemetry's
//! (<https://opentelemetry.io/docs/specs/semconv/hardware/physical-disk/>).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::ended;
use super::line::Around;
use super::outlet::Open;
use super::read::{Said, number};
use super::series::{Registry, Values};
use crate::config::SmartConfig;
use crate::model::{Batch, SeriesId, TargetId};
use crate::program::{End, Heard, Program};

const TIMEOUT: Duration = Duration::from_secs(30);
const DISKS_MAX: usize = 64;
/// Bits of the exit status: its arguments did not parse, the disk did not open.
const NO_ANSWER: i32 = 0b11;
/// Attributes of ATA by smartctl's name, and what they are called here.
const COUNTS: [(&str, &str); 3] = [
    ("Reallocated_Sector_Ct", "reallocated_sectors"),
    ("Current_Pending_Sector", "pending_sectors"),
    ("Offline_Uncorrectable", "uncorrectable_sectors"),
];
/// Of NVMe's critical warning, the bit that speaks of its heat: no fault of the
/// disk's own, and `hw.temperature` has it.
const NVME_HOT: u64 = 0b10;
/// Whose value is the share of its life that an SSD has left, in percent.
const LIFE_LEFT: [&str; 4] =
    ["SSD_Life_Left", "Percent_Lifetime_Remain", "Media_Wearout_Indicator", "Wear_Leveling_Count"];
const SPARE: &str = "available_spare";
const MEDIA_ERRORS: &str = "media_errors";

pub(super) struct Smart {
    config: SmartConfig,
    disks: Vec<Disk>,
}

struct Disk {
    name: String,
    failed: SeriesId,
    remaining: SeriesId,
    attributes: BTreeMap<&'static str, SeriesId>,
    said: Said,
}

/// What one disk said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Health {
    failed: Option<bool>,
    /// Of its endurance, 0 to 1.
    remaining: Option<f64>,
    attributes: BTreeMap<&'static str, f64>,
}

impl Smart {
    pub(super) fn new(sys_root: &Path, config: &SmartConfig, registry: &mut Registry) -> Self {
        registry.set_period_ms(config.period_ms);
        let disks = found(sys_root).into_iter().map(|name| Disk::new(name, registry)).collect();
        Self { config: config.clone(), disks }
    }

    pub(super) fn start(self, around: Around) {
        if !self.disks.is_empty() {
            tokio::spawn(self.watch(around));
        }
    }

    async fn watch(mut self, around: Around) {
        let mut tick = interval(Duration::from_millis(self.config.period_ms.max(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop: watch::Receiver<bool> = around.alive.clone();
        let ask = async {
            loop {
                tick.tick().await;
                for disk in &mut self.disks {
                    let health = ask(&self.config, &disk.name, &around).await;
                    let Some(health) = disk.said.note(health) else { continue };
                    let values = disk.values(&health);
                    let age_ms = around.clock.age_ms();
                    if around.outlet.batch(Batch { age_ms, values }) == Open::No {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = ended(&mut stop) => {}
            () = ask => {}
        }
    }
}

/// Disks that can be asked: no partitions, nothing that is another's shadow, and
/// no stick that somebody left in.
pub(super) fn found(sys_root: &Path) -> Vec<String> {
    let blocks = fs::read_dir(sys_root.join("block")).into_iter().flatten().flatten();
    let named = blocks.filter_map(|block| block.file_name().into_string().ok());
    let disk = |name: &String| {
        let removable = fs::read(sys_root.join("block").join(name).join("removable"));
        let removable = removable.is_ok_and(|text| number(text.trim_ascii()) == Some(1_u8));
        let scsi =
            name.strip_prefix("sd").is_some_and(|it| it.bytes().all(|b| b.is_ascii_lowercase()));
        (scsi || name.starts_with("nvme")) && !removable
    };
    let mut disks: Vec<_> = named.filter(disk).collect();
    disks.sort();
    disks.truncate(DISKS_MAX);
    disks
}

impl Disk {
    fn new(name: String, registry: &mut Registry) -> Self {
        let the_box = TargetId::the_box();
        let device = ("system.device", name.as_str());
        let state = [("hw.type", "physical_disk"), device, ("state", "failed")];
        let failed = registry.add("hw.status", "1", &the_box, &state);
        let remaining = [device, ("state", "remaining")];
        let endurance = "hw.physical_disk.endurance_utilization";
        let remaining = registry.add(endurance, "1", &the_box, &remaining);
        let ata = COUNTS.map(|(_, attribute)| (attribute, "{sector}"));
        let nvme = [(SPARE, "%"), (MEDIA_ERRORS, "{error}")];
        let told: &[_] = if name.starts_with("nvme") { &nvme } else { &ata };
        let attributes = told.iter().map(|(attribute, unit)| {
            let labels = [("hw.physical_disk.smart_attribute", *attribute), device];
            (*attribute, registry.add("hw.physical_disk.smart", unit, &the_box, &labels))
        });
        let attributes = attributes.collect();
        Self { failed, remaining, attributes, said: Said::new(format!("SMART of {name}")), name }
    }

    fn values(&self, health: &Health) -> Values {
        let failed = health.failed.map(|it| (self.failed, f64::from(u8::from(it))));
        let remaining = health.remaining.map(|it| (self.remaining, it));
        let attributes = health.attributes.iter();
        let attributes =
            attributes.filter_map(|(name, value)| Some((*self.attributes.get(name)?, *value)));
        failed.into_iter().chain(remaining).chain(attributes).collect()
    }
}

async fn ask(config: &SmartConfig, disk: &str, around: &Around) -> io::Result<Health> {
    let smartctl = config.smartctl.display().to_string();
    let device = format!("/dev/{disk}");
    // A disk that sleeps answers nothing, and its exit status is no error.
    let words = [&smartctl, "--json=c", "-n", "standby,0", "-H", "-A", &device];
    let words = words.map(str::to_owned);
    let program = Program::new(&words, &BTreeMap::new(), Heard::Output, &around.alive);
    let ended = program.run(TIMEOUT).await.map_err(io::Error::other)?;
    match ended.end {
        End::Exited => health(&ended.output, ended.status.code()),
        End::TimedOut => Err(io::Error::other("smartctl did not return and was killed")),
        End::Cancelled => Err(io::Error::other("smartctl was cancelled")),
    }
}

/// Of smartctl's JSON, what is looked at.
#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    smartctl: About,
    smart_status: Option<Status>,
    nvme_smart_health_information_log: Option<Nvme>,
    ata_smart_attributes: Option<Attributes>,
    /// Of every kind of disk, from smartmontools 7.5 on.
    endurance_used: Option<Endurance>,
}

#[derive(Default, Deserialize)]
struct About {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    string: String,
}

#[derive(Deserialize)]
struct Status {
    passed: bool,
}

#[derive(Deserialize)]
struct Nvme {
    #[serde(default)]
    critical_warning: u64,
    available_spare: Option<f64>,
    percentage_used: Option<f64>,
    media_errors: Option<f64>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    table: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    name: String,
    /// As the vendor scales it, best at first.
    value: f64,
    raw: Raw,
}

#[derive(Deserialize)]
struct Raw {
    value: f64,
}

#[derive(Deserialize)]
struct Endurance {
    current_percent: f64,
}

fn health(output: &[u8], status: Option<i32>) -> io::Result<Health> {
    let found = |found: &str| io::Error::other(format!("wanted smartctl's JSON, found {found}"));
    let told: Output = serde_json::from_slice(output).map_err(|error| found(&error.to_string()))?;
    if status.is_none_or(|status| status & NO_ANSWER != 0) {
        let why: Vec<_> = told.smartctl.messages.iter().map(|it| it.string.as_str()).collect();
        return Err(io::Error::other(format!("smartctl has no answer: {}", why.join("; "))));
    }
    let table = told.ata_smart_attributes.map(|it| it.table).unwrap_or_default();
    let attribute = |name: &str| table.iter().find(|it| it.name == name);
    let counts = COUNTS.iter();
    let mut attributes: BTreeMap<_, _> =
        counts.filter_map(|(name, ours)| Some((*ours, attribute(name)?.raw.value))).collect();
    let nvme = told.nvme_smart_health_information_log;
    let failed = match (&nvme, &told.smart_status) {
        (Some(nvme), _) => Some(nvme.critical_warning & !NVME_HOT != 0),
        (None, status) => status.as_ref().map(|it| !it.passed),
    };
    if let Some(nvme) = &nvme {
        attributes.extend(nvme.available_spare.map(|it| (SPARE, it)));
        attributes.extend(nvme.media_errors.map(|it| (MEDIA_ERRORS, it)));
    }
    let used = told.endurance_used.map(|it| it.current_percent);
    let used = used.or_else(|| nvme.and_then(|it| it.percentage_used));
    let left = || LIFE_LEFT.iter().find_map(|name| attribute(name)).map(|it| it.value);
    // More than all of it may have been used.
    let remaining = used.map(|used| 100.0 - used).or_else(left);
    Ok(Health {
        failed,
        remaining: remaining.map(|percent| percent.clamp(0.0, 100.0) / 100.0),
        attributes,
    })
}

#[cfg(test)]
mod tests;
