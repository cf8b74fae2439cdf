//! The controller's replicas one by one: where each runs, what it says of itself, and its process, which a test may kill as a crash does.

use std::fs;

use conduit_testbed::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::mesh::conduit;
use crate::support::{SOON, cluster};

/// A pod of the controller.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) address: String,
    uid: String,
}

/// The replicas that are ready and not about to end.
pub(crate) fn replicas() -> Vec<Replica> {
    let pods =
        ["-n", "conduit", "get", "pods", "-l", "app.kubernetes.io/name=conduit-controller", "-o", "json"];
    let list: Value = serde_json::from_str(&cluster().kubectl(&pods).unwrap()).unwrap();
    let stays = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        ready.any(|condition| condition["status"] == "True") && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let replica = |pod: &Value| Replica {
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        address: text(&pod["status"]["podIP"]),
        uid: text(&pod["metadata"]["uid"]),
    };
    list["items"].as_array().unwrap().iter().filter(stays).map(replica).collect()
}

/// The name of the pod that holds the Lease; empty when nobody does.
pub(crate) fn holder() -> String {
    let lease =
        ["-n", "conduit", "get", "lease", "conduit-controller", "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = cluster().kubectl(&lease).unwrap();
    holder.split('_').next().unwrap_or_default().to_owned()
}

impl Replica {
    /// Its process, as this machine numbers it.
    pub(crate) fn process(&self) -> Option<i32> {
        processes(&self.uid, "conduit-controller").first().copied()
    }

    /// Kills its process; the kubelet starts another in the same pod.
    pub(crate) fn kill(&self) {
        let process = self.process().expect("the replica runs");
        signal(process, Signal::SIGKILL);
        wait::until(SOON, || self.process() != Some(process));
    }

    /// What its admin port answers: status, and body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        get(&format!("http://{}:8091{path}", host(&self.address)))
    }

    /// The value of one of its metrics, named with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.admin("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// What its webhook answers about a pod of this namespace, asked as the API server does.
    pub(crate) fn review(&self, namespace: &str) -> String {
        let object = json!({"metadata": {"name": "asked"}, "spec": {"containers": [{"name": "app", "image": "none"}]}});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "1", "namespace": namespace, "object": object}});
        let to = format!("conduit-webhook.conduit.svc:443:{}:8443", host(&self.address));
        let mut curl = cluster().command("curl");
        curl.args([
            "-sS",
            "-m",
            "5",
            "--cacert",
            &anchors_file(),
            "--connect-to",
            &to,
            "-d",
            &review.to_string(),
        ]);
        let answer = curl.arg("https://conduit-webhook.conduit.svc/inject").output().unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr)
    }

    /// `conduit` against this replica: root reaches its socket through its process.
    pub(crate) fn conduit(&self, arguments: &[&str]) -> String {
        let process = self.process().expect("the replica runs");
        let socket = format!("unix:/proc/{process}/root/var/run/conduit/operator/operator.sock");
        conduit(&[&["--controller", &socket], arguments].concat(), "").0
    }
}

/// The mesh's trust anchors in a file, as whoever has no webhook gets them.
pub(crate) fn anchors_file() -> String {
    let map =
        ["-n", "conduit", "get", "configmap", "conduit-trust-anchors", "-o", "jsonpath={.data.ca\\.crt}"];
    let path = cluster().dir().join("anchors.pem");
    // Tests beside each other write it, and none is to read half of it.
    let new = cluster().dir().join(format!("anchors-{:?}.pem", std::thread::current().id()));
    fs::write(&new, cluster().kubectl(&map).unwrap()).unwrap();
    fs::rename(&new, &path).unwrap();
    path.to_string_lossy().into_owned()
}

/// What a server answers to a GET from the first node: status (0 for none), and body.
pub(crate) fn get(url: &str) -> (u16, String) {
    let answer =
        cluster().command("curl").args(["-sS", "-m", "5", "-w", "\n%{http_code}", url]).output().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or_default(), body.to_owned())
}

/// An address as it stands in a URL.
pub(crate) fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// The processes of a pod with this program, as this machine numbers them.
pub(crate) fn processes(pod_uid: &str, program: &str) -> Vec<i32> {
    let pod = format!("/pod{pod_uid}/");
    let is_it = |process: &i32| {
        let of_pod =
            fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|text| text.contains(&pod));
        let line = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        of_pod && line.split('\0').next().and_then(|path| path.rsplit('/').next()) == Some(program)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
}

/// Sends a signal to a process that may have ended by itself.
pub(crate) fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).ok();
}
