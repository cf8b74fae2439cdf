//! What both kinds of check ask of an API server, with the caller's own rights. What he may not see is known to be unknown. Changes
//! nothing: the pod that is tried is never made.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Check, Verdict};
use crate::cluster::Cluster;
use crate::output::Failure;

/// Clocks that differ by more make certificates seem ended or not yet valid.
const SKEW_S_MAX: u64 = 30;
/// The first version with native sidecars on by default.
const NATIVE_MINOR: u32 = 29;
/// The first version with all that the controller watches (EndpointSlices).
const OLDEST_MINOR: u32 = 21;
/// Objects of one list that are asked for at once: a page of the API server's.
const PAGE: u32 = 500;
/// Pages of one list at the most: 50,000 pods.
const PAGES_MAX: usize = 100;

/// An answer, or why there is none.
pub(super) type Seen<T> = Result<T, Unseen>;

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unseen {
    /// What the API server said.
    pub why: String,
    /// It is the caller who may not see it.
    pub forbidden: bool,
}

impl Unseen {
    /// What a check says that needed it.
    pub(super) fn verdict(&self) -> Verdict {
        let text = format!("cannot be looked at: {}", self.why);
        if self.forbidden { Verdict::Skip(text) } else { Verdict::Fail(text) }
    }
}

impl From<kube::Error> for Unseen {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self { forbidden: status.code == 403, why: status.message.clone() },
            error => Self { forbidden: false, why: error.to_string() },
        }
    }
}

/// The API server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// `v1.35.4`.
    pub version: String,
    /// The second number.
    pub minor: u32,
    /// How much later our clock is; unknown where it does not tell its time.
    pub skew_s: Option<i64>,
}

/// What both kinds of check know.
pub(super) trait Common {
    /// The API server; what it said, where it cannot be reached.
    fn server(&self) -> &Result<Server, String>;
    /// Every namespace.
    fn namespaces(&self) -> &Seen<Vec<Namespace>>;
    /// Whether pods write their redirect rules themselves, with NET_ADMIN.
    fn pods_write_rules(&self) -> bool;
}

/// The check on which all others rest.
pub(super) const fn reachable<F: Common>(why: &'static str) -> Check<F> {
    Check {
        id: "api-server-reachable",
        title: "the API server answers",
        why,
        hint: "see whether kubectl reaches it; --kubeconfig and --context name another cluster",
        fatal: true,
        run: |facts| match facts.server() {
            Ok(server) => Verdict::Ok(server.version.clone()),
            Err(why) => Verdict::Fail(why.clone()),
        },
    }
}

/// The check of the clocks.
pub(super) const fn clock_agrees<F: Common>() -> Check<F> {
    Check {
        id: "clock-agrees",
        title: "this machine's clock agrees with the API server's",
        why: "where clocks differ, certificates seem ended or not yet valid",
        hint: "let both keep time with NTP (timedatectl), the nodes too",
        fatal: false,
        run: |facts| facts.server().as_ref().map_or_else(unknown, clock),
    }
}

/// The check of namespaces that refuse what they ask for.
pub(super) const fn namespaces_admit<F: Common>() -> Check<F> {
    Check {
        id: "namespaces-admit",
        title: "no namespace asks for proxies and refuses them",
        why: "its pods are not started: the init container needs NET_ADMIN",
        hint: "`kubectl label namespace NAME pod-security.kubernetes.io/enforce=privileged --overwrite`, or install with --cni",
        fatal: false,
        run: |facts| match facts.pods_write_rules() {
            true => admitting(facts.namespaces()),
            false => Verdict::Ok("the CNI plugin writes the rules".to_owned()),
        },
    }
}

/// What is not known because the API server did not answer, which the first check says.
pub(super) fn unknown(_: &String) -> Verdict {
    Verdict::Skip(String::new())
}

