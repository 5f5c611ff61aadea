use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::SourceEvent;
use super::*;
use crate::clock::SavedClock;
use crate::config::ProbeKind;
use crate::http::server::{Manner, Server};

const DEADLINE: Duration = Duration::from_secs(20);

/// One probe of `workload:m` at work, and what it says.
struct Story {
    clock: Clock,
    events: mpsc::Receiver<SourceEvent>,
    haste: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    outlet: Outlet,
    task: JoinHandle<()>,
}

const UP: SeriesId = SeriesId(0);
const DURATION: SeriesId = SeriesId(1);
const OVERDUE: SeriesId = SeriesId(2);

fn probe(name: &str, period_ms: u64, timeout_ms: u64, address: &str) -> Probe {
    let kind = ProbeKind::Tcp { address: address.to_owned() };
    let config = ProbeConfig { name: name.to_owned(), kind, period_ms, timeout_ms };
    Probe::new(&TargetId::workload("m"), &config, &mut Registry::default())
}

impl Story {
    fn start(probe: Probe, prober: Option<Prober>) -> Self {
        let clock = Clock::resume(SavedClock::default(), "this boot", 0);
        let (sender, events) = mpsc::channel(64);
        let (haste, hastened) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let outlet = Outlet::new(sender);
        let around = Surroundings {
            clock: clock.clone(),
            outlet: outlet.clone(),
            haste: hastened,
            stop: stopped,
        };
        let task = match prober {
            Some(prober) => tokio::spawn(Watch::new(probe, around).run(prober)),
            None => tokio::spawn(probe.watch(around)),
        };
        Self { clock, events, haste, stop, outlet, task }
    }

    async fn next(&mut self) -> SourceEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        event.expect("an event in time").expect("it runs")
    }

    async fn result(&mut self) -> ProbeResult {
        loop {
            if let SourceEvent::Probe(result) = self.next().await {
                return result;
            }
        }
    }

    async fn values(&mut self) -> Values {
        loop {
            if let SourceEvent::Batch(batch) = self.next().await {
                return batch.values;
            }
        }
    }
}

#[tokio::test]
async fn a_good_probe_says_so_as_a_result_and_as_series() {
    let server = Server::start(Manner::Silent).await;
    let mut story = Story::start(probe("port", 20, 1000, &server.address.to_string()), None);
    let result = story.result().await;
    assert_eq!((result.target.as_str(), result.probe.as_str()), ("workload:m", "port"));
    assert_eq!(result.good, Some(true));
    assert!(result.began_age_ms <= result.age_ms && result.age_ms <= story.clock.age_ms());
    let values = story.values().await;
    let ids: Vec<_> = values.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [OVERDUE, UP, DURATION]);
    assert_eq!((values[0].1, values[1].1), (0.0, 1.0));
    assert!(values[2].1 > 0.0);
    // And again, each begun after the one before.
    assert!(story.result().await.began_age_ms >= result.age_ms);
}

#[tokio::test]
async fn a_probe_without_a_reading_leaves_up_and_duration_out() {
    let mut story = Story::start(probe("broken", 20, 1000, "no port"), None);
    assert_eq!(story.result().await.good, None);
    assert_eq!(story.values().await, [(OVERDUE, 0.0)]);
}

#[tokio::test]
async fn a_probe_that_never_returns_grows_overdue_and_is_not_asked_again() {
    let mut story = Story::start(probe("stuck", 20, 10, "x:1"), Some(Prober::NeverReturns));
    let result = story.result().await;
    assert_eq!(result.good, None);
    assert!(result.detail.contains("has not returned"), "{}", result.detail);
    let mut last = 0.0;
    for _ in 0..5 {
        let values = story.values().await;
        assert_eq!(values.len(), 1, "`up` is not known");
        let (id, late_s) = values[0];
        assert!(id == OVERDUE && late_s > last, "{late_s} after {last}");
        last = late_s;
    }
    // Haste does not start a second one either.
    story.haste.send_modify(|until| *until = u64::MAX);
    for _ in 0..3 {
        assert!(matches!(story.next().await, SourceEvent::Batch(_)), "one result, once");
    }
}

