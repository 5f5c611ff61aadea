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
    let resolved = address.to_socket_addrs().map(|mut all| all.next());
    let connected = match resolved {
        Ok(Some(resolved)) => TcpStream::connect_timeout(&resolved, PATIENCE).map(drop),
        Ok(None) => Err(std::io::Error::other("its name has no address")),
        Err(error) => Err(error),
    };
    Some(match connected {
        Ok(()) => Check::ok("bus", format!("{address} listens")),
        Err(error) => Check::lacks("bus", format!("{address}: {error}"), costs, remedy),
    })
}
