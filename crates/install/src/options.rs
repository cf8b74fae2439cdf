//! What an operator may choose when installing, with defaults. The names are those of the chart's values; each value is checked, so
//! that nothing that is put into the template can change its shape.

use conduit_inject::settings::image;
use conduit_logic::ports;
use thiserror::Error;

/// Where images are looked for unless another registry is named: on the node itself. A name without a host would be looked for in a
/// public registry, where it may be anybody's.
pub const REGISTRY: &str = "localhost";

/// The Secret that the controller writes.
const OWN_SECRET: &str = "conduit-identity";
/// The ConfigMap that the controller writes.
const OWN_ANCHORS: &str = "conduit-trust-anchors";

/// An option that cannot be meant.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{option}: {reason}")]
pub struct Wrong {
    /// Which.
    pub option: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// The choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Three replicas, spread, with a disruption budget.
    pub ha: bool,
    /// The controller's image.
    pub controller_image: String,
    /// The proxy's image.
    pub proxy_image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// The trust domain.
    pub trust_domain: String,
    /// The controller's log filter.
    pub log_level: String,
    /// The controller's memory limit: a whole number with `Mi` or `Gi`.
    pub controller_memory: String,
    /// `native` or `classic`.
    pub sidecar: String,
    /// The cluster's networks; empty: the proxies assume the private ranges.
    pub cluster_networks: String,
    /// A CNI plugin writes the redirect rules.
    pub cni: bool,
    /// The nodes' folder of network configurations.
    pub cni_conf_dir: String,
    /// The nodes' folder of network plugins.
    pub cni_bin_dir: String,
    /// The Secret of an issuer that somebody else keeps; empty: the controller keeps its own.
    pub issuer_secret: String,
    /// The ConfigMap with that issuer's trust anchors; empty: the Secret has the one.
    pub trust_bundle: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ha: false,
            controller_image: image_of(REGISTRY, "conduit-controller", env!("CARGO_PKG_VERSION")),
            proxy_image: image_of(REGISTRY, "conduit-proxy", env!("CARGO_PKG_VERSION")),
            image_pull_policy: "IfNotPresent".to_owned(),
            trust_domain: ports::TRUST_DOMAIN.to_owned(),
            log_level: "info".to_owned(),
            controller_memory: "1Gi".to_owned(),
            sidecar: "native".to_owned(),
            cluster_networks: String::new(),
            cni: false,
            cni_conf_dir: "/etc/cni/net.d".to_owned(),
            cni_bin_dir: "/opt/cni/bin".to_owned(),
            issuer_secret: String::new(),
            trust_bundle: String::new(),
        }
    }
}

/// The reference of one of our images in a registry (none: wherever the node looks).
#[must_use]
pub fn image_of(registry: &str, name: &str, tag: &str) -> String {
    let registry = registry.trim_end_matches('/');
    let slash = if registry.is_empty() { "" } else { "/" };
    format!("{registry}{slash}{name}:{tag}")
}

/// A value in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its name there, and among the chart's values.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) text: String,
    /// Whether it is a switch and not a text.
    pub(crate) switch: bool,
    /// What it means, for the chart's values.
    pub(crate) meaning: &'static str,
}

