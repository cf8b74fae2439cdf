//! Conduit on a real Kubernetes cluster, one file per subject. All tests share the cluster that runs (`cargo xtask cluster up`, and
//! `cargo xtask cluster import target/images/*.tar` for the images), each in a namespace of its own; `cargo xtask test --only k8s` starts and
//! ends one for them. Without a cluster every test fails and says what to do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic at its own line")]

mod support;
mod mesh;
mod edges;
mod replicas;
mod load;
mod smoke;
mod faults;
mod lifecycle;
mod injection;
mod manifests;
mod operator;
mod check;
mod traffic;
mod workloads;
mod ending;
mod availability;
mod rotation;
mod cert_manager;
mod families;
mod upgrade;
mod rights;
mod cni;
