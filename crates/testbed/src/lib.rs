//! The local world: a mesh for any program on one Linux machine, with network namespaces as pods. `conduit local`, the demo, the end-to-end
//! tests and the benchmarks stand on it. It may use every other crate's words and the redirect crate's rules, and runs the proxy and the
//! controller as processes only. Deliberately absent: containers, images, scheduling; it is a workbench, not an orchestrator. Where these are
//! the subject there is `cluster`: upstream's Kubernetes on this machine, which shares nothing with the local world.
//!
//! ```text
//! conduit local … --client--> supervisor.sock --api--> state --+--> manifests/ --> conduit-controller
//!                                                |             +--> cluster IPs in the node's namespace
//!                                                +--> pod: network, redirect rules, proxy, application, readiness, end
//! ```

pub mod spec;
pub mod client;
pub mod supervisor;
mod api;
mod wire;
mod state;
mod pod;
mod listening;
mod daemon;
mod processes;
mod namespaces;
mod network;
mod names;
mod manifests;
mod tokens;
mod logs;
pub mod world;
pub mod wait;

pub mod demo;

pub mod cluster;
