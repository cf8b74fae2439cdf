//! Conduit on the shared cluster: its control plane, installed once for all tests, which stays until the cluster goes, and pods that
//! several tests have.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use conduit_testbed::wait;
use serde_json::Value;

use crate::support::{SOON, Space, cluster};

/// The `conduit` of the release build, whose images the cluster has.
pub(crate) fn conduit(arguments: &[&str], input: &str) -> (String, String) {
    run(&conduit_testbed::spec::executable("conduit"), arguments, input)
}

/// A `conduit`: what it says on standard output, and on standard error.
pub(crate) fn run(program: &Path, arguments: &[&str], input: &str) -> (String, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("`cargo build --release` has made conduit");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "conduit {arguments:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// Installs the control plane, once, and waits until it is ready and the API server trusts its webhook.
pub(crate) fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let manifests = conduit(&["install"], "").0;
        cluster().apply(&manifests).unwrap();
        rolled_out();
        wait::until(SOON, injects);
    });
}

/// Whether the API server has the webhook asked, and gets an answer: tried with a pod that is not made.
pub(crate) fn injects() -> bool {
    let run = [
        "run",
        "trial",
        "--image=none",
        "--annotations=conduit.io/inject=enabled",
        "--dry-run=server",
        "-o",
        "json",
    ];
    cluster().kubectl(&run).is_ok_and(|pod| pod.contains("conduit-proxy"))
}

/// A namespace whose pods get a proxy.
pub(crate) fn meshed(name: &str) -> Space {
    // First the namespace: a test that kills components is not to meet an installation.
    let space = Space::new(name);
    installed();
    cluster().kubectl(&["annotate", "namespace", name, "conduit.io/inject=enabled"]).unwrap();
    space
}

/// A pod, as the API server has it.
pub(crate) fn pod(space: &Space, name: &str) -> Value {
    serde_json::from_str(&space.kubectl(&["get", "pod", name, "-o", "json"])).unwrap()
}

/// The names of the items of a list.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

/// A pod that does nothing, with more of its spec and metadata.
pub(crate) fn idle(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}{metadata}}}, spec: {{terminationGracePeriodSeconds: 0{spec}, containers: [
           {{name: app, image: 'localhost/tools:1', imagePullPolicy: Never, command: [sleep, '100000']}}]}}}}"
    )
}

/// A web server behind a Service, with probes of each kind.
pub(crate) const WEB: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: {
  metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: app,
    image: 'localhost/busybox:1', imagePullPolicy: Never,
    command: [sh, -c, 'mkdir /tmp/w; echo hello > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w'],
    startupProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, failureThreshold: 60},
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1},
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}}";

/// A user of the cluster, with a kubeconfig of his own.
pub(crate) struct User {
    kubeconfig: std::path::PathBuf,
    _dir: Option<tempfile::TempDir>,
}

/// How `conduit` ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl User {
    /// The administrator, who shows a client certificate.
    pub(crate) fn admin() -> Self {
        Self { kubeconfig: cluster().kubeconfig(), _dir: None }
    }

    /// A new service account of this namespace, which shows a token and has no rights yet.
    pub(crate) fn new(space: &Space, name: &str) -> Self {
        space.kubectl(&["create", "serviceaccount", name]);
        let token = space.kubectl(&["create", "token", name]);
        let view = cluster().kubectl(&["config", "view", "--raw", "-o", "json"]).unwrap();
        let mut view: Value = serde_json::from_str(&view).unwrap();
        view["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        view["contexts"][0]["context"]["namespace"] = space.name.clone().into();
        Self::with(&view)
    }

    /// Whoever this kubeconfig is of.
    pub(crate) fn with(kubeconfig: &Value) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        Self { kubeconfig: path, _dir: Some(dir) }
    }

    /// Runs `conduit` as this user.
    pub(crate) fn conduit(&self, words: &str) -> Ended {
        let mut command = cluster().command(conduit_testbed::spec::executable("conduit"));
        // A local world of whoever runs the tests is not meant.
        command.args(words.split(' ')).arg("--kubeconfig").arg(&self.kubeconfig);
        let output = command.output().expect("`cargo build --release` has made conduit");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// A namespace whose pods get a proxy, while no other test uses the cluster.
pub(crate) fn meshed_alone(name: &str) -> Space {
    let space = Space::alone(name);
    installed();
    cluster().kubectl(&["annotate", "namespace", name, "conduit.io/inject=enabled"]).unwrap();
    space
}

/// The control plane otherwise than the other tests have it; it is theirs again when this is dropped.
pub(crate) struct Otherwise;

impl Otherwise {
    /// By `conduit upgrade` with these flags and the manifests changed so.
    pub(crate) fn with(flags: &[&str], change: impl Fn(String) -> String) -> Self {
        let otherwise = Self;
        upgrade(flags, change);
        otherwise
    }
}

impl Drop for Otherwise {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        // A test that has failed already is to say why it did, and nothing else.
        let back = std::panic::catch_unwind(|| upgrade(&[], |manifests| manifests));
        assert!(failed || back.is_ok(), "the control plane is not as the other tests have it");
    }
}

/// The certificates' life where a test is to see several generations of them. A rotation of the trust anchor takes a little more than that.
const SHORT_LIFETIME: &str = "15s";

/// The manifests with certificates that live for seconds.
pub(crate) fn short_certificates(manifests: String) -> String {
    const BEFORE: &str = "            - name: CONDUIT_CONTROLLER_LOG\n";
    let lifetime = format!(
        "            - name: CONDUIT_CONTROLLER_CERTIFICATE_LIFETIME\n              value: {SHORT_LIFETIME}\n"
    );
    assert!(manifests.contains(BEFORE));
    manifests.replace(BEFORE, &(lifetime + BEFORE))
}

/// Upgrades, or installs, as `conduit upgrade` says itself that it is to be done, and waits until the new replicas serve.
pub(crate) fn upgrade(flags: &[&str], change: impl Fn(String) -> String) {
    let (manifests, said) = conduit(&[&["upgrade"], flags].concat(), "");
    let (_, command) = said.split_once("kubectl ").expect("it says how to apply the manifests");
    let words: Vec<&str> = command.lines().next().unwrap().split_whitespace().collect();
    cluster().kubectl_with_input(&words, &change(manifests)).unwrap();
    rolled_out();
    wait::until(SOON, injects);
}

/// Waits until every replica is of the Deployment's latest template and ready, and those before have ended: until then they answer too.
pub(crate) fn rolled_out() {
    let status = ["-n", "conduit", "rollout", "status", "deployment/conduit-controller", "--timeout=120s"];
    if let Err(error) = cluster().kubectl(&status) {
        let pods = cluster().kubectl(&["-n", "conduit", "describe", "pods"]).unwrap_or_default();
        let logs = cluster().kubectl(&["-n", "conduit", "logs", "deployment/conduit-controller"]);
        panic!("{error:#}\n{pods}\n{logs:?}");
    }
    let ending = ["-n", "conduit", "get", "pods", "-o", "jsonpath={.items[*].metadata.deletionTimestamp}"];
    wait::until(SOON, || cluster().kubectl(&ending).is_ok_and(|ending| ending.is_empty()));
}
