//! Signs certificates for proxies that prove by a token what they are: the only call that needs no client certificate. And tells
//! them of the trust anchors as they change.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use conduit_api::identity::v1::identity_server::Identity as Api;
use conduit_api::identity::v1::{CertifyRequest, CertifyResponse, TrustBundle, WatchTrustRequest};
use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::authority::{Anchors, Authority, Refusal};
use super::{review, tokens};
use crate::serve::listener::caller;

/// Trust anchors on their way to one proxy: each message replaces the one before.
const BUNDLES_MAX: usize = 1;

/// Who judges tokens.
pub enum Reviewer {
    /// We, by the keys of a file.
    Keys(tokens::Reviewer),
    /// The API server.
    Api(Box<review::Reviewer>),
}

impl Reviewer {
    async fn review(&self, token: &str) -> Result<Identity, tokens::Refusal> {
        match self {
            Self::Keys(reviewer) => reviewer.review(token),
            Self::Api(reviewer) => reviewer.review(token).await,
        }
    }
}

/// The service.
pub struct Service {
    /// Signs.
    pub authority: Arc<Authority>,
    /// Reviews tokens.
    pub reviewer: Reviewer,
    /// Owns the streams.
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl Api for Service {
    type WatchTrustStream = Pin<Box<dyn Stream<Item = Result<TrustBundle, Status>> + Send>>;

    async fn watch_trust(
        &self,
        request: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        caller(&request)?;
        let (bundles, outgoing) = mpsc::channel(BUNDLES_MAX);
        let mut anchors = self.authority.follow_anchors();
        self.tasks.spawn_until_stopped("trust bundle", async move {
            loop {
                let bundle = TrustBundle { trust_anchors_der: der(&anchors.borrow_and_update()) };
                if bundles.send(Ok(bundle)).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = anchors.changed() => if changed.is_err() { return },
                    () = bundles.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let request = request.into_inner();
        // Nobody has proven anything yet: what is no identity, of whatever length, is answered and not logged.
        let asked = Identity::parse(&request.identity)
            .map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        let proven = self.reviewer.review(&request.token).await.map_err(|refusal| {
            tracing::warn!(%asked, %refusal, "no certificate");
            match refusal {
                tokens::Refusal::Token(_) => Status::unauthenticated(refusal.to_string()),
                tokens::Refusal::Keys(_) => Status::unavailable(refusal.to_string()),
            }
        })?;
        if asked != proven {
            tracing::warn!(%asked, %proven, "no certificate: another identity was proven");
            return Err(Status::permission_denied(format!("the token proves {proven}, asked was {asked}")));
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
            trust_anchors_der: der(&self.authority.anchors()),
        }))
    }
}

fn der(anchors: &Anchors) -> Vec<Vec<u8>> {
    anchors.iter().map(|der| der.to_vec()).collect()
}

/// Unix time in seconds.
#[must_use]
pub fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
