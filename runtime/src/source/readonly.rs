//! Whether the watched mount points can be written, from `/proc/self/mounts`.
//!
//! Invariant: it reads what the kernel says of a mount and touches none, so
//! that one that hangs holds nobody up. A filesystem that turns read-only is how
//! Linux tells of a disk that fails.
//!
//! The name is ours.

use std::path::{Path, PathBuf};

use super::read::{Page, Said, lines, words};
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

#[derive(Debug)]
pub(super) struct ReadOnly {
    path: PathBuf,
    /// As the kernel writes a mount point.
    points: Vec<(Vec<u8>, SeriesId)>,
    said: Said,
}

impl ReadOnly {
    pub(super) fn new(proc_root: &Path, points: &[PathBuf], registry: &mut Registry) -> Self {
        let path = proc_root.join("self/mounts");
        let the_box = TargetId::the_box();
        let points = points.iter().map(|point| {
            let shown = point.to_string_lossy();
            let labels = [("mountpoint", &*shown)];
            let series = registry.add("system.filesystem.read_only", "1", &the_box, &labels);
            (escape(&shown), series)
        });
        Self { points: points.collect(), said: Said::new(path.display().to_string()), path }
    }

    pub(super) fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let Some(text) = self.said.note(page.read(&self.path)) else { return };
        for (point, series) in &self.points {
            // The last of several on one point is the one that is seen. A point
            // that is not mounted is part of another, and has no reading.
            let options = lines(text).filter_map(|line| {
                let mut fields = words(line).skip(1);
                (fields.next()? == *point).then(|| fields.nth(1)).flatten()
            });
            if let Some(options) = options.last() {
                let read_only = options.split(|byte| *byte == b',').any(|it| it == b"ro");
                values.push((*series, f64::from(u8::from(read_only))));
            }
        }
    }
}

/// As getmntent(3) has it: blanks, tabs, newlines and backslashes in octal.
fn escape(path: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            _ => escaped.push(byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    #[test]
    fn a_mount_is_read_only_by_its_options_and_the_last_one_is_seen() {
        let proc = Proc::new();
        let mut registry = Registry::default();
        let points = ["/", "/data", "/my disk", "/none"].map(PathBuf::from);
        let mut reader = ReadOnly::new(proc.root(), &points, &mut registry);
        let mut sample = || {
            let mut values = Values::new();
            reader.sample(&mut Page::default(), &mut values);
            values.iter().map(|(id, value)| (registry.describe(*id), *value)).collect::<Vec<_>>()
        };
        assert_eq!(sample(), [], "there is no such file yet");
        proc.write(
            "self/mounts",
            "rootfs / rootfs ro 0 0\n\
             /dev/vda1 / ext4 rw,relatime,errors=remount-ro 0 0\n\
             /dev/vdb /data ext4 ro,relatime 0 0\n\
             /dev/vdc /my\\040disk ext4 rw 0 0\n\
             /dev/vdd /data/deeper ext4 rw 0 0\n",
        );
        let name = |point: &str| format!("system.filesystem.read_only{{mountpoint={point}}}");
        assert_eq!(sample(), [(name("/"), 0.0), (name("/data"), 1.0), (name("/my disk"), 0.0)]);
    }

    #[test]
    fn this_machines_root_is_mounted() {
        let mut registry = Registry::default();
        let mut reader = ReadOnly::new(Path::new("/proc"), &[PathBuf::from("/")], &mut registry);
        let mut values = Values::new();
        reader.sample(&mut Page::default(), &mut values);
        assert_eq!(values.len(), 1);
    }
}
