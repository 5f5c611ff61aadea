//! Whom this box believes: the key root that it accepted, kept in the trust
//! slot, and the key of its own that holds it where nobody else's does.
//!
//! Invariant: a root is written down before it is believed, and one that is
//! written down is believed by every later start.

use std::io::Read as _;
use std::path::Path;

use ed25519_dalek::SigningKey;

use super::order::check_is_file;
use super::reconciler::{Reconciler, Stage};
use crate::model::view::TrustView;
use crate::model::{Event, Origin};
use crate::store::SharedSlot;
use crate::trust::{self, ENVELOPE_BYTES_MAX, Keyring, Role, Root, key_id};

pub(super) struct Believed {
    root: Option<Root>,
    /// What the slot holds does not read: what is revoked is not known, and nobody
    /// is believed.
    lost: bool,
    /// None where it cannot be read or made.
    own: Option<SigningKey>,
    why_not: String,
}

impl Believed {
    pub fn open(state: &Path, slot: &SharedSlot) -> Self {
        let (own, why_not) = match trust::local_key(state) {
            Ok(key) => (Some(key), String::new()),
            Err(error) => {
                tracing::error!(%error, "this box can change no root of its own");
                (None, error.to_string())
            }
        };
        let (root, lost) = match slot.look(|floors| floors.root.clone()) {
            Some(text) => match Root::accepted(&text) {
                Ok(root) => (Some(root), false),
                Err(error) => {
                    tracing::error!(%error, "the key root in the trust slot: no plugin is believed");
                    (None, true)
                }
            },
            // Nothing was revoked yet: without a root of its own, on a full disk say,
            // the box believes whom its file names.
            None => (own.as_ref().and_then(|key| first(key, slot)), false),
        };
        Self { root, lost, own, why_not }
    }

    fn holds_its_own(&self) -> bool {
        let (Some(root), Some(own)) = (&self.root, &self.own) else { return false };
        let id = key_id(&own.verifying_key().to_bytes());
        root.grants_of(Role::Root)
            .iter()
            .any(|grant| grant.is_met("root", std::slice::from_ref(&id)))
    }
}

/// A box that has nobody else's root makes its own, and says so.
fn first(own: &SigningKey, slot: &SharedSlot) -> Option<Root> {
    let root = Root::of_one_key(own);
    tracing::info!("this box made a key root of its own: `homeostat trust show`");
    keep(&root, slot).ok().map(|()| root)
}

fn keep(root: &Root, slot: &SharedSlot) -> Result<(), String> {
    let (text, version) = (root.to_text(), root.version);
    let kept = slot.update(|floors| {
        floors.root = Some(text);
        floors.root_version = version;
    });
    kept.map_err(|error| {
        tracing::error!(%error, "the key root is not written down");
        error.to_string()
    })
}

impl Reconciler<'_> {
    /// Has the host believe whom the root says, and shows it.
    pub(super) fn believe(&self, stage: &mut dyn Stage) {
        let Some(root) = &self.believed.root else {
            if self.believed.lost {
                self.host.trust(Keyring::default());
            }
            return;
        };
        let publishers = self.config.trust.publishers.iter();
        let believed = publishers
            .filter(|it| !root.revoked_keys.contains(&key_id(&it.key)))
            .map(|it| it.name.clone());
        let granted = root.grants_of(Role::Publisher).into_iter().flat_map(|it| it.names);
        stage.trusts(TrustView {
            root_version: root.version,
            own_root: self.believed.holds_its_own(),
            publishers: believed.chain(granted).collect(),
            revoked_keys: root.revoked_keys.iter().cloned().collect(),
            revoked_digests: root.revoked_digests.iter().cloned().collect(),
        });
        match Keyring::under(&self.config.trust, root) {
            Ok(ring) => self.host.trust(ring),
            // Its keys were looked at when it was accepted. Nobody is better than
            // those who were believed before.
            Err(error) => {
                tracing::error!(%error, "a key of the root is not usable: no plugin is believed");
                self.host.trust(Keyring::default());
            }
        }
    }

    /// The next root of this box's own, with these revoked: what runs by them stops.
    pub fn revoke(
        &mut self,
        keys: &[String],
        digests: &[String],
        by: Origin,
        stage: &mut dyn Stage,
    ) -> Result<String, String> {
        let root = self.believed.root.as_ref().ok_or("this box has no key root that reads")?;
        let own = self.believed.own.as_ref().ok_or(self.believed.why_not.as_str())?;
        if !self.believed.holds_its_own() {
            return Err(format!(
                "the key root of this box (version {}) is not its own: have its holders sign the \
                 next one, and take it with `homeostat trust update FILE`",
                root.version
            ));
        }
        let next = root.revoking(keys, digests).map_err(|error| error.to_string())?;
        // The one way in, for our own as well.
        let next = root.followed_by(&next.sign(&[own])).map_err(|error| error.to_string())?;
        self.take_root(next, by, stage)
    }

    /// The next root, from a file that enough keys signed.
    pub fn update_root(
        &mut self,
        file: &Path,
        by: Origin,
        stage: &mut dyn Stage,
    ) -> Result<String, String> {
        let root = self.believed.root.as_ref().ok_or("this box has no key root that reads")?;
        check_is_file(file)?;
        let read = |why: std::io::Error| format!("{}: {why}", file.display());
        let mut envelope = Vec::new();
        // One byte more than is taken, so that the envelope itself says that it is
        // too large.
        let opened = std::fs::File::open(file).map_err(read)?;
        let most = ENVELOPE_BYTES_MAX as u64 + 1;
        opened.take(most).read_to_end(&mut envelope).map_err(read)?;
        let next = root.followed_by(&envelope).map_err(|error| error.to_string())?;
        self.take_root(next, by, stage)
    }

    fn take_root(
        &mut self,
        next: Root,
        by: Origin,
        stage: &mut dyn Stage,
    ) -> Result<String, String> {
        keep(&next, &self.slot)?;
        let version = next.version;
        stage.write(Event::TrustChanged {
            root_version: version,
            revoked_keys: next.revoked_keys.iter().cloned().collect(),
            revoked_digests: next.revoked_digests.iter().cloned().collect(),
            by,
        });
        self.believed.root = Some(next);
        self.believe(stage);
        self.end_the_revoked(stage);
        Ok(format!("the key root is version {version} now; what it revokes is stopped"))
    }
}
