//! End to end: real processes in network namespaces, one file per behaviour. Without the privilege for namespaces, or without the
//! executables, every test fails and says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic at its own line")]

mod support;
mod world;
mod http1;
mod grpc;
mod tcp;
mod security;
mod rotation;
mod outage;
mod churn;
mod drain;
mod live;
