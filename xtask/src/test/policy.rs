//! The stage `policy`: every manifest that Conduit writes, in each way of installing it, and workloads with its proxy, under the policies of
//! kube-score. A finding fails the stage, unless it is in the table of exceptions with its reason; an exception that nothing needs any
//! more fails it too. It needs no cluster; what the API server says of the same manifests is tested on one (`tests/k8s/manifests.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{Log, cargo, output, shown, target_dir};
use crate::tools;

/// What is looked at, each in its own run: the flags of `conduit install`.
const INSTALLATIONS: [&[&str]; 6] = [
    &[],
    &["--ha"],
    &["--cni"],
    &["--ha", "--cni", "--image-pull-policy", "Always"],
    &["--sidecar", "classic", "--cluster-networks", "10.0.0.0/8"],
    &["--issuer-secret", "mesh-issuer", "--trust-bundle", "mesh-bundle"],
];

/// A workload that has nothing to be found, with and without these on its pods, so that what is found is of its proxy.
const WORKLOADS: [(&str, &[&str]); 3] = [
    ("conduit.io/proxy-log-level: warn", &[]),
    ("conduit.io/proxy-log-level: warn", &["--cni"]),
    ("conduit.io/sidecar: classic", &[]),
];

/// A finding of this or less is none: kube-score's grades are 1 (critical), 5 (warning), 7 (almost) and 10.
const GOOD: u64 = 10;

/// What is found and meant to be so.
struct Exception {
    /// Of which containers, or of which objects where it is no container's.
    of: &'static [&'static str],
    /// What kube-score says.
    finding: &'static str,
    /// Why it is so.
    reason: &'static str,
}

/// All containers that are ours.
const ALL: &[&str] =
    &["conduit-controller", "conduit-cni", "conduit-proxy", "conduit-init", "conduit-validate"];
/// Those in the pods of applications.
const INJECTED: &[&str] = &["conduit-proxy", "conduit-init", "conduit-validate"];
const LOW_USER: &str = "each has a fixed user: the redirect rules know the proxy by its own, and of root's rights (init, CNI agent) those given work for no \
    other; none shares the node's files with users of the node";
const NO_STORAGE: &str = "its root is read-only; it writes its log, which the kubelet bounds, and the controller a volume with a limit";

const EXCEPTIONS: [Exception; 9] = [
    Exception {
        of: ALL,
        finding: "CPU limit is not set",
        reason: "at a limit the kernel stops a process for milliseconds, which every request would feel; annotations set one where it is wanted",
    },
    Exception {
        of: INJECTED,
        finding: "Memory limit is not set",
        reason: "what a proxy needs follows from its application's connections: conduit.io/proxy-memory-limit sets it",
    },
    Exception {
        of: ALL,
        finding: "ImagePullPolicy is not set to Always",
        reason: "a tag of ours never changes, and a pod is to start while the registry is away; --image-pull-policy sets another",
    },
    Exception { of: ALL, finding: "Ephemeral Storage request is not set", reason: NO_STORAGE },
    Exception { of: ALL, finding: "Ephemeral Storage limit is not set", reason: NO_STORAGE },
    Exception { of: ALL, finding: "The container is running with a low user ID", reason: LOW_USER },
    Exception { of: ALL, finding: "The container running with a low group ID", reason: LOW_USER },
    Exception {
        of: &["conduit-controller", "conduit-cni"],
        finding: "The pod does not have a matching egress NetworkPolicy",
        reason: "what it reaches out to (API server, proxies, DNS) has addresses that no policy can know beforehand",
    },
    Exception {
        of: &["conduit-controller"],
        finding: "Deployment few replicas",
        reason: "one replica is the default for a small cluster; --ha is three",
    },
];

/// What was found, and which exceptions were needed.
#[derive(Default)]
struct Judged {
    findings: Vec<String>,
    used: BTreeSet<usize>,
}

