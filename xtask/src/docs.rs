//! `cargo xtask docs`: the generated pages of docs/. The work is done by the `xtask-docs` crate, which links Conduit's
//! libraries to read their tables; this one only runs it, so that `xtask` itself stays light.

use anyhow::Result;

use crate::command;

/// Writes the pages, or compares them when `check`. Returns whether they were as they should be.
pub(crate) fn run(check: bool) -> Result<bool> {
    Ok(generator(check).status()?.success())
}

/// What writes or compares the pages.
pub(crate) fn generator(check: bool) -> std::process::Command {
    let mut command = command::cargo(&["run", "--quiet", "--locked", "-p", "xtask-docs", "--"]);
    if check {
        command.arg("--check");
    }
    command
}
