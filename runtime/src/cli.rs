//! The command line: a client of the socket, and the way to start the daemon.
//!
//! Invariant: every verb ends in one of the exit codes of [`Exit`]; what was
//! asked for goes to standard output, everything else to standard error.

mod args;
mod author;
mod client;
#[cfg(feature = "docs")]
pub mod docs;
mod doctor;
mod event;
mod exit;
mod explain;
mod list;
mod page;
mod plugin;
mod record;
mod show;
mod status;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde::de::DeserializeOwned;

use crate::config;
use crate::model::view::PluginView;
use crate::model::{Command, DrillFault, Record, Seq, TargetId, View};
use crate::secret::{Redacting, Redactor};
use crate::story::Story;
use args::{
    Cli, ConfigVerb, Face, FaultWord, IncidentVerb, PluginVerb, TrustVerb, Verb, WorkloadVerb,
};
use client::Client;
use page::{Colour, Page};

pub use exit::{Exit, Failure};

/// Where what was asked for goes.
struct Out<'o> {
    writer: &'o mut dyn Write,
    colour: Colour,
}

/// Parses, does, and says how it went as an exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version are fine, and go to standard output.
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Fine };
            let _ = error.print();
            return code.into();
        }
    };
    let mut stdout = std::io::stdout();
    match run(&cli, &mut Out { writer: &mut stdout, colour: page::colour() }) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("{text}");
            }
            failure.exit().into()
        }
    }
}

fn run(cli: &Cli, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let client = || Ok::<_, Failure>(Client::new(socket(cli)?));
    match &cli.verb {
        Verb::Run => {
            let mut config = config::load(&file(cli, None)).map_err(Failure::Configuration)?;
            let secrets = config.reveal().map_err(|wrong| Failure::Daemon(wrong.into()))?;
            log_to_stderr(Redactor::new(secrets.iter()));
            crate::daemon::run(config, secrets).map_err(Failure::Daemon)?;
        }
        Verb::Status(face) => {
            let text = client()?.get("/v1/status")?;
            let view: View = read(&text)?;
            out.show(*face, &text, |page| status::draw(page, &view))?;
            return Ok(status::exit(&view));
        }
        Verb::Incidents { all, face } => {
            let view: View = read(&client()?.get("/v1/status")?)?;
            let mut incidents = view.incidents;
            if !all {
                incidents.retain(|incident| !status::is_over(incident));
            }
            let text = write(&incidents)?;
            out.show(*face, &text, |page| list::incidents(page, &incidents, view.now))?;
        }
        Verb::Explain { incident, face } => {
            let text = client()?.get(&format!("/v1/incidents/{incident}"))?;
            let story: Story = read(&text)?;
            out.show(*face, &text, |page| explain::draw(page, &story))?;
        }
        Verb::Workload(WorkloadVerb::Start { name, face }) => {
            out.command(&client()?, *face, &Command::WorkloadStart { name: name.clone() })?;
        }
        Verb::Workload(WorkloadVerb::Stop { name, face }) => {
            out.command(&client()?, *face, &Command::WorkloadStop { name: name.clone() })?;
        }
        Verb::Pause { for_ms, face } => {
            out.command(&client()?, *face, &Command::Pause { for_ms: *for_ms })?;
        }
        Verb::Resume(face) => out.command(&client()?, *face, &Command::Resume {})?,
        Verb::Approve { incident, face } => {
            out.command(&client()?, *face, &Command::Approve { incident: *incident })?;
        }
        Verb::Deny { incident, face } => {
            out.command(&client()?, *face, &Command::Deny { incident: *incident })?;
        }
        Verb::Incident(IncidentVerb::Retry { incident, face }) => {
            out.command(&client()?, *face, &Command::IncidentRetry { incident: *incident })?;
        }
        Verb::Incident(IncidentVerb::Close { incident, face }) => {
            out.command(&client()?, *face, &Command::IncidentClose { incident: *incident })?;
        }
        Verb::Inject { fault, target, for_ms, face } => {
            let fault = match fault {
                FaultWord::Crash => DrillFault::Crash {},
                FaultWord::Hang => DrillFault::Hang { ms: *for_ms },
            };
            let target = match target.contains(':') {
                true => TargetId::from_text(target),
                false => TargetId::workload(target),
            };
            out.command(&client()?, *face, &Command::Inject { target, fault })?;
        }
        Verb::Plugins(face) => {
            let text = client()?.get("/v1/plugins")?;
            let plugins: Vec<PluginView> = read(&text)?;
            out.show(*face, &text, |page| list::plugins(page, &plugins))?;
        }
        Verb::Record(wanted) => record::record(&client()?, wanted, out)?,
        Verb::Plugin(PluginVerb::Install(wanted)) => {
            let command = plugin::install(wanted)?;
            out.command(&client()?, wanted.face, &command)?;
        }
        Verb::Plugin(PluginVerb::Remove { name, face }) => {
            out.command(&client()?, *face, &Command::PluginRemove { name: name.clone() })?;
        }
        Verb::Plugin(PluginVerb::List(face)) => {
            let text = client()?.get("/v1/status")?;
            let view: View = read(&text)?;
            let text = write(&view.plugins)?;
            out.show(*face, &text, |page| plugin::list(page, &view))?;
        }
        Verb::Plugin(PluginVerb::Author(args)) => return Err(author::hand_over(args)),
        Verb::Key { args } => {
            let words = std::iter::once("key".into()).chain(args.iter().cloned());
            return Err(author::hand_over(&words.collect::<Vec<_>>()));
        }
        Verb::Events { follow, from, face } => out.events(&client()?, *follow, *from, *face)?,
        Verb::Trust(TrustVerb::Show(face)) => {
            let view: View = read(&client()?.get("/v1/status")?)?;
            let text = write(&view.trust)?;
            out.show(*face, &text, |page| plugin::trust(page, &view.trust))?;
        }
        Verb::Trust(TrustVerb::Revoke { digests, keys, face }) => {
            if digests.is_empty() && keys.is_empty() {
                let why = "wanted --digest SHA256 or --key ID, found neither".to_owned();
                return Err(Failure::Refused(why));
            }
            let (keys, digests) = (keys.clone(), digests.clone());
            out.command(&client()?, *face, &Command::TrustRevoke { keys, digests })?;
        }
        Verb::Trust(TrustVerb::Update { file, face }) => {
            let file = plugin::absolute(file)?;
            out.command(&client()?, *face, &Command::TrustUpdate { file })?;
        }
        Verb::Config(ConfigVerb::Check { file: named, face }) => {
            return out.check(&file(cli, named.as_deref()), *face);
        }
        Verb::Config(ConfigVerb::Show { origin, face }) => {
            let file = file(cli, None);
            let (_, shown) = config::show(&file).map_err(Failure::Configuration)?;
            let text = serde_json::json!({ "file": file, "tables": shown.tables }).to_string();
            let origins = if *origin { show::Origins::Shown } else { show::Origins::Hidden };
            out.show(*face, &text, |page| show::draw(page, &file, &shown, origins))?;
        }
        Verb::Doctor(face) => {
            let diagnosis = doctor::examine(Path::new("/"), &file(cli, None), named(cli));
            let text = write(&diagnosis)?;
            out.show(*face, &text, |page| doctor::draw(page, &diagnosis))?;
            return Ok(doctor::exit(&diagnosis));
        }
    }
    Ok(Exit::Fine)
}

