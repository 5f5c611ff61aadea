//! What it costs, beside the ceilings it is held to (DESIGN, budgets): one
//! table, misses named, never tuned away.
//!
//! Built as it is shipped (`cargo xtask bench`). Invariant: a row that could
//! not be measured says why, and counts as a miss.

mod row;
mod size;

use std::process::ExitCode;

use row::Row;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let json = args.iter().any(|arg| arg == "--json");
    let wanted: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| *arg != "--json").collect();

    let mut all_kept = true;
    let mut rows = Vec::new();
    for measure in MEASURES {
        if !wanted.is_empty() && !wanted.iter().any(|word| measure.name.contains(word)) {
            continue;
        }
        eprintln!("measuring {} …", measure.name);
        for row in (measure.run)() {
            all_kept &= row.kept();
            if json {
                println!("{}", serde_json::to_string(&row).expect("a row serialises"));
            }
            rows.push(row);
        }
    }
    if !json {
        print!("{}", row::table(&rows));
    }
    if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Measure {
    name: &'static str,
    run: fn() -> Vec<Row>,
}

const MEASURES: &[Measure] = &[Measure { name: "size", run: size::rows }];
