//! What the API server knows of an installed mesh: whether the controller runs, whether the webhook works, and which pods have no
//! proxy though they should. The facts are asked with the caller's rights; the checks are pure functions of them. What the controller
//! itself knows (certificates, proxies, versions) is looked at after this, in `list`.

use conduit_inject::decide::decide;
use conduit_inject::names;
use conduit_logic::ports;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{Api, Client};
use serde_json::Value;

use super::api::{self, Common, Seen, Server, Unseen};
use super::{Check, Verdict, listed};
use crate::cluster::Cluster;
use crate::output::Failure;

/// Where the pod is tried: every cluster has this namespace.
const TRIAL_NAMESPACE: &str = "default";
/// The Deployment's name, and its service account's.
const CONTROLLER: &str = ports::CONTROLLER_SERVICE_ACCOUNT;
/// The DaemonSet of the CNI plugin's agents.
const AGENT: &str = "conduit-cni";
/// The webhook's configuration.
const WEBHOOK: &str = "conduit-injector";

/// What is known of the cluster.
pub(super) struct Facts {
    /// The API server; what it said, where it cannot be reached.
    pub server: Result<Server, String>,
    /// The controller's replicas; `None` without a Deployment.
    pub controller: Seen<Option<Controller>>,
    /// The agents of the CNI plugin: wanted, one on each node, and ready; `None` without a DaemonSet.
    pub agents: Seen<Option<(i32, i32)>>,
    /// The CA bundle of each webhook; `None` without a configuration.
    pub bundles: Seen<Option<Vec<String>>>,
    /// The trust anchors that the controller publishes.
    pub anchors: Seen<Option<String>>,
    /// Whether a pod that asks for a proxy gets one.
    pub injects: Seen<bool>,
    /// Every namespace.
    pub namespaces: Seen<Vec<Namespace>>,
    /// Every pod.
    pub pods: Seen<Vec<Value>>,
}

/// The controller's Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Controller {
    pub wanted: i32,
    pub ready: i32,
    /// It leaves pods' redirect rules to the CNI plugin.
    pub cni: bool,
}

impl Common for Facts {
    fn server(&self) -> &Result<Server, String> {
        &self.server
    }

    fn namespaces(&self) -> &Seen<Vec<Namespace>> {
        &self.namespaces
    }

    fn pods_write_rules(&self) -> bool {
        !matches!(self.controller, Ok(Some(Controller { cni: true, .. })))
    }
}

impl Facts {
    /// Asks.
    pub(super) async fn gather(cluster: &Cluster) -> Self {
        match Box::pin(Self::ask_all(cluster)).await {
            Ok(facts) => facts,
            Err(failure) => {
                let unseen = || Unseen { why: "not asked".to_owned(), forbidden: true };
                Self {
                    server: Err(failure.what()),
                    controller: Err(unseen()),
                    agents: Err(unseen()),
                    bundles: Err(unseen()),
                    anchors: Err(unseen()),
                    injects: Err(unseen()),
                    namespaces: Err(unseen()),
                    pods: Err(unseen()),
                }
            }
        }
    }

    async fn ask_all(cluster: &Cluster) -> Result<Self, Failure> {
        let client = cluster.client()?;
        let server = api::server(cluster, &client).await?;
        let trial = api::admit(&client, TRIAL_NAMESPACE, api::trial_pod()).await;
        Ok(Self {
            server: Ok(server),
            controller: controller(&client).await,
            agents: agents(&client).await,
            bundles: bundles(&client).await,
            anchors: anchors(&client).await,
            injects: trial.map(|pod| conduit_inject::decide::has_proxy(&pod["spec"])),
            namespaces: api::namespaces(&client).await,
            pods: api::pods(&client).await.map(|pods| pods.iter().map(value).collect()),
        })
    }
}

/// A pod as `conduit-inject` reads it.
fn value(pod: &Pod) -> Value {
    serde_json::to_value(pod).unwrap_or_default()
}

async fn controller(client: &Client) -> Seen<Option<Controller>> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
    let Some(found) = api.get_opt(CONTROLLER).await? else { return Ok(None) };
    let spec = found.spec.unwrap_or_default();
    let containers = spec.template.spec.map(|spec| spec.containers).unwrap_or_default();
    let cni = containers.iter().flat_map(|container| container.env.iter().flatten()).any(|variable| {
        variable.name == "CONDUIT_CONTROLLER_PROXY_REDIRECTION" && variable.value.as_deref() == Some("cni")
    });
    let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0);
    Ok(Some(Controller { wanted: spec.replicas.unwrap_or(1), ready, cni }))
}

