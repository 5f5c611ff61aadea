//! Secrets: where each lies, and to whom it is given.
//!
//! The file says where a secret lies and never what it is, so it can be read,
//! shown and passed on. The values are read when the daemon starts, by it alone.
//!
//! Invariant: a value reaches its owner as a variable of its environment, as a
//! header or as a password, never in an argument list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::Document;
use super::machine::read_secret;
use super::reader::Section;
use super::{Config, NotifyKind, ProbeConfig, ProbeKind, value};
use crate::secret::{SECRET_BYTES_MIN, Secret};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretConfig {
    pub owner: SecretOwner,
    /// Of the variable or header.
    pub name: String,
    pub file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOwner {
    Workload {
        name: String,
    },
    /// `target` as in `workload:digits`.
    Probe {
        target: String,
        probe: String,
    },
    Notify {
        name: String,
    },
    Action {
        name: String,
    },
    Bus,
}

impl std::fmt::Display for SecretOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload { name } => write!(f, "workload:{name}"),
            Self::Probe { target, probe } => write!(f, "probe {probe} of {target}"),
            Self::Notify { name } => write!(f, "notify {name}"),
            Self::Action { name } => write!(f, "action {name}"),
            Self::Bus => f.write_str("the bus"),
        }
    }
}

/// How a secret is given to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Variable,
    Header,
}

/// Secrets that did not read, each with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unrevealed(pub Vec<String>);

/// Values by owner, for whoever redacts.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    all: Vec<(SecretOwner, Secret)>,
}

impl Secrets {
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.all.iter().map(|(_, secret)| secret)
    }

    /// What each workload was given, and what its probes are.
    pub fn by_workload(&self) -> BTreeMap<String, Vec<Secret>> {
        let mut by: BTreeMap<String, Vec<Secret>> = BTreeMap::new();
        for (owner, secret) in &self.all {
            let workload = match owner {
                SecretOwner::Workload { name } => Some(name.as_str()),
                SecretOwner::Probe { target, .. } => target.strip_prefix("workload:"),
                SecretOwner::Notify { .. } | SecretOwner::Action { .. } | SecretOwner::Bus => None,
            };
            if let Some(workload) = workload {
                by.entry(workload.to_owned()).or_default().push(secret.clone());
            }
        }
        by
    }
}

/// Reads `secrets = { NAME = { file = "…" } }` of `owner`.
pub(super) fn secrets(section: &mut Section<'_>, owner: &SecretOwner, given: Given) {
    let beside = match given {
        Given::Variable => "env",
        Given::Header => "headers",
    };
    let typed = section.entries("secrets", |section, name| {
        let wanted = "the path of a file that only root can read";
        let file = section.need_text("file", wanted, "the value itself is not written here");
        let file = section.doc.resolve(&file.value);
        section.amend_path("file", &file);
        (name.to_owned(), file)
    });
    for (name, file) in typed {
        check_name(section, &name, given);
        if section.has_in(beside, &name) {
            let hint = format!("it is in {beside}, too; take one of them away");
            section.note("secrets", "a name of its own", value::quoted(&name), hint);
        }
        declare(section, owner.clone(), &name, file);
    }
}

pub(super) fn declare(section: &Section<'_>, owner: SecretOwner, name: &str, file: PathBuf) {
    let secret = SecretConfig { owner, name: name.to_owned(), file };
    section.doc.secrets.borrow_mut().push(secret);
}

fn check_name(section: &Section<'_>, name: &str, given: Given) {
    let (good, wanted) = match given {
        Given::Variable => {
            (!name.is_empty() && !name.contains(['=', '\0']), "names of variables, without =")
        }
        Given::Header => {
            (hyper::header::HeaderName::try_from(name).is_ok(), "header names of HTTP")
        }
    };
    if !good {
        section.note("secrets", wanted, value::quoted(name), "");
    }
}

pub(super) fn taken(doc: &Document<'_>) -> Vec<SecretConfig> {
    doc.secrets.take()
}

