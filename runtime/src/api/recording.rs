//! What comes in, as lines of a recording: what is held, and on as it comes.
//!
//! Invariant: a caller that reads too slowly misses what was pushed out
//! meanwhile, and its recording says how much; nobody waits for it.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answer::{self, Answer};
use super::connection::Leash;
use super::route::{self, Desk};
use crate::model::IncidentId;
use crate::recording::{Scribe, Selection};

/// Entries written down at once, and chunks on their way to a slow caller.
const CHUNK_LEN: usize = 256;
const CHUNKS_WAITING_MAX: usize = 4;
/// How often a follower looks for more; a frame is a second.
const LOOK: Duration = Duration::from_millis(500);
/// Looks without a frame until an empty line says that somebody is there.
const LOOKS_SILENT_MAX: u32 = 20;
/// A frame may still grow for so long: sources are not in step.
const LATE_MS: u64 = 500;
const SELECTORS_MAX: usize = 64;
const FILE_CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    selection: Selection,
    /// Of what is held; all of it when none.
    last_ms: Option<u64>,
    follow: bool,
}

pub(super) fn parse(query: &str) -> Result<Wanted, String> {
    let (mut series, mut targets) = (Vec::new(), Vec::new());
    let (mut last_ms, mut follow) = (None, false);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "series" => series.push(unescaped(value)),
            "target" => targets.push(unescaped(value)),
            "last_ms" => {
                let number = value.parse();
                let wrong = |_| format!("last_ms wants a number, found {value:?}");
                last_ms = Some(number.map_err(wrong)?);
            }
            "follow" => follow = value == "1",
            _ => {
                return Err(format!(
                    "wanted series=SELECTOR, target=SELECTOR, last_ms=NUMBER or follow=1, \
                     found {key:?}"
                ));
            }
        }
    }
    if series.len().max(targets.len()) > SELECTORS_MAX {
        return Err(format!("wanted at most {SELECTORS_MAX} selectors; use a `*` at their end"));
    }
    let all = Selection::default();
    let selection = Selection {
        series: if series.is_empty() { all.series } else { series },
        targets: if targets.is_empty() { all.targets } else { targets },
    };
    Ok(Wanted { selection, last_ms, follow })
}

/// What a query escapes (RFC 3986, 2.1). What is no escape stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%');
        let escape =
            escape.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok());
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn answer(desk: &Arc<Desk>, leash: &Leash, query: &str) -> Answer {
    let wanted = match parse(query) {
        Ok(wanted) => wanted,
        Err(text) => return answer::refusal(StatusCode::BAD_REQUEST, "bad-request", text),
    };
    let view = desk.outlets.view.borrow().clone();
    let about = format!("recorded on {} by homeostat {}", view.box_name, view.version);
    let scribe = Scribe::new(
        &view.box_name,
        &about,
        desk.outlets.tape.series(),
        &wanted.selection,
        view.now.boot,
    );
    if scribe.width() == 0 {
        let text = format!(
            "no series of this box is selected by {:?}; wanted NAME or NAME@TARGET, each with an \
             optional `*` at its end",
            wanted.selection.series
        );
        return answer::refusal(StatusCode::NOT_FOUND, "no-such-series", text);
    }
    let (lines, content) = mpsc::channel(CHUNKS_WAITING_MAX);
    let writer = Writer { desk: Arc::clone(desk), leash: leash.clone(), lines, scribe };
    let now_age_ms = view.now.age_ms;
    let since_ms = wanted.last_ms.map_or(0, |last_ms| now_age_ms.saturating_sub(last_ms));
    tokio::spawn(writer.write(since_ms, wanted.follow));
    answer::lines(content)
}

struct Writer {
    desk: Arc<Desk>,
    leash: Leash,
    lines: mpsc::Sender<Bytes>,
    scribe: Scribe,
}

/// The caller is gone, or slower than its leash.
struct Gone;

impl Writer {
    /// Ends when all is told, when the caller is gone, or when the daemon stops.
    async fn write(mut self, since_ms: u64, follow: bool) {
        let tape = self.desk.outlets.tape.clone();
        let (mut next, standing) = tape.from_age(since_ms);
        self.scribe.stand(standing);
        let header = format!("{}\n", self.scribe.header());
        if self.send(header).await.is_err() {
            return;
        }
        let mut closing = self.desk.closing.clone();
        let mut silent = 0;
        loop {
            next = match self.write_from(next).await {
                Ok(next) => next,
                Err(Gone) => return,
            };
            if !follow {
                let last = self.scribe.finish().map(|line| line + "\n");
                let _ = self.send(last.unwrap_or_default()).await;
                return;
            }
            let now_age_ms = self.desk.outlets.view.borrow().now.age_ms;
            let full = self.scribe.finish_before(now_age_ms.saturating_sub(LATE_MS));
            silent = if full.is_some() { 0 } else { silent + 1 };
            let text = match full {
                Some(line) => line + "\n",
                None if silent >= LOOKS_SILENT_MAX => {
                    silent = 0;
                    "\n".into()
                }
                None => String::new(),
            };
            if self.send(text).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = route::closed(&mut closing) => return,
                () = self.lines.closed() => return,
            }
        }
    }

    /// All that is held from there on.
    async fn write_from(&mut self, mut next: u64) -> Result<u64, Gone> {
        loop {
            let heard = self.desk.outlets.tape.hear(next, CHUNK_LEN);
            self.scribe.miss(heard.missed);
            let mut text = String::new();
            for line in heard.entries.iter().filter_map(|entry| self.scribe.take(entry)) {
                text += &line;
                text.push('\n');
            }
            self.send(text).await?;
            next = heard.next;
            if heard.entries.len() < CHUNK_LEN {
                return Ok(next);
            }
        }
    }

    /// What is taken earns the caller more time.
    async fn send(&self, text: String) -> Result<(), Gone> {
        if text.is_empty() {
            return Ok(());
        }
        self.lines.send(text.into()).await.map_err(|_| Gone)?;
        self.leash.lengthen();
        Ok(())
    }
}

