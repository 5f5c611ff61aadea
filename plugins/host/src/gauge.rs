//! Levels of the box: which series, which limits, and how one of them stands.
//!
//! Figures: file handles, process ids 80/95 %, zombies 1000/2000 and root below
//! 10 % free are gpud's; the rest errs on the side of silence.
//!
//! Invariant: a level that is off, or whose series nobody reads, says nothing.

use homeostat_sdk::level::{Level, Limit, Side, Standing};
use homeostat_sdk::text::amount;
use homeostat_sdk::{ERROR, Finding, Series, WARNING};
use serde::{Deserialize, Serialize};

/// One level as it comes built in.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// The finding's kind is `host.NAME`.
    pub name: &'static str,
    pub series: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
    pub of: Of,
    pub side: Side,
    pub warn: Option<f64>,
    pub error: Option<f64>,
    pub margin: f64,
    pub for_s: f64,
    pub what: &'static str,
    pub advice: &'static str,
}

/// What is held against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Reading,
    /// The reading, on the mount points that the configuration names.
    Mountpoint,
    /// The reading, where it was seen well before: an image may mount what it
    /// likes read-only.
    Change,
    /// How far the reading is from the limit that the hardware gives.
    Headroom,
    /// The reading, which is 0 or 1: it has no amount.
    State,
}

/// An accelerator's heat is not the box's.
const BOX: &str = "box";
/// The limits of what `hw.temperature` measures, told apart by these labels.
pub const TEMPERATURE_LIMIT: &str = "hw.temperature.limit";
const SENSOR_LABELS: [&str; 2] = ["id", "name"];
/// What a person looks for, by the label that names it.
const PLACES: [&str; 4] = ["mountpoint", "name", "id", "system.device"];

const SMART: &str = "hw.physical_disk.smart";

const BASE: Gauge = Gauge {
    name: "",
    series: "",
    labels: &[],
    of: Of::Reading,
    side: Side::Above,
    warn: None,
    error: None,
    margin: 0.02,
    for_s: 30.0,
    what: "",
    advice: "",
};

