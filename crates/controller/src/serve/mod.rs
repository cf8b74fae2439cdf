//! What proxies are served over mutual TLS: discovery here, identity and metrics in modules of their own. A caller is known by
//! the identity that its certificate proves, and asks only for what is its own.

pub mod discovery;
pub mod encoded;
pub mod listener;