/// The file that was kept when the incident opened.
pub(super) fn of_incident(desk: &Arc<Desk>, leash: &Leash, id: &str) -> Answer {
    let Ok(id) = id.parse::<IncidentId>() else {
        let text = format!("wanted an incident such as i42, found {id:?}");
        return answer::refusal(StatusCode::BAD_REQUEST, "bad-request", text);
    };
    let file = match desk.outlets.shelf.open(id) {
        Ok(file) => file,
        Err(error) => {
            let text = format!(
                "no recording of {id} is kept ({error}); [recording] of the configuration says \
                 how many are"
            );
            return answer::refusal(StatusCode::NOT_FOUND, "no-such-recording", text);
        }
    };
    let (lines, content) = mpsc::channel(CHUNKS_WAITING_MAX);
    let leash = leash.clone();
    tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::with_capacity(FILE_CHUNK_BYTES, file);
        loop {
            let read = match reader.fill_buf() {
                Ok([]) => return,
                Ok(bytes) => Bytes::copy_from_slice(bytes),
                // What was told ends in the middle of a line, and its reader says so.
                Err(error) => return tracing::warn!(%id, %error, "reading its recording"),
            };
            reader.consume(read.len());
            if lines.blocking_send(read).is_err() {
                return;
            }
            leash.lengthen();
        }
    });
    answer::lines(content)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Served, serve_in_memory};
    use super::*;
    use crate::model::{Batch, Instant, Line, Mark, SeriesId, TargetId};
    use crate::recording::Opened;

    fn batch(age_ms: u64, values: &[(u32, f64)]) -> Batch {
        Batch { age_ms, values: values.iter().map(|(id, it)| (SeriesId(*id), *it)).collect() }
    }

    fn mark(age_ms: u64, target: &str, what: &str) -> Mark {
        let target = TargetId::from_text(target);
        Mark { target, age_ms, what: what.into(), attrs: vec![] }
    }

    fn two_seconds(served: &Served) {
        served.tape.mark(mark(100, "workload:digits", "workload.started"));
        served.tape.batch(&batch(1_100, &[(0, 0.1 + 0.2), (1, 1.0)]));
        served.tape.batch(&batch(1_600, &[(0, f64::NAN)]));
        served.tape.line(Line {
            target: TargetId::the_box(),
            source: "kernel".into(),
            age_ms: 2_200,
            priority: 3,
            text: "too hot".into(),
        });
    }

    #[tokio::test]
    async fn what_is_held_is_told_a_second_a_frame_and_to_the_last_bit() {
        let served = serve_in_memory();
        two_seconds(&served);
        let (status, body) = served.get("/v1/recording").await;
        let lines: Vec<_> = body.lines().collect();
        assert_eq!((status, lines.len()), (200, 4), "{body}");
        assert!(lines[0].contains(r#""box":"press-7""#) && lines[0].contains("probe.ok"), "{body}");
        assert!(lines[1].contains(r#""what":"workload.started""#), "{body}");
        assert_eq!(
            lines[2],
            r#"{"frame":{"seq":2,"now":{"age_ms":2000,"boot":1},"rows":[1100,1600],"values":[0.30000000000000004,1.0,null,null]}}"#
        );
        assert!(lines[3].contains("too hot"), "{body}");
    }

    #[tokio::test]
    async fn a_recording_has_the_columns_that_were_selected_and_begins_with_what_stood() {
        let served = serve_in_memory();
        two_seconds(&served);
        // The view's age is 90 s, so the start of the workload is not in it.
        let path = "/v1/recording?series=probe.*@workload:digits&target=workload:*&last_ms=89500";
        let (_, body) = served.get(path).await;
        let lines: Vec<_> = body.lines().collect();
        assert_eq!(lines.len(), 2, "{body}");
        assert!(!lines[0].contains("hw.temperature"), "{body}");
        assert!(lines[1].contains("workload.started") && lines[1].contains("[1.0]"), "{body}");

        for (query, status, words) in [
            ("series=none", 404, "no series of this box"),
            ("series=a%20%26%C3%A9%zz%4", 404, "a &é%zz%4"),
            ("last_ms=soon", 400, "wants a number"),
            ("serie=x", 400, "series=SELECTOR"),
        ] {
            let (found, body) = served.get(&format!("/v1/recording?{query}")).await;
            assert!(found == status && body.contains(words), "{query}: {found} {body}");
        }
    }

    #[tokio::test]
    async fn what_led_to_an_incident_is_kept_and_the_oldest_goes_first() {
        let served = serve_in_memory();
        two_seconds(&served);
        for number in [7, 8, 9] {
            let opened = Opened {
                incident: IncidentId(number),
                root: TargetId::workload("digits"),
                kind: "workload.hung".into(),
                now: Instant { age_ms: 2_500, boot: 1, unix_ms: None },
            };
            served.shelf.keep(&served.tape, &opened).unwrap();
        }
        let (status, body) = served.get("/v1/incidents/i9/recording").await;
        assert_eq!((status, body.lines().count()), (200, 4), "{body}");
        assert!(body.contains("what led to i9: workload.hung of workload:digits"), "{body}");
        assert_eq!(served.get("/v1/incidents/i8/recording").await.0, 200);
        let (status, body) = served.get("/v1/incidents/i7/recording").await;
        assert!(status == 404 && body.contains("no recording of i7"), "{body}");
        assert_eq!(served.get("/v1/incidents/nine/recording").await.0, 400);
    }
}
