//! Disks, from `/proc/diskstats`: what they moved, and how long it took them.
//!
//! Invariant: whole devices only, those that are there at the start. Counters
//! are given as the kernel counts them, since the device appeared.
//!
//! Names and units are OpenTelemetry's semantic conventions for disks
//! (<https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>).

use std::path::{Path, PathBuf};

use super::read::{Page, Said, lines, malformed, number, words};
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

/// Sectors are counted in this unit whatever the device's own is
/// (Documentation/admin-guide/iostats.rst).
const SECTOR_BYTES: f64 = 512.0;
/// Not more devices than that: a box has a handful.
const DEVICES_MAX: usize = 32;
/// Memory, and files dressed up as devices.
const NO_DISK: [&str; 4] = ["loop", "ram", "zram", "fd"];

#[derive(Debug)]
pub(super) struct Disks {
    path: PathBuf,
    devices: Vec<Device>,
    said: Said,
}

#[derive(Debug)]
struct Device {
    name: Vec<u8>,
    series: [SeriesId; FIELDS.len()],
}

struct Field {
    name: &'static str,
    unit: &'static str,
    direction: Option<&'static str>,
    /// Column behind the device's name, from 0.
    column: usize,
    scale: f64,
}

const MILLI: f64 = 1e-3;
const FIELDS: [Field; 5] = [
    field("system.disk.io", "By", Some("read"), 2, SECTOR_BYTES),
    field("system.disk.io", "By", Some("write"), 6, SECTOR_BYTES),
    field("system.disk.operation_time", "s", Some("read"), 3, MILLI),
    field("system.disk.operation_time", "s", Some("write"), 7, MILLI),
    field("system.disk.io_time", "s", None, 9, MILLI),
];
const COLUMNS: usize = 10;

const fn field(
    name: &'static str,
    unit: &'static str,
    direction: Option<&'static str>,
    column: usize,
    scale: f64,
) -> Field {
    Field { name, unit, direction, column, scale }
}

impl Disks {
    pub(super) fn new(proc_root: &Path, sys_root: &Path, registry: &mut Registry) -> Self {
        let path = proc_root.join("diskstats");
        let mut page = Page::default();
        // A kernel without disks has no such file; that is said with the first sample.
        let text = page.read(&path).unwrap_or_default();
        let names = lines(text).filter_map(|line| words(line).nth(2));
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let whole = names.filter(|name| is_whole(sys_root, name)).take(DEVICES_MAX);
        let devices = whole.map(|name| Device::new(name, registry)).collect();
        Self { said: Said::new(path.display().to_string()), path, devices }
    }

    pub(super) fn sample(&mut self, page: &mut Page, values: &mut Values) {
        if self.devices.is_empty() {
            return;
        }
        let devices = &self.devices;
        let read = page.read(&self.path).and_then(|text| {
            for line in lines(text) {
                let mut rest = words(line);
                let name = rest.nth(2).ok_or_else(malformed)?;
                let Some(device) = devices.iter().find(|it| it.name == name) else { continue };
                let mut columns = [0_u64; COLUMNS];
                for column in &mut columns {
                    *column = rest.next().and_then(number).ok_or_else(malformed)?;
                }
                let readings = FIELDS.iter().zip(device.series);
                let value = |field: &Field| columns[field.column] as f64 * field.scale;
                values.extend(readings.map(|(field, series)| (series, value(field))));
            }
            Ok(())
        });
        self.said.note(read);
    }
}

impl Device {
    fn new(name: &str, registry: &mut Registry) -> Self {
        let series = FIELDS.each_ref().map(|field| {
            let device = ("system.device", name);
            let labels = match field.direction {
                Some(direction) => &[device, ("direction", direction)][..],
                None => &[device][..],
            };
            registry.add(field.name, field.unit, &TargetId::the_box(), labels)
        });
        Self { name: name.as_bytes().to_vec(), series }
    }
}

/// A partition has no folder of its own there; in names of that folder a `/` is a `!`.
fn is_whole(sys_root: &Path, name: &str) -> bool {
    let is = |kind: &str| {
        let rest = name.strip_prefix(kind);
        rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    !NO_DISK.iter().any(|kind| is(kind))
        && sys_root.join("block").join(name.replace('/', "!")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    fn sample(disks: &mut Disks, registry: &Registry) -> Vec<String> {
        let mut values = Values::new();
        disks.sample(&mut Page::default(), &mut values);
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect()
    }

    #[test]
    fn whole_disks_are_counted_and_partitions_and_memory_are_not() {
        let proc = Proc::new();
        proc.write(
            "diskstats",
            "   7  0 loop0 44 1 694 1 57 33 210 18 0 16 33 0 0 0 0 36 14\n\
             254  0 vda 10 0 4 500 20 0 8 1500 0 250 795850 1 4 2 1 1 9\n\
             254  1 vda1 10 0 4 500 20 0 8 1500 0 250 795850\n\
             179  0 cciss/c0d0 1 0 2 0 0 0 0 0 0 0 0\n",
        );
        for name in ["loop0", "vda", "cciss!c0d0"] {
            proc.write(&format!("sys/block/{name}/size"), "1\n");
        }
        let mut registry = Registry::default();
        let mut disks = Disks::new(proc.root(), &proc.path("sys"), &mut registry);
        let read = sample(&mut disks, &registry);
        let expected = [
            "system.disk.io{system.device=vda,direction=read} 2048",
            "system.disk.io{system.device=vda,direction=write} 4096",
            "system.disk.operation_time{system.device=vda,direction=read} 0.5",
            "system.disk.operation_time{system.device=vda,direction=write} 1.5",
            "system.disk.io_time{system.device=vda} 0.25",
            "system.disk.io{system.device=cciss/c0d0,direction=read} 1024",
        ];
        assert_eq!(read[..6], expected);
        assert_eq!(read.len(), 10);

        // One that is gone has no readings, and one that came has no series.
        proc.write("diskstats", "8 0 sda 1 1 1 1 1 1 1 1 1 1 1\n");
        assert!(sample(&mut disks, &registry).is_empty());
        assert!(!disks.said.failing());
        proc.write("diskstats", "254 0 vda 1 2\n");
        assert!(sample(&mut disks, &registry).is_empty());
        assert!(disks.said.failing());
    }

    #[test]
    fn a_kernel_without_disks_is_no_fault() {
        let proc = Proc::new();
        let mut registry = Registry::default();
        let mut disks = Disks::new(proc.root(), proc.root(), &mut registry);
        assert!(sample(&mut disks, &registry).is_empty());
        assert!(!disks.said.failing());
    }
}
