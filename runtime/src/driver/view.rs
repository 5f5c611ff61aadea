//! What the daemon shows of itself, made anew whenever something changed.

use std::sync::Arc;

use super::Driver;
use crate::model::Condition;
use crate::model::view::{View, WorkloadState, WorkloadView};

impl Driver {
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let view = self.view();
        self.published_age_ms = view.now.age_ms;
        self.out.view.send_replace(Arc::new(view));
    }

    fn view(&self) -> View {
        let incidents = &self.memory.incidents;
        let detectors = self.detectors.values().map(|it| it.view.clone());
        let shadows = self.shadows.values().map(|it| it.view.clone());
        let healers = self.healers.values().map(|it| it.view.clone());
        View {
            box_name: self.config.identity.name.clone(),
            site: self.config.identity.site.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            birth: self.birth,
            now: self.clock.now(),
            mode: self.config.mode,
            paused: self.memory.paused.clone(),
            conditions: self.conditions_now(),
            workloads: self
                .config
                .workloads
                .iter()
                .map(|it| self.workload_view(&it.name))
                .collect(),
            plugins: detectors.chain(healers).chain(shadows).collect(),
            trust: self.trust.clone(),
            unprotected: self.unprotected.iter().cloned().collect(),
            findings: self
                .detectors
                .iter()
                .filter(|(_, it)| !it.findings.is_empty())
                .map(|(name, it)| (name.clone(), it.findings.clone()))
                .collect(),
            incidents: incidents
                .open()
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .chain(incidents.closed())
                .map(crate::incident::Incident::view)
                .collect(),
            journal_seq: self.seq,
            journal_durable: self.journal_durable,
        }
    }

    fn conditions_now(&self) -> Vec<Condition> {
        let failing = self.journal_failing.iter().map(|why| Condition {
            name: "store.failing".into(),
            detail: format!("{why}; no action is permitted meanwhile"),
        });
        let now_age_ms = self.clock.age_ms();
        let lost = self.detectors.iter().filter_map(|(name, it)| {
            let lines = it.feed.flooded(now_age_ms)?;
            Some(Condition {
                name: "detector.flooded".into(),
                detail: format!("{lines} lines since the start never reached {name}"),
            })
        });
        let storm = self.guard.storm_detail(&self.memory.history, now_age_ms);
        let storm = storm.map(|detail| Condition { name: "guard.storm".into(), detail });
        let store = self.out.reader.conditions().into_iter();
        let others = self.out.conditions.iter().filter_map(|it| it.borrow().clone());
        failing
            .chain(storm)
            .chain(store)
            .chain(others)
            .chain(self.conditions.iter().cloned())
            .chain(lost)
            .collect()
    }

    fn workload_view(&self, name: &str) -> WorkloadView {
        let desired_running = self.wants_running(name);
        let Some(status) = self.workloads.get(name) else {
            return WorkloadView {
                name: name.to_owned(),
                desired_running,
                state: WorkloadState::Stopped,
                attempt: None,
                pid: None,
                shim_pid: None,
                starts: 0,
                detail: "unknown to the workload room".into(),
            };
        };
        WorkloadView {
            name: name.to_owned(),
            desired_running,
            state: status.state,
            attempt: status.attempt,
            pid: status.pid,
            shim_pid: status.shim_pid,
            starts: status.starts,
            detail: status.detail.clone(),
        }
    }
}
