//! What is read of the box besides probes: `[source]`, logs, links, sensors.
//!
//! Invariant: as in `typed`: names of other things stay names.

use std::path::PathBuf;

use super::bus::mqtt;
use super::document::At;
use super::modbus::{self, modbus};
use super::probe::{command, environment, note_kind};
use super::reader::Section;
use super::typed::{DAY, Defaults, HOUR, MINUTE, Named, SECOND};
use super::{
    JournalConfig, KmsgConfig, LinkConfig, LogConfig, LogStart, Paths, SensorConfig, SensorKind,
    SmartConfig, SourceConfig, value,
};
use crate::model::TargetId;

pub(super) struct TypedLog {
    pub config: LogConfig,
    pub target: At<String>,
    pub place: String,
}

pub(super) struct TypedSensor {
    pub config: SensorConfig,
    pub target: At<String>,
    pub place: String,
}

pub(super) fn source(
    section: &mut Section<'_>,
    defaults: &Defaults,
    paths: &Paths,
) -> SourceConfig {
    let default_ms = u64::from(defaults.source_period_ms);
    let period_ms = section.preset("period", default_ms, 100..=10 * MINUTE);
    let filesystems = section.texts("filesystems");
    for path in filesystems.iter().flatten().filter(|path| !path.value.starts_with('/')) {
        let place = section.at("filesystems");
        let found = value::quoted(&path.value);
        section.doc.note(path.offset, &place, "mount points, such as /var", found, None);
    }
    SourceConfig {
        proc_root: section.path("proc_root", || PathBuf::from("/proc")),
        period_ms: u32::try_from(period_ms).unwrap_or(u32::MAX),
        filesystems: match filesystems {
            Some(paths) => paths.into_iter().map(|path| PathBuf::from(path.value)).collect(),
            None => {
                section.default("filesystems", vec!["/"]);
                vec![PathBuf::from("/")]
            }
        },
        kmsg: kmsg(section, paths),
        logs: Vec::new(),
        journals: Vec::new(),
        journalctl: section.path("journalctl", || PathBuf::from("/usr/bin/journalctl")),
        sys_root: section.path("sys_root", || PathBuf::from("/sys")),
        smart: smart(section),
        links: Vec::new(),
        sensors: Vec::new(),
        interlocks: Vec::new(),
    }
}

/// Off where nothing is said: asking takes privileges that a daemon may not have.
fn smart(section: &mut Section<'_>) -> Option<SmartConfig> {
    let wanted = section.flag("smart", false);
    let config = SmartConfig {
        smartctl: section.path("smartctl", || PathBuf::from("/usr/sbin/smartctl")),
        period_ms: section.duration("smart_period", HOUR, SECOND..=7 * DAY),
    };
    wanted.then_some(config)
}

fn kmsg(section: &mut Section<'_>, paths: &Paths) -> Option<KmsgConfig> {
    let typed = section.text("kmsg").map(|text| text.value);
    let path = typed.as_deref().unwrap_or("/dev/kmsg");
    section.default("kmsg", path);
    if !path.starts_with('/') && path != "off" {
        section.note("kmsg", "an absolute path, or \"off\"", value::quoted(path), "");
    }
    let (path, place) = (PathBuf::from(path), paths.run.join("kmsg"));
    path.has_root().then_some(KmsgConfig { path, place })
}

pub(super) fn log(section: &mut Section<'_>) -> Named<TypedLog> {
    let name = section.need_name("name");
    let path = section.need_text("path", "the path of a log file", "");
    let target = target(section);
    let from = section.choice("from", &[("end", LogStart::End), ("start", LogStart::Start)]);
    let config = LogConfig {
        name: name.value.clone(),
        path: section.doc.resolve(&path.value),
        target: TargetId::from_text(&target.value),
        from: from.unwrap_or(LogStart::End),
    };
    section.default("from", "end");
    // A detector tells them apart by their source.
    if ["output", "kmsg"].contains(&name.value.as_str()) {
        let hint = "a workload's own output and the kernel's messages are called so";
        section.note("name", "a name of its own", value::quoted(&name.value), hint);
    }
    Named { name, what: TypedLog { config, target, place: section.place.clone() } }
}

pub(super) struct TypedJournal {
    /// Its program is that of `[source]`.
    pub config: JournalConfig,
    pub target: At<String>,
    pub place: String,
}

