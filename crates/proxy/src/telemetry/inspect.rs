//! What the proxy shows of itself to `conduit diagnostics`: metrics, endpoints, certificate, configuration. No secret is in any.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use conduit_api::tap::v1::inspect_request::Kind;
use conduit_tls::{Credentials, peer_identity};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::Telemetry;
use crate::config::Config;

/// Makes the text of a part of the proxy that this module does not know.
pub type Describe = Arc<dyn Fn() -> String + Send + Sync>;

/// What can be shown.
pub struct Inspect {
    config: Arc<Config>,
    credentials: Credentials,
    telemetry: Arc<Telemetry>,
    endpoints: Describe,
}

impl Inspect {
    /// Shows these parts.
    #[must_use]
    pub fn new(
        config: &Arc<Config>,
        credentials: &Credentials,
        telemetry: &Arc<Telemetry>,
        endpoints: Describe,
    ) -> Self {
        Self {
            config: config.clone(),
            credentials: credentials.clone(),
            telemetry: telemetry.clone(),
            endpoints,
        }
    }

    /// The counters that are shown.
    #[must_use]
    pub(crate) const fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The text, or `None` for a kind that is none.
    #[must_use]
    pub fn show(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Unspecified => None,
            Kind::Metrics => Some(self.telemetry.encode()),
            Kind::Endpoints => Some((self.endpoints)()),
            Kind::Certificate => Some(self.certificate()),
            Kind::Config => Some(self.config.describe().to_string()),
        }
    }

    fn certificate(&self) -> String {
        let unix = |time: Option<SystemTime>| {
            time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_secs())
        };
        let hex = |certificate: &CertificateDer<'static>| {
            certificate.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        json!({
            "identity": peer_identity(&self.credentials.chain()).ok().map(|identity| identity.to_string()),
            "not_before_unix_s": unix(self.credentials.not_before()),
            "not_after_unix_s": unix(self.credentials.not_after()),
            "chain_der_hex": self.credentials.chain().iter().map(hex).collect::<Vec<_>>(),
            "trust_anchors_der_hex": self.credentials.anchors().iter().map(hex).collect::<Vec<_>>(),
        })
        .to_string()
    }
}
