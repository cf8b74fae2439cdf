//! What the authority stands on: trust anchors, an issuer with its key, and how far a rotation has come. All steps of a rotation
//! are here, as functions from one state to the next; where the states are kept and when the next is due, others know.
//!
//! Whoever begins with the old anchor alone while certificates are signed below the new one (a proxy that starts late) is not
//! left out: with the new issuer stands the new anchor as signed by the old one. That stays with the controller's own certificate after the
//! rotation has ended: a pod keeps the anchors that it was made with, and may start again years later.
//!
//! A new issuer below the same anchor needs no wait: whoever trusts the anchor trusts it. A new anchor is first published beside
//! the old one; when every proxy has both, certificates are signed below the new one; and when the last certificate below the
//! old one has ended, the old one goes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::authority::BACKDATE;

/// How long a trust anchor lives that we make: it is replaced by rotation, long before.
const ANCHOR_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an issuer lives that we make.
const ISSUER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks differ, and a replica may hear of a step a little later: so much longer than a certificate's life is waited.
const MARGIN: Duration = Duration::from_secs(5);

/// Anchors before the one in force that are still led from: a pod that was made below one of them finds its way when it starts again.
/// Pods from before that are rare, and must be made anew.
const FORMER_MAX: u8 = 4;
/// Authorities that may stand below an anchor: those that were once anchors themselves, and the issuer.
const BELOW_ANCHOR_MAX: u8 = FORMER_MAX + 1;

/// Everything, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// All trust anchors in force.
    pub anchors: String,
    /// The key of the anchor above the issuer, where it is kept here: needed for new issuers.
    pub anchor_key: Option<String>,
    /// The issuer, with what stands between it and the anchor.
    pub issuer: String,
    /// Its key.
    pub issuer_key: String,
    /// The anchor in force as the one before it has signed it, that one as the one before, and so on. Only the controller itself shows
    /// them, to proxies that start with an anchor of old.
    #[serde(default)]
    pub former: Option<String>,
    /// The rotation of the trust anchor that is under way.
    pub rotation: Option<Rotation>,
}

/// How far the rotation of the trust anchor has come. Times are seconds of Unix time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Rotation {
    /// Both anchors are published; certificates are signed below the old one.
    Publishing {
        /// Since then.
        since: u64,
        /// By then every certificate was renewed, and with it every proxy got both anchors.
        until: u64,
        /// The new anchor, alone.
        anchor: String,
        /// Its key.
        anchor_key: String,
        /// The issuer below it.
        issuer: String,
        /// The issuer's key.
        issuer_key: String,
    },
    /// Certificates are signed below the new one; those below the old one are still good.
    Signing {
        /// Since then.
        since: u64,
        /// By then the last of them has ended.
        until: u64,
        /// The new anchor, alone.
        anchor: String,
    },
}

impl Rotation {
    /// Since when this step lasts.
    #[must_use]
    pub const fn since(&self) -> u64 {
        match self {
            Self::Publishing { since, .. } | Self::Signing { since, .. } => *since,
        }
    }

    /// When the next step is due, if nothing allows it sooner.
    #[must_use]
    pub const fn until(&self) -> u64 {
        match self {
            Self::Publishing { until, .. } | Self::Signing { until, .. } => *until,
        }
    }

    /// The new anchor.
    #[must_use]
    pub fn anchor(&self) -> &str {
        match self {
            Self::Publishing { anchor, .. } | Self::Signing { anchor, .. } => anchor,
        }
    }

    /// In a word.
    #[must_use]
    pub const fn phase(&self) -> &'static str {
        match self {
            Self::Publishing { .. } => "publishing",
            Self::Signing { .. } => "signing",
        }
    }
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct(self.phase()).field("until", &self.until()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        let phase = self.rotation.as_ref().map(Rotation::phase);
        f.debug_struct("Material")
            .field("anchors", &self.anchors)
            .field("rotation", &phase)
            .finish_non_exhaustive()
    }
}

