//! Shell completions and man pages, when a package is made.

fn main() -> std::process::ExitCode {
    homeostat::cli::docs::main(std::env::args_os())
}
