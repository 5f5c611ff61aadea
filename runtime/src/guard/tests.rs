//! Each rule, by a table of what it lets through and what it refuses.

use super::*;
use crate::config::RebootConfig;
use crate::model::action::Rule;
use crate::model::catalogue::{Proof, Terms, WORKLOAD_RESTART, WORKLOAD_STOP};
use crate::model::{Instant, Outcome, Target, TargetKind, Value};

struct World {
    guard: Guard,
    history: History,
    graph: Graph,
    mode: Mode,
    paused: Option<Pause>,
    up_ms: u64,
    now: u64,
    unwanted: Option<TargetId>,
    leases: Vec<Lease>,
    journal_failing: Option<String>,
    unix_ms: Option<i64>,
    denied: Option<String>,
    interlock: Option<String>,
    reboots_age_ms: Vec<u64>,
    config: GuardConfig,
    seq: u64,
}

impl World {
    fn new() -> Self {
        let mut graph = Graph::default();
        let mut add = |name: &str, needs: &[&str]| {
            graph.insert(Target {
                id: TargetId::workload(name),
                kind: TargetKind::Workload,
                needs: needs.iter().map(|it| TargetId::workload(it)).collect(),
            });
        };
        add("web", &["model"]);
        add("model", &[]);
        add("other", &[]);
        graph.insert(Target { id: TargetId::the_box(), kind: TargetKind::Box, needs: vec![] });
        let grants = BTreeMap::from([(
            "ladder".to_owned(),
            BTreeSet::from([WORKLOAD_RESTART.to_owned(), NOTIFY.to_owned()]),
        )]);
        let config = GuardConfig {
            cooldown_ms: 1_000,
            rate_max: 3,
            rate_window_ms: 60_000,
            boot_grace_ms: 30_000,
            permit_ttl_ms: 5_000,
            storm_max: 2,
            storm_window_ms: 60_000,
            approval: BTreeSet::new(),
            approval_ttl_ms: 900_000,
            windows: vec![],
            reboot: None,
            replicas: BTreeMap::new(),
        };
        Self {
            guard: Guard::new(config.clone(), grants, catalogue()),
            history: History::default(),
            graph,
            mode: Mode::Enforce,
            paused: None,
            up_ms: 1_000_000,
            now: 500_000,
            unwanted: None,
            leases: vec![],
            journal_failing: None,
            unix_ms: None,
            denied: None,
            interlock: None,
            reboots_age_ms: vec![],
            config,
            seq: 0,
        }
    }

    /// The same box under another policy.
    fn with(mut self, change: impl FnOnce(&mut GuardConfig)) -> Self {
        change(&mut self.config);
        self.guard = Guard::new(self.config.clone(), self.guard.grants, self.guard.catalogue);
        self
    }

    /// An incident opens somewhere.
    fn opens(&mut self) {
        self.seq += 1;
        let at = Instant { age_ms: self.now, boot: 1, unix_ms: None };
        let event = Event::IncidentOpened {
            root: TargetId::the_box(),
            kind: "x".into(),
            signature: String::new(),
            findings: vec![],
        };
        self.history.apply(&Record { seq: self.seq, at, event });
    }

    fn check(&self, origin: &Origin, proposal: &Proposal) -> Result<Admitted, Refusal> {
        let unwanted = |target: &TargetId| self.unwanted.as_ref() == Some(target);
        let denied = |_: IncidentId, action: &str| self.denied.as_deref() == Some(action);
        let scene = Scene {
            now_age_ms: self.now,
            unix_ms: self.unix_ms,
            up_ms: self.up_ms,
            birth: 7,
            mode: self.mode,
            paused: self.paused.as_ref(),
            journal_failing: self.journal_failing.as_deref(),
            graph: &self.graph,
            unwanted: &unwanted,
            leases: &self.leases,
            reboots_age_ms: &self.reboots_age_ms,
            interlock: self.interlock.as_deref(),
            denied: &denied,
        };
        self.guard.check(origin, proposal, &self.history, &scene)
    }

    fn restart(&self, name: &str) -> Result<Admitted, Refusal> {
        self.check(&healer(), &proposal(WORKLOAD_RESTART, &TargetId::workload(name)))
    }

