//! Keeps the authority as its state says: takes up what others wrote (another replica, an operator, cert-manager), and, where
//! this replica leads, takes the steps of a rotation when they are due. It is read again on a timer, never only when told:
//! a missed message must not leave an issuer in force that has ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use conduit_api::operator::v1::Resource;
use conduit_api::tap::v1::InspectRequest;
use conduit_api::tap::v1::inspect_client::InspectClient;
use conduit_api::tap::v1::inspect_request::Kind;
use conduit_tls::Credentials;
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::authority::Authority;
use super::directory::Directory;
use super::given::Given;
use super::material::{Material, Rotation};
use super::secret;
use crate::operator::proxies::{self, Proxy};
use crate::operator::tap;
use crate::store::Store;

/// How often the state is read: what another replica wrote is taken up within this.
const INTERVAL: Duration = Duration::from_secs(2);
/// Of an issuer that we made, a new one is made when this share of its life has passed.
const ISSUER_SHARE: f64 = 0.66;
/// Proxies asked at once for the anchors that they have.
const ASKED_MAX: usize = 32;
/// A proxy that does not answer within this is asked again later.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// A change that another replica was faster with is tried again so often.
const ATTEMPTS_MAX: usize = 3;

/// Where the state is kept.
#[derive(Clone)]
pub enum Vault {
    /// In a directory.
    Directory(Directory),
    /// In a Secret.
    Secret(secret::Store),
    /// Where somebody else keeps it.
    Given(Given),
}

/// What the state was when it was read.
enum Version {
    Directory,
    Secret(secret::Version),
    Given,
}

/// What is written where nothing may be: a mistake of ours.
const READ_ONLY: &str = "an issuer that somebody else keeps is not written";

impl Vault {
    /// What is there, made where there is nothing: on the start, and never again. What vanishes later is put back as it was.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub async fn open(&self, trust_domain: &str) -> Result<Material> {
        match self {
            Self::Directory(directory) => directory.load_or_make(trust_domain),
            Self::Secret(store) => Ok(store.load_or_make(trust_domain).await?.0),
            Self::Given(given) => Box::pin(given.load()).await,
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn origin(&self) -> String {
        match self {
            Self::Directory(directory) => directory.to_string(),
            Self::Secret(store) => store.to_string(),
            Self::Given(given) => given.origin(),
        }
    }

    async fn load(&self) -> Result<Option<(Material, Version)>> {
        match self {
            Self::Directory(directory) => Ok(Some((directory.load()?, Version::Directory))),
            Self::Secret(store) => {
                let found = store.load().await?;
                Ok(found.map(|(material, version)| (material, Version::Secret(version))))
            }
            Self::Given(given) => Ok(Some((Box::pin(given.load()).await?, Version::Given))),
        }
    }

    /// Puts back what has vanished.
    async fn restore(&self, material: &Material) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.store(material),
            Self::Secret(store) => store.make(material).await.map(|_| ()),
            Self::Given(_) => bail!(READ_ONLY),
        }
    }

    /// Keeps the copy of the anchors for whoever may not read where they are kept.
    async fn publish_anchors(&self, anchors: &str) -> Result<()> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Secret(store) => store.publish_anchors(anchors).await,
            Self::Given(given) => given.publish_anchors(anchors).await,
        }
    }

    /// `false` if somebody else was faster.
    async fn store(&self, material: &Material, version: &Version) -> Result<bool> {
        match (self, version) {
            (Self::Secret(store), Version::Secret(version)) => store.store(material, version).await,
            (Self::Directory(directory), _) => directory.store(material).map(|()| true),
            (Self::Secret(_), _) => bail!("a Secret has a version"),
            (Self::Given(_), _) => bail!(READ_ONLY),
        }
    }
}

/// What an operator may rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The issuer, below the same anchor.
    Issuer,
    /// The trust anchor, and the issuer with it.
    Anchor,
}

/// Keeps the authority up to date.
pub struct Keeper {
    /// Where the state is.
    pub vault: Vault,
    /// What signs.
    pub authority: Arc<Authority>,
    /// Whom to ask for the anchors that they have.
    pub store: Arc<Store>,
    /// How we prove ourselves to them.
    pub credentials: Credentials,
    /// Our trust domain.
    pub trust_domain: String,
    /// Whether this replica takes the steps.
    pub leads: watch::Receiver<bool>,
    /// Wakes the keeper: something was changed.
    pub changed: Notify,
    /// Told of each new state that was put in force.
    pub installed: watch::Sender<u64>,
}

