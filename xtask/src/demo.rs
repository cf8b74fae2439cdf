//! `cargo xtask demo`, `bench` and `soak`: build the release binaries and become `conduit demo`, `conduit-bench run` or `conduit-bench soak`.
//! They depend on cargo alone. Deliberately absent: the demo and the benchmark themselves.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, Log};

/// The binaries that are built for release.
const BINARIES: [&str; 4] = ["conduit", "conduit-proxy", "conduit-controller", "conduit-cni"];

/// The benchmark's package and binary. It is built apart, so that what it needs is not built into the proxy.
pub(crate) const BENCH: &str = "conduit-bench";

/// What is handed on.
#[derive(clap::Args)]
pub(crate) struct Passed {
    /// Arguments of `conduit demo`, `conduit-bench run`, `conduit-bench soak` or `conduit-bench pods`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

/// Builds and becomes the demo; returns only when it cannot.
pub(crate) fn run(passed: &Passed) -> Result<bool> {
    build_and_say()?;
    become_program(&command::bin_dir().join("conduit"), "demo", &passed.arguments)
}

/// Builds and becomes a verb of the benchmark's program; returns only when it cannot.
pub(crate) fn bench(verb: &str, passed: &Passed) -> Result<bool> {
    build_and_say()?;
    become_program(&build_bench()?, verb, &passed.arguments)
}

/// Builds the benchmark's program; gives its path.
pub(crate) fn build_bench() -> Result<PathBuf> {
    command::check(&mut command::cargo(&["build", "--release", "--locked", "-p", BENCH]))?;
    Ok(command::release_dir()?.join(BENCH))
}

/// Builds and links the release binaries, with the build's output in the log.
pub(crate) fn build_logged(log: &mut Log) -> Result<bool> {
    let built = log.run(&mut build(), |_| false)?;
    if built {
        link()?;
    }
    Ok(built)
}

/// What builds the release binaries: the workspace's default members.
pub(crate) fn build() -> Command {
    command::cargo(&["build", "--release", "--locked"])
}

/// Links the release binaries into [`command::bin_dir`].
fn link() -> Result<()> {
    let (from, to) = (command::release_dir()?, command::bin_dir());
    fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
    for name in BINARIES {
        let (file, link) = (from.join(name), to.join(name));
        // Whoever runs the old one keeps it: a new name is put in its place.
        let new = to.join(format!(".{name}.new"));
        _ = fs::remove_file(&new);
        fs::hard_link(&file, &new)
            .and_then(|()| fs::rename(&new, &link))
            .with_context(|| format!("cannot link {} to {}", file.display(), link.display()))?;
        // A rename onto a link to the same file leaves both names.
        _ = fs::remove_file(&new);
    }
    Ok(())
}

/// Builds and links the release binaries, after a word on how long that takes.
pub(crate) fn build_and_say() -> Result<()> {
    let (bin, list) = (command::bin_dir(), BINARIES.join(", "));
    if BINARIES.iter().all(|name| bin.join(name).exists()) {
        eprintln!("building what changed of {list} in {}", bin.display());
    } else {
        eprintln!("building {list} in {}: about 4 minutes on 2 cores when nothing is built", bin.display());
    }
    command::check(&mut build())?;
    link()
}

fn become_program(program: &Path, verb: &str, arguments: &[OsString]) -> Result<bool> {
    let mut program = Command::new(program);
    program.arg(verb).args(arguments);
    let error = program.exec();
    bail!("cannot run {}: {error}", command::shown(&program))
}
