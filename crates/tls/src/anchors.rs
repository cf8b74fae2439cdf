//! Reading certificates: trust anchors from PEM, and the one identity that a leaf names. Pure; what is trusted is decided in
//! `verify`.

use conduit_logic::words::Identity;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::{ANCHORS_MAX, Error};

/// Trust anchors, as they came and as they are used.
#[derive(Debug)]
pub(crate) struct Anchors {
    pub(crate) der: Vec<CertificateDer<'static>>,
    pub(crate) trusted: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    pub(crate) fn new(der: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        check_count(der.len())?;
        let read = |(index, cert): (usize, &CertificateDer<'static>)| {
            webpki::anchor_from_trusted_cert(cert)
                .map(|anchor| anchor.to_owned())
                .map_err(|error| Error::BadAnchor { index, reason: error.to_string() })
        };
        let trusted = der.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { der, trusted })
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    match count {
        0 => Err(Error::NoAnchors),
        1..=ANCHORS_MAX => Ok(()),
        _ => Err(Error::TooManyAnchors(count)),
    }
}

/// Reads trust anchors: one or more CA certificates in PEM. Text between them is ignored.
///
/// # Errors
/// When there is none, there are too many, or one cannot be read.
pub fn read_anchors(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certs = CertificateDer::pem_slice_iter(pem)
        .take(ANCHORS_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::BadPem(error.to_string()))?;
    Anchors::new(certs).map(|anchors| anchors.der)
}

/// The identity that a verified peer's leaf names: exactly one URI, a SPIFFE ID of a workload. It checks no signature; use it
/// on the certificates of a finished handshake.
///
/// # Errors
/// When there is no certificate, or it does not name exactly one workload.
pub fn peer_identity(certs: &[CertificateDer<'_>]) -> Result<Identity, Error> {
    let leaf = certs.first().ok_or(Error::NoCertificate)?;
    let leaf =
        webpki::EndEntityCert::try_from(leaf).map_err(|error| Error::BadCertificate(error.to_string()))?;
    let uris: Vec<&str> = leaf.valid_uri_names().collect();
    match uris[..] {
        [uri] => Ok(Identity::parse(uri)?),
        _ => Err(Error::NotOneUri(uris.len())),
    }
}
