//! The certificate authority: a trust anchor, an issuer below it, and what they sign. Both are made on the first start, or
//! given as files. Private keys are written so that only the owner can read them, and used only if that is so.
//!
//! Sources: RFC 5280, X.509-SVID specification (section 4: leaf constraints).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use conduit_logic::words::Identity;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use thiserror::Error;

/// How long a trust anchor lives that we make: it is replaced by rotation, long before.
const ANCHOR_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an issuer lives that we make.
const ISSUER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A certificate is valid from a little before it was signed, for clocks that are behind ours.
const BACKDATE: Duration = Duration::from_secs(10);
/// A certificate request is a few hundred bytes; what is larger is not one.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

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

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    issuer_der: CertificateDer<'static>,
    issuer_not_after: SystemTime,
    anchors: Vec<CertificateDer<'static>>,
    lifetime: Duration,
}

impl Authority {
    /// Reads anchor and issuer from the directory, or makes them there.
    ///
    /// # Errors
    /// When a file cannot be read or written, is half there, or a key is readable by others.
    pub fn open(directory: &Path, trust_domain: &str, lifetime: Duration) -> Result<Self> {
        let files = Files::of(directory);
        if !files.issuer.exists() && !files.anchor.exists() {
            files.make(trust_domain)?;
            tracing::info!(directory = %directory.display(), "made a new trust anchor and issuer");
        }
        if files.anchor_key.exists() {
            // It signs nothing here, but whoever can read it can make issuers.
            read_key(&files.anchor_key)?;
        }
        let anchor_pem =
            fs::read(&files.anchor).with_context(|| format!("reading {}", files.anchor.display()))?;
        let anchors = conduit_tls::read_anchors(&anchor_pem)
            .with_context(|| format!("reading {}", files.anchor.display()))?;
        let issuer_pem =
            fs::read(&files.issuer).with_context(|| format!("reading {}", files.issuer.display()))?;
        let issuer_der = CertificateDer::from_pem_slice(&issuer_pem)
            .map_err(|error| anyhow::anyhow!("{}: {error}", files.issuer.display()))?;
        let key = KeyPair::from_pem(&read_key(&files.issuer_key)?)
            .with_context(|| format!("reading {}", files.issuer_key.display()))?;
        let issuer_not_after =
            fits(&issuer_der, &key, &anchors).with_context(|| files.issuer.display().to_string())?;
        let issuer = Issuer::from_ca_cert_der(&issuer_der, key)?;
        Ok(Self { issuer, issuer_der, issuer_not_after, anchors, lifetime })
    }

    /// The trust anchors.
    #[must_use]
    pub fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    /// When the issuer ends.
    #[must_use]
    pub const fn issuer_not_after(&self) -> SystemTime {
        self.issuer_not_after
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
        let not_before = now - BACKDATE;
        let not_after = (now + self.lifetime).min(self.issuer_not_after);
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
        let leaf = params.signed_by(key, &self.issuer)?;
        Ok(Signed { chain: vec![leaf.der().clone(), self.issuer_der.clone()], not_before, not_after })
    }
}

fn name(name: &SanType) -> String {
    match name {
        SanType::URI(uri) => uri.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Checks that key, issuer and anchors belong together; gives the issuer's end.
fn fits(issuer: &CertificateDer<'_>, key: &KeyPair, anchors: &[CertificateDer<'_>]) -> Result<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(issuer).context("not an X.509 certificate")?;
    ensure!(parsed.is_ca(), "the issuer is not a certificate authority");
    ensure!(
        parsed.public_key().raw == key.subject_public_key_info(),
        "the issuer's key is not the one of its certificate"
    );
    let signed = anchors.iter().any(|anchor| {
        let anchor = x509_parser::parse_x509_certificate(anchor);
        anchor.is_ok_and(|(_, anchor)| {
            anchor.subject() == parsed.issuer() && parsed.verify_signature(Some(anchor.public_key())).is_ok()
        })
    });
    ensure!(signed, "no trust anchor has issued the issuer");
    let end =
        u64::try_from(parsed.validity().not_after.timestamp()).context("the issuer ended before 1970")?;
    Ok(UNIX_EPOCH + Duration::from_secs(end))
}

struct Files {
    anchor: PathBuf,
    anchor_key: PathBuf,
    issuer: PathBuf,
    issuer_key: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        Self {
            anchor: directory.join("trust-anchor.crt"),
            anchor_key: directory.join("trust-anchor.key"),
            issuer: directory.join("issuer.crt"),
            issuer_key: directory.join("issuer.key"),
        }
    }

    fn make(&self, trust_domain: &str) -> Result<()> {
        if let Some(directory) = self.anchor.parent() {
            fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let now = SystemTime::now();
        let anchor_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let anchor = ca(&format!("Conduit trust anchor {trust_domain}"), now, ANCHOR_LIFE, 1);
        let anchor_certificate = anchor.self_signed(&anchor_key)?;
        let issuer_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut issuer = ca(&format!("Conduit issuer {trust_domain}"), now, ISSUER_LIFE, 0);
        issuer.use_authority_key_identifier_extension = true;
        let issuer = issuer.signed_by(&issuer_key, &Issuer::from_params(&anchor, &anchor_key))?;
        write_new(&self.anchor_key, anchor_key.serialize_pem().as_bytes(), 0o600)?;
        write_new(&self.issuer_key, issuer_key.serialize_pem().as_bytes(), 0o600)?;
        write_new(&self.issuer, issuer.pem().as_bytes(), 0o644)?;
        // Last: whoever waits for the anchor finds everything else there.
        write_new(&self.anchor, anchor_certificate.pem().as_bytes(), 0o644)
    }
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

/// Writes a file that must not exist yet, whole or not at all, with this mode from its first byte on.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        _ = fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces a key that somebody put there.
        fs::hard_link(&part, path)?;
        fs::remove_file(&part)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Reads a private key that nobody else can read.
fn read_key(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    ensure!(mode & 0o077 == 0, "{} can be read by others (mode {mode:o}): chmod 600 it", path.display());
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
