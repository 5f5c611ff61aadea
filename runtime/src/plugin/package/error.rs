//! Why a plugin file is refused: wanted, found, and what to do.

use std::path::PathBuf;

use crate::trust::TrustError;

#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error("cannot read {}: {source}; put the plugin file there, or correct `package`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{what} has {found} bytes or more, at most {max} are taken; make it smaller")]
    TooLarge { what: &'static str, found: usize, max: usize },
    #[error(
        "the file ends at byte {found} inside {what}, which needs {wanted}; it was cut short, copy it again"
    )]
    Truncated { what: String, wanted: usize, found: usize },
    #[error("this is no plugin file: {why}; pack it with `homeostat-plugin build`")]
    Malformed { why: String },
    #[error("wanted the entry {wanted}, found {found}; pack it with `homeostat-plugin build`")]
    Missing { wanted: &'static str, found: String },
    #[error(
        "the entry {path:?} has no place in a plugin file; wanted only plugin.dsse.json, \
         component.wasm and golden/NAME; pack it with `homeostat-plugin build`"
    )]
    Unexpected { path: String },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "the signed manifest does not read: {why}; pack it with the `homeostat-plugin` of this runtime"
    )]
    Manifest { why: String },
    #[error(
        "the manifest names publisher {wanted:?}, its signature is by {found}; \
         sign it with that publisher's key"
    )]
    Publisher { wanted: String, found: String },
    #[error(
        "{name} is revoked: the key root of this box lets nobody run sha256 {digest}; install a \
         later version"
    )]
    Revoked { name: String, digest: String },
    #[error("wanted plugin {wanted:?}, the file holds {found:?}; correct `name` or `package`")]
    Name { wanted: String, found: String },
    #[error(
        "{name} has sequence {found}, and {floor} was already accepted here: plugins do not go \
         back; publish the older code under a higher sequence"
    )]
    Rollback { name: String, floor: u64, found: u64 },
    #[error("{path} is not what was signed: wanted {wanted}, found {found}; fetch the file again")]
    Altered { path: String, wanted: String, found: String },
    #[error("wanted the recordings [{wanted}] as signed, found [{found}]; fetch the file again")]
    GoldenList { wanted: String, found: String },
    #[error(
        "this box admits {name} only as sha256 {wanted}, found {found}; \
         if the new component is meant, set `digest` to it"
    )]
    NotAdmitted { name: String, wanted: String, found: String },
    #[error("wanted a world of {wanted}, found {found:?}; build it for one of them")]
    World { wanted: &'static str, found: String },
    #[error(
        "wanted API {wanted}, found {found:?}; build it with an SDK of that version, or update the runtime"
    )]
    Api { wanted: String, found: String },
    #[error("it needs runtime {wanted} or later, this is {found}; update the runtime")]
    Runtime { wanted: String, found: &'static str },
}
