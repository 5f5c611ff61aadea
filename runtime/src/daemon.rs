//! To come.

use crate::config::Config;

pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not part of this build")
}
