//! An image of one layer as an archive in the OCI image layout, which `ctr images import`, `docker load` (25 and later), `podman load` and
//! `skopeo copy oci-archive:` read. See the OCI image format, "image-layout.md", "manifest.md", "config.md". Depends on `sha2`.
//! Deliberately absent: registries.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::files::{Files, compressed};

/// The search path of programs in an image.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// The whole reference, such as `localhost/conduit-proxy:0.1.0`.
    pub(crate) reference: String,
    pub(crate) files: Files,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    /// `UID:GID`; empty for root.
    pub(crate) user: String,
    /// As Go and the OCI format name it: amd64, arm64.
    pub(crate) architecture: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// From 0, none, to 9.
    pub(crate) compression: u32,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// The digest of the image's manifest.
    pub(crate) digest: String,
    /// Bytes of the compressed layer and its two documents: what a node downloads.
    pub(crate) compressed_bytes: u64,
    /// Bytes of all files: what a node stores.
    pub(crate) unpacked_bytes: u64,
}

impl Image {
    /// Writes the archive, by another name first, so that a reader never sees half of it.
    pub(crate) fn write(&self, path: &Path) -> Result<Written> {
        let diff = self.files.layer()?;
        let layer = compressed(&diff, self.compression)?;
        let config = serde_json::to_vec(&self.config(&digest(&diff)))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        }))?;
        let mut index_entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        index_entry["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        index_entry["annotations"] =
            json!({ "io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": tag });
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [index_entry],
        }))?;
        let mut files = vec![
            ("index.json".to_owned(), index.as_slice()),
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ];
        for blob in [&config, &layer, &manifest] {
            files.push((format!("blobs/sha256/{}", hex(blob)), blob.as_slice()));
        }
        files.sort();
        write_archive(path, &files)?;
        Ok(Written {
            digest: digest(&manifest),
            compressed_bytes: (layer.len() + config.len() + manifest.len()) as u64,
            unpacked_bytes: self.files.bytes(),
        })
    }

    fn config(&self, diff: &str) -> Value {
        let mut config = json!({ "Env": [PATH] });
        if !self.entrypoint.is_empty() {
            config["Entrypoint"] = json!(self.entrypoint);
        }
        if !self.command.is_empty() {
            config["Cmd"] = json!(self.command);
        }
        if !self.user.is_empty() {
            config["User"] = json!(self.user);
        }
        if !self.labels.is_empty() {
            config["Labels"] = json!(self.labels);
        }
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [diff] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask images" }],
        })
    }
}

/// The architecture of this machine as images name it.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn write_archive(path: &Path, files: &[(String, &[u8])]) -> Result<()> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes)?;
    }
    let new = path.with_extension("tar.new");
    fs::write(&new, builder.into_inner()?).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
