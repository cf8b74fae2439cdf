//! Who may be what: the authority and what it stands on, where that is kept, how it rotates, the review of tokens, and the
//! service that signs.

pub mod authority;
pub mod material;
pub mod directory;
pub mod secret;
pub mod given;
pub mod rotation;
pub mod service;
pub mod tokens;
pub mod review;
