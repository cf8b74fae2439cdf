//! `cargo xtask scale`: the control plane's capacity. Builds for release, starts a cluster that is etcd and API server only, and runs
//! `conduit-bench scale` in its network. Deliberately absent: the measurement itself.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::command::{bin_dir, cargo, check, output, release_dir};
use crate::{cluster, cluster_parts, demo};

/// The name of the cluster, unless CONDUIT_CLUSTER says another.
const CLUSTER: &str = "scale";

/// What of a cluster is ended again: nothing runs in the pods, and what it would do about them is not Conduit's to measure.
const NOT_NEEDED: [&str; 4] = ["kube-scheduler", "kube-controller-manager", "kubelet:1", "kube-proxy:1"];

/// Options of `cargo xtask scale`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the cluster with its objects running, for another measurement
    #[arg(long)]
    keep: bool,
    /// Arguments of `conduit-bench scale`: --services, --endpoints, --proxies, --write docs and more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds, starts what has to be there, measures, and takes it down.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if output(std::process::Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("a Kubernetes cluster needs root: run this as root");
    }
    demo::build_and_say()?;
    check(&mut cargo(&["build", "--release", "--locked", "-p", demo::BENCH]))?;
    let runs = verb(&["status"])?.output().is_ok_and(|status| status.status.success());
    if !runs {
        check(verb(&["up"])?.env("CONDUIT_CLUSTER_PARTS", cluster_parts::build()?))?;
        NOT_NEEDED.iter().try_for_each(|component| check(&mut verb(&["kill", component])?))?;
    }
    let mut measure = verb(&["run"])?;
    measure.arg(release_dir()?.join(demo::BENCH)).arg("scale").args(&options.arguments);
    let measured = check(measure.env("CONDUIT_BIN_DIR", bin_dir()));
    if !options.keep {
        check(&mut verb(&["down"])?)?;
    }
    measured.map(|()| true)
}

fn verb(arguments: &[&str]) -> Result<std::process::Command> {
    let mut command = cluster::program()?;
    if std::env::var_os("CONDUIT_CLUSTER").is_none() {
        command.env("CONDUIT_CLUSTER", CLUSTER);
    }
    command.args(arguments);
    Ok(command)
}
