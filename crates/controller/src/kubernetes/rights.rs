//! The rights that the controller needs, each with what it is for: the source of the rendered roles. A right that is not here
//! is not granted; none is a wildcard, and Secrets are its own namespace's alone.

use crate::identity::secret::{CONFIG_MAP, SECRET};
use crate::kubernetes::lease::LEASE;

/// One rule of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core one.
    pub group: &'static str,
    /// Resources.
    pub resources: &'static [&'static str],
    /// Names of the objects; empty for all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub purpose: &'static str,
}

const WATCH: &[&str] = &["list", "watch"];
const CREATE: &[&str] = &["create"];
const UPDATE: &[&str] = &["get", "update"];

/// In the whole cluster.
pub const CLUSTER: &[Right] = &[
    Right {
        group: "",
        resources: &["pods", "services", "nodes"],
        names: &[],
        verbs: WATCH,
        purpose: "discovery: where addresses lead, who is there, in which zone",
    },
    Right {
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        names: &[],
        verbs: WATCH,
        purpose: "discovery: the endpoints of services",
    },
    Right {
        group: "apps",
        resources: &["replicasets"],
        names: &[],
        verbs: WATCH,
        purpose: "the workload above a pod (metadata only)",
    },
    Right {
        group: "batch",
        resources: &["jobs"],
        names: &[],
        verbs: WATCH,
        purpose: "the CronJob above a pod (metadata only)",
    },
    Right {
        group: "authentication.k8s.io",
        resources: &["tokenreviews"],
        names: &[],
        verbs: CREATE,
        purpose: "identity: whether a proxy's token is good",
    },
];

/// In the controller's own namespace.
pub const OWN: &[Right] = &[
    // A name cannot limit what has none yet: `create` is for any name.
    Right {
        group: "",
        resources: &["secrets", "configmaps"],
        names: &[],
        verbs: CREATE,
        purpose: "identity: trust anchor and issuer on the first start",
    },
    Right {
        group: "",
        resources: &["secrets"],
        names: &[SECRET],
        verbs: UPDATE,
        purpose: "identity: trust anchor and issuer, and their rotation",
    },
    Right {
        group: "",
        resources: &["configmaps"],
        names: &[CONFIG_MAP],
        verbs: UPDATE,
        purpose: "identity: the trust anchors for whoever may not read the Secret",
    },
    Right {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: CREATE,
        purpose: "the election of the writer, on the first start",
    },
    Right {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[LEASE],
        verbs: UPDATE,
        purpose: "the election of the writer",
    },
];

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
