//! Clusters of the tests' own, beside the shared one: that they come up in other settings, and that nothing is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use conduit_testbed::cluster::{Cluster, Families, Options, ProxyMode};
use conduit_testbed::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::SOON;

const NAME: &str = "lifecycle";

#[test]
fn a_cluster_of_ipv6_and_iptables_comes_up_and_nothing_is_left_of_it_also_when_it_was_killed() {
    let options = Options {
        families: Families::V6,
        proxy_mode: ProxyMode::Iptables,
        name: Some(NAME.to_owned()),
        ..Options::default()
    };
    let cluster = Cluster::up(&options).unwrap_or_else(|error| panic!("{error:#}"));
    let node =
        cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].status.addresses[0].address}"]).unwrap();
    assert_eq!(node, "fd89::1");
    let dns = cluster.kubectl(&[
        "-n",
        "kube-system",
        "get",
        "service",
        "kube-dns",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]);
    let answer = cluster
        .command("curl")
        .args(["-sS", "-m", "5", &format!("http://[{}]:9153/metrics", dns.unwrap())])
        .output();
    assert!(String::from_utf8_lossy(&answer.unwrap().stdout).contains("coredns_build_info"));
    let rules = cluster.nodes()[0].command("ip6tables-save").output().unwrap();
    assert!(String::from_utf8_lossy(&rules.stdout).contains("KUBE-SERVICES"), "{rules:?}");

    // As if the machine's owner had killed it: the next one finds and removes what is left.
    let (dir, holder) = (cluster.dir().to_owned(), cluster.nodes()[0].holder());
    let mut kept = cluster;
    kept.keep();
    drop(kept);
    kill(Pid::from_raw(holder.cast_signed()), Signal::SIGKILL).unwrap();
    wait::until(SOON, || processes(&dir).is_empty());
    assert!(!cgroups().is_empty(), "a killed cluster leaves its cgroups");
    let again = Cluster::up(&options).unwrap_or_else(|error| panic!("{error:#}"));
    again.down().unwrap();

    assert!(!dir.exists());
    assert_eq!(processes(&dir), BTreeSet::new());
    assert_eq!(cgroups(), BTreeSet::new());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*dir.to_string_lossy()), "{mounts}");
}

/// Processes whose command line names the folder.
fn processes(dir: &Path) -> BTreeSet<PathBuf> {
    let text = dir.to_string_lossy().into_owned();
    let names = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&text)
    };
    entries(Path::new("/proc")).into_iter().filter(names).collect()
}

/// The cgroups of this cluster's nodes, in whatever hierarchy.
fn cgroups() -> BTreeSet<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let own = |path: &PathBuf| path.to_string_lossy().contains(&format!("conduit-{NAME}-"));
    let below = entries(root).into_iter().flat_map(|hierarchy| entries(&hierarchy));
    below.chain(entries(root)).filter(own).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
