//! What the controller does with a cluster beside reading it: its client, the election of the writer among its replicas, and
//! the list of rights that all of it needs.

pub mod client;
pub mod lease;
pub mod rights;
