//! Component to native code, in a program of its own.
//!
//! Invariant: the daemon carries no compiler and never waits for one without a
//! deadline; `homeostat-compile` has no descriptor but its three pipes, cannot
//! write a file, and never sees the key that native code is sealed with.
//!
//! ```text
//! daemon ──component──▶ stdin  homeostat-compile  stdout ──frame──▶ daemon, seals
//!                              under rlimits      stderr ──why────▶
//! frame = "HSTNATV1", length (u64, little endian), SHA-256 of the code, code
//! exit 0 compiled · 1 the component does not compile · 2 anything else
//! ```

mod halt;
#[cfg(feature = "compiler")]
mod program;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sha2::{Digest, Sha256};

pub use self::halt::Halt;
#[cfg(feature = "compiler")]
pub use self::program::main;
use super::engine::CodeKind;

const MAGIC: &[u8; 8] = b"HSTNATV1";
const HEADER_BYTES: usize = MAGIC.len() + 8 + 32;
/// Native code is three to four times its component.
pub(super) const NATIVE_BYTES_MAX: usize = 64 << 20;
const WHY_BYTES_MAX: u64 = 4 << 10;
const EXIT_REFUSED: i32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(
        "cannot run {}: {source}; install homeostat-compile beside the daemon, or correct `programs`",
        program.display()
    )]
    Start { program: PathBuf, source: std::io::Error },
    #[error("the component does not compile: {why}; build it anew with this runtime's SDK")]
    Invalid { why: String },
    #[error("the compiler went over its limits ({found}); make the component smaller")]
    OverLimit { found: String },
    #[error("the compiler was not done after {deadline_s} s; make the component smaller")]
    Deadline { deadline_s: u64 },
    #[error("the daemon is stopping, and its compiler with it")]
    Halted,
    #[error("wanted native code from {}, found {found}; reinstall homeostat-compile", program.display())]
    Broken { program: PathBuf, found: String },
}

/// The program, and how long it may take.
#[derive(Clone, Debug)]
pub struct Compiler {
    pub program: PathBuf,
    pub deadline: Duration,
    pub halt: Halt,
}

impl Compiler {
    /// Blocks until the program ends, one way or another.
    pub fn compile(&self, component: &[u8], kind: CodeKind) -> Result<Vec<u8>, CompileError> {
        if self.halt.is_called() {
            return Err(CompileError::Halted);
        }
        let start = |source| CompileError::Start { program: self.program.clone(), source };
        let mut child = self.spawn(kind).map_err(start)?;
        let ran = self.converse(&mut child, component).map_err(start)?;
        match ran.status.code() {
            Some(0) => unframe(&ran.output).map_err(|found| self.broken(found)),
            Some(EXIT_REFUSED) => Err(CompileError::Invalid { why: ran.why }),
            _ if ran.overdue => Err(CompileError::Deadline { deadline_s: self.deadline.as_secs() }),
            _ if self.halt.is_called() => Err(CompileError::Halted),
            // Out of memory aborts, out of processor time kills.
            None if !ran.why.contains("panicked") => {
                Err(CompileError::OverLimit { found: ran.status.to_string() })
            }
            _ => Err(self.broken(format!("{}: {}", ran.status, ran.why))),
        }
    }

    fn spawn(&self, kind: CodeKind) -> std::io::Result<Child> {
        Command::new(&self.program)
            .arg(kind.word())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }

    /// Feeds it, reads it, and kills it when its time is over.
    fn converse(&self, child: &mut Child, component: &[u8]) -> std::io::Result<Ran> {
        let mut stdin = child.stdin.take().expect("piped above");
        let mut stdout = child.stdout.take().expect("piped above");
        let stderr = child.stderr.take().expect("piped above");
        let pid = Pid::from_child(child);
        // A handle, since a bare number may be somebody else's by then.
        let handle = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
        })?;
        let handle = Arc::new(handle);
        self.halt.at_work(Arc::clone(&handle));
        let (ended, on_end) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let overdue =
                    on_end.recv_timeout(self.deadline) == Err(mpsc::RecvTimeoutError::Timeout);
                if overdue {
                    let _ = pidfd_send_signal(&handle, Signal::KILL);
                }
                overdue
            });
            // It may end early and close its side: what it says then counts.
            scope.spawn(move || stdin.write_all(component));
            let why = scope.spawn(move || read_why(stderr));
            let mut output = Vec::new();
            let limit = (HEADER_BYTES + NATIVE_BYTES_MAX) as u64 + 1;
            let read = stdout.by_ref().take(limit).read_to_end(&mut output);
            drop(stdout);
            let status = child.wait();
            drop(ended);
            self.halt.done();
            let overdue = watch.join().unwrap_or(false);
            let why = why.join().unwrap_or_default();
            read?;
            Ok(Ran { status: status?, output, why, overdue })
        })
    }

    fn broken(&self, found: String) -> CompileError {
        CompileError::Broken { program: self.program.clone(), found }
    }
}

