//! Drills: a fault that an operator stages, so that the box shows what it does.
//!
//! Invariant: refused unless the configuration allows it; nothing is touched
//! before the journal holds who staged what; and an incident that opens on a
//! target of a drill says so.

use tokio::sync::oneshot;

use super::Driver;
use crate::model::catalogue::{Proof, Terms};
use crate::model::drill::DrillFault;
use crate::model::{CommandError, Event, IncidentId, Origin, Seq, TargetId, Value};

/// An incident that opens so long after a drill's end is still put down to it:
/// the slowest detectors look once a minute, and a start has its grace.
const AFTERMATH_MS: u64 = 300_000;
/// For the journal to hold that the drill began.
const DURABLE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// A drill disturbs one workload.
const TERMS: Terms = Terms { disruption: 1, proof: Proof::Nothing, settle_ms: 0, undo: false };

/// The last one on a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    pub seq: Seq,
    pub fault: DrillFault,
    pub by: Origin,
    pub began_age_ms: u64,
}

type Reply = oneshot::Sender<Result<String, CommandError>>;

impl Driver {
    pub(super) fn inject(&mut self, target: TargetId, fault: DrillFault, by: Origin, reply: Reply) {
        if let Err(refusal) = self.may_drill(&target, fault) {
            let _ = reply.send(Err(refusal));
            return;
        }
        let record = self.write(Event::DrillBegan { target: target.clone(), fault, by });
        tracing::warn!(%target, %fault, "DRILL: a fault is staged");
        let attrs = vec![("fault".into(), Value::text(fault.to_string()))];
        self.mark(target.clone(), "drill.began", attrs);

        let workloads = self.out.workloads.clone();
        let mut durable = self.out.journal.durable();
        tokio::spawn(async move {
            let held =
                async { durable.wait_for(|durable| durable.seq >= record.seq).await.map(drop) };
            let failed = |detail: String| Err(CommandError::Failed { detail });
            let done = match tokio::time::timeout(DURABLE_WITHIN, held).await {
                Ok(Ok(_)) => match workloads.drill(target.name(), fault).await {
                    Ok(pid) => Ok(format!("drill {}: {fault} of {target}, pid {pid}", record.seq)),
                    Err(error) => failed(error.to_string()),
                },
                Ok(Err(_)) => Err(CommandError::Stopping {}),
                Err(_) => failed("the journal does not hold it yet, so nothing was touched".into()),
            };
            let _ = reply.send(done);
        });
    }

    fn may_drill(&self, target: &TargetId, fault: DrillFault) -> Result<(), CommandError> {
        let refused =
            |rule: &str, detail: String| Err(CommandError::Refused { rule: rule.into(), detail });
        let Some(name) = target.as_workload() else {
            return refused(
                "target",
                format!("{target} is no workload; only those can be drilled"),
            );
        };
        if !self.config.workloads.iter().any(|it| it.name == name) {
            return Err(CommandError::NoSuchWorkload { name: name.to_owned() });
        }
        if !self.config.drill.allow {
            let detail = "the configuration does not say `allow = true` under [drill]";
            return refused("drill", detail.into());
        }
        let ms_max = self.config.drill.hang_max_ms;
        if fault.ms() > ms_max {
            return refused("drill", format!("a hang may last {} s", ms_max / 1000));
        }
        if !self.runs(target) {
            return refused("drill", format!("{name} does not run"));
        }
        if self.is_leased(target, &TERMS) {
            return refused("lease", format!("{name}, or what it needs, is under repair"));
        }
        Ok(())
    }

    /// An incident opened: was a fault staged on its root a moment ago?
    pub(super) fn note_drill(&mut self, incident: IncidentId, root: &TargetId) {
        let now_age_ms = self.clock.age_ms();
        let Some(drill) = self.memory.drills.get(root) else { return };
        if now_age_ms > drill.began_age_ms + drill.fault.ms() + AFTERMATH_MS {
            return;
        }
        let Drill { seq, fault, by, began_age_ms } = drill.clone();
        let after_ms = now_age_ms.saturating_sub(began_age_ms);
        self.write(Event::IncidentDrilled { incident, drill: seq, fault, by, after_ms });
    }
}
