//! Stories of whole lives, and of what repeats in them.

use super::*;
use crate::model::Value;
use crate::model::action::Rule;
use crate::model::catalogue::Terms;
use crate::model::{Event, Sighting};

const ID: IncidentId = IncidentId(11);

/// A journal that counts its records from 10, one second apart.
struct Journal(Vec<Record>);

impl Journal {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, event: Event) -> &mut Self {
        let seq = 10 + self.0.len() as Seq;
        let at = Instant { age_ms: seq * 1000, boot: 1, unix_ms: None };
        self.0.push(Record { seq, at, event });
        self
    }

    fn opened() -> Self {
        let mut journal = Self::new();
        journal.add(Event::FindingRaised { detector: "liveness".into(), finding: finding() }).add(
            Event::IncidentOpened {
                root: TargetId::workload("digits"),
                kind: "process.gone".into(),
                signature: "process.gone@workload:digits".into(),
                findings: vec![Sighting { detector: "liveness".into(), finding: finding() }],
            },
        );
        journal
    }

    fn story(&self) -> Story {
        tell(ID, &self.0, Instant { age_ms: 60_000, boot: 1, unix_ms: None }).unwrap()
    }

    fn words(&self) -> Vec<String> {
        self.story().chapters.iter().map(word).collect()
    }
}

fn finding() -> Finding {
    Finding {
        key: "gone".into(),
        kind: "process.gone".into(),
        target: TargetId::workload("digits"),
        severity: 3,
        series: vec![],
        message: "it exited with exit code 139".into(),
        evidence: vec![("status".into(), Value::text("exit code 139"))],
    }
}

fn word(chapter: &Chapter) -> String {
    let json = serde_json::to_value(chapter).unwrap();
    let name = json["chapter"].as_str().unwrap().to_owned();
    if chapter.times > 1 { format!("{name} x{}", chapter.times) } else { name }
}

fn asked() -> Event {
    Event::HealerAsked { incident: ID, healer: "ladder".into() }
}

fn proposal() -> Proposal {
    Proposal {
        action: "workload.restart".into(),
        target: TargetId::workload("digits"),
        params: vec![],
        reason: "cheapest first".into(),
        also_prove: vec![],
    }
}

fn decided(decision: Decision) -> Event {
    Event::Decided { incident: ID, healer: "ladder".into(), decision }
}

fn origin() -> Origin {
    Origin::Healer { plugin: "ladder".into(), incident: ID }
}

fn refused(retry_age_ms: u64) -> Event {
    Event::Refused {
        incident: Some(ID),
        origin: origin(),
        proposal: proposal(),
        refusal: Refusal {
            rule: Rule::Cooldown,
            detail: "restarted 4 s ago".into(),
            retry_age_ms: Some(retry_age_ms),
        },
    }
}

fn permitted() -> Event {
    Event::Permitted {
        incident: Some(ID),
        birth: 7,
        origin: origin(),
        proposal: proposal(),
        terms: Terms::RESTART,
        expires_age_ms: 99_000,
    }
}

fn proof(good: bool) -> Event {
    Event::ProofSeen { incident: ID, good, detail: "ready".into() }
}

#[test]
fn a_whole_life_is_told_in_order() {
    let mut journal = Journal::opened();
    journal
        .add(asked())
        .add(decided(Decision::Act(proposal())))
        .add(refused(20_000))
        .add(asked())
        .add(decided(Decision::Act(proposal())))
        .add(permitted());
    let attempt = AttemptId { birth: 7, seq: 17 };
    let done = Outcome::Done { detail: "pid 4121".into() };
    journal
        .add(Event::AttemptEnded { incident: Some(ID), attempt, outcome: done })
        .add(proof(true))
        .add(proof(true))
        .add(proof(true))
        .add(Event::IncidentRecovered { incident: ID, attempt: Some(attempt) })
        .add(Event::IncidentProven { incident: ID, attempt: Some(attempt) })
        .add(Event::IncidentClosed { incident: ID, why: "proven".into() });
    assert_eq!(
        journal.words(),
        [
            "seen",
            "opened",
            "decided",
            "refused",
            "decided",
            "permitted",
            "ended",
            "proof x3",
            "recovered",
            "proven",
            "closed"
        ]
    );
    let story = journal.story();
    assert_eq!(story.phase, "closed");
    assert_eq!(story.opening.as_ref().unwrap().kind, "process.gone");
    let Passage::Seen { finding: seen, .. } = &story.chapters[0].passage else { panic!() };
    assert_eq!(seen.message, "it exited with exit code 139");
    assert!(story.chapters.iter().any(|chapter| matches!(
        chapter.passage,
        Passage::Permitted { attempt: a, .. } if a == attempt
    )));
    assert!(
        story
            .chapters
            .iter()
            .any(|chapter| matches!(chapter.passage, Passage::Ended { took_ms: Some(1000), .. }))
    );
    assert!(story.chapters.iter().any(|chapter| matches!(
        chapter.passage,
        Passage::Recovered { after_ms: Some(11_000), .. }
    )));

    // It is sent as JSON and read back as it was.
    let sent = serde_json::to_string(&story).unwrap();
    assert_eq!(serde_json::from_str::<Story>(&sent).unwrap(), story);
}

