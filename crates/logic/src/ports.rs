//! Every port and fixed name of Conduit, in one table. docs/ports.md is generated from it.

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// TCP port.
    pub port: u16,
    /// The process that listens.
    pub process: &'static str,
    /// What is served there, and to whom.
    pub purpose: &'static str,
}

/// Where the redirect rules send what the application sends out.
pub const PROXY_OUTBOUND: u16 = 4140;
/// Where the redirect rules send what comes in for the application.
pub const PROXY_INBOUND: u16 = 4143;
/// Tap and inspection, mutual TLS, for the controller alone.
pub const PROXY_CONTROL: u16 = 4190;
/// /live, /ready, /metrics and the log level.
pub const PROXY_ADMIN: u16 = 4191;
/// HTTP/2 CONNECT tunnels (HBONE); redirected to the inbound port.
pub const HBONE: u16 = 15008;
/// Identity, discovery and metrics, for proxies.
pub const CONTROLLER_GRPC: u16 = 8086;
/// The command line's API, on the pod's loopback: the API server forwards to it.
pub const CONTROLLER_OPERATOR: u16 = 8087;
/// /live, /ready, /metrics and the log level of the controller.
pub const CONTROLLER_ADMIN: u16 = 8091;
/// The admission webhook, for the API server.
pub const CONTROLLER_WEBHOOK: u16 = 8443;

/// Every port on which something of Conduit's listens.
pub const PORTS: [Port; 9] = [
    Port {
        port: PROXY_OUTBOUND,
        process: "conduit-proxy",
        purpose: "outbound: redirected connections of the pod's application",
    },
    Port {
        port: PROXY_INBOUND,
        process: "conduit-proxy",
        purpose: "inbound: redirected connections to the pod's application",
    },
    Port {
        port: PROXY_CONTROL,
        process: "conduit-proxy",
        purpose: "tap and inspection, over mutual TLS, for the controller only",
    },
    Port { port: PROXY_ADMIN, process: "conduit-proxy", purpose: "/live, /ready, /metrics, /log-level" },
    Port {
        port: HBONE,
        process: "conduit-proxy",
        purpose: "HTTP/2 CONNECT tunnels (HBONE) for opaque TCP, and connections of their own for those that move a lot; redirected to 4143",
    },
    Port {
        port: CONTROLLER_GRPC,
        process: "conduit-controller",
        purpose: "identity, discovery and metrics, over TLS, for proxies",
    },
    Port {
        port: CONTROLLER_OPERATOR,
        process: "conduit-controller",
        purpose: "the command line's API, over TLS, on the loopback: reached by port-forward alone",
    },
    Port {
        port: CONTROLLER_ADMIN,
        process: "conduit-controller",
        purpose: "/live, /ready, /metrics, /log-level",
    },
    Port {
        port: CONTROLLER_WEBHOOK,
        process: "conduit-controller",
        purpose: "the admission webhook that injects, over TLS, for the API server",
    },
];

/// The user that the proxy runs as; its connections are not redirected.
pub const PROXY_UID: u32 = 2102;
/// The mark that exempts the proxy's connections where no second user can be had (rootless `conduit local`).
pub const PROXY_MARK: u32 = 2102;
/// The audience of the ServiceAccount tokens that the identity service accepts.
pub const TOKEN_AUDIENCE: &str = "conduit";
/// The trust domain where none is configured.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// The namespace of the control plane.
pub const CONTROLLER_NAMESPACE: &str = "conduit";
/// The controller's service account.
pub const CONTROLLER_SERVICE_ACCOUNT: &str = "conduit-controller";
/// The label of a pod that has a proxy; its value is "true".
pub const LABEL_MESHED: &str = "conduit.io/meshed";
/// The annotation, on a Service or a Pod, that lists opaque ports: `3306,5000-5010`.
pub const ANNOTATION_OPAQUE_PORTS: &str = "conduit.io/opaque-ports";
