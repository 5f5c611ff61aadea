//! The control socket: takes faults, one line of JSON a connection.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use model_server::control::{LINE_LEN_MAX, Reply, Request};
use model_server::fault::Fault;
use model_server::moment::Moment;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::complain;
use crate::faults::Faults;

/// For one connection; they are served one after the other.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A socket left by a predecessor is replaced, any other file is not.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)
            .with_context(|| format!("cannot replace the control socket {}", path.display()))?;
    }
    UnixListener::bind(path)
        .with_context(|| format!("cannot listen on the control socket {}", path.display()))
}

pub async fn serve(listener: UnixListener, faults: Arc<Faults>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = timeout(TIMEOUT, talk(stream, &faults)).await;
            }
            Err(error) => {
                complain(&format!("the control socket is lost: {error}"));
                return;
            }
        }
    }
}

async fn talk(mut stream: UnixStream, faults: &Faults) -> anyhow::Result<()> {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    BufReader::new(reader.take(LINE_LEN_MAX)).read_line(&mut line).await?;
    let fatal = match serde_json::from_str(&line) {
        Ok(Request::Apply(fault)) if fault.is_fatal() => Some(fault),
        Ok(Request::Apply(fault)) => {
            faults.apply(&fault);
            None
        }
        Ok(Request::Status) => None,
        Err(error) => return answer(&mut writer, &refused(&error)).await,
    };
    answer(&mut writer, &done(faults)).await?;
    fatal.iter().for_each(|fault: &Fault| faults.apply(fault));
    Ok(())
}

fn done(faults: &Faults) -> Reply {
    Reply::Done { pid: std::process::id(), at: Moment::now(), standing: faults.standing() }
}

fn refused(error: &serde_json::Error) -> Reply {
    Reply::Refused { pid: std::process::id(), why: format!("that is no request: {error}") }
}

async fn answer(writer: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(reply)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await?;
    Ok(())
}
