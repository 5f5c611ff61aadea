//! An operator's word: desired state, so it outlives the daemon, and healers
//! never argue with it.

use tokio::sync::oneshot;

use super::Driver;
use super::exchange::PluginOrder;
use crate::model::action::Rule;
use crate::model::catalogue::{WORKLOAD_START, WORKLOAD_STOP};
use crate::model::{Command, CommandError, Event, Origin, Proposal, Refusal, TargetId};

/// What the API hands on.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    /// Of the process at the other end of the socket.
    pub uid: u32,
    pub reply: oneshot::Sender<Result<String, CommandError>>,
}

impl Driver {
    pub(super) fn take_request(&mut self, request: Request) {
        let Request { command, uid, reply } = request;
        let by = Origin::Operator { uid };
        tracing::info!(?command, uid, "operator");
        match command {
            Command::WorkloadStart { name } => self.order(&name, by, Want::Running, reply),
            Command::WorkloadStop { name } => self.order(&name, by, Want::Stopped, reply),
            Command::Pause { for_ms } => {
                let until_age_ms = for_ms.map(|ms| self.clock.age_ms().saturating_add(ms));
                self.write(Event::Paused { by, until_age_ms });
                let text = match for_ms {
                    Some(ms) => format!("healing is paused for {} s", ms / 1000),
                    None => "healing is paused until `homeostat resume`".into(),
                };
                let _ = reply.send(Ok(text));
            }
            Command::PluginInstall { file, settings, shadow_ms, trial_ms } => {
                self.order_of_operator(PluginOrder::Install {
                    file,
                    settings,
                    shadow_ms,
                    trial_ms,
                    by,
                    reply,
                });
            }
            Command::PluginRemove { name } => {
                self.order_of_operator(PluginOrder::Remove { name, by, reply });
            }
            Command::TrustRevoke { keys, digests } => {
                self.order_of_operator(PluginOrder::Revoke { keys, digests, by, reply });
            }
            Command::TrustUpdate { file } => {
                self.order_of_operator(PluginOrder::UpdateRoot { file, by, reply });
            }
            Command::Inject { target, fault } => self.inject(target, fault, by, reply),
            Command::Resume {} => {
                self.write(Event::Resumed { by: Some(by) });
                let _ = reply.send(Ok("healing goes on".into()));
            }
            Command::Approve { incident } => self.approve(incident, uid, reply),
            Command::Deny { incident } => {
                let _ = reply.send(self.deny(incident, by));
            }
            Command::IncidentRetry { incident } => {
                let _ = reply.send(self.retry(incident, uid));
            }
            Command::IncidentClose { incident } => {
                let _ = reply.send(self.close(incident, by));
            }
        }
    }

    fn order(
        &mut self,
        name: &str,
        by: Origin,
        want: Want,
        reply: oneshot::Sender<Result<String, CommandError>>,
    ) {
        if !self.config.workloads.iter().any(|it| it.name == name) {
            let _ = reply.send(Err(CommandError::NoSuchWorkload { name: name.to_owned() }));
            return;
        }
        let target = TargetId::workload(name);
        let running = want == Want::Running;
        self.write(Event::WorkloadDesired { workload: name.to_owned(), running, by: by.clone() });
        self.start_failed.remove(name);
        self.stop_again_age_ms.remove(name);
        if running {
            self.reopen_stuck(|it| it.root == target, "an operator started it");
        } else {
            // The incidents about it end here, and with them their leases.
            self.settle_incidents();
        }
        if self.runs(&target) == running {
            let word = if running { "runs already" } else { "does not run" };
            let _ = reply.send(Ok(format!("{name} {word}")));
            return;
        }
        let proposal = Proposal {
            action: if running { WORKLOAD_START } else { WORKLOAD_STOP }.into(),
            target,
            params: Vec::new(),
            reason: "an operator's word".into(),
            also_prove: Vec::new(),
        };
        match self.propose(&by, None, proposal) {
            Ok(attempt) => {
                self.replies.insert(attempt, reply);
            }
            // The desired state is looked at again when the lease is free.
            Err(Refusal { rule: Rule::Lease, detail, .. }) => {
                let _ = reply.send(Ok(format!("written down; it is done later, because {detail}")));
            }
            Err(Refusal { rule, detail, .. }) => {
                let rule = rule.to_string();
                let _ = reply.send(Err(CommandError::Refused { rule, detail }));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Running,
    Stopped,
}
