//! Who listens to a shim: the daemon, and after a restart the next one.
//!
//! Invariant: a client that does not read costs lines, which are counted for
//! it, and never memory or the workload's time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::workload::wire::{FromShim, Hello, ToShim, encode};

const CLIENTS_MAX: usize = 4;
/// Waiting for one client; lines beyond are lost to it.
const BACKLOG_MAX_BYTES: usize = 64 * 1024;
/// Kept free for what must not be lost.
const RESERVE_BYTES: usize = 16 * 1024;
const REQUEST_MAX_BYTES: usize = 4096;

pub struct Clients {
    listener: Option<UnixListener>,
    list: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    out: Vec<u8>,
    input: Vec<u8>,
    lost: u64,
    gone: bool,
}

impl Clients {
    /// The first is whoever started this shim.
    pub fn new(starter: UnixStream) -> io::Result<Self> {
        let mut clients = Self { listener: None, list: Vec::new() };
        clients.add(starter)?;
        Ok(clients)
    }

    /// Whether the one that started this shim has closed its end.
    pub fn is_starter_gone(&self) -> bool {
        let Some(starter) = self.list.first() else { return true };
        let mut fds = [PollFd::new(&starter.stream, PollFlags::RDHUP)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The caller holds the lock, so a socket that is there is a dead shim's.
    pub fn listen(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        match std::fs::remove_file(path) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        let listener = UnixListener::bind(through(&dir, name))?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        self.listener = Some(listener);
        Ok(())
    }

    /// What to wait for: the listener first, where there is one, then each client.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let listener = self.listener.iter().map(|listener| (listener.as_fd(), false));
        listener
            .chain(self.list.iter().map(|client| (client.stream.as_fd(), !client.out.is_empty())))
    }

    /// Lets in who waits at the door.
    pub fn accept(&mut self, hello: &Hello) {
        while let Some(listener) = &self.listener
            && let Ok((stream, _)) = listener.accept()
        {
            if self.list.len() < CLIENTS_MAX && self.add(stream).is_ok() {
                let newest = self.list.last_mut().expect("it was added");
                newest.queue(&encode(&FromShim::Hello(hello.clone())));
            }
        }
    }

    /// Reads what clients ask.
    pub fn requests(&mut self) -> Vec<ToShim> {
        let mut requests = Vec::new();
        for client in &mut self.list {
            client.read(&mut requests);
        }
        self.list.retain(|client| !client.gone);
        requests
    }

    /// To each that keeps up.
    pub fn line(&mut self, message: &FromShim) {
        if self.list.is_empty() {
            return;
        }
        let bytes = encode(message);
        for client in &mut self.list {
            client.line(&bytes);
        }
    }

    /// To each, whatever it takes.
    pub fn tell(&mut self, message: &FromShim) {
        let bytes = encode(message);
        for client in &mut self.list {
            client.queue(&bytes);
        }
        self.flush();
    }

    /// Writes as much as they take without waiting.
    pub fn flush(&mut self) {
        for client in &mut self.list {
            client.flush();
        }
        self.list.retain(|client| !client.gone);
    }

    /// Gives them so long to take what is left.
    pub fn drain(&mut self, ms: u64) {
        let until = crate::clock::boottime_ms() + ms;
        loop {
            self.flush();
            let now = crate::clock::boottime_ms();
            let mut fds: Vec<PollFd<'_>> = self
                .list
                .iter()
                .filter(|client| !client.out.is_empty())
                .map(|client| PollFd::new(&client.stream, PollFlags::OUT))
                .collect();
            if fds.is_empty() || now >= until {
                return;
            }
            let rest = i64::try_from(until - now).unwrap_or(0);
            let _ = poll(
                &mut fds,
                Some(&Timespec { tv_sec: rest / 1000, tv_nsec: (rest % 1000) * 1_000_000 }),
            );
        }
    }

    fn add(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let (out, input) = (Vec::new(), Vec::new());
        self.list.push(Client { stream, out, input, lost: 0, gone: false });
        Ok(())
    }
}

impl Client {
    fn line(&mut self, bytes: &[u8]) {
        if self.out.len() + bytes.len() > BACKLOG_MAX_BYTES {
            self.flush();
        }
        if self.out.len() + bytes.len() > BACKLOG_MAX_BYTES {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let count = std::mem::take(&mut self.lost);
            self.out.extend_from_slice(&encode(&FromShim::Lost { count }));
        }
        self.out.extend_from_slice(bytes);
    }

    fn queue(&mut self, bytes: &[u8]) {
        if self.lost > 0 {
            let count = std::mem::take(&mut self.lost);
            self.out.extend_from_slice(&encode(&FromShim::Lost { count }));
        }
        self.out.extend_from_slice(bytes);
        // Even these were not read for long: it is no client any more.
        self.gone |= self.out.len() > BACKLOG_MAX_BYTES + RESERVE_BYTES;
    }

    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(len) => sent += len,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > CHUNK_KEPT_BYTES {
            self.out = Vec::new();
        }
    }

    fn read(&mut self, requests: &mut Vec<ToShim>) {
        let mut chunk = [0u8; 512];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
            if self.input.len() > REQUEST_MAX_BYTES {
                self.gone = true;
                break;
            }
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            match serde_json::from_slice(&self.input[..end]) {
                Ok(request) => requests.push(request),
                Err(_) => self.gone = true,
            }
            self.input.drain(..=end);
        }
    }
}

/// A buffer that a burst made larger is given back.
const CHUNK_KEPT_BYTES: usize = 4096;

/// A socket's path may be 107 bytes long, a run directory longer. Through an
/// open directory every path is short.
pub fn through(dir: &OwnedFd, name: &std::ffi::OsStr) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

pub fn split(path: &Path) -> io::Result<(OwnedFd, &std::ffi::OsStr)> {
    let (dir, name) = path.parent().zip(path.file_name()).ok_or(ErrorKind::InvalidInput)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((rustix::fs::open(dir, flags, Mode::empty())?, name))
}
