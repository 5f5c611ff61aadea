//! systemd's manager, over the system's bus. No other file names the library.
//!
//! Its private socket would need no bus, but names its sender in a way that the
//! library refuses.
//! Names are those of `org.freedesktop.systemd1(5)`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use zbus::export::futures_core::Stream;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::kept::Who;
use crate::model::ExitStatus;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// A busy manager answers in milliseconds; one that hangs is no manager.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Two units that go down within this went down together.
const TOGETHER_US: u64 = 15_000_000;
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// What a unit names by these takes it along when it is stopped.
const TAKEN_ALONG_BY: [&str; 4] = ["BindsTo", "PartOf", "Requires", "Requisite"];
/// Signals that wait while a call is answered.
const SIGNALS_MAX: usize = 1024;
/// `si_code` of a child's end (sigaction(2)): it exited, or a signal ended it.
const CLD_EXITED: i32 = 1;

/// The library's own error, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManagerError(String);

impl From<zbus::Error> for ManagerError {
    fn from(error: zbus::Error) -> Self {
        Self(match error {
            // What systemd said, without the name of its error.
            zbus::Error::MethodError(name, detail, _) => detail.unwrap_or_else(|| name.to_string()),
            other => other.to_string(),
        })
    }
}

pub struct Manager {
    connection: Connection,
    /// systemd's own name on the bus; anybody may signal under another's path.
    owner: String,
    unit: String,
    path: OwnedObjectPath,
    jobs: MessageStream,
    changes: MessageStream,
    /// systemd's name changes hands: it was executed anew.
    owners: MessageStream,
}

/// What happened to the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Somebody, and it may have been us, wants it started, stopped or the like.
    JobNew {
        job: String,
    },
    JobRemoved {
        job: String,
        result: String,
    },
    /// Some property of it changed.
    Changed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, ...
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// Names one run of it; empty when it never ran.
    pub invocation: String,
    pub main_pid: Option<u32>,
    /// A job of it is queued or runs.
    pub has_job: bool,
    /// When it was last active, and when its main process ended: microseconds of
    /// the machine's own clock.
    pub left_active_us: u64,
    pub main_exited_us: u64,
    /// Of the last main process.
    pub exit: ExitStatus,
    /// `success`, or why it failed.
    pub result: String,
    /// What systemd itself does when it ends: `no`, `always`, `on-failure`, ...
    pub restart: String,
    pub control_group: String,
}

