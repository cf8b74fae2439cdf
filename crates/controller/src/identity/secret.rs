//! Keeps the authority's state in a Secret of the controller's own namespace, in the form that `kubectl create secret
//! tls` writes, so that an operator may fill it. Every write names the version that it replaces: of replicas that begin at
//! once one makes the anchor, and the others take that one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use super::material::Material;

/// The Secret's name.
pub const SECRET: &str = "conduit-identity";
/// The ConfigMap with a copy of the trust anchors, for whoever may not read the Secret.
pub const CONFIG_MAP: &str = "conduit-trust-anchors";
/// Its key, and the Secret's, of the anchors.
pub(super) const ANCHORS: &str = "ca.crt";
pub(super) const ISSUER: &str = "tls.crt";
pub(super) const ISSUER_KEY: &str = "tls.key";
const ANCHOR_KEY: &str = "ca.key";
const FORMER: &str = "former.crt";
const ROTATION: &str = "rotation.json";
/// Looks for the Secret before it is given up: once, and once after it was made.
const ATTEMPTS_MAX: usize = 3;
/// A call that takes longer is given up; the next is due soon.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The Secret.
#[derive(Clone)]
pub struct Store {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

/// What the Secret was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the Secret {}/{SECRET}", self.secrets.namespace().unwrap_or_default())
    }
}

impl Store {
    /// In this namespace.
    #[must_use]
    pub fn new(client: &Client, namespace: &str) -> Self {
        let secrets = Api::namespaced(client.clone(), namespace);
        Self { secrets, config_maps: Api::namespaced(client.clone(), namespace) }
    }

    /// What is there; made where there is nothing.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses, or what is there is incomplete.
    pub async fn load_or_make(&self, trust_domain: &str) -> Result<(Material, Version)> {
        // Whoever makes it, or loses the race to make it, finds it there the second time.
        for _ in 0..ATTEMPTS_MAX {
            if let Some(found) = self.load().await? {
                return Ok(found);
            }
            let material = Material::generate(trust_domain, SystemTime::now())?;
            if self.make(&material).await? {
                tracing::info!(secret = SECRET, "made a new trust anchor and issuer");
            }
        }
        bail!("the Secret {SECRET} is made and deleted again and again")
    }

    /// Makes the Secret; `false` if there is one.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub async fn make(&self, material: &Material) -> Result<bool> {
        let mut secret = Secret {
            metadata: named(SECRET),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        write(&mut secret, material)?;
        match within(self.secrets.create(&PostParams::default(), &secret)).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("making the Secret {SECRET}")),
        }
    }

    /// What is there; `None` without a Secret.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses, or what is there is incomplete.
    pub async fn load(&self) -> Result<Option<(Material, Version)>> {
        let found = within(self.secrets.get_opt(SECRET)).await?;
        let Some(secret) = found.with_context(|| format!("reading the Secret {SECRET}"))? else {
            return Ok(None);
        };
        let version = Version(secret.metadata.resource_version.clone().unwrap_or_default());
        let material = read(&secret).with_context(|| format!("the Secret {SECRET}"))?;
        Ok(Some((material, version)))
    }

    /// Replaces what is there, if it is still as it was read; `false` if somebody was faster.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub async fn store(&self, material: &Material, version: &Version) -> Result<bool> {
        let current = within(self.secrets.get(SECRET)).await?;
        let mut secret = current.with_context(|| format!("reading the Secret {SECRET}"))?;
        // Labels and whatever else is there stays.
        secret.metadata.resource_version = Some(version.0.clone());
        write(&mut secret, material)?;
        match within(self.secrets.replace(SECRET, &PostParams::default(), &secret)).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("writing the Secret {SECRET}")),
        }
    }

    /// Keeps the copy of the anchors as they are.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub async fn publish_anchors(&self, anchors: &str) -> Result<()> {
        Box::pin(publish(&self.config_maps, anchors)).await
    }
}

/// Keeps the ConfigMap [`CONFIG_MAP`] equal to these anchors.
pub(super) async fn publish(config_maps: &Api<ConfigMap>, anchors: &str) -> Result<()> {
    let context = || format!("writing the ConfigMap {CONFIG_MAP}");
    let found = within(config_maps.get_opt(CONFIG_MAP)).await?.with_context(context)?;
    let data = BTreeMap::from([(ANCHORS.to_owned(), anchors.to_owned())]);
    let post = PostParams::default();
    let written = match found {
        Some(map) if map.data.as_ref() == Some(&data) => return Ok(()),
        Some(map) => {
            let map = ConfigMap { data: Some(data), ..map };
            within(config_maps.replace(CONFIG_MAP, &post, &map)).await?
        }
        None => {
            let map = ConfigMap { data: Some(data), metadata: named(CONFIG_MAP), ..ConfigMap::default() };
            within(config_maps.create(&post, &map)).await?
        }
    };
    written.map(|_| ()).with_context(context)
}

/// The answer of a call that must come in time.
pub(super) async fn within<T>(call: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(TIMEOUT, call).await.context("the API server did not answer in time")
}

fn named(name: &str) -> ObjectMeta {
    let labels = BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "conduit".to_owned())]);
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

/// A text of the Secret's.
pub(super) fn text(secret: &Secret, key: &str) -> Result<Option<String>> {
    let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes.clone());
    Ok(Some(text.map_err(|_| anyhow::anyhow!("{key} is not text in PEM"))?))
}

fn read(secret: &Secret) -> Result<Material> {
    let text = |key: &str| text(secret, key);
    let needed = |key: &str| {
        text(key)?.with_context(|| format!("{key} is missing: it needs {ISSUER}, {ISSUER_KEY} and {ANCHORS}"))
    };
    let rotation = text(ROTATION)?.map(|text| serde_json::from_str(&text)).transpose();
    Ok(Material {
        anchors: needed(ANCHORS)?,
        anchor_key: text(ANCHOR_KEY)?,
        issuer: needed(ISSUER)?,
        issuer_key: needed(ISSUER_KEY)?,
        former: text(FORMER)?,
        rotation: rotation.with_context(|| format!("{ROTATION} cannot be read"))?,
    })
}

fn write(secret: &mut Secret, material: &Material) -> Result<()> {
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    let rotation = material.rotation.as_ref().map(serde_json::to_string).transpose();
    let rotation = rotation.context("writing down the rotation")?;
    for (key, text) in [
        (ANCHORS, Some(&material.anchors)),
        (ISSUER, Some(&material.issuer)),
        (ISSUER_KEY, Some(&material.issuer_key)),
        (ANCHOR_KEY, material.anchor_key.as_ref()),
        (FORMER, material.former.as_ref()),
        (ROTATION, rotation.as_ref()),
    ] {
        match text {
            Some(text) => _ = data.insert(key.to_owned(), ByteString(text.clone().into_bytes())),
            None => _ = data.remove(key),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
