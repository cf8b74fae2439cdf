//! `conduit demo`: a shop of seven workloads that speak HTTP/1.1, gRPC and TCP with each other, one that fails now and then and
//! one that is slow, in a local world with the mesh around it. `app` is what runs in the pods; the rest deploys it, watches it
//! through the operator API as any operator would, and takes it down. Deliberately absent: anything the mesh itself needs.

pub mod app;
mod run;
mod measure;
mod table;

pub use run::{Options, PODS_MAX, run};
