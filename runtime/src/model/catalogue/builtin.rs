//! What every box has.

use super::{ActionSpec, ParamKind, ParamSpec, Proof, Terms};

pub const WORKLOAD_RESTART: &str = "workload.restart";
pub const WORKLOAD_STOP: &str = "workload.stop";
pub const WORKLOAD_START: &str = "workload.start";
pub const NOTIFY: &str = "notify";

const WORKLOADS: &str = "workload:*";

pub(super) fn specs() -> [ActionSpec; 4] {
    let text = |name: &str, bytes_max, required| ParamSpec {
        name: name.into(),
        kind: ParamKind::Text { bytes_max },
        required,
    };
    [
        ActionSpec {
            name: NOTIFY.into(),
            summary: "tell a person, by the command or webhook of that name".into(),
            targets: vec!["*".into()],
            params: vec![text("to", 64, true), text("text", 1024, false)],
            terms: Terms { disruption: 0, proof: Proof::Nothing, settle_ms: 0, undo: false },
            reversible: true,
            timeout_ms: 30_000,
        },
        workload(
            WORKLOAD_START,
            "start a workload that does not run",
            Terms { disruption: 0, ..Terms::RESTART },
        ),
        workload(WORKLOAD_RESTART, "stop a workload's whole tree, then start it", Terms::RESTART),
        workload(
            WORKLOAD_STOP,
            "stop a workload's whole tree and leave it stopped",
            Terms { proof: Proof::Stopped, ..Terms::RESTART },
        ),
    ]
}

fn workload(name: &str, summary: &str, terms: Terms) -> ActionSpec {
    ActionSpec {
        name: name.into(),
        summary: summary.into(),
        targets: vec![WORKLOADS.into()],
        params: Vec::new(),
        terms,
        reversible: true,
        timeout_ms: 10_000,
    }
}
