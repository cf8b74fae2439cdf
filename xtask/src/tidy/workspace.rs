//! The rules between crates, read from cargo: what a crate is for, which way it may depend, and that none has features.
//! It depends on `cargo metadata` without its network. Deliberately absent: licences and bans, which deny.toml states.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::command::{cargo, host, output, root};

/// What the decisions may not stand on: whatever opens a socket, runs a task or asks a clock.
const NOT_IN_LOGIC: [&str; 12] = [
    "tokio", "mio", "socket2", "hyper", "h2", "tonic", "tower", "rustls", "kube", "reqwest", "nix", "tracing",
];

/// What a crate must not reach: the proxy links no Kubernetes client, and the three binaries never stand on each other.
const NEVER: [(&str, &[&str]); 6] = [
    ("conduit-logic", &NOT_IN_LOGIC),
    ("conduit-process", &["conduit-logic", "conduit-api", "conduit-tls", "conduit-redirect"]),
    ("conduit-redirect", &["conduit-logic", "conduit-api", "conduit-tls", "conduit-process", "tokio"]),
    ("conduit-proxy", &["conduit-controller", "conduit", "conduit-testbed", "kube", "openssl", "ring"]),
    ("conduit-cni", &["conduit-controller", "conduit-proxy", "conduit", "tokio", "kube", "openssl", "ring"]),
    ("conduit-controller", &["conduit-proxy", "conduit", "conduit-testbed", "openssl", "ring"]),
];

/// The findings between crates.
pub(crate) fn check() -> Result<Vec<Finding>> {
    let platform = host()?;
    let arguments =
        ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform];
    let text = output(&mut cargo(&arguments))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let crates = Crates::read(&metadata);
    let mut findings = crates.check();
    for (name, banned) in NEVER {
        let arguments = ["tree", "-p", name, "-e", "normal", "--prefix", "none", "--locked", "--offline"];
        findings.extend(check_direction(name, banned, &output(&mut cargo(&arguments))?));
    }
    Ok(findings)
}

/// The workspace as cargo sees it.
#[derive(Default)]
struct Crates {
    members: Vec<Member>,
    /// Names of the packages that a package needs when it runs or is built; keyed by name.
    needs: BTreeMap<String, BTreeSet<String>>,
}

struct Member {
    name: String,
    manifest: String,
    has_binary: bool,
    has_features: bool,
}

impl Crates {
    fn read(metadata: &Value) -> Self {
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let own: BTreeSet<String> = list(metadata, "workspace_members")
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        let mut crates = Self::default();
        let mut names = BTreeMap::new();
        for package in list(metadata, "packages") {
            names.insert(text(&package, "id"), text(&package, "name"));
            if own.contains(&text(&package, "id")) {
                crates.members.push(Member::read(&package));
            }
        }
        for node in list(&metadata["resolve"], "nodes") {
            let needs = list(&node, "deps").into_iter().filter(is_normal);
            let needs =
                needs.filter_map(|dep| names.get(&text(&dep, "pkg")).cloned()).collect::<BTreeSet<_>>();
            if let Some(name) = names.get(&text(&node, "id")) {
                crates.needs.entry(name.clone()).or_default().extend(needs);
            }
        }
        crates
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for member in &self.members {
            let users =
                self.members.iter().filter(|other| self.needs_of(&other.name).contains(&member.name)).count();
            if !member.has_binary && users < 2 {
                let advice = format!(
                    "a crate is a binary or has two users; {} has {users}: fold it into its user",
                    member.name
                );
                findings.push(Finding::new(&member.manifest, 1, "crate", advice));
            }
            if member.has_features {
                findings.push(Finding::new(
                    &member.manifest,
                    1,
                    "features",
                    "no features: one build is what is tested and shipped",
                ));
            }
        }
        findings
    }

    fn needs_of(&self, name: &str) -> BTreeSet<String> {
        self.needs.get(name).cloned().unwrap_or_default()
    }
}

/// The findings in what a crate reaches, given the names of all that is built into it.
fn check_direction(name: &str, banned: &[&str], tree: &str) -> Vec<Finding> {
    let reached: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|other| *other != name).collect();
    let found = banned.iter().filter(|other| reached.contains(**other));
    let manifest = format!("crates/{}/Cargo.toml", name.trim_start_matches("conduit-"));
    let advice = |other| {
        format!(
            "{name} must not stand on {other}; `cargo tree -p {name} -e normal -i {other}` shows the way to it"
        )
    };
    found.map(|other| Finding::new(&manifest, 1, "direction", advice(other))).collect()
}

impl Member {
    fn read(package: &Value) -> Self {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let manifest =
            manifest.strip_prefix(&*root().to_string_lossy()).unwrap_or(manifest).trim_start_matches('/');
        let targets = package["targets"].as_array().cloned().unwrap_or_default();
        let runs = |kind: &Value| kind == "bin" || kind == "test";
        Self {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            manifest: manifest.to_owned(),
            has_binary: targets
                .iter()
                .any(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(runs))),
            has_features: package["features"].as_object().is_some_and(|features| !features.is_empty()),
        }
    }
}

/// Whether a dependency is there when the crate runs, and not only for its tests or its build script.
fn is_normal(dependency: &Value) -> bool {
    dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;