/// Judges everything; notes what was found.
pub(crate) fn run(log: &mut Log) -> Result<bool> {
    let linter = tools::kube_score()?;
    let mut judged = Judged::default();
    for flags in INSTALLATIONS {
        let manifests = output(&mut conduit(&[&["install"], flags].concat()))?;
        judged.judge(&score(&linter, &manifests)?, &format!("install {}", flags.join(" ")));
    }
    for (annotation, flags) in WORKLOADS {
        let manifests = with_proxy(annotation, flags)?;
        judged.judge(&score(&linter, &manifests)?, &format!("a pod with {annotation} {}", flags.join(" ")));
    }
    for (index, exception) in EXCEPTIONS.iter().enumerate() {
        if !judged.used.contains(&index) {
            judged.findings.push(format!("nothing needs the exception of `{}` any more", exception.finding));
        }
        log.note(&format!(
            "excepted: {}: {}: {}",
            exception.of.join(", "),
            exception.finding,
            exception.reason
        ))?;
    }
    judged.findings.iter().try_for_each(|finding| log.note(finding))?;
    Ok(judged.findings.is_empty())
}

impl Judged {
    /// Takes in what kube-score says of the objects of one run.
    fn judge(&mut self, objects: &Value, what: &str) {
        for object in list(objects) {
            let object_name = text(&object["object_name"]);
            let found = list(&object["checks"]).filter(|check| {
                check["skipped"] != true && check["grade"].as_u64().is_none_or(|grade| grade < GOOD)
            });
            for (policy, comment) in found.flat_map(|check| {
                list(&check["comments"]).map(move |comment| (&check["check"]["id"], comment))
            }) {
                let (container, finding) = (text(&comment["path"]), text(&comment["summary"]));
                let of = if container.is_empty() { last(object_name) } else { container };
                let is_it =
                    |exception: &Exception| exception.of.contains(&of) && exception.finding == finding;
                match EXCEPTIONS.iter().position(is_it) {
                    Some(index) => _ = self.used.insert(index),
                    None => self
                        .findings
                        .push(format!("{what}: {object_name}: {of}: {}: {finding}", text(policy))),
                }
            }
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The name in `Deployment/apps/v1/NAMESPACE/NAME`.
fn last(object: &str) -> &str {
    object.rsplit('/').next().unwrap_or(object)
}

/// `conduit`, as it is built for the tests.
fn conduit(arguments: &[&str]) -> Command {
    let mut command = cargo(&["run", "--quiet", "--locked", "-p", "conduit", "--"]);
    command.args(arguments);
    command
}

/// The workload with its proxy written in.
fn with_proxy(annotation: &str, flags: &[&str]) -> Result<String> {
    let dir = target_dir().join("xtask-policy");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let (anchors, workload) = (dir.join("anchors.pem"), dir.join("workload.yaml"));
    fs::write(&anchors, "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n")?;
    fs::write(&workload, WORKLOAD.replace("ANNOTATION", annotation))?;
    let mut inject = conduit(&["inject", "--manual", "--trust-anchors"]);
    output(inject.arg(anchors).args(flags).arg(workload))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What kube-score says of these manifests. It ends with a failure when it finds anything.
fn score(linter: &std::path::Path, manifests: &str) -> Result<Value> {
    let mut command = Command::new(linter);
    command.args(["score", "--output-format", "json", "--output-version", "v2", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(&command)))?;
    let mut stdin = child.stdin.take().context("kube-score has no standard input")?;
    let text = manifests.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let said = child.wait_with_output().context("cannot wait for kube-score")?;
    writer.join().ok();
    let judged: Value = serde_json::from_slice(&said.stdout)
        .with_context(|| format!("kube-score says: {}", String::from_utf8_lossy(&said.stderr).trim()))?;
    ensure!(judged.as_array().is_some_and(|objects| !objects.is_empty()), "kube-score has seen no object");
    Ok(judged)
}

/// An application as a policy wants it.
const WORKLOAD: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations:
        ANNOTATION
    spec:
      automountServiceAccountToken: false
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 1
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector: {matchLabels: {app: web}}
      containers:
      - name: web
        image: registry.example/web:1
        imagePullPolicy: Always
        resources:
          requests: {cpu: 10m, memory: 16Mi, ephemeral-storage: 16Mi}
          limits: {cpu: 10m, memory: 16Mi, ephemeral-storage: 16Mi}
        livenessProbe: {httpGet: {path: /live, port: 8080}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
        securityContext:
          allowPrivilegeEscalation: false
          privileged: false
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 20000
          runAsGroup: 20000
          capabilities: {drop: [ALL]}
          seccompProfile: {type: RuntimeDefault}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress: [{}]
  egress: [{}]
";
