//! Conduit's gRPC APIs, generated from `proto/`, and their conversions to the words of `conduit-logic`.
//! It depends on `logic`, prost and tonic only; no transport and no I/O is chosen here.

macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1, as generated; the proto file documents each item.
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

generated!(
    /// Words shared by all APIs.
    common, "conduit.common.v1");
generated!(
    /// How a proxy learns where an address leads.
    discovery, "conduit.discovery.v1");
generated!(
    /// How a proxy gets its certificate.
    identity, "conduit.identity.v1");
generated!(
    /// What proxies report.
    metrics, "conduit.metrics.v1");
generated!(
    /// Live events and inspection, served by proxies to the controller.
    tap, "conduit.tap.v1");
generated!(
    /// What the command line asks of the controller.
    operator, "conduit.operator.v1");

pub mod convert;
