//! The ServiceAccount tokens of a local world: what the API server issues in Kubernetes. A key made at start, its public half as a
//! JWKS file, and a token file per pod. Depends on jsonwebtoken and rcgen. Deliberately absent: verifying them (the controller).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use conduit_logic::ports::TOKEN_AUDIENCE;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use crate::spec::Dir;

/// How long a token is good for; as in Kubernetes.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How often all token files are written anew.
pub(crate) const REFRESH: Duration = Duration::from_secs(1200);

/// Whose token it is.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) service_account: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: [&'static str; 1],
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes<'a>,
}

#[derive(Serialize)]
struct Kubernetes<'a> {
    namespace: &'static str,
    pod: Object<'a>,
    serviceaccount: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    uid: &'a str,
}

/// Signs tokens and puts them where proxies read them.
pub(crate) struct Tokens {
    key: EncodingKey,
    dir: PathBuf,
    // Proxies get the directory open: they run as a user who may not pass through the directories above it.
    open: Arc<OwnedFd>,
    group: Option<u32>,
}

impl Tokens {
    /// Makes a key, writes its public half into `dir`, and makes the directory of the tokens, which `group` may read.
    pub(crate) fn new(dir: &Dir, group: Option<u32>) -> Result<Self> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .context("cannot make the tokens' key")?;
        let key = EncodingKey::from_ec_der(pair.serialized_der());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256)
            .context("cannot take the public half of the key")?;
        public.common.key_id = Some(KEY_ID.to_owned());
        let keys = serde_json::to_vec(&JwkSet { keys: vec![public] }).context("cannot write the key down")?;
        replace(&dir.token_keys(), &keys, None).context("cannot write the tokens' public key")?;
        let path = dir.tokens();
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        set_owner(&path, group, 0o750)
            .with_context(|| format!("cannot set the owner of {}", path.display()))?;
        let open: OwnedFd =
            std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?.into();
        Ok(Self { key, dir: path, open: Arc::new(open), group })
    }

    /// The directory, to be left open in a proxy.
    pub(crate) fn open_dir(&self) -> Arc<OwnedFd> {
        self.open.clone()
    }

    /// Writes a fresh token for `subject`.
    pub(crate) fn write(&self, subject: &Subject) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: "https://conduit.local",
            aud: [TOKEN_AUDIENCE],
            sub: format!("system:serviceaccount:{}:{}", crate::manifests::NAMESPACE, subject.service_account),
            iat: now,
            // Clocks on one machine do not differ, but a step back of a second should not end the world.
            nbf: now.saturating_sub(5),
            exp: now + LIFETIME.as_secs(),
            kubernetes: Kubernetes {
                namespace: crate::manifests::NAMESPACE,
                pod: Object { name: &subject.pod, uid: &subject.uid },
                serviceaccount: Object { name: &subject.service_account, uid: &subject.service_account },
            },
        };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        let token = encode(&header, &claims, &self.key).context("cannot sign a token")?;
        replace(&self.dir.join(&subject.pod), token.as_bytes(), self.group)
            .with_context(|| format!("cannot write the token of {}", subject.pod))
    }

    /// Puts a copy of the trust anchor at `anchor` beside the tokens.
    pub(crate) fn copy_anchor(&self, anchor: &Path) -> Result<()> {
        let pem = std::fs::read(anchor)
            .with_context(|| format!("cannot read the trust anchor {}", anchor.display()))?;
        replace(&self.dir.join(ANCHOR), &pem, self.group).context("cannot copy the trust anchor")
    }

    /// Takes the token of a pod away.
    pub(crate) fn remove(&self, pod: &str) {
        // It was never written when the pod could not be made.
        let _ = std::fs::remove_file(self.dir.join(pod));
    }
}

/// The trust anchor's name in the directory of the tokens.
pub(crate) const ANCHOR: &str = "trust-anchor.crt";
const KEY_ID: &str = "local";

fn set_owner(path: &Path, group: Option<u32>, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Replaces a file at once, readable by its owner and `group` alone.
fn replace(path: &Path, bytes: &[u8], group: Option<u32>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    set_owner(&fresh, group, 0o640)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}
