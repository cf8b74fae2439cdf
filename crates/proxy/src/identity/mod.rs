//! Gets this pod's certificate and renews it in time. The private key is made here, stays in memory and is new for each
//! certificate; the service account token proves to the identity service what we are. What is in force stays in force until
//! its successor has been installed.
//!
//! Sources: RFC 2986 (certificate requests), X.509-SVID specification.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use conduit_api::identity::v1::CertifyRequest;
use conduit_api::identity::v1::identity_client::IdentityClient;
use conduit_process::clock;
use conduit_process::ready::{Gate, Readiness};
use conduit_process::tasks::Tasks;
use conduit_tls::{Certificate, Credentials};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::Config;
use crate::control::{BACKOFF_MAX, Backoff, channel};
use crate::telemetry::Telemetry;

/// The longest wait without a certificate: the pod does not start, or serves nobody, until there is one, so that a controller that
/// came back must be found soon. A thousand such proxies, a whole cluster that starts anew, make some 700 attempts a second.
const WITHOUT_WAIT_MAX: Duration = Duration::from_secs(2);
/// A token is a few kilobytes; what is larger is not one.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// The identity service answers from memory; a call that takes longer is given up and tried again.
const CERTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// A certificate is renewed when this share of its life has passed, less a jitter of up to a tenth of its life: a missed
/// attempt leaves time for many more.
const RENEW_SHARE: f64 = 0.66;

/// Starts to keep a certificate in `credentials`, as a task of `tasks` on the current runtime.
pub fn start(
    config: &Arc<Config>,
    credentials: &Credentials,
    tasks: &Tasks,
    readiness: &Readiness,
    telemetry: &Arc<Telemetry>,
) {
    let keeper = Keeper {
        config: config.clone(),
        credentials: credentials.clone(),
        telemetry: telemetry.clone(),
        gate: readiness.gate("identity"),
    };
    tasks.spawn_until_stopped("identity", Box::pin(keeper.run()));
}

struct Keeper {
    config: Arc<Config>,
    credentials: Credentials,
    telemetry: Arc<Telemetry>,
    gate: Gate,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            match self.certify().await {
                Ok(renew_at) => {
                    backoff.reset();
                    self.gate.open();
                    clock::until(renew_at).await;
                }
                Err(error) => {
                    let not_after = self.credentials.not_after().map(unix_s);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        not_after,
                        "no new certificate yet; trying again"
                    );
                    let without = !self.credentials.has_certificate();
                    if without {
                        self.gate.close();
                    }
                    backoff.wait_at_most(if without { WITHOUT_WAIT_MAX } else { BACKOFF_MAX }).await;
                }
            }
        }
    }

    /// Gets and installs one certificate; gives the time at which to get the next.
    async fn certify(&self) -> Result<SystemTime> {
        let path = &self.config.token;
        let token = std::fs::read_to_string(path)
            .with_context(|| format!("reading the token from {}", path.display()))?;
        anyhow::ensure!(
            token.len() <= TOKEN_BYTES_MAX,
            "the token in {} is too large to be one",
            path.display()
        );
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("making a key")?;
        let request = CertifyRequest {
            token: token.trim().to_owned(),
            csr_der: self.request(&key)?,
            identity: self.config.identity.to_string(),
        };
        let channel = channel::open(&self.config, &self.credentials, true)?;
        let call = async { IdentityClient::new(channel).certify(request).await };
        let answer = tokio::time::timeout(CERTIFY_TIMEOUT, call)
            .await
            .context("the identity service did not answer in time")?
            .map_err(|status| anyhow::anyhow!("{}", crate::control::stream::describe(&status)))?
            .into_inner();
        let time = |s| UNIX_EPOCH + Duration::from_secs(s);
        let (not_before, not_after) = (time(answer.not_before_unix_s), time(answer.not_after_unix_s));
        let owned = |ders: Vec<Vec<u8>>| ders.into_iter().map(CertificateDer::from).collect();
        self.credentials.install(Certificate {
            chain: owned(answer.chain_der),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            anchors: owned(answer.trust_anchors_der),
            not_before,
            not_after,
        })?;
        self.telemetry.certificate_rotations.fetch_add(1, Ordering::Relaxed);
        self.telemetry.certificate_not_after.store(answer.not_after_unix_s, Ordering::Relaxed);
        tracing::info!(identity = %self.config.identity, not_after = answer.not_after_unix_s, "certificate installed");
        let now = SystemTime::now();
        Ok(now + renew_in(now, not_after))
    }

    fn request(&self, key: &KeyPair) -> Result<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(self.config.identity.as_str())?)];
        Ok(params.serialize_request(key).context("making a certificate request")?.der().to_vec())
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// After what time to get the next certificate, measured on our own clock from what is left of this one.
fn renew_in(now: SystemTime, not_after: SystemTime) -> Duration {
    let left = not_after.duration_since(now).unwrap_or_default();
    left.mul_f64(RENEW_SHARE - 0.1 * fastrand::f64()).max(Duration::from_millis(200))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
