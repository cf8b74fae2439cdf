//! Signs certificates for proxies that prove by a token what they are. The only call that needs no client certificate.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use conduit_api::identity::v1::identity_server::Identity as Api;
use conduit_api::identity::v1::{CertifyRequest, CertifyResponse};
use tonic::{Request, Response, Status};

use super::authority::{Authority, Refusal};
use super::tokens::{self, Reviewer};

/// The service.
pub struct Service {
    /// Signs.
    pub authority: Arc<Authority>,
    /// Reviews tokens.
    pub reviewer: Reviewer,
}

#[tonic::async_trait]
impl Api for Service {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let request = request.into_inner();
        let proven = self.reviewer.review(&request.token).map_err(|refusal| {
            tracing::warn!(asked = request.identity, %refusal, "no certificate");
            match refusal {
                tokens::Refusal::Token(_) => Status::unauthenticated(refusal.to_string()),
                tokens::Refusal::Keys(_) => Status::unavailable(refusal.to_string()),
            }
        })?;
        if request.identity != proven.as_str() {
            tracing::warn!(asked = request.identity, %proven, "no certificate: another identity was proven");
            return Err(Status::permission_denied(format!(
                "the token proves {proven}, asked was {}",
                request.identity
            )));
        }
        let signed =
            self.authority.sign(&request.csr_der, &proven, SystemTime::now()).map_err(|refusal| {
                tracing::warn!(%proven, %refusal, "no certificate");
                match refusal {
                    Refusal::Request(_) => Status::invalid_argument(refusal.to_string()),
                    Refusal::Name { .. } => Status::permission_denied(refusal.to_string()),
                    Refusal::IssuerEnded | Refusal::Sign(_) => Status::unavailable(refusal.to_string()),
                }
            })?;
        tracing::debug!(identity = %proven, "certificate signed");
        Ok(Response::new(CertifyResponse {
            chain_der: signed.chain.iter().map(|der| der.to_vec()).collect(),
            not_before_unix_s: unix_s(signed.not_before),
            not_after_unix_s: unix_s(signed.not_after),
            trust_anchors_der: self.authority.anchors().iter().map(|der| der.to_vec()).collect(),
        }))
    }
}

/// Unix time in seconds.
#[must_use]
pub fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
