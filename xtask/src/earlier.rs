//! An earlier version of Conduit, built from this repository's history by that version's own commands: its `conduit` and its images, which the test
//! of upgrades starts from. Its sources are a git worktree under `target`, which goes again when all is built; what was built stays there, by
//! commit. It depends on git and cargo. Deliberately absent: releases that are downloaded, so that a test depends on nothing but the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{check, output, root, target_dir};

/// The tag of its images: another one than this version's, since the number may be the same. The test has it too.
const TAG: &str = "older";

/// The images that a cluster needs of it; the demo is the tests' own.
const IMAGES: [&str; 2] = ["conduit-proxy", "conduit-controller"];

/// How many versions are kept: enough to go back and forth between two; one has 40 MB.
const VERSIONS_MAX: usize = 3;

/// A version that is built.
pub(crate) struct Earlier {
    /// Where its `conduit` is.
    pub(crate) folder: PathBuf,
}

impl Earlier {
    /// Builds the revision's release binaries and images, unless that was done before.
    pub(crate) fn build(revision: &str) -> Result<Self> {
        let commit = commit(revision)?;
        let all = target_dir().join("earlier");
        let folder = all.join(&commit);
        if !folder.exists() {
            println!(
                "    building {revision} ({commit}) for the upgrade: as long as a release build of our own, once"
            );
            fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
            prune(&all)?;
            let source = all.canonicalize()?.join("source");
            remove(&source)?;
            let built = build(&commit, &source, &folder);
            remove(&source).and(built)?;
        }
        Ok(Self { folder })
    }

    /// The archives of its images.
    pub(crate) fn images(&self) -> impl Iterator<Item = PathBuf> + '_ {
        IMAGES.iter().map(|name| self.folder.join(format!("{name}.tar")))
    }
}

/// The commit that a revision names, short enough for a folder's name.
fn commit(revision: &str) -> Result<String> {
    let mut git = git(&["rev-parse", "--verify", "--short=12", "--end-of-options"]);
    let commit = output(git.arg(format!("{revision}^{{commit}}"))).with_context(|| {
        format!("{revision} is no commit that is here; a shallow clone gets them by `git fetch --unshallow --tags`")
    })?;
    Ok(commit.trim().to_owned())
}

/// Checks the commit out, builds it by its own `cargo xtask images`, and puts what came of it into the folder when it is complete.
fn build(commit: &str, source: &Path, folder: &Path) -> Result<()> {
    check(git(&["worktree", "add", "--quiet", "--force", "--detach"]).arg(source).arg(commit))?;
    let (new, target) = (source.with_file_name("new"), source.with_file_name("build"));
    // By its own toolchain too, where rustup chooses it.
    let mut images = Command::new("cargo");
    images.args(["xtask", "images", "--tag", TAG, "--out"]).arg(&new).current_dir(source);
    images.env("CARGO_TARGET_DIR", &target).env_remove("RUSTUP_TOOLCHAIN");
    check(&mut images).context(
        "the earlier version cannot be built; it has to know `cargo xtask images` and `conduit install`",
    )?;
    fs::copy(target.join("bin/conduit"), new.join("conduit"))
        .context("the earlier version has no conduit")?;
    fs::rename(&new, folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))
}

/// Takes the worktree away, also what is left of one whose build was killed.
fn remove(source: &Path) -> Result<()> {
    if source.exists() {
        fs::remove_dir_all(source).with_context(|| format!("cannot remove {}", source.display()))?;
    }
    check(&mut git(&["worktree", "prune"]))
}

/// Removes the versions that were built first, so that there is room for one more. What a killed build has left goes on where it was.
fn prune(all: &Path) -> Result<()> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        if !["source", "build", "new"].iter().any(|name| entry.file_name() == *name) {
            versions.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    versions.sort();
    let surplus = (versions.len() + 1).saturating_sub(VERSIONS_MAX);
    for (_, old) in versions.into_iter().take(surplus) {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(root());
    git
}