/// Asks the API server what it is.
///
/// # Errors
/// When it does not answer.
pub(super) async fn server(cluster: &Cluster, client: &Client) -> Result<Server, Failure> {
    let version = cluster.within("ask for the version", "", client.apiserver_version()).await?;
    let minor = version.minor.chars().take_while(char::is_ascii_digit).collect::<String>();
    let request = http::Request::get("/version").body(Body::empty());
    let request = request.expect("a request of constants");
    let answer = cluster.within("ask for the time", "", client.send(request)).await?;
    let theirs = answer.headers().get(http::header::DATE).and_then(|date| unix_s(date.to_str().ok()?));
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let skew_s = theirs.map(|theirs| ours.cast_signed() - theirs);
    Ok(Server { version: version.git_version, minor: minor.parse().unwrap_or(0), skew_s })
}

/// Reads the date of an HTTP header.
fn unix_s(date: &str) -> Option<i64> {
    let parsed = k8s_openapi::jiff::fmt::rfc2822::parse(date).ok()?;
    Some(parsed.timestamp().as_second())
}

/// Whether the version will do.
pub(super) fn version(server: &Server) -> Verdict {
    match server.minor {
        minor if minor >= NATIVE_MINOR => Verdict::Ok(server.version.clone()),
        minor if minor >= OLDEST_MINOR => Verdict::Warn(format!(
            "{}: proxies are no native sidecars before 1.{NATIVE_MINOR}; use `conduit install --sidecar classic`",
            server.version
        )),
        _ => Verdict::Fail(format!("{} is older than 1.{OLDEST_MINOR}", server.version)),
    }
}

/// Whether the clocks agree.
fn clock(server: &Server) -> Verdict {
    match server.skew_s {
        None => Verdict::Skip("the API server does not tell its time".to_owned()),
        Some(skew) if skew.unsigned_abs() <= SKEW_S_MAX => Verdict::Ok(format!("within {SKEW_S_MAX}s")),
        Some(skew) => {
            let word = if skew > 0 { "ahead of" } else { "behind" };
            Verdict::Warn(format!("this machine is {}s {word} the API server", skew.unsigned_abs()))
        }
    }
}

/// A pod that is tried, for which an annotation asks for a proxy.
pub(super) fn trial_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "conduit-check-", "annotations": {"conduit.io/inject": "enabled"}},
        "spec": {"containers": [{
            "name": "application", "image": "localhost/none",
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]},
    })
}

/// Has the API server admit a pod without making it; what would have been made.
pub(super) async fn admit(client: &Client, namespace: &str, pod: Value) -> Seen<Value> {
    let unreadable = |error: serde_json::Error| Unseen { why: error.to_string(), forbidden: false };
    let pod: Pod = serde_json::from_value(pod).map_err(unreadable)?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = Api::<Pod>::namespaced(client.clone(), namespace).create(&dry, &pod).await?;
    serde_json::to_value(made).map_err(unreadable)
}

/// Every namespace.
pub(super) async fn namespaces(client: &Client) -> Seen<Vec<Namespace>> {
    Ok(Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await?.items)
}

/// Every pod.
pub(super) async fn pods(client: &Client) -> Seen<Vec<Pod>> {
    let api: Api<Pod> = Api::all(client.clone());
    let (mut pods, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    for _ in 0..PAGES_MAX {
        let page = api.list(&params).await?;
        pods.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(pods)
}

/// Namespaces whose pods are to get a proxy, and that refuse the init container's right.
pub(super) fn strict(namespaces: &[Namespace]) -> Vec<String> {
    let strict = |namespace: &&Namespace| {
        let metadata = &namespace.metadata;
        let asked = metadata.annotations.as_ref().and_then(|all| all.get("conduit.io/inject"));
        let enforced = metadata.labels.as_ref().and_then(|all| all.get("pod-security.kubernetes.io/enforce"));
        asked.is_some_and(|value| value == "enabled" || value == "true")
            && enforced.is_some_and(|level| level == "baseline" || level == "restricted")
    };
    namespaces.iter().filter(strict).filter_map(|namespace| namespace.metadata.name.clone()).collect()
}

/// The verdict on [`strict`].
fn admitting(namespaces: &Seen<Vec<Namespace>>) -> Verdict {
    match namespaces {
        Err(unseen) => unseen.verdict(),
        Ok(namespaces) => match strict(namespaces) {
            names if names.is_empty() => Verdict::Ok(String::new()),
            names => Verdict::Warn(super::listed("they enforce baseline or restricted", &names)),
        },
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
