//! How long a declared host takes to answer, and how often it does not.
//!
//! Invariant: one attempt at a time, each within its timeout. A connection that
//! is refused is an answer: the host was reached.
//!
//! TCP needs no privilege and passes where ICMP is filtered. The route is the
//! kernel's choice: that it leads over the link is the configuration's word.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::config::LinkConfig;
use crate::model::{Batch, SeriesId};
use crate::source::ended;
use crate::source::outlet::{Open, Outlet};
use crate::source::read::Said;
use crate::source::resolve::Resolver;
use crate::source::series::Registry;

/// Loss is a share of so many attempts.
const ATTEMPTS: usize = 10;

pub(in crate::source) struct Host {
    address: String,
    period: Duration,
    timeout: Duration,
    latency: SeriesId,
    loss: SeriesId,
    /// Of the last attempts, oldest first: whether it answered.
    answered: VecDeque<bool>,
    said: Said,
}

impl Host {
    pub(in crate::source) fn all(config: &LinkConfig, registry: &mut Registry) -> Vec<Self> {
        registry.set_period_ms(config.period_ms);
        config.hosts.iter().map(|address| Self::new(address, config, registry)).collect()
    }

    fn new(address: &str, config: &LinkConfig, registry: &mut Registry) -> Self {
        let target = super::target(config);
        let labels = [("host", address)];
        Self {
            address: address.to_owned(),
            period: Duration::from_millis(config.period_ms.max(1)),
            timeout: Duration::from_millis(config.timeout_ms),
            latency: registry.add("homeostat.link.latency", "s", &target, &labels),
            loss: registry.add("homeostat.link.loss", "1", &target, &labels),
            answered: VecDeque::with_capacity(ATTEMPTS),
            said: Said::new(format!("host {address} of {target}")),
        }
    }

    pub(in crate::source) async fn watch(
        mut self,
        clock: Clock,
        outlet: Outlet,
        mut stop: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = ended(&mut stop) => {}
            () = self.measure(&clock, &outlet) => {}
        }
    }

    async fn measure(&mut self, clock: &Clock, outlet: &Outlet) {
        let Some(mut resolver) = Resolver::from_address(&self.address) else { return };
        let mut tick = interval(self.period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let took = self.attempt(&mut resolver).await;
            let batch = self.take(clock.age_ms(), took);
            if outlet.batch(batch) == Open::No {
                return;
            }
        }
    }

    /// How long it took. Looking the name up is not part of it.
    async fn attempt(&mut self, resolver: &mut Resolver) -> io::Result<Duration> {
        let attempt = async {
            let addresses = resolver.resolve().await?;
            let began = Instant::now();
            match TcpStream::connect(&*addresses).await {
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
                Ok(_) | Err(_) => Ok(began.elapsed()),
            }
        };
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(took) => took,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }

    fn take(&mut self, age_ms: u64, took: io::Result<Duration>) -> Batch {
        if self.answered.len() == ATTEMPTS {
            self.answered.pop_front();
        }
        self.answered.push_back(took.is_ok());
        let lost = self.answered.iter().filter(|answered| !**answered).count();
        let mut values = vec![(self.loss, lost as f64 / self.answered.len() as f64)];
        let took = self.said.note(took);
        values.extend(took.map(|took| (self.latency, took.as_secs_f64())));
        Batch { age_ms, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::{Manner, Server};

    fn host(address: &str) -> (Host, Registry) {
        let mut registry = Registry::default();
        let (hosts, period_ms, timeout_ms) = (vec![address.to_owned()], 20, 30_000);
        let config =
            LinkConfig { name: "eth0".into(), hosts, period_ms, timeout_ms, bounce: false };
        (Host::all(&config, &mut registry).pop().unwrap(), registry)
    }

    #[test]
    fn loss_is_a_share_of_the_last_ten_and_what_is_lost_has_no_latency() {
        let (mut host, registry) = host("10.0.0.1:80");
        let took = || Ok(Duration::from_millis(250));
        let lost = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let tell = |batch: Batch| -> Vec<String> {
            let one = |(id, value): &(SeriesId, f64)| format!("{} {value}", registry.describe(*id));
            batch.values.iter().map(one).collect()
        };
        let told = tell(host.take(1, took()));
        let latency = "homeostat.link.latency{host=10.0.0.1:80} 0.25";
        assert_eq!(told, ["homeostat.link.loss{host=10.0.0.1:80} 0", latency]);
        assert_eq!(tell(host.take(2, lost())), ["homeostat.link.loss{host=10.0.0.1:80} 0.5"]);
        for age_ms in 3..11 {
            host.take(age_ms, took());
        }
        assert_eq!(host.take(11, took()).values[0].1, 0.1);
        assert_eq!(host.take(12, took()).values[0].1, 0.0);
    }

    #[tokio::test]
    async fn a_server_and_a_closed_port_both_answer() {
        let server = Server::start(Manner::Silent).await;
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = closed.local_addr().unwrap();
        drop(closed);
        for address in [server.address, free] {
            let address = address.to_string();
            let mut resolver = Resolver::from_address(&address).unwrap();
            host(&address).0.attempt(&mut resolver).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_lost_within_its_timeout() {
        // A queue of one that nobody takes from: the kernel drops who comes later.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let _listener = socket.listen(1).unwrap();
        let short = Duration::from_millis(50);
        let mut waiting = Vec::new();
        let long = Duration::from_secs(2);
        while let Ok(one) = tokio::time::timeout(long, TcpStream::connect(address)).await {
            waiting.push(one.unwrap());
        }
        let (mut host, _) = host(&address.to_string());
        host.timeout = short;
        let mut resolver = Resolver::from_address(&address.to_string()).unwrap();
        let lost = host.attempt(&mut resolver).await.unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::TimedOut);
    }
}
