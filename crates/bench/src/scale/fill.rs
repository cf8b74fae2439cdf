//! Puts the world's objects into the API server, and what else is asked of it: cluster IPs, tokens, changes. Objects that are there already stay,
//! so that one cluster can serve several measurements. It depends on kube's client for connection and credentials alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use conduit_logic::ports;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Request;
use serde_json::{Value, json};

use super::world::{ACCOUNT, OWN_NAMESPACE, World, service_name};

/// Requests at once: enough to keep the API server busy.
const REQUESTS: usize = 48;
/// Objects of one answer to a list.
const PAGE_OBJECTS: usize = 1000;

/// The API server.
#[derive(Clone)]
pub(crate) struct Api(kube::Client);

impl Api {
    /// As KUBECONFIG says.
    pub(crate) async fn connect() -> Result<Self> {
        let client = kube::Client::try_default().await;
        Ok(Self(client.context("run this in a cluster's network: `cargo xtask scale` does")?))
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let answer = self.0.request::<Value>(request.body(serde_json::to_vec(body)?)?).await;
        answer.with_context(|| format!("{method} {path}"))
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(path).body(Vec::new())?;
        self.0.request::<Value>(request).await.with_context(|| format!("GET {path}"))
    }

    /// Makes an object; one that is there already stays, and then nothing is returned.
    async fn make(&self, path: &str, object: &Value) -> Result<Option<Value>> {
        match self.send("POST", path, "application/json", object).await {
            Ok(made) => Ok(Some(made)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects behind a path.
    async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}?limit={PAGE_OBJECTS}&continue={next}")).await?;
            let Value::Array(items) = page["items"].take() else { bail!("{path} is no list") };
            all.extend(items);
            match page["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => return Ok(all),
            }
        }
    }

    /// Makes the first endpoint of a service ready, or not.
    pub(crate) async fn set_ready(&self, world: &World, service: usize, ready: bool) -> Result<()> {
        let (namespace, name) = (world.namespace(service), service_name(service));
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}-0");
        let patch = json!([{"op": "replace", "path": "/endpoints/0/conditions/ready", "value": ready}]);
        self.send("PATCH", &path, "application/json-patch+json", &patch).await.map(drop)
    }

    /// The cluster IPs of the world's services, by number.
    pub(crate) async fn cluster_ips(&self, world: &World) -> Result<Vec<IpAddr>> {
        let mut known = HashMap::new();
        for service in self.list("/api/v1/services").await? {
            let ip = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
            let name = |field: &str| service["metadata"][field].as_str().unwrap_or_default().to_owned();
            known.extend(ip.map(|ip| ((name("namespace"), name("name")), ip)));
        }
        let of = |service| known.get(&(world.namespace(service), service_name(service))).copied();
        let all: Option<Vec<IpAddr>> = (0..world.services()).map(of).collect();
        all.context("a service of the world has no cluster IP")
    }

    /// A token that is bound to a pod, for Conduit.
    async fn token(&self, namespace: &str, pod: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{ACCOUNT}/token");
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": pod});
        let spec =
            json!({"audiences": [ports::TOKEN_AUDIENCE], "expirationSeconds": 86_400, "boundObjectRef": pod});
        let answer = self.send("POST", &path, "application/json", &json!({"spec": spec})).await?;
        answer["status"]["token"].as_str().map(str::to_owned).context("the API server gave no token")
    }

    /// A token for each proxy's pod.
    pub(crate) async fn tokens(&self, world: &World) -> Result<Vec<String>> {
        let pods = (0..world.proxies()).map(|proxy| world.pod_of(proxy));
        let tokens = pods.map(|pod| async move { self.token(&pod.namespace(), &pod.name()).await });
        stream::iter(tokens).buffered(REQUESTS).try_collect().await
    }

    /// Its version.
    pub(crate) async fn version(&self) -> Result<String> {
        Ok(text(&self.get("/version").await?["gitVersion"]).to_owned())
    }

    /// The trust anchors, in PEM, as the controller publishes them.
    pub(crate) async fn trust_anchors(&self) -> Result<String> {
        let path = format!("/api/v1/namespaces/{OWN_NAMESPACE}/configmaps/conduit-trust-anchors");
        let map = self.get(&path).await?;
        map["data"]["ca.crt"].as_str().map(str::to_owned).context("there are no trust anchors yet")
    }

    /// Puts all of the world there.
    pub(crate) async fn fill(&self, world: &World) -> Result<()> {
        let sizes =
            json!({"services": world.services().to_string(), "endpoints": world.endpoints().to_string()});
        let mark = format!("/api/v1/namespaces/{OWN_NAMESPACE}/configmaps");
        if let Ok(there) = self.get(&format!("{mark}/world")).await {
            ensure!(there["data"] == sizes, "this cluster has a world of other sizes: take it down first");
            eprintln!("the objects are there already");
            return Ok(());
        }
        self.namespaces(world).await?;
        self.each("nodes", world.nodes(), |number| async move {
            let (node, status) = world.node(number);
            self.make("/api/v1/nodes", &node).await?;
            let path = format!("/api/v1/nodes/{}/status", text(&node["metadata"]["name"]));
            self.send("PATCH", &path, "application/merge-patch+json", &status).await.map(drop)
        })
        .await?;
        self.each("services", world.services(), |number| async move {
            let path = format!("/api/v1/namespaces/{}/services", world.namespace(number));
            self.make(&path, &world.service(number)).await.map(drop)
        })
        .await?;
        self.each("replica sets with their pods", world.services(), |number| self.pods(world, number))
            .await?;
        self.each("endpoint slices", world.services(), |number| async move {
            let path =
                format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", world.namespace(number));
            for slice in world.slices(number) {
                self.make(&path, &slice).await?;
            }
            Ok(())
        })
        .await?;
        let world =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "world"}, "data": sizes});
        self.make(&mark, &world).await.map(drop)
    }

    async fn namespaces(&self, world: &World) -> Result<()> {
        for namespace in world.namespaces().into_iter().chain([OWN_NAMESPACE.to_owned()]) {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            self.make("/api/v1/namespaces", &object).await?;
            let account =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
            self.make(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await?;
        }
        Ok(())
    }

    async fn pods(&self, world: &World, service: usize) -> Result<()> {
        let namespace = world.namespace(service);
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
        let owner = match self.make(&path, &world.replica_set(service)).await? {
            Some(made) => made,
            None => self.get(&format!("{path}/{}", service_name(service))).await?,
        };
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        for pod in world.pods_of(service) {
            self.make(&path, &pod.object(text(&owner["metadata"]["uid"]))).await?;
            let status = format!("{path}/{}/status", pod.name());
            self.send("PATCH", &status, "application/merge-patch+json", &pod.status()).await?;
        }
        Ok(())
    }

    /// Makes things by their number, many at once.
    async fn each<F: Future<Output = Result<()>>>(
        &self,
        what: &str,
        count: usize,
        make: impl Fn(usize) -> F,
    ) -> Result<()> {
        let begun = Instant::now();
        stream::iter((0..count).map(make)).buffer_unordered(REQUESTS).try_collect::<()>().await?;
        eprintln!("{count} {what}: {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_conflict(error: &anyhow::Error) -> bool {
    let status = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>());
    matches!(status, Some(kube::Error::Api(status)) if status.code == 409)
}
