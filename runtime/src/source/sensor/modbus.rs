//! Sensors that one device tells by Modbus TCP: one task, one connection.
//!
//! Invariant: one request at a time, because many a device serves one connection
//! and one request only. The sensor that is due first is asked first, and one
//! that got no answer is asked again after a pause that doubles, so that it
//! seldom keeps the others waiting. An exception is an answer, and no reading.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::client::Client;
use super::Sensor;
use crate::config::{ModbusPoint, SensorKind};
use crate::source::ended;
use crate::source::line::Around;
use crate::source::outlet::Open;

mod client;
mod frame;

/// After the first time without an answer; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// One address, and those that read there.
pub(super) struct Device {
    client: Client,
    asked: Vec<Asked>,
}

/// A sensor of the device.
struct Asked {
    sensor: Sensor,
    point: ModbusPoint,
    timeout: Duration,
    due: Instant,
    /// So many times in a row without an answer.
    unanswered: u32,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ModbusError {
    #[error("its name does not resolve: {0}")]
    Resolve(io::Error),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("what it answered is no answer to the request")]
    Odd,
    #[error("it answered with exception {}{}", .0, frame::exception(*.0))]
    Exception(u8),
    #[error("it answered with what is no number")]
    NoNumber,
}

impl ModbusError {
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Exception(_) | Self::NoNumber)
    }
}

impl Device {
    /// The devices of those that speak Modbus, and the other sensors.
    pub(super) fn split(sensors: Vec<Sensor>) -> (Vec<Self>, Vec<Sensor>) {
        let mut asked: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        let mut others = Vec::new();
        for sensor in sensors {
            match &sensor.config.kind {
                SensorKind::Modbus { address, point, timeout_ms } => {
                    let (address, point) = (address.clone(), *point);
                    let timeout = Duration::from_millis(*timeout_ms);
                    asked.entry(address).or_default().push(Asked::new(sensor, point, timeout));
                }
                _ => others.push(sensor),
            }
        }
        let device = |(address, asked): (String, Vec<Asked>)| {
            Client::new(&address).map(|client| Self { client, asked })
        };
        (asked.into_iter().filter_map(device).collect(), others)
    }

    /// Reads until stopped.
    pub(super) async fn watch(mut self, around: Around) {
        let mut stop = around.alive.clone();
        tokio::select! {
            () = ended(&mut stop) => {}
            () = self.read(&around) => {}
        }
    }

    async fn read(&mut self, around: &Around) {
        while let Some(next) = self.asked.iter_mut().min_by_key(|asked| asked.due) {
            sleep_until(next.due).await;
            let began = Instant::now();
            let reading = self.client.ask(&next.point, next.timeout).await;
            next.plan(began, &reading);
            if next.sensor.tell(reading, around) == Open::No {
                return;
            }
        }
    }
}

impl Asked {
    fn new(sensor: Sensor, point: ModbusPoint, timeout: Duration) -> Self {
        Self { sensor, point, timeout, due: Instant::now(), unanswered: 0 }
    }

    fn plan(&mut self, began: Instant, reading: &Result<f64, ModbusError>) {
        let answered = reading.as_ref().err().is_none_or(ModbusError::is_answer);
        self.unanswered = if answered { 0 } else { self.unanswered.saturating_add(1) };
        self.due = (began + self.sensor.period()).max(Instant::now() + pause(self.unanswered));
    }
}

fn pause(unanswered: u32) -> Duration {
    let Some(doublings) = unanswered.checked_sub(1) else { return Duration::ZERO };
    PAUSE_MIN.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
