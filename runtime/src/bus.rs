//! One MQTT link: what is subscribed to, and whether the broker is there.
//!
//! ```text
//!            the broker answers            all topics subscribed
//!   away ─────────────────────▶ connected ───────────────────────▶ messages
//!     ▲                              │ refused, cut, a packet too large
//!     └──── a pause that doubles ────┘
//! ```
//!
//! Invariant: the broker is not trusted. It can withhold and delay; what it sends
//! is bounded in size, and of each topic the newest message alone is kept, so that
//! no flood grows anything here or holds anybody up. No other file names the
//! client library.
//!
//! MQTT 5. A session is never resumed: a value that waited for us says nothing
//! about now, and for the same reason retained messages are not asked for.

mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::state::{Backoff, State};
use crate::clock::Clock;
use crate::config::BusConfig;
use crate::model::Condition;

/// Larger packets are not sent to us by a broker that keeps to the protocol, and
/// end the connection of one that does not.
const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// Messages of QoS 1 and 2 in flight towards us.
const RECEIVE_MAX: u16 = 16;
/// Orders that wait for the link.
const ORDERS_MAX: usize = 16;
/// From the first word to the answer that all topics are subscribed.
const READY_WITHIN: Duration = Duration::from_secs(15);
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
/// A last word to the broker has so long.
const GOODBYE: Duration = Duration::from_millis(500);

/// The newest message of a topic, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub age_ms: u64,
    pub payload: Vec<u8>,
}

pub type Newest = watch::Receiver<Option<Arc<Message>>>;

/// The link before it is started.
pub struct Bus {
    config: BusConfig,
    topics: BTreeMap<String, watch::Sender<Option<Arc<Message>>>>,
}

/// The link at work. Dropped, it is cut.
pub struct Link {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    condition: watch::Receiver<Option<Condition>>,
}

impl Bus {
    pub fn new(config: &BusConfig) -> Self {
        Self { config: config.clone(), topics: BTreeMap::new() }
    }

    /// What comes on `topic`, which holds no wildcard.
    pub fn topic(&mut self, topic: &str) -> Newest {
        let newest = || watch::channel(None).0;
        self.topics.entry(topic.to_owned()).or_insert_with(newest).subscribe()
    }

    /// Call it inside a tokio runtime with time and I/O.
    pub fn start(self, clock: Clock) -> Link {
        let (stop, stopped) = watch::channel(false);
        let (state, condition) = State::new(&self.config.address);
        let task = tokio::spawn(self.keep(clock, state, stopped));
        Link { stop, task, condition }
    }

    /// One connection after the other, each with a client of its own: nothing that
    /// a broker said outlives the connection on which it said it.
    async fn keep(self, clock: Clock, state: State, mut stopped: watch::Receiver<bool>) {
        let bus = Arc::new(self);
        let mut backoff = Backoff::new(&bus.config.client_id);
        loop {
            let began = Instant::now();
            let connection =
                Connection { bus: Arc::clone(&bus), clock: clock.clone(), state: state.clone() };
            // A task of its own: the library's panic is the end of a connection.
            let ended = tokio::spawn(connection.run(stopped.clone())).await;
            match ended {
                Ok(None) => return,
                Ok(Some(why)) => state.away(&why),
                Err(_) => state.away("the client library failed"),
            }
            tokio::select! {
                () = told(&mut stopped) => return,
                () = tokio::time::sleep(backoff.next(began.elapsed())) => {}
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let BusConfig { address, client_id, username, password, keep_alive_ms } = &self.config;
        let (host, port) = split(address);
        let mut options = MqttOptions::new(client_id, host, port);
        options
            .set_keep_alive(Duration::from_millis(*keep_alive_ms))
            .set_clean_start(true)
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_receive_maximum(Some(RECEIVE_MAX))
            // Of these the library keeps a table.
            .set_outgoing_inflight_upper_limit(RECEIVE_MAX);
        if let Some(username) = username {
            options.set_credentials(username, password.as_deref().unwrap_or_default());
        }
        options
    }

    /// Topics that the broker does not let us read.
    fn refused(&self, answer: &SubAck) -> Vec<String> {
        let codes = self.topics.keys().zip(&answer.return_codes);
        let refused = codes.filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)));
        refused.map(|(topic, _)| topic.clone()).collect()
    }

    fn hear(&self, message: Publish, age_ms: u64) {
        let topic = std::str::from_utf8(&message.topic).ok();
        // A broker that sends what nobody asked for, or what is from before.
        let Some(newest) = topic.and_then(|topic| self.topics.get(topic)) else { return };
        if !message.retain {
            newest
                .send_replace(Some(Arc::new(Message { age_ms, payload: message.payload.into() })));
        }
    }
}

