//! Trust anchors and an issuer that somebody else keeps: a Secret of the type kubernetes.io/tls as cert-manager writes it, and, where
//! anchors are to overlap, a ConfigMap with all of them. Both are read and never written, so that two never fight over one object.
//! Deliberately absent: asking for a new issuer. Whoever keeps it renews it; it is taken up like any other change.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwapOption;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::material::Material;
use super::secret::{ANCHORS, ISSUER, ISSUER_KEY, publish, text, within};

/// The key of the anchors in a ConfigMap as trust-manager is often told to write it; `ca.crt` goes before it.
const BUNDLE: &str = "ca-bundle.crt";
/// The annotation by which cert-manager says which Certificate a Secret is of.
const CERTIFICATE: &str = "cert-manager.io/certificate-name";

/// Where they are.
#[derive(Clone)]
pub struct Given {
    namespace: String,
    secret: String,
    bundle: Option<String>,
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    /// The Certificate of the Secret, as it was read last.
    certificate: Arc<ArcSwapOption<String>>,
}

impl Given {
    /// In this namespace: the Secret, and the ConfigMap where there is one.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, secret: &str, bundle: Option<&str>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            bundle: bundle.map(str::to_owned),
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client.clone(), namespace),
            certificate: Arc::default(),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses, or what is there is incomplete.
    pub async fn load(&self) -> Result<Material> {
        let context = || format!("the Secret {}/{}", self.namespace, self.secret);
        let found = within(self.secrets.get_opt(&self.secret)).await?.with_context(context)?;
        let Some(secret) = found else {
            bail!("{} is not there yet: whoever keeps the issuer has to write it", context());
        };
        let annotations = secret.metadata.annotations.as_ref();
        let certificate = annotations.and_then(|all| all.get(CERTIFICATE)).cloned();
        self.certificate.store(certificate.map(Arc::new));
        let bundle = match &self.bundle {
            Some(name) => Some(self.bundle(name).await?),
            None => None,
        };
        read(&secret, bundle).with_context(context)
    }

    async fn bundle(&self, name: &str) -> Result<String> {
        let context = || format!("the ConfigMap {}/{name}", self.namespace);
        let found = within(self.config_maps.get_opt(name)).await?.with_context(context)?;
        let Some(map) = found else { bail!("{} of the trust anchors is not there", context()) };
        let mut data = map.data.unwrap_or_default();
        let anchors = data.remove(ANCHORS).or_else(|| data.remove(BUNDLE));
        anchors.with_context(|| format!("{} has neither {ANCHORS} nor {BUNDLE}", context()))
    }

    /// Keeps the copy of the anchors for those who may not read the Secret.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub async fn publish_anchors(&self, anchors: &str) -> Result<()> {
        Box::pin(publish(&self.config_maps, anchors)).await
    }

    /// Where issuer and anchors come from, for people.
    #[must_use]
    pub fn origin(&self) -> String {
        let mut text = format!("the Secret {}/{}", self.namespace, self.secret);
        if let Some(certificate) = &*self.certificate.load() {
            text.push_str(&format!(", which cert-manager writes (Certificate {certificate})"));
        }
        if let Some(bundle) = &self.bundle {
            text.push_str(&format!("; trust anchors: the ConfigMap {}/{bundle}", self.namespace));
        }
        text
    }

    /// Why the issuer is not rotated here, and how it is.
    #[must_use]
    pub fn issuer_refusal(&self) -> String {
        let how = match &*self.certificate.load() {
            Some(certificate) => format!(
                "have cert-manager issue a new one with `cmctl renew -n {} {certificate}`",
                self.namespace
            ),
            None => format!("put a new {ISSUER} and {ISSUER_KEY} there"),
        };
        format!(
            "the issuer is not the controller's to rotate: it comes from {}\n{how}; the controller takes it up within seconds",
            self.origin()
        )
    }

    /// Why the trust anchor is not rotated here, and how it is.
    #[must_use]
    pub fn anchor_refusal(&self) -> String {
        let how = match &self.bundle {
            Some(bundle) => format!(
                "put the new one beside the old into the ConfigMap {}/{bundle}, then have an issuer below it written, and take \
                 the old one out when the last certificate below it has ended",
                self.namespace
            ),
            None => format!(
                "install with --trust-bundle, which names a ConfigMap that can hold the old and the new one at once; {ANCHORS} of \
                 the Secret has one only"
            ),
        };
        format!(
            "the trust anchor is not the controller's to rotate: it comes from {}\n{how}; `conduit identity show` tells what is in force",
            self.origin()
        )
    }
}

/// Anchors of the bundle go before those of the Secret.
fn read(secret: &Secret, bundle: Option<String>) -> Result<Material> {
    // An issuer whose authority is not known has an empty entry.
    let own = text(secret, ANCHORS)?.filter(|anchors| !anchors.trim().is_empty());
    let needed = |key: &str| {
        text(secret, key)?.with_context(|| format!("{key} is missing: is it of the type kubernetes.io/tls?"))
    };
    let anchors = bundle.or(own).with_context(|| {
        format!(
            "{ANCHORS} is missing: where the Secret's writer does not know it, install with --trust-bundle"
        )
    })?;
    Ok(Material {
        anchors,
        anchor_key: None,
        issuer: needed(ISSUER)?,
        issuer_key: needed(ISSUER_KEY)?,
        former: None,
        rotation: None,
    })
}

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;
