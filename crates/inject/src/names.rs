//! The annotations, labels and object names of injection, in one table. docs/annotations.md is generated from it.

/// On a namespace or a pod: `enabled` or `disabled`. Also read as a label of a pod, where the API server itself can leave it out.
pub const INJECT: &str = "conduit.io/inject";
/// `native` or `classic`.
pub const SIDECAR: &str = "conduit.io/sidecar";
/// Ports of the application that are not redirected.
pub const SKIP_INBOUND: &str = "conduit.io/skip-inbound-ports";
/// Ports of destinations that are not redirected.
pub const SKIP_OUTBOUND: &str = "conduit.io/skip-outbound-ports";
/// CPU that the proxy asks for.
pub const CPU_REQUEST: &str = "conduit.io/proxy-cpu-request";
/// CPU that the proxy may use.
pub const CPU_LIMIT: &str = "conduit.io/proxy-cpu-limit";
/// Memory that the proxy asks for.
pub const MEMORY_REQUEST: &str = "conduit.io/proxy-memory-request";
/// Memory that the proxy may use.
pub const MEMORY_LIMIT: &str = "conduit.io/proxy-memory-limit";
/// The proxy's log filter.
pub const LOG_LEVEL: &str = "conduit.io/proxy-log-level";
/// The proxy's image.
pub const IMAGE: &str = "conduit.io/proxy-image";
/// The beginning of names that only injection uses: an unknown one is a mistake.
pub const PREFIXES: [&str; 4] =
    ["conduit.io/inject", "conduit.io/sidecar", "conduit.io/skip-", "conduit.io/proxy-"];

/// Written by us: the trust anchors, which the pod's volume shows to the proxy as a file.
pub const TRUST_ANCHORS: &str = "conduit.io/trust-anchors";
/// Written by us: the version that injected.
pub const PROXY_VERSION: &str = "conduit.io/proxy-version";
/// Written by us: the settings that were wrong, a line each.
pub const PROBLEMS: &str = "conduit.io/invalid-settings";
/// Written by us: finds the pods with [`PROBLEMS`].
pub const LABEL_INVALID: &str = "conduit.io/invalid-settings";

/// Written by us: that the CNI plugin is to write this pod's redirect rules, and with which settings, in the words of
/// `conduit-proxy validate`.
pub const REDIRECTION: &str = "conduit.io/redirection";

/// The proxy's container.
pub const PROXY_CONTAINER: &str = "conduit-proxy";
/// The init container that writes the redirect rules.
pub const INIT_CONTAINER: &str = "conduit-init";
/// The init container that waits for the redirect rules, where the CNI plugin writes them.
pub const VALIDATE_CONTAINER: &str = "conduit-validate";
/// The user of [`VALIDATE_CONTAINER`]: any but root and the proxy's, whose connections are not redirected.
pub const VALIDATE_UID: u32 = 2104;
/// The volume of token and trust anchors.
pub const VOLUME: &str = "conduit-identity";
/// Where that volume is mounted.
pub const VOLUME_PATH: &str = "/var/run/conduit";

/// The settings that a namespace or a pod may have, with what they take.
pub const SETTINGS: [(&str, &str); 11] = [
    (INJECT, "`enabled` or `disabled`"),
    (SIDECAR, "`native`, or `classic` for clusters before 1.29"),
    (SKIP_INBOUND, "ports and ranges, such as `22,9000-9010`, that reach the application without the proxy"),
    (SKIP_OUTBOUND, "ports and ranges of destinations that the application reaches without the proxy"),
    (
        conduit_logic::ports::ANNOTATION_OPAQUE_PORTS,
        "ports and ranges whose bytes are not looked at; on a Service, its ports",
    ),
    (CPU_REQUEST, "a quantity, such as `10m`"),
    (CPU_LIMIT, "a quantity"),
    (MEMORY_REQUEST, "a quantity, such as `16Mi`"),
    (MEMORY_LIMIT, "a quantity"),
    (
        LOG_LEVEL,
        "`error`, `warn`, `info`, `debug`, `trace`, or by module: `warn,conduit_proxy::outbound=debug`",
    ),
    (IMAGE, "an image reference"),
];
