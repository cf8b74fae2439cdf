//! The plugin's place on a node: its program among the network plugins, and its entry in the network configuration that the container
//! runtime uses, which is the first by name. Each file is replaced as a whole, by a rename. Deliberately absent: any other file on the
//! node, and any memory of what was done (but which plugin was compared): each look begins anew, since others write to these folders too.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::conflist::{self, PLUGIN, Unusable};

/// What the container runtime takes for a network configuration.
const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];
/// The end of the name of a list that we make of a configuration of one plugin, `10-pods.conf`: `10-pods.conduit.conflist` comes before
/// it, so that the runtime uses it, and the other stays as it is.
const OURS: &str = ".conduit.conflist";

/// A node's folders, as this process sees them.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) conf_dir: PathBuf,
    pub(crate) bin_dir: PathBuf,
    /// The program that is to be the plugin: this one.
    pub(crate) program: PathBuf,
    /// Number, size and time of the plugin that was compared with it and was the same.
    pub(crate) compared: Cell<Option<(u64, u64, i64, i64)>>,
}

/// A change that is due.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Write(PathBuf, String),
    Delete(PathBuf),
}

impl Node {
    /// Puts program and entry in their places where they are not; says what was done.
    pub(crate) fn install(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        // The program first: a configuration that names what is not there stops every pod of the node.
        if !self.has_program()? {
            let program = fs::read(&self.program).context("reading our own program")?;
            replace(&self.plugin(), &program, 0o755)?;
            done.push(format!("installed {}", self.plugin().display()));
        }
        for change in self.changes()? {
            done.push(apply(&change)?);
        }
        Ok(done)
    }

    /// What is not as it should be.
    pub(crate) fn missing(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        if !self.has_program()? {
            missing.push(format!("{} is not this version's", self.plugin().display()));
        }
        let changes = self.changes()?;
        missing.extend(changes.iter().map(|change| match change {
            Change::Write(path, _) => format!("{} has no entry of the plugin", path.display()),
            Change::Delete(path) => format!("{} is out of date", path.display()),
        }));
        Ok(missing)
    }

    /// Takes entry and program off the node.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut unreadable = Vec::new();
        for path in self.configurations()? {
            if is_ours(&path) {
                apply(&Change::Delete(path))?;
            } else if path.extension() == Some(OsStr::new("conflist")) {
                match conflist::without_entry(&read(&path)?) {
                    Ok(Some(text)) => _ = apply(&Change::Write(path, text))?,
                    Ok(None) => {}
                    Err(reason) => unreadable.push(format!("{}: {reason}", path.display())),
                }
            }
        }
        anyhow::ensure!(
            unreadable.is_empty(),
            "the plugin stays, for these may name it: {}",
            unreadable.join("; ")
        );
        match fs::remove_file(self.plugin()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.plugin().display()))
            }
            _ => Ok(()),
        }
    }

    fn plugin(&self) -> PathBuf {
        self.bin_dir.join(PLUGIN)
    }

    fn has_program(&self) -> Result<bool> {
        let Ok(there) = fs::metadata(self.plugin()) else { return Ok(false) };
        let there = Some((there.ino(), there.size(), there.mtime(), there.mtime_nsec()));
        if self.compared.get() == there {
            return Ok(true);
        }
        let same = fs::read(&self.program).context("reading our own program")?
            == fs::read(self.plugin()).context("reading the plugin")?;
        self.compared.set(there.filter(|_| same));
        Ok(same)
    }

    /// What is to be changed so that the configuration that the runtime uses has our entry.
    fn changes(&self) -> Result<Vec<Change>> {
        let (ours, others): (Vec<_>, Vec<_>) =
            self.configurations()?.into_iter().partition(|path| is_ours(path));
        let first = others.first().with_context(|| {
            format!(
                "{} has no network configuration yet: no network plugin is installed",
                self.conf_dir.display()
            )
        });
        let due = match &first {
            Ok(first) if first.extension() == Some(OsStr::new("conflist")) => {
                let text = explain(first, conflist::with_entry(&read(first)?))?;
                text.map(|text| (first.to_path_buf(), text))
            }
            Ok(first) => {
                let text = explain(first, conflist::of_single(&read(first)?))?;
                Some((first.with_extension(&OURS[1..]), text))
            }
            Err(_) => None,
        };
        let is_due = |path: &PathBuf| due.as_ref().is_some_and(|(due, _)| due == path);
        let stale = ours.iter().filter(|path| !is_due(path)).cloned().map(Change::Delete);
        let mut changes: Vec<Change> = stale.collect();
        if changes.is_empty() {
            first?;
        }
        if let Some((path, text)) = due
            && fs::read_to_string(&path).ok().as_ref() != Some(&text)
        {
            changes.push(Change::Write(path, text));
        }
        Ok(changes)
    }

    /// The files that the runtime looks at, in its order.
    fn configurations(&self) -> Result<Vec<PathBuf>> {
        let listing = || format!("listing {}", self.conf_dir.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.conf_dir).with_context(listing)? {
            let path = entry.with_context(listing)?.path();
            if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn is_ours(path: &Path) -> bool {
    path.to_string_lossy().ends_with(OURS)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn explain<T>(path: &Path, result: Result<T, Unusable>) -> Result<T> {
    result.with_context(|| format!("{} is left as it is", path.display()))
}

fn apply(change: &Change) -> Result<String> {
    match change {
        Change::Write(path, text) => {
            // A configuration may hold a credential of another plugin's: its mode stays.
            let mode = fs::metadata(path).map_or(0o644, |file| file.permissions().mode());
            replace(path, text.as_bytes(), mode)?;
            Ok(format!("wrote {}", path.display()))
        }
        Change::Delete(path) => {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
            Ok(format!("removed {}", path.display()))
        }
    }
}

/// Writes a file by another name, which the runtime does not look at, and renames it.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.conduit-new"));
    let written = (|| {
        let mut file = File::create(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
