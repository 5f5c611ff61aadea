//! How much writing the box's flash has left, where it says so in `/sys`: eMMC.
//!
//! Invariant: an estimate is given as the device gives it, in tenths, and of a
//! tenth that is begun nothing is left. The device makes it anew when it starts.
//!
//! NVMe and SATA tell theirs only to who may send them commands (see `smart`).
//!
//! The name is OpenTelemetry's
//! (<https://opentelemetry.io/docs/specs/semconv/hardware/physical-disk/>), the
//! estimate JEDEC's (JESD84-B51, DEVICE_LIFE_TIME_EST_TYP_A and _B).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Page, Said, malformed, words};
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

const TENTHS: u8 = 10;

#[derive(Debug)]
pub(super) struct Wear {
    devices: Vec<Flash>,
}

#[derive(Debug)]
struct Flash {
    path: PathBuf,
    remaining: SeriesId,
    said: Said,
}

impl Wear {
    pub(super) fn new(sys_root: &Path, registry: &mut Registry) -> Self {
        let blocks = fs::read_dir(sys_root.join("block")).into_iter().flatten().flatten();
        let life = |block: fs::DirEntry| {
            let name = block.file_name().into_string().ok()?;
            let path = block.path().join("device/life_time");
            path.exists().then_some((name, path))
        };
        let mut found: Vec<_> = blocks.filter_map(life).collect();
        found.sort();
        let devices = found.into_iter().map(|(name, path)| {
            let labels = [("system.device", name.as_str()), ("state", "remaining")];
            let metric = "hw.physical_disk.endurance_utilization";
            let remaining = registry.add(metric, "1", &TargetId::the_box(), &labels);
            Flash { remaining, said: Said::new(path.display().to_string()), path }
        });
        Self { devices: devices.collect() }
    }

    pub(super) fn sample(&mut self, page: &mut Page, values: &mut Values) {
        for flash in &mut self.devices {
            let read = page.read(&flash.path).and_then(remaining);
            let remaining = flash.said.note(read).flatten();
            values.extend(remaining.map(|remaining| (flash.remaining, remaining)));
        }
    }
}

/// Of two kinds of memory, in hexadecimal: the worse one counts. 0 is not
/// known, 1 is within the first tenth, 11 is beyond the last.
fn remaining(text: &[u8]) -> io::Result<Option<f64>> {
    let mut worst = 0;
    for word in words(text) {
        let hex = std::str::from_utf8(word).ok().and_then(|word| word.strip_prefix("0x"));
        let used = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(malformed)?;
        worst = worst.max(used);
    }
    let left = TENTHS.saturating_sub(worst);
    Ok((worst > 0).then(|| f64::from(left) / f64::from(TENTHS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    #[test]
    fn the_worse_of_two_estimates_counts_and_an_unknown_one_is_no_reading() {
        let sys = Proc::new();
        sys.write("block/vda/size", "1\n");
        sys.write("block/mmcblk0/device/life_time", "0x01 0x03\n");
        let mut registry = Registry::default();
        let mut wear = Wear::new(sys.root(), &mut registry);
        let mut sample = |life: &str| {
            sys.write("block/mmcblk0/device/life_time", life);
            let mut values = Values::new();
            wear.sample(&mut Page::default(), &mut values);
            values.first().map(|(id, value)| (registry.describe(*id), *value))
        };
        let labels = "{system.device=mmcblk0,state=remaining}";
        let name = format!("hw.physical_disk.endurance_utilization{labels}");
        for (life, expected) in [
            ("0x01 0x03\n", Some(0.7)),
            ("0x0a 0x01\n", Some(0.0)),
            ("0x0b 0x0b\n", Some(0.0)),
            ("0x00 0x00\n", None),
            ("0x00 0x01\n", Some(0.9)),
            ("3\n", None),
        ] {
            assert_eq!(sample(life), expected.map(|left| (name.clone(), left)), "{life}");
        }
        assert!(wear.devices[0].said.failing());
        assert_eq!(wear.devices.len(), 1);
    }
}
