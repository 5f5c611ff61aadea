//! One channel of Linux's industrial I/O (Documentation/ABI/testing/sysfs-bus-iio).
//!
//! Invariant: a processed value (`_input`) is taken as it is; a raw one is
//! `(raw + offset) × scale`, in the unit that the ABI gives its kind of channel:
//! millivolts, milli-degrees Celsius, kilopascals.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::source::read::{Page, malformed, number, words};

pub(super) struct Channel {
    devices: PathBuf,
    /// By its folder's name, or by the name its driver gave it.
    device: String,
    channel: String,
    folder: Option<PathBuf>,
    page: Page,
}

impl Channel {
    pub(super) fn new(sys_root: &Path, device: &str, channel: &str) -> Self {
        Self {
            devices: sys_root.join("bus/iio/devices"),
            device: device.to_owned(),
            channel: channel.to_owned(),
            folder: None,
            page: Page::default(),
        }
    }

    /// A device that came later, or under another number, is found again.
    pub(super) fn read(&mut self) -> io::Result<f64> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => self.find()?,
        };
        let reading = self.read_in(&folder)?;
        self.folder = Some(folder);
        Ok(reading)
    }

    fn find(&self) -> io::Result<PathBuf> {
        let mut folders: Vec<_> =
            fs::read_dir(&self.devices)?.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        let is = |folder: &PathBuf| {
            folder.file_name().is_some_and(|name| *name == *self.device)
                || fs::read_to_string(folder.join("name")).is_ok_and(|it| it.trim() == self.device)
        };
        let missing = || io::Error::other(format!("there is no IIO device {}", self.device));
        folders.into_iter().find(is).ok_or_else(missing)
    }

    fn read_in(&mut self, folder: &Path) -> io::Result<f64> {
        let file = |name: &str, what: &str| folder.join(format!("{name}_{what}"));
        if let Some(processed) = self.value(&file(&self.channel, "input"))? {
            return Ok(processed);
        }
        let raw = self.value(&file(&self.channel, "raw"))?.ok_or_else(|| {
            io::Error::other(format!("{} has no channel {}", self.device, self.channel))
        })?;
        let mut factor = |what: &str, default: f64| -> io::Result<f64> {
            let own = self.value(&file(&self.channel, what))?;
            let shared = file(kind(&self.channel), what);
            Ok(own.map_or_else(|| self.value(&shared), |own| Ok(Some(own)))?.unwrap_or(default))
        };
        let (offset, scale) = (factor("offset", 0.0)?, factor("scale", 1.0)?);
        Ok((raw + offset) * scale)
    }

    /// None where there is no such file.
    fn value(&mut self, path: &Path) -> io::Result<Option<f64>> {
        match self.page.read(path) {
            Ok(text) => words(text).next().and_then(number).map(Some).ok_or_else(malformed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What channels of one kind share is named without number and axis: `in_voltage`
/// of `in_voltage0`, `in_accel` of `in_accel_x`.
fn kind(channel: &str) -> &str {
    let bare = channel.strip_prefix("in_").unwrap_or(channel);
    let len = bare.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(bare.len());
    &channel[..channel.len() - bare.len() + len]
}
