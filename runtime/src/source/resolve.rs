//! From a name to addresses, one look-up at a time.
//!
//! The system's resolver cannot be interrupted: a look-up that is given up goes
//! on in its thread. So a later probe waits for the one under way instead of
//! starting another, and a dead name server costs one thread per probe.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinHandle;

pub(super) struct Resolver {
    host: String,
    port: u16,
    under_way: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, under_way: None }
    }

    /// From `HOST:PORT`, with brackets round an IPv6 address.
    pub(super) fn from_address(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self::new(host, port.parse().ok()?)).filter(|_| !host.is_empty())
    }

    /// May be cancelled and called again.
    pub(super) async fn resolve(&mut self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let (host, port) = (self.host.clone(), self.port);
        let under_way = self.under_way.get_or_insert_with(|| {
            tokio::spawn(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        let found = under_way.await;
        self.under_way = None;
        found.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_literal_needs_no_look_up_and_a_name_has_one() {
        for (address, expected) in [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:8080", "[::1]:8080")]
        {
            let mut resolver = Resolver::from_address(address).unwrap();
            assert_eq!(resolver.resolve().await.unwrap(), [expected.parse().unwrap()]);
        }
        let mut resolver = Resolver::from_address("localhost:80").unwrap();
        let found = resolver.resolve().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn an_address_without_a_host_or_a_port_is_none() {
        for address in ["localhost", ":80", "localhost:", "localhost:http", "localhost:70000"] {
            assert!(Resolver::from_address(address).is_none(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_look_up_that_was_given_up_is_waited_for_and_not_doubled() {
        let mut resolver = Resolver::new("slow.example", 80);
        let (answer, answered) = tokio::sync::oneshot::channel::<SocketAddr>();
        resolver.under_way =
            Some(tokio::spawn(async move { Ok(vec![answered.await.map_err(io::Error::other)?]) }));
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, resolver.resolve()).await;
        assert!(given_up.is_err());
        let address = "10.0.0.1:80".parse().unwrap();
        answer.send(address).unwrap();
        assert_eq!(resolver.resolve().await.unwrap(), [address]);
    }
}
