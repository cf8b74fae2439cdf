//! Conduit's data plane. The modules stand in the order in which a connection meets them: `outbound` from the application to
//! the mesh, `inbound` from the mesh to the application; `http`, `tcp` are the tools they call; the rest is what the proxy
//! needs beside the traffic: configuration, identity, discovery, tap, telemetry.

pub mod config;
pub mod failure;
pub mod record;
pub mod start;
pub mod redirection;
pub mod validate;
pub mod outbound;
pub mod inbound;
pub mod http;
pub mod tcp;
pub mod identity;
pub mod control;
pub mod tap;
pub mod telemetry;
