//! The `conduit-controller` binary over real sockets: proxies' gRPC over mutual TLS, the operator API on its unix socket, manifests and
//! identity in a temporary directory. Each test has a controller of its own on a loopback address of its own; no proxy is needed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test itself does"
)]
#![expect(clippy::large_futures, reason = "a test has few futures, and each once")]

mod world;
mod discovery;
mod identity;
mod operator;
mod tap;
mod process;
