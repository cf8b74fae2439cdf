//! Who may be what: the certificate authority, the review of tokens, and the service that signs.

pub mod authority;
pub mod service;
pub mod tokens;
