//! The clock on the wall jumps to 1970 and to 2099: a battery that is flat, a
//! server of time that is mad. The box goes by its own age, and what does go by
//! the wall waits for a clock that can be true.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homeostat::model::action::Rule;
use homeostat::model::{Event, IncidentId, Record};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::json;

/// 1970-01-01 00:10 and 2099-06-01, both UTC, in seconds since 1970.
const FLAT: i64 = 600;
const MAD: i64 = 4_083_955_200;
const YEAR_MS: u64 = 365 * 86_400_000;

/// The clock on the wall of one box; nobody else's moves.
struct Wall(PathBuf);

impl Wall {
    fn of(plan: &Plan) -> Self {
        Self(plan.path().join("wall-clock"))
    }

    fn variable(&self) -> String {
        path(&self.0)
    }

    fn jumps_to(&self, unix_s: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let now_s = i64::try_from(now.as_secs()).expect("it is before the end of time");
        self.is_off_by(unix_s - now_s);
    }

    fn is_right(&self) {
        self.is_off_by(0);
    }

    fn is_off_by(&self, off_s: i64) {
        let fresh = self.0.with_extension("new");
        fs::write(&fresh, off_s.to_string()).expect("the story's folder can be written");
        fs::rename(&fresh, &self.0).expect("it can be renamed");
    }
}

struct House {
    house: TestBox,
    wall: Wall,
}

impl House {
    fn raise(plan: Plan) -> Self {
        let wall = Wall::of(&plan);
        let mut story = Self { house: TestBox::new(plan), wall };
        story.start();
        story.house.until_watched("digits");
        story
    }

    fn start(&mut self) {
        self.house.start(&[("HOMEOSTAT_WALL_CLOCK", &self.wall.variable())]);
    }

    /// Over a death of the daemon.
    fn restarts_at(&mut self, unix_s: i64) {
        self.house.kill_daemon();
        self.wall.jumps_to(unix_s);
        self.start();
        self.house.until_watched("digits");
    }

    fn crash(&self) -> u64 {
        let before = self.house.now();
        self.house.server("digits").breaks(Fault::Crash);
        before
    }

    #[track_caller]
    fn until_recovered(&self, before: u64) -> IncidentId {
        let recovered = self.house.until_event(before, "recovery", |event| match event {
            Event::IncidentRecovered { incident, .. } => Some(*incident),
            _ => None,
        });
        recovered.1
    }

    /// Whole, in order, and of an age that no jump made longer. Gives it back.
    #[track_caller]
    fn end(&self) -> Vec<Record> {
        let records = self.house.check();
        let [first, last] = [&records[0], &records[records.len() - 1]].map(|it| it.at.age_ms);
        assert!(last - first < YEAR_MS, "the box's age ran from {first} to {last} ms");
        records
    }
}

/// When each of them was, by the box's age.
fn ages_ms(records: &[Record], wanted: impl Fn(&Event) -> bool) -> Vec<u64> {
    records.iter().filter(|it| wanted(&it.event)).map(|it| it.at.age_ms).collect()
}

fn is_a_repair(event: &Event) -> bool {
    matches!(event, Event::Permitted { incident: Some(_), .. })
}

const COOLDOWN_MS: u64 = 6_000;

fn cooled() -> House {
    House::raise(Plan::usual().with(|settings| {
        settings.set("guard.cooldown_ms", COOLDOWN_MS);
    }))
}

/// Two repairs, the second one held back until the cooldown was over.
#[track_caller]
fn apart(story: &House) {
    let repairs = ages_ms(&story.end(), is_a_repair);
    assert_eq!(repairs.len(), 2, "{repairs:?}");
    assert!(repairs[1] - repairs[0] >= COOLDOWN_MS, "{repairs:?}");
}

#[test]
fn a_cooldown_is_neither_cut_short_nor_drawn_out_by_a_clock_that_jumps() {
    for to in [FLAT, MAD] {
        let story = cooled();
        let before = story.crash();
        story.until_recovered(before);
        story.wall.jumps_to(to);
        let again = story.crash();
        story.house.until_held_back(again, Rule::Cooldown);
        story.house.until_quiet();
        apart(&story);
    }
}

