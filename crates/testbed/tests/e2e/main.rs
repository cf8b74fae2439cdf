//! End to end: real processes in network namespaces, one file per behaviour. Without the privilege for namespaces, or without the
//! executables, every test fails and says what to do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic at its own line")]

mod support;
mod world;
mod http1;
mod websocket;
mod grpc;
mod h2c;
mod tcp;
mod ipv6;
mod security;
mod limits;
mod rotation;
mod outage;
mod churn;
mod drain;
mod live;
mod tap;
mod demo;