struct Connection {
    bus: Arc<Bus>,
    clock: Clock,
    state: State,
}

impl Connection {
    /// Until it ends, and why; none where it was told to stop.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Option<String> {
        let (client, mut events) = AsyncClient::new(self.bus.options(), ORDERS_MAX);
        // To be connected and subscribed by then.
        let mut ready_by = Some(Instant::now() + READY_WITHIN);
        loop {
            let late = async {
                match ready_by {
                    Some(by) => tokio::time::sleep_until(by).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = told(&mut stopped) => {
                    say_goodbye(&client, &mut events).await;
                    return None;
                }
                () = late => return Some("it does not answer".into()),
                event = events.poll() => event,
            };
            match event {
                Ok(Event::Incoming(packet)) => match self.take(packet, &client, &mut events) {
                    Ok(Ready::Yes) => ready_by = None,
                    Ok(Ready::Unchanged) => {}
                    Err(why) => return Some(why),
                },
                Ok(Event::Outgoing(_)) => {}
                Err(error) => return Some(error.to_string()),
            }
        }
    }

    fn take(
        &mut self,
        packet: Packet,
        client: &AsyncClient,
        events: &mut EventLoop,
    ) -> Result<Ready, String> {
        match packet {
            Packet::ConnAck(_) => {
                // A broker may say another keep-alive; with none the library would
                // ping without end.
                let ours = Duration::from_millis(self.bus.config.keep_alive_ms);
                if events.options.keep_alive() < KEEP_ALIVE_MIN {
                    events.options.set_keep_alive(ours);
                }
                if self.bus.topics.is_empty() {
                    self.state.connected(&[]);
                    return Ok(Ready::Yes);
                }
                self.subscribe(client)?;
            }
            Packet::SubAck(answer) => {
                self.state.connected(&self.bus.refused(&answer));
                return Ok(Ready::Yes);
            }
            Packet::Publish(message) => {
                if message.properties.as_ref().is_some_and(|it| it.topic_alias.is_some()) {
                    return Err("it uses topic aliases, which were not offered".into());
                }
                self.bus.hear(message, self.clock.age_ms());
            }
            _ => {}
        }
        Ok(Ready::Unchanged)
    }

    /// All of it each time: no session is resumed.
    fn subscribe(&self, client: &AsyncClient) -> Result<(), String> {
        let filters = self.bus.topics.keys().map(|topic| Filter {
            retain_forward_rule: RetainForwardRule::Never,
            // The newest counts, so one that is lost is made good by the next.
            ..Filter::new(topic, QoS::AtMostOnce)
        });
        client.try_subscribe_many(filters).map_err(|error| error.to_string())
    }
}

enum Ready {
    Yes,
    Unchanged,
}

impl Link {
    /// What stands against it, if anything does.
    pub fn condition(&self) -> watch::Receiver<Option<Condition>> {
        self.condition.clone()
    }

    /// Tells the broker, where it listens.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until told to stop, or until nobody is left to say so.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn say_goodbye(client: &AsyncClient, events: &mut EventLoop) {
    if client.try_disconnect().is_err() {
        return;
    }
    let gone = async {
        loop {
            match events.poll().await {
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let _ = tokio::time::timeout(GOODBYE, gone).await;
}

/// `HOST:PORT`, as the configuration was checked to be; an IPv6 host in brackets.
fn split(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host, port.parse().unwrap_or(1883))
}
