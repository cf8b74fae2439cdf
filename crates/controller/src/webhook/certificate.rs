//! The webhook's serving certificate and the API server's trust in it. The certificate is signed by the mesh's issuer, so every
//! replica makes its own and there is no key to share; the API server is given the trust anchors as the bundle it checks against.
//! It names a host and no SPIFFE ID, so no proxy takes it for an identity; and no proxy's certificate names this host.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use conduit_logic::ports;
use conduit_process::clock;
use conduit_process::ready::Gate;
use conduit_process::tasks::Tasks;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::json;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{CONFIGURATION, SERVICE, review};
use crate::identity::authority::Authority;

/// The certificate is renewed when this share of its life has passed.
const RENEW_SHARE: f64 = 0.66;
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often the API server's bundle is looked at: what somebody else wrote there stops injection until then.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// The certificate in force, read at each handshake.
#[derive(Debug, Default)]
struct Serving(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Keeps a certificate in force, and makes another when another issuer is put in force; the gate opens with the first.
pub(super) fn keep(
    authority: Arc<Authority>,
    mut installed: watch::Receiver<u64>,
    gate: Gate,
    tasks: &Tasks,
) -> TlsAcceptor {
    let serving = Arc::new(Serving::default());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3: it is compiled in")
        .with_no_client_auth()
        .with_cert_resolver(serving.clone());
    tasks.spawn_until_stopped("webhook certificate", async move {
        loop {
            let next = match renew(&authority, &serving) {
                Ok(next) => {
                    gate.open();
                    next
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "no certificate for the webhook");
                    SystemTime::now() + RETRY
                }
            };
            tokio::select! {
                () = clock::until(next) => {}
                // Where nobody installs anything any more, the controller stops.
                changed = installed.changed() => if changed.is_err() { return },
            }
        }
    });
    TlsAcceptor::from(Arc::new(config))
}

/// Puts a new certificate in force; gives the time of the next.
fn renew(authority: &Authority, serving: &Serving) -> Result<SystemTime> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let now = SystemTime::now();
    let host = format!("{SERVICE}.{}.svc", ports::CONTROLLER_NAMESPACE);
    let signed = authority.certify_host(&key, &host, now)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::from_der(signed.chain, key, &aws_lc_rs::default_provider())?;
    serving.0.store(Some(Arc::new(certified)));
    Ok(now + signed.not_after.duration_since(now).unwrap_or_default().mul_f64(RENEW_SHARE))
}

/// Keeps the bundle in the MutatingWebhookConfiguration equal to the trust anchors.
pub(super) fn keep_trust(
    client: Client,
    authority: Arc<Authority>,
    mut installed: watch::Receiver<u64>,
    tasks: &Tasks,
) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client);
    tasks.spawn_until_stopped("webhook trust", async move {
        loop {
            if let Err(error) = write_bundle(&api, &review::pem(&authority)).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the API server may not trust the webhook: new pods get no proxy; trying again"
                );
            }
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_INTERVAL, installed.changed()).await {
                return;
            }
        }
    });
}

async fn write_bundle(api: &Api<MutatingWebhookConfiguration>, bundle: &str) -> Result<()> {
    let found = api.get(CONFIGURATION).await.with_context(|| format!("reading {CONFIGURATION}"))?;
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhooks = found.webhooks.unwrap_or_default();
    let stale = webhooks.iter().filter(|webhook| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    let entry = |name: &str| json!({"name": name, "clientConfig": {"caBundle": bundle}});
    let entries: Vec<_> = stale.map(|webhook| entry(&webhook.name)).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let patch = Patch::Strategic(json!({"webhooks": entries}));
    api.patch(CONFIGURATION, &PatchParams::default(), &patch)
        .await
        .with_context(|| format!("writing the bundle into {CONFIGURATION}"))?;
    tracing::info!(configuration = CONFIGURATION, "the API server was given the trust anchors");
    Ok(())
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
