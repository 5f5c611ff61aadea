//! The socket file: made so that there is no moment in which the wrong people
//! can connect, and removed only when it is our own.
//!
//! Invariant: a socket at which a live daemon answers is never taken away.

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::ApiError;
use crate::config::ApiConfig;

const MODE: u32 = 0o660;
const DIR_MODE: u32 = 0o755;
const BACKLOG: i32 = 64;

pub(super) struct Bound {
    pub listener: UnixListener,
    file: SocketFile,
}

/// Which file was made, so that a successor's is not removed.
struct SocketFile {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

pub(super) fn bind(config: &ApiConfig) -> Result<Bound, ApiError> {
    let path = &config.socket;
    let io =
        |what| move |source: std::io::Error| ApiError::Io { what, socket: path.clone(), source };
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(io("make the folder of"))?;
    }
    clear_stale(path)?;

    // Mode and group are set between bind and listen: until then nobody can connect.
    let socket = new_socket().map_err(io("make the socket"))?;
    let address = SocketAddrUnix::new(path).map_err(|e| io("name the socket")(e.into()))?;
    rustix::net::bind(&socket, &address).map_err(|e| io("bind")(e.into()))?;
    std::fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io("set the mode of"))?;
    if config.group.is_some() {
        std::os::unix::fs::chown(path, None, config.group).map_err(io("set the group of"))?;
    }
    rustix::net::listen(&socket, BACKLOG).map_err(|e| io("listen at")(e.into()))?;

    let meta = std::fs::symlink_metadata(path).map_err(io("look at"))?;
    let listener = UnixListener::from_std(socket.into()).map_err(io("listen at"))?;
    let file = SocketFile { path: path.clone(), dev: meta.dev(), ino: meta.ino() };
    Ok(Bound { listener, file })
}

impl Bound {
    /// Stops listening and removes the file, if it is still the one made here.
    pub fn close(self) {
        drop(self.listener);
        let SocketFile { path, dev, ino } = self.file;
        let ours = std::fs::symlink_metadata(&path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (dev, ino));
        if ours && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(socket = %path.display(), %error, "the socket file stays behind");
        }
    }
}

fn new_socket() -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes what a daemon that is gone left behind.
fn clear_stale(path: &Path) -> Result<(), ApiError> {
    let socket = || path.to_owned();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ApiError::Io { what: "look at", socket: socket(), source }),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ApiError::NotASocket { socket: socket() });
        }
        Ok(_) => {}
    }
    let refused = |source: std::io::Error| ApiError::Io { what: "try", socket: socket(), source };
    let probe = new_socket().map_err(refused)?;
    let address = SocketAddrUnix::new(path).map_err(|e| refused(e.into()))?;
    match rustix::net::connect(&probe, &address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|source| ApiError::Io {
            what: "remove the old",
            socket: socket(),
            source,
        }),
        Err(Errno::NOENT) => Ok(()),
        // A full backlog (EAGAIN) is a live daemon that is slow.
        Ok(()) | Err(Errno::AGAIN) => Err(ApiError::InUse { socket: socket() }),
        Err(error) => Err(refused(error.into())),
    }
}
