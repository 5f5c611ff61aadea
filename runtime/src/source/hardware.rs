//! Temperatures, fans, voltages and power, from `/sys/class/hwmon` and
//! `/sys/class/thermal`.
//!
//! Invariant: sensors are those that are there at the start. A chip behind a
//! slow bus takes its time to answer, so they are read on a thread of their own;
//! one that gives no reading costs that reading only.
//!
//! Names and units are OpenTelemetry's semantic conventions for hardware
//! (<https://opentelemetry.io/docs/specs/semconv/hardware/>); files and their
//! units are the kernel's Documentation/hwmon/sysfs-interface.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::halt::Woken;
use super::line::Around;
use super::outlet::Open;
use super::read::{Page, Said, malformed, number, words};
use super::series::{Registry, Values};
use crate::model::{Batch, SeriesId, TargetId};

const SENSORS_MAX: usize = 256;

/// Kinds of hwmon sensors: the beginning of their files' names, and how many of
/// their units make one of ours.
const KINDS: [(&str, &str, &str, f64); 4] = [
    ("temp", "hw.temperature", "Cel", 1e3),
    ("fan", "hw.fan.speed", "rpm", 1.0),
    ("in", "hw.voltage", "V", 1e3),
    ("power", "hw.power", "W", 1e6),
];
const MILLI: f64 = 1e3;

pub(super) struct Hardware {
    sensors: Vec<Sensor>,
    period: Duration,
    page: Page,
}

struct Sensor {
    path: PathBuf,
    units: f64,
    series: SeriesId,
    /// Fixed by the maker, and read once.
    limit: Option<(SeriesId, f64)>,
    said: Said,
}

/// A sensor as it was found, before it has its series.
struct Found {
    input: PathBuf,
    critical: Option<PathBuf>,
    series: (&'static str, &'static str),
    units: f64,
    id: String,
    name: String,
}

impl Hardware {
    pub(super) fn new(sys_root: &Path, period_ms: u32, registry: &mut Registry) -> Self {
        let mut found = hwmon(&sys_root.join("class/hwmon"));
        found.extend(zones(&sys_root.join("class/thermal")));
        found.truncate(SENSORS_MAX);
        registry.set_period_ms(period_ms.into());
        let mut page = Page::default();
        let sensors = found.into_iter().map(|it| Sensor::new(it, &mut page, registry)).collect();
        Self { sensors, period: Duration::from_millis(period_ms.max(1).into()), page }
    }

    pub(super) fn start(mut self, around: Around) -> io::Result<()> {
        if self.sensors.is_empty() {
            return Ok(());
        }
        std::thread::Builder::new().name("source-hardware".into()).spawn(move || {
            while self.read(&around) == Open::Yes {}
            drop(around.alive);
        })?;
        Ok(())
    }

    fn read(&mut self, around: &Around) -> Open {
        let mut values = Values::with_capacity(2 * self.sensors.len());
        self.sample(&mut values);
        if around.outlet.batch(Batch { age_ms: around.clock.age_ms(), values }) == Open::No {
            return Open::No;
        }
        match around.halt.pause(self.period) {
            Woken::Ended => Open::No,
            Woken::Ready | Woken::Elapsed => Open::Yes,
        }
    }

    fn sample(&mut self, values: &mut Values) {
        for sensor in &mut self.sensors {
            let read = integer(&mut self.page, &sensor.path);
            if let Some(reading) = sensor.said.note(read) {
                values.push((sensor.series, reading as f64 / sensor.units));
                values.extend(sensor.limit);
            }
        }
    }
}

impl Sensor {
    fn new(found: Found, page: &mut Page, registry: &mut Registry) -> Self {
        let the_box = TargetId::the_box();
        let labels = [("id", found.id.as_str()), ("name", found.name.as_str())];
        let (name, unit) = found.series;
        let critical = found.critical.and_then(|path| integer(page, &path).ok());
        let limit = critical.filter(|critical| *critical > 0).map(|critical| {
            let labels = [labels[0], labels[1], ("limit_type", "high.critical")];
            let series = registry.add("hw.temperature.limit", unit, &the_box, &labels);
            (series, critical as f64 / found.units)
        });
        Self {
            series: registry.add(name, unit, &the_box, &labels),
            limit,
            units: found.units,
            said: Said::new(found.input.display().to_string()),
            path: found.input,
        }
    }
}

fn hwmon(class: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for chip in entries(class) {
        let folder = class.join(&chip);
        let model = text(&folder.join("name")).unwrap_or(chip);
        // The device keeps its name where hwmon numbers chips as they come.
        let device = fs::canonicalize(folder.join("device")).ok();
        let device = device.as_deref().and_then(Path::file_name).and_then(|it| it.to_str());
        let device = device.unwrap_or(&model).to_owned();
        for input in entries(&folder) {
            let Some(sensor) = input.strip_suffix("_input") else { continue };
            let kind = sensor.trim_end_matches(|c: char| c.is_ascii_digit());
            let Some((_, name, unit, units)) = KINDS.iter().find(|it| it.0 == kind) else {
                continue;
            };
            let label = text(&folder.join(format!("{sensor}_label")));
            let critical = (kind == "temp").then(|| folder.join(format!("{sensor}_crit")));
            found.push(Found {
                input: folder.join(&input),
                critical,
                series: (name, unit),
                units: *units,
                id: unique(&found, format!("{device}/{sensor}")),
                name: label.unwrap_or_else(|| model.clone()),
            });
        }
    }
    found
}

