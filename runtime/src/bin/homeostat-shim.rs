//! One per running workload; started by the daemon, survives it. What it does
//! is in `workload/shim.rs`. Its arguments are for whoever reads `ps`.

use std::process::ExitCode;

fn main() -> ExitCode {
    homeostat::workload::shim::run()
}
