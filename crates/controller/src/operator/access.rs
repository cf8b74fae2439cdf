//! Whether the caller may do what he asks. Whoever can open the unix socket may do everything. Behind the port that the API server
//! forwards to, a caller proves who he is with what he proves it to the API server (a certificate below the cluster's client CA, or a
//! bearer token, which the API server reviews), and the API server judges by its own rules what he may. Deliberately absent: rules
//! of our own, and any memory of tokens or answers: a right that is taken away is gone with the next call.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::identity::tokens::TOKEN_BYTES_MAX;
use crate::serve::listener::Caller;

/// The group of the resources that rights are given on. They exist in rules only.
const GROUP: &str = "conduit.io";
/// Questions to the API server at once; more wait for their turn.
const REVIEWS_MAX: usize = 16;
/// A question that is not answered within this is given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked of the operator's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Metrics, edges, proxies and what a proxy says of itself.
    View,
    /// Requests as they happen.
    Tap,
    /// Trust anchors and issuer, which are public.
    ShowIdentity,
    /// A rotation.
    Rotate,
}

impl Deed {
    /// The rule that allows it: verb, resource, and the ClusterRole that has the rule.
    const fn rule(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::View => ("get", "workloads", "conduit-view"),
            Self::Tap => ("tap", "workloads", "conduit-tap"),
            Self::ShowIdentity => ("get", "identities", "conduit-admin"),
            Self::Rotate => ("rotate", "identities", "conduit-admin"),
        }
    }
}

/// Who asks, as the API server knows him.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// His name.
    pub name: String,
    /// The groups he is in.
    pub groups: Vec<String>,
    uid: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl fmt::Display for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl User {
    /// Whom a client certificate names, read as the API server reads it: the common name is the user, organisations are groups.
    /// The certificate has been verified. `None` when it names nobody.
    #[must_use]
    pub fn of_certificate(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
        let texts = |name: &X509Name<'_>, organisations: bool| -> Vec<String> {
            let parts: Vec<_> = if organisations {
                name.iter_organization().collect()
            } else {
                name.iter_common_name().collect()
            };
            parts.iter().filter_map(|part| part.as_str().ok().map(str::to_owned)).collect()
        };
        let name = texts(parsed.subject(), false).pop().filter(|name| !name.is_empty())?;
        let mut groups = texts(parsed.subject(), true);
        groups.push("system:authenticated".to_owned());
        Some(Self { name, groups, ..Self::default() })
    }

    /// How `kubectl create rolebinding` names him.
    fn flag(&self) -> String {
        match self.name.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={}", self.name),
        }
    }
}

/// Who may do what.
pub enum Access {
    /// Whoever reaches us may do everything: the socket lets in nobody but its owner.
    Owner,
    /// The API server says.
    Cluster(Box<Reviews>),
}

/// The API server's judgement.
pub struct Reviews {
    tokens: Api<TokenReview>,
    rights: Api<SubjectAccessReview>,
    permits: Semaphore,
}

impl Reviews {
    /// Asks this API server.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let permits = Semaphore::new(REVIEWS_MAX);
        Self { tokens: Api::all(client.clone()), rights: Api::all(client.clone()), permits }
    }

    /// Who the caller is.
    async fn who<T>(&self, request: &Request<T>) -> Result<User, Status> {
        if let Some(Caller::User(user)) = request.extensions().get::<Caller>() {
            return Ok(user.as_ref().clone());
        }
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(Status::unauthenticated(
                "nothing says who you are: neither a client certificate that leads to the cluster's client CA nor a token\n\
                 use a kubeconfig with one of them; `kubectl create token NAME` makes a token for a service account",
            ));
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Status::unauthenticated("the token is too long to be one"));
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.ask(self.tokens.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let Some(user) = user else {
            let said = status.error.unwrap_or_default();
            return Err(Status::unauthenticated(format!(
                "the API server does not accept your token: {}",
                said.chars().take(200).collect::<String>()
            )));
        };
        Ok(User {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            uid: user.uid,
            extra: user.extra.unwrap_or_default(),
        })
    }

    /// Whether a rule allows it; in all namespaces where none is named.
    async fn allows(&self, user: &User, deed: Deed, namespace: &str) -> Result<bool, Status> {
        let (verb, resource, _) = deed.rule();
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(namespace.to_owned()).filter(|text| !text.is_empty()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            groups: Some(user.groups.clone()),
            uid: user.uid.clone(),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = self.ask(self.rights.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn ask<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Status> {
        let unable = |why: &dyn fmt::Display| {
            Status::unavailable(format!("the API server does not say who may do this: {why}"))
        };
        let asked = async {
            let _permit = self.permits.acquire().await.map_err(|error| unable(&error))?;
            Box::pin(call).await.map_err(|error| unable(&error))
        };
        tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| unable(&"it did not answer in time"))?
    }
}

impl Access {
    /// Lets the call pass if its caller may.
    ///
    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED with the rule that is missing, or UNAVAILABLE when the API server does not answer.
    pub async fn check<T>(&self, request: &Request<T>, deed: Deed, namespace: &str) -> Result<(), Status> {
        let Self::Cluster(reviews) = self else { return Ok(()) };
        let user = Box::pin(reviews.who(request)).await?;
        let allowed = Box::pin(reviews.allows(&user, deed, namespace)).await?;
        if deed != Deed::View || !allowed {
            // Who looked at requests, or changed something, can be found in the log.
            tracing::info!(%user, ?deed, namespace, allowed, "asked by an operator");
        }
        if allowed { Ok(()) } else { Err(refusal(&user, deed, namespace)) }
    }

    /// Lets the call pass if its caller is known; whether he also may do this everywhere.
    ///
    /// # Errors
    /// As [`Access::check`].
    pub async fn check_known<T>(&self, request: &Request<T>, deed: Deed) -> Result<bool, Status> {
        let Self::Cluster(reviews) = self else { return Ok(true) };
        let user = Box::pin(reviews.who(request)).await?;
        Box::pin(reviews.allows(&user, deed, "")).await
    }
}

/// What is missing, and on the second line how it is looked at and given.
fn refusal(user: &User, deed: Deed, namespace: &str) -> Status {
    let (verb, resource, role) = deed.rule();
    let name: String = user
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let binding = format!("{role}-{}", name.trim_matches('-'));
    let flag = user.flag();
    let (place, list, grant) = if namespace.is_empty() {
        let place = if matches!(deed, Deed::View | Deed::Tap) { " in all namespaces" } else { "" };
        let grant = format!("kubectl create clusterrolebinding {binding} --clusterrole={role} {flag}");
        (place.to_owned(), String::new(), grant)
    } else {
        let grant =
            format!("kubectl create rolebinding {binding} -n {namespace} --clusterrole={role} {flag}");
        (format!(" in namespace {namespace}"), format!(" -n {namespace}"), grant)
    };
    // `can-i VERB RESOURCE` says no to whatever it finds no resource for; the list has what exists in rules only.
    Status::permission_denied(format!(
        "{user} has no right to {verb} {resource}.{GROUP}{place}\n\
         `kubectl auth can-i --list{list}` shows what is allowed, `{grant}` allows it"
    ))
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
