//! From the application to the mesh. The modules stand in the order in which a connection meets them:
//!
//! accept → discover → detect → exchange (HTTP/1) or streams and call (HTTP/2) or opaque (anything else) → attempts → balance → connect
//!
//! A stage calls the next by name; none calls an earlier one.

pub mod accept;
pub mod discover;
pub mod detect;
pub mod exchange;
pub mod streams;
pub mod call;
pub mod opaque;
pub mod bypass;
pub mod attempts;
pub mod balance;
pub mod connect;
pub mod shared;
pub mod idle;

use std::net::IpAddr;
use std::sync::Arc;

use conduit_process::tasks::Tasks;
use conduit_tls::Credentials;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::exchange::HeadLimits;
use crate::tap::Hub;
use crate::tcp::dial::Dialer;
use crate::telemetry::Telemetry;

/// What every outbound connection shares.
pub struct Outbound {
    /// The configuration.
    pub config: Arc<Config>,
    /// How connections are opened.
    pub dialer: Dialer,
    /// Our certificate and the trust anchors.
    pub credentials: Credentials,
    /// Destinations by address.
    pub services: discover::Services,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
    /// Who watches.
    pub tap: Arc<Hub>,
    /// Owns what the application's streams run in; waited for when the proxy drains.
    pub tasks: Tasks,
    /// Owns the pools' connections to endpoints, which live until the pools let them go; not waited for.
    pub pools: Tasks,
    /// Fires when the proxy drains: requests finish, connections do not stay.
    pub draining: CancellationToken,
    /// Places for tunnels with a connection of their own, at most [`bypass::BYPASSES_MAX`].
    pub bypasses: Arc<Semaphore>,
}

impl Outbound {
    /// Whether the address is our own pod's: bytes to it never leave the pod.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.config.pod_ips.contains(&ip)
    }

    /// Whether the address is this host's in the sense of the redirect rules: loopback or our own.
    #[must_use]
    pub fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.is_own(ip)
    }

    /// What is accepted as a head.
    #[must_use]
    pub fn head_limits(&self) -> HeadLimits {
        HeadLimits { bytes_max: self.config.header_bytes_max, timeout: self.config.header_timeout }
    }

    /// Every known destination with its endpoints, their state and latency estimate, as JSON.
    #[must_use]
    pub fn describe(&self) -> String {
        let endpoint = |state: &Arc<balance::EndpointState>| {
            let now = state.snapshot();
            let endpoint = &state.endpoint;
            serde_json::json!({
                "address": endpoint.addr.to_string(),
                "pod": endpoint.pod.to_string(),
                "workload": endpoint.workload.to_string(),
                "identity": endpoint.identity.as_ref().map(ToString::to_string),
                "weight": endpoint.weight,
                "zone": endpoint.zone,
                "pending": now.pending,
                "latency_ms": now.latency.as_secs_f64() * 1000.0,
                "state": if now.out { "out" } else { "in" },
            })
        };
        let destination = |service: Arc<balance::Service>| {
            let (destination, endpoints) = service.view()?;
            Some(serde_json::json!({
                "address": service.addr.to_string(),
                "service": destination.service.as_ref().map(ToString::to_string),
                "protocol": format!("{:?}", destination.declared).to_lowercase(),
                "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            }))
        };
        serde_json::Value::Array(self.services.all().into_iter().filter_map(destination).collect())
            .to_string()
    }
}
