//! Component on standard input, native code on standard output: see
//! `homeostat::plugin::compile`.

fn main() -> std::process::ExitCode {
    homeostat::plugin::compile::main()
}
