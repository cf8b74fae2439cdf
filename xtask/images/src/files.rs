//! The files of an image, and the one layer that they make: the same files give the same bytes, whoever packs them and when. Depends on `tar`
//! and `flate2`. Deliberately absent: several layers; an image of one static program has nothing to share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// What is at a path of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder { mode: u32 },
    File { bytes: Vec<u8>, mode: u32 },
    Link { target: String },
}

/// Files by their path in the image, without the first `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    entries: BTreeMap<String, Entry>,
}

impl Files {
    /// Adds a file with these bytes; readable by all.
    pub(crate) fn add_text(&mut self, path: &str, text: impl Into<Vec<u8>>) {
        self.add(path, Entry::File { bytes: text.into(), mode: 0o644 });
    }

    /// Adds a file of this machine; it keeps its right to be executed.
    pub(crate) fn add_file(&mut self, path: &str, source: &Path) -> Result<()> {
        let read = || -> io::Result<Entry> {
            let mode = fs::metadata(source)?.permissions().mode();
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            Ok(Entry::File { bytes: fs::read(source)?, mode })
        };
        self.add(path, read().with_context(|| format!("cannot read {}", source.display()))?);
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn add_link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link { target: target.to_owned() });
    }

    /// Adds an empty folder that everybody may write into, as /tmp is.
    pub(crate) fn add_shared_folder(&mut self, path: &str) {
        self.add(path, Entry::Folder { mode: 0o1777 });
    }

    /// Adds a folder of this machine with everything in it, and nothing that is neither a file nor a folder.
    pub(crate) fn add_folder(&mut self, path: &str, source: &Path) -> Result<()> {
        let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
        for entry in entries {
            let entry = entry?;
            let (inside, from) = (format!("{path}/{}", entry.file_name().to_string_lossy()), entry.path());
            match entry.file_type()? {
                kind if kind.is_dir() => self.add_folder(&inside, &from)?,
                kind if kind.is_file() => self.add_file(&inside, &from)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a program or a shared object of this machine at its own path, with the libraries that the loader would load.
    pub(crate) fn add_program(&mut self, program: &Path) -> Result<()> {
        self.add_file(&program.to_string_lossy(), program)?;
        self.add_libraries(program)
    }

    /// Adds the libraries that the loader would load for a program of this machine, at their own paths.
    pub(crate) fn add_libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries(program)? {
            if !self.entries.contains_key(clean(&library.to_string_lossy())) {
                self.add_file(&library.to_string_lossy(), &library)?;
            }
        }
        Ok(())
    }

    /// Adds a folder of shared objects, such as plugins, with the libraries that they load.
    pub(crate) fn add_plugins(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_file() {
                self.add_program(&path)?;
            }
        }
        Ok(())
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |entry: &Entry| if let Entry::File { bytes, .. } = entry { bytes.len() as u64 } else { 0 };
        self.entries.values().map(size).sum()
    }

    /// The layer, uncompressed (the diff of the OCI image format, "layer.md"): entries sorted, owned by root, of the year 1970.
    pub(crate) fn layer(&self) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, entry) in self.with_parents() {
            let mut header = Header::new_ustar();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match &entry {
                Entry::Folder { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_size(0);
                    builder.append_data(&mut header, format!("{path}/"), io::empty())
                }
                Entry::File { bytes, mode } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, &path, bytes.as_slice())
                }
                Entry::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    builder.append_link(&mut header, &path, target)
                }
            }
            .with_context(|| format!("cannot pack {path}"))?;
        }
        builder.into_inner().context("cannot end the layer")
    }

    fn with_parents(&self) -> BTreeMap<String, Entry> {
        let mut all = self.entries.clone();
        for path in self.entries.keys() {
            let mut folder = path.as_str();
            while let Some((parent, _)) = folder.rsplit_once('/') {
                all.entry(parent.to_owned()).or_insert(Entry::Folder { mode: 0o755 });
                folder = parent;
            }
        }
        all
    }

    fn add(&mut self, path: &str, entry: Entry) {
        self.entries.insert(clean(path).to_owned(), entry);
    }
}

fn clean(path: &str) -> &str {
    path.trim_matches('/')
}

/// gzip (RFC 1952) with neither name nor time in its header.
pub(crate) fn compressed(bytes: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(level));
    encoder.write_all(bytes)?;
    encoder.finish().context("cannot compress a layer")
}

/// What `ldd` names; nothing for a static program.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("not found") {
        bail!("a library of {} is missing: {text}", program.display());
    }
    let paths = text
        .lines()
        .filter_map(|line| line.split_whitespace().rfind(|word| word.starts_with('/')).map(PathBuf::from));
    Ok(paths.collect())
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
