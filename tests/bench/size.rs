//! What has to be copied to a box.

use std::fs;

use anyhow::Result;
use homeostat_tests::program::program;

use crate::row::Row;

const MB: f64 = 1e6;

pub fn rows() -> Result<Vec<Row>> {
    Ok(vec![
        size("homeostat")?.at_most(8.0).note("release, lean, stripped"),
        size("homeostat-shim")?,
        size("homeostat-compile")?.note("runs at install only"),
    ])
}

fn size(name: &str) -> Result<Row> {
    let bytes = fs::metadata(program(name))?.len();
    Ok(Row::new(format!("size of {name}"), bytes as f64 / MB, "MB"))
}
