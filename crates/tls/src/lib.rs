//! Mutual TLS with SPIFFE identities: what proxy and controller share. TLS 1.3 only, the hybrid post-quantum key exchange
//! first, no session resumption. It stands on `logic` for the word identity; files, sockets and the issuing of
//! certificates are not its business.

mod error;
mod anchors;
mod verify;
mod credentials;
mod facts;

pub use anchors::{peer_identity, read_anchors};
pub use credentials::{Certificate, ClientAuth, Credentials};
pub use error::Error;
pub use facts::{Facts, facts};

/// The server name (SNI) of every handshake in the mesh. A SPIFFE identity has no DNS name; who the server is, its
/// certificate says.
pub const SERVER_NAME: &str = "conduit";

/// Certificates in one chain at the most, on either side: leaf, issuer, and room for a rotation's cross-signed ones.
pub const CHAIN_MAX: usize = 8;

/// Trust anchors at the most: a rotation overlaps two; more than this is a wrong file.
pub const ANCHORS_MAX: usize = 64;
