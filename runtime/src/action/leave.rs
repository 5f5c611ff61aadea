//! What is looked at again right before a touch: a permit may have waited for
//! the disk, and the world has not.

use std::collections::BTreeSet;

use crate::guard::Permit;
use crate::model::catalogue::{WORKLOAD_RESTART, WORKLOAD_START};
use crate::model::{Mode, Origin, TargetId};

/// What is looked at again right before a touch, since a permit may have waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    pub mode: Mode,
    pub paused: bool,
    /// Workloads that are meant to be stopped.
    pub unwanted: BTreeSet<TargetId>,
    /// Why the production line may not be disturbed now, if it may not.
    pub interlock: Option<String>,
}

impl Leave {
    pub fn new(mode: Mode) -> Self {
        Self { mode, paused: false, unwanted: BTreeSet::new(), interlock: None }
    }

    /// Why a permit that was good when it was made is good no more.
    pub(super) fn objection(&self, permit: &Permit) -> Option<String> {
        let healer = matches!(permit.origin(), Origin::Healer { .. });
        let repair = healer || matches!(permit.origin(), Origin::Approved { .. });
        let desired = *permit.origin() == Origin::Desired;
        let starts = [WORKLOAD_START, WORKLOAD_RESTART].contains(&permit.spec().name.as_str());
        if healer && self.mode != Mode::Enforce {
            return Some(format!("the mode is now {}", self.mode));
        }
        if repair && self.paused {
            return Some("an operator paused healing".into());
        }
        if (repair || desired) && starts && self.unwanted.contains(permit.target()) {
            return Some(format!("{} is now meant to be stopped", permit.target()));
        }
        let disturbs = repair && permit.spec().terms.disruption > 0;
        let interlock = self.interlock.as_ref().filter(|_| disturbs)?;
        Some(format!("the line may not be disturbed now: {interlock}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::guard;
    use crate::model::{Graph, IncidentId, Instant, Proposal, Record, Target, TargetKind};

    fn digits() -> TargetId {
        TargetId::workload("digits")
    }

    /// A permit as the guard makes it, to restart a workload.
    fn permit(origin: Origin) -> Permit {
        let mut graph = Graph::default();
        graph.insert(Target { id: digits(), kind: TargetKind::Workload, needs: vec![] });
        let config = crate::config::parse(
            std::path::Path::new("/etc/homeostat.toml"),
            "box.mode = \"enforce\"\nbox.name = \"b\"\nguard.boot_grace_s = 0\n",
            &crate::config::Machine::default(),
        )
        .expect("a good file");
        let grants = BTreeMap::from([("ladder".into(), [WORKLOAD_RESTART.to_owned()].into())]);
        let guard = guard::Guard::new(config.guard, grants, config.catalogue);
        let scene = guard::Scene {
            now_age_ms: 1,
            unix_ms: None,
            up_ms: 1,
            birth: 1,
            mode: Mode::Enforce,
            paused: None,
            journal_failing: None,
            graph: &graph,
            unwanted: &|_| false,
            leases: &[],
            reboots_age_ms: &[],
            interlock: None,
            denied: &|_, _| false,
        };
        let proposal = Proposal {
            action: WORKLOAD_RESTART.into(),
            target: digits(),
            params: vec![],
            reason: String::new(),
            also_prove: vec![],
        };
        let admitted = guard.check(&origin, &proposal, &guard::History::default(), &scene);
        let admitted = admitted.expect("nothing stands against it");
        let record = Record { seq: 1, at: Instant::default(), event: admitted.event() };
        admitted.seal(&record)
    }

    #[test]
    fn a_permit_that_waited_for_the_disk_is_not_obeyed_when_the_world_has_changed() {
        let healer = || Origin::Healer { plugin: "ladder".into(), incident: IncidentId(1) };
        let approved =
            || Origin::Approved { plugin: "ladder".into(), incident: IncidentId(1), uid: 0 };
        let operator = || Origin::Operator { uid: 0 };
        let plain = Leave::new(Mode::Enforce);
        let observe = Leave::new(Mode::Observe);
        let paused = Leave { paused: true, ..plain.clone() };
        let unwanted = Leave { unwanted: [digits()].into(), ..plain.clone() };
        let locked = Leave { interlock: Some("line: no word".into()), ..plain.clone() };
        // For a healer, for one with a person's yes, for the desired state, for a person.
        for (leave, word, obeyed) in [
            (plain, "", [true, true, true, true]),
            (observe, "the mode", [false, true, true, true]),
            (paused, "paused", [false, false, true, true]),
            (unwanted, "meant to be stopped", [false, false, false, true]),
            (locked, "line: no word", [false, false, true, true]),
        ] {
            let origins = [healer(), approved(), Origin::Desired, operator()];
            for (origin, obeyed) in origins.into_iter().zip(obeyed) {
                let objection = leave.objection(&permit(origin.clone()));
                assert_eq!(objection.is_none(), obeyed, "{leave:?} for {origin:?}");
                assert!(objection.is_none_or(|why| why.contains(word)));
            }
        }
    }
}