async fn agents(client: &Client) -> Seen<Option<(i32, i32)>> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
    let status = api.get_opt(AGENT).await?.map(|found| found.status.unwrap_or_default());
    Ok(status.map(|status| (status.desired_number_scheduled, status.number_ready)))
}

async fn bundles(client: &Client) -> Seen<Option<Vec<String>>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let Some(found) = api.get_opt(WEBHOOK).await? else { return Ok(None) };
    let bundle = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let webhooks = found.webhooks.unwrap_or_default().into_iter();
    Ok(Some(
        webhooks
            .map(|webhook| webhook.client_config.ca_bundle.map_or(String::new(), |b| bundle(b.0)))
            .collect(),
    ))
}

async fn anchors(client: &Client) -> Seen<Option<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
    let found = api.get_opt("conduit-trust-anchors").await?;
    Ok(found.and_then(|map| map.data).and_then(|mut data| data.remove("ca.crt")))
}

/// Every check, in the order in which it is looked.
pub(super) const CHECKS: [Check<Facts>; 9] = [
    api::reachable("all that follows is asked of it"),
    api::clock_agrees(),
    Check {
        id: "controller-ready",
        title: "every replica of the controller is ready",
        why: "without one new pods get no proxy and no certificate, and changes of endpoints do not reach the proxies",
        hint: "`kubectl describe pods -n conduit` and `kubectl logs -n conduit deploy/conduit-controller` say why; not installed: `conduit install | kubectl apply -f -`; scaled down: `kubectl scale -n conduit deploy/conduit-controller --replicas=1`",
        fatal: false,
        run: controller_ready,
    },
    Check {
        id: "cni-ready",
        title: "the agent of the CNI plugin is ready on every node",
        why: "on a node without it pods that the plugin has missed wait for their redirect rules, and do not start",
        hint: "`kubectl get pods -n conduit -o wide -l app.kubernetes.io/name=conduit-cni` and their logs say why; gone: `conduit install --cni | kubectl apply -f -`",
        fatal: false,
        run: agents_ready,
    },
    Check {
        id: "webhook-trusted",
        title: "the API server trusts the webhook",
        why: "a webhook that is not trusted is not asked, and new pods get no proxy",
        hint: "the controller writes the bundle by itself within seconds: see its log, and what else changes the MutatingWebhookConfiguration conduit-injector",
        fatal: false,
        run: webhook_trusted,
    },
    Check {
        id: "webhook-injects",
        title: "a pod that asks for a proxy gets one (tried in the namespace default)",
        why: "pods that are made now have no proxy: they speak in plain text",
        hint: "see that a controller is ready, and that the API server reaches its pods' port 8443 (firewalls, NetworkPolicies)",
        fatal: false,
        run: |facts| match &facts.injects {
            Ok(true) => Verdict::Ok(String::new()),
            Ok(false) => Verdict::Fail("it gets none".to_owned()),
            Err(unseen) => unseen.verdict(),
        },
    },
    Check {
        id: "pods-meshed",
        title: "every pod that is to have a proxy has one",
        why: "a pod without one speaks and is spoken to in plain text",
        hint: "have them made again: `kubectl rollout restart deployment -n NAMESPACE`; or say that they are to have none: conduit.io/inject: disabled",
        fatal: false,
        run: pods_meshed,
    },
    Check {
        id: "settings-valid",
        title: "every pod's settings are valid",
        why: "a wrong setting is not used: the pod runs with the default",
        hint: "correct the annotation that is named, and have the pods made again: `kubectl rollout restart deployment -n NAMESPACE`",
        fatal: false,
        run: settings_valid,
    },
    api::namespaces_admit(),
];

fn controller_ready(facts: &Facts) -> Verdict {
    match &facts.controller {
        Err(unseen) => unseen.verdict(),
        Ok(None) => Verdict::Fail("it is not installed".to_owned()),
        Ok(Some(Controller { wanted, ready, .. })) => {
            let text = format!("{ready} of {wanted} ready");
            match (*ready, *wanted) {
                (0, _) => Verdict::Fail(text),
                (ready, wanted) if ready < wanted => Verdict::Warn(text),
                _ => Verdict::Ok(text),
            }
        }
    }
}

