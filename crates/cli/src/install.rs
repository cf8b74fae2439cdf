//! `conduit install`, `upgrade` and `uninstall`: print manifests for kubectl. They read and change no cluster, so that what happens
//! is what was printed, and can be looked at, kept in a repository, or given to somebody with more rights.

use conduit_install::options::{REGISTRY, image_of};
use conduit_install::{Options, SELECTOR, remove, render};

use crate::args::Install;
use crate::output::{self, Failure};

/// The kinds that `kubectl apply --prune` may delete: those that some version of ours has had in the manifests.
const PRUNED: [&str; 9] = [
    "core/v1/Service",
    "core/v1/ServiceAccount",
    "core/v1/ResourceQuota",
    "apps/v1/Deployment",
    "apps/v1/DaemonSet",
    "policy/v1/PodDisruptionBudget",
    "networking.k8s.io/v1/NetworkPolicy",
    "rbac.authorization.k8s.io/v1/Role",
    "rbac.authorization.k8s.io/v1/RoleBinding",
];

/// Prints the control plane.
///
/// # Errors
/// When an option cannot be meant.
pub(crate) fn install(args: &Install) -> Result<(), Failure> {
    output::print(&manifests(args)?)
}

/// Prints the control plane, and how to apply it over another version.
///
/// # Errors
/// When an option cannot be meant.
pub(crate) fn upgrade(args: &Install) -> Result<(), Failure> {
    output::print(&manifests(args)?)?;
    let pruned: Vec<String> = PRUNED.iter().map(|kind| format!("--prune-allowlist={kind}")).collect();
    output::remark(&format!(
        "apply it with: kubectl apply --prune -l {SELECTOR} {} -f -\n\
         then restart the workloads, one after another, for proxies of this version: kubectl rollout restart",
        pruned.join(" ")
    ));
    Ok(())
}

/// Prints what `kubectl delete -f -` is to delete.
///
/// # Errors
/// When nobody reads.
pub(crate) fn uninstall() -> Result<(), Failure> {
    output::print(&remove::render())?;
    output::remark(
        "pods keep their proxies until they are restarted: take conduit.io/inject off their namespaces first",
    );
    Ok(())
}

fn manifests(args: &Install) -> Result<String, Failure> {
    let defaults = Options::default();
    let registry = args.registry.as_deref().unwrap_or(REGISTRY);
    let tag = args.tag.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let image =
        |given: &Option<String>, name: &str| given.clone().unwrap_or_else(|| image_of(registry, name, tag));
    let or = |given: &Option<String>, default: String| given.clone().unwrap_or(default);
    let options = Options {
        ha: args.ha,
        controller_image: image(&args.controller_image, "conduit-controller"),
        proxy_image: image(&args.proxy_image, "conduit-proxy"),
        image_pull_policy: or(&args.image_pull_policy, defaults.image_pull_policy),
        trust_domain: or(&args.trust_domain, defaults.trust_domain),
        log_level: or(&args.log_level, defaults.log_level),
        controller_memory: or(&args.controller_memory, defaults.controller_memory),
        sidecar: or(&args.sidecar, defaults.sidecar),
        cni: args.cni,
        cni_conf_dir: or(&args.cni_conf_dir, defaults.cni_conf_dir),
        cni_bin_dir: or(&args.cni_bin_dir, defaults.cni_bin_dir),
        cluster_networks: or(&args.cluster_networks, defaults.cluster_networks),
        issuer_secret: or(&args.issuer_secret, defaults.issuer_secret),
        trust_bundle: or(&args.trust_bundle, defaults.trust_bundle),
    };
    render(&options).map_err(|wrong| {
        Failure::usage(wrong.to_string(), "`conduit install --help` says what each option takes")
    })
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
