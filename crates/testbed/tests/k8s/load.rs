//! Load between meshed pods that goes on whatever is killed meanwhile: it runs in pods of its own and not under `kubectl exec`, which
//! dies with the API server, and its result is read from the pods' logs at the end.

use std::collections::BTreeMap;

use conduit_testbed::cluster::Families;
use conduit_testbed::wait;

use crate::mesh::pod;
use crate::replicas::{get, host, processes, signal};
use crate::support::{SOON, Space, cluster};

/// The pods: `kept` sends its requests over connections that stay, `fresh` opens one for each request.
const LOADS: [(&str, &str); 2] =
    [("kept", "-c, '4', -qps, '200'"), ("fresh", "-c, '2', -qps, '50', -keepalive=false")];
/// Requests that each of them must get answered to show that it goes on: a second's worth.
const MORE: [u64; 2] = [200, 50];

/// Two pods behind a Service. They take their time to end, as an application in production should: what ends is not the subject here.
const WEB: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {
  metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 10, containers: [{name: app, image: 'localhost/nginx:1',
    imagePullPolicy: Never, readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1},
    lifecycle: {preStop: {sleep: {seconds: 3}}}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}}";

/// fortio's flag for the addresses that it calls: by itself it knows IPv4's alone.
pub(crate) fn resolve() -> String {
    let family = if cluster().families() == Families::V6 { "ip6" } else { "ip4" };
    format!("-resolve-ip-type={family}")
}

/// Load that runs.
pub(crate) struct Load<'a> {
    space: &'a Space,
    pods: Vec<Generator>,
}

struct Generator {
    name: &'static str,
    uid: String,
    address: String,
}

impl<'a> Load<'a> {
    /// Starts the servers and the load in a namespace whose pods get proxies, and returns when it flows.
    pub(crate) fn start(space: &'a Space) -> Self {
        space.apply(WEB);
        space.available("web");
        let pods = LOADS.map(|(name, flags)| {
            space.apply(&format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{restartPolicy: Never, containers: [{{name: fortio,
                   image: 'localhost/load:1', imagePullPolicy: Never,
                   command: [fortio, load, {}, -loglevel, Warning, -t, '0', {flags}, 'http://web/']}}]}}}}",
                resolve()
            ));
            space.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
            let found = pod(space, name);
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            Generator { name, uid: text(&found["metadata"]["uid"]), address: text(&found["status"]["podIP"]) }
        });
        let load = Self { space, pods: pods.into() };
        load.goes_on();
        load
    }

    /// Waits until a second's worth of requests more was answered, as the client's proxy counts them.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let before: Vec<u64> = self.pods.iter().map(Generator::answered).collect();
        for ((generator, before), more) in self.pods.iter().zip(before).zip(MORE) {
            wait::until(SOON, || generator.answered() >= before + more);
        }
    }

    /// Ends the load: not one request failed.
    #[track_caller]
    pub(crate) fn end(self) {
        for generator in &self.pods {
            for process in processes(&generator.uid, "fortio") {
                signal(process, nix::sys::signal::Signal::SIGINT);
            }
        }
        for Generator { name, .. } in &self.pods {
            let ended =
                ["wait", "--for=jsonpath={.status.phase}=Succeeded", &format!("pod/{name}"), "--timeout=60s"];
            self.space.kubectl(&ended);
            let log = self.space.kubectl(&["logs", name, "-c", "fortio"]);
            let codes = codes(&log);
            eprintln!("{name}: {codes:?}");
            assert_eq!(codes.keys().collect::<Vec<_>>(), ["200"], "{name}: {log}");
        }
    }
}

impl Generator {
    fn answered(&self) -> u64 {
        let (_, text) = get(&format!("http://{}:4191/metrics", host(&self.address)));
        let counts = text.lines().filter(|line| {
            line.starts_with("conduit_proxy_requests_total{")
                && line.contains("direction=\"outbound\"")
                && line.contains("outcome=\"success\"")
        });
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// How many requests ended with which status (-1: with none), from fortio's last words: `Code 200 : 1234 (100.0 %)`.
fn codes(log: &str) -> BTreeMap<String, u64> {
    let mut codes = BTreeMap::new();
    for line in log.lines().filter_map(|line| line.strip_prefix("Code ")) {
        let mut words = line.split_whitespace();
        let (code, count) = (words.next().unwrap(), words.nth(1).unwrap());
        codes.insert(code.to_owned(), count.parse().unwrap());
    }
    codes
}
