//! The certificate authority: an issuer below trust anchors, and what it signs. Both may be replaced at any time; what is in
//! force is replaced as a whole, and whoever follows the anchors hears of it at once.
//!
//! Sources: RFC 5280, X.509-SVID specification (section 4: leaf constraints).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use conduit_logic::words::Identity;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use thiserror::Error;
use tokio::sync::watch;

use super::directory::Directory;
use super::material::Material;

/// A certificate is valid from a little before it was signed, for clocks that are behind ours.
pub(super) const BACKDATE: Duration = Duration::from_secs(10);
/// A certificate request is a few hundred bytes; what is larger is not one.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Trust anchors, as they are handed out.
pub type Anchors = Arc<Vec<CertificateDer<'static>>>;

/// Why nothing is signed.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The request cannot be read, or is not signed with its own key.
    #[error("the certificate request cannot be used: {0}")]
    Request(String),
    /// It asks for another name than the proven one.
    #[error("the certificate request names {asked}, proven is {proven}")]
    Name {
        /// What it names.
        asked: String,
        /// What was proven.
        proven: Identity,
    },
    /// The issuer is at its end.
    #[error("the issuer's certificate has ended: rotate it")]
    IssuerEnded,
    /// Signing failed.
    #[error("signing failed: {0}")]
    Sign(#[from] rcgen::Error),
}

/// What was signed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Leaf, then issuer.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

/// What is in force.
struct Issuing {
    issuer: Issuer<'static, KeyPair>,
    /// The issuer, and what stands between it and the anchor.
    chain: Vec<CertificateDer<'static>>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// What leads from the anchors before to the one in force.
    former: Vec<CertificateDer<'static>>,
    material: Material,
}

/// The authority.
pub struct Authority {
    issuing: ArcSwap<Issuing>,
    anchors: watch::Sender<Anchors>,
    lifetime: Duration,
}

impl Authority {
    /// Reads anchor and issuer from the directory, or makes them there.
    ///
    /// # Errors
    /// When a file cannot be read or written, is half there, or a key is readable by others.
    pub fn open(directory: &Path, trust_domain: &str, lifetime: Duration) -> Result<Self> {
        Self::new(&Directory::new(directory).load_or_make(trust_domain)?, lifetime)
    }

    /// Signs with this issuer certificates that live so long.
    ///
    /// # Errors
    /// When key, issuer and anchors do not belong together.
    pub fn new(material: &Material, lifetime: Duration) -> Result<Self> {
        let (issuing, anchors) = read(material)?;
        let anchors = watch::channel(Arc::new(anchors)).0;
        Ok(Self { issuing: ArcSwap::from_pointee(issuing), anchors, lifetime })
    }

    /// Puts another issuer and other anchors in force; says whether they are others.
    ///
    /// # Errors
    /// When key, issuer and anchors do not belong together; what was in force stays.
    pub fn install(&self, material: &Material) -> Result<bool> {
        if self.issuing.load().material == *material {
            return Ok(false);
        }
        let (issuing, anchors) = read(material)?;
        let anchors = Arc::new(anchors);
        // Anchors first: whoever sees a certificate of the new issuer has been told of its anchor.
        self.anchors.send_if_modified(|before| {
            let changed = *before != anchors;
            *before = anchors.clone();
            changed
        });
        self.issuing.store(Arc::new(issuing));
        Ok(true)
    }

    /// The trust anchors.
    #[must_use]
    pub fn anchors(&self) -> Anchors {
        self.anchors.borrow().clone()
    }

    /// The trust anchors, now and whenever they change.
    #[must_use]
    pub fn follow_anchors(&self) -> watch::Receiver<Anchors> {
        self.anchors.subscribe()
    }

    /// When the issuer became valid.
    #[must_use]
    pub fn issuer_not_before(&self) -> SystemTime {
        self.issuing.load().not_before
    }

    /// When the issuer ends.
    #[must_use]
    pub fn issuer_not_after(&self) -> SystemTime {
        self.issuing.load().not_after
    }