#[tokio::test]
async fn one_that_never_returns_does_not_hold_up_another() {
    let server = Server::start(Manner::Silent).await;
    let _stuck = Story::start(probe("stuck", 20, 10, "x:1"), Some(Prober::NeverReturns));
    let mut other = Story::start(probe("port", 20, 1000, &server.address.to_string()), None);
    for _ in 0..5 {
        assert_eq!(other.result().await.good, Some(true));
    }
}

#[tokio::test]
async fn haste_begins_a_probe_at_once_and_goes_on_faster_until_its_age() {
    let server = Server::start(Manner::Silent).await;
    // An hour: without haste no second one would come within this test.
    let mut story = Story::start(probe("port", 3_600_000, 1000, &server.address.to_string()), None);
    story.result().await;
    let asked = story.clock.age_ms();
    story.haste.send_modify(|until| *until = asked + 3_600_000);
    let mut last = story.result().await;
    assert!(last.began_age_ms >= asked);
    for _ in 0..3 {
        let next = story.result().await;
        let apart = next.began_age_ms - last.began_age_ms;
        assert!(apart >= HASTENED_PERIOD.as_millis() as u64 - 2, "{apart} ms");
        last = next;
    }
}

#[tokio::test]
async fn a_period_shorter_than_the_hastened_one_is_kept() {
    let mut story = Story::start(probe("port", 20, 10, "x"), None);
    story.haste.send_modify(|until| *until = u64::MAX);
    let first = story.result().await.began_age_ms;
    for _ in 0..10 {
        story.result().await;
    }
    let last = story.result().await.began_age_ms;
    assert!(last - first < 11 * HASTENED_PERIOD.as_millis() as u64, "{} ms", last - first);
}

#[tokio::test]
async fn results_wait_for_room_and_numbers_are_dropped_and_counted() {
    let server = Server::start(Manner::Silent).await;
    let mut story = Story::start(probe("port", 1, 1000, &server.address.to_string()), None);
    // Full: 64 events, and nobody takes one.
    let dropped = story.outlet.dropped();
    let batch = || Batch { age_ms: 0, values: vec![] };
    while dropped.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert_eq!(story.outlet.batch(batch()), Open::Yes);
        tokio::task::yield_now().await;
    }
    for _ in 0..200 {
        story.result().await;
    }
    story.events.close();
    assert_eq!(story.outlet.batch(batch()), Open::No);
    tokio::time::timeout(DEADLINE, &mut story.task).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn stop_ends_a_probe_in_flight_and_so_does_dropping_who_could_say_it() {
    let server = Server::start(Manner::Silent).await;
    let http = |url: String| {
        let mut it = probe("http", 20, 3_600_000, "x");
        it.config.kind = ProbeKind::Http {
            method: "GET".to_owned(),
            url,
            headers: std::collections::BTreeMap::new(),
            body: None,
            expect_status: 200,
            expect_text: None,
        };
        it
    };
    let Story { task, stop, haste: _haste, events: _events, .. } =
        Story::start(http(server.url("/")), None);
    stop.send_replace(true);
    tokio::time::timeout(DEADLINE, task).await.expect("it ends").unwrap();

    let Story { task, stop, haste: _haste, events: _events, .. } =
        Story::start(http(server.url("/")), None);
    while server.taken.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(stop);
    tokio::time::timeout(DEADLINE, task).await.expect("it ends").unwrap();
}

#[test]
fn first_probes_are_spread_by_their_names_the_same_each_time() {
    let jitter = |name: &str, period_ms| probe(name, period_ms, 1, "x:1").jitter();
    assert_eq!(jitter("a", 10_000), jitter("a", 10_000));
    assert_ne!(jitter("a", 10_000), jitter("b", 10_000));
    for name in ["a", "b", "health", "canary"] {
        assert!(jitter(name, 60_000) < JITTER_MAX);
        assert!(jitter(name, 20) < Duration::from_millis(20));
    }
}
