//! What a process proves itself with, and whom it trusts: replaced as a whole while handshakes go on. Configurations made from
//! it read what is in force at each handshake, so that a rotation needs no new configuration.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use conduit_logic::words::Identity;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, version};
use tokio::sync::Notify;

use crate::Error;
use crate::verify::{Anchors, Verifier, peer_identity};

/// A certificate with its key, as the identity service gives it.
#[derive(Debug)]
pub struct Certificate {
    /// Leaf first, then intermediates; without the trust anchor.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
    /// The trust anchors from now on; empty leaves them as they are.
    pub anchors: Vec<CertificateDer<'static>>,
    /// When the leaf becomes valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

/// Whether a client must prove an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Without a certificate there is no connection.
    Required,
    /// It may come without one (to ask for its first).
    Optional,
}

#[derive(Debug)]
pub(crate) struct Current {
    key: Arc<CertifiedKey>,
    pub(crate) identity: Identity,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// The certificate and the trust anchors in force. Clones are the same.
#[derive(Debug, Clone)]
pub struct Credentials {
    current: Arc<ArcSwapOption<Current>>,
    anchors: Arc<ArcSwap<Anchors>>,
    installed: Arc<Notify>,
    provider: Arc<CryptoProvider>,
}

impl Credentials {
    /// Trusts `anchors` and has no certificate yet.
    ///
    /// # Errors
    /// When there is no anchor, or one cannot be read.
    pub fn new(anchors: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let anchors = Arc::new(ArcSwap::from_pointee(Anchors::new(anchors)?));
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self { current: Arc::default(), anchors, installed: Arc::default(), provider })
    }

    /// Puts a certificate in force, for every handshake from now on.
    ///
    /// # Errors
    /// When the key does not fit, the leaf has not exactly one SPIFFE ID, or an anchor cannot be read; what was in force stays.
    pub fn install(&self, certificate: Certificate) -> Result<(), Error> {
        let Certificate { chain, key, anchors, not_before, not_after } = certificate;
        let identity = peer_identity(&chain)?;
        let key = CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|error| Error::Key(error.to_string()))?;
        if !anchors.is_empty() && anchors != self.anchors.load().certificates {
            self.anchors.store(Arc::new(Anchors::new(anchors)?));
        }
        self.current.store(Some(Arc::new(Current { key: Arc::new(key), identity, not_before, not_after })));
        self.installed.notify_waiters();
        Ok(())
    }

    /// Waits until there is a certificate that has not ended.
    pub async fn certified(&self) {
        loop {
            // Asked for before looking, so that one installed in between is not missed.
            let installed = self.installed.notified();
            if self.has_certificate() {
                return;
            }
            installed.await;
        }
    }

    /// Trusts these anchors from now on, for every handshake; the certificate stays.
    ///
    /// # Errors
    /// When there is none, or one cannot be read; what was in force stays.
    pub fn trust(&self, anchors: Vec<CertificateDer<'static>>) -> Result<(), Error> {
        if anchors != self.anchors.load().certificates {
            self.anchors.store(Arc::new(Anchors::new(anchors)?));
        }
        Ok(())
    }

    /// What our certificate says we are.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.current.load().as_ref().map(|current| current.identity.clone())
    }

    /// Whether there is a certificate that has not ended.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.not_after().is_some_and(|end| end > SystemTime::now())
    }

    /// When our certificate became valid.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.current.load().as_ref().map(|current| current.not_before)
    }

    /// When our certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.current.load().as_ref().map(|current| current.not_after)
    }

    /// Our chain, leaf first; empty while there is none.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().as_ref().map(|current| current.key.cert.clone()).unwrap_or_default()
    }

    /// The trust anchors in force.
    #[must_use]
    pub fn anchors(&self) -> Vec<CertificateDer<'static>> {
        self.anchors.load().certificates.clone()
    }

    fn verifier(&self, expected: Option<Identity>, anonymous: bool) -> Arc<Verifier> {
        Arc::new(Verifier {
            anchors: self.anchors.clone(),
            provider: self.provider.clone(),
            own: self.current.clone(),
            expected,
            anonymous,
        })
    }

    /// How a server of the mesh answers handshakes.
    #[must_use]
    pub fn server_config(&self, clients: ClientAuth, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let verifier = self.verifier(None, clients == ClientAuth::Optional);
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider has suites of TLS 1.3: it is compiled in")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Own(self.current.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    /// How we begin a handshake with a server that must prove to be `expected`.
    #[must_use]
    pub fn client_config(&self, expected: &Identity, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        self.client(expected, alpn, self.current.clone())
    }

    /// As [`Credentials::client_config`], without showing a certificate of ours.
    #[must_use]
    pub fn anonymous_client_config(&self, expected: &Identity, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        self.client(expected, alpn, Arc::default())
    }

    fn client(
        &self,
        expected: &Identity,
        alpn: &[&[u8]],
        own: Arc<ArcSwapOption<Current>>,
    ) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider has suites of TLS 1.3: it is compiled in")
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(Some(expected.clone()), false))
            .with_client_cert_resolver(Arc::new(Own(own)));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Resolves to the certificate in force.
#[derive(Debug)]
struct Own(Arc<ArcSwapOption<Current>>);

impl Own {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|current| current.key.clone())
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
