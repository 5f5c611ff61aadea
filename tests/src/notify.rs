//! The other end of sd_notify(3): a service manager that only listens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::wait::{Seen, wait_until};

pub struct Notify {
    heard: Receiver<String>,
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

    /// Heard by a thread from the start: the kernel keeps ten datagrams for a
    /// socket that nobody reads, and drops the rest.
    fn over(socket: UnixDatagram, name: String) -> Self {
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len) = socket.recv(&mut buffer) {
                if tell.send(String::from_utf8_lossy(&buffer[..len]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { heard, name }
    }

    /// What came since the last call.
    pub fn received(&self) -> Vec<String> {
        self.heard.try_iter().collect()
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