pub const ALL: &[Gauge] = &[
    Gauge {
        name: "file-handles",
        series: "system.linux.file_handle.utilization",
        warn: Some(0.8),
        error: Some(0.95),
        margin: 0.05,
        what: "of file handles in use",
        advice: "find who holds them with lsof, or raise fs.file-max",
        ..BASE
    },
    Gauge {
        name: "pids",
        series: "system.linux.pid.utilization",
        warn: Some(0.8),
        error: Some(0.95),
        margin: 0.05,
        what: "of process ids in use",
        advice: "find who forks without end",
        ..BASE
    },
    Gauge {
        name: "zombies",
        series: "system.process.count",
        labels: &[("state", "zombie")],
        warn: Some(1_000.0),
        error: Some(2_000.0),
        margin: 100.0,
        what: "processes that ended and nobody waits for",
        advice: "restart their parent",
        ..BASE
    },
    Gauge {
        name: "uninterruptible",
        series: "system.process.count",
        labels: &[("state", "uninterruptible")],
        warn: Some(5.0),
        margin: 3.0,
        for_s: 600.0,
        what: "processes stuck in the kernel",
        advice: "look at the disk or network storage that they wait for",
        ..BASE
    },
    Gauge {
        name: "filesystem-read-only",
        series: "system.filesystem.read_only",
        of: Of::Change,
        error: Some(1.0),
        margin: 0.0,
        for_s: 0.0,
        what: "a filesystem that could be written is read-only",
        advice: "look at the kernel's messages, check the filesystem and the disk",
        ..BASE
    },
    Gauge {
        name: "filesystem-full",
        series: "system.filesystem.utilization",
        of: Of::Mountpoint,
        warn: Some(0.9),
        error: Some(0.95),
        what: "of space in use",
        advice: "remove what is not needed, rotate logs",
        ..BASE
    },
    Gauge {
        name: "inodes-full",
        series: "system.filesystem.inode.utilization",
        of: Of::Mountpoint,
        warn: Some(0.9),
        error: Some(0.95),
        what: "of inodes in use",
        advice: "find the folder with very many small files",
        ..BASE
    },
    Gauge {
        name: "disk-failing",
        series: "hw.status",
        labels: &[("hw.type", "physical_disk"), ("state", "failed")],
        of: Of::State,
        error: Some(1.0),
        margin: 0.5,
        for_s: 0.0,
        what: "the disk says of itself that it fails",
        advice: "copy what is needed off it, and replace it",
        ..BASE
    },
    Gauge {
        name: "disk-worn",
        series: "hw.physical_disk.endurance_utilization",
        labels: &[("state", "remaining")],
        side: Side::Below,
        warn: Some(0.1),
        error: Some(0.0),
        for_s: 0.0,
        what: "of its endurance left",
        advice: "plan its replacement, and look at what writes so much",
        ..BASE
    },
    Gauge {
        name: "disk-sectors-pending",
        series: SMART,
        labels: &[("hw.physical_disk.smart_attribute", "pending_sectors")],
        warn: Some(1.0),
        margin: 0.5,
        for_s: 0.0,
        what: "sectors that do not read",
        advice: "copy what is needed off it; writing to them has them replaced",
        ..BASE
    },
    Gauge {
        name: "disk-sectors-lost",
        series: SMART,
        labels: &[("hw.physical_disk.smart_attribute", "uncorrectable_sectors")],
        warn: Some(1.0),
        margin: 0.5,
        for_s: 0.0,
        what: "sectors that could not be corrected",
        advice: "copy what is needed off it, and replace it",
        ..BASE
    },
    Gauge {
        name: "clock-unsynchronized",
        series: "system.clock.synchronized",
        of: Of::State,
        side: Side::Below,
        warn: Some(0.0),
        margin: 0.0,
        for_s: 3_600.0,
        what: "the clock follows no time server",
        advice: "look at chrony or timesyncd, and the way to its servers",
        ..BASE
    },
    Gauge {
        name: "temperature",
        series: "hw.temperature",
        of: Of::Headroom,
        side: Side::Below,
        warn: Some(5.0),
        error: Some(0.0),
        margin: 3.0,
        what: "left to the hardware's own limit",
        advice: "clean the cooler, look at the fans and the room's temperature",
        ..BASE
    },
    Gauge {
        name: "memory-full",
        series: "system.memory.utilization",
        warn: Some(0.95),
        error: Some(0.98),
        for_s: 120.0,
        what: "of memory in use",
        advice: "find the largest process, give workloads limits",
        ..BASE
    },
    Gauge {
        name: "memory-pressure",
        series: "system.linux.pressure",
        labels: &[("resource", "memory"), ("stall_type", "full")],
        warn: Some(0.2),
        error: Some(0.5),
        margin: 0.1,
        for_s: 60.0,
        what: "of the time everything waits for memory",
        advice: "give the box less to do, or more memory",
        ..BASE
    },
];

/// One gauge over one bound series.
#[derive(Debug)]
pub struct Watch {
    pub gauge: usize,
    pub column: usize,
    /// Where the hardware's limit is read.
    limit_column: Option<usize>,
    pub key: String,
    /// The mount point, the sensor, the disk.
    place: String,
    unit: String,
    period_ms: u32,
    pub memory: Memory,
}

/// What outlives a restart, under the watch's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    warn: Level,
    error: Level,
    /// It was seen on the good side.
    #[serde(default)]
    was_well: bool,
    #[serde(default)]
    limit: Option<f64>,
}

impl Memory {
    pub fn is_worth_saving(&self) -> bool {
        self.was_well || self.warn.is_worth_saving() || self.error.is_worth_saving()
    }
}

impl Gauge {
    pub fn watches(&self, series: &Series, mountpoints: &[String]) -> bool {
        let labelled = |(name, value): &(&str, &str)| series.label(name) == Some(*value);
        let named = || {
            let point = series.label("mountpoint").unwrap_or_default();
            mountpoints.iter().any(|it| homeostat_sdk::text::selects(it, point))
        };
        series.target == BOX
            && series.name == self.series
            && self.labels.iter().all(labelled)
            && (self.of != Of::Mountpoint || named())
    }

