//! Keeps the authority's state in a directory: certificates and keys in PEM, each in its file, where an operator can look at
//! them or put others. Several files cannot change at one moment: a change is written down whole first, and whoever finds it
//! half done finishes it. Private keys are written so that only the owner can read them, and used only if that is so.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::material::Material;

/// A directory with the authority's state.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the directory {}", self.path.display())
    }
}

impl Directory {
    /// At this path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is there; made where there is nothing.
    ///
    /// # Errors
    /// When a file cannot be read or written, is half there, or a key is readable by others.
    pub fn load_or_make(&self, trust_domain: &str) -> Result<Material> {
        let nothing =
            [ISSUER, ISSUER_KEY, ANCHORS, ANCHOR_KEY, CHANGE].iter().all(|name| !self.file(name).exists());
        if nothing {
            fs::create_dir_all(&self.path).with_context(|| format!("making {}", self.path.display()))?;
            self.store(&Material::generate(trust_domain, SystemTime::now())?)?;
            tracing::info!(directory = %self.path.display(), "made a new trust anchor and issuer");
        }
        self.load()
    }

    /// What is there.
    ///
    /// # Errors
    /// When a file cannot be read, is half there, or a key is readable by others.
    pub fn load(&self) -> Result<Material> {
        let change = self.file(CHANGE);
        if change.exists() {
            let text = read_key(&change)?;
            let material =
                serde_json::from_str(&text).with_context(|| format!("reading {}", change.display()))?;
            self.write(&material)?;
        }
        let text = |name: &str| {
            let path = self.file(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let secret = |name: &str| {
            let path = self.file(name);
            path.exists().then(|| read_key(&path)).transpose()
        };
        let rotation = secret(ROTATION)?.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Material {
            anchors: text(ANCHORS)?,
            // It signs only issuers, but whoever can read it can make them.
            anchor_key: secret(ANCHOR_KEY)?,
            issuer: text(ISSUER)?,
            issuer_key: read_key(&self.file(ISSUER_KEY))?,
            former: self.file(FORMER).exists().then(|| text(FORMER)).transpose()?,
            rotation: rotation.with_context(|| format!("reading {}", self.file(ROTATION).display()))?,
        })
    }

    /// Replaces what is there, all of it or nothing.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn store(&self, material: &Material) -> Result<()> {
        let text = serde_json::to_vec(material).context("writing down the change")?;
        replace(&self.file(CHANGE), &text, 0o600)?;
        self.write(material)
    }

    /// Puts each part into its file; the last step takes away what says that this must be done.
    fn write(&self, material: &Material) -> Result<()> {
        let rotation = material.rotation.as_ref().map(serde_json::to_string).transpose();
        let rotation = rotation.context("writing down the rotation")?;
        for (name, text, mode) in [
            (ROTATION, rotation.as_deref(), 0o600),
            (ANCHOR_KEY, material.anchor_key.as_deref(), 0o600),
            (FORMER, material.former.as_deref(), 0o644),
        ] {
            match text {
                Some(text) => replace(&self.file(name), text.as_bytes(), mode)?,
                None => remove(&self.file(name))?,
            }
        }
        replace(&self.file(ISSUER_KEY), material.issuer_key.as_bytes(), 0o600)?;
        replace(&self.file(ISSUER), material.issuer.as_bytes(), 0o644)?;
        // Last: whoever waits for the anchor finds everything else there.
        replace(&self.file(ANCHORS), material.anchors.as_bytes(), 0o644)?;
        remove(&self.file(CHANGE))
    }
}

/// All trust anchors in force.
const ANCHORS: &str = "trust-anchor.crt";
/// The newest anchor's key.
const ANCHOR_KEY: &str = "trust-anchor.key";
/// The issuer.
const ISSUER: &str = "issuer.crt";
/// Its key.
const ISSUER_KEY: &str = "issuer.key";
/// The anchor in force as those before it have signed it.
const FORMER: &str = "trust-anchor-former.crt";
/// How far a rotation has come.
const ROTATION: &str = "rotation.json";
/// A change that is being made.
const CHANGE: &str = "change.json";

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, with this mode from its first byte on.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || -> std::io::Result<()> {
        _ = fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Reads a private key that nobody else can read.
fn read_key(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    ensure!(mode & 0o077 == 0, "{} can be read by others (mode {mode:o}): chmod 600 it", path.display());
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