/// Whether each node has an agent. Where there is none, either nothing needs one or pods wait for one.
fn agents_ready(facts: &Facts) -> Verdict {
    let (wanted, ready) = match &facts.agents {
        Err(unseen) => return unseen.verdict(),
        Ok(Some(counts)) => *counts,
        Ok(None) if !facts.pods_write_rules() => {
            return Verdict::Fail(format!("there is no DaemonSet {AGENT}, and pods rely on it"));
        }
        Ok(None) => return Verdict::Skip("not installed: pods write their rules themselves".to_owned()),
    };
    let text = format!("{ready} of {wanted} nodes");
    if wanted > 0 && ready >= wanted {
        return Verdict::Ok(text);
    }
    let waits = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|each| each["type"] == "Ready").any(|each| each["status"] == "True");
        pod["metadata"]["labels"]["app.kubernetes.io/name"] == AGENT && !ready
    };
    let pods = facts.pods.as_deref().unwrap_or_default().iter().filter(waits);
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or("no node yet").to_owned();
    Verdict::Fail(listed(&text, &pods.map(node).collect::<Vec<_>>()))
}

fn webhook_trusted(facts: &Facts) -> Verdict {
    let (bundles, anchors) = match (&facts.bundles, &facts.anchors) {
        (Err(unseen), _) | (_, Err(unseen)) => return unseen.verdict(),
        (Ok(None), _) => {
            return Verdict::Fail(format!("there is no MutatingWebhookConfiguration {WEBHOOK}"));
        }
        (_, Ok(None)) => return Verdict::Fail("the controller has published no trust anchors".to_owned()),
        (Ok(Some(bundles)), Ok(Some(anchors))) => (bundles, anchors),
    };
    let differs = |bundle: &&String| certificates(bundle) != certificates(anchors);
    match bundles.iter().filter(differs).count() {
        0 => Verdict::Ok(String::new()),
        _ => Verdict::Fail("its CA bundle is not the mesh's trust anchors".to_owned()),
    }
}

/// The certificates of a PEM text, whatever stands around them.
fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let read = conduit_tls::read_anchors(pem.as_bytes()).ok()?;
    Some(read.iter().map(|der| der.to_vec()).collect())
}

/// `shop/web-1`.
fn name(pod: &Value) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

fn pods_meshed(facts: &Facts) -> Verdict {
    let (namespaces, pods) = match (&facts.namespaces, &facts.pods) {
        (Err(unseen), _) | (_, Err(unseen)) => return unseen.verdict(),
        (Ok(namespaces), Ok(pods)) => (namespaces, pods),
    };
    let annotations = |namespace: &str| {
        let found = namespaces.iter().find(|each| each.metadata.name.as_deref() == Some(namespace));
        found.and_then(|each| each.metadata.annotations.clone()).unwrap_or_default()
    };
    let lacks = |pod: &&Value| {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let own = conduit_inject::annotations(pod);
        runs(pod) && decide(pod, &own, namespace, &annotations(namespace), &mut Vec::new()).is_ok()
    };
    let lacking: Vec<String> = pods.iter().filter(lacks).map(name).collect();
    let meshed = pods.iter().filter(|pod| pod["metadata"]["labels"][ports::LABEL_MESHED] == "true").count();
    match lacking.len() {
        0 => Verdict::Ok(format!("{meshed} pods")),
        count => Verdict::Fail(listed(&format!("{count} without"), &lacking)),
    }
}

/// Whether it has not ended, and is not ending.
fn runs(pod: &Value) -> bool {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    !ended && pod["metadata"]["deletionTimestamp"].is_null()
}

fn settings_valid(facts: &Facts) -> Verdict {
    let pods = match &facts.pods {
        Err(unseen) => return unseen.verdict(),
        Ok(pods) => pods,
    };
    let wrong = |pod: &&Value| runs(pod) && pod["metadata"]["labels"][names::LABEL_INVALID] == "true";
    let told = |pod: &Value| {
        let problems = pod["metadata"]["annotations"][names::PROBLEMS].as_str().unwrap_or_default();
        format!("{}: {}", name(pod), problems.replace('\n', "; "))
    };
    let wrong: Vec<String> = pods.iter().filter(wrong).map(told).collect();
    match wrong.len() {
        0 => Verdict::Ok(String::new()),
        count => Verdict::Warn(listed(&format!("{count} with wrong settings"), &wrong)),
    }
}

#[cfg(test)]
#[path = "installed_tests.rs"]
mod tests;
