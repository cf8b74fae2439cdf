//! `cargo xtask docs`: the generated pages of docs/. The work is done by the `xtask-docs` crate, which links Conduit's
//! libraries to read their tables; this one only runs it, so that `xtask` itself stays light.

use anyhow::Result;

use crate::command;

/// Options of `cargo xtask docs`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail when a page is not what would be written
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them. Returns whether they were as they should be.
pub(crate) fn run(options: &Options) -> Result<bool> {
    Ok(generator(options.check).status()?.success())
}

/// What writes or compares the pages.
pub(crate) fn generator(check: bool) -> std::process::Command {
    let mut command = command::cargo(&["run", "--quiet", "--locked", "-p", "xtask-docs", "--"]);
    if check {
        command.arg("--check");
    }
    command
}
