//! The crates that are linked into a binary, with what their manifests say of them. Asks cargo, without the network. Deliberately absent:
//! build scripts and procedural macros, which run on the builder's machine only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A crate, or another thing that is linked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression; empty when the manifest has none.
    pub(crate) licence: String,
    /// The SHA-256 of its archive in the registry; empty for a crate of the repository.
    pub(crate) checksum: String,
    /// Where it comes from, in the package URL syntax.
    pub(crate) purl: String,
    pub(crate) authors: Vec<String>,
    /// Where its sources are on this machine.
    pub(crate) folder: PathBuf,
    /// `name version` of what it stands on, of those that are linked.
    pub(crate) needs: BTreeSet<String>,
}

impl Component {
    /// What tells it from others.
    pub(crate) fn id(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// Everything linked into the package's binary for the target, the package itself included, sorted.
pub(crate) fn components(root: &Path, package: &str, target: &str) -> Result<Vec<Component>> {
    let tree = cargo(
        root,
        &["tree", "-p", package, "-e", "normal,no-proc-macro", "--target", target, "--prefix", "none"],
    )?;
    let mut wanted = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            wanted.insert(format!("{name} {}", version.trim_start_matches('v')));
        }
    }
    let text = cargo(root, &["metadata", "--format-version", "1", "--filter-platform", target])?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let checksums = checksums(&std::fs::read_to_string(root.join("Cargo.lock")).context("no Cargo.lock")?);
    let mut components = read(&metadata, &wanted, &checksums);
    ensure!(components.len() == wanted.len(), "cargo metadata does not know all that cargo tree names");
    components.sort();
    Ok(components)
}

fn read(metadata: &Value, wanted: &BTreeSet<String>, checksums: &BTreeMap<String, String>) -> Vec<Component> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let names: BTreeMap<String, String> = packages
        .iter()
        .map(|package| {
            (text(&package["id"]), format!("{} {}", text(&package["name"]), text(&package["version"])))
        })
        .collect();
    let mut needs = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let deps = list(&node["dependencies"]).into_iter().filter_map(|id| names.get(&text(&id)).cloned());
        let deps: BTreeSet<String> = deps.filter(|id| wanted.contains(id)).collect();
        if let Some(id) = names.get(&text(&node["id"])) {
            needs.insert(id.clone(), deps);
        }
    }
    let component = |package: &Value| {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let id = format!("{name} {version}");
        Component {
            purl: format!("pkg:cargo/{name}@{version}"),
            licence: text(&package["license"]).replace('/', " OR "),
            checksum: checksums.get(&id).cloned().unwrap_or_default(),
            authors: list(&package["authors"]).iter().map(text).collect(),
            folder: Path::new(&text(&package["manifest_path"]))
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
            needs: needs.get(&id).cloned().unwrap_or_default(),
            name,
            version,
        }
    };
    packages.iter().map(component).filter(|component| wanted.contains(&component.id())).collect()
}

/// The checksums in Cargo.lock, by `name version`.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned)
    };
    let mut all = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let find = |key: &str| package.lines().find_map(|line| value(line, key));
        if let (Some(name), Some(version), Some(checksum)) = (find("name"), find("version"), find("checksum"))
        {
            all.insert(format!("{name} {version}"), checksum);
        }
    }
    all
}

/// What the linker adds to every static binary: Rust's standard library, and the C library of the machine that builds.
pub(crate) fn of_the_toolchain(root: &Path) -> Result<Vec<Component>> {
    let rustc = |arguments: &[&str]| run(Command::new("rustc").args(arguments).current_dir(root));
    let version = rustc(&["--version"])?.split(' ').nth(1).context("rustc names no version")?.to_owned();
    let documentation = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("share/doc/rust/licenses");
    let glibc = run(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let glibc = glibc.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let package = run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libc6-dev"]));
    Ok(vec![
        Component {
            name: "rust-std".to_owned(),
            purl: format!("pkg:github/rust-lang/rust@{version}"),
            version,
            licence: "MIT OR Apache-2.0".to_owned(),
            folder: documentation,
            ..Component::default()
        },
        Component {
            name: "glibc".to_owned(),
            purl: match package {
                Ok(version) => format!("pkg:deb/debian/glibc@{}", version.trim()),
                Err(_) => format!("pkg:generic/glibc@{glibc}"),
            },
            version: glibc,
            licence: "LGPL-2.1-or-later".to_owned(),
            folder: "/usr/share/doc/libc6".into(),
            ..Component::default()
        },
    ])
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(arguments).args(["--locked", "--offline"]).current_dir(root))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[path = "linked_tests.rs"]
mod tests;