impl Config {
    /// Reads every secret and gives it to its owner, in this value alone.
    pub fn reveal(&mut self) -> Result<Secrets, Unrevealed> {
        let mut secrets = Secrets::default();
        let mut wrong = Vec::new();
        for declared in self.secrets.clone() {
            match declared.read() {
                Ok(value) if self.is_an_argument(&value) => wrong.push(format!(
                    "secret {} of {}: its value stands in a `command`, where everybody can read \
                     it; take it out there",
                    declared.name, declared.owner
                )),
                Ok(value) => {
                    self.give(&declared, &value);
                    let secret = Secret { name: declared.name, value };
                    secrets.all.push((declared.owner, secret));
                }
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok(secrets) } else { Err(Unrevealed(wrong)) }
    }

    fn is_an_argument(&self, value: &str) -> bool {
        let probes = self.workloads.iter().flat_map(|it| &it.probes);
        let probes = probes.chain(self.externals.iter().flat_map(|it| &it.probes));
        let probes = probes.filter_map(|it| match &it.kind {
            ProbeKind::Command { command, .. } => Some(command),
            _ => None,
        });
        let notifiers = self.notify.iter().filter_map(|it| match &it.kind {
            NotifyKind::Command { command } => Some(command),
            NotifyKind::Webhook { .. } => None,
        });
        let actions = self.commands.iter().flat_map(|it| {
            let more = [&it.precondition, &it.observe, &it.undo];
            std::iter::once(&it.command).chain(more.into_iter().flatten())
        });
        let workloads = self.workloads.iter().map(|it| &it.command);
        let commands = workloads.chain(probes).chain(notifiers).chain(actions);
        commands.flatten().any(|argument| argument.contains(value))
    }

    fn give(&mut self, secret: &SecretConfig, value: &str) {
        let to = match &secret.owner {
            SecretOwner::Workload { name } => {
                self.workloads.iter_mut().find(|it| it.name == *name).map(|it| &mut it.env)
            }
            SecretOwner::Probe { target, probe } => {
                self.probe(target, probe).and_then(|it| match &mut it.kind {
                    ProbeKind::Http { headers, .. } => Some(headers),
                    ProbeKind::Command { env, .. } => Some(env),
                    ProbeKind::Tcp { .. } | ProbeKind::File { .. } => None,
                })
            }
            SecretOwner::Notify { name } => {
                self.notify.iter_mut().find(|it| it.name == *name).map(|it| &mut it.given)
            }
            SecretOwner::Action { name } => {
                self.commands.iter_mut().find(|it| it.name == *name).map(|it| &mut it.env)
            }
            SecretOwner::Bus => {
                if let Some(bus) = &mut self.bus {
                    bus.password = Some(value.to_owned());
                }
                None
            }
        };
        if let Some(to) = to {
            to.insert(secret.name.clone(), value.to_owned());
        }
    }

    fn probe(&mut self, target: &str, probe: &str) -> Option<&mut ProbeConfig> {
        let (kind, name) = target.split_once(':')?;
        let probes = match kind {
            "workload" => &mut self.workloads.iter_mut().find(|it| it.name == name)?.probes,
            _ => &mut self.externals.iter_mut().find(|it| it.name == name)?.probes,
        };
        probes.iter_mut().find(|it| it.name == probe)
    }
}

impl SecretConfig {
    /// Its value, without the line's end; an error says what to do.
    pub fn read(&self) -> Result<String, String> {
        let Self { owner, name, file } = self;
        let place = format!("secret {name} of {owner}: {}", file.display());
        let text = read_secret(file).map_err(|it| format!("{place}: {}; {}", it.found, it.hint))?;
        let value = text.trim_end_matches(['\n', '\r']);
        if value.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "{place}: wanted at least {SECRET_BYTES_MIN} bytes, found {}; a shorter secret \
                 cannot be told from other text, and so not be kept out of it",
                value.len()
            ));
        }
        let is_header =
            matches!(self.owner, SecretOwner::Probe { .. } | SecretOwner::Notify { .. });
        if value.contains('\0') || (is_header && value.contains(['\n', '\r'])) {
            return Err(format!(
                "{place}: wanted one line of text; write it without control characters"
            ));
        }
        Ok(value.to_owned())
    }
}
