//! The port that the API server forwards operators to. It listens on the pod's loopback alone: nobody else reaches it. TLS with our
//! own certificate; callers may show the certificate that they show to the API server, which must lead to the cluster's client CA.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use conduit_process::tasks::Tasks;
use conduit_tls::{ClientAuth, Credentials};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::access::User;
use crate::serve::listener::Caller;

/// Operators at once: people and scripts; each has one connection.
pub const CONNECTIONS_MAX: usize = 256;
/// Where the API server publishes the CA of its clients, for servers that want to know them as it does.
const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
const CLIENT_CA: &str = "client-ca-file";
/// How often the CA is looked at: it changes once in years.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// The pause until it was read for the first time.
const RETRY: Duration = Duration::from_secs(1);
/// A call that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How handshakes are answered, kept up to date as a task of `tasks`.
pub fn acceptor(
    client: Client,
    credentials: &Credentials,
    tasks: &Tasks,
) -> impl Fn() -> TlsAcceptor + use<> {
    let own = credentials.server_config(ClientAuth::Optional, &[b"h2"]);
    // Until the CA is known nobody is asked for a certificate: a token is enough.
    let configuration = Arc::new(ArcSwap::new(Arc::new(anonymous(&own))));
    let kept = configuration.clone();
    tasks.spawn_until_stopped("client CA", async move {
        let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let mut known: Option<String> = None;
        loop {
            let wait = match read(&maps).await {
                Ok(pem) if pem.is_some() && pem == known => LOOK_INTERVAL,
                Ok(Some(pem)) => match verified(&own, &pem) {
                    Ok(configuration) => {
                        kept.store(Arc::new(configuration));
                        known = Some(pem);
                        LOOK_INTERVAL
                    }
                    Err(error) => told(&error),
                },
                // A cluster may have no client certificates at all.
                Ok(None) => LOOK_INTERVAL,
                Err(error) => told(&error),
            };
            tokio::time::sleep(if known.is_none() { wait.min(RETRY) } else { wait }).await;
        }
    });
    move || TlsAcceptor::from(configuration.load_full())
}

fn told(error: &anyhow::Error) -> Duration {
    tracing::debug!(error = format!("{error:#}"), "operators' client certificates cannot be verified yet");
    LOOK_INTERVAL
}

/// Who showed this chain, which has been verified.
#[must_use]
pub fn caller(chain: &[CertificateDer<'_>]) -> Caller {
    User::of_certificate(chain).map_or(Caller::Nobody, |user| Caller::User(Arc::new(user)))
}

async fn read(maps: &Api<ConfigMap>) -> Result<Option<String>> {
    let found = tokio::time::timeout(TIMEOUT, maps.get_opt(CONFIG_MAP)).await;
    let found = found.context("the API server did not answer in time")?;
    let map = found.with_context(|| format!("reading the ConfigMap {NAMESPACE}/{CONFIG_MAP}"))?;
    Ok(map.and_then(|map| map.data).and_then(|mut data: BTreeMap<_, _>| data.remove(CLIENT_CA)))
}

fn anonymous(own: &ServerConfig) -> ServerConfig {
    let mut configuration = builder().with_no_client_auth().with_cert_resolver(own.cert_resolver.clone());
    configuration.alpn_protocols.clone_from(&own.alpn_protocols);
    configuration
}

fn verified(own: &ServerConfig, pem: &str) -> Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for anchor in conduit_tls::read_anchors(pem.as_bytes())? {
        roots.add(anchor).context("the cluster's client CA")?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .context("the cluster's client CA")?;
    let mut configuration =
        builder().with_client_cert_verifier(verifier).with_cert_resolver(own.cert_resolver.clone());
    configuration.alpn_protocols.clone_from(&own.alpn_protocols);
    // A resumed session would be one with an earlier CA.
    configuration.send_tls13_tickets = 0;
    Ok(configuration)
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3: it is compiled in")
}
