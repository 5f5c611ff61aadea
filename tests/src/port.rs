//! Ports that a story may use: below the kernel's own range, so that no
//! outgoing connection can take one while its server is being restarted, and
//! under a lock, so that no other story does.
//!
//! The lock is a name in the abstract namespace: one for all checkouts and all
//! users of this machine, as its ports are, and gone with the process.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const FIRST: u16 = 21_000;
const COUNT: u16 = 8_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _lock: UnixDatagram,
}

pub fn lease() -> Port {
    // Stories start at different places, so that they seldom collide.
    let from = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    for step in 0..COUNT {
        let number = FIRST + (from + step) % COUNT;
        let name = SocketAddr::from_abstract_name(format!("homeostat-test-port-{number}"));
        let lock = UnixDatagram::bind_addr(&name.expect("a short name"));
        let Ok(lock) = lock else { continue };
        if TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return Port { number, _lock: lock };
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}
