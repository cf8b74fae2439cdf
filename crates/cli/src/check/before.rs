//! `conduit check --pre`: what a cluster lacks before Conduit is installed. The facts are asked of the API server with the caller's
//! rights; the checks are pure functions of them. Not looked at, because the API server does not know it: the nodes' kernels (nftables),
//! which a pod's init step reports itself.

use std::collections::BTreeMap;

use conduit_inject::settings::Settings;
use conduit_inject::{Annotations, Mesh, Outcome, Redirection};
use conduit_install::{Options, SELECTOR};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use super::api::{self, Common, Seen, Server, Unseen};
use super::{Check, Verdict, listed};
use crate::cluster::Cluster;
use crate::output::Failure;

/// Where the pod is tried: every cluster has this namespace.
const TRIAL_NAMESPACE: &str = "default";

/// What is known of the cluster.
pub(super) struct Facts {
    /// The API server; what it said, where it cannot be reached.
    pub server: Result<Server, String>,
    /// Each kind that the manifests create, and whether the caller may.
    pub rights: Vec<(String, Seen<bool>)>,
    /// What is there already, of what the manifests create.
    pub present: Vec<Present>,
    /// Whether the kind of the webhook's configuration is served.
    pub webhooks: Seen<bool>,
    /// Whether a pod with a proxy would be admitted.
    pub trial: Seen<()>,
    /// Every namespace.
    pub namespaces: Seen<Vec<Namespace>>,
}

/// An object that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    pub kind: String,
    pub name: String,
    /// It has our label.
    pub ours: bool,
    /// It is being deleted.
    pub ending: bool,
}

impl Common for Facts {
    fn server(&self) -> &Result<Server, String> {
        &self.server
    }

    fn namespaces(&self) -> &Seen<Vec<Namespace>> {
        &self.namespaces
    }

    fn pods_write_rules(&self) -> bool {
        // How it will be installed is not known yet.
        true
    }
}

impl Facts {
    /// Asks.
    pub(super) async fn gather(cluster: &Cluster) -> Self {
        let unasked = || Unseen { why: "not asked".to_owned(), forbidden: true };
        let mut facts = Self {
            server: Err(String::new()),
            rights: Vec::new(),
            present: Vec::new(),
            webhooks: Err(unasked()),
            trial: Err(unasked()),
            namespaces: Err(unasked()),
        };
        if let Err(failure) = Box::pin(facts.ask_all(cluster)).await {
            facts.server = Err(failure.what());
        }
        facts
    }

    async fn ask_all(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let client = cluster.client()?;
        self.server = Ok(api::server(cluster, &client).await?);
        for object in manifests() {
            let kind = resource(&object);
            let namespace = object["metadata"]["namespace"].as_str();
            let name = kind_name(&kind);
            if self.rights.iter().all(|(known, _)| *known != name) {
                self.rights.push((name, may_create(&client, &kind, namespace).await));
            }
            self.present.extend(find(&client, &kind, namespace, &object).await);
        }
        let served = client.list_api_group_resources("admissionregistration.k8s.io/v1").await;
        let served =
            served.map(|list| list.resources.iter().any(|each| each.name == "mutatingwebhookconfigurations"));
        self.webhooks = served.map_err(Unseen::from);
        self.trial = api::admit(&client, TRIAL_NAMESPACE, injected()).await.map(drop);
        self.namespaces = api::namespaces(&client).await;
        Ok(())
    }
}

/// What `conduit install` prints, as objects.
fn manifests() -> Vec<Value> {
    let text = conduit_install::render(&Options::default()).unwrap_or_default();
    serde_saphyr::from_multiple(&text).unwrap_or_default()
}

fn resource(object: &Value) -> ApiResource {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind))
}

/// `deployments.apps`.
fn kind_name(kind: &ApiResource) -> String {
    if kind.group.is_empty() { kind.plural.clone() } else { format!("{}.{}", kind.plural, kind.group) }
}

async fn may_create(client: &Client, kind: &ApiResource, namespace: Option<&str>) -> Seen<bool> {
    let attributes = ResourceAttributes {
        group: Some(kind.group.clone()),
        resource: Some(kind.plural.clone()),
        verb: Some("create".to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The object, if it is there. One that the caller may not see is none: that he may not create it is told elsewhere.
async fn find(
    client: &Client,
    kind: &ApiResource,
    namespace: Option<&str>,
    object: &Value,
) -> Option<Present> {
    let name = object["metadata"]["name"].as_str()?;
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    };
    let found = api.get_opt(name).await.ok()??;
    let (label, value) = SELECTOR.split_once('=')?;
    let ours =
        found.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|is| is == value);
    let ending = found.metadata.deletion_timestamp.is_some();
    Some(Present { kind: kind.kind.clone(), name: name.to_owned(), ours, ending })
}

/// A pod as it is once it has its proxy.
fn injected() -> Value {
    let mesh = Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: conduit_logic::ports::TRUST_DOMAIN.to_owned(),
        trust_anchors: String::new(),
        cluster_networks: None,
        redirection: Redirection::Init,
        settings: Settings::of_image("localhost/conduit-proxy"),
    };
    let nothing: Annotations = BTreeMap::new();
    match conduit_inject::inject(&api::trial_pod(), TRIAL_NAMESPACE, &nothing, &mesh) {
        Outcome::Injected(injected) => injected.pod,
        Outcome::Skipped(..) => api::trial_pod(),
    }
}