impl Out<'_> {
    fn show(
        &mut self,
        face: Face,
        json: &str,
        draw: impl FnOnce(&mut Page),
    ) -> Result<(), Failure> {
        if face.json {
            return self.put(&format!("{}\n", json.trim_end())).map_err(Failure::Output);
        }
        let mut page = Page::new(self.colour);
        draw(&mut page);
        self.put(&page.text()).map_err(Failure::Output)
    }

    fn put(&mut self, text: &str) -> std::io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }

    fn command(&mut self, client: &Client, face: Face, command: &Command) -> Result<(), Failure> {
        let text = client.post("/v1/commands", write(command)?)?;
        let done: crate::api::Done = read(&text)?;
        self.show(face, &text, |page| page.line(&done.done))
    }

    fn events(
        &mut self,
        client: &Client,
        follow: bool,
        from: Option<Seq>,
        face: Face,
    ) -> Result<(), Failure> {
        let from = from.map_or_else(|| "last=100".to_owned(), |seq| format!("from={seq}"));
        let path = format!("/v1/events?{from}&follow={}", u8::from(follow));
        client.lines(&path, |line| {
            match serde_json::from_str::<Record>(line) {
                Ok(record) if !face.json => {
                    let mut page = Page::new(self.colour);
                    event::draw(&mut page, &record);
                    self.put(&page.text())
                }
                // As it came: asked for, or not a record of this version.
                _ => self.put(&format!("{line}\n")),
            }
        })?;
        if follow { Err(client.no_daemon("it stopped, and ended the stream")) } else { Ok(()) }
    }

    fn check(&mut self, file: &Path, face: Face) -> Result<Exit, Failure> {
        match config::load(file) {
            Ok(config) => {
                let json = serde_json::json!({ "file": file, "mistakes": [] }).to_string();
                self.show(face, &json, |page| list::config(page, file, &config))?;
                Ok(Exit::Fine)
            }
            Err(mistakes) if face.json => {
                let json = serde_json::json!({ "file": file, "mistakes": mistakes.mistakes });
                self.show(face, &json.to_string(), |_| {})?;
                Ok(Exit::Usage)
            }
            Err(mistakes) => Err(Failure::Configuration(mistakes)),
        }
    }
}

/// The daemon's own log; `HOMEOSTAT_LOG` has its filter, as tracing-subscriber
/// reads one. The journal of systemd has a clock of its own.
fn log_to_stderr(redactor: Redactor) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HOMEOSTAT_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    let log = log.with_writer(move || Redacting::new(redactor.clone(), std::io::stderr()));
    // Only fails where a log is set up already, which then is the one wanted.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
}

fn file(cli: &Cli, named: Option<&Path>) -> PathBuf {
    let default = || PathBuf::from(config::DEFAULT_FILE);
    named.map(Path::to_owned).or_else(|| cli.config.clone()).unwrap_or_else(default)
}

/// Whether a person named the file; the box's own may be missing.
fn named(cli: &Cli) -> doctor::Named {
    if cli.config.is_some() { doctor::Named::Yes } else { doctor::Named::No }
}

/// Where the daemon listens: as said, as the named file says, as the box's file
/// says if it can be read, or where it usually is.
fn socket(cli: &Cli) -> Result<PathBuf, Failure> {
    match (&cli.socket, &cli.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(file)) => Ok(config::load(file).map_err(Failure::Configuration)?.api.socket),
        (None, None) => Ok(config::load(Path::new(config::DEFAULT_FILE))
            .map_or_else(|_| PathBuf::from(config::DEFAULT_SOCKET), |config| config.api.socket)),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Foreign(error.to_string()))
}

fn write<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Foreign(error.to_string()))
}
