//! Taking a network interface down and up again, as `ip link set` does.
//!
//! Invariant: a link is never left down. What an administrator took down stays
//! down; what a crash left between down and up is brought up by whoever comes
//! next. All of it is done on a thread of its own: the driver of an ill card may
//! hang in the kernel, and the daemon must not with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::Outcome;

/// Administratively up (`IFF_UP`, netdevice(7)).
const IFF_UP: u32 = 1;
/// For the other end to notice.
const DOWN_FOR: Duration = Duration::from_secs(1);

pub async fn bounce(sys_root: &Path, name: &str, marks: &Path) -> Outcome {
    let (link, name) = (Link::new(sys_root, name, marks), name.to_owned());
    alone(move || bounced(&link, &name)).await
}

/// Finishes what a crash cut off.
pub async fn observe(sys_root: &Path, name: &str, marks: &Path) -> Outcome {
    let (link, name) = (Link::new(sys_root, name, marks), name.to_owned());
    alone(move || finished(&link, &name)).await
}

/// On a thread that goes on when nobody waits any more: it leaves no link down.
async fn alone(work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let (tell, told) = oneshot::channel();
    let work = move || drop(tell.send(work()));
    match std::thread::Builder::new().name("action-link".into()).spawn(work) {
        Ok(_) => told.await.unwrap_or_else(|_| Outcome::Failed {
            detail: "the thread that touches links ended badly".into(),
        }),
        Err(error) => Outcome::Failed { detail: format!("no thread: {error}") },
    }
}

fn bounced(link: &Link, name: &str) -> Outcome {
    match link.flags() {
        Ok(flags) if flags & IFF_UP == 0 => {
            let detail = format!("{name} was taken down on purpose, and is left so");
            return Outcome::Lapsed { detail };
        }
        Ok(_) => {}
        Err(error) => return failed(name, "is not to be read", &error),
    }
    if let Err(error) = link.take_down() {
        return failed(name, "is not to be taken down", &error);
    }
    std::thread::sleep(DOWN_FOR);
    match link.bring_up() {
        Ok(()) => Outcome::Done { detail: format!("{name} was down for a second, and is up") },
        Err(error) => failed(name, "does not come up again", &error),
    }
}

fn finished(link: &Link, name: &str) -> Outcome {
    match link.is_ours_to_raise() {
        Ok(true) => match link.bring_up() {
            Ok(()) => Outcome::Done { detail: format!("{name} had been left down, and is up") },
            Err(error) => failed(name, "does not come up again", &error),
        },
        Ok(false) => Outcome::Done { detail: format!("{name} is up; its finding tells") },
        Err(error) => failed(name, "is not to be read", &error),
    }
}

struct Link {
    /// `/sys/class/net/NAME/flags`, which the kernel also takes.
    flags: PathBuf,
    /// There while it is down by our doing.
    mark: PathBuf,
}

impl Link {
    fn new(sys_root: &Path, name: &str, marks: &Path) -> Self {
        Self {
            flags: sys_root.join("class/net").join(name).join("flags"),
            mark: marks.join(format!("{name}.down")),
        }
    }

    fn flags(&self) -> io::Result<u32> {
        let text = fs::read_to_string(&self.flags)?;
        let digits = text.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16)
            .map_err(|error| io::Error::other(format!("{text}: {error}")))
    }

    fn set(&self, flags: u32) -> io::Result<()> {
        fs::write(&self.flags, format!("{flags:#x}\n"))
    }

    fn take_down(&self) -> io::Result<()> {
        if let Some(folder) = self.mark.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.mark, "")?;
        self.set(self.flags()? & !IFF_UP)
    }

    fn bring_up(&self) -> io::Result<()> {
        self.set(self.flags()? | IFF_UP)?;
        fs::remove_file(&self.mark)
    }

    fn is_ours_to_raise(&self) -> io::Result<bool> {
        Ok(self.mark.exists() && self.flags()? & IFF_UP == 0)
    }
}

fn failed(name: &str, what: &str, error: &io::Error) -> Outcome {
    Outcome::Failed { detail: format!("{name} {what}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        /// A pretend `/sys` with one interface.
        fn new(flags: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("class/net/eth0")).unwrap();
            fs::write(folder.path().join("class/net/eth0/flags"), flags).unwrap();
            Self { folder }
        }

        fn flags(&self) -> String {
            fs::read_to_string(self.folder.path().join("class/net/eth0/flags")).unwrap()
        }

        async fn bounce(&self) -> Outcome {
            bounce(self.folder.path(), "eth0", &self.folder.path().join("run")).await
        }

        async fn observe(&self) -> Outcome {
            observe(self.folder.path(), "eth0", &self.folder.path().join("run")).await
        }
    }

    #[tokio::test]
    async fn a_link_goes_down_and_comes_up() {
        let bench = Bench::new("0x1003\n");
        let went_down = async {
            while bench.flags() != "0x1002\n" {
                tokio::task::yield_now().await;
            }
        };
        let (outcome, ()) = tokio::join!(bench.bounce(), went_down);
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(bench.flags(), "0x1003\n");
    }

    #[tokio::test]
    async fn a_link_that_somebody_took_down_is_left_down() {
        let bench = Bench::new("0x1002\n");
        assert!(matches!(bench.bounce().await, Outcome::Lapsed { .. }));
        assert!(matches!(bench.observe().await, Outcome::Done { .. }));
        assert_eq!(bench.flags(), "0x1002\n");
    }

    #[tokio::test]
    async fn nobody_who_stops_waiting_leaves_it_down() {
        let bench = Bench::new("0x1003\n");
        assert!(tokio::time::timeout(DOWN_FOR / 2, bench.bounce()).await.is_err());
        while bench.flags() != "0x1003\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_down_is_brought_up() {
        let bench = Bench::new("0x1003\n");
        let run = bench.folder.path().join("run");
        Link::new(bench.folder.path(), "eth0", &run).take_down().unwrap();
        let Outcome::Done { detail } = bench.observe().await else { panic!("it comes up") };
        assert!(detail.contains("had been left down"), "{detail}");
        assert_eq!(bench.flags(), "0x1003\n");
    }

    #[tokio::test]
    async fn a_link_that_is_gone_is_told() {
        let bench = Bench::new("0x1003\n");
        let run = bench.folder.path().join("run");
        let outcome = bounce(bench.folder.path(), "eth1", &run).await;
        assert!(matches!(outcome, Outcome::Failed { detail } if detail.contains("eth1")));
    }
}
