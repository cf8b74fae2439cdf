//! Reviews service account tokens: JWTs signed with one of the keys in a JWK set, for our audience, not expired, and naming
//! the service account in both places that Kubernetes names it.
//!
//! Sources: RFC 7519 (JWT), RFC 7517 (JWK), Kubernetes' bound service account tokens.

use std::path::PathBuf;

use conduit_logic::ports;
use conduit_logic::words::Identity;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use thiserror::Error;

/// A token is a few kilobytes; what is larger is not one.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Why a token proves nothing.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The token is not acceptable.
    #[error("the token is refused: {0}")]
    Token(String),
    /// We cannot judge it.
    #[error("tokens cannot be reviewed: {0}")]
    Keys(String),
}

/// Reviews tokens against the keys of a file, which is read at each review: keys may be replaced at any time.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// The JWK set.
    pub keys: PathBuf,
    /// Our trust domain.
    pub trust_domain: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Account,
}

#[derive(Deserialize)]
struct Account {
    name: String,
}

impl Reviewer {
    /// The identity that the token proves.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn review(&self, token: &str) -> Result<Identity, Refusal> {
        let text = std::fs::read(&self.keys)
            .map_err(|error| Refusal::Keys(format!("{}: {error}", self.keys.display())))?;
        let keys: JwkSet = serde_json::from_slice(&text)
            .map_err(|error| Refusal::Keys(format!("{}: {error}", self.keys.display())))?;
        self.review_with(token, &keys)
    }

    /// As [`Reviewer::review`], with these keys.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn review_with(&self, token: &str, keys: &JwkSet) -> Result<Identity, Refusal> {
        let refuse = |reason: String| Refusal::Token(reason);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refuse("it is too long".to_owned()));
        }
        let header = decode_header(token).map_err(|error| refuse(error.to_string()))?;
        // The algorithm is ours to choose, never the token's.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[ports::TOKEN_AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.leeway = 5;
        let candidates = keys.keys.iter().filter(|key| match (&header.kid, &key.common.key_id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        });
        let mut reason = "no key of ours has signed it".to_owned();
        for key in candidates {
            let Ok(key) = DecodingKey::from_jwk(key) else { continue };
            match decode::<Claims>(token, &key, &validation) {
                Ok(token) => return self.identity(&token.claims),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(refuse(reason))
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, Refusal> {
        let (namespace, account) = (&claims.kubernetes.namespace, &claims.kubernetes.serviceaccount.name);
        if claims.sub != format!("system:serviceaccount:{namespace}:{account}") {
            return Err(Refusal::Token("its subject is not the service account that it names".to_owned()));
        }
        Identity::new(&self.trust_domain, namespace, account)
            .map_err(|error| Refusal::Token(error.to_string()))
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
