//! Who may be at the other end: the chain must lead to a current trust anchor, and the leaf must name the workload that is
//! expected (servers) or one of our own trust domain (clients). Names in DNS play no part.
//!
//! Source: SPIFFE X509-SVID, sections 2 and 5 (one URI; a trust domain's anchors speak for that trust domain only).

use std::sync::Arc;

use conduit_logic::words::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::credentials::{ClientAuth, Credentials};
use crate::{CHAIN_MAX, Error, peer_identity};

type Valid = Result<HandshakeSignatureValid, rustls::Error>;

/// Checks the chain against the current anchors and reads the identity.
fn verify(
    credentials: &Credentials,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    usage: KeyUsage,
    now: UnixTime,
) -> Result<Identity, rustls::Error> {
    if intermediates.len() >= CHAIN_MAX {
        return Err(refused(Error::ChainTooLong(intermediates.len() + 1)));
    }
    let algorithms = credentials.algorithms();
    EndEntityCert::try_from(leaf)
        .and_then(|cert| {
            let anchors = credentials.trusted();
            cert.verify_for_usage(algorithms.all, &anchors.trusted, intermediates, now, usage, None, None)?;
            Ok(())
        })
        .map_err(invalid)?;
    peer_identity(std::slice::from_ref(leaf)).map_err(refused)
}

/// An error of ours inside one of the TLS library's. Not as a `CertificateError`: those show it in its debug form.
fn refused(error: Error) -> rustls::Error {
    rustls::Error::Other(OtherError(Arc::new(error)))
}

/// The chain's errors that have a meaning (and an alert) of their own keep it.
fn invalid(error: webpki::Error) -> rustls::Error {
    let error = match error {
        webpki::Error::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        other => return rustls::Error::Other(OtherError(Arc::new(other))),
    };
    rustls::Error::InvalidCertificate(error)
}

fn no_older_version() -> Valid {
    Err(rustls::Error::General("only TLS 1.3 is spoken in the mesh".to_owned()))
}

/// Accepts exactly one server.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) credentials: Credentials,
    pub(crate) expected: Identity,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = verify(&self.credentials, leaf, intermediates, KeyUsage::server_auth(), now)?;
        if found != self.expected {
            return Err(refused(Error::WrongIdentity { expected: self.expected.clone(), found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        no_older_version()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Valid {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts every client of our trust domain.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) credentials: Credentials,
    pub(crate) auth: ClientAuth,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.auth == ClientAuth::Required
    }

    // The anchors change while a configuration lives, and a mesh peer has one certificate to choose from: no hints.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let found = verify(&self.credentials, leaf, intermediates, KeyUsage::client_auth(), now)?;
        if let Some(own) = self.credentials.identity()
            && own.trust_domain() != found.trust_domain()
        {
            let expected = own.trust_domain().to_owned();
            return Err(refused(Error::WrongTrustDomain { expected, found }));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        no_older_version()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Valid {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
