//! How full the watched filesystems are.
//!
//! Invariant: a mount that hangs (a network filesystem whose server is gone
//! answers no system call) holds up nothing but its own readings. Each mount has
//! a thread of its own that asks, one question at a time; nobody waits for it.
//!
//! Names and units are OpenTelemetry's semantic conventions for filesystems
//! (<https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::read::Said;
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

/// A mount that has not answered after this long is said not to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Space {
    /// What a user without privileges can still have.
    pub free_bytes: u64,
    pub used_bytes: u64,
    /// Share of its inodes in use; none where a filesystem makes them as it goes.
    pub inodes_used: Option<f64>,
}

/// A mount point and the series it feeds. Its thread starts with [`Mount::open`].
#[derive(Debug)]
pub(super) struct MountPlan {
    path: PathBuf,
    utilization: SeriesId,
    free: SeriesId,
    inodes: SeriesId,
}

impl MountPlan {
    pub(super) fn new(path: &Path, registry: &mut Registry) -> Self {
        let target = TargetId::the_box();
        let point = path.to_string_lossy();
        let mut gauge = |name: &str, unit: &str, more: &[(&str, &str)]| {
            let labels = [&[("mountpoint", &*point)], more].concat();
            registry.add(name, unit, &target, &labels)
        };
        Self {
            path: path.to_owned(),
            utilization: gauge("system.filesystem.utilization", "1", &[]),
            free: gauge("system.filesystem.usage", "By", &[("state", "free")]),
            inodes: gauge("system.filesystem.inode.utilization", "1", &[]),
        }
    }
}

#[derive(Debug)]
pub(super) struct Mount {
    plan: MountPlan,
    questions: SyncSender<()>,
    answers: Receiver<io::Result<Space>>,
    asked: Option<Instant>,
    said: Said,
}

impl Mount {
    /// Starts the thread that asks. It ends when the mount is dropped, or, if the
    /// kernel holds it, when the kernel lets go of it.
    pub(super) fn open(
        plan: MountPlan,
        ask: impl Fn(&Path) -> io::Result<Space> + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        let path = plan.path.clone();
        std::thread::Builder::new()
            .name("source-mount".into())
            .spawn(move || while asked.recv().is_ok() && answer.send(ask(&path)).is_ok() {})?;
        let said = Said::new(format!("space of {}", plan.path.display()));
        Ok(Self { plan, questions, answers, asked: None, said })
    }

    /// Asks, unless an answer is still awaited.
    pub(super) fn ask(&mut self) {
        if self.asked.is_none() {
            match self.questions.try_send(()) {
                Ok(()) => self.asked = Some(Instant::now()),
                Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }

    /// Takes the answer if it is there. It may be as old as the call before.
    pub(super) fn collect(&mut self, values: &mut Values) {
        let Some(asked) = self.asked else { return };
        let space = match self.answers.try_recv() {
            Ok(answer) => {
                self.asked = None;
                self.said.note(answer)
            }
            Err(_) if asked.elapsed() < ANSWER_TIMEOUT => None,
            Err(_) => self.said.note(Err("it does not answer")),
        };
        if let Some(Space { free_bytes, used_bytes, inodes_used }) = space {
            let all = free_bytes.saturating_add(used_bytes);
            if all > 0 {
                values.push((self.plan.utilization, used_bytes as f64 / all as f64));
            }
            values.push((self.plan.free, free_bytes as f64));
            values.extend(inodes_used.map(|used| (self.plan.inodes, used)));
        }
    }
}

/// statvfs(3), counted as df(1) does: what is kept back for root is neither used
/// nor free.
pub(super) fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // As df(1) does with -i.
    let inodes = found.f_files.saturating_sub(found.f_ffree) + found.f_favail;
    Ok(Space {
        inodes_used: (inodes > 0)
            .then(|| found.f_files.saturating_sub(found.f_ffree) as f64 / inodes as f64),
        free_bytes: bytes(found.f_bavail),
        used_bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn open(
        path: &str,
        ask: impl Fn(&Path) -> io::Result<Space> + Send + 'static,
    ) -> (Mount, Registry) {
        let mut registry = Registry::default();
        let plan = MountPlan::new(Path::new(path), &mut registry);
        (Mount::open(plan, ask).unwrap(), registry)
    }

    /// Collects until there is an answer to what was asked.
    fn answer(mount: &mut Mount) -> Values {
        let mut values = Values::new();
        let began = Instant::now();
        while mount.asked.is_some() {
            mount.collect(&mut values);
            assert!(began.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        values
    }

    #[test]
    fn what_is_used_is_a_share_of_what_users_can_have() {
        let (mut mount, registry) = open("/data", |path| {
            assert_eq!(path, Path::new("/data"));
            Ok(Space { free_bytes: 250, used_bytes: 750, inodes_used: Some(0.5) })
        });
        mount.ask();
        let read: Vec<_> = answer(&mut mount)
            .iter()
            .map(|(id, value)| format!("{} {value}", registry.describe(*id)))
            .collect();
        let expected = [
            "system.filesystem.utilization{mountpoint=/data} 0.75",
            "system.filesystem.usage{mountpoint=/data,state=free} 250",
            "system.filesystem.inode.utilization{mountpoint=/data} 0.5",
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_mount_that_hangs_is_asked_once_and_goes_on_when_it_answers() {
        let (release, held) = mpsc::channel::<()>();
        let (entered, entries) = mpsc::channel();
        let (mut mount, _) = open("/hung", move |_| {
            entered.send(()).unwrap();
            let _ = held.recv();
            Ok(Space { free_bytes: 1, used_bytes: 1, inodes_used: None })
        });
        mount.ask();
        entries.recv_timeout(DEADLINE).unwrap();
        let mut values = Values::new();
        for _ in 0..3 {
            mount.ask();
            mount.collect(&mut values);
        }
        assert!(values.is_empty(), "no answer is no reading");
        assert!(entries.try_recv().is_err(), "one question at a time");

        // As if the deadline had passed.
        mount.asked = Instant::now().checked_sub(ANSWER_TIMEOUT);
        mount.collect(&mut values);
        assert!(mount.said.failing());

        release.send(()).unwrap();
        assert_eq!(answer(&mut mount).len(), 2);
        assert!(!mount.said.failing());
    }

    #[test]
    fn a_path_that_is_not_there_has_no_reading() {
        let (mut mount, _) = open("/no/such/place", space);
        mount.ask();
        assert!(answer(&mut mount).is_empty());
        assert!(mount.said.failing());
    }

    #[test]
    fn the_root_of_this_machine_has_space() {
        let found = space(Path::new("/")).unwrap();
        assert!(found.used_bytes > 0, "{found:?}");
        assert!(found.inodes_used.is_none_or(|used| (0.0..=1.0).contains(&used)), "{found:?}");
    }
}
