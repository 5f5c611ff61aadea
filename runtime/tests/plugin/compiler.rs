//! The compiler program by itself.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use crate::guest;

fn run(argument: &str, input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_homeostat-compile"))
        .arg(argument)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may close its end before it has read everything.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

#[test]
fn it_writes_native_code_and_nothing_else() {
    let output = run("wide", &guest::detector());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"HSTNATV1"));
    assert!(output.stderr.is_empty());
}

#[test]
fn it_says_why_a_component_does_not_compile() {
    for input in [&b""[..], b"\0asm\x0d\0\x01\0garbage", &vec![0; 9 << 20]] {
        let output = run("wide", input);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn it_wants_to_know_for_what() {
    assert_eq!(run("sideways", b"").status.code(), Some(2));
}

#[test]
fn a_large_component_compiles_within_its_limits() {
    let component = guest::large(2_000);
    let output = run("narrow", &component);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Reads its limits while it waits for a component.
#[test]
fn it_is_confined_before_it_reads_a_byte() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_homeostat-compile"))
        .arg("wide")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: when this is written, it has begun to read.
    stdin.write_all(&vec![0; 1 << 20]).unwrap();
    let mut limits = String::new();
    let proc = format!("/proc/{}", child.id());
    std::fs::File::open(format!("{proc}/limits")).unwrap().read_to_string(&mut limits).unwrap();
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    drop(stdin);
    child.wait().unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max file size"), "0");
    assert_eq!(limit("Max open files"), "0");
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max cpu time"), "120");
    assert_eq!(limit("Max address space"), (512u64 << 20).to_string());
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}
