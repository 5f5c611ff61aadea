//! What systemd is told: that the box is protected, how it goes, that the
//! driver goes round, that we stop. sd_notify(3): lines in one datagram.
//!
//! The protocol is a few lines of the standard library; the crates for it bring
//! descriptors to pass and barriers to wait for, which nobody here wants.
//!
//! Invariant: `WATCHDOG=1` is said only when the driver has gone round since it
//! was last said, and nobody waits for systemd: what its socket has no room for
//! is dropped and said again. Nothing we start inherits its variables, because
//! every child gets an environment of its own.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::model::View;
use crate::model::view::{PluginState, WorkloadState};

/// Where no watchdog is wanted, time has nothing to say.
const NEVER: Duration = Duration::from_secs(3600);

pub struct Systemd {
    socket: UnixDatagram,
    to: SocketAddr,
    /// `WATCHDOG_USEC`, when it is meant for this process.
    watchdog: Option<Duration>,
}

/// While it is kept told.
pub struct Told {
    systemd: Arc<Systemd>,
    task: JoinHandle<()>,
}

impl Systemd {
    /// None when no service manager listens.
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let watchdog = watchdog(number("WATCHDOG_USEC"), number("WATCHDOG_PID"));
        match Self::open(&name, watchdog) {
            Ok(systemd) => Some(systemd),
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET cannot be used; systemd is told nothing");
                None
            }
        }
    }

    fn open(name: &OsStr, watchdog: Option<Duration>) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to: address(name)?, watchdog })
    }

    /// Tells what is to be told, until it is dropped or stopped. `rounds` counts
    /// what the driver has done, `plugins` are those of the configuration.
    pub fn keep(
        self,
        view: watch::Receiver<Arc<View>>,
        rounds: Arc<AtomicU64>,
        plugins: usize,
    ) -> Told {
        let systemd = Arc::new(self);
        let task = tokio::spawn(watch_over(Arc::clone(&systemd), view, rounds, plugins));
        Told { systemd, task }
    }

    /// Whether there was room for it: what is dropped is said again, and a
    /// watchdog that is never heard is what a watchdog is for.
    fn say(&self, text: &str) -> bool {
        self.socket.send_to_addr(text.as_bytes(), &self.to).is_ok()
    }
}

impl Told {
    pub fn stopping(self) {
        self.task.abort();
        self.systemd.say("STOPPING=1\nSTATUS=stopping; workloads go on under their shims");
    }
}

async fn watch_over(
    systemd: Arc<Systemd>,
    mut view: watch::Receiver<Arc<View>>,
    rounds: Arc<AtomicU64>,
    plugins: usize,
) {
    // At half of it, as sd_watchdog_enabled(3) advises.
    let mut tick = tokio::time::interval(systemd.watchdog.map_or(NEVER, |whole| whole / 2));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut ready, mut said, mut seen) = (false, String::new(), 0);
    loop {
        let status = {
            let view = view.borrow_and_update();
            if !ready && is_settled(&view, plugins) {
                ready = systemd.say("READY=1");
            }
            status(&view)
        };
        if status != said && systemd.say(&format!("STATUS={status}")) {
            said = status;
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            _ = tick.tick() => {
                let now = rounds.load(Ordering::Relaxed);
                if systemd.watchdog.is_some() && now != seen {
                    seen = now;
                    systemd.say("WATCHDOG=1");
                }
            }
        }
    }
}

/// A path, or a name of the abstract namespace behind an `@`.
fn address(name: &OsStr) -> std::io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(OsString::from(name)),
        _ => Err(std::io::Error::other("wanted a path, or a name behind @")),
    }
}

/// `WATCHDOG_PID` says for whom; a child of that one is not meant.
fn watchdog(usec: Option<u64>, pid: Option<u64>) -> Option<Duration> {
    let mine = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
    usec.filter(|usec| mine && *usec > 0).map(Duration::from_micros)
}

/// The driver has looked, and each plugin runs or will not.
fn is_settled(view: &View, plugins: usize) -> bool {
    view.journal_seq > 0
        && view.plugins.len() >= plugins
        && view.plugins.iter().all(|plugin| plugin.state != PluginState::Starting)
}