    fn rule(&self, name: &str) -> Option<Rule> {
        self.restart(name).err().map(|refusal| refusal.rule)
    }

    /// Permits a restart and writes it down.
    fn permit(&mut self, name: &str) -> Permit {
        let admitted = self.restart(name).expect("permitted");
        self.seq += 1;
        let at = Instant { age_ms: self.now, boot: 1, unix_ms: None };
        let record = Record { seq: self.seq, at, event: admitted.event() };
        self.history.apply(&record);
        admitted.seal(&record)
    }
}

fn catalogue() -> Arc<Catalogue> {
    Arc::new(Catalogue::default())
}

fn lease(target: &TargetId, terms: Terms) -> Lease {
    Lease { target: target.clone(), attempt: AttemptId { birth: 7, seq: 3 }, terms }
}

fn healer() -> Origin {
    Origin::Healer { plugin: "ladder".into(), incident: IncidentId(1) }
}

fn operator() -> Origin {
    Origin::Operator { uid: 0 }
}

fn proposal(action: &str, target: &TargetId) -> Proposal {
    Proposal {
        action: action.into(),
        target: target.clone(),
        params: vec![],
        reason: "it is gone".into(),
        also_prove: vec![],
    }
}

#[test]
fn a_permit_carries_the_sequence_of_the_record_that_holds_it() {
    let mut world = World::new();
    let permit = world.permit("web");
    assert_eq!(permit.id(), AttemptId { birth: 7, seq: 1 });
    assert_eq!(permit.expires_age_ms(), 505_000);
}

#[test]
fn what_the_catalogue_does_not_hold_is_refused_whoever_asks() {
    let world = World::new();
    let mut loud = proposal(WORKLOAD_RESTART, &TargetId::workload("web"));
    loud.params = vec![("force".into(), Value::Flag(true))];
    for proposal in [
        proposal("box.explode", &TargetId::the_box()),
        proposal(WORKLOAD_RESTART, &TargetId::the_box()),
        proposal(WORKLOAD_RESTART, &TargetId::workload("nobody")),
        loud,
    ] {
        for origin in [healer(), operator()] {
            let refusal = world.check(&origin, &proposal).unwrap_err();
            assert_eq!(refusal.rule, Rule::Catalogue, "{refusal:?}");
        }
    }
}

#[test]
fn only_enforce_acts_on_a_healers_word_and_any_mode_on_an_operators() {
    let mut world = World::new();
    for (mode, rule) in [
        (Mode::Observe, Some(Rule::Mode)),
        (Mode::Suggest, Some(Rule::Mode)),
        (Mode::Enforce, None),
    ] {
        world.mode = mode;
        assert_eq!(world.rule("web"), rule, "{mode}");
        let ordered = proposal(WORKLOAD_STOP, &TargetId::workload("web"));
        assert!(world.check(&operator(), &ordered).is_ok(), "{mode}");
    }
}

#[test]
fn an_action_that_is_not_granted_is_refused() {
    let world = World::new();
    let stop = proposal(WORKLOAD_STOP, &TargetId::workload("web"));
    assert_eq!(world.check(&healer(), &stop).unwrap_err().rule, Rule::Grant);
    let stranger = Origin::Healer { plugin: "stranger".into(), incident: IncidentId(1) };
    let restart = proposal(WORKLOAD_RESTART, &TargetId::workload("web"));
    assert_eq!(world.check(&stranger, &restart).unwrap_err().rule, Rule::Grant);
}

#[test]
fn a_second_restart_within_the_cooldown_is_refused_until_it_is_over() {
    let mut world = World::new();
    world.permit("web");
    world.now += 999;
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Cooldown, Some(501_000)));
    assert_eq!(world.rule("other"), None, "another target has a cooldown of its own");
    world.now += 1;
    assert_eq!(world.rule("web"), None);
}

#[test]
fn more_disruptions_than_the_rate_allows_wait_for_the_window() {
    let mut world = World::new();
    for name in ["web", "model", "other"] {
        world.permit(name);
        world.now += 2_000;
    }
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Rate, Some(560_001)));
    world.now = 560_001;
    assert_eq!(world.rule("web"), None);
}

