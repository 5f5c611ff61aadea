//! Whether the broker is to be reached: a connection is opened and closed again.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Check;
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn checks(config: &Config) -> Option<Check> {
    let address = &config.bus.as_ref()?.address;
    let costs = "what comes by MQTT is not read until it is there";
    let remedy = "start the broker, correct address under [bus], or look at the way to it";
    // As the daemon does: the first that answers.
    let connected = address.to_socket_addrs().and_then(|all| {
        let none = Err(std::io::Error::other("its name has no address"));
        all.fold(none, |found, it| {
            found.or_else(|_| TcpStream::connect_timeout(&it, PATIENCE).map(drop))
        })
    });
    Some(match connected {
        Ok(()) => Check::ok("bus", format!("{address} listens")),
        Err(error) => Check::lacks("bus", format!("{address}: {error}"), costs, remedy),
    })
}
