//! The chart in charts/conduit, as Helm renders it, against what the command line renders: object by object. Needs `helm` on the
//! path (`cargo xtask test` puts it there).

#![expect(clippy::unwrap_used, reason = "a test fails by a panic at its own line")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use conduit_install::{Options, render};
use serde_json::Value;

type Objects = BTreeMap<String, Value>;

fn by_name(text: &str) -> Objects {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
    };
    objects.into_iter().filter(|object| !object.is_null()).map(|object| (name(&object), object)).collect()
}

fn helm(settings: &[&str]) -> Result<String, String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/conduit");
    let mut command = Command::new("helm");
    command.args(["template", "conduit", "--kube-version", "1.35.0"]).arg(chart);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().expect("helm is on the path: `cargo xtask test` installs it");
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn check(settings: &[&str], options: &Options) {
    let (chart, ours) = (by_name(&helm(settings).unwrap()), by_name(&render(options).unwrap()));
    assert_eq!(chart.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, object) in &ours {
        assert_eq!(&chart[name], object, "{name}");
    }
}

#[test]
fn the_chart_gives_the_same_objects_as_install() {
    check(&[], &Options::default());
}

#[test]
fn the_chart_gives_the_same_objects_as_install_with_every_option() {
    let options = Options {
        ha: true,
        controller_image: "registry.example:5000/mesh/conduit-controller:2".to_owned(),
        proxy_image: "registry.example:5000/mesh/conduit-proxy:2".to_owned(),
        image_pull_policy: "Always".to_owned(),
        trust_domain: "example.org".to_owned(),
        log_level: "info,conduit_controller=debug".to_owned(),
        controller_memory: "2Gi".to_owned(),
        sidecar: "classic".to_owned(),
        cluster_networks: "10.0.0.0/8,fd00::/8".to_owned(),
        cni: true,
        cni_conf_dir: "/var/lib/cni/net.d".to_owned(),
        cni_bin_dir: "/var/lib/cni/bin".to_owned(),
        issuer_secret: "mesh-issuer".to_owned(),
        trust_bundle: "mesh-bundle".to_owned(),
    };
    let settings = [
        "ha=true",
        "controllerImage=registry.example:5000/mesh/conduit-controller:2",
        "proxyImage=registry.example:5000/mesh/conduit-proxy:2",
        "imagePullPolicy=Always",
        "trustDomain=example.org",
        "logLevel=info\\,conduit_controller=debug",
        "controllerMemory=2Gi",
        "sidecar=classic",
        "clusterNetworks=10.0.0.0/8\\,fd00::/8",
        "cni=true",
        "cniConfDir=/var/lib/cni/net.d",
        "cniBinDir=/var/lib/cni/bin",
        "issuerSecret=mesh-issuer",
        "trustBundle=mesh-bundle",
    ];
    check(&settings, &options);
}

#[test]
fn the_chart_refuses_what_install_refuses() {
    for setting in [
        "sidecar=other",
        "imagePullPolicy=Sometimes",
        "trustDomain=a\"b",
        "trustDomain=",
        "unknown=1",
        "ha=maybe",
        "cni=maybe",
        "cniConfDir=etc/cni",
        "cniBinDir=/opt/../etc",
        "issuerSecret=a\"b",
    ] {
        assert!(helm(&[setting]).is_err(), "{setting}");
    }
}