#[test]
fn what_lapsed_untouched_costs_neither_pause_nor_rate() {
    let mut world = World::new();
    let permit = world.permit("web");
    assert_eq!(world.rule("web"), Some(Rule::Cooldown));
    world.seq += 1;
    let at = Instant { age_ms: world.now, boot: 1, unix_ms: None };
    let outcome = Outcome::Lapsed { detail: "a job is running".into() };
    let event = Event::AttemptEnded { incident: None, attempt: permit.id(), outcome };
    world.history.apply(&Record { seq: world.seq, at, event });
    assert_eq!(world.rule("web"), None);
    let tally = world.history.tally(WORKLOAD_RESTART, &TargetId::workload("web"));
    assert_eq!(tally.tried, 0.0);
}

#[test]
fn what_did_not_help_is_taken_back_outside_its_window_and_beyond_the_rate() {
    let name = format!("{WORKLOAD_RESTART}.undo");
    let mut catalogue = Catalogue::default();
    let restart = catalogue.iter().find(|spec| spec.name == WORKLOAD_RESTART).cloned();
    catalogue.insert(ActionSpec { name: name.clone(), ..(*restart.expect("built in")).clone() });
    let mut world = World::new();
    world.guard.catalogue = Arc::new(catalogue);
    for name in ["web", "model", "other"] {
        world.permit(name);
    }
    world.now += 2_000;
    let undo = proposal(&name, &TargetId::workload("web"));
    assert_eq!(world.rule("web"), Some(Rule::Rate));
    assert!(world.check(&healer(), &undo).is_ok());
    world.interlock = Some("the line runs".into());
    let refusal = world.check(&healer(), &undo).unwrap_err();
    assert_eq!(refusal.rule, Rule::Interlock, "it disturbs the line all the same");
}

#[test]
fn boot_grace_goes_by_the_boot() {
    let mut world = World::new();
    world.up_ms = 29_999;
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::BootGrace, Some(500_001)));
    world.up_ms = 30_000;
    assert_eq!(world.rule("web"), None);
}

#[test]
fn two_targets_share_a_lease_when_one_needs_the_other() {
    let mut world = World::new();
    world.leases = vec![lease(&TargetId::workload("model"), Terms::RESTART)];
    for (name, rule) in [("model", Some(Rule::Lease)), ("web", Some(Rule::Lease)), ("other", None)]
    {
        assert_eq!(world.rule(name), rule, "{name}");
    }
    world.leases = vec![lease(&TargetId::workload("web"), Terms::RESTART)];
    assert_eq!(world.rule("model"), Some(Rule::Lease));
}

#[test]
fn what_takes_nothing_from_anybody_holds_its_own_target_alone() {
    let mut world = World::new();
    let makes_room = Terms { disruption: 0, proof: Proof::Cleared, ..Terms::RESTART };
    world.leases = vec![lease(&TargetId::workload("model"), makes_room)];
    for (name, rule) in [("model", Some(Rule::Lease)), ("web", None)] {
        assert_eq!(world.rule(name), rule, "{name}");
    }
}

#[test]
fn a_paused_box_and_a_stopped_workload_are_left_alone() {
    let mut world = World::new();
    world.paused = Some(Pause { until_age_ms: Some(600_000) });
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Paused, Some(600_000)));
    world.paused = None;
    world.unwanted = Some(TargetId::workload("web"));
    assert_eq!(world.rule("web"), Some(Rule::Intent));
}

#[test]
fn no_permit_without_a_journal_that_can_hold_it() {
    let mut world = World::new();
    world.journal_failing = Some("the disk is full".into());
    assert_eq!(world.rule("web"), Some(Rule::Journal));
    let stop = proposal(WORKLOAD_STOP, &TargetId::workload("web"));
    assert_eq!(world.check(&operator(), &stop).unwrap_err().rule, Rule::Journal);
}

#[test]
fn telling_a_person_needs_no_lease_and_no_grace() {
    let mut world = World::new();
    world.up_ms = 0;
    world.leases = vec![lease(&TargetId::workload("web"), Terms::RESTART)];
    let mut notify = proposal(NOTIFY, &TargetId::workload("web"));
    notify.params = vec![("to".into(), Value::text("pager"))];
    assert!(world.check(&healer(), &notify).is_ok());
}

