//! Every manifest that Conduit writes, held against the API server's own strict validation: no unknown field, no wrong type, nothing
//! deprecated.

use crate::mesh::{conduit, idle, installed};
use crate::replicas::anchors_file;
use crate::support::{Space, cluster};

/// What installs, in all the ways that change an object.
const INSTALLATIONS: [&[&str]; 6] = [
    &[],
    &["--ha"],
    &["--cni"],
    &["--ha", "--cni", "--cni-conf-dir", "/etc/cni/other", "--cni-bin-dir", "/opt/cni/other"],
    &["--sidecar", "classic", "--cluster-networks", "10.0.0.0/8,fd00::/8", "--image-pull-policy", "Always"],
    &["--issuer-secret", "mesh-issuer", "--trust-bundle", "mesh-bundle"],
];

/// Has the API server judge manifests without keeping them.
fn judge(manifests: &str, flags: &[&str]) -> anyhow::Result<String> {
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    cluster().kubectl_with_input(&[flags, &apply[..]].concat(), manifests)
}

#[test]
fn the_api_server_takes_every_manifest_as_it_is_strictly_and_without_a_warning() {
    let space = Space::new("manifests");
    installed();
    for flags in INSTALLATIONS {
        let (manifests, _) = conduit(&[&["install"], flags].concat(), "");
        // The namespace is not made otherwise by a dry run, and warns of the agent, which the other one takes.
        let strict: &[&str] = if flags.contains(&"--cni") { &[] } else { &["--warnings-as-errors"] };
        judge(&manifests, strict).unwrap_or_else(|error| panic!("{flags:?}: {error:#}"));
    }
    let classic = ", annotations: {conduit.io/sidecar: classic}";
    for (metadata, flag) in [("", None), ("", Some("--cni")), (classic, None), (classic, Some("--cni"))] {
        let anchors = anchors_file();
        let arguments = ["inject", "--manual", "--trust-anchors", &anchors];
        let arguments: Vec<&str> = arguments.into_iter().chain(flag).chain(["-"]).collect();
        let (pod, _) = conduit(&arguments, &idle("app", metadata, ""));
        judge(&pod, &["-n", &space.name, "--warnings-as-errors"])
            .unwrap_or_else(|error| panic!("{metadata} {flag:?}: {error:#}\n{pod}"));
    }
    // It is strict indeed.
    let (unknown, _) = conduit(&["install"], "");
    let unknown = unknown.replace("      nodeSelector:", "      nodeSelectors: {}\n      nodeSelector:");
    let error = format!("{:#}", judge(&unknown, &[]).unwrap_err());
    assert!(error.contains("unknown field \"spec.template.spec.nodeSelectors\""), "{error}");
}
