//! Ending threads that wait on the kernel.
//!
//! Invariant: what was ended stays ended. The word is an eventfd(2) that is
//! written once and never read, so that every thread finds it, however late.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

#[derive(Debug)]
pub(super) struct Halt {
    word: OwnedFd,
}

/// Why a pause is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Ended,
    /// What was waited for can be read, or has failed.
    Ready,
    Elapsed,
}

impl Halt {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { word: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub(super) fn end(&self) {
        // It fails when it was written 2^64 times already.
        let _ = rustix::io::write(&self.word, &1_u64.to_ne_bytes());
    }

    pub(super) fn pause(&self, span: Duration) -> Woken {
        self.wait(None, Some(span))
    }

    /// Until `fd` can be read, for `span` at most where there is one.
    pub(super) fn until_readable(&self, fd: impl AsFd, span: Option<Duration>) -> Woken {
        self.wait(Some(fd.as_fd()), span)
    }

    fn wait(&self, fd: Option<BorrowedFd<'_>>, span: Option<Duration>) -> Woken {
        let word = PollFd::new(&self.word, PollFlags::IN);
        let fd = fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut both = [word.clone(), fd.clone().unwrap_or(word)];
        let fds = &mut both[..1 + usize::from(fd.is_some())];
        let span = span.and_then(|span| Timespec::try_from(span).ok());
        // Interrupted, it was a short pause; who waits asks again.
        let woken = poll(fds, span.as_ref()).unwrap_or(0);
        match fds {
            [word, ..] if !word.revents().is_empty() => Woken::Ended,
            _ if woken > 0 => Woken::Ready,
            _ => Woken::Elapsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_itself_by_what_it_waits_for_and_for_good_by_the_word() {
        let halt = Halt::new().unwrap();
        let long = Some(Duration::from_secs(3600));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(halt.pause(Duration::ZERO), Woken::Elapsed);
        assert_eq!(halt.until_readable(&reader, Some(Duration::ZERO)), Woken::Elapsed);
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(halt.until_readable(&reader, long), Woken::Ready);
        halt.end();
        for _ in 0..2 {
            assert_eq!(halt.until_readable(&reader, long), Woken::Ended);
            assert_eq!(halt.pause(Duration::from_secs(3600)), Woken::Ended);
        }
    }
}
