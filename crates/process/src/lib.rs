//! What every long-running Conduit process needs: tasks with an owner, signals, readiness, logs, listening, the wall clock, the admin port,
//! resource usage. It depends on tokio, hyper and tracing and on no other Conduit crate. Deliberately absent: TLS, gRPC, metrics of a
//! particular process (each process hands its own text to [`admin`]) and any reading of the environment.

pub mod admin;
pub mod build;
pub mod clock;
pub mod listen;
pub mod limits;
pub mod logs;
pub mod memory;
pub mod ready;
pub mod signal;
pub mod tasks;
pub mod usage;
