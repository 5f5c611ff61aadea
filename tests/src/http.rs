//! Just enough HTTP/1.1 to be a client of a Unix socket or a port: one request
//! per connection, bodies of a known length, in chunks, or to the end.
//!
//! Written apart from the daemon's own, so that the stories hear what any
//! other client would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Address {
    Socket(PathBuf),
    Port(SocketAddr),
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| io::Error::other(format!("{error} in {}", self.text())))
    }
}

pub fn get(address: &Address, path: &str, timeout: Duration) -> io::Result<Reply> {
    send(address, "GET", path, "", timeout)
}

pub fn send(
    address: &Address,
    method: &str,
    path: &str,
    body: &str,
    timeout: Duration,
) -> io::Result<Reply> {
    let (status, mut reader) = open(address, method, path, body, timeout)?;
    let mut reply = Vec::new();
    reader.read_to_end(&mut reply)?;
    Ok(Reply { status, body: reply })
}

/// The body's lines as they come. `timeout` bounds the wait for each.
pub fn lines(
    address: &Address,
    path: &str,
    timeout: Duration,
) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
    let (status, reader) = open(address, "GET", path, "", timeout)?;
    if status != 200 {
        return Err(io::Error::other(format!("{path} answered {status}")));
    }
    Ok(BufReader::new(reader).lines())
}

fn open(
    address: &Address,
    method: &str,
    path: &str,
    body: &str,
    timeout: Duration,
) -> io::Result<(u16, Body)> {
    let mut wire: Box<dyn Wire> = match address {
        Address::Socket(path) => {
            let wire = UnixStream::connect(path)?;
            wire.set_read_timeout(Some(timeout))?;
            wire.set_write_timeout(Some(timeout))?;
            Box::new(wire)
        }
        Address::Port(address) => {
            let wire = TcpStream::connect_timeout(address, timeout)?;
            wire.set_read_timeout(Some(timeout))?;
            wire.set_write_timeout(Some(timeout))?;
            Box::new(wire)
        }
    };
    let length = body.len();
    write!(
        wire,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    wire.flush()?;
    head(BufReader::new(wire))
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Reads the status line and the headers, and knows how the body will end.
fn head(mut reader: BufReader<Box<dyn Wire>>) -> io::Result<(u16, Body)> {
    let first = line(&mut reader)?;
    let status = first
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no HTTP status in {first:?}")))?;
    let mut left = Left::ToTheEnd;
    loop {
        let header = line(&mut reader)?.to_ascii_lowercase();
        let Some((name, value)) = header.split_once(':') else { break };
        match (name, value.trim()) {
            ("content-length", length) => {
                left = Left::Bytes(length.parse().map_err(io::Error::other)?);
            }
            ("transfer-encoding", "chunked") => left = Left::Chunk(0),
            _ => {}
        }
    }
    Ok((status, Body { reader, left }))
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    if reader.read_line(&mut text)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}

enum Left {
    ToTheEnd,
    Bytes(u64),
    /// Bytes left of this chunk.
    Chunk(u64),
    Nothing,
}

struct Body {
    reader: BufReader<Box<dyn Wire>>,
    left: Left,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunk(0) = self.left {
            let size = line(&mut self.reader)?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or(""), 16)
                .map_err(io::Error::other)?;
            self.left = if size == 0 { Left::Nothing } else { Left::Chunk(size) };
        }
        let most = match self.left {
            Left::ToTheEnd => u64::MAX,
            Left::Bytes(left) | Left::Chunk(left) => left,
            Left::Nothing => 0,
        };
        let most = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..most])?;
        let taken = read as u64;
        match &mut self.left {
            Left::Bytes(left) => *left -= taken,
            Left::Chunk(left) => {
                *left -= taken;
                if *left == 0 && read > 0 {
                    line(&mut self.reader)?;
                }
            }
            Left::ToTheEnd | Left::Nothing => {}
        }
        if read == 0 && !matches!(self.left, Left::ToTheEnd) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}