pub(super) fn journal(section: &mut Section<'_>) -> Named<TypedJournal> {
    let name = section.need_name("name");
    let target = target(section);
    let units = section.texts("units").unwrap_or_default();
    let dir = section.text("dir");
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.value.starts_with('/')) {
        section.note("dir", "an absolute path", value::quoted(&dir.value), "");
    }
    if ["output", "kmsg"].contains(&name.value.as_str()) {
        let hint = "a workload's own output and the kernel's messages are called so";
        section.note("name", "a name of its own", value::quoted(&name.value), hint);
    }
    let config = JournalConfig {
        name: name.value.clone(),
        source: name.value.clone(),
        program: PathBuf::new(),
        units: units.into_iter().map(|unit| unit.value).collect(),
        target: TargetId::from_text(&target.value),
        dir: dir.map(|dir| PathBuf::from(dir.value)),
    };
    Named { name, what: TypedJournal { config, target, place: section.place.clone() } }
}

pub(super) fn link(section: &mut Section<'_>) -> Named<LinkConfig> {
    let wanted = "a network interface, such as eth0";
    let name = section.need_text("name", wanted, "");
    if section.has("name")
        && let Err(hint) = value::check_interface(&name.value)
    {
        section.note("name", wanted, value::quoted(&name.value), hint);
    }
    let hosts = section.texts("hosts").unwrap_or_default();
    for (at, host) in hosts.iter().enumerate() {
        let twin = hosts[..at].iter().any(|before| before.value == host.value);
        let wrong = value::check_address(&host.value).err();
        if let Some(hint) = wrong.or_else(|| twin.then(|| "it is there twice".into())) {
            let found = value::quoted(&host.value);
            section.doc.note(host.offset, &section.at("hosts"), "HOST:PORT", found, Some(hint));
        }
    }
    let config = LinkConfig {
        name: name.value.clone(),
        bounce: section.flag("bounce", false),
        hosts: hosts.into_iter().map(|host| host.value).collect(),
        period_ms: section.duration("period", 5 * SECOND, 100..=HOUR),
        timeout_ms: section.duration("timeout", SECOND, 10..=MINUTE),
    };
    Named { name, what: config }
}

pub(super) fn sensor(section: &mut Section<'_>) -> Named<TypedSensor> {
    let name = section.need_name("name");
    let target = target(section);
    let hint = "a unit of UCUM, such as Cel, V, bar; 1 where there is none";
    let unit = section.need_text("unit", "what it is measured in", hint).value;
    let config = SensorConfig {
        name: name.value.clone(),
        unit,
        target: TargetId::from_text(&target.value),
        period_ms: section.duration("period", 5 * SECOND, 50..=HOUR),
        factor: section.number("factor", 1.0),
        kind: sensor_kind(section),
    };
    Named { name, what: TypedSensor { config, target, place: section.place.clone() } }
}

#[derive(Clone, Copy)]
enum SensorWord {
    Iio,
    Command,
    Modbus,
    Mqtt,
}

fn sensor_kind(section: &mut Section<'_>) -> SensorKind {
    let words = [
        ("iio", SensorWord::Iio),
        ("command", SensorWord::Command),
        ("modbus", SensorWord::Modbus),
        ("mqtt", SensorWord::Mqtt),
    ];
    match section.choice("kind", &words) {
        Some(SensorWord::Iio) => SensorKind::Iio {
            device: section.need_text("device", "the name of an IIO device", "").value,
            channel: section.need_text("channel", "a channel, such as in_voltage0", "").value,
        },
        Some(SensorWord::Command) => SensorKind::Command {
            command: command(section, "command"),
            env: environment(section),
            pointer: pointer(section),
            timeout_ms: section.duration("timeout", 3 * SECOND, 10..=HOUR),
        },
        Some(SensorWord::Modbus) => modbus(section),
        Some(SensorWord::Mqtt) => mqtt(section),
        None => {
            note_kind(section, "one of iio, command, modbus, mqtt");
            section.ignore(&["device", "channel", "command", "env", "pointer", "topic"]);
            section.ignore(&modbus::KEYS);
            section.ignore(&["timeout_s", "timeout_ms"]);
            SensorKind::Iio { device: String::new(), channel: String::new() }
        }
    }
}

/// RFC 6901.
pub(super) fn pointer(section: &mut Section<'_>) -> Option<String> {
    let pointer = section.text("pointer")?;
    if !pointer.value.is_empty() && !pointer.value.starts_with('/') {
        let wanted = "a JSON pointer, such as /data/0/value";
        section.note("pointer", wanted, value::quoted(&pointer.value), "it begins with /");
    }
    Some(pointer.value)
}

/// Whose it is: the box's when nothing is said.
fn target(section: &mut Section<'_>) -> At<String> {
    section.default("target", "box");
    section.text("target").unwrap_or(At { value: "box".into(), offset: section.offset() })
}