impl Manager {
    /// A bus that takes a connection and says nothing is none.
    pub async fn connect_in_time(address: &str, unit: &str) -> Result<Self, ManagerError> {
        let late = || ManagerError(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
        let connected = tokio::time::timeout(ANSWER_WITHIN, Self::connect(address, unit));
        connected.await.map_err(|_| late())?
    }

    async fn connect(address: &str, unit: &str) -> Result<Self, ManagerError> {
        let builder = zbus::connection::Builder::address(address);
        let connection = builder.method_timeout(ANSWER_WITHIN).build().await?;
        let call = |member: &'static str| (Some(NAME), PATH, Some(MANAGER), member);
        let max = NonZeroUsize::new(SIGNALS_MAX);
        // Before the owner is asked for, or a change in between would be missed.
        let owners = format!(
            "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{NAME}'"
        );
        let owners = MessageStream::for_match_rule(owners.as_str(), &connection, max).await?;
        let owner =
            connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetNameOwner", &(NAME,));
        let owner: String = owner.await?.body().deserialize()?;
        let (to, path, interface, member) = call("LoadUnit");
        let loaded = connection.call_method(to, path, interface, member, &(unit,)).await?;
        let path: OwnedObjectPath = loaded.body().deserialize()?;
        let rule = |path: &str, interface: &str| {
            format!("type='signal',sender='{owner}',path='{path}',interface='{interface}'")
        };
        let jobs = rule(PATH, MANAGER);
        let jobs = MessageStream::for_match_rule(jobs.as_str(), &connection, max).await?;
        let changes = rule(path.as_str(), PROPERTIES);
        let changes = MessageStream::for_match_rule(changes.as_str(), &connection, max).await?;
        // It stays loaded, and with it what it needs: how it ended is not forgotten
        // as soon as it has. Who may not ask for that does without.
        let (to, at, interface, member) = call("RefUnit");
        let _ = connection.call_method(to, at, interface, member, &(unit,)).await;
        let (to, at, interface, member) = call("Subscribe");
        connection.call_method(to, at, interface, member, &()).await?;
        Ok(Self { connection, owner, unit: unit.to_owned(), path, jobs, changes, owners })
    }

    /// Gives the job back that does it.
    pub async fn start(&self) -> Result<String, ManagerError> {
        self.job("StartUnit").await
    }

    pub async fn stop(&self) -> Result<String, ManagerError> {
        self.job("StopUnit").await
    }

    async fn job(&self, member: &str) -> Result<String, ManagerError> {
        // "replace": what is queued against it is taken back.
        let job = self.call(member, &(self.unit.as_str(), "replace")).await?;
        let job: OwnedObjectPath = job.body().deserialize()?;
        Ok(job.as_str().to_owned())
    }

    /// What failed too often may be started again.
    pub async fn reset_failed(&self) -> Result<(), ManagerError> {
        self.call("ResetFailedUnit", &(self.unit.as_str(),)).await.map(drop)
    }

    /// SIGKILL for every process of it.
    pub async fn kill(&self) -> Result<(), ManagerError> {
        let signal = rustix::process::Signal::KILL.as_raw();
        self.call("KillUnit", &(self.unit.as_str(), "all", signal)).await.map(drop)
    }

    async fn call<B>(&self, member: &str, body: &B) -> Result<Message, ManagerError>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let to = Some(NAME);
        Ok(self.connection.call_method(to, PATH, Some(MANAGER), member, body).await?)
    }

    pub async fn state(&self) -> Result<UnitState, ManagerError> {
        let unit = self.properties(UNIT).await?;
        let service = self.properties(SERVICE).await?;
        let code = service.signed("ExecMainCode");
        let status = service.signed("ExecMainStatus");
        Ok(UnitState {
            load: unit.text("LoadState"),
            active: unit.text("ActiveState"),
            invocation: unit.hex("InvocationID"),
            main_pid: service.unsigned("MainPID").filter(|pid| *pid > 0),
            has_job: unit.job().is_some_and(|job| job > 0),
            left_active_us: unit.long("ActiveExitTimestampMonotonic").unwrap_or(0),
            main_exited_us: service.long("ExecMainExitTimestampMonotonic").unwrap_or(0),
            exit: match (code, status) {
                (Some(CLD_EXITED), Some(code)) => ExitStatus::Code { code },
                (Some(2 | 3), Some(signal)) => ExitStatus::Signal { signal },
                _ => ExitStatus::Unknown,
            },
            result: service.text("Result"),
            restart: service.text("Restart"),
            control_group: service.text("ControlGroup"),
        })
    }

    /// Whose word it is that the unit was stopped by a job of others.
    pub async fn whose_stop(&self) -> Result<Who, ManagerError> {
        let manager = self.properties_at(PATH, MANAGER).await?;
        if manager.text("SystemState") == "stopping" {
            return Ok(Who::Shutdown);
        }
        let unit = self.properties(UNIT).await?;
        let left_us = |it: &Properties| it.long("ActiveExitTimestampMonotonic").unwrap_or(0);
        for needed in TAKEN_ALONG_BY.iter().flat_map(|name| unit.texts(name)) {
            let path = self.call("LoadUnit", &(needed.as_str(),)).await?;
            let path: OwnedObjectPath = path.body().deserialize()?;
            let it = self.properties_at(path.as_str(), UNIT).await?;
            let is_up = ["active", "reloading", "refreshing"].contains(&&*it.text("ActiveState"));
            // One that had done its work long before took nothing along.
            let together = left_us(&it) > 0 && left_us(&it).abs_diff(left_us(&unit)) < TOGETHER_US;
            if !is_up && (together || it.job().is_some_and(|job| job > 0)) {
                return Ok(Who::Dependency);
            }
        }
        Ok(Who::Others)
    }