/// Every check, in the order in which it is looked.
pub(super) const CHECKS: [Check<Facts>; 8] = [
    api::reachable("everything is installed through it"),
    Check {
        id: "version-supported",
        title: "its version is 1.29 or later",
        why: "before it proxies run as classic sidecars, which keep Jobs from completing; before 1.21 nothing works",
        hint: "upgrade the cluster",
        fatal: false,
        run: |facts| facts.server.as_ref().map_or_else(api::unknown, api::version),
    },
    api::clock_agrees(),
    Check {
        id: "may-install",
        title: "you may create every kind that is installed",
        why: "`kubectl apply` would stop half-way",
        hint: "have it installed by somebody with the role cluster-admin: `conduit install > conduit.yaml`",
        fatal: false,
        run: may_install,
    },
    Check {
        id: "webhooks-served",
        title: "admission webhooks are there",
        why: "without them no pod gets its proxy by itself",
        hint: "enable admissionregistration.k8s.io/v1 in the API server, or use `conduit inject --manual`",
        fatal: false,
        run: |facts| match &facts.webhooks {
            Ok(true) => Verdict::Ok(String::new()),
            Ok(false) => {
                Verdict::Fail("the API server does not serve MutatingWebhookConfigurations".to_owned())
            }
            Err(unseen) => unseen.verdict(),
        },
    },
    Check {
        id: "nothing-in-the-way",
        title: "nothing is left of an earlier installation, and no name is taken",
        why: "`kubectl apply` would change what belongs to something else, or mix two versions",
        hint: "installed already: `conduit upgrade`; leftovers: `conduit uninstall | kubectl delete --ignore-not-found -f -`; taken names: rename or remove what has them",
        fatal: false,
        run: nothing_in_the_way,
    },
    Check {
        id: "pods-admitted",
        title: "a pod with a proxy is admitted (tried in the namespace default)",
        why: "the init container needs NET_ADMIN, which pod security levels and policies can refuse: such pods are not started",
        hint: "allow it where pods get a proxy: `kubectl label namespace NAME pod-security.kubernetes.io/enforce=privileged --overwrite`, or an exception in the policy that is named",
        fatal: false,
        run: |facts| match &facts.trial {
            Ok(()) => Verdict::Ok(String::new()),
            // A policy's refusal and a missing right look the same but for their words.
            Err(unseen) if unseen.why.contains("cannot create resource \"pods\"") => unseen.verdict(),
            Err(unseen) => Verdict::Warn(unseen.why.clone()),
        },
    },
    api::namespaces_admit(),
];

fn may_install(facts: &Facts) -> Verdict {
    let denied = |(kind, may): &(String, Seen<bool>)| match may {
        Ok(true) => None,
        Ok(false) => Some(format!("{kind}: `kubectl auth can-i create {kind}` says no")),
        Err(unseen) => Some(format!("{kind}: {}", unseen.why)),
    };
    let denied: Vec<String> = facts.rights.iter().filter_map(denied).collect();
    match denied.len() {
        0 => Verdict::Ok(format!("{} kinds", facts.rights.len())),
        count => {
            Verdict::Fail(listed(&format!("{count} of {} kinds you may not", facts.rights.len()), &denied))
        }
    }
}

fn nothing_in_the_way(facts: &Facts) -> Verdict {
    let names = |which: &dyn Fn(&Present) -> bool| -> Vec<String> {
        let named = |each: &Present| format!("{} {}", each.kind, each.name);
        facts.present.iter().filter(|each| which(each)).map(named).collect()
    };
    let (ending, taken) = (names(&|each| each.ending), names(&|each| !each.ours));
    if !ending.is_empty() {
        return Verdict::Fail(listed("still being deleted", &ending));
    }
    if !taken.is_empty() {
        return Verdict::Fail(listed("not Conduit's, but of the same name", &taken));
    }
    let ours = names(&|each| each.ours);
    if ours.is_empty() {
        return Verdict::Ok(String::new());
    }
    if facts.present.iter().any(|each| each.kind == "Deployment") {
        return Verdict::Warn("Conduit is installed already".to_owned());
    }
    Verdict::Warn(listed("left of an earlier installation", &ours))
}

#[cfg(test)]
#[path = "before_tests.rs"]
mod tests;