#[test]
fn the_same_proposal_refused_again_and_again_is_one_chapter_with_its_count() {
    let mut journal = Journal::opened();
    for round in 0..5 {
        journal.add(asked()).add(decided(Decision::Act(proposal()))).add(refused(round));
    }
    assert_eq!(journal.words(), ["seen", "opened", "decided", "refused x5"]);
    let story = journal.story();
    let last = story.chapters.last().unwrap();
    // The newest word of the guard counts: when it could pass.
    let Passage::Refused { refusal, .. } = &last.passage else { panic!() };
    assert_eq!(refusal.retry_age_ms, Some(4));
    assert!(last.last.age_ms > last.at.age_ms);
}

#[test]
fn an_unanswered_question_and_a_broken_healer_are_told() {
    let mut journal = Journal::opened();
    journal.add(asked());
    assert_eq!(journal.words(), ["seen", "opened", "asked"]);
    assert_eq!(journal.story().phase, "deciding");
    journal.add(Event::DecisionFailed {
        incident: ID,
        healer: "ladder".into(),
        why: "trapped".into(),
        for_good: false,
    });
    journal.add(Event::IncidentStuck { incident: ID, why: "nobody left to ask".into() });
    assert_eq!(journal.words(), ["seen", "opened", "unanswered", "stuck"]);
    assert_eq!(journal.story().phase, "stuck");
}

#[test]
fn a_relapse_and_what_a_crash_hid_are_told() {
    let attempt = AttemptId { birth: 7, seq: 12 };
    let mut journal = Journal::opened();
    journal
        .add(permitted())
        .add(Event::EffectObserved {
            incident: Some(ID),
            attempt,
            outcome: Outcome::Done { detail: "it runs".into() },
        })
        .add(proof(true))
        .add(proof(false))
        .add(Event::ProofFailed { incident: ID, attempt: Some(attempt), why: "503".into() })
        .add(Event::IncidentRecovered { incident: ID, attempt: None })
        .add(Event::IncidentRelapsed { incident: ID, attempt: None, why: "gone again".into() });
    assert_eq!(
        journal.words(),
        [
            "seen",
            "opened",
            "permitted",
            "observed",
            "proof",
            "proof",
            "proof-failed",
            "recovered",
            "relapsed"
        ]
    );
    assert_eq!(journal.story().phase, "open");
}

#[test]
fn records_that_are_gone_are_left_out_and_others_incidents_are_not_told() {
    let mut journal = Journal::new();
    journal.add(Event::DaemonStopped {}).add(Event::IncidentOpened {
        root: TargetId::the_box(),
        kind: "k".into(),
        signature: "s".into(),
        findings: vec![Sighting { detector: "d".into(), finding: finding() }],
    });
    let other = IncidentId(99);
    journal.add(Event::IncidentStuck { incident: other, why: "not ours".into() });
    assert_eq!(journal.words(), ["seen", "opened"]);
    let story = journal.story();
    assert_eq!(tell(IncidentId(5), &journal.0, story.now), None);

    // So was its beginning.
    let tail = Record { seq: 50, ..journal.0[2].clone() };
    let story = tell(other, &[tail], story.now).unwrap();
    assert_eq!(story.opening, None);
}

#[test]
fn of_a_story_too_long_the_middle_is_left_out() {
    let mut journal = Journal::opened();
    for _ in 0..400 {
        journal
            .add(Event::IncidentStuck { incident: ID, why: "none".into() })
            .add(Event::IncidentReopened { incident: ID, why: "again".into() });
    }
    let story = journal.story();
    assert_eq!(story.chapters.len(), CHAPTERS_MAX);
    assert_eq!(story.left_out, 802 - CHAPTERS_MAX);
    assert!(matches!(story.chapters[1].passage, Passage::Opened {}));
    assert!(matches!(story.chapters.last().unwrap().passage, Passage::Reopened { .. }));
}
