//! What a box might hand a plugin on its worst day: a recording, twisted.
//!
//! Invariant: deterministic. A twist is named, the same each time, and stays
//! within the contract: what a plugin cannot stand of it, it will meet.

use homeostat_sdk::recording::{Recording, RecordingError, Step, Subject};
use homeostat_sdk::{Finding, Incident, Mark, RawFrame, Value};

/// A line as long as the daemon lets one be.
const LINE_BYTES: usize = 16 << 10;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

type OnFrame = fn(usize, &RawFrame) -> RawFrame;
type OnIncident = fn(&Incident) -> Incident;

/// Each with what it does to a frame; the number counts frames.
const OF_FRAMES: &[(&str, OnFrame)] = &[
    ("as it was", |_, frame| frame.clone()),
    ("no reading at all", |_, frame| valued(frame, |_, _| f64::NAN)),
    ("every third reading missing", |n, frame| {
        valued(frame, |at, value| if (n + at) % 3 == 0 { f64::NAN } else { value })
    }),
    ("numbers that nobody expects", |n, frame| {
        const ODD: [f64; 6] = [0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, -1.0];
        valued(frame, |at, _| ODD[(n + at) % ODD.len()])
    }),
    ("rows in reverse", |_, frame| reversed(frame)),
    ("empty frames", |_, frame| RawFrame { seq: frame.seq, now: frame.now, ..RawFrame::default() }),
    ("the same moment again and again", |_, frame| {
        let rows = vec![frame.now.age_ms; frame.rows.len()];
        RawFrame { rows, ..frame.clone() }
    }),
    ("rows lost by the thousand", |_, frame| RawFrame { lost: 100_000, ..frame.clone() }),
    ("a year between two frames", |n, frame| later(frame, n as u64 * YEAR_MS)),
    ("a boot between two frames", |n, frame| {
        let mut frame = frame.clone();
        frame.now.boot += n as u64;
        frame
    }),
    ("lines without an end", |_, frame| lined(frame, &"x".repeat(LINE_BYTES))),
    ("lines of odd letters", |_, frame| lined(frame, "\u{0}\t\u{202e}é漢\u{1f9ff}\\\"{}[]*%s$(x)")),
    ("empty lines", |_, frame| lined(frame, "")),
    ("marks of a later time", |_, frame| marked(frame)),
];

const OF_INCIDENTS: &[(&str, OnIncident)] = &[
    ("as it was", Incident::clone),
    ("no remedy", |it| Incident { remedies: vec![], ..it.clone() }),
    ("no finding", |it| Incident { findings: vec![], ..it.clone() }),
    ("nothing around it", |it| Incident { graph: vec![], ..it.clone() }),
    ("nothing may be done", |it| {
        let mut it = it.clone();
        it.remedies.iter_mut().for_each(|remedy| {
            remedy.allowed = false;
            remedy.why_not = "mode: observe".into();
        });
        it
    }),
    ("tried a thousand times", |it| {
        let again = it.attempts.first().cloned().into_iter();
        Incident { attempts: again.cycle().take(1_000).collect(), ..it.clone() }
    }),
    ("outcomes of a later time", |it| {
        let mut it = it.clone();
        it.attempts.iter_mut().for_each(|attempt| attempt.outcome = "evaporated".into());
        it
    }),
    ("remedies of a later time", |it| {
        let mut it = it.clone();
        it.remedies.iter_mut().for_each(|remedy| remedy.params = "{\"type\":\"tensor\"}".into());
        it
    }),
    ("findings of a later time", |it| {
        let odd = Finding::new("quantum.decohered", &it.root, "x".repeat(LINE_BYTES));
        Incident { findings: vec![odd; 256], ..it.clone() }
    }),
    ("a year later", |it| {
        let mut it = it.clone();
        it.now.age_ms += YEAR_MS;
        it
    }),
];

/// What the plugin could not stand.
#[derive(Debug)]
pub struct Fell {
    pub twist: String,
    pub why: String,
}

/// Plays every twist of `recording`, each to a fresh subject. Gives their number
/// and those that it did not survive.
pub fn run<S: Subject>(
    recording: &Recording,
    resumable: bool,
    subject: impl Fn() -> S,
) -> (usize, Vec<Fell>) {
    let twists = twists(recording, resumable);
    let count = twists.len();
    let fell = twists.into_iter().filter_map(|(twist, recording)| {
        let played = recording.play(&mut subject());
        played.err().map(|error| Fell { twist, why: told(error) })
    });
    (count, fell.collect())
}

fn told(error: RecordingError) -> String {
    error.to_string()
}

