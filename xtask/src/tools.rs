//! What the tests drive and the repository does not build: Debian packages, Go load generators, cargo-deny.
//! Only what is missing is installed. Deliberately absent: anything that building or running Conduit itself needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, check, output, tools_dir};

/// Debian packages, each with a file that tells that it is there (a `*` stands for one folder).
const PACKAGES: [(&str, &str); 20] = [
    ("curl", "curl"),
    ("nginx-light", "nginx"),
    ("mariadb-server", "mariadbd"),
    ("mariadb-client", "mariadb"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("postgresql", "/usr/lib/postgresql/*/bin/postgres"),
    ("openssh-server", "sshd"),
    ("openssh-client", "ssh"),
    ("iproute2", "ip"),
    ("procps", "ps"),
    ("tcpdump", "tcpdump"),
    ("nftables", "nft"),
    ("wrk", "wrk"),
    ("nghttp2-client", "nghttp"),
    ("python3", "python3"),
    ("python3-aiosmtpd", "aiosmtpd"),
    ("python3-grpcio", "/usr/lib/python3/dist-packages/grpc/__init__.py"),
    ("python3-websockets", "/usr/lib/python3/dist-packages/websockets/__init__.py"),
    ("apache2-bin", "apache2"),
];

/// Debian packages of a Kubernetes cluster's nodes and of the images that tests run in it.
const CLUSTER_PACKAGES: [(&str, &str); 13] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iptables", "iptables"),
    ("nftables", "nft"),
    ("iproute2", "ip"),
    ("conntrack", "conntrack"),
    ("busybox-static", "busybox"),
    ("curl", "curl"),
    ("procps", "sysctl"),
    ("nginx-light", "nginx"),
    ("mariadb-server", "mariadbd"),
    ("mariadb-client", "mariadb"),
];

/// What counts instructions.
const CALLGRIND_PACKAGES: [(&str, &str); 1] = [("valgrind", "valgrind")];

/// Go programs with their pinned versions.
const GO_PROGRAMS: [(&str, &str); 5] = [
    ("helm", "helm.sh/helm/v3/cmd/helm@v3.22.0"),
    ("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"),
    ("ghz", "github.com/bojand/ghz/cmd/ghz@v0.120.0"),
    ("fortio", "fortio.org/fortio@v1.68.0"),
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
];

/// The linter of manifests, which no other stage needs.
const KUBE_SCORE: (&str, &str) = ("kube-score", "github.com/zegl/kube-score/cmd/kube-score@v1.20.0");

/// The version of cargo-deny that deny.toml is written for.
const CARGO_DENY: &str = "0.20.2";

/// Keeps Debian from starting a server only because its package is installed; removed after the installation.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs everything.
pub(crate) fn install_all() -> Result<()> {
    deny()?;
    kube_score()?;
    callgrind()?;
    end_to_end()
}

/// cargo-deny, installed when it is missing.
pub(crate) fn deny() -> Result<PathBuf> {
    let program = tools_dir().join("bin/cargo-deny");
    if !program.exists() {
        println!(
            "    installing cargo-deny {CARGO_DENY} into {} (about 4 minutes, once)",
            tools_dir().display()
        );
        let root = tools_dir();
        check(
            cargo(&["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
                .arg(root),
        )?;
    }
    Ok(program)
}

/// What the end-to-end tests drive, installed where it is missing.
pub(crate) fn end_to_end() -> Result<()> {
    packages("the end-to-end tests", &PACKAGES)?;
    programs()
}

/// What the nodes of a Kubernetes cluster need, installed where it is missing.
pub(crate) fn cluster() -> Result<()> {
    packages("a Kubernetes cluster", &CLUSTER_PACKAGES)?;
    programs()
}

/// callgrind, installed where it is missing.
pub(crate) fn callgrind() -> Result<()> {
    packages("counting instructions", &CALLGRIND_PACKAGES)
}

/// What is missing of all this, for a first word on what will be installed.
pub(crate) fn missing() -> Vec<String> {
    let all = [&PACKAGES[..], &CLUSTER_PACKAGES[..], &CALLGRIND_PACKAGES[..]].concat();
    let mut missing: Vec<String> = missing_packages(&all).into_iter().map(str::to_owned).collect();
    missing.extend(missing_programs().into_iter().map(|(name, _)| name.to_owned()));
    let apart = ["cargo-deny", KUBE_SCORE.0].into_iter();
    missing.extend(apart.filter(|name| !tools_dir().join("bin").join(name).exists()).map(str::to_owned));
    missing
}

fn packages(whose: &str, wanted: &[(&'static str, &str)]) -> Result<()> {
    let missing = missing_packages(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "Debian packages for {whose} are missing; install them as root: apt-get install {}",
            missing.join(" ")
        );
    }
    println!("    installing Debian packages: {}", missing.join(" "));
    let quiet_servers = !Path::new(POLICY).exists();
    if quiet_servers {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    }
    let installed = apt(&["update"])
        .and_then(|()| apt(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat()));
    if quiet_servers {
        fs::remove_file(POLICY)?;
    }
    installed
}

fn apt(arguments: &[&str]) -> Result<()> {
    check(Command::new("apt-get").arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn programs() -> Result<()> {
    missing_programs().into_iter().try_for_each(install_program)
}

fn install_program((name, package): (&str, &str)) -> Result<()> {
    println!("    building {name} with go install into {} (about a minute, once)", tools_dir().display());
    check(Command::new("go").args(["install", package]).env("GOBIN", tools_dir().join("bin")))
}

/// kube-score, built when it is missing.
pub(crate) fn kube_score() -> Result<PathBuf> {
    let program = tools_dir().join("bin").join(KUBE_SCORE.0);
    if !program.exists() {
        install_program(KUBE_SCORE)?;
    }
    Ok(program)
}

fn missing_packages(wanted: &[(&'static str, &str)]) -> Vec<&'static str> {
    wanted.iter().filter(|(_, sign)| !is_there(sign)).map(|(name, _)| *name).collect()
}

fn missing_programs() -> Vec<(&'static str, &'static str)> {
    GO_PROGRAMS.into_iter().filter(|(name, _)| !is_there(name)).collect()
}

/// Whether a program is on the path, or in the tools' folder, or where only root's path leads; or whether a file is there.
fn is_there(sign: &str) -> bool {
    if let Some((folder, rest)) = sign.split_once("/*/") {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        return entries.into_iter().any(|entry| entry.path().join(rest).exists());
    }
    // An absolute path stands for itself, whatever it is joined to.
    search_path().iter().any(|folder| folder.join(sign).exists())
}

/// Where programs are looked for: the path, the tools' folder, the system folders.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![tools_dir().join("bin")];
    folders.extend(std::env::split_paths(&own));
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
}
