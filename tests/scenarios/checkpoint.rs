//! A checkpoint that cannot be lived with is tried once, then left behind.

use homeostat::model::view::PluginState;
use homeostat::model::{AfterFault, Event};
use homeostat_tests::{Plan, TestBox};
use model_server::fault::Fault;
use serde_json::json;

const WORD: &str = "from now on poisoned";

fn calls(house: &TestBox) -> u64 {
    let view = house.view();
    view.plugins.iter().find(|plugin| plugin.name == "misbehave").map_or(0, |it| it.calls)
}

/// A box whose detector has saved a poisoned checkpoint and runs on.
fn poisoned(how: &str) -> TestBox {
    let keys = json!({
        "config": { "how": how, "word": WORD, "finding": "box" },
        "checkpoint_s": 1, "period_ms": 100, "backoff_ms": 10,
    });
    let house = Plan::usual().plugin("misbehave", keys).raise();
    house.until_serving("digits");
    house.server("digits").breaks(Fault::ErrorLine { text: WORD.into() });
    // Thirty calls at a tenth of a second: at least two checkpoints.
    let before = calls(&house);
    house.until_view("thirty more calls", |_| (calls(&house) > before + 30).then_some(()));
    house
}

/// After a restart it falls over its checkpoint, and then starts without.
fn is_left_behind(how: &str) {
    let mut house = poisoned(how);
    let before = house.now();
    house.kill_daemon();
    house.start(&[]);
    house.until_event(before, "a start without the checkpoint", |event| match event {
        Event::PluginFaulted {
            plugin,
            then: AfterFault::Restarted { from_checkpoint: false },
            ..
        } if plugin == "misbehave" => Some(()),
        _ => None,
    });
    let fell = calls(&house);
    let state = house.until_view("it to go on", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "misbehave")?;
        (found.calls > fell + 10).then_some(found.state)
    });
    assert_eq!(state, PluginState::Running);
    let faults = house.events().into_iter().filter(|record| {
        record.seq > before
            && matches!(&record.event, Event::PluginFaulted { plugin, .. } if plugin == "misbehave")
    });
    assert!(faults.count() <= 2, "one fall over the checkpoint, one more at most");
    house.check();
}

#[test]
fn a_checkpoint_that_traps_the_next_call_is_left_behind() {
    is_left_behind("poison");
}

#[test]
fn a_checkpoint_that_traps_while_it_is_restored_is_left_behind() {
    is_left_behind("poison-restore");
}