    async fn properties(&self, interface: &str) -> Result<Properties, ManagerError> {
        self.properties_at(self.path.as_str(), interface).await
    }

    async fn properties_at(&self, path: &str, interface: &str) -> Result<Properties, ManagerError> {
        let (to, all) = (Some(NAME), Some(PROPERTIES));
        let answer = self.connection.call_method(to, path, all, "GetAll", &(interface,)).await?;
        Ok(Properties(answer.body().deserialize()?))
    }

    /// The next thing that happens; none when the connection is lost, or systemd
    /// is another. May be dropped at any time without losing anything.
    pub async fn next(&mut self) -> Option<Signal> {
        loop {
            // Jobs first: who wanted a change is known before the change is seen.
            let message = tokio::select! {
                biased;
                message = next(&mut self.jobs) => message,
                message = next(&mut self.changes) => message,
                message = next(&mut self.owners) => {
                    let by_the_bus = |it: &Message| {
                        it.header().sender().is_some_and(|sender| sender.as_str() == BUS)
                    };
                    match message?.ok()? {
                        message if by_the_bus(&message) => return None,
                        _ => continue,
                    }
                }
            };
            if let Some(signal) = self.read(&message?.ok()?) {
                return Some(signal);
            }
        }
    }

    /// A job's beginning or end that has come already.
    pub async fn job_now(&mut self) -> Option<Signal> {
        loop {
            let message = tokio::select! {
                biased;
                message = next(&mut self.jobs) => message?.ok()?,
                () = std::future::ready(()) => return None,
            };
            if let Some(signal) = self.read(&message) {
                return Some(signal);
            }
        }
    }

    fn read(&self, message: &Message) -> Option<Signal> {
        let header = message.header();
        // A message to us alone passes by what was asked for.
        if header.sender().is_none_or(|sender| sender.as_str() != self.owner) {
            return None;
        }
        let body = message.body();
        match header.member()?.as_str() {
            "PropertiesChanged" => Some(Signal::Changed),
            "JobNew" => {
                let (_, job, unit): (u32, OwnedObjectPath, String) = body.deserialize().ok()?;
                let job = job.as_str().to_owned();
                (unit == self.unit).then_some(Signal::JobNew { job })
            }
            "JobRemoved" => {
                let (_, job, unit, result): (u32, OwnedObjectPath, String, String) =
                    body.deserialize().ok()?;
                let job = job.as_str().to_owned();
                (unit == self.unit).then_some(Signal::JobRemoved { job, result })
            }
            _ => None,
        }
    }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn text(&self, name: &str) -> String {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::Str(text)) => text.as_str().to_owned(),
            _ => String::new(),
        }
    }

    fn signed(&self, name: &str) -> Option<i32> {
        match **self.0.get(name)? {
            Variant::I32(number) => Some(number),
            _ => None,
        }
    }

    fn unsigned(&self, name: &str) -> Option<u32> {
        match **self.0.get(name)? {
            Variant::U32(number) => Some(number),
            _ => None,
        }
    }

    fn long(&self, name: &str) -> Option<u64> {
        match **self.0.get(name)? {
            Variant::U64(number) => Some(number),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let Some(Variant::Array(texts)) = self.0.get(name).map(|value| &**value) else {
            return Vec::new();
        };
        let text = |it: &Variant<'_>| match it {
            Variant::Str(text) => Some(text.as_str().to_owned()),
            _ => None,
        };
        texts.iter().filter_map(text).collect()
    }

    /// Number of the unit's own job; 0 is none.
    fn job(&self) -> Option<u32> {
        let Variant::Structure(job) = &**self.0.get("Job")? else { return None };
        match job.fields().first()? {
            Variant::U32(number) => Some(*number),
            _ => None,
        }
    }

    fn hex(&self, name: &str) -> String {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::Array(bytes)) => bytes
                .iter()
                .filter_map(|byte| if let Variant::U8(byte) = byte { Some(*byte) } else { None })
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            _ => String::new(),
        }
    }
}
