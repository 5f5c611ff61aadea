//! `homeostat plugin …`: the author's tool is a program of its own, found as git
//! finds its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::Failure;

const TOOL: &str = "homeostat-plugin";

/// Becomes it; comes back only to say why it could not.
pub(super) fn hand_over(args: &[OsString]) -> Failure {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(TOOL));
    let tool = beside.filter(|it| it.is_file()).unwrap_or_else(|| PathBuf::from(TOOL));
    let why = Command::new(&tool).args(args).exec();
    Failure::NoTool { tool: TOOL, why }
}
