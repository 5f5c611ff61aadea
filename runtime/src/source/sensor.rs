//! Sensors that the configuration names: a number that a command writes, a
//! channel of Linux's industrial I/O, what a device tells by Modbus, or what comes
//! on a topic of the bus. Each feeds one series, `sensor.NAME`.
//!
//! Invariant: one reading at a time, and one that fails or hangs costs its own
//! series only: a command and a request have their timeout, a channel a thread of
//! its own.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::iio::Channel;
use self::modbus::Device;
use super::ended;
use super::halt::Woken;
use super::line::Around;
use super::outlet::Open;
use super::read::{Said, number};
use super::series::Registry;
use crate::bus::{Bus, Newest};
use crate::config::{SensorConfig, SensorKind};
use crate::model::{Batch, SeriesId};
use crate::program::{End, Heard, Program};

mod iio;
mod modbus;

/// A topic that floods is read this often.
const MESSAGE_PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Sensor {
    config: SensorConfig,
    series: SeriesId,
    channel: Option<Channel>,
    newest: Option<Newest>,
    said: Said,
}

impl Sensor {
    /// Without a bus, what would come on it never does.
    pub(super) fn new(
        sys_root: &Path,
        config: &SensorConfig,
        bus: Option<&mut Bus>,
        registry: &mut Registry,
    ) -> Self {
        registry.set_period_ms(config.period_ms);
        let name = format!("sensor.{}", config.name);
        let channel = match &config.kind {
            SensorKind::Iio { device, channel } => Some(Channel::new(sys_root, device, channel)),
            SensorKind::Command { .. } | SensorKind::Modbus { .. } | SensorKind::Mqtt { .. } => {
                None
            }
        };
        let newest = match &config.kind {
            SensorKind::Mqtt { topic, .. } => bus.map(|bus| bus.topic(topic)),
            _ => None,
        };
        Self {
            series: registry.add(&name, &config.unit, &config.target, &[]),
            channel,
            newest,
            said: Said::new(format!("sensor {}", config.name)),
            config: config.clone(),
        }
    }

    /// Starts all of them; gives what could not be started. Call it inside a tokio
    /// runtime.
    pub(super) fn start_all(sensors: Vec<Self>, around: &Around) -> Vec<io::Error> {
        let (devices, others) = Device::split(sensors);
        for device in devices {
            tokio::spawn(device.watch(around.clone()));
        }
        let start = |sensor: Self| sensor.start(around.clone()).err();
        others.into_iter().filter_map(start).collect()
    }

    fn start(mut self, around: Around) -> io::Result<()> {
        match self.channel.take() {
            Some(channel) => {
                std::thread::Builder::new().name("source-sensor".into()).spawn(move || {
                    self.read_channel(channel, &around);
                    drop(around.alive);
                })?;
            }
            None => match self.newest.take() {
                Some(newest) => drop(tokio::spawn(self.watch_topic(newest, around))),
                None => drop(tokio::spawn(self.watch_command(around))),
            },
        }
        Ok(())
    }

    /// The newest, at most once a second; where nothing comes there is none.
    async fn watch_topic(mut self, mut newest: Newest, around: Around) {
        let SensorKind::Mqtt { pointer, .. } = self.config.kind.clone() else { return };
        let mut stop: watch::Receiver<bool> = around.alive.clone();
        let listen = async {
            while newest.changed().await.is_ok() {
                let message = newest.borrow_and_update().clone();
                let Some(message) = message else { continue };
                let reading = parse(&message.payload, pointer.as_deref(), "what came");
                if self.tell_at(message.age_ms, reading, &around) == Open::No {
                    return;
                }
                tokio::time::sleep(self.period().min(MESSAGE_PAUSE_MAX)).await;
            }
        };
        tokio::select! {
            () = ended(&mut stop) => {}
            () = listen => {}
        }
    }

    fn period(&self) -> Duration {
        Duration::from_millis(self.config.period_ms.max(1))
    }

    fn read_channel(mut self, mut channel: Channel, around: &Around) {
        loop {
            let reading = channel.read();
            if self.tell(reading, around) == Open::No
                || around.halt.pause(self.period()) == Woken::Ended
            {
                return;
            }
        }
    }

    async fn watch_command(mut self, around: Around) {
        let SensorKind::Command { command, env, pointer, timeout_ms } = self.config.kind.clone()
        else {
            return;
        };
        let program = Program::new(&command, &env, Heard::Output, &around.alive);
        let timeout = Duration::from_millis(timeout_ms);
        let mut tick = interval(self.period());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop: watch::Receiver<bool> = around.alive.clone();
        let measure = async {
            loop {
                tick.tick().await;
                let reading = ask(&program, pointer.as_deref(), timeout).await;
                if self.tell(reading, &around) == Open::No {
                    return;
                }
            }
        };
        tokio::select! {
            () = ended(&mut stop) => {}
            () = measure => {}
        }
    }

    fn tell<E: Display>(&mut self, reading: Result<f64, E>, around: &Around) -> Open {
        self.tell_at(around.clock.age_ms(), reading, around)
    }

    fn tell_at<E: Display>(
        &mut self,
        age_ms: u64,
        reading: Result<f64, E>,
        around: &Around,
    ) -> Open {
        match self.said.note(reading) {
            Some(reading) => {
                let values = vec![(self.series, reading * self.config.factor)];
                around.outlet.batch(Batch { age_ms, values })
            }
            None => Open::Yes,
        }
    }
}

async fn ask(program: &Program, pointer: Option<&str>, timeout: Duration) -> io::Result<f64> {
    let ended = program.run(timeout).await.map_err(io::Error::other)?;
    match ended.end {
        End::Exited if ended.status.success() => {
            parse(&ended.output, pointer, "what its command wrote")
        }
        End::Exited => Err(io::Error::other(format!("its command ended with {}", ended.status))),
        End::TimedOut => Err(io::Error::other("its command did not end in time and was killed")),
        End::Cancelled => Err(io::Error::other("its command was cancelled")),
    }
}

/// A plain number, or the one that the pointer (RFC 6901) leads to; of true and
/// false, 1 and 0.
fn parse(output: &[u8], pointer: Option<&str>, place: &str) -> io::Result<f64> {
    let value = match pointer {
        None => number(output.trim_ascii()),
        Some(pointer) => {
            let json: serde_json::Value = serde_json::from_slice(output)?;
            json.pointer(pointer).and_then(|value| match value {
                serde_json::Value::String(text) => text.trim().parse().ok(),
                serde_json::Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
                value => value.as_f64(),
            })
        }
    };
    value.filter(|value: &f64| value.is_finite()).ok_or_else(|| {
        let at = pointer.map_or_else(String::new, |pointer| format!(" at {pointer}"));
        io::Error::other(format!("there is no number{at} in {place}"))
    })
}

#[cfg(test)]
mod tests;