    fn limit(&self, raise: f64) -> Limit {
        let for_ms = (self.for_s * 1_000.0) as u64;
        Limit { side: self.side, raise, margin: self.margin, for_ms }
    }
}

impl Watch {
    pub fn new(at: usize, gauge: &Gauge, column: usize, bound: &[Series]) -> Self {
        let series = &bound[column];
        let labels: Vec<_> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let same = |it: &Series| {
            it.target == series.target
                && SENSOR_LABELS.iter().all(|name| it.label(name) == series.label(name))
        };
        let limit_column = (gauge.of == Of::Headroom)
            .then(|| bound.iter().position(|it| it.name == TEMPERATURE_LIMIT && same(it)))
            .flatten();
        let place = PLACES.iter().find_map(|name| series.label(name));
        Self {
            gauge: at,
            column,
            limit_column,
            key: format!("{}/{}{{{}}}", gauge.name, series.target, labels.join(",")),
            place: place.unwrap_or_default().to_owned(),
            unit: series.unit.clone(),
            period_ms: series.period_ms,
            memory: Memory::default(),
        }
    }

    /// One row: its reading, and the limit if one was read, too.
    pub fn reading(
        &mut self,
        gauge: &Gauge,
        age_ms: u64,
        read: impl Fn(usize) -> Option<f64>,
        must_be_well: &[String],
    ) {
        // A limit of 0 is a sensor that has none.
        let limit = self.limit_column.and_then(&read).filter(|it| *it > 0.0);
        self.memory.limit = limit.or(self.memory.limit);
        let Some(value) = read(self.column).and_then(|value| self.held(gauge, value)) else {
            return;
        };
        let memory = &mut self.memory;
        if gauge.of == Of::Change {
            let raise = gauge.error.or(gauge.warn);
            memory.was_well |= raise.is_some_and(|raise| !gauge.limit(raise).is_beyond(value));
            let named = must_be_well.iter().any(|it| homeostat_sdk::text::selects(it, &self.place));
            if !memory.was_well && !named {
                return;
            }
        }
        for (level, raise) in [(&mut memory.warn, gauge.warn), (&mut memory.error, gauge.error)] {
            match raise {
                Some(raise) => level.reading(age_ms, value, &gauge.limit(raise), self.period_ms),
                None => level.standing = None,
            }
        }
    }

    fn held(&self, gauge: &Gauge, value: f64) -> Option<f64> {
        match gauge.of {
            Of::Headroom => self.memory.limit.map(|limit| limit - value),
            _ => Some(value),
        }
    }

    pub fn finding(&self, gauge: &Gauge, target: &str) -> Option<Finding> {
        let worst = self.memory.error.standing.zip(gauge.error);
        let (severity, (standing, limit)) = match worst {
            Some(worst) => (ERROR, worst),
            None => (WARNING, self.memory.warn.standing.zip(gauge.warn)?),
        };
        let Standing { since_age_ms, value } = standing;
        let Gauge { what, advice, .. } = gauge;
        let place = if self.place.is_empty() { String::new() } else { format!("{}: ", self.place) };
        let message = match matches!(gauge.of, Of::Change | Of::State) {
            true => format!("{place}{what}; {advice}"),
            false => format!(
                "{place}{} {what}, the limit is {}; {advice}",
                self.amount(value),
                self.amount(limit)
            ),
        };
        let mut finding = Finding::new(&format!("host.{}", gauge.name), target, message)
            .severity(severity)
            .column(self.column)
            .with("value", value)
            .with("limit", limit)
            .with("since_age_ms", since_age_ms);
        finding.key.clone_from(&self.key);
        Some(finding)
    }

    /// Counts say in `what` of what.
    fn amount(&self, value: f64) -> String {
        match self.unit.starts_with('{') {
            true => amount(value, ""),
            false => amount(value, &self.unit),
        }
    }
}