impl Options {
    /// Checks the options.
    pub(crate) fn check(&self) -> Result<Vec<Value>, Wrong> {
        for (option, reference) in
            [("controllerImage", &self.controller_image), ("proxyImage", &self.proxy_image)]
        {
            image(reference).map_err(|reason| Wrong { option, reason })?;
        }
        let one_of = |option, value: &str, known: &[&str]| match known.contains(&value) {
            true => Ok(()),
            false => Err(Wrong { option, reason: format!("`{value}` is none of {}", known.join(", ")) }),
        };
        one_of("imagePullPolicy", &self.image_pull_policy, &["Always", "IfNotPresent", "Never"])?;
        one_of("sidecar", &self.sidecar, &["native", "classic"])?;
        let plain = |option, value: &str, more: &[u8]| {
            let fits = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte));
            let reason = || format!("`{value}` has characters that cannot be in it");
            if fits { Ok(()) } else { Err(Wrong { option, reason: reason() }) }
        };
        plain("trustDomain", &self.trust_domain, b"-.")?;
        plain("logLevel", &self.log_level, b"_:=,")?;
        if !is_memory(&self.controller_memory) {
            let reason = format!("`{}` is no whole number with Mi or Gi, as in 2Gi", self.controller_memory);
            return Err(Wrong { option: "controllerMemory", reason });
        }
        plain("clusterNetworks", &self.cluster_networks, b".:/,")?;
        for (option, folder) in [("cniConfDir", &self.cni_conf_dir), ("cniBinDir", &self.cni_bin_dir)] {
            plain(option, folder, b"/._-")?;
            if !folder.starts_with('/') || folder.split('/').any(|part| part == "..") {
                return Err(Wrong { option, reason: format!("`{folder}` is not a folder's whole path") });
            }
        }
        if self.trust_domain.is_empty() {
            return Err(Wrong { option: "trustDomain", reason: "it is empty".to_owned() });
        }
        self.check_issuer()?;
        Ok(self.values())
    }

    fn check_issuer(&self) -> Result<(), Wrong> {
        for (option, name, own) in [
            ("issuerSecret", &self.issuer_secret, OWN_SECRET),
            ("trustBundle", &self.trust_bundle, OWN_ANCHORS),
        ] {
            let fits = name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
            });
            if !fits {
                return Err(Wrong { option, reason: format!("`{name}` is no object's name") });
            }
            if name == own {
                let reason = format!("`{own}` is written by the controller itself: choose another");
                return Err(Wrong { option, reason });
            }
        }
        if self.issuer_secret.is_empty() && !self.trust_bundle.is_empty() {
            let reason = "it is of an issuer that issuerSecret names; the controller makes its own anchors";
            return Err(Wrong { option: "trustBundle", reason: reason.to_owned() });
        }
        Ok(())
    }

    pub(crate) fn values(&self) -> Vec<Value> {
        let text = |name, text: &str, meaning| Value { name, text: text.to_owned(), switch: false, meaning };
        vec![
            Value {
                name: "ha",
                text: self.ha.to_string(),
                switch: true,
                meaning: "Three replicas, spread over zones and nodes, with a disruption budget.",
            },
            text("controllerImage", &self.controller_image, "The controller's image."),
            text("proxyImage", &self.proxy_image, "The proxy's image."),
            text(
                "imagePullPolicy",
                &self.image_pull_policy,
                "When both are pulled: Always, IfNotPresent, Never.",
            ),
            text(
                "trustDomain",
                &self.trust_domain,
                "The trust domain of every identity. It cannot be changed later.",
            ),
            text("logLevel", &self.log_level, "The controller's log filter."),
            text(
                "controllerMemory",
                &self.controller_memory,
                "The controller's memory limit; docs/scale.md measures what it needs: 2Gi for 5,000 proxies.",
            ),
            text("sidecar", &self.sidecar, "How proxies run: native, or classic before Kubernetes 1.29."),
            text(
                "clusterNetworks",
                &self.cluster_networks,
                "The networks of pods and services, where they are not private ranges: 10.0.0.0/8,fd00::/8.",
            ),
            Value {
                name: "cni",
                text: self.cni.to_string(),
                switch: true,
                meaning: "A CNI plugin on every node writes pods' redirect rules, so that no pod needs NET_ADMIN.",
            },
            text("cniConfDir", &self.cni_conf_dir, "With cni: the nodes' folder of network configurations."),
            text("cniBinDir", &self.cni_bin_dir, "With cni: the nodes' folder of network plugins."),
            text(
                "issuerSecret",
                &self.issuer_secret,
                "The Secret (namespace conduit, type kubernetes.io/tls) of an issuer that cert-manager or somebody else keeps.",
            ),
            text(
                "trustBundle",
                &self.trust_bundle,
                "With issuerSecret: the ConfigMap (namespace conduit) with all trust anchors in force, in ca.crt or ca-bundle.crt.",
            ),
        ]
    }
}

fn is_memory(limit: &str) -> bool {
    let number = limit.strip_suffix("Mi").or_else(|| limit.strip_suffix("Gi")).unwrap_or_default();
    number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() && !number.starts_with('0')
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
