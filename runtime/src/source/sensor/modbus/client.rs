//! One connection to a Modbus device, made when it is needed.
//!
//! Invariant: a request ends within its timeout, which covers name, connection
//! and answer together. A connection outlives only a request that it answered,
//! so an answer that comes too late is lost with it, and never taken for that to
//! the next request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ModbusError;
use super::frame::{self, HEADER_LEN, Header};
use crate::config::ModbusPoint;
use crate::source::resolve::Resolver;

pub(super) struct Client {
    resolver: Resolver,
    kept: Option<TcpStream>,
    transaction: u16,
}

impl Client {
    pub(super) fn new(address: &str) -> Option<Self> {
        Some(Self { resolver: Resolver::from_address(address)?, kept: None, transaction: 0 })
    }

    pub(super) async fn ask(
        &mut self,
        point: &ModbusPoint,
        timeout: Duration,
    ) -> Result<f64, ModbusError> {
        let answer = tokio::time::timeout(timeout, self.exchange(point)).await;
        answer.map_err(|_| ModbusError::Silent(timeout))?
    }

    /// Many devices close a connection that was idle for a while, which shows with
    /// the next request: to read again changes nothing, so it is asked once more.
    async fn exchange(&mut self, point: &ModbusPoint) -> Result<f64, ModbusError> {
        if let Some(kept) = self.kept.take() {
            match self.converse(kept, point).await {
                Err(ModbusError::Broken(_)) => {}
                answer => return answer,
            }
        }
        let addresses = self.resolver.resolve().await.map_err(ModbusError::Resolve)?;
        let fresh = TcpStream::connect(&*addresses).await.map_err(ModbusError::Connect)?;
        self.converse(fresh, point).await
    }

    /// Keeps the connection when it gave an answer.
    async fn converse(
        &mut self,
        mut stream: TcpStream,
        point: &ModbusPoint,
    ) -> Result<f64, ModbusError> {
        self.transaction = self.transaction.wrapping_add(1);
        stream.write_all(&frame::request(self.transaction, point)).await?;
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).await?;
        let header = Header::read(header);
        let len = header.body_len(self.transaction, point).ok_or(ModbusError::Odd)?;
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        let answer = frame::value(&body, point);
        if answer.as_ref().err().is_none_or(ModbusError::is_answer) {
            self.kept = Some(stream);
        }
        answer
    }
}
