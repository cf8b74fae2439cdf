//! The cluster's certificates, its service accounts' key, and a kubeconfig for each component and for the operator. Depends on rcgen.
//! Deliberately absent: rotation; a cluster lives for hours.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::addresses::{Families, in_url};

/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;

/// Where the files are, in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// A file of this folder, by its name.
    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// The kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &str) -> String {
        self.file(&format!("{user}.kubeconfig"))
    }

    /// Writes everything for a cluster of so many nodes.
    pub(crate) fn create(dir: &Path, families: Families, nodes: u8) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let pki = Self::in_dir(dir);
        let mut params = params("kubernetes-ca", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages.clear();
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        pki.write("ca.crt", &ca.pem())?;
        pki.write("ca.key", &ca.key().serialize_pem())?;

        pki.sign(&ca, "apiserver", ("kube-apiserver", None), &api_names(families))?;
        pki.sign(&ca, "apiserver-kubelet", ("kube-apiserver-kubelet-client", Some("system:masters")), &[])?;
        pki.sign(&ca, "front-proxy", ("front-proxy-client", None), &[])?;
        let mut users = vec![
            ("admin".to_owned(), "admin".to_owned(), Some("system:masters")),
            ("controller-manager".to_owned(), "system:kube-controller-manager".to_owned(), None),
            ("scheduler".to_owned(), "system:kube-scheduler".to_owned(), None),
            ("kube-proxy".to_owned(), "system:kube-proxy".to_owned(), None),
        ];
        for number in 1..=nodes {
            let name = format!("node{number}");
            users.push((name.clone(), format!("system:node:{name}"), Some("system:nodes")));
        }
        for (user, name, group) in users {
            let number = user.strip_prefix("node").and_then(|number| number.parse().ok());
            let mut names = Vec::new();
            if let Some(number) = number {
                names = vec![user.clone(), "127.0.0.1".to_owned()];
                names.extend(families.node(number).iter().map(IpAddr::to_string));
            }
            pki.sign(&ca, &user, (&name, group), &names)?;
            pki.write_kubeconfig(&user, families)?;
        }
        let key = KeyPair::generate()?;
        pki.write("service-account.key", &key.serialize_pem())?;
        pki.write("service-account.pub", &key.public_key_pem())?;
        Ok(pki)
    }

    fn sign(
        &self,
        ca: &CertifiedIssuer<'_, KeyPair>,
        file: &str,
        (name, group): (&str, Option<&str>),
        names: &[String],
    ) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params(name, group, names)?.signed_by(&key, ca)?;
        self.write(&format!("{file}.crt"), &certificate.pem())?;
        self.write(&format!("{file}.key"), &key.serialize_pem())
    }

    fn write_kubeconfig(&self, user: &str, families: Families) -> Result<()> {
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "conduit-test", "cluster": {
                "server": format!("https://{}:{API_PORT}", in_url(families.node(1)[0])),
                "certificate-authority": self.file("ca.crt"),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": self.file(&format!("{user}.crt")),
                "client-key": self.file(&format!("{user}.key")),
            }}],
            "contexts": [{"name": "conduit-test", "context": {"cluster": "conduit-test", "user": user}}],
            "current-context": "conduit-test",
        });
        self.write(&format!("{user}.kubeconfig"), &serde_json::to_string_pretty(&text)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn api_names(families: Families) -> Vec<String> {
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names
        .extend(["kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.push(families.api_service().to_string());
    names.extend(families.node(1).iter().map(IpAddr::to_string));
    names
}

fn params(name: &str, group: Option<&str>, names: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
