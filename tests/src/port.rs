//! Ports that a story may use: below the kernel's own range, so that no
//! outgoing connection can take one while its server is being restarted, and
//! under a lock, so that no other story does.

use std::fs::{self, File};
use std::net::TcpListener;

use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 21_000;
const COUNT: u16 = 8_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _lock: File,
}

pub fn lease() -> Port {
    // One folder for all checkouts of this machine: they share its ports.
    let folder = std::env::temp_dir().join("homeostat-test-ports");
    fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    // Stories start at different places, so that they seldom collide.
    let from = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    for step in 0..COUNT {
        let number = FIRST + (from + step) % COUNT;
        let lock = File::create(folder.join(number.to_string())).expect("a lock file can be made");
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return Port { number, _lock: lock };
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}
