//! From the mesh to the application. The modules stand in the order in which a connection meets them:
//!
//! accept → detect → tls → exchange (HTTP/1) or watched (HTTP/2 of the mesh) or streams (any other) or tunnels (HBONE) → forward
//!
//! A stage calls the next by name; none calls an earlier one.

pub mod accept;
pub mod detect;
pub mod tls;
pub mod exchange;
pub mod watched;
pub mod calls;
pub mod streams;
pub mod tunnels;
pub mod bypass;
pub mod forward;

use std::net::IpAddr;
use std::sync::Arc;

use conduit_process::tasks::Tasks;
use conduit_tls::Credentials;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::Discovery;
use crate::http::exchange::HeadLimits;
use crate::tap::Hub;
use crate::tcp::dial::Dialer;
use crate::telemetry::Telemetry;

/// What every inbound connection shares.
pub struct Inbound {
    /// The configuration.
    pub config: Arc<Config>,
    /// How connections to the application are opened.
    pub dialer: Dialer,
    /// Our certificate and the trust anchors.
    pub credentials: Credentials,
    /// How mutual TLS is answered; reads the current certificate at each handshake.
    pub tls: Arc<ServerConfig>,
    /// What our own ports are declared to speak.
    pub discovery: Discovery,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
    /// Who watches.
    pub tap: Arc<Hub>,
    /// Owns streams.
    pub tasks: Tasks,
    /// Fires when the proxy drains.
    pub draining: CancellationToken,
    /// What ports turned out to speak.
    pub learned: detect::Learned,
    /// The connections of tunnels, for those that get one of their own.
    pub bypasses: Arc<bypass::Trunks>,
}

impl Inbound {
    /// Whether the address is our own pod's.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.config.pod_ips.contains(&ip)
    }

    /// What is accepted as a head.
    #[must_use]
    pub fn head_limits(&self) -> HeadLimits {
        HeadLimits { bytes_max: self.config.header_bytes_max, timeout: self.config.header_timeout }
    }
}
