//! The journal as it grows, followed across deaths of the daemon.
//!
//! Invariant: what is shown is what one daemon's journal holds. After a
//! reconnect it is read again from the start, since the last records before a
//! kill may never have become durable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use homeostat::model::Record;

use crate::client::Client;

pub struct Events {
    seen: Arc<Mutex<Vec<Record>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Events {
    pub fn follow(client: Client) -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<Record>>>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            move || run(&client, &seen, &stop)
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Everything seen so far.
    pub fn all(&self) -> Vec<Record> {
        self.seen.lock().expect("no reader panics").clone()
    }

    /// The first that `pick` picks.
    pub fn find<T>(&self, pick: impl FnMut(&Record) -> Option<T>) -> Option<T> {
        self.seen.lock().expect("no reader panics").iter().find_map(pick)
    }

    /// Ends the thread. The daemon has to be gone by now, or its stream never ends.
    pub fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(client: &Client, seen: &Mutex<Vec<Record>>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(stream) = client.follow(1) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut fresh = Some(Vec::new());
        for record in stream {
            let Ok(record) = record else { break };
            let mut seen = seen.lock().expect("no reader panics");
            if let Some(fresh) = fresh.take() {
                *seen = fresh;
            }
            seen.push(record);
        }
    }
}
