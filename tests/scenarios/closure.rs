//! Two incidents at once where one workload needs the other: one repair at a
//! time, from its permit to its proof, and what stands aside is left alone.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::{Event, IncidentId, Record, TargetId};
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::json;

/// `camera` needs `model`; `aside` needs neither.
const SERVERS: [&str; 3] = ["camera", "model", "aside"];

struct House {
    house: TestBox,
    /// While it lies there, `camera` and `model` do not come up.
    gate: PathBuf,
    aside: u32,
    before: u64,
}

impl House {
    fn raise() -> Self {
        let plan = SERVERS.into_iter().fold(Plan::bare(), Plan::server);
        let gate = plan.path().join("gate");
        let waits = format!("while [ -e '{}' ]; do sleep 0.02; done", gate.display());
        let house = plan
            .starts_with("camera", &waits)
            .starts_with("model", &waits)
            .with(|settings| {
                settings.named("workload", "camera").insert("needs".into(), json!(["model"]));
            })
            .detector("liveness", json!({}))
            .healer("ladder", Plan::ladder(4, 0.3))
            .raise();
        for name in SERVERS {
            house.until_serving(name);
        }
        house.until_watched("model");
        let (aside, before) = (house.pid("aside"), house.now());
        Self { house, gate, aside, before }
    }

    fn breaks(&self, name: &str, fault: Fault) {
        self.house.server(name).breaks(fault);
    }

    /// From now on a restart takes until [`Self::opens`], and so does its proof.
    fn shuts(&self) {
        fs::write(&self.gate, "").expect("the story's folder can be written");
    }

    fn opens(&self) {
        fs::remove_file(&self.gate).expect("it was shut before");
    }

    #[track_caller]
    fn until_permitted(&self, name: &str) {
        let what = format!("a permit on {name}");
        self.house.until_event(self.before, &what, |event| permits(event, name).then_some(()));
    }

    /// Both are healed in the end, and their repairs did not overlap: the order
    /// of the records says so, whatever the clock says. Gives the journal back.
    #[track_caller]
    fn end(&self) -> Vec<Record> {
        let [camera, model, aside] = SERVERS;
        let incidents = [camera, model].map(|name| self.house.until_healed(name, self.before));
        for name in [camera, model] {
            self.house.until_serving(name);
        }
        let records = self.house.check();
        let [one, other] = incidents.map(|incident| repair(&records, incident));
        assert!(
            one.end() < other.start() || other.end() < one.start(),
            "from permit to proof: {one:?} and {other:?}"
        );
        for name in [camera, model] {
            assert_eq!(self.house.server(name).starts().len(), 2, "{name} is restarted once");
        }
        assert_eq!(self.house.until_serving(aside), self.aside);
        assert_eq!(self.house.server(aside).starts().len(), 1);
        let touched = records.iter().find(|it| it.seq > self.before && is_about(&it.event, aside));
        assert_eq!(touched, None, "nothing was wrong with {aside}");
        records
    }
}

fn permits(event: &Event, name: &str) -> bool {
    let target = TargetId::workload(name);
    matches!(event, Event::Permitted { proposal, .. } if proposal.target == target)
}

fn is_about(event: &Event, name: &str) -> bool {
    let target = TargetId::workload(name);
    match event {
        Event::IncidentOpened { root, .. } => *root == target,
        Event::FindingRaised { finding, .. } => finding.target == target,
        event => permits(event, name),
    }
}

/// From its permit to its recovery, in the journal's own count.
fn repair(records: &[Record], incident: IncidentId) -> RangeInclusive<u64> {
    let seqs = |wanted: fn(&Event) -> bool| {
        let of_it = records.iter().filter(move |it| it.event.incident(it.seq) == Some(incident));
        let found: Vec<_> = of_it.filter(|it| wanted(&it.event)).map(|it| it.seq).collect();
        assert_eq!(found.len(), 1, "one repair of {incident}, one recovery: {records:#?}");
        found[0]
    };
    let permitted = seqs(|event| matches!(event, Event::Permitted { .. }));
    permitted..=seqs(|event| matches!(event, Event::IncidentRecovered { .. }))
}

/// `first` is under repair, its proof cannot be had yet, and `second` breaks.
fn one_after_the_other(first: (&str, Fault), second: (&str, Fault)) {
    let story = House::raise();
    story.shuts();
    story.breaks(first.0, first.1);
    story.until_permitted(first.0);
    story.breaks(second.0, second.1);
    let waits = story.house.until_held_back(story.before, Rule::Lease);
    wait::stays(Duration::from_secs(1), "nothing is done while a proof is open", || {
        let records = story.house.events();
        let acted = records.iter().find(|it| it.seq > story.before && permits(&it.event, second.0));
        acted.map_or(Ok(()), |record| Err(format!("{record:?}")))
    });
    story.opens();
    let records = story.end();
    let roots = records.iter().filter_map(|record| match &record.event {
        Event::IncidentOpened { root, .. } if record.seq == waits.0 => Some(root.clone()),
        _ => None,
    });
    assert!(roots.eq([TargetId::workload(second.0)]), "{waits} is of {}", second.0);
}

#[test]
fn what_needs_a_workload_under_repair_is_left_alone_until_that_is_proven() {
    one_after_the_other(("model", Fault::Crash), ("camera", Fault::Exit { code: 3 }));
}

#[test]
fn what_a_workload_under_repair_needs_is_left_alone_until_that_is_proven() {
    one_after_the_other(("camera", Fault::Exit { code: 3 }), ("model", Fault::Crash));
}

#[test]
fn of_two_that_crash_and_hang_at_once_each_is_repaired_alone() {
    let story = House::raise();
    story.breaks("model", Fault::Hang);
    story.breaks("camera", Fault::Crash);
    story.end();
}

#[test]
fn a_hang_that_a_crash_below_accounts_for_is_healed_after_the_crash() {
    let story = House::raise();
    story.shuts();
    story.breaks("model", Fault::Crash);
    story.breaks("camera", Fault::Hang);
    // Silent because what it needs is down: so says liveness, and it joins.
    let joined = |event: &Event| match event {
        Event::IncidentJoined { sighting, .. } => {
            (sighting.finding.target == TargetId::workload("camera")).then_some(())
        }
        _ => None,
    };
    story.house.until_event(story.before, "the hang to be put down to the crash", joined);
    story.opens();
    let records = story.end();
    let first = records.iter().find(|it| it.seq > story.before && permits(&it.event, "model"));
    let second = records.iter().find(|it| it.seq > story.before && permits(&it.event, "camera"));
    assert!(first.map(|it| it.seq) < second.map(|it| it.seq), "what it needs comes first");
}
