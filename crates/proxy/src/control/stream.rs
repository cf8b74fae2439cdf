//! The stream of discovery: subscribes to what the traffic uses, takes the answers in, and begins again when it was lost.
//! After a reconnect everything is subscribed anew, and what was known is served until the new answers come.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conduit_api::common::v1::SocketAddress;
use conduit_api::discovery::v1::discovery_client::DiscoveryClient;
use conduit_api::discovery::v1::{Target, WatchRequest, WatchResponse, target, watch_response};
use conduit_api::identity::v1::identity_client::IdentityClient;
use conduit_api::identity::v1::{TrustBundle, WatchTrustRequest};
use conduit_logic::words::Pod;
use conduit_process::build;
use conduit_process::ready::Gate;
use conduit_tls::Credentials;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryFutureExt};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::discovery::{Answer, Shared};
use super::{Backoff, channel};
use crate::config::Config;
use crate::telemetry::Telemetry;

/// Requests waiting to be sent: each carries all that changed, so that more than a few never wait.
const REQUESTS_MAX: usize = 8;
/// How often addresses that nobody uses are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Follows the controller.
pub(super) struct Follow {
    pub(super) config: Arc<Config>,
    pub(super) credentials: Credentials,
    pub(super) shared: Arc<Shared>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) gate: Gate,
}

impl Follow {
    /// Until dropped.
    pub(super) async fn run(self) {
        self.credentials.certified().await;
        let mut backoff = Backoff::default();
        loop {
            match self.stream(&mut backoff).await {
                Ok(()) => tracing::info!("the controller ended the discovery stream; beginning a new one"),
                Err(error) => {
                    let controller = &self.config.controller_addr;
                    tracing::warn!(%controller, error = describe(&*error), "discovery: the controller cannot be reached; serving what is known");
                }
            }
            self.telemetry.discovery_connected.store(false, Ordering::Relaxed);
            backoff.wait().await;
        }
    }

    async fn stream(&self, backoff: &mut Backoff) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let channel = channel::open(&self.config, &self.credentials, false)?;
        let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
        let mut subscribed = HashSet::new();
        requests.send(self.first(&mut subscribed)).await?;
        let mut bundles = trust_bundles(channel.clone());
        let mut client = DiscoveryClient::new(channel);
        let mut answers = client.watch(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                answer = next(&mut answers) => match answer? {
                    Some(answer) => {
                        backoff.reset();
                        self.telemetry.discovery_connected.store(true, Ordering::Relaxed);
                        self.take(answer);
                    }
                    None => return Ok(()),
                },
                () = self.shared.changed.notified() => {
                    let request = self.changes(&mut subscribed);
                    if !(request.subscribe.is_empty() && request.unsubscribe.is_empty()) {
                        requests.send(request).await?;
                    }
                }
                Some(bundle) = bundles.next() => self.trust(bundle),
                _ = sweep.tick() => {
                    let request = self.forget(&mut subscribed);
                    if !request.unsubscribe.is_empty() {
                        requests.send(request).await?;
                    }
                }
            }
        }
    }

    fn first(&self, subscribed: &mut HashSet<SocketAddr>) -> WatchRequest {
        let pod = &self.config.pod;
        let mut request = self.changes(subscribed);
        request.pod = Some(pod.into());
        request.proxy_version = build::VERSION.to_owned();
        request.subscribe.push(Target { kind: Some(target::Kind::Inbound(pod.into())) });
        request
    }

    /// What must be said so that the controller follows what we follow.
    fn changes(&self, subscribed: &mut HashSet<SocketAddr>) -> WatchRequest {
        let wanted: HashSet<SocketAddr> = self.shared.addresses().into_iter().collect();
        let request = WatchRequest {
            subscribe: wanted.difference(subscribed).map(target).collect(),
            unsubscribe: subscribed.difference(&wanted).map(target).collect(),
            ..WatchRequest::default()
        };
        *subscribed = wanted;
        request
    }

    /// Drops what nobody follows. It is struck from `subscribed` here and not by a later comparison: the traffic may ask for
    /// the same address again before that, which must then be a new subscription.
    fn forget(&self, subscribed: &mut HashSet<SocketAddr>) -> WatchRequest {
        let mut forgotten = self.shared.sweep();
        forgotten.retain(|addr| subscribed.remove(addr));
        WatchRequest { unsubscribe: forgotten.iter().map(target).collect(), ..WatchRequest::default() }
    }

    /// Puts trust anchors in force, for every handshake from now on.
    fn trust(&self, bundle: TrustBundle) {
        let anchors: Vec<_> = bundle.trust_anchors_der.into_iter().map(CertificateDer::from).collect();
        let (count, changed) = (anchors.len(), anchors != self.credentials.anchors());
        match self.credentials.trust(anchors) {
            Ok(()) if changed => tracing::info!(count, "other trust anchors are in force"),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "trust anchors cannot be used; those before stay"),
        }
    }

    fn take(&self, answer: WatchResponse) {
        self.telemetry.discovery_updates.fetch_add(1, Ordering::Relaxed);
        if let Err(reason) = self.understand(answer) {
            self.telemetry.discovery_rejected.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(reason, "an answer of discovery cannot be understood; the state before it stays");
        }
    }

    fn understand(&self, answer: WatchResponse) -> Result<(), String> {
        let target = answer.target.and_then(|target| target.kind).ok_or("it names no target")?;
        let state = answer.state.ok_or("it has no state")?;
        match (target, state) {
            (target::Kind::Outbound(addr), state) => {
                let addr = address(&addr)?;
                let answer = match state {
                    watch_response::State::Outbound(outbound) => Answer::Known(Arc::new(
                        outbound.try_into().map_err(|e: conduit_api::convert::Error| e.to_string())?,
                    )),
                    watch_response::State::Unknown(_) => Answer::Unknown,
                    watch_response::State::Inbound(_) => {
                        return Err("inbound state for an address".to_owned());
                    }
                };
                tracing::debug!(%addr, ?answer, "discovery");
                self.shared.answer(addr, answer);
            }
            (target::Kind::Inbound(pod), state) => {
                if Pod::from(pod) != self.config.pod {
                    return Err("it is about another pod".to_owned());
                }
                if let watch_response::State::Inbound(inbound) = state {
                    self.shared
                        .inbound(inbound.try_into().map_err(|e: conduit_api::convert::Error| e.to_string())?);
                    self.gate.open();
                }
            }
        }
        Ok(())
    }
}

/// The trust anchors, as they change. It ends with its first error: an older controller has none to tell, and from one that
/// cannot be reached the stream of discovery ends as well.
fn trust_bundles(channel: Channel) -> BoxStream<'static, TrustBundle> {
    let call = async move { IdentityClient::new(channel).watch_trust(WatchTrustRequest {}).await };
    let bundles = call.map_ok(tonic::Response::into_inner).try_flatten_stream();
    bundles.scan((), |(), bundle| std::future::ready(bundle.ok())).boxed()
}

fn target(addr: &SocketAddr) -> Target {
    Target { kind: Some(target::Kind::Outbound((*addr).into())) }
}

fn address(message: &SocketAddress) -> Result<SocketAddr, String> {
    message.try_into().map_err(|error: conduit_api::convert::Error| error.to_string())
}

async fn next(answers: &mut Streaming<WatchResponse>) -> Result<Option<WatchResponse>, tonic::Status> {
    answers.message().await
}

/// An error with its causes: the last one says what happened.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
