//! cert-manager's controller for the test of Conduit's identity with it: built with Go from the sources that the module proxy has, with its
//! CustomResourceDefinitions, and kept in the user's cache. Apart from the cluster's parts, because one test needs it. Deliberately absent:
//! its webhook, its CA injector and its ACME part, which are not needed for issuers and certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{cache, key, made_once, point_to, prune, run_with_progress};
use crate::command::{output, root};

/// Where the Go module is that names and pins it.
const MODULE: &str = "crates/testbed/cluster/cert-manager";

/// What decides the program, beside the version of Go.
const SOURCES: [&str; 4] = [
    "crates/testbed/cluster/cert-manager/go.mod",
    "crates/testbed/cluster/cert-manager/go.sum",
    "crates/testbed/cluster/cert-manager/main.go",
    "xtask/src/cluster_parts/cert_manager.rs",
];

/// The definitions that a cluster needs before it starts, in their folder of the module.
const DEFINITIONS: [&str; 6] = [
    "cert-manager.io_certificates.yaml",
    "cert-manager.io_certificaterequests.yaml",
    "cert-manager.io_issuers.yaml",
    "cert-manager.io_clusterissuers.yaml",
    "acme.cert-manager.io_orders.yaml",
    "acme.cert-manager.io_challenges.yaml",
];

/// Builds it where it is not in the cache, and returns the folder with `cert-manager` and `crds.yaml`.
pub(crate) fn build() -> Result<PathBuf> {
    let cache = cache();
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let go = output(Command::new("go").arg("version")).context("Go is needed to build cert-manager")?;
    let folder = cache.join(format!("cert-manager-{}", key(&go, &SOURCES)?));
    made_once(&folder, build_into)?;
    point_to(&cache.join("current-cert-manager"), &folder)?;
    prune(&cache, "cert-manager-", &folder)?;
    Ok(folder)
}

fn build_into(folder: &Path) -> Result<()> {
    println!(
        "    building cert-manager with Go into {}: about two minutes on 2 cores, once",
        cache().display()
    );
    let module = root().join(MODULE);
    let mut go = Command::new("go");
    go.args(["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", "-s -w", "-o"]);
    go.arg(folder.join("cert-manager")).arg(".").env("CGO_ENABLED", "0").current_dir(&module);
    run_with_progress(&mut go)?;
    let mut list = Command::new("go");
    list.args(["list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager"]);
    let sources = PathBuf::from(output(list.current_dir(&module))?.trim()).join("deploy/crds");
    let mut definitions = String::new();
    for name in DEFINITIONS {
        let path = sources.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(!text.contains("{{"), "{} is a template, and no manifest", path.display());
        definitions.push_str("---\n");
        definitions.push_str(&text);
    }
    fs::write(folder.join("crds.yaml"), definitions).context("cannot write crds.yaml")
}
