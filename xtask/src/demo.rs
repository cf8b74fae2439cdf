//! `cargo xtask demo` and `cargo xtask bench`: build the release binaries and become `conduit demo` or `conduit-bench run`.
//! They depend on cargo alone. Deliberately absent: the demo and the benchmark themselves.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// The binaries that make the mesh on one machine.
const BINARIES: [&str; 3] = ["conduit", "conduit-proxy", "conduit-controller"];

/// The benchmark's package and binary. It is built apart, so that what it needs is not built into the proxy.
const BENCH: &str = "conduit-bench";

/// Builds and becomes the demo; returns only when it cannot.
pub(crate) fn run(arguments: &[OsString]) -> Result<bool> {
    build_and_say()?;
    become_program("conduit", "demo", arguments)
}

/// Builds and becomes the benchmark; returns only when it cannot.
pub(crate) fn bench(arguments: &[OsString]) -> Result<bool> {
    build_and_say()?;
    command::check(&mut command::cargo(&["build", "--release", "--locked", "-p", BENCH]))?;
    become_program(BENCH, "run", arguments)
}

/// What builds the release binaries: the workspace's default members.
pub(crate) fn build() -> Command {
    command::cargo(&["build", "--release", "--locked"])
}

fn build_and_say() -> Result<()> {
    let (release, list) = (command::target_dir().join("release"), BINARIES.join(", "));
    if BINARIES.iter().all(|name| release.join(name).exists()) {
        eprintln!("building what changed of {list} in {}", release.display());
    } else {
        eprintln!(
            "building {list} in {}: about 4 minutes on 2 cores when nothing is built",
            release.display()
        );
    }
    command::check(&mut build())
}

fn become_program(name: &str, verb: &str, arguments: &[OsString]) -> Result<bool> {
    let mut program = Command::new(command::target_dir().join("release").join(name));
    program.arg(verb).args(arguments);
    let error = program.exec();
    bail!("cannot run {}: {error}", command::shown(&program))
}
