//! What the controller does with a cluster beside reading it: its client, and the election of the writer among its replicas.
//! The rights that it needs stand in the manifests (crates/install), each with what it is for.

pub mod client;
pub mod lease;