#[test]
fn the_remedies_say_what_is_allowed_and_why_not_the_rest() {
    let mut world = World::new();
    world.permit("web");
    let unwanted = |_: &TargetId| false;
    let denied = |_: IncidentId, _: &str| false;
    let scene = Scene {
        now_age_ms: world.now,
        unix_ms: None,
        up_ms: world.up_ms,
        birth: 7,
        mode: world.mode,
        paused: None,
        journal_failing: None,
        graph: &world.graph,
        unwanted: &unwanted,
        leases: &[],
        reboots_age_ms: &[],
        interlock: None,
        denied: &denied,
    };
    let target = TargetId::workload("web");
    let remedies = world.guard.remedies("ladder", IncidentId(1), &target, &world.history, &scene);
    let told: Vec<_> = remedies
        .iter()
        .map(|it| (it.action.as_str(), it.allowed, it.why_not.split(':').next().unwrap(), it.tried))
        .collect();
    assert_eq!(
        told,
        [
            ("notify", true, "", 0.0),
            ("workload.restart", false, "cooldown", 1.0),
            ("workload.start", false, "grant", 0.0),
            ("workload.stop", false, "grant", 0.0),
        ]
    );
}

#[test]
fn one_replica_waits_while_another_is_under_repair() {
    let mut world = World::new().with(|config| {
        let group = |name: &str| (TargetId::workload(name), "cameras".to_owned());
        config.replicas = BTreeMap::from([group("web"), group("other")]);
    });
    assert_eq!(world.rule("web"), None);
    world.leases = vec![lease(&TargetId::workload("other"), Terms::RESTART)];
    for (name, rule) in [("web", Some(Rule::Replica)), ("other", Some(Rule::Lease))] {
        assert_eq!(world.rule(name), rule, "{name}");
    }
    assert_eq!(world.rule("model"), None, "it is no replica of anything");
}

#[test]
fn a_storm_of_incidents_is_waited_out_or_ended_by_a_person() {
    let mut world = World::new();
    for _ in 0..2 {
        world.opens();
    }
    assert_eq!(world.rule("web"), None, "two are single faults");
    world.now += 1_000;
    world.opens();
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Storm, Some(560_001)));
    assert!(world.guard.storm_detail(&world.history, world.now).is_some());
    let mut notify = proposal(NOTIFY, &TargetId::workload("web"));
    notify.params = vec![("to".into(), Value::text("pager"))];
    assert!(world.check(&healer(), &notify).is_ok(), "a person can be told");

    let mut later = world.history.clone();
    let resumed = Event::Resumed { by: Some(operator()) };
    later.apply(&Record { seq: 9, at: Instant::default(), event: resumed });
    assert_eq!(world.guard.storm_detail(&later, world.now), None);
    world.now = 560_001;
    assert_eq!(world.rule("web"), None);
}

#[test]
fn what_disrupts_waits_for_its_window_and_for_a_clock_that_is_trusted() {
    let day_ms = 86_400_000;
    let mut world = World::new().with(|config| {
        config.windows = vec![crate::config::WindowConfig {
            name: "night".into(),
            days: [true; 7],
            from_min: 60,
            to_min: 120,
            zone: jiff::tz::TimeZone::UTC,
            disruption: 1,
        }];
    });
    let refusal = world.restart("web").unwrap_err();
    assert_eq!(refusal.rule, Rule::Maintenance);
    assert!(refusal.detail.contains("not trusted"), "{}", refusal.detail);
    // Half an hour before it opens.
    world.unix_ms = Some(20_000 * day_ms + 30 * 60_000);
    let refusal = world.restart("web").unwrap_err();
    assert_eq!(
        (refusal.rule, refusal.retry_age_ms),
        (Rule::Maintenance, Some(world.now + 30 * 60_000))
    );
    world.unix_ms = Some(20_000 * day_ms + 60 * 60_000);
    assert_eq!(world.rule("web"), None);
    world.unix_ms = Some(20_000 * day_ms + 120 * 60_000);
    let refusal = world.restart("web").unwrap_err();
    assert_eq!(refusal.retry_age_ms, Some(world.now + 3_600_000), "looked at hourly");
    let ordered = proposal(WORKLOAD_STOP, &TargetId::workload("web"));
    assert!(world.check(&operator(), &ordered).is_ok(), "a person needs no window");
}