#[test]
fn a_cooldown_outlives_the_daemon_whatever_year_it_wakes_in() {
    for (from, to) in [(FLAT, MAD), (MAD, FLAT)] {
        let mut story = cooled();
        story.wall.jumps_to(from);
        let before = story.crash();
        story.until_recovered(before);
        story.restarts_at(to);
        let again = story.crash();
        story.house.until_held_back(again, Rule::Cooldown);
        story.house.until_quiet();
        apart(&story);
    }
}

#[test]
fn the_hold_window_is_as_long_in_1970_and_in_2099() {
    const HOLD_MS: u64 = 3_000;
    let mut story = House::raise(Plan::usual().with(|settings| {
        settings.set("incident.hold_ms", HOLD_MS);
    }));
    let steps: [fn(&mut House); 2] = [|it| it.wall.jumps_to(FLAT), |it| it.restarts_at(MAD)];
    for step in steps {
        let before = story.crash();
        let incident = story.until_recovered(before);
        step(&mut story);
        story.house.until_healed("digits", before);
        let records = story.end();
        let age = |wanted: fn(&Event) -> bool| {
            let of_it = records.iter().filter(|it| it.event.incident(it.seq) == Some(incident));
            of_it.filter(|it| wanted(&it.event)).map(|it| it.at.age_ms).next_back()
        };
        let recovered = age(|event| matches!(event, Event::IncidentRecovered { .. }));
        let proven = age(|event| matches!(event, Event::IncidentProven { .. }));
        let quiet_ms = proven.zip(recovered).map(|(to, from)| to - from);
        assert!(quiet_ms.is_some_and(|ms| ms >= HOLD_MS), "{recovered:?} to {proven:?}");
    }
}

/// Open at any hour of any day, by whatever clock.
fn always() -> House {
    House::raise(Plan::usual().with(|settings| {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let always = json!({ "name": "always", "days": days, "from": "00:00", "to": "24:00" });
        settings.push("maintenance", always);
    }))
}

#[track_caller]
fn untouched(story: &House, since: u64) {
    wait::stays(Duration::from_secs(1), "a box that knows no hour does nothing", || {
        let records = story.house.events();
        let acted = records.iter().find(|it| it.seq > since && is_a_repair(&it.event));
        acted.map_or(Ok(()), |record| Err(format!("{record:?}")))
    });
}

#[test]
fn a_maintenance_window_does_not_open_by_a_clock_that_cannot_be_true() {
    let mut story = always();
    for to in [FLAT, MAD] {
        story.wall.jumps_to(to);
        let before = story.crash();
        let incident = story.house.until_held_back(before, Rule::Maintenance);
        let told = story.house.cli(&["explain", &incident.to_string()]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("the wall clock is not trusted"), "{told}");
        untouched(&story, before);

        story.house.kill_daemon();
        story.start();
        untouched(&story, before);
        story.wall.is_right();
        assert_eq!(story.house.until_healed("digits", before), incident);
    }
    story.end();
}

#[test]
fn what_is_written_down_under_a_mad_clock_bears_no_date_and_is_in_order() {
    let mut story = House::raise(Plan::usual());
    let mut dated = Vec::new();
    for to in [FLAT, MAD] {
        story.restarts_at(to);
        let before = story.crash();
        story.house.until_healed("digits", before);
        let told = story.house.cli(&["incidents"]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(!told.contains(" d "), "no incident is days old: {told}");
        dated.extend(story.house.journal().into_iter().filter(|it| it.seq > before));
    }
    story.wall.is_right();
    let before = story.crash();
    story.house.until_healed("digits", before);
    let wrong: Vec<_> = dated.iter().filter(|it| it.at.unix_ms.is_some()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let records = story.end();
    let after = records.iter().filter(|it| it.seq > before);
    assert!(after.filter(|it| it.at.unix_ms.is_none()).count() == 0, "a right clock is believed");
}
