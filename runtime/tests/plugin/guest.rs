//! Components from WebAssembly text.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const DETECTOR: &str = include_str!("detector.wat");
const HEALER: &str = include_str!("healer.wat");
const CONTRACT: &str = include_str!("../../../wit/homeostat.wit");

pub fn detector() -> Vec<u8> {
    component(&plain(), "detector", CONTRACT, "")
}

pub fn resumable() -> Vec<u8> {
    let posts = r#"(export "cabi_post_homeostat:plugin/checkpoint@0.1.0#save" (func $forget))
        (export "cabi_post_homeostat:plugin/checkpoint@0.1.0#restore" (func $forget))"#;
    let exports = r#"(export "homeostat:plugin/checkpoint@0.1.0#save" (func $save))
        (export "homeostat:plugin/checkpoint@0.1.0#restore" (func $restore))"#;
    let text = DETECTOR.replace("CHECKPOINT_POSTS", posts).replace("CHECKPOINT_EXPORTS", exports);
    component(&text, "detector-resumable", CONTRACT, "")
}

pub fn healer() -> Vec<u8> {
    component(HEALER, "healer", CONTRACT, "")
}

/// A detector that would like to look around.
pub fn nosy() -> Vec<u8> {
    let more = "interface clock { now: func() -> u64; }
        world nosy { include detector; import clock; }";
    let import = r#"(module (import "homeostat:plugin/clock@0.1.0" "now" (func (result i64)))"#;
    component(&plain().replacen("(module", import, 1), "nosy", CONTRACT, more)
}

/// A detector that would like to call home.
pub fn dials_out() -> Vec<u8> {
    let sockets = "package wasi:sockets@0.2.0 { interface tcp { connect: func(port: u16); } }
        world dials { include detector; import wasi:sockets/tcp@0.2.0; }";
    let import = r#"(module (import "wasi:sockets/tcp@0.2.0" "connect" (func (param i32)))"#;
    component(&plain().replacen("(module", import, 1), "dials", CONTRACT, sockets)
}

/// A detector of a contract that is almost ours: one field has another type.
pub fn mistyped() -> Vec<u8> {
    let contract = CONTRACT.replace("lost: u32", "lost: u64");
    assert_ne!(contract, CONTRACT);
    let text = plain().replace("(param $lost i32)", "(param $lost i64)");
    component(&text, "detector", &contract, "")
}

/// A detector that never comes out of its start function.
pub fn never_starts() -> Vec<u8> {
    let start = "(start $spin) (func $spin (loop $ever (br $ever)))";
    component(
        &plain().replacen("(global $heap", &format!("{start} (global $heap"), 1),
        "detector",
        CONTRACT,
        "",
    )
}

/// A detector that wants more memory than anybody gives.
pub fn greedy() -> Vec<u8> {
    component(&plain().replace("\"memory\") 2)", "\"memory\") 600)"), "detector", CONTRACT, "")
}

/// A detector of so many functions: much to compile.
pub fn large(functions: usize) -> Vec<u8> {
    let body =
        "(local.set 0 (i32.add (i32.load (local.get 0)) (i32.mul (local.get 0) (i32.const 77))))"
            .repeat(20);
    let functions: String = (0..functions)
        .map(|n| format!("(func $f{n} (param i32) (result i32) {body} (local.get 0))\n"))
        .collect();
    let text = plain().replacen("(global $heap", &format!("{functions} (global $heap"), 1);
    component(&text, "detector", CONTRACT, "")
}

fn plain() -> String {
    DETECTOR.replace("CHECKPOINT_POSTS", "").replace("CHECKPOINT_EXPORTS", "")
}

fn component(text: &str, world: &str, contract: &str, more: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the text is WebAssembly");
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("homeostat.wit", &format!("{contract}\n{more}"))
        .expect("the contract parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the module takes its metadata");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .expect("the module is of that world")
}
