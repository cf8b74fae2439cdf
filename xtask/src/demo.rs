//! `cargo xtask demo`: builds the release binaries and becomes `conduit demo`. It depends on cargo alone.
//! Deliberately absent: the demo itself, which is part of the product.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// The binaries that make the mesh on one machine.
pub(crate) const BINARIES: [&str; 3] = ["conduit", "conduit-proxy", "conduit-controller"];

/// Builds and runs the demo; returns only when it cannot.
pub(crate) fn run(arguments: &[OsString]) -> Result<bool> {
    let release = command::target_dir().join("release");
    if BINARIES.iter().all(|name| release.join(name).exists()) {
        println!("building what changed of {} in {}", BINARIES.join(", "), release.display());
    } else {
        println!(
            "building {} in {}: about 4 minutes on 2 cores when nothing is built",
            BINARIES.join(", "),
            release.display()
        );
    }
    command::check(&mut build())?;
    let mut demo = Command::new(release.join("conduit"));
    demo.arg("demo").args(arguments);
    let error = demo.exec();
    bail!("cannot run {}: {error}", command::shown(&demo))
}

/// What builds the release binaries.
pub(crate) fn build() -> Command {
    let mut arguments = vec!["build", "--release", "--locked"];
    for name in BINARIES {
        arguments.extend(["--bin", name]);
    }
    command::cargo(&arguments)
}
