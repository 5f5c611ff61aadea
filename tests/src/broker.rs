//! A real Mosquitto, in a folder and on a port of the story's own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::plan::path;
use crate::port::{self, Port};
use crate::testbox::PATIENCE;
use crate::wait::{Seen, wait_until};
use crate::{process, skip};

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

pub struct Broker {
    port: Port,
    folder: PathBuf,
    running: Option<Child>,
}

impl Broker {
    /// None where this machine has no Mosquitto, which is noted. `settings` are
    /// further lines of its configuration.
    pub fn start(folder: &Path, settings: &str) -> Option<Self> {
        if !Path::new(MOSQUITTO).exists() {
            skip::note("no mosquitto on this machine");
            return None;
        }
        let folder = folder.join("broker");
        fs::create_dir_all(&folder).expect("the story's folder can be written");
        let port = port::lease();
        // Root's Mosquitto would become another user, who cannot read the folder.
        let user = if process::is_root() { "user root\n" } else { "" };
        let text = format!("{user}listener {} 127.0.0.1\n{settings}\n", port.number);
        fs::write(folder.join("mosquitto.conf"), text).expect("the folder can be written");
        let mut broker = Self { port, folder, running: None };
        broker.begin();
        Some(broker)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Starts it again, after [`Self::kill`].
    #[track_caller]
    pub fn begin(&mut self) {
        let child = Command::new(MOSQUITTO)
            .args(["-c", &path(&self.folder.join("mosquitto.conf"))])
            .env(process::MARK, &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(child.expect("mosquitto can be started"));
        let address = self.address();
        wait_until(PATIENCE, "the broker to listen", || {
            Seen::when(TcpStream::connect(&address).is_ok(), || "nobody listens".into())
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A machine of the plant's that says something by MQTT 3.1.1, QoS 1: it has been
/// taken when this returns.
#[track_caller]
pub fn publish(address: &str, login: Option<(&str, &str)>, message: &Publish<'_>) {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a stream takes a timeout");
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut connect = text("MQTT");
    connect.extend([4, flags, 0, 60]);
    connect.extend(text(""));
    for word in login.iter().flat_map(|(user, password)| [user, password]) {
        connect.extend(text(word));
    }
    say(&mut stream, 0x10, &connect);
    assert_eq!(hear(&mut stream), [0x20, 2, 0, 0], "the broker takes us");
    let mut publish = text(message.topic);
    publish.extend([0, 1]);
    publish.extend(message.payload);
    say(&mut stream, 0x32 | u8::from(message.retained), &publish);
    assert_eq!(hear(&mut stream), [0x40, 2, 0, 1], "the broker takes the message");
}

pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub retained: bool,
}

fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("a short text");
    [len.to_be_bytes().as_slice(), text.as_bytes()].concat()
}

fn say(stream: &mut TcpStream, head: u8, body: &[u8]) {
    let mut packet = vec![head];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left % 128).expect("less than 128");
        left /= 128;
        packet.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    stream.write_all(&packet).expect("the broker listens");
}

fn hear(stream: &mut TcpStream) -> [u8; 4] {
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the broker answers");
    answer
}
