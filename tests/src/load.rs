//! The load client: a process of its own that keeps its own record.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use model_server::record::{self, Sent};
use rustix::process::Signal;

use crate::process;
use crate::program;
use crate::server::Server;

pub struct Load {
    client: Option<Child>,
    record: PathBuf,
}

impl Load {
    /// Asks each server `rate` times a second, until it is told to end.
    pub fn on(servers: &[Server], rate: u32, timeout_ms: u32, folder: &Path) -> io::Result<Self> {
        let record = folder.join("client.jsonl");
        let mut command = Command::new(program::program("load-client"));
        for server in servers {
            let target = format!("{}=http://127.0.0.1:{}", server.name, server.port());
            command.args(["--target", &target]);
        }
        command.args(["--rate", &rate.to_string(), "--timeout-ms", &timeout_ms.to_string()]);
        command.arg("--record").arg(&record).env(process::MARK, folder);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self { client: Some(command.spawn()?), record })
    }

    /// What it has written so far.
    pub fn sent(&self) -> Vec<Sent> {
        record::read(&self.record).unwrap_or_default()
    }

    /// Lets the requests in flight end, and gives the whole record.
    pub fn end(&mut self) -> Vec<Sent> {
        if let Some(mut client) = self.client.take() {
            process::signal(client.id(), Signal::TERM);
            let _ = client.wait();
        }
        self.sent()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}
