//! From a listening socket to a drained stop.
//!
//! ```text
//!  listening, live ──model loaded──▶ ready ──SIGTERM──▶ draining ──▶ stopped
//! ```

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model_server::fault::FaultFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::Faults;
use crate::http::Service;
use crate::metrics::Metrics;
use crate::model::{COMMITTED, Model};
use crate::{Args, complain, control, say, worker};

/// Connections served at a time; more wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 256;
/// A connection that sends no request for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// After a failed accept: no file descriptor left is not soon over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let fault_file = args.fault_file.as_deref().map(FaultFile::read).transpose()?.flatten();
    let mut stop = Stop::listen()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let faults = Arc::new(Faults::none());
    if let Some(path) = &args.control {
        tokio::spawn(control::serve(control::bind(path)?, faults.clone()));
    }
    announce(&listener, args.port_file.as_deref())?;
    if let Some(file) = fault_file {
        let faults = faults.clone();
        tokio::spawn(async move { faults.apply_later(file, start).await });
    }
    let (leaking, mb_max) = (faults.clone(), args.leak_mb_max);
    tokio::spawn(async move { leaking.leak(mb_max).await });

    let (jobs, queue) = mpsc::channel(worker::QUEUE_LEN_MAX);
    let load = loader(args);
    let delay = Duration::from_millis(args.start_delay_ms);
    let loaded = worker::spawn(load, delay, queue, faults.clone())?;
    let service = Arc::new(Service {
        name: args.name.clone(),
        model_name: args.model_name.clone(),
        model: OnceLock::new(),
        jobs,
        faults: faults.clone(),
        metrics: Arc::new(Metrics::default()),
    });

    let ready = async {
        let info = loaded.await.map_err(|_| anyhow!("loading the model panicked"))??;
        say(&format!("ready after {} ms", start.elapsed().as_millis()));
        service.model.get_or_init(|| info);
        std::future::pending::<anyhow::Result<()>>().await
    };
    let (stopping, watching) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        failure = ready => return failure,
        () = accept(listener, &service, &watching, &mut connections) => {}
        () = stop.obeyed(&faults) => {}
    }
    drop(stopping);
    drain(connections, Duration::from_millis(args.drain_ms)).await;
    Ok(())
}

/// The signals that end it.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From here on these signals no longer kill.
    fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn obeyed(&mut self, faults: &Faults) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            if !faults.standing().sigterm_ignored {
                return say(&format!("{name}: stopping"));
            }
            complain(&format!("{name} ignored"));
        }
    }
}

fn announce(listener: &TcpListener, port_file: Option<&Path>) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    if let Some(path) = port_file {
        // Renamed into place, so that whoever sees the file sees the port.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{}\n", address.port()))
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("cannot write the port file {}", path.display()))?;
    }
    say(&format!("listening on {address}"));
    Ok(())
}

fn loader(args: &Args) -> impl FnOnce() -> anyhow::Result<Model> + Send + 'static {
    let (name, path) = (args.model_name.clone(), args.model.clone());
    move || match path {
        None => Model::load(&name, COMMITTED),
        Some(path) => std::fs::read(&path)
            .map_err(anyhow::Error::from)
            .and_then(|onnx| Model::load(&name, &onnx))
            .with_context(|| format!("cannot load the model {}", path.display())),
    }
}

/// Never ends by itself.
async fn accept(
    listener: TcpListener,
    service: &Arc<Service>,
    stopping: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, stopping) = (service.clone(), stopping.clone());
                connections.spawn(async move {
                    serve(stream, service, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                complain(&format!("a connection could not be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection; when the stop comes, the request in flight is the last.
async fn serve(stream: TcpStream, service: Arc<Service>, mut stopping: watch::Receiver<()>) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX);
    let handle = service_fn(|request| service.handle(request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), handle));
    // What goes wrong on one connection is between it and its client.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn drain(mut connections: JoinSet<()>, patience: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    match timeout(patience, all).await {
        Ok(()) => say("stopped"),
        Err(_) => complain("stopped with requests unanswered"),
    }
}
