//! `cargo xtask images`: builds the release binaries and packs them into images, without an engine. The packing is done by the `xtask-images`
//! crate, so that `xtask` itself stays light. Deliberately absent: pushing to a registry, which `skopeo` or `crane` do.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{bin_dir, cargo, check, host, root, target_dir};
use crate::demo;

/// The images, each in an archive of this name.
pub(crate) const NAMES: [&str; 3] = ["conduit-proxy", "conduit-controller", "conduit-demo"];

/// What `cargo xtask images` is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the archives go [default: target/images]
    #[arg(long)]
    out: Option<PathBuf>,
    /// What comes before the images' names
    #[arg(long, default_value = "localhost")]
    registry: String,
    /// What comes after them
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Another target, such as aarch64-unknown-linux-gnu; it needs Rust's standard library for it, and a C compiler and linker
    #[arg(long)]
    target: Option<String>,
    /// Packs the binaries of this folder instead of building them
    #[arg(long)]
    bin: Option<PathBuf>,
}

/// Builds and packs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let host = host()?;
    let target = options.target.clone().unwrap_or_else(|| host.clone());
    let bin = match &options.bin {
        Some(bin) => bin.clone(),
        None if target == host => {
            demo::build_and_say()?;
            bin_dir()
        }
        None => {
            check(&mut cross(&target))?;
            target_dir().join(&target).join("release")
        }
    };
    let out = options.out.clone().unwrap_or_else(default_folder);
    pack(&bin, &target, &out, &options.registry, &options.tag)
}

/// Where the images are when nothing else is said.
pub(crate) fn default_folder() -> PathBuf {
    target_dir().join("images")
}

/// Packs the host's release binaries as they are, for the tests.
pub(crate) fn pack_release() -> Result<()> {
    pack(&bin_dir(), &host()?, &default_folder(), "localhost", env!("CARGO_PKG_VERSION"))
}

fn pack(bin: &std::path::Path, target: &str, out: &std::path::Path, registry: &str, tag: &str) -> Result<()> {
    let mut images = cargo(&["run", "--quiet", "--locked", "-p", "xtask-images", "--", "conduit", "--root"]);
    images.arg(root()).arg("--bin").arg(bin.canonicalize().context("there are no binaries to pack")?);
    images.args(["--target", target, "--registry", registry, "--tag", tag, "--out"]).arg(out);
    check(&mut images)
}

/// What builds the release binaries for another target: static, by its own compiler and linker.
fn cross(target: &str) -> Command {
    let mut build = demo::build();
    let gcc = format!("{}-gcc", target.replace("-unknown", ""));
    let name = target.to_uppercase().replace('-', "_");
    build.args(["--target", target]).env(format!("CARGO_TARGET_{name}_LINKER"), &gcc);
    build.env(format!("CC_{}", target.replace('-', "_")), &gcc);
    build
}