impl Keeper {
    /// Until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut told = String::new();
        loop {
            let outcome = Box::pin(self.look()).await;
            let error = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
            if !error.is_empty() && error != told {
                tracing::error!(
                    error,
                    "trust anchor and issuer cannot be brought up to date; what is in force stays"
                );
            }
            told = error;
            _ = tokio::time::timeout(INTERVAL, self.changed.notified()).await;
        }
    }

    /// Takes up the state, and takes the next step where one is due.
    async fn look(&self) -> Result<()> {
        let leads = *self.leads.borrow();
        let Some((material, version)) = self.vault.load().await? else {
            tracing::warn!("trust anchor and issuer were deleted; the leader puts back what is in force");
            return if leads { self.vault.restore(&self.authority.material()).await } else { Ok(()) };
        };
        self.install(&material)?;
        if !leads {
            return Ok(());
        }
        Box::pin(self.vault.publish_anchors(&material.anchors)).await?;
        if let Some(next) = self.next(&material).await?
            && self.vault.store(&next, &version).await?
        {
            self.install(&next)?;
        }
        Ok(())
    }

    fn install(&self, material: &Material) -> Result<()> {
        if self.authority.install(material)? {
            let phase = material.rotation.as_ref().map_or("at rest", Rotation::phase);
            tracing::info!(
                phase,
                anchors = self.authority.anchors().len(),
                "trust anchor and issuer taken up"
            );
            self.installed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    async fn next(&self, material: &Material) -> Result<Option<Material>> {
        let (now, lifetime) = (SystemTime::now(), self.authority.lifetime());
        let Some(rotation) = &material.rotation else {
            let (begin, end) = (self.authority.issuer_not_before(), self.authority.issuer_not_after());
            let life = end.duration_since(begin).unwrap_or_default();
            let due = material.anchor_key.is_some() && now > begin + life.mul_f64(ISSUER_SHARE);
            return due.then(|| material.renew_issuer(&self.trust_domain, now)).transpose();
        };
        let everybody =
            matches!(rotation, Rotation::Publishing { .. }) && self.everybody_has(rotation.anchor()).await?;
        Ok(material.advance(now, lifetime, everybody))
    }

    /// Begins a rotation.
    ///
    /// # Errors
    /// When it cannot be begun: the reason is for the operator.
    pub async fn rotate(&self, what: What) -> Result<()> {
        if let Vault::Given(given) = &self.vault {
            bail!(match what {
                What::Issuer => given.issuer_refusal(),
                What::Anchor => given.anchor_refusal(),
            });
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some((material, version)) = self.vault.load().await? else {
                bail!(
                    "trust anchor and issuer were deleted: they are put back within seconds, try again then"
                );
            };
            let now = SystemTime::now();
            let next = match what {
                What::Issuer => material.renew_issuer(&self.trust_domain, now)?,
                What::Anchor => material.renew_anchor(&self.trust_domain, now, self.authority.lifetime())?,
            };
            if self.vault.store(&next, &version).await? {
                self.install(&next)?;
                self.changed.notify_one();
                return Ok(());
            }
        }
        bail!("others change trust anchor or issuer at the same time: see `conduit identity show`")
    }

    /// Whether every proxy there is has the anchor. One that does not answer has not.
    async fn everybody_has(&self, anchor: &str) -> Result<bool> {
        let anchor = conduit_tls::read_anchors(anchor.as_bytes())?;
        let anchor = anchor.first().context("the rotation names no anchor")?;
        let anchor: String = anchor.iter().map(|byte| format!("{byte:02x}")).collect();
        let proxies = self.store.read(|model| tap::resolve(model, &Resource::default()));
        let asked = futures_util::stream::iter(proxies).map(|proxy| self.has(proxy, &anchor));
        let mut answers = std::pin::pin!(asked.buffer_unordered(ASKED_MAX));
        while let Some(has) = answers.next().await {
            if !has {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn has(&self, proxy: Proxy, anchor: &str) -> bool {
        let ask = async {
            let channel = proxies::open(&self.credentials, &proxy).await.ok()?;
            let request = InspectRequest { kind: Kind::Certificate.into() };
            Some(InspectClient::new(channel).inspect(request).await.ok()?.into_inner().text)
        };
        let text = tokio::time::timeout(ASK_TIMEOUT, ask).await.ok().flatten();
        let shown =
            text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()).unwrap_or_default();
        let anchors = shown["trust_anchors_der_hex"].as_array();
        let has = anchors.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(anchor)));
        if !has {
            tracing::debug!(pod = proxy.pod.1, "this proxy does not have the new trust anchor yet");
        }
        has
    }
}
