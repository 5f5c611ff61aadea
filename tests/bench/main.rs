//! What it costs, beside the ceilings it is held to (DESIGN, budgets): one
//! table, misses named, never tuned away.
//!
//! Built as it is shipped (`cargo xtask bench`). Invariant: a row that could
//! not be measured says why, and counts as a miss.

mod call;
mod control;
mod copies;
mod cpu;
mod journal;
mod memory;
mod package;
mod peer;
mod repair;
mod row;
mod size;

use std::process::ExitCode;

use anyhow::Result;
use row::Row;

struct Measure {
    name: &'static str,
    run: fn() -> Result<Vec<Row>>,
}

const MEASURES: &[Measure] = &[
    Measure { name: "size", run: size::rows },
    Measure { name: "call", run: call::rows },
    Measure { name: "package", run: package::rows },
    Measure { name: "journal", run: journal::rows },
    Measure { name: "memory", run: memory::rows },
    Measure { name: "cpu", run: cpu::rows },
    Measure { name: "repair", run: repair::rows },
    Measure { name: "peer", run: peer::rows },
    Measure { name: "peer control", run: control::rows },
];

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == repair::SUCCESSOR) {
        return repair::succeed(args.get(1).map(String::as_str));
    }
    let before = args.len();
    args.retain(|arg| arg != "--json");
    let json = args.len() < before;
    let rows = measured(&args, json);
    if !json {
        print!("\n{}", row::table(&rows));
    }
    if rows.iter().all(Row::kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The measures whose name contains one of `words`, or all of them.
fn measured(words: &[String], json: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for measure in MEASURES {
        if !words.is_empty() && !words.iter().any(|word| measure.name.contains(word.as_str())) {
            continue;
        }
        eprintln!("measuring {} …", measure.name);
        let found = (measure.run)()
            .unwrap_or_else(|error| vec![Row::failed(measure.name, "", format!("{error:#}"))]);
        for row in found {
            if json {
                println!("{}", serde_json::to_string(&row).expect("a row serialises"));
            }
            rows.push(row);
        }
    }
    rows
}
