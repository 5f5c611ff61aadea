//! The daemon killed with -9 at random moments, two hundred times, while one
//! server after the other is broken and healed under load.
//!
//! What must hold in the end: the journal is whole, no attempt was executed
//! twice, the workload that was never broken was never touched and its client
//! never lost a request.

use std::time::Duration;

use homeostat::model::{Event, Record, TargetId};
use homeostat_tests::Plan;
use homeostat_tests::load::Load;
use model_server::fault::Fault;
use model_server::record::{Outcome, Sent};
use serde_json::json;

/// Each is one daemon's life.
const KILLS: u32 = 200;
/// A server that hangs is left to the daemon; it would hold us up.
const A_MOMENT: Duration = Duration::from_millis(100);

#[test]
fn killed_at_two_hundred_random_moments_nothing_is_lost_and_nothing_done_twice() {
    let kills = std::env::var("HOMEOSTAT_KILLS").ok().and_then(|text| text.parse().ok());
    let seed = std::env::var("HOMEOSTAT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("HOMEOSTAT_SEED={seed} repeats these moments");
    let mut chance = Chance(seed);

    let mut house = Plan::bare()
        .server("digits")
        .server("steady")
        .detector("liveness", json!({}))
        .healer("ladder", Plan::ladder(1000, 0.2))
        .with(|settings| {
            // Two hundred deaths in a few minutes are no reason to give up.
            settings.set("incident.stuck_retry_ms", 1_000).set("incident.hold_ms", 1_000);
        })
        .raise();
    house.until_serving("digits");
    let steady = house.until_serving("steady");
    let mut load =
        Load::on(house.servers(), 20, 10_000, house.folder()).expect("it can be started");

    let mut breaks = 0;
    for kill in 0..kills.unwrap_or(KILLS) {
        // A server that serves is broken again, so that most kills meet a repair.
        if house.server("digits").answers_within(A_MOMENT).is_ok() {
            breaks += 1;
            house.server("digits").breaks(if chance.below(2) == 0 {
                Fault::Crash
            } else {
                Fault::Hang
            });
        }
        chance.wait(1500);
        house.kill_daemon();
        // Not until it is up: the way up is a moment like any other.
        house.spawn(&[]);
        if kill % 20 == 19 {
            house.until_serving("digits");
            house.check();
        }
    }
    assert!(breaks >= kills.unwrap_or(KILLS) / 20, "{breaks} faults under all those kills");

    house.until_serving("digits");
    house.until_quiet();
    let records = house.check();
    let touched: Vec<_> = records.iter().filter(|record| touches(record, "steady")).collect();
    assert!(touched.is_empty(), "never broken, and touched: {touched:#?}");
    assert_eq!(house.until_serving("steady"), steady, "never touched");
    assert_eq!(house.server("steady").starts().len(), 1);
    lost_nothing(&load.end(), "steady");
}

/// What was seen of a server that made it a case for a healer, and what was done.
fn touches(record: &Record, server: &str) -> bool {
    let target = TargetId::workload(server);
    match &record.event {
        Event::IncidentOpened { root, .. } => *root == target,
        Event::Permitted { incident: Some(_), proposal, .. } => proposal.target == target,
        Event::WorkloadExited { workload, .. } => workload == server,
        _ => false,
    }
}

#[track_caller]
fn lost_nothing(sent: &[Sent], server: &str) {
    let of_it: Vec<_> = sent.iter().filter(|sent| sent.server == server).collect();
    let lost: Vec<_> = of_it.iter().filter(|sent| sent.result != Outcome::Good).collect();
    assert!(of_it.len() > 100, "{} requests are no load", of_it.len());
    assert!(lost.is_empty(), "{server} lost {} of {}: {lost:?}", lost.len(), of_it.len());
}

/// splitmix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A random moment is the point here, so this is no wait for anything.
    fn wait(&mut self, ms_max: u64) {
        std::thread::sleep(Duration::from_millis(self.below(ms_max)));
    }
}
