//! The other end of sd_notify(3): a service manager that only listens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use crate::wait::{Seen, wait_until};

pub struct Notify {
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` is to say.
    pub name: String,
}

impl Notify {
    pub fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the story's folder can be written");
        Self::over(socket, path.to_str().expect("a temporary path is UTF-8").into())
    }

    /// In the abstract namespace, as containers have it.
    pub fn abstract_at(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("the name is free");
        Self::over(socket, format!("@{name}"))
    }

    fn over(socket: UnixDatagram, name: String) -> Self {
        socket.set_nonblocking(true).expect("a socket can be set so");
        Self { socket, name }
    }

    /// What came since the last call.
    pub fn received(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => all.push(String::from_utf8_lossy(&buffer[..len]).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
                Err(error) => panic!("the socket cannot be heard: {error}"),
            }
        }
    }

    /// Adds to `all` until `wanted` holds of it.
    #[track_caller]
    pub fn until(
        &self,
        all: &mut Vec<String>,
        patience: Duration,
        what: &str,
        mut wanted: impl FnMut(&[String]) -> bool,
    ) {
        wait_until(patience, what, || {
            all.extend(self.received());
            if wanted(all) { Seen::Yes(()) } else { Seen::Not(format!("{all:#?}")) }
        });
    }
}
