//! A process's own certificate and the trust anchors, replaced as a whole while connections go on: each handshake reads what
//! is current. It asks for no certificate and reads no file.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use conduit_logic::words::Identity;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::anchors::Anchors;
use crate::verify::{Clients, Servers};
use crate::{CHAIN_MAX, Error, peer_identity};

/// Whether a client must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Without one the handshake fails.
    Required,
    /// One that is presented must be valid; without one the peer is nobody.
    Optional,
}

/// A certificate to present, with its key.
pub struct Certificate {
    /// Leaf first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
    /// The trust anchors from now on; empty keeps the current ones.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Begin of its validity.
    pub not_before: SystemTime,
    /// End of its validity.
    pub not_after: SystemTime,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("chain", &self.chain.len())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

struct Current {
    certified: Arc<CertifiedKey>,
    identity: Identity,
    not_before: SystemTime,
    not_after: SystemTime,
}

#[derive(Clone)]
struct State {
    anchors: Arc<Anchors>,
    current: Option<Arc<Current>>,
}

struct Shared {
    provider: Arc<CryptoProvider>,
    state: ArcSwap<State>,
}

/// The current certificate and trust anchors. Clones share them.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Trust anchors, and no certificate yet.
    ///
    /// # Errors
    /// When there is no anchor or one cannot be read.
    pub fn new(anchors: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let state = State { anchors: Arc::new(Anchors::new(anchors)?), current: None };
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self(Arc::new(Shared { provider, state: ArcSwap::from_pointee(state) })))
    }

    /// Replaces the certificate, and the trust anchors if any are given, for all handshakes that begin after it.
    ///
    /// # Errors
    /// When the key is not the certificate's, the leaf does not name exactly one workload, or an anchor cannot be read;
    /// nothing is changed then.
    pub fn install(&self, certificate: Certificate) -> Result<(), Error> {
        let Certificate { chain, key, anchors, not_before, not_after } = certificate;
        if chain.len() > CHAIN_MAX {
            return Err(Error::ChainTooLong(chain.len()));
        }
        let identity = peer_identity(&chain)?;
        let anchors = match anchors.is_empty() {
            true => None,
            false => Some(Arc::new(Anchors::new(anchors)?)),
        };
        let key =
            self.0.provider.key_provider.load_private_key(key).map_err(|e| Error::BadKey(e.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| Error::KeyMismatch(error.to_string()))?;
        let current = Arc::new(Current { certified: Arc::new(certified), identity, not_before, not_after });
        self.0.state.rcu(|old| State {
            anchors: anchors.clone().unwrap_or_else(|| old.anchors.clone()),
            current: Some(current.clone()),
        });
        Ok(())
    }

    /// Replaces the trust anchors alone.
    ///
    /// # Errors
    /// When there is none or one cannot be read; nothing is changed then.
    pub fn replace_anchors(&self, anchors: Vec<CertificateDer<'static>>) -> Result<(), Error> {
        let anchors = Arc::new(Anchors::new(anchors)?);
        self.0.state.rcu(|old| State { anchors: anchors.clone(), current: old.current.clone() });
        Ok(())
    }

    fn current(&self) -> Option<Arc<Current>> {
        self.0.state.load().current.clone()
    }

    pub(crate) fn trusted(&self) -> Arc<Anchors> {
        self.0.state.load().anchors.clone()
    }

    pub(crate) fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.0.provider.signature_verification_algorithms
    }

    /// Whom the current certificate names.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.current().map(|current| current.identity.clone())
    }

    /// When the current certificate begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.current().map(|current| current.not_before)
    }

    /// When the current certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.current().map(|current| current.not_after)
    }

    /// Whether there is a certificate. One that has expired counts too: peers judge it.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.0.state.load().current.is_some()
    }

    /// The current trust anchors.
    #[must_use]
    pub fn anchors(&self) -> Vec<CertificateDer<'static>> {
        self.trusted().der.clone()
    }

    /// The current chain, leaf first; empty before the first certificate.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current().map(|current| current.certified.cert.clone()).unwrap_or_default()
    }

    /// How to accept connections. Each handshake presents and trusts what is current then.
    #[must_use]
    pub fn server_config(&self, auth: ClientAuth, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let clients = Clients { credentials: self.clone(), auth, algorithms: self.algorithms() };
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites and key exchange groups for TLS 1.3")
            .with_client_cert_verifier(Arc::new(clients))
            .with_cert_resolver(Arc::new(Own(self.clone())));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Arc::new(config)
    }

    /// How to connect to `expected`, presenting our certificate; any other server is refused. Each handshake presents and
    /// trusts what is current then; before there is a certificate none is presented.
    #[must_use]
    pub fn client_config(&self, expected: &Identity, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        self.client(expected, alpn, Some(Arc::new(Own(self.clone()))))
    }

    /// How to connect to `expected` without a certificate of our own: what the first certificate is asked for with.
    #[must_use]
    pub fn anonymous_client_config(&self, expected: &Identity, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        self.client(expected, alpn, None)
    }

    fn client(&self, expected: &Identity, alpn: &[&[u8]], own: Option<Arc<Own>>) -> Arc<ClientConfig> {
        let algorithms = self.algorithms();
        let servers = Servers { credentials: self.clone(), expected: expected.clone(), algorithms };
        let builder = ClientConfig::builder_with_provider(self.0.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites and key exchange groups for TLS 1.3")
            .dangerous() // the library's word for a verifier of one's own
            .with_custom_certificate_verifier(Arc::new(servers));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(own),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Presents the current certificate.
#[derive(Debug)]
struct Own(Credentials);

impl Own {
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.0.current().map(|current| current.certified.clone())
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.0.has_certificate()
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
