//! How a plugin fails while it runs.

use wasmtime::Trap;

/// One failed call. It cost the plugin its instance, and nobody else anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{during} trapped: {why}")]
    Trapped { during: &'static str, why: String },
    /// It came back, or never began, and what it gave does not read.
    #[error("{during} failed: {why}")]
    Failed { during: &'static str, why: String },
    #[error("{during} ran past its deadline of {deadline_ms} ms")]
    /// Of processor time, or ten times as much by the clock.
    Overrun { during: &'static str, deadline_ms: u32 },
    #[error("{during} wanted {wanted} bytes of memory, at most {max} are given ({why})")]
    Memory { during: &'static str, wanted: usize, max: usize, why: String },
    #[error("returned {found} {what}, at most {max}")]
    OverLimit { what: &'static str, found: usize, max: usize },
    #[error("{during} returned more than {max} bytes in all; at most 256 findings are taken")]
    TooMuch { during: &'static str, max: usize },
    #[error("returned {what}: {found:?}, wanted {wanted}")]
    Nonsense { what: &'static str, found: String, wanted: &'static str },
    #[error("returned a finding about {target:?}, which is not among the targets it was given")]
    Foreign { target: String },
    #[error("refused to {what}: {code}: {message}")]
    Refused { what: &'static str, code: String, message: String },
    #[error("the host's own thread panicked: {why}")]
    Panicked { why: String },
}

/// What the sandbox knows about a call that failed.
pub(super) struct Circumstances {
    pub during: &'static str,
    pub deadline_ms: u32,
    /// Memory it asked for and did not get, and how much it may have.
    pub memory_refused: Option<(usize, usize)>,
    /// The last error it logged in this call: a panic's text, for the most part.
    pub last_words: Option<String>,
    pub answer_bytes_max: usize,
}

impl Fault {
    pub(super) fn of(error: &wasmtime::Error, at: Circumstances) -> Self {
        let during = at.during;
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::Interrupt) {
            return Self::Overrun { during, deadline_ms: at.deadline_ms };
        }
        // The type behind it is private to wasmtime; a test holds its words.
        if error.to_string().contains("fuel allocated for hostcalls") {
            return Self::TooMuch { during, max: at.answer_bytes_max };
        }
        let why = why(error, at.last_words);
        match at.memory_refused {
            Some((wanted, max)) => Self::Memory { during, wanted, max, why },
            None if trap.is_some() => Self::Trapped { during, why },
            None => Self::Failed { during, why },
        }
    }
}

/// What it was, where, and what the plugin itself said last.
fn why(error: &wasmtime::Error, last_words: Option<String>) -> String {
    let mut why = error.root_cause().to_string();
    let frame = error.downcast_ref::<wasmtime::WasmBacktrace>().and_then(|trace| {
        trace.frames().iter().find_map(|frame| Some(frame.func_name()?.to_owned()))
    });
    if let Some(name) = frame {
        why.push_str(&format!(" in `{name}`"));
    }
    if let Some(words) = last_words {
        why.push_str(&format!("; its last words: {words}"));
    }
    why
}
