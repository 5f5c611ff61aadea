//! Log files of others, followed line by line.
//!
//! ```text
//!          same inode, longer ─▶ read on          path names another inode
//!   open ──same inode, shorter ─▶ from its start    └▶ the new one from its start;
//!    └──── path gone ─▶ read on, look for it           the old one, until it is quiet
//! ```
//!
//! Invariant: a file is a thread's own affair: one on a filesystem that hangs
//! holds up nothing but its own lines. A line is passed on when it has ended, or
//! when its file has. No offset is kept across restarts: what was written while
//! the daemon was down is not read, unless `from = "start"` reads all of it
//! again (of more than 8 MiB, the end).
//!
//! A file that is emptied and has grown beyond its old length between two looks
//! is not seen to be another (`copytruncate` cannot be told from writing then).

use std::io;
use std::time::Duration;

use self::tail::Tail;
use super::halt::Woken;
use super::line::Around;
use super::outlet::Open;
use super::read::Said;
use crate::config::LogConfig;
use crate::model::Line;

mod tail;

const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Log {
    tail: Tail,
    said: Said,
    lines: Vec<Line>,
}

impl Log {
    pub(super) fn new(config: &LogConfig) -> Self {
        let said = Said::new(config.path.display().to_string());
        Self { tail: Tail::new(config), said, lines: Vec::new() }
    }

    pub(super) fn start(mut self, around: Around) -> io::Result<()> {
        std::thread::Builder::new().name("source-log".into()).spawn(move || {
            while self.look(&around) == Open::Yes {}
            drop(around.alive);
        })?;
        Ok(())
    }

    fn look(&mut self, around: &Around) -> Open {
        let looked = self.tail.look(around.clock.age_ms(), &mut self.lines);
        let more = self.said.note(looked).unwrap_or(false);
        if around.tell(&mut self.lines) == Open::No {
            return Open::No;
        }
        let pause = if more { Duration::ZERO } else { LOOK_EVERY };
        match around.halt.pause(pause) {
            Woken::Ended => Open::No,
            Woken::Ready | Woken::Elapsed => Open::Yes,
        }
    }
}

#[cfg(test)]
mod tests;
