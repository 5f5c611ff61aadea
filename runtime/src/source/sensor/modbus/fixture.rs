//! A device that speaks Modbus TCP, and can be made to fail.
//!
//! Like many a device it serves one connection at a time: a second one waits
//! until the first is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    #[default]
    Answer,
    /// Answers and closes the connection.
    AnswerOnce,
    Refuse(u8),
    Silent,
    HangUp,
}

#[derive(Default)]
pub(super) struct Device {
    /// Coils, discrete inputs, holding registers, input registers; a bit is a
    /// word of 0 or 1.
    pub tables: [BTreeMap<u16, u16>; 4],
    /// Of a register; it answers elsewhere.
    pub manners: BTreeMap<u16, Manner>,
    pub connections: usize,
    pub requests: Vec<[u8; 12]>,
}

pub(super) struct Server {
    pub address: String,
    device: Arc<Mutex<Device>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let device = Arc::new(Mutex::new(Device::default()));
        let served = device.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                served.lock().unwrap().connections += 1;
                // It was closed, by either.
                let _ = serve(stream, &served).await;
            }
        });
        Self { address, device, task }
    }

    pub(super) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, device: &Mutex<Device>) -> std::io::Result<()> {
    // Or the second part waits for the first one to be acknowledged.
    stream.set_nodelay(true)?;
    loop {
        let mut request = [0; 12];
        stream.read_exact(&mut request).await?;
        let (manner, answer) = device.lock().unwrap().take(request);
        match manner {
            Manner::HangUp => return Ok(()),
            Manner::Silent => continue,
            Manner::Answer | Manner::AnswerOnce | Manner::Refuse(_) => {}
        }
        // In two parts, as a slow line would bring it.
        let (first, second) = answer.split_at(5);
        stream.write_all(first).await?;
        tokio::task::yield_now().await;
        stream.write_all(second).await?;
        if manner == Manner::AnswerOnce {
            return Ok(());
        }
    }
}

impl Device {
    fn take(&mut self, request: [u8; 12]) -> (Manner, Vec<u8>) {
        self.requests.push(request);
        let [t0, t1, _, _, _, _, unit, function, r0, r1, c0, c1] = request;
        let (register, count) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([c0, c1]));
        let manner = self.manners.get(&register).copied().unwrap_or_default();
        let table = &self.tables[usize::from(function) - 1];
        let words = (0..count)
            .map(|step| table.get(&register.checked_add(step)?).copied())
            .collect::<Option<Vec<u16>>>();
        let body = match (manner, words) {
            (Manner::Refuse(code), _) => vec![function | 0x80, code],
            (_, None) => vec![function | 0x80, 2],
            (_, Some(words)) if function <= 2 => vec![function, 1, words[0] as u8],
            (_, Some(words)) => {
                let mut body = vec![function, 2 * count as u8];
                body.extend(words.into_iter().flat_map(u16::to_be_bytes));
                body
            }
        };
        let mut answer = vec![t0, t1, 0, 0, 0, 1 + body.len() as u8, unit];
        answer.extend(body);
        (manner, answer)
    }
}
