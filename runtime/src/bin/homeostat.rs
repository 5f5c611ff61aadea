//! The daemon and its command line; both live in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    homeostat::cli::main(std::env::args_os())
}
