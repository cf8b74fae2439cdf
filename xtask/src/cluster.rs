//! `cargo xtask cluster`: a Kubernetes cluster by hand and for the tests. Deliberately absent: the cluster itself, which is the testbed's and run by
//! the `xtask-cluster` crate, so that `xtask` stays light; and building its parts (`cluster_parts`).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cluster_parts::{build, cert_manager};
use crate::command::{cargo, check, shown};
use crate::demo;

/// What `cargo xtask cluster` may do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// build, up, down, status, kubectl, run, in, import, kill or start; `--help` after it says more
    verb: String,
    /// Arguments of the verb
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Does what the verb says.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.verb == "build" {
        let parts = build()?;
        println!("the cluster's parts are in {}", parts.display());
        if options.arguments.iter().any(|argument| argument == "--cert-manager") {
            println!("cert-manager is in {}", cert_manager::build()?.display());
        }
        return Ok(true);
    }
    let mut command = program()?;
    command.arg(&options.verb).args(&options.arguments);
    let needs_parts = options.verb == "up" && !options.arguments.iter().any(|argument| argument == "--help");
    if needs_parts {
        command.env("CONDUIT_CLUSTER_PARTS", build()?);
    }
    let error = command.exec();
    bail!("cannot run {}: {error}", shown(&command))
}

/// Builds the benchmark's program, and has it measure in the cluster's network.
pub(crate) fn pods(passed: &demo::Passed) -> Result<bool> {
    let bench = demo::build_bench()?;
    check(program()?.arg("run").arg(bench).arg("pods").args(&passed.arguments)).map(|()| true)
}

/// The cluster's own command, built when it is not; arguments follow.
pub(crate) fn program() -> Result<Command> {
    const PACKAGE: [&str; 4] = ["--quiet", "--locked", "-p", "xtask-cluster"];
    check(cargo(&["build"]).args(PACKAGE))?;
    let mut program = cargo(&["run"]);
    program.args(PACKAGE).arg("--");
    Ok(program)
}
