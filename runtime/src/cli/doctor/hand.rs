//! What the box allows to be done to it: whether this user could.
//!
//! Invariant: nothing is run and nothing is touched; a program is there and may
//! be executed, a folder or a link may be written to, systemd's socket is there.

use std::path::Path;

use rustix::fs::{Access, access};

use super::Check;
use crate::config::{CommandConfig, Config, WorkloadKind};

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let units = config.workloads.iter().any(|it| it.kind != WorkloadKind::Process);
    let links = config.source.links.iter().filter(|it| it.bounce);
    let flags = |name: &str| config.source.sys_root.join("class/net").join(name).join("flags");
    let reclaim = config.reclaim.iter().map(|it| {
        let name = format!("reclaim {}", it.name);
        let costs = "disk.reclaim makes no room there";
        let remedy = "correct its dir, or give the folder to the daemon's user";
        reached(&name, &it.dir, Access::WRITE_OK | Access::EXEC_OK, costs, remedy)
    });
    let bounce = links.map(|it| {
        let name = format!("bounce {}", it.name);
        let (costs, remedy) = ("link.bounce fails", "run the daemon with CAP_NET_ADMIN");
        reached(&name, &flags(&it.name), Access::WRITE_OK, costs, remedy)
    });
    let commands = config.commands.iter().flat_map(programs);
    let systemd = units.then(|| systemd(&config.systemd.address));
    commands.chain(reclaim).chain(bounce).chain(systemd).collect()
}

fn programs(config: &CommandConfig) -> Vec<Check> {
    let parts = [
        ("", Some(&config.command)),
        (" precondition", config.precondition.as_ref()),
        (" observe", config.observe.as_ref()),
        (" undo", config.undo.as_ref()),
    ];
    let check = |(part, words): (&str, Option<&Vec<String>>)| {
        let program = Path::new(words?.first()?);
        let name = format!("action {}{part}", config.name);
        let costs = "the action fails, and the next step of a ladder is tried";
        let remedy = "install the program, or correct its path";
        Some(reached(&name, program, Access::EXEC_OK, costs, remedy))
    };
    parts.into_iter().filter_map(check).collect()
}

fn systemd(address: &str) -> Check {
    let socket = Path::new(address.trim_start_matches("unix:path="));
    let costs = "workloads that are units are neither watched nor started";
    let remedy = "install a D-Bus daemon on a box with systemd, or set systemd.address";
    reached("systemd", socket, Access::WRITE_OK, costs, remedy)
}

fn reached(name: &str, path: &Path, wanted: Access, costs: &str, remedy: &str) -> Check {
    let shown = path.display();
    match access(path, wanted) {
        Ok(()) => Check::ok(name, shown.to_string()),
        Err(error) => {
            let found = format!("{shown}: {}", std::io::Error::from(error));
            Check::cannot(name, found, costs, remedy)
        }
    }
}