fn zones(class: &Path) -> Vec<Found> {
    let zones = entries(class).into_iter().filter(|zone| zone.starts_with("thermal_zone"));
    let found = zones.map(|zone| {
        let folder = class.join(&zone);
        let trips = entries(&folder).into_iter().filter_map(|file| {
            let trip = file.strip_suffix("_type").filter(|trip| trip.starts_with("trip_point_"))?;
            let critical = text(&folder.join(&file))? == "critical";
            critical.then(|| folder.join(format!("{trip}_temp")))
        });
        Found {
            input: folder.join("temp"),
            critical: trips.min(),
            series: ("hw.temperature", "Cel"),
            units: MILLI,
            name: text(&folder.join("type")).unwrap_or_else(|| zone.clone()),
            id: zone,
        }
    });
    found.collect()
}

/// Two chips of one device would share an id.
fn unique(found: &[Found], id: String) -> String {
    let taken = |id: &str| found.iter().any(|it| it.id == id);
    let mut numbered = (2..).map(|number| format!("{id}-{number}"));
    if taken(&id) { numbered.find(|id| !taken(id)).unwrap_or(id) } else { id }
}

/// Names in a folder, in an order that is the same each time: by length first,
/// so that 10 comes behind 9.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn integer(page: &mut Page, path: &Path) -> io::Result<i64> {
    words(page.read(path)?).next().and_then(number).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    fn hardware(sys: &Proc) -> (Hardware, Registry) {
        let mut registry = Registry::default();
        (Hardware::new(sys.root(), 1000, &mut registry), registry)
    }

    fn sample(hardware: &mut Hardware, registry: &Registry) -> Vec<String> {
        let mut values = Values::new();
        hardware.sample(&mut values);
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect()
    }

    fn chip(sys: &Proc, folder: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            sys.write(&format!("class/{folder}/{name}"), text);
        }
    }

    #[test]
    fn each_kind_of_sensor_has_its_unit_its_label_and_its_limit() {
        let sys = Proc::new();
        chip(
            &sys,
            "hwmon/hwmon0",
            &[
                ("name", "board\n"),
                ("temp1_input", "41500\n"),
                ("temp1_label", "CPU\n"),
                ("temp1_crit", "105000\n"),
                ("fan2_input", "1200\n"),
                ("in0_input", "3300\n"),
                ("power1_input", "12500000\n"),
                ("curr1_input", "1\n"),
                ("temp1_max", "90000\n"),
            ],
        );
        let (mut hardware, registry) = hardware(&sys);
        let expected = [
            "hw.voltage{id=board/in0,name=board} 3.3",
            "hw.fan.speed{id=board/fan2,name=board} 1200",
            "hw.temperature{id=board/temp1,name=CPU} 41.5",
            "hw.temperature.limit{id=board/temp1,name=CPU,limit_type=high.critical} 105",
            "hw.power{id=board/power1,name=board} 12.5",
        ];
        assert_eq!(sample(&mut hardware, &registry), expected);
        // One that fails costs its own reading, and its limit means nothing then.
        chip(&sys, "hwmon/hwmon0", &[("temp1_input", "\n")]);
        assert_eq!(sample(&mut hardware, &registry).len(), 3);
    }

    #[test]
    fn chips_are_called_by_their_device_and_never_two_alike() {
        let sys = Proc::new();
        for (at, device) in [("hwmon0", "nvme1"), ("hwmon1", "nvme0"), ("hwmon2", "nvme0")] {
            chip(&sys, &format!("hwmon/{at}"), &[("name", "nvme"), ("temp1_input", "30000")]);
            std::fs::create_dir_all(sys.path(device)).unwrap();
            let link = sys.path(&format!("class/hwmon/{at}/device"));
            std::os::unix::fs::symlink(sys.path(device), link).unwrap();
        }
        let (mut hardware, registry) = hardware(&sys);
        let ids = ["nvme1/temp1", "nvme0/temp1", "nvme0/temp1-2"];
        let expected = ids.map(|id| format!("hw.temperature{{id={id},name=nvme}} 30"));
        assert_eq!(sample(&mut hardware, &registry), expected);
    }

    #[test]
    fn a_thermal_zone_has_a_type_and_a_critical_trip() {
        let sys = Proc::new();
        chip(
            &sys,
            "thermal/thermal_zone0",
            &[
                ("type", "soc-thermal\n"),
                ("temp", "55000\n"),
                ("trip_point_0_type", "passive\n"),
                ("trip_point_0_temp", "80000\n"),
                ("trip_point_1_type", "critical\n"),
                ("trip_point_1_temp", "110000\n"),
            ],
        );
        chip(&sys, "thermal/cooling_device0", &[("type", "fan\n")]);
        let (mut hardware, registry) = hardware(&sys);
        let labels = "id=thermal_zone0,name=soc-thermal";
        let expected = [
            format!("hw.temperature{{{labels}}} 55"),
            format!("hw.temperature.limit{{{labels},limit_type=high.critical}} 110"),
        ];
        assert_eq!(sample(&mut hardware, &registry), expected);
    }

    #[test]
    fn a_box_without_sensors_has_none() {
        let (mut hardware, registry) = hardware(&Proc::new());
        assert!(sample(&mut hardware, &registry).is_empty());
    }
}
