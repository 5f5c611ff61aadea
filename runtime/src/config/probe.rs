//! How to tell the truth about something: probes, and the commands and URLs
//! that others share with them.
//!
//! Invariant: a probe's name is its own within its workload or external.

use std::collections::BTreeMap;

use super::reader::Section;
use super::secret::{self, Given, SecretOwner};
use super::typed::{Defaults, HOUR, Named, SECOND};
use super::{FileExpect, ProbeConfig, ProbeKind, value};

pub(super) fn probes(section: &mut Section<'_>, defaults: &Defaults) -> Vec<ProbeConfig> {
    let mut seen = BTreeMap::new();
    section.each("probe", |section| {
        let probe = probe(section, defaults);
        if let Some(first) = seen.insert(probe.name.clone(), section.place.clone()) {
            let found = format!("{} again", value::quoted(&probe.name));
            let hint = format!("{first} has it already; say name = \"…\"");
            section.note("name", "a name of its own for each probe", found, hint);
        }
        probe
    })
}

#[derive(Clone, Copy)]
enum ProbeWord {
    Http,
    Tcp,
    Command,
    File,
}

const WORDS: [(&str, ProbeWord); 4] = [
    ("http", ProbeWord::Http),
    ("tcp", ProbeWord::Tcp),
    ("command", ProbeWord::Command),
    ("file", ProbeWord::File),
];

/// What a production line says *not now* with: a probe that is good while the
/// box may act.
pub(super) fn interlock(section: &mut Section<'_>) -> Named<ProbeConfig> {
    let name = section.need_name("name");
    let word = section.choice("kind", &WORDS);
    let what = ProbeConfig {
        name: name.value.clone(),
        period_ms: section.duration("period", SECOND, 50..=HOUR),
        timeout_ms: section.duration("timeout", 2 * SECOND, 10..=HOUR),
        kind: probe_kind(section, word),
    };
    Named { name, what }
}

fn probe(section: &mut Section<'_>, defaults: &Defaults) -> ProbeConfig {
    let word = section.choice("kind", &WORDS);
    let default_name = match word {
        Some(ProbeWord::Tcp) => "tcp",
        Some(ProbeWord::Command) => "command",
        Some(ProbeWord::File) => "file",
        Some(ProbeWord::Http) | None => "http",
    };
    let name = match section.text("name") {
        Some(name) => {
            section.check_name("name", &name);
            name.value
        }
        None => default_name.to_owned(),
    };
    section.default("name", default_name);
    secrets(section, &name, word);
    ProbeConfig {
        name,
        period_ms: section.preset("period", defaults.probe_period_ms, 50..=HOUR),
        timeout_ms: section.preset("timeout", defaults.probe_timeout_ms, 10..=HOUR),
        kind: probe_kind(section, word),
    }
}

/// Of the probe that is called `name`, in a section such as
/// `workload.digits.probe.ready`.
fn secrets(section: &mut Section<'_>, name: &str, word: Option<ProbeWord>) {
    let target = section.place.splitn(3, '.').take(2).collect::<Vec<_>>().join(":");
    let owner = SecretOwner::Probe { target, probe: name.to_owned() };
    match word {
        Some(ProbeWord::Http) => secret::secrets(section, &owner, Given::Header),
        Some(ProbeWord::Command) => secret::secrets(section, &owner, Given::Variable),
        // A connection alone has nothing to carry one, nor has a file.
        Some(ProbeWord::Tcp | ProbeWord::File) => {}
        None => section.ignore(&["secrets"]),
    }
}

fn probe_kind(section: &mut Section<'_>, word: Option<ProbeWord>) -> ProbeKind {
    match word {
        Some(ProbeWord::Http) => http(section),
        Some(ProbeWord::Tcp) => ProbeKind::Tcp { address: address(section) },
        Some(ProbeWord::Command) => {
            let perfdata = section.texts("perfdata").unwrap_or_default();
            ProbeKind::Command {
                command: command(section, "command"),
                env: environment(section),
                perfdata: perfdata.into_iter().map(|label| label.value).collect(),
            }
        }
        Some(ProbeWord::File) => file(section),
        None => {
            note_kind(section, "one of http, tcp, command, file");
            section.ignore(&["url", "method", "headers", "body", "expect_status", "expect_text"]);
            section.ignore(&["address", "command", "env", "path", "expect", "perfdata"]);
            ProbeKind::Tcp { address: String::new() }
        }
    }
}

