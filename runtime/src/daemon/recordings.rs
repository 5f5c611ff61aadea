//! What led to an incident is written down off the driver's thread.

use tokio::sync::mpsc;

use crate::recording::{Opened, Shelf, Tape};

/// Until the driver is gone. One at a time: a slow disk makes the next wait,
/// and nobody else.
pub fn keep(shelf: Shelf, tape: Tape, mut openings: mpsc::Receiver<Opened>) {
    tokio::spawn(async move {
        while let Some(opened) = openings.recv().await {
            let (shelf, tape, incident) = (shelf.clone(), tape.clone(), opened.incident);
            let kept = tokio::task::spawn_blocking(move || shelf.keep(&tape, &opened)).await;
            match kept {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%incident, %error, "its recording is not kept"),
                Err(_) => tracing::error!(%incident, "writing its recording down ended badly"),
            }
        }
    });
}
