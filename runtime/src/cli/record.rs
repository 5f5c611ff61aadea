//! `record`: what the box reads, into a file.
//!
//! Invariant: an older file is never written over, and one that was cut short
//! is a recording up to its last line.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::args::Face;
use super::client::Client;
use super::{Failure, Out, words};
use crate::model::IncidentId;

#[derive(Debug, Args)]
pub(super) struct Record {
    /// Series to record: NAME or NAME@TARGET, each with an optional `*` at its
    /// end; all of them by default. May be given more than once.
    #[arg(long, value_name = "SELECTOR")]
    series: Vec<String>,
    /// Targets whose log lines and marks are recorded; all by default.
    #[arg(long = "target", value_name = "SELECTOR")]
    targets: Vec<String>,
    /// Go on for so long, such as 90s, 10min or 1h; without it, what the daemon
    /// holds of the past is written, and that is all.
    #[arg(long = "for", value_name = "DURATION", value_parser = words::duration_ms)]
    for_ms: Option<u64>,
    /// Of the past, so much; with --for nothing by default, else all that is held.
    #[arg(long = "last", value_name = "DURATION", value_parser = words::duration_ms)]
    last_ms: Option<u64>,
    /// What led to that incident, such as i42, instead.
    #[arg(long, value_parser = words::incident, conflicts_with_all = ["series", "targets", "for_ms", "last_ms"])]
    incident: Option<IncidentId>,
    /// A new file, such as what-happened.rec.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    pub face: Face,
}

impl Record {
    fn path(&self) -> String {
        if let Some(incident) = self.incident {
            return format!("/v1/incidents/{incident}/recording");
        }
        let follow = self.for_ms.is_some();
        let last_ms = self.last_ms.or(follow.then_some(0));
        let series = self.series.iter().map(|it| format!("series={}", escaped(it)));
        let targets = self.targets.iter().map(|it| format!("target={}", escaped(it)));
        let last = last_ms.map(|ms| format!("last_ms={ms}"));
        let follow = follow.then(|| "follow=1".to_owned());
        let pairs: Vec<_> = series.chain(targets).chain(last).chain(follow).collect();
        format!("/v1/recording?{}", pairs.join("&"))
    }
}

/// As a query takes it (RFC 3986, 2.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'@' | b':' => {
                escaped.push(byte.into());
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

pub(super) fn record(client: &Client, wanted: &Record, out: &mut Out<'_>) -> Result<(), Failure> {
    let mut writing = Writing { path: &wanted.out, file: None, series: 0, frames: 0 };
    // What lies there is said before an hour is spent.
    if wanted.out.exists() {
        let why = std::io::ErrorKind::AlreadyExists.into();
        return Err(Failure::Recording { path: wanted.out.clone(), why });
    }
    let limit = wanted.for_ms.map(Duration::from_millis);
    client.lines_for(&wanted.path(), limit, |line| writing.line(line))?;
    let (frames, series) = writing.finish()?;
    let file = wanted.out.display();
    let json = serde_json::json!({ "file": wanted.out, "frames": frames, "series": series });
    out.show(wanted.face, &json.to_string(), |page| {
        page.line(&format!("{file}: {frames} frames of {series} series"));
        page.line(&format!("play it to a plugin: homeostat plugin replay {file}"));
    })
}

struct Writing<'w> {
    path: &'w Path,
    /// Made with the first line: what was refused leaves no file.
    file: Option<BufWriter<File>>,
    series: usize,
    frames: u64,
}

impl Writing<'_> {
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => {
                self.frames += 1;
                file
            }
            None => {
                let header: Value = serde_json::from_str(line).unwrap_or_default();
                self.series = header["series"].as_array().map_or(0, Vec::len);
                let file = OpenOptions::new().write(true).create_new(true).open(self.path)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        writeln!(file, "{line}")?;
        // Whoever ends it early has all that came.
        file.flush()
    }

    fn finish(self) -> Result<(u64, usize), Failure> {
        let failed = |why| Failure::Recording { path: self.path.to_owned(), why };
        match self.file {
            Some(file) => {
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.sync_all().map_err(failed)?;
            }
            None => return Err(Failure::Foreign("a recording without a line".into())),
        }
        Ok((self.frames, self.series))
    }
}