fn http(section: &mut Section<'_>) -> ProbeKind {
    const METHODS: [&str; 3] = ["GET", "POST", "HEAD"];
    let method = section.choice("method", &METHODS.map(|method| (method, method)));
    let body = section.text("body").map(|body| body.value);
    section.default("method", if body.is_some() { "POST" } else { "GET" });
    let headers = section.text_map("headers");
    for (name, value) in &headers {
        let fits = hyper::header::HeaderName::try_from(name).is_ok()
            && hyper::header::HeaderValue::try_from(value).is_ok();
        if !fits {
            let found = value::quoted(&format!("{name}: {value}"));
            section.note("headers", "header names and values of HTTP", found, "");
        }
    }
    ProbeKind::Http {
        // A body makes sense only with a POST.
        method: method.unwrap_or(if body.is_some() { "POST" } else { "GET" }).to_owned(),
        url: url(section, "url"),
        headers,
        body,
        expect_status: section.integer("expect_status", 200, 100..=599),
        expect_text: section.text("expect_text").map(|text| text.value),
    }
}

fn file(section: &mut Section<'_>) -> ProbeKind {
    let path = section.need_text("path", "the path of a file", "");
    let text = section.text("expect_text").map(|text| text.value);
    let expect = section.choice("expect", &[("present", false), ("absent", true)]);
    section.default("expect", "present");
    if expect == Some(true) && text.is_some() {
        let hint = "a file that is to be absent holds no text";
        section.note("expect_text", "expect = \"present\" with it", "absent", hint);
    }
    let absent = expect == Some(true);
    let expect = if absent { FileExpect::Absent } else { FileExpect::Present(text) };
    ProbeKind::File { path: section.doc.resolve(&path.value), expect }
}

pub(super) fn url(section: &mut Section<'_>, key: &str) -> String {
    let wanted = "a URL such as http://127.0.0.1:8000/health";
    let text = section.need_text(key, wanted, "");
    if section.has(key)
        && let Err(hint) = value::check_url(&text.value)
    {
        section.note(key, wanted, value::quoted(&text.value), hint);
    }
    text.value
}

/// Of something that is reached by TCP.
pub(super) fn address(section: &mut Section<'_>) -> String {
    let text = section.need_text("address", "HOST:PORT", "");
    if section.has("address")
        && let Err(hint) = value::check_address(&text.value)
    {
        section.note("address", "HOST:PORT", value::quoted(&text.value), hint);
    }
    text.value
}

/// Program and arguments; no shell reads them.
pub(super) fn command(section: &mut Section<'_>, key: &str) -> Vec<String> {
    let wanted = "a program and its arguments, such as [\"/usr/bin/server\", \"--port\", \"8000\"]";
    let present = section.has(key);
    let command = section.texts(key);
    let program = command.as_ref().map(|words| words.first().map(|word| word.value.as_str()));
    match program {
        None if present => {}
        None => section.note(key, wanted, "nothing", ""),
        Some(None) => section.note(key, wanted, "an empty list", ""),
        Some(Some(program)) if !program.starts_with('/') => {
            let hint = "write the absolute path: no shell and no PATH is consulted";
            section.note(key, "a program by its absolute path", value::quoted(program), hint);
        }
        Some(Some(_)) => {}
    }
    let words: Vec<_> = command.unwrap_or_default().into_iter().map(|word| word.value).collect();
    if words.iter().any(|word| word.contains('\0')) {
        section.note(key, "texts without a NUL", "one with it", "no process can be given one");
    }
    words
}

pub(super) fn environment(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let env = section.text_map("env");
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let found = value::quoted(&format!("{name}={value}"));
            section.note("env", "names without = and values without NUL", found, "");
        }
    }
    env
}

/// Notes a missing `kind`; a wrong one is noted where it was read.
pub(super) fn note_kind(section: &Section<'_>, wanted: &str) {
    if !section.has("kind") {
        section.note("kind", wanted, "nothing", "");
    }
}
