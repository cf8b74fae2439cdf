//! Who is the peer? Its chain must lead to a current trust anchor, and its leaf must have exactly one name, a SPIFFE ID. A
//! client also knows beforehand which identity the server must prove; a server lets in its own trust domain alone, whatever else
//! the anchors may have signed.
//!
//! Sources: X.509-SVID specification sections 2 and 5, SPIFFE Trust Domain and Bundle section 4, RFC 5280 section 6.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use conduit_logic::words::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::Error;
use crate::credentials::Current;

/// The trust anchors in force.
#[derive(Debug)]
pub(crate) struct Anchors {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    parsed: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    pub(crate) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        if certificates.is_empty() {
            return Err(Error::NoAnchor);
        }
        let anchor = |der: &CertificateDer<'static>| match anchor_from_trusted_cert(der) {
            Ok(anchor) => Ok(anchor.to_owned()),
            Err(error) => Err(Error::Certificate(format!("trust anchor: {error}"))),
        };
        let parsed = certificates.iter().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self { certificates, parsed })
    }
}

/// The identity that a certificate chain names; the chain has been verified, or is our own.
///
/// # Errors
/// When there is no certificate, or it has not exactly one name, a SPIFFE ID.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<Identity, Error> {
    let leaf = chain.first().ok_or_else(|| Error::Names("no certificate was presented".to_owned()))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| Error::Certificate(error.to_string()))?;
    let mut names = leaf.valid_uri_names();
    match (names.next(), names.next(), leaf.valid_dns_names().next()) {
        (Some(uri), None, None) => Ok(Identity::parse(uri)?),
        (None, ..) => Err(Error::Names("it has none".to_owned())),
        _ => Err(Error::Names("it has several names".to_owned())),
    }
}

/// Verifies peers against the anchors in force at the time of the handshake.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) anchors: Arc<ArcSwap<Anchors>>,
    pub(crate) provider: Arc<CryptoProvider>,
    /// What we are ourselves.
    pub(crate) own: Arc<ArcSwapOption<Current>>,
    /// As a client: what the server must prove.
    pub(crate) expected: Option<Identity>,
    /// As a server: whether a client may come without a certificate.
    pub(crate) anonymous: bool,
}

impl Verifier {
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Identity, rustls::Error> {
        let refuse = |error: webpki::Error| match error {
            webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
            webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
            webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
            other => rustls::Error::General(format!("the peer's certificate is refused: {other}")),
        };
        let anchors = self.anchors.load();
        let parsed = EndEntityCert::try_from(leaf).map_err(refuse)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        parsed
            .verify_for_usage(algorithms, &anchors.parsed, intermediates, now, usage, None, None)
            .map_err(refuse)?;
        peer_identity(std::slice::from_ref(leaf)).map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let proven = self.chain(leaf, intermediates, now, KeyUsage::server_auth())?;
        match &self.expected {
            Some(expected) if *expected == proven => Ok(ServerCertVerified::assertion()),
            expected => {
                let expected = expected.as_ref().map_or("nobody", Identity::as_str);
                Err(rustls::Error::General(format!("the server is {proven}, expected {expected}")))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.anonymous
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let proven = self.chain(leaf, intermediates, now, KeyUsage::client_auth())?;
        let own = self.own.load();
        let own = own.as_ref().map_or("none", |current| current.identity.trust_domain());
        if proven.trust_domain() == own {
            return Ok(ClientCertVerified::assertion());
        }
        Err(rustls::Error::General(format!("the client is {proven}, not of our trust domain {own}")))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