#[test]
fn an_action_that_wants_a_persons_word_waits_for_it() {
    let mut world = World::new().with(|config| {
        config.approval = BTreeSet::from([WORKLOAD_RESTART.to_owned()]);
    });
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Approval, Some(1_400_000)));
    assert!(refusal.detail.contains("homeostat approve i1"), "{}", refusal.detail);

    let restart = proposal(WORKLOAD_RESTART, &TargetId::workload("web"));
    let origin = Origin::Approved { plugin: "ladder".into(), incident: IncidentId(1), uid: 0 };
    world.mode = Mode::Suggest;
    assert!(world.check(&origin, &restart).is_ok(), "a yes stands for the mode as well");
    world.paused = Some(Pause { until_age_ms: None });
    assert_eq!(world.check(&origin, &restart).unwrap_err().rule, Rule::Paused, "and for no more");

    let allowed = |world: &World| {
        let denied = |_: IncidentId, action: &str| world.denied.as_deref() == Some(action);
        let scene = Scene {
            now_age_ms: world.now,
            unix_ms: None,
            up_ms: world.up_ms,
            birth: 7,
            mode: Mode::Enforce,
            paused: None,
            journal_failing: None,
            graph: &world.graph,
            unwanted: &|_| false,
            leases: &[],
            reboots_age_ms: &[],
            interlock: None,
            denied: &denied,
        };
        let target = TargetId::workload("web");
        let remedies =
            world.guard.remedies("ladder", IncidentId(1), &target, &world.history, &scene);
        remedies.into_iter().find(|it| it.action == WORKLOAD_RESTART).unwrap().allowed
    };
    assert!(allowed(&world), "a healer may propose it, or nobody would be asked");
    (world.mode, world.paused) = (Mode::Enforce, None);
    world.denied = Some(WORKLOAD_RESTART.into());
    let refusal = world.restart("web").unwrap_err();
    assert_eq!((refusal.rule, refusal.retry_age_ms), (Rule::Approval, None));
    assert!(!allowed(&world));
}

#[test]
fn an_interlock_holds_up_what_disrupts_and_nothing_else() {
    let mut world = World::new();
    world.interlock = Some("line: no word".into());
    assert_eq!(world.rule("web"), Some(Rule::Interlock));
    let mut notify = proposal(NOTIFY, &TargetId::workload("web"));
    notify.params = vec![("to".into(), Value::text("pager"))];
    assert!(world.check(&healer(), &notify).is_ok());
    let ordered = proposal(WORKLOAD_STOP, &TargetId::workload("web"));
    assert!(world.check(&operator(), &ordered).is_ok(), "a person knows the line");
}

#[test]
fn a_box_that_booted_itself_too_often_waits_for_a_person() {
    let reboot = ActionSpec {
        name: SYSTEM_REBOOT.into(),
        summary: String::new(),
        targets: vec!["box".into()],
        params: vec![],
        terms: Terms { disruption: 3, proof: Proof::Cleared, ..Terms::RESTART },
        reversible: false,
        timeout_ms: 1_000,
    };
    let mut world = World::new()
        .with(|config| config.reboot = Some(RebootConfig { max: 2, window_ms: 3_600_000 }));
    let mut catalogue = Catalogue::default();
    catalogue.insert(reboot);
    let grants = BTreeMap::from([("ladder".to_owned(), [SYSTEM_REBOOT.to_owned()].into())]);
    world.guard = Guard::new(world.config.clone(), grants, Arc::new(catalogue));
    let the_box = TargetId::the_box();
    world.graph.insert(Target { id: the_box.clone(), kind: TargetKind::Box, needs: vec![] });
    world.now = 10_000_000;
    for (reboots, retry) in [
        (vec![], None),
        (vec![9_000_000], None),
        (vec![6_399_999, 9_000_000], None),
        (vec![6_400_000, 9_000_000], Some(10_000_001)),
    ] {
        world.reboots_age_ms = reboots;
        let refusal = world.check(&healer(), &proposal(SYSTEM_REBOOT, &the_box)).err();
        assert_eq!(refusal.as_ref().map(|it| it.rule), retry.map(|_| Rule::Reboot));
        assert_eq!(refusal.and_then(|it| it.retry_age_ms), retry);
    }
}
