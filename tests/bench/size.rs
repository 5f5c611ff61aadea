//! What has to be copied to a box.

use std::fs;

use homeostat_tests::program::program;

use crate::row::Row;

const MB: f64 = 1e6;

pub fn rows() -> Vec<Row> {
    vec![
        size("homeostat").at_most(8.0).note("release, lean, stripped"),
        size("homeostat-shim").at_most(1.0),
        size("homeostat-compile"),
    ]
}

fn size(name: &str) -> Row {
    let what = format!("size of {name}");
    match fs::metadata(program(name)) {
        Ok(meta) => Row::new(what, meta.len() as f64 / MB, "MB"),
        Err(error) => Row::failed(what, "MB", error),
    }
}
