//! Mutual TLS with SPIFFE identities, shared by proxy and controller: credentials that are replaced while in use, and
//! verification on both ends. It depends on rustls and `logic` alone. Deliberately absent: host names, session resumption (a
//! resumed session would skip the check against the current trust anchors) and any TLS before 1.3.

mod credentials;
mod verify;

pub use credentials::{Certificate, ClientAuth, Credentials};
pub use verify::peer_identity;

use conduit_logic::words::InvalidIdentity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CommonState, ConnectionCommon};
use thiserror::Error;

/// SPIFFE identities are no host names: every handshake of the mesh names this server, and nothing is decided by it.
pub const SERVER_NAME: &str = "conduit";

/// What can be wrong with certificates and keys.
#[derive(Debug, Error)]
pub enum Error {
    /// A PEM file could not be read.
    #[error("not a PEM file with certificates: {0}")]
    Pem(String),
    /// No trust anchor: nobody could be verified.
    #[error("there is no trust anchor: nobody's identity could be verified")]
    NoAnchor,
    /// A certificate is not X.509 or not usable as what it is given for.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// A certificate names no SPIFFE ID, or more than one name.
    #[error("the certificate must have exactly one URI name, a SPIFFE ID: {0}")]
    Names(String),
    /// The name is not a workload identity.
    #[error("{0}")]
    Identity(#[from] InvalidIdentity),
    /// The key does not fit the certificate, or cannot be used.
    #[error("the private key cannot be used with the certificate: {0}")]
    Key(String),
}

/// What a handshake agreed on, in the words of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub key_exchange: &'static str,
}

/// What the handshake of this connection agreed on.
#[must_use]
pub fn facts(session: &CommonState) -> Facts {
    use rustls::NamedGroup;
    let key_exchange = match session.negotiated_key_exchange_group().map(|group| group.name()) {
        Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
        Some(NamedGroup::X25519) => "X25519",
        Some(NamedGroup::secp256r1) => "secp256r1",
        Some(NamedGroup::secp384r1) => "secp384r1",
        Some(NamedGroup::secp256r1MLKEM768) => "secp256r1MLKEM768",
        _ => "unknown",
    };
    Facts { version: "TLSv1.3", key_exchange }
}

/// The purpose of a [`proof`]: that an answer is a proxy's own.
pub const ANSWERS: &[u8] = b"EXPORTER-conduit-proxy-answer";
/// The purpose of a [`proof`]: that a connection is for a tunnel of this one.
pub const TUNNELS: &[u8] = b"EXPORTER-conduit-tunnels";

/// A secret of this connection's two ends, in hexadecimal digits: who says it is one of them. Each purpose has another. `None` before the
/// handshake's end.
///
/// Source: RFC 8446 section 7.5 (exporters).
#[must_use]
pub fn proof<Side>(session: &ConnectionCommon<Side>, purpose: &[u8]) -> Option<String> {
    let secret = session.export_keying_material([0; 16], purpose, None).ok()?;
    Some(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads trust anchors from PEM text.
///
/// # Errors
/// When it is not PEM or has no certificate.
pub fn read_anchors(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let anchors: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let anchors = anchors.map_err(|error| Error::Pem(error.to_string()))?;
    if anchors.is_empty() { Err(Error::NoAnchor) } else { Ok(anchors) }
}
