//! Lets the API server review tokens (TokenReview). It alone knows whether a service account or a pod still exists; what it says
//! of the pod must agree with what the model has of it. Nothing is remembered: a token is a secret, and each is reviewed a few
//! times a day.

use std::sync::Arc;
use std::time::Duration;

use conduit_logic::ports;
use conduit_logic::words::Identity;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::tokens::{Refusal, TOKEN_BYTES_MAX};
use crate::model::Name;
use crate::store::Store;

/// Reviews at once; more wait for their turn. The API server answers in milliseconds, and has others to serve.
const REVIEWS_MAX: usize = 32;
/// How often the model is asked again for a pod that it does not know yet.
const MODEL_POLL: Duration = Duration::from_millis(50);
/// How long the watch may be behind the API server: what a new pod waits for at the most.
const MODEL_WAIT: Duration = Duration::from_secs(2);

/// Reviews tokens.
pub struct Reviewer {
    reviews: Api<TokenReview>,
    trust_domain: String,
    store: Arc<Store>,
    permits: Semaphore,
    timeout: Duration,
}

/// What a token proves.
#[derive(Debug, PartialEq, Eq)]
struct Proven {
    identity: Identity,
    account: String,
    pod: Name,
    uid: String,
}

impl Reviewer {
    /// Reviews that take longer than `timeout`, the wait for their turn included, are given up.
    #[must_use]
    pub fn new(client: &Client, trust_domain: &str, store: Arc<Store>, timeout: Duration) -> Self {
        let permits = Semaphore::new(REVIEWS_MAX);
        Self {
            reviews: Api::all(client.clone()),
            trust_domain: trust_domain.to_owned(),
            store,
            permits,
            timeout,
        }
    }

    /// The identity that the token proves.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn review(&self, token: &str) -> Result<Identity, Refusal> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Token("it is empty or too long".to_owned()));
        }
        let late = |_| Refusal::Keys("the API server did not answer in time".to_owned());
        let status = tokio::time::timeout(self.timeout, self.ask(token)).await.map_err(late)??;
        let proven = proven(&status, &self.trust_domain)?;
        self.agrees(&proven).await?;
        Ok(proven.identity)
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, Refusal> {
        let unable = |error: &dyn std::fmt::Display| {
            Refusal::Keys(format!("the API server does not review it: {error}"))
        };
        let _permit = self.permits.acquire().await.map_err(|error| unable(&error))?;
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            audiences: Some(vec![ports::TOKEN_AUDIENCE.to_owned()]),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer =
            self.reviews.create(&PostParams::default(), &review).await.map_err(|error| unable(&error))?;
        Ok(answer.status.unwrap_or_default())
    }

    /// The pod in the model must be the token's: the same one, with the same service account. The watch may be a little behind.
    async fn agrees(&self, proven: &Proven) -> Result<(), Refusal> {
        let deadline = tokio::time::Instant::now() + MODEL_WAIT;
        loop {
            let known = self.store.read(|model| {
                let pod = model.pod(&proven.pod)?;
                let account = Some(pod.spec.service_account_name.as_str()).filter(|text| !text.is_empty());
                Some(pod.metadata.uid == proven.uid && account.unwrap_or("default") == proven.account)
            });
            if known == Some(true) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                let (namespace, name) = &proven.pod;
                return Err(match known {
                    Some(_) => {
                        Refusal::Token(format!("pod {namespace}/{name} is another one than the token's"))
                    }
                    None => Refusal::Keys(format!("pod {namespace}/{name} is not known yet")),
                });
            }
            tokio::time::sleep(MODEL_POLL).await;
        }
    }
}

/// What the API server's answer proves: a service account, by a token that is bound to a pod.
fn proven(status: &TokenReviewStatus, trust_domain: &str) -> Result<Proven, Refusal> {
    let refuse = |reason: &str| Err(Refusal::Token(reason.to_owned()));
    if status.authenticated != Some(true) {
        let said = status.error.as_deref().unwrap_or("the API server does not accept it");
        return refuse(&said.chars().take(200).collect::<String>());
    }
    // An authenticator that knows no audiences answers without any: such a token may be for anybody.
    if !status.audiences.iter().flatten().any(|audience| audience == ports::TOKEN_AUDIENCE) {
        return refuse("it is not for the audience `conduit`");
    }
    let Some(user) = &status.user else { return refuse("it names nobody") };
    let name = user.username.as_deref().unwrap_or_default();
    let Some((namespace, account)) =
        name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
    else {
        return refuse("it is not a service account's");
    };
    let extra = |key: &str| {
        let values = user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{key}"))?;
        values.first().filter(|_| values.len() == 1).cloned()
    };
    let (Some(pod), Some(uid)) = (extra("pod-name"), extra("pod-uid")) else {
        return refuse("it is not bound to a pod");
    };
    let identity =
        Identity::new(trust_domain, namespace, account).map_err(|error| Refusal::Token(error.to_string()))?;
    Ok(Proven { identity, account: account.to_owned(), pod: (namespace.to_owned(), pod), uid })
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
