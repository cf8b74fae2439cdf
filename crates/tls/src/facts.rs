//! How a finished handshake protects its bytes, in the words that metrics and output use.

use rustls::{CommonState, NamedGroup, ProtocolVersion};

/// How the bytes of a connection are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The key exchange group, `X25519MLKEM768` between two of ours.
    pub key_exchange: &'static str,
}

/// The facts of a connection whose handshake is finished; empty words before that.
#[must_use]
pub fn facts(connection: &CommonState) -> Facts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(_) => "unknown",
        None => "",
    };
    let key_exchange = match connection.negotiated_key_exchange_group().map(|group| group.name()) {
        Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
        Some(NamedGroup::X25519) => "X25519",
        Some(NamedGroup::secp256r1) => "secp256r1",
        Some(NamedGroup::secp384r1) => "secp384r1",
        Some(NamedGroup::secp256r1MLKEM768) => "SecP256r1MLKEM768",
        Some(NamedGroup::MLKEM768) => "MLKEM768",
        Some(_) => "unknown",
        None => "",
    };
    Facts { version, key_exchange }
}
