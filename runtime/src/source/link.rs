//! Links of the box, from `/sys/class/net`, and how far they carry.
//!
//! Invariant: counters are given as the kernel counts them; who wants a rate
//! takes a difference. A link whose interface is not there does not carry.
//!
//! Names and units are OpenTelemetry's semantic conventions for network
//! (<https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>) and
//! hardware metrics. `system.network.carrier_changes` and all of `homeostat.link`
//! are ours.

use std::io;
use std::path::{Path, PathBuf};

use super::read::{Page, Said, malformed, number, words};
use super::series::{Registry, Values};
use crate::config::LinkConfig;
use crate::model::{SeriesId, TargetId, TargetKind};

pub(super) mod host;

/// The speed changes when the link does, and asking for it takes the kernel's
/// network lock: it is asked for with every so manyth sample.
const SPEED_EVERY: u32 = 30;
/// `speed` is in megabits.
const BYTES_PER_MEGABIT: f64 = 125_000.0;

pub(super) struct Link {
    folder: PathBuf,
    up: SeriesId,
    bandwidth: SeriesId,
    counters: Vec<Counter>,
    carrier: PathBuf,
    speed: PathBuf,
    bytes_per_second: Option<f64>,
    samples: u32,
    said: Said,
}

struct Counter {
    path: PathBuf,
    series: SeriesId,
}

pub(super) fn target(config: &LinkConfig) -> TargetId {
    TargetId::new(TargetKind::Link, &config.name)
}

impl Link {
    pub(super) fn new(sys_root: &Path, config: &LinkConfig, registry: &mut Registry) -> Self {
        let target = target(config);
        let folder = sys_root.join("class/net").join(&config.name);
        let up = registry.add("hw.network.up", "1", &target, &[]);
        let bandwidth = registry.add("hw.network.bandwidth.limit", "By/s", &target, &[]);
        let changes = registry.add("system.network.carrier_changes", "{change}", &target, &[]);
        let mut counters = vec![Counter { path: folder.join("carrier_changes"), series: changes }];
        for (name, unit, file) in [
            ("system.network.io", "By", "bytes"),
            ("system.network.errors", "{error}", "errors"),
            ("system.network.packet.dropped", "{packet}", "dropped"),
        ] {
            for (short, direction) in [("rx", "receive"), ("tx", "transmit")] {
                let series = registry.add(name, unit, &target, &[("direction", direction)]);
                let path = folder.join(format!("statistics/{short}_{file}"));
                counters.push(Counter { path, series });
            }
        }
        Self {
            up,
            bandwidth,
            counters,
            carrier: folder.join("carrier"),
            speed: folder.join("speed"),
            bytes_per_second: None,
            samples: 0,
            said: Said::new(folder.display().to_string()),
            folder,
        }
    }

    pub(super) fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let up = carries(page, &self.carrier, &self.folder);
        if let Some(up) = self.said.note(up) {
            values.push((self.up, f64::from(u8::from(up))));
        }
        if self.samples.is_multiple_of(SPEED_EVERY) {
            // -1, or an error, where a link has none or does not carry.
            let speed = read::<i64>(page, &self.speed).ok().filter(|speed| *speed > 0);
            self.bytes_per_second = speed.map(|speed| speed as f64 * BYTES_PER_MEGABIT);
        }
        self.samples = self.samples.wrapping_add(1);
        values.extend(self.bytes_per_second.map(|limit| (self.bandwidth, limit)));
        for counter in &self.counters {
            // A kind of link that does not count this has no such file.
            if let Ok(count) = read::<u64>(page, &counter.path) {
                values.push((counter.series, count as f64));
            }
        }
    }
}

/// The kernel refuses to say it of a link that was set down (EINVAL).
fn carries(page: &mut Page, carrier: &Path, folder: &Path) -> io::Result<bool> {
    match read::<u8>(page, carrier) {
        Ok(carrier) => Ok(carrier != 0),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // That it is not there can be told only where there is anything.
            let all = folder.parent().is_some_and(Path::is_dir);
            if all && !folder.exists() { Ok(false) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

fn read<T: std::str::FromStr>(page: &mut Page, path: &Path) -> io::Result<T> {
    words(page.read(path)?).next().and_then(number).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    fn link(sys: &Proc) -> (Link, Registry) {
        let mut registry = Registry::default();
        let config = LinkConfig {
            name: "eth0".into(),
            hosts: vec![],
            period_ms: 1000,
            timeout_ms: 1000,
            bounce: false,
        };
        (Link::new(sys.root(), &config, &mut registry), registry)
    }

    fn sample(link: &mut Link, registry: &Registry) -> Vec<String> {
        let mut values = Values::new();
        link.sample(&mut Page::default(), &mut values);
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect()
    }

    #[test]
    fn a_link_has_a_carrier_a_limit_and_counters() {
        let sys = Proc::new();
        let (mut link, registry) = link(&sys);
        sys.write("class/net/eth0/carrier", "1\n");
        sys.write("class/net/eth0/speed", "1000\n");
        sys.write("class/net/eth0/carrier_changes", "3\n");
        sys.write("class/net/eth0/statistics/rx_bytes", "12345678901\n");
        sys.write("class/net/eth0/statistics/tx_dropped", "7\n");
        let expected = [
            "hw.network.up 1",
            "hw.network.bandwidth.limit 125000000",
            "system.network.carrier_changes 3",
            "system.network.io{direction=receive} 12345678901",
            "system.network.packet.dropped{direction=transmit} 7",
        ];
        assert_eq!(sample(&mut link, &registry), expected);

        sys.write("class/net/eth0/carrier", "0\n");
        assert_eq!(sample(&mut link, &registry)[0], "hw.network.up 0");
    }

    #[test]
    fn an_interface_that_is_gone_is_down_and_a_box_that_tells_nothing_is_unknown() {
        let sys = Proc::new();
        let (mut link, registry) = link(&sys);
        assert!(sample(&mut link, &registry).is_empty());
        assert!(link.said.failing());
        sys.write("class/net/lo/carrier", "1\n");
        assert_eq!(sample(&mut link, &registry), ["hw.network.up 0"]);
        sys.write("class/net/eth0/carrier", "?\n");
        sys.write("class/net/eth0/speed", "-1\n");
        assert!(sample(&mut link, &registry).is_empty());
    }

    #[test]
    fn this_machines_loopback_carries() {
        let mut registry = Registry::default();
        let config = LinkConfig {
            name: "lo".into(),
            hosts: vec![],
            period_ms: 1000,
            timeout_ms: 1000,
            bounce: false,
        };
        let mut link = Link::new(Path::new("/sys"), &config, &mut registry);
        let read = sample(&mut link, &registry).join("\n");
        assert!(read.contains("hw.network.up 1"), "{read}");
        assert!(read.contains("system.network.io{direction=transmit} "), "{read}");
    }
}
