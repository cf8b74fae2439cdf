//! Whether Conduit is being removed from the cluster, asked of the API server by an agent that was told to end: its DaemonSet, or the
//! namespace of both, is gone or going. An agent that is merely restarted, updated or drained finds both in place. Blocking, over
//! HTTP/1.0, whose answers end with the connection. Deliberately absent: anything else of the API.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use conduit_logic::ports::CONTROLLER_NAMESPACE;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;

/// How long each step of a question may take: both together fit into the pod's time to end.
const STEP_TIME: Duration = Duration::from_secs(2);
/// Bytes of an answer: a DaemonSet has a few thousand.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// The agent's DaemonSet.
const DAEMON_SET: &str = "conduit-cni";

/// Where the API server is, and what proves to it who asks.
#[derive(Debug)]
pub(crate) struct ApiServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The folder with `token` and `ca.crt`.
    pub(crate) account: PathBuf,
}

impl ApiServer {
    /// Whether Conduit, or its plugin, is being removed.
    ///
    /// # Errors
    /// When the API server does not say.
    pub(crate) fn says_removed(&self) -> Result<bool> {
        let namespace = format!("/api/v1/namespaces/{CONTROLLER_NAMESPACE}");
        let daemon_set = format!("/apis/apps/v1/namespaces/{CONTROLLER_NAMESPACE}/daemonsets/{DAEMON_SET}");
        for path in [daemon_set, namespace] {
            if is_gone(&self.get(&path).with_context(|| format!("asking the API server for {path}"))?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let file = |name: &str| self.account.join(name);
        let token = std::fs::read_to_string(file("token")).context("reading the service account's token")?;
        let mut roots = RootCertStore::empty();
        for certificate in
            CertificateDer::pem_file_iter(file("ca.crt")).context("reading the cluster's ca.crt")?
        {
            roots.add(certificate.context("reading the cluster's ca.crt")?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = (&*self.host, self.port).to_socket_addrs()?.next().context("it has no address")?;
        let mut tcp = TcpStream::connect_timeout(&address, STEP_TIME)?;
        tcp.set_read_timeout(Some(STEP_TIME))?;
        tcp.set_write_timeout(Some(STEP_TIME))?;
        let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from(self.host.clone())?)?;
        let mut stream = Stream::new(&mut session, &mut tcp);
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\nAuthorization: Bearer {}\r\n\r\n",
            self.host,
            token.trim()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Ok(answer),
        }
    }
}

/// Whether an answer says that an object is gone or going. Without the right to ask, or the account that had it, the rest of the
/// installation is gone too.
fn is_gone(answer: &[u8]) -> Result<bool> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("it is no answer of HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => {
            let object: Value = serde_json::from_str(body).context("it is no object")?;
            Ok(!object["metadata"]["deletionTimestamp"].is_null())
        }
        Some("401" | "403" | "404") => Ok(true),
        _ => bail!("it answered {}", head.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
