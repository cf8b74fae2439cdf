//! The cluster that all tests share, a namespace for each of them, and the demo application as Deployments.

use std::fmt::Write as _;
use std::process::{Child, Output};
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use conduit_testbed::cluster::Cluster;
use conduit_testbed::demo::app::{ROLES, Role};
use conduit_testbed::wait;

/// Long enough for anything that is to come soon on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// `SOON` as kubectl takes it.
const SOON_FLAG: &str = "--timeout=60s";

/// Guards the components: read by tests that need them all, written by those that kill some, for the whole of a test.
static COMPONENTS: RwLock<()> = RwLock::new(());

/// A test's own namespace, removed at its end.
pub(crate) struct Space {
    pub(crate) name: String,
    pub(crate) cluster: &'static Cluster,
    _components: Lease,
}

/// How a test has the cluster, until it ends.
#[expect(dead_code, reason = "held for its end only")]
enum Lease {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// The cluster that runs.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::running().unwrap_or_else(|error| panic!("{error:#}")))
}

impl Space {
    /// A new namespace of this name, beside others.
    pub(crate) fn new(name: &str) -> Self {
        // A test that failed has left nothing in the lock that another could trip over.
        let lease = COMPONENTS.read().unwrap_or_else(|error| error.into_inner());
        Self::with(name, Lease::Shared(lease))
    }

    /// A new namespace, while no other test uses the cluster: for one that kills components.
    pub(crate) fn alone(name: &str) -> Self {
        let lease = COMPONENTS.write().unwrap_or_else(|error| error.into_inner());
        Self::with(name, Lease::Alone(lease))
    }

    fn with(name: &str, components: Lease) -> Self {
        let space = Self { name: name.to_owned(), cluster: cluster(), _components: components };
        // What a run that was killed may have left.
        space.cluster.kubectl(&["delete", "namespace", name, "--ignore-not-found", SOON_FLAG]).unwrap();
        space.cluster.kubectl(&["create", "namespace", name]).unwrap();
        wait::until(SOON, || space.try_kubectl(&["get", "serviceaccount", "default"]).is_ok());
        space
    }

    /// kubectl in this namespace; its output.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// As [`Space::kubectl`], where a failure is to be looked at.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(&[&["-n", &self.name], arguments].concat())
    }

    /// Applies manifests in this namespace.
    #[track_caller]
    pub(crate) fn apply(&self, manifests: &str) {
        let arguments = ["-n", &self.name, "apply", "-f", "-"];
        self.cluster.kubectl_with_input(&arguments, manifests).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The output of a command in a pod's application.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> anyhow::Result<String> {
        self.try_kubectl(&[&["exec", pod, "--"], command].concat())
    }

    /// The names of the pods with this label `app`, but for those that are ending.
    pub(crate) fn pods(&self, app: &str) -> Vec<String> {
        let list = self.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", "json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let stays = |pod: &&serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
        let items = list["items"].as_array().into_iter().flatten().filter(stays);
        items.filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect()
    }

    /// Waits until a Deployment has all its pods available; what they are at if not.
    #[track_caller]
    pub(crate) fn available(&self, deployment: &str) {
        let arguments = ["rollout", "status", &format!("deployment/{deployment}"), SOON_FLAG];
        if let Err(error) = self.try_kubectl(&arguments) {
            let pods = self.kubectl(&["get", "pods", "-o", "wide"]);
            let events = self.kubectl(&["get", "events", "--sort-by=.lastTimestamp"]);
            panic!("{error:#}\n{pods}\n{events}");
        }
    }

    /// A pod of the image `tools` that does nothing, from which others are called.
    pub(crate) fn start_client(&self) {
        self.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {terminationGracePeriodSeconds: 0, containers: [
              {name: client, image: 'localhost/tools:1', imagePullPolicy: Never, command: [sleep, '100000']}]}}",
        );
        self.kubectl(&["wait", "--for=condition=Ready", "pod/client", SOON_FLAG]);
    }

    /// curl in the client, quietly and with a limit of time.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        let mut kubectl = self.cluster.kubectl_command();
        kubectl.args(["-n", &self.name, "exec", "client", "--", "/usr/bin/curl", "-sS", "-m", "10"]);
        kubectl.args(arguments).output().unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", &self.name, "--wait=false"];
        if let Err(error) = self.cluster.kubectl(&arguments) {
            eprintln!("the namespace {} stays: {error:#}", self.name);
        }
    }
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The image of the demo application.
pub(crate) const DEMO_IMAGE: &str = concat!("localhost/conduit-demo:", env!("CARGO_PKG_VERSION"));

/// The demo application: a Deployment for each role, with an account of its own, and a Service for each that listens.
pub(crate) fn demo(replicas: u32) -> String {
    demo_of(replicas, &ROLES)
}

/// Some roles of the demo application.
pub(crate) fn demo_of(replicas: u32, roles: &[Role]) -> String {
    let mut manifests = String::new();
    for role in roles {
        let name = role.name;
        let port =
            role.port.map(|(port, protocol)| (port, protocol, format!("{{name: {protocol}, port: {port}}}")));
        let (ports, probe) = match &port {
            Some((port, protocol, _)) => (
                format!("ports: [{{name: {protocol}, containerPort: {port}}}], "),
                format!("readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}, "),
            ),
            None => (String::new(), String::new()),
        };
        writeln!(
            manifests,
            "---\n{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}}}}}
---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: {replicas},
              selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{
                serviceAccountName: {name}, terminationGracePeriodSeconds: 5, containers: [{{name: app, image: '{DEMO_IMAGE}',
                  imagePullPolicy: Never, {ports}{probe}args: [{name}]}}]}}}}}}}}"
        )
        .unwrap();
        if let Some((_, _, port)) = port {
            writeln!(
                manifests,
                "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ipFamilyPolicy: PreferDualStack,
                  selector: {{app: {name}}}, ports: [{port}]}}}}"
            )
            .unwrap();
        }
    }
    manifests
}
