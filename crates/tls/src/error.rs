//! What can be wrong with certificates, keys and peers, with text that says what happened and what to do. No I/O error is in
//! here: reading files is the caller's.

use conduit_logic::words::{Identity, InvalidIdentity};
use thiserror::Error;

/// Why credentials or a peer are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// No anchor: nothing could ever be trusted.
    #[error("there is no trust anchor; give at least one CA certificate in PEM")]
    NoAnchors,
    /// More anchors than make sense.
    #[error("there are {0} trust anchors, more than {max}; is it the right file?", max = crate::ANCHORS_MAX)]
    TooManyAnchors(usize),
    /// An anchor cannot be read.
    #[error("trust anchor number {index} cannot be read: {reason}")]
    BadAnchor {
        /// Its position, from 0.
        index: usize,
        /// The parser's words.
        reason: String,
    },
    /// The text around the anchors is not PEM.
    #[error("the trust anchors are not valid PEM: {0}")]
    BadPem(String),
    /// No certificate was presented.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// More certificates than make sense.
    #[error("the chain has {0} certificates, more than {max}", max = crate::CHAIN_MAX)]
    ChainTooLong(usize),
    /// The leaf cannot be read.
    #[error("the certificate cannot be read: {0}")]
    BadCertificate(String),
    /// A SPIFFE certificate has exactly one URI (X509-SVID, section 2).
    #[error("the certificate names {0} URIs; a SPIFFE certificate names exactly one")]
    NotOneUri(usize),
    /// The URI is not a workload's.
    #[error(transparent)]
    BadIdentity(#[from] InvalidIdentity),
    /// The peer is another one than expected.
    #[error("the peer proved to be {found}, expected was {expected}")]
    WrongIdentity {
        /// Who it should have been.
        expected: Identity,
        /// Who it is.
        found: Identity,
    },
    /// The anchors speak for our own trust domain only.
    #[error(
        "the peer {found} is of another trust domain than `{expected}`, for which our trust anchors speak"
    )]
    WrongTrustDomain {
        /// Our trust domain.
        expected: String,
        /// Who it is.
        found: Identity,
    },
    /// The private key cannot be used.
    #[error("the private key cannot be used: {0}")]
    BadKey(String),
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate: {0}")]
    KeyMismatch(String),
    /// The TLS library refused the configuration.
    #[error("TLS cannot be configured: {0}")]
    Config(String),
}