struct Ran {
    status: ExitStatus,
    output: Vec<u8>,
    why: String,
    overdue: bool,
}

fn read_why(mut stderr: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stderr.by_ref().take(WHY_BYTES_MAX).read_to_end(&mut bytes);
    // The rest is drained, so that it never waits for us.
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg_attr(not(feature = "compiler"), allow(dead_code))]
fn frame(code: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + code.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(code.len() as u64).to_le_bytes());
    out.extend_from_slice(&Sha256::digest(code));
    out.extend_from_slice(code);
    out
}

fn unframe(output: &[u8]) -> Result<Vec<u8>, String> {
    let parts = output.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<8>());
    let parts = parts.and_then(|(len, rest)| Some((*len, rest.split_first_chunk::<32>()?)));
    let Some((len, (digest, code))) = parts else {
        return Err(format!("{} bytes without a header", output.len()));
    };
    let len = u64::from_le_bytes(len);
    if len != code.len() as u64 || code.len() > NATIVE_BYTES_MAX {
        return Err(format!("{} bytes of {len}", code.len()));
    }
    if Sha256::digest(code)[..] != digest[..] {
        return Err("bytes that are not those it sent".into());
    }
    Ok(code.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Compiler) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("compile");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, Compiler { program, deadline: LONG, halt: Halt::default() })
    }

    fn run(script: &str, deadline: Duration) -> Result<Vec<u8>, CompileError> {
        let (_dir, compiler) = shell(script);
        compile(&Compiler { deadline, ..compiler })
    }

    fn compile(compiler: &Compiler) -> Result<Vec<u8>, CompileError> {
        loop {
            match compiler.compile(&[7; 1 << 20], CodeKind::Wide) {
                // Another test's child still holds the script open for writing.
                Err(CompileError::Start { source, .. })
                    if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                result => return result,
            }
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_frame_survives_the_pipe_and_a_cut_one_does_not() {
        let framed = frame(b"code");
        assert_eq!(unframe(&framed).unwrap(), b"code");
        for len in 0..framed.len() {
            assert!(unframe(&framed[..len]).is_err());
        }
        let mut flipped = framed.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(unframe(&flipped).is_err());
    }

    #[test]
    fn what_the_compiler_says_of_a_component_reaches_the_operator() {
        let error = run("cat >/dev/null; echo bad magic >&2; exit 1", LONG).unwrap_err();
        assert!(matches!(error, CompileError::Invalid { why } if why == "bad magic"));
    }

    #[test]
    fn a_compiler_that_reads_nothing_or_says_nothing_is_an_error_and_no_hang() {
        for script in ["exit 0", "cat >/dev/null; exit 0", "echo HSTNATV1; exit 0", "exit 3"] {
            let error = run(script, LONG).unwrap_err();
            assert!(matches!(error, CompileError::Broken { .. }), "{script}: {error}");
        }
    }

    #[test]
    fn a_compiler_that_never_ends_is_ended() {
        let error = run("exec sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CompileError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_compiler_at_work_is_ended_with_the_daemon_and_none_begins_after() {
        let (dir, compiler) = shell("echo $$ >$0.begun; exec sleep 1000");
        let begun = dir.path().join("compile.begun");
        std::thread::scope(|scope| {
            let compiling = scope.spawn(|| compile(&compiler));
            while !std::fs::read_to_string(&begun).is_ok_and(|text| text.ends_with('\n')) {
                assert!(!compiling.is_finished(), "it begins");
                std::thread::yield_now();
            }
            compiler.halt.call();
            let error = compiling.join().unwrap().unwrap_err();
            assert!(matches!(error, CompileError::Halted), "{error}");
        });
        std::fs::remove_file(&begun).unwrap();
        assert!(matches!(compile(&compiler), Err(CompileError::Halted)));
        assert!(!begun.exists());
    }

    #[test]
    fn a_compiler_that_floods_is_cut_off() {
        let error = run("exec yes 2>/dev/null", LONG).unwrap_err();
        assert!(
            matches!(error, CompileError::OverLimit { .. } | CompileError::Broken { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_compiler_that_dies_of_its_limits_says_so() {
        let error = run("kill -XCPU $$", LONG).unwrap_err();
        assert!(matches!(error, CompileError::OverLimit { .. }), "{error}");
    }

    #[test]
    fn a_missing_compiler_is_named() {
        let program = "/nowhere/homeostat-compile".into();
        let compiler = Compiler { program, deadline: LONG, halt: Halt::default() };
        let error = compiler.compile(b"", CodeKind::Wide).unwrap_err();
        assert!(error.to_string().contains("/nowhere/homeostat-compile"), "{error}");
    }
}
