//! The parts of a Kubernetes cluster: upstream's programs, built with Go from the sources that the module proxy has, and images, kept in the user's
//! cache. It depends on Go, a C compiler and Debian's packages. Deliberately absent: the cluster itself (`cluster`). What stands in this file
//! decides the programs: a change here builds them anew.

pub(crate) mod cert_manager;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command::{cargo, check, output, root, shown, tools_dir};
use crate::tools;

/// The version of Kubernetes; `go.mod` requires the same.
pub(crate) const KUBERNETES: &str = "1.35.4";

/// Where the Go module is that names and pins everything to be built.
const MODULE: &str = "crates/testbed/cluster/go";

/// What is built of it, each with the name that it gets.
const PROGRAMS: [(&str, &str); 9] = [
    ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
    ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
    ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ("go.etcd.io/etcd/server/v3", "etcd"),
    ("go.etcd.io/etcd/etcdctl/v3", "etcdctl"),
    ("./coredns", "coredns"),
];

/// What decides the programs, beside the version of Go.
const PROGRAM_SOURCES: [&str; 5] = [
    "crates/testbed/cluster/go/go.mod",
    "crates/testbed/cluster/go/go.sum",
    "crates/testbed/cluster/go/tools.go",
    "crates/testbed/cluster/go/coredns/main.go",
    "xtask/src/cluster_parts.rs",
];

/// What decides the images, beside the programs.
const IMAGE_SOURCES: [&str; 5] = [
    "xtask/images/src/main.rs",
    "xtask/images/src/files.rs",
    "xtask/images/src/image.rs",
    "xtask/images/src/servers.rs",
    "xtask/images/src/testing.rs",
];

/// How often the build of the programs says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// Builds what is not in the cache, and returns the folder with everything.
pub(crate) fn build() -> Result<PathBuf> {
    tools::cluster()?;
    let cache = cache();
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let go = output(Command::new("go").arg("version")).context("Go is needed to build Kubernetes")?;
    let programs_key = key(&go, &PROGRAM_SOURCES)?;
    let programs = cache.join(format!("programs-{programs_key}"));
    made_once(&programs, build_programs)?;
    let parts = cache.join(format!("parts-{}", key(&programs_key, &IMAGE_SOURCES)?));
    made_once(&parts, |new| {
        println!("    packing images: pause, CoreDNS, busybox, tools, load generators, nginx, MariaDB");
        std::os::unix::fs::symlink(&programs, new.join("bin"))?;
        let mut images =
            cargo(&["run", "--quiet", "--locked", "-p", "xtask-images", "--", "testing", "--bin"]);
        check(
            images
                .arg(&programs)
                .arg("--load")
                .arg(tools_dir().join("bin"))
                .arg("--out")
                .arg(new.join("images")),
        )
    })?;
    point_to(&cache.join("current"), &parts)?;
    prune(&cache, "programs-", &programs)?;
    prune(&cache, "parts-", &parts)?;
    Ok(parts)
}

/// How many versions of the programs, and of the images, the cache keeps: enough for a few branches; one has 600 MB.
const VERSIONS_MAX: usize = 3;

/// Removes the oldest versions, but never the one in use.
fn prune(cache: &Path, prefix: &str, used: &Path) -> Result<()> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let named = entry.file_name().to_string_lossy().starts_with(prefix);
        if named && entry.path() != used && entry.path().extension().is_none() {
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

/// Whether everything is in the cache.
pub(crate) fn is_built() -> bool {
    let key = output(Command::new("go").arg("version")).and_then(|go| key(&go, &PROGRAM_SOURCES));
    key.is_ok_and(|key| cache().join(format!("programs-{key}")).exists())
}

/// Where the parts are kept: as the testbed's `cluster::parts` has it.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("CONDUIT_CLUSTER_DIR") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("conduit/cluster")
}

/// A name for what comes from these files of the repository and from `other`.
fn key(other: &str, files: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(other);
    for file in files {
        let path = root().join(file);
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a folder by another name, and gives it its own when all of it is there.
fn made_once(folder: &Path, make: impl Fn(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    let made = make(&new).and_then(|()| match fs::rename(&new, folder) {
        // Somebody else was quicker; theirs is as good.
        Err(_) if folder.exists() => Ok(()),
        renamed => renamed.with_context(|| format!("cannot create {}", folder.display())),
    });
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    made
}

fn point_to(link: &Path, target: &Path) -> Result<()> {
    let new = link.with_extension(format!("new-{}", std::process::id()));
    std::os::unix::fs::symlink(target, &new).with_context(|| format!("cannot create {}", new.display()))?;
    fs::rename(&new, link).with_context(|| format!("cannot create {}", link.display()))
}

/// Builds Kubernetes, etcd and CoreDNS in one go, since they share most of what is compiled, and pause with the C compiler.
fn build_programs(folder: &Path) -> Result<()> {
    println!(
        "    building Kubernetes {KUBERNETES}, etcd and CoreDNS with Go into {}: about six minutes on 2 cores, once",
        cache().display()
    );
    let module = root().join(MODULE);
    let minor = KUBERNETES.split('.').nth(1).context("a version has a minor part")?;
    let version = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
    );
    let mut go = Command::new("go");
    go.args(["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", &flags, "-o"]);
    go.arg(format!("{}/", folder.display())).args(PROGRAMS.map(|(package, _)| package));
    go.env("CGO_ENABLED", "0").current_dir(&module);
    run_with_progress(&mut go)?;
    for (package, name) in PROGRAMS {
        // Go names a program after its package's folder, without the version.
        let built = package.trim_end_matches("/v3").rsplit('/').next().unwrap_or(package);
        if built != name {
            fs::rename(folder.join(built), folder.join(name))
                .with_context(|| format!("go has not built {name}"))?;
        }
        ensure!(folder.join(name).exists(), "go has not built {name}");
    }
    let mut list = Command::new("go");
    list.args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]).current_dir(&module);
    let sources = PathBuf::from(output(&mut list)?.trim());
    let mut cc = Command::new("cc");
    cc.args(["-Os", "-static", "-s", "-Wl,--build-id=none", "-o"]).arg(folder.join("pause"));
    check(cc.arg(sources.join("build/pause/linux/pause.c")))
}

/// Runs `go build -v`, which writes each package's name as it compiles it, and says now and then how many there were.
fn run_with_progress(go: &mut Command) -> Result<()> {
    let mut child = go.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", shown(go)))?;
    let (started, mut said, mut packages, mut rest) = (Instant::now(), Instant::now(), 0, Vec::new());
    let lines = child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines());
    for line in lines.map_while(Result::ok) {
        if line.contains(' ') && !line.starts_with("go: ") {
            eprintln!("    {line}");
            rest.push(line);
        } else {
            packages += 1;
        }
        if said.elapsed() > PROGRESS_EVERY {
            println!("    … {} s: {packages} packages compiled", started.elapsed().as_secs());
            said = Instant::now();
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {}", shown(go)))?;
    ensure!(status.success(), "{} failed ({status}): {}", shown(go), rest.join("\n"));
    println!("    compiled in {} s", started.elapsed().as_secs());
    Ok(())
}