/// By name, without the answers: other input has others.
fn twists(recording: &Recording, resumable: bool) -> Vec<(String, Recording)> {
    let of_frames = OF_FRAMES.iter().map(|(name, twist)| {
        let mut count = 0;
        let steps = questions(recording).map(|step| match step {
            Step::Frame(frame) => {
                count += 1;
                Step::Frame(twist(count, frame))
            }
            other => other.clone(),
        });
        (*name, steps.collect::<Vec<_>>())
    });
    let of_incidents = OF_INCIDENTS.iter().map(|(name, twist)| {
        let steps = questions(recording).map(|step| match step {
            Step::Incident(incident) => Step::Incident(twist(incident)),
            other => other.clone(),
        });
        (*name, steps.collect())
    });
    let has = |wanted: fn(&Step) -> bool| recording.steps.iter().any(wanted);
    let mut all: Vec<(&str, Vec<Step>)> = Vec::new();
    if has(|step| matches!(step, Step::Frame(_))) {
        all.extend(of_frames);
        if resumable {
            all.push(("a restart after each frame", restarted(recording)));
        }
    }
    if has(|step| matches!(step, Step::Incident(_))) {
        all.extend(of_incidents);
    }
    let made = |(name, steps): (&str, Vec<Step>)| {
        (name.to_owned(), Recording { header: recording.header.clone(), steps })
    };
    all.into_iter().map(made).collect()
}

fn questions(recording: &Recording) -> impl Iterator<Item = &Step> {
    recording.steps.iter().filter(|it| !matches!(it, Step::Report(_) | Step::Decision(_)))
}

fn restarted(recording: &Recording) -> Vec<Step> {
    let step = |step: &Step| match step {
        Step::Frame(_) => vec![step.clone(), Step::Resume {}],
        Step::Resume {} => vec![],
        other => vec![other.clone()],
    };
    questions(recording).flat_map(step).collect()
}

fn valued(frame: &RawFrame, value: impl Fn(usize, f64) -> f64) -> RawFrame {
    let values = frame.values.iter().enumerate().map(|(at, old)| value(at, *old)).collect();
    RawFrame { values, ..frame.clone() }
}

fn reversed(frame: &RawFrame) -> RawFrame {
    let mut frame = frame.clone();
    let width = frame.values.len().checked_div(frame.rows.len()).unwrap_or(0).max(1);
    frame.rows.reverse();
    frame.values = frame.values.chunks(width).rev().flatten().copied().collect();
    frame
}

fn later(frame: &RawFrame, ms: u64) -> RawFrame {
    let mut frame = frame.clone();
    frame.now.age_ms += ms;
    frame.rows.iter_mut().for_each(|row| *row += ms);
    frame
}

fn lined(frame: &RawFrame, text: &str) -> RawFrame {
    let mut frame = frame.clone();
    let target = frame.lines.first().map_or_else(|| "box".to_owned(), |it| it.target.clone());
    let line = homeostat_sdk::Line {
        target,
        source: "output".into(),
        age_ms: frame.now.age_ms,
        priority: 3,
        text: text.to_owned(),
    };
    frame.lines.extend(std::iter::repeat_n(line, 8));
    frame
}

fn marked(frame: &RawFrame) -> RawFrame {
    let mut frame = frame.clone();
    for target in ["box", "workload:nobody"] {
        frame.marks.push(Mark {
            target: target.into(),
            age_ms: frame.now.age_ms,
            what: "weather.changed".into(),
            attrs: vec![("to".into(), Value::Text("rain".into())), ("n".into(), Value::Int(-1))],
        });
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_sdk::{Decision, Report, Series};

    const STORY: &str = r#"{"homeostat_recording":1,"plugin":"p","series":[{"name":"a","unit":"1","target":"box","period_ms":1000,"labels":[]},{"name":"b","unit":"1","target":"box","period_ms":1000,"labels":[]}]}
{"frame":{"seq":1,"now":{"age_ms":1000,"boot":1},"rows":[1,2],"values":[1.0,2.0,3.0,4.0]}}
{"report":{"findings":[],"unjudged":[]}}
"#;

    /// Cannot stand rows that go back.
    #[derive(Default)]
    struct Strict;

    impl Subject for Strict {
        fn configure(&mut self, _: &str) -> Result<Vec<String>, String> {
            Ok(vec![])
        }
        fn bind(&mut self, _: &[Series]) -> Result<(), String> {
            Ok(())
        }
        fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
            if frame.rows.is_sorted() { Ok(Report::default()) } else { Err("it went back".into()) }
        }
        fn resume(&mut self, _: &[Series]) -> Result<(), String> {
            Ok(())
        }
        fn decide(&mut self, _: &Incident) -> Result<Decision, String> {
            Err("no healer".into())
        }
    }

    #[test]
    fn what_it_cannot_stand_is_named_and_every_frame_keeps_its_shape() {
        let recording = Recording::parse(STORY).unwrap();
        let (count, fell) = run(&recording, true, || Strict);
        assert_eq!(count, OF_FRAMES.len() + 1);
        let named: Vec<_> = fell.iter().map(|it| it.twist.as_str()).collect();
        assert_eq!(named, ["rows in reverse"]);
        assert!(fell[0].why.contains("it went back"), "{fell:?}");
        for (name, twisted) in twists(&recording, true) {
            for step in &twisted.steps {
                if let Step::Frame(frame) = step {
                    assert_eq!(frame.values.len(), frame.rows.len() * 2, "{name}");
                }
                assert!(!matches!(step, Step::Report(_)), "{name}");
            }
        }
    }

    #[test]
    fn reversed_rows_keep_their_values() {
        let recording = Recording::parse(STORY).unwrap();
        let Step::Frame(frame) = &recording.steps[0] else { panic!() };
        let reversed = reversed(frame);
        assert_eq!((reversed.rows, reversed.values), (vec![2, 1], vec![3.0, 4.0, 1.0, 2.0]));
    }
}
