//! Load between meshed pods that goes on whatever is killed meanwhile: it runs in pods of its own and not under `kubectl exec`, which
//! dies with the API server, and its result is read from the pods' logs at the end.

use std::collections::BTreeMap;

use conduit_testbed::cluster::Families;
use conduit_testbed::wait;
use serde_json::{Value, json};

use crate::mesh::pod;
use crate::replicas::{get, host, processes, signal};
use crate::support::{SOON, Space, cluster};

/// What the requests of a pod are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1.1 over connections that stay.
    Kept,
    /// HTTP/1.1 over a connection for each.
    Fresh,
    /// Bytes that are not looked at, in a connection for each request.
    Tcp,
    /// gRPC, at the demo's prices.
    Grpc,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Fresh => "fresh",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
        }
    }

    fn program(self) -> &'static str {
        if self == Self::Grpc { "ghz" } else { "fortio" }
    }

    /// How it says that a request went well.
    fn well(self) -> &'static str {
        if self == Self::Grpc { "OK" } else { "200" }
    }

    fn per_second(self) -> u64 {
        match self {
            Self::Kept => 200,
            Self::Fresh | Self::Grpc => 50,
            Self::Tcp => 25,
        }
    }

    /// The program and its arguments, until it is interrupted.
    fn command(self) -> Vec<String> {
        let rate = self.per_second();
        let line = match self {
            Self::Kept => format!("-c 4 -qps {rate} http://web/"),
            Self::Fresh => format!("-c 2 -qps {rate} -keepalive=false http://web/"),
            Self::Tcp => format!("-c 1 -qps {rate} -keepalive=false http://web:81/"),
            Self::Grpc => format!(
                "ghz --insecure --proto /proto/demo.proto --call conduit.demo.v1.Prices.Watch -d {{\"id\":1,\"quotes\":1}}
                 -r {rate} -c 8 --connections=2 -z 1h --duration-stop=wait shop:9002"
            ),
        };
        let line = match self {
            Self::Grpc => line,
            _ => format!("fortio load {} -loglevel Warning -t 0 {line}", resolve()),
        };
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The pod, with these annotations.
    fn pod(self, name: &str, annotations: &Value) -> Value {
        let mut container = json!({"name": "load", "image": "localhost/load:1", "imagePullPolicy": "Never",
            "command": self.command()});
        let mut spec = json!({"restartPolicy": "Never"});
        if self == Self::Grpc {
            container["volumeMounts"] = json!([{"name": "proto", "mountPath": "/proto"}]);
            spec["volumes"] = json!([{"name": "proto", "configMap": {"name": "proto"}}]);
        }
        spec["containers"] = json!([container]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}, "spec": spec})
    }
}

/// Two pods behind a Service. They take their time to end, as an application in production should: what ends is not the subject here.
pub(crate) const WEB: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {
  metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 10, containers: [{name: app, image: 'localhost/nginx:1',
    imagePullPolicy: Never, readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1},
    lifecycle: {preStop: {sleep: {seconds: 3}}}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [
  {name: http, port: 80, targetPort: 8080}, {name: tcp, port: 81, targetPort: 8080}]}}";

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
    name: String,
    kind: Kind,
    uid: String,
    address: String,
}

impl<'a> Load<'a> {
    /// Starts the servers and the load in a namespace whose pods get proxies, and returns when it flows.
    pub(crate) fn start(space: &'a Space) -> Self {
        space.apply(WEB);
        space.available("web");
        Self::of(space, "load", &[Kind::Kept, Kind::Fresh], &json!({}))
    }

    /// Starts load of these kinds, in pods whose names begin so and that have these annotations. The servers are there already: `web`, and `shop`
    /// for gRPC.
    pub(crate) fn of(space: &'a Space, prefix: &str, kinds: &[Kind], annotations: &Value) -> Self {
        let name = |kind: Kind| format!("{prefix}-{}", kind.name());
        for kind in kinds {
            space.apply(&kind.pod(&name(*kind), annotations).to_string());
        }
        let pods = kinds.iter().map(|kind| {
            let name = name(*kind);
            space.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
            let found = pod(space, &name);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (uid, address) = (text(&found["metadata"]["uid"]), text(&found["status"]["podIP"]));
            Generator { name, kind: *kind, uid, address }
        });
        let load = Self { space, pods: pods.collect() };
        load.goes_on();
        load
    }

    /// Waits until a second's worth of requests more was answered, as the client's proxy counts them.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let before: Vec<u64> = self.pods.iter().map(Generator::answered).collect();
        for (generator, before) in self.pods.iter().zip(before) {
            wait::until(SOON, || generator.answered() >= before + generator.kind.per_second());
        }
    }

    /// Ends the load: not one request failed.
    #[track_caller]
    pub(crate) fn end(self) {
        for generator in &self.pods {
            for process in processes(&generator.uid, generator.kind.program()) {
                signal(process, nix::sys::signal::Signal::SIGINT);
            }
        }
        for Generator { name, kind, .. } in &self.pods {
            let ended =
                ["wait", "--for=jsonpath={.status.phase}=Succeeded", &format!("pod/{name}"), "--timeout=60s"];
            self.space.kubectl(&ended);
            let log = self.space.kubectl(&["logs", name, "-c", "load"]);
            let codes = codes(&log);
            eprintln!("{name}: {codes:?}");
            assert_eq!(codes.keys().collect::<Vec<_>>(), [kind.well()], "{name}: {log}");
        }
    }
}

impl Generator {
    /// Requests, and connections that were not looked into, that ended well and were secured.
    fn answered(&self) -> u64 {
        let (_, text) = get(&format!("http://{}:4191/metrics", host(&self.address)));
        let counts = text.lines().filter(|line| {
            let kinds = ["conduit_proxy_requests_total{", "conduit_proxy_tcp_connections_closed_total{"];
            let labels = ["direction=\"outbound\"", "outcome=\"success\"", "tls=\"true\""];
            kinds.iter().any(|kind| line.starts_with(kind)) && labels.iter().all(|label| line.contains(label))
        });
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// How many requests ended with which status (-1: with none), from a generator's last words: fortio's `Code 200 : 1234 (100.0 %)`, and
/// ghz' `[OK]   1234 responses`.
fn codes(log: &str) -> BTreeMap<String, u64> {
    let mut codes = BTreeMap::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (code, count) = match words[..] {
            ["Code", code, ":", count, ..] => (code, count),
            [code, count, "responses"] => (code.trim_matches(['[', ']']), count),
            _ => continue,
        };
        codes.insert(code.to_owned(), count.parse().unwrap());
    }
    codes
}
