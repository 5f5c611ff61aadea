//! A person's word on one incident: yes, no, again, enough.
//!
//! Invariant: who said it is written down before it has any effect, and a yes
//! lifts what waited for the person and no other rule of the guard's.

use tokio::sync::oneshot;

use super::Driver;
use crate::incident::{Incident, Pending, Phase};
use crate::model::action::Rule;
use crate::model::{CommandError, Event, IncidentId, Origin, Refusal};

type Answer = Result<String, CommandError>;

impl Driver {
    pub(super) fn approve(&mut self, id: IncidentId, uid: u32, reply: oneshot::Sender<Answer>) {
        let pending = match self.pending(id) {
            Ok(pending) => pending,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.write(Event::Approved { incident: id, by: Origin::Operator { uid } });
        let origin = Origin::Approved { plugin: pending.plugin, incident: id, uid };
        match self.propose(&origin, Some(id), pending.proposal) {
            Ok(attempt) => {
                self.replies.insert(attempt, reply);
            }
            Err(Refusal { rule, detail, .. }) => {
                let rule = rule.to_string();
                let _ = reply.send(Err(CommandError::Refused { rule, detail }));
            }
        }
    }

    pub(super) fn deny(&mut self, id: IncidentId, by: Origin) -> Answer {
        let pending = self.pending(id)?;
        self.write(Event::Denied { incident: id, by });
        Ok(format!("{} is out, for {id}", pending.proposal.action))
    }

    pub(super) fn retry(&mut self, id: IncidentId, uid: u32) -> Answer {
        let incident = self.at_rest(id)?;
        if matches!(incident.phase, Phase::Recovered { .. }) {
            return Err(not_now(incident, "nothing is to be repaired"));
        }
        let why = format!("user {uid} asked for it");
        self.write(Event::IncidentReopened { incident: id, why });
        Ok(format!("{id} is looked at again"))
    }

    pub(super) fn close(&mut self, id: IncidentId, by: Origin) -> Answer {
        self.at_rest(id)?;
        let why = match &by {
            Origin::Operator { uid } => format!("user {uid} closed it"),
            _ => "it was closed".into(),
        };
        self.write(Event::IncidentDismissed { incident: id, by });
        self.take_step(Event::IncidentClosed { incident: id, why });
        Ok(format!("{id} is closed; what stands opens no other until it clears or gets worse"))
    }

    fn pending(&self, id: IncidentId) -> Result<Pending, CommandError> {
        let incident = self.find(id)?;
        let now_age_ms = self.clock.age_ms();
        let in_time = |it: &&Pending| it.until_age_ms.is_none_or(|until| until > now_age_ms);
        let pending = incident.pending.as_ref().filter(in_time);
        pending.cloned().ok_or_else(|| {
            not_now(
                incident,
                &format!("nothing waits for a person's word by rule {}", Rule::Approval),
            )
        })
    }

    /// Not while an attempt is under way: its end and its proof belong to it.
    fn at_rest(&self, id: IncidentId) -> Result<&Incident, CommandError> {
        let incident = self.find(id)?;
        match incident.live_attempt() {
            None => Ok(incident),
            Some(attempt) => {
                Err(not_now(incident, &format!("wait for the end of attempt {attempt}")))
            }
        }
    }

    fn find(&self, id: IncidentId) -> Result<&Incident, CommandError> {
        self.memory.incidents.get(id).ok_or(CommandError::NoSuchIncident { incident: id })
    }
}

fn not_now(incident: &Incident, hint: &str) -> CommandError {
    CommandError::NotNow {
        incident: incident.id,
        phase: incident.phase.word().into(),
        hint: hint.into(),
    }
}