/// One line for `systemctl status`.
fn status(view: &View) -> String {
    let run = view.workloads.iter().filter(|it| it.state == WorkloadState::Running).count();
    let open: Vec<_> = view.incidents.iter().filter(|it| it.phase != "closed").collect();
    let stuck = open.iter().filter(|it| it.phase == "stuck").count();
    let mut text = format!("mode {}", view.mode);
    if view.paused.is_some() {
        text += ", PAUSED";
    }
    text +=
        &format!(", {run} of {} workloads run, incidents: {}", view.workloads.len(), open.len());
    if stuck > 0 {
        text += &format!(", STUCK: {stuck}");
    }
    if !view.unprotected.is_empty() {
        text += &format!(", targets without protection: {}", view.unprotected.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view::{IncidentView, PluginView};
    use crate::model::{IncidentId, Instant, Mode, TargetId};

    fn view() -> View {
        View {
            box_name: "b".into(),
            site: "s".into(),
            version: String::new(),
            birth: 1,
            now: Instant::default(),
            mode: Mode::Enforce,
            paused: None,
            conditions: vec![],
            workloads: vec![],
            plugins: vec![],
            trust: Default::default(),
            unprotected: vec![],
            findings: Default::default(),
            incidents: vec![],
            journal_seq: 1,
            journal_durable: 1,
        }
    }

    fn plugin(state: PluginState) -> PluginView {
        PluginView {
            name: "p".into(),
            version: String::new(),
            world: String::new(),
            digest: String::new(),
            state,
            detail: String::new(),
            calls: 0,
            faults: 0,
            ..PluginView::default()
        }
    }

    #[test]
    fn a_box_is_ready_when_the_driver_has_looked_and_each_plugin_runs_or_will_not() {
        let with = |plugins| View { plugins, ..view() };
        assert!(!is_settled(&View { journal_seq: 0, ..view() }, 0), "nobody has looked");
        assert!(is_settled(&view(), 0));
        assert!(!is_settled(&view(), 1), "it has not arrived");
        assert!(!is_settled(&with(vec![plugin(PluginState::Starting)]), 1));
        for state in [PluginState::Running, PluginState::Refused, PluginState::Quarantined] {
            assert!(is_settled(&with(vec![plugin(state)]), 1), "{state:?}");
        }
    }

    #[test]
    fn the_status_line_counts_what_is_open_and_names_what_is_stuck() {
        let incident = |phase: &str| IncidentView {
            id: IncidentId(1),
            root: TargetId::the_box(),
            kind: String::new(),
            signature: String::new(),
            phase: phase.into(),
            detail: String::new(),
            opened: Instant::default(),
            changed: Instant::default(),
            findings: vec![],
            attempts: vec![],
        };
        assert_eq!(status(&view()), "mode enforce, 0 of 0 workloads run, incidents: 0");
        let ill = View {
            incidents: vec![incident("closed"), incident("stuck"), incident("acting")],
            unprotected: vec![TargetId::the_box()],
            ..view()
        };
        let expected = "mode enforce, 0 of 0 workloads run, incidents: 2, STUCK: 1, \
                        targets without protection: 1";
        assert_eq!(status(&ill), expected);
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        let own = u64::from(std::process::id());
        assert_eq!(watchdog(Some(2_000_000), None), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(Some(2_000_000), Some(own)), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(Some(2_000_000), Some(own + 1)), None);
        assert_eq!(watchdog(Some(0), None), None);
        assert_eq!(watchdog(None, Some(own)), None);
    }

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        let path = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/systemd/notify")));
        assert_eq!(address(OsStr::new("@a/b")).unwrap().as_abstract_name(), Some(&b"a/b"[..]));
        assert!(address(OsStr::new("vsock:2:1")).is_err());
    }

    /// Received, until nothing comes any more.
    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(len) = socket.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
        all
    }

    #[tokio::test]
    async fn a_driver_that_does_not_go_round_feeds_no_watchdog() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let period = Duration::from_millis(20);
        let systemd = Systemd::open(path.as_os_str(), Some(period)).unwrap();
        let (sender, seen) = watch::channel(Arc::new(view()));
        let rounds = Arc::new(AtomicU64::new(0));
        let told = systemd.keep(seen, Arc::clone(&rounds), 0);

        let mut all = Vec::new();
        for round in 1..=3 {
            rounds.store(round, Ordering::Relaxed);
            let fed = |all: &[String]| all.iter().filter(|it| *it == "WATCHDOG=1").count() as u64;
            while fed(&all) < round {
                tokio::time::sleep(period).await;
                all.extend(received(&socket));
            }
        }
        // Ten periods in which nothing is done, and nothing is said.
        tokio::time::sleep(period * 10).await;
        assert_eq!(received(&socket), Vec::<String>::new());
        told.stopping();
        assert!(received(&socket)[0].starts_with("STOPPING=1\n"));
        assert_eq!(all[0], "READY=1");
        drop(sender);
    }
}