/// Unix time in seconds.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Material {
    /// A new anchor and an issuer below it.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate(trust_domain: &str, now: SystemTime) -> Result<Self> {
        let anchor = Anchor::make(trust_domain, now)?;
        let (issuer, issuer_key) = make_issuer(trust_domain, &anchor.certificate, &anchor.key, now)?;
        Ok(Self {
            anchors: anchor.certificate,
            anchor_key: Some(anchor.key),
            issuer,
            issuer_key,
            former: None,
            rotation: None,
        })
    }

    /// A new issuer below the same anchor.
    ///
    /// # Errors
    /// When the anchor's key is not kept here, or the anchor itself is being rotated.
    pub fn renew_issuer(&self, trust_domain: &str, now: SystemTime) -> Result<Self> {
        self.ensure_at_rest()?;
        let Some(anchor_key) = &self.anchor_key else { bail!(NOT_OURS) };
        let anchor = self.own_anchor(anchor_key)?;
        let (issuer, issuer_key) = make_issuer(trust_domain, &anchor, anchor_key, now)?;
        Ok(Self { issuer, issuer_key, ..self.clone() })
    }

    /// Begins to replace the trust anchor: the new one is published.
    ///
    /// # Errors
    /// When the anchor is not ours to replace, or that is under way already.
    pub fn renew_anchor(&self, trust_domain: &str, now: SystemTime, lifetime: Duration) -> Result<Self> {
        self.ensure_at_rest()?;
        let Some(old_key) = &self.anchor_key else { bail!(NOT_OURS) };
        let new = Anchor::make(trust_domain, now)?;
        let (issuer, issuer_key) = make_issuer(trust_domain, &new.certificate, &new.key, now)?;
        let cross = new.signed_by(&self.own_anchor(old_key)?, old_key, now)?;
        let issuer = format!("{}\n{cross}", issuer.trim_end());
        let anchors = format!("{}\n{}", self.anchors.trim_end(), new.certificate);
        let (since, until) = (unix(now), unix(now + lifetime + MARGIN));
        let (anchor, anchor_key) = (new.certificate, new.key);
        let rotation = Rotation::Publishing { since, until, anchor, anchor_key, issuer, issuer_key };
        Ok(Self { anchors, rotation: Some(rotation), ..self.clone() })
    }

    /// The next step of the rotation that is under way; `None` where there is nothing to do. `everybody_has_both`: no proxy is
    /// left that lacks the new anchor.
    #[must_use]
    pub fn advance(&self, now: SystemTime, lifetime: Duration, everybody_has_both: bool) -> Option<Self> {
        let rotation = self.rotation.as_ref()?;
        let due = unix(now) >= rotation.until();
        match rotation {
            Rotation::Publishing { anchor, anchor_key, issuer, issuer_key, .. }
                if due || everybody_has_both =>
            {
                let (since, until) = (unix(now), unix(now + lifetime + MARGIN));
                Some(Self {
                    anchors: self.anchors.clone(),
                    anchor_key: Some(anchor_key.clone()),
                    issuer: issuer.clone(),
                    issuer_key: issuer_key.clone(),
                    former: self.former.clone(),
                    rotation: Some(Rotation::Signing { since, until, anchor: anchor.clone() }),
                })
            }
            Rotation::Signing { anchor, .. } if due => {
                // What the old anchor has signed proves nothing any more, but to pods that start and know no other.
                let issuer = certificates(&self.issuer).next().unwrap_or(&self.issuer).to_owned();
                let crossed = certificates(&self.issuer).skip(1);
                let former = self.former.iter().flat_map(|former| certificates(former));
                let former: Vec<&str> = crossed.chain(former).take(FORMER_MAX.into()).collect();
                let former = Some(former.join("\n")).filter(|former| !former.is_empty());
                Some(Self { anchors: anchor.clone(), issuer, former, rotation: None, ..self.clone() })
            }
            _ => None,
        }
    }

    fn ensure_at_rest(&self) -> Result<()> {
        let Some(rotation) = &self.rotation else { return Ok(()) };
        bail!(
            "the trust anchor is being rotated (it is {}): wait until that has ended, see `conduit identity show`",
            rotation.phase()
        )
    }

    /// The anchor that the key belongs to, alone.
    fn own_anchor(&self, key: &str) -> Result<String> {
        let key = KeyPair::from_pem(key).context("reading the trust anchor's key")?;
        let own = |pem: &&str| {
            let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
            x509_parser::parse_x509_certificate(&der)
                .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
        };
        Ok(certificates(&self.anchors)
            .find(own)
            .context("the trust anchor's key belongs to none of the anchors")?
            .to_owned())
    }
}

/// Begin and end of a certificate in PEM (RFC 7468).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a PEM text, each alone.
fn certificates(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive(END).filter_map(|part| Some(&part[part.find(BEGIN)?..]))
}

const NOT_OURS: &str = "the trust anchor's key is not kept here: whoever gave trust anchor and issuer replaces them \
    (in Kubernetes tls.crt, tls.key and ca.crt of the Secret, in a directory issuer.crt, issuer.key and trust-anchor.crt); \
    the controller takes up the new ones by itself";

/// A trust anchor that was made here.
struct Anchor {
    name: String,
    certificate: String,
    key: String,
}

impl Anchor {
    fn make(trust_domain: &str, now: SystemTime) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let name = anchor_name(trust_domain, now);
        let certificate = ca(&name, now, ANCHOR_LIFE, BELOW_ANCHOR_MAX).self_signed(&key)?.pem();
        Ok(Self { name, certificate, key: key.serialize_pem() })
    }

    /// The same name and key as signed by another anchor.
    fn signed_by(&self, anchor: &str, anchor_key: &str, now: SystemTime) -> Result<String> {
        let key = KeyPair::from_pem(&self.key)?;
        let anchor_key = KeyPair::from_pem(anchor_key).context("reading the trust anchor's key")?;
        let above = Issuer::from_ca_cert_pem(anchor, anchor_key).context("reading the trust anchor")?;
        let mut cross = ca(&self.name, now, ANCHOR_LIFE, BELOW_ANCHOR_MAX);
        cross.use_authority_key_identifier_extension = true;
        Ok(cross.signed_by(&key, &above)?.pem())
    }
}

/// Anchors that stand beside each other have different names: who looks for an issuer's anchor finds it by name.
fn anchor_name(trust_domain: &str, now: SystemTime) -> String {
    let serial: u64 = fastrand::u64(..) ^ unix(now);
    format!("Conduit trust anchor {trust_domain} {serial:016x}")
}

fn make_issuer(
    trust_domain: &str,
    anchor: &str,
    anchor_key: &str,
    now: SystemTime,
) -> Result<(String, String)> {
    let anchor_key = KeyPair::from_pem(anchor_key).context("reading the trust anchor's key")?;
    let above = Issuer::from_ca_cert_pem(anchor, anchor_key).context("reading the trust anchor")?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut issuer = ca(&format!("Conduit issuer {trust_domain}"), now, ISSUER_LIFE, 0);
    issuer.use_authority_key_identifier_extension = true;
    let issuer = issuer.signed_by(&key, &above)?;
    Ok((issuer.pem(), key.serialize_pem()))
}

fn ca(name: &str, now: SystemTime, life: Duration, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life).into();
    params
}

#[cfg(test)]
#[path = "material_tests.rs"]
mod tests;