    /// The issuer's own certificate.
    #[must_use]
    pub fn issuer(&self) -> CertificateDer<'static> {
        self.issuing.load().chain.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()))
    }

    /// What leads from the anchors before to the one in force; empty where there was none before.
    #[must_use]
    pub fn former(&self) -> Vec<CertificateDer<'static>> {
        self.issuing.load().former.clone()
    }

    /// What is in force, keys and all.
    #[must_use]
    pub fn material(&self) -> Material {
        self.issuing.load().material.clone()
    }

    /// How long certificates live.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a request for what was proven, and for nothing else: of the request only the key is used.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn sign(&self, request: &[u8], proven: &Identity, now: SystemTime) -> Result<Signed, Refusal> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(Refusal::Request("it is too long".to_owned()));
        }
        // Reading it also verifies that it was signed with the key that it carries.
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|error| Refusal::Request(error.to_string()))?;
        let names: Vec<String> = request.params.subject_alt_names.iter().map(name).collect();
        if names.len() != 1 || names[0] != proven.as_str() {
            return Err(Refusal::Name { asked: names.join(", "), proven: proven.clone() });
        }
        self.certify(&request.public_key, proven, now)
    }

    /// Signs a key for an identity.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn certify(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<Signed, Refusal> {
        let name = SanType::URI(Ia5String::try_from(identity.as_str())?);
        self.leaf(
            key,
            name,
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            now,
        )
    }

    /// Signs a key for a host name: the certificate of a server that the API server calls. It is no identity of the mesh, which
    /// is a URI.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn certify_host(
        &self,
        key: &impl PublicKeyData,
        host: &str,
        now: SystemTime,
    ) -> Result<Signed, Refusal> {
        let name = SanType::DnsName(Ia5String::try_from(host)?);
        self.leaf(key, name, vec![ExtendedKeyUsagePurpose::ServerAuth], now)
    }

    fn leaf(
        &self,
        key: &impl PublicKeyData,
        name: SanType,
        usages: Vec<ExtendedKeyUsagePurpose>,
        now: SystemTime,
    ) -> Result<Signed, Refusal> {
        let issuing = self.issuing.load();
        let not_before = now - BACKDATE;
        let not_after = (now + self.lifetime).min(issuing.not_after);
        if not_after <= now {
            return Err(Refusal::IssuerEnded);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![name];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        let leaf = params.signed_by(key, &issuing.issuer)?;
        let chain = std::iter::once(leaf.der().clone()).chain(issuing.chain.iter().cloned()).collect();
        Ok(Signed { chain, not_before, not_after })
    }
}

fn name(name: &SanType) -> String {
    match name {
        SanType::URI(uri) => uri.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Reads the PEM texts, and checks that they belong together.
fn read(material: &Material) -> Result<(Issuing, Vec<CertificateDer<'static>>)> {
    let anchors = conduit_tls::read_anchors(material.anchors.as_bytes()).context("the trust anchors")?;
    let certificates = |pem: &str, what| -> Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
        read.map_err(|error| anyhow::anyhow!("{what}: {error}"))
    };
    let chain = certificates(&material.issuer, "the issuer's certificate")?;
    let former = certificates(material.former.as_deref().unwrap_or_default(), "the former trust anchors")?;
    let key = KeyPair::from_pem(&material.issuer_key).context("the issuer's key")?;
    let (not_before, not_after) = fits(&chain, &key, &anchors)?;
    let first = chain.first().context("there is no issuer's certificate")?;
    let issuer = Issuer::from_ca_cert_der(first, key)?;
    Ok((Issuing { issuer, chain, not_before, not_after, former, material: material.clone() }, anchors))
}

/// Checks that key, issuer and anchors belong together; gives the issuer's first and last moment, none later than those above it.
fn fits(
    chain: &[CertificateDer<'_>],
    key: &KeyPair,
    anchors: &[CertificateDer<'_>],
) -> Result<(SystemTime, SystemTime)> {
    let parse = |der| x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed);
    let chain = chain
        .iter()
        .map(|der| parse(der))
        .collect::<Result<Vec<_>, _>>()
        .context("not an X.509 certificate")?;
    let anchors = anchors.iter().flat_map(|der| parse(der)).collect::<Vec<_>>();
    let first = chain.first().context("there is no issuer's certificate")?;
    ensure!(
        first.public_key().raw == key.subject_public_key_info(),
        "the issuer's key is not the one of its certificate"
    );
    let (mut begin, mut end) = (i64::MIN, i64::MAX);
    for (at, certificate) in chain.iter().enumerate() {
        ensure!(certificate.is_ca(), "the issuer is not a certificate authority");
        let signs = |above: &x509_parser::certificate::X509Certificate<'_>| {
            above.subject() == certificate.issuer()
                && certificate.verify_signature(Some(above.public_key())).is_ok()
        };
        let anchored = anchors.iter().any(signs);
        ensure!(anchored || chain.get(at + 1).is_some_and(signs), "no trust anchor has issued the issuer");
        begin = begin.max(certificate.validity().not_before.timestamp());
        end = end.min(certificate.validity().not_after.timestamp());
        if anchored {
            break;
        }
    }
    let time = |seconds: i64| Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?));
    let end = time(end).context("the issuer ended before 1970")?;
    Ok((time(begin).unwrap_or(UNIX_EPOCH), end))
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
