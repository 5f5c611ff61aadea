//! The detectors that come with it, on a real daemon: each sees its own kind of
//! trouble, and what only a person can mend is told and never bounced.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use homeostat::model::{Event, Origin};
use homeostat_tests::link::Link;
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox};
use model_server::fault::Fault;
use serde_json::json;

/// Its incident ends as stuck, with nothing done about it.
#[track_caller]
fn only_told(house: &TestBox, kind: &str) {
    let stuck = house.until_view("the incident to be called stuck", |view| {
        let found = view.incidents.iter().find(|incident| incident.kind == kind)?;
        (found.phase == "stuck").then(|| found.clone())
    });
    assert!(!stuck.detail.is_empty(), "stuck says why");
    let acted = house.check().into_iter().find(|record| {
        matches!(record.event, Event::Permitted { origin: Origin::Healer { .. }, .. })
    });
    assert_eq!(acted, None, "no restart mends {kind}");
}

/// A pretend `/dev/kmsg`. Open for reading too, so that what is written waits.
fn kernel(at: &Path) -> File {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, at, mode).expect("a FIFO can be made");
    File::options().read(true).write(true).open(at).expect("a FIFO can be opened")
}

#[test]
fn the_kernel_kills_for_want_of_memory_and_host_says_so() {
    let plan = Plan::bare().detector("host", json!({})).healer("ladder", json!({}));
    let kmsg = plan.path().join("kmsg");
    let mut kernel = kernel(&kmsg);
    let house = plan
        .with(|settings| {
            settings.set("source.kmsg", path(&kmsg));
        })
        .raise();
    // The kernel stamps with the time since the boot; an old message is history.
    let uptime = fs::read_to_string("/proc/uptime").expect("every kernel has it");
    let now_s: f64 = uptime.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
    let text = "Out of memory: Killed process 4312 (python3) total-vm:8123456kB";
    writeln!(kernel, "3,9,{:.0},-;{text}", now_s * 1e6).expect("it has room");
    let finding = house.until_raised(0, "host.oom-kill");
    assert_eq!(finding.target.as_str(), "box");
    only_told(&house, "host.oom-kill");
}

#[test]
fn a_link_without_carrier_is_told_and_nothing_is_restarted() {
    let link = json!({ "down_s": 0.2 });
    let plan = Plan::bare().detector("link", link).healer("ladder", json!({}));
    let (eth0, plan) = Link::on(plan, "eth0");
    let house = plan.raise();
    // A socket that never had a cable is no fault: it has to be seen to carry first.
    house.until_looked("link");
    eth0.loses_its_carrier();
    let finding = house.until_raised(0, "link.down");
    assert_eq!(finding.target.as_str(), "link:eth0");
    only_told(&house, "link.down");
}

#[test]
fn a_server_that_writes_of_its_accelerator_is_told_of_and_goes_on() {
    let house = Plan::bare()
        .server("digits")
        .detector("log-pattern", json!({}))
        .healer("ladder", json!({}))
        .raise();
    let pid = house.until_serving("digits");
    let text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB".to_owned();
    house.server("digits").breaks(Fault::ErrorLine { text });
    let finding = house.until_raised(0, "log.cuda-oom");
    assert_eq!(finding.target.as_str(), "workload:digits");
    only_told(&house, "log.cuda-oom");
    assert_eq!(house.until_serving("digits"), pid, "words are no proof that it is ill");
}
