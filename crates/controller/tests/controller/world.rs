//! A running controller, and what stands around it: manifests, the keys that sign tokens, proxies' credentials and channels.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conduit_api::identity::v1::identity_client::IdentityClient;
use conduit_api::identity::v1::{CertifyRequest, CertifyResponse};
use conduit_api::operator::v1::operator_client::OperatorClient;
use conduit_logic::words::Identity;
use conduit_tls::{Certificate, Credentials, SERVER_NAME};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything takes, on a machine that does much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A future that must end in time.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until the condition gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let found = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if let Some(found) = condition().await {
                return found;
            }
        }
    };
    in_time(what, found).await
}

/// Who signs service account tokens.
pub(crate) struct Signer(EncodingKey);

impl Signer {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self(EncodingKey::from_ec_der(&pair.serialize_der()))
    }

    pub(crate) fn publish(&self, path: &Path) {
        let keys = JwkSet { keys: vec![Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap()] };
        std::fs::write(path, serde_json::to_vec(&keys).unwrap()).unwrap();
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &self.0).unwrap()
    }
}

/// What a good token of this service account claims.
pub(crate) fn claims(namespace: &str, account: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": "test", "aud": ["conduit"], "exp": now + 600, "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace,
            "pod": {"name": format!("{account}-1"), "uid": "1"},
            "serviceaccount": {"name": account, "uid": "2"},
        },
    })
}

/// A certificate request for these names, with its key.
pub(crate) fn request(names: &[&str]) -> (Vec<u8>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    (params.serialize_request(&key).unwrap().der().to_vec(), key)
}

pub(crate) fn id(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account).unwrap()
}

/// A controller with its directory.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) ip: Ipv4Addr,
    pub(crate) signer: Signer,
    pub(crate) child: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A loopback address that nobody else uses, most likely.
pub(crate) fn loopback() -> Ipv4Addr {
    Ipv4Addr::new(127, fastrand::u8(1..=250), fastrand::u8(1..=250), fastrand::u8(2..=250))
}

impl World {
    /// A controller that is ready, with these manifests as one file.
    pub(crate) async fn start(manifests: &str) -> Self {
        Self::start_with(manifests, &[]).await
    }

    /// With more arguments.
    pub(crate) async fn start_with(manifests: &str, more: &[&str]) -> Self {
        let (dir, ip, signer) = (TempDir::new().unwrap(), loopback(), Signer::new());
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        signer.publish(&dir.path().join("jwks.json"));
        std::fs::write(dir.path().join("manifests/world.yaml"), manifests).unwrap();
        let child = command(dir.path(), ip).args(more).spawn().unwrap();
        let world = Self { dir, ip, signer, child };
        until("ready", || async { world.get("/ready").filter(|text| text.starts_with("HTTP/1.1 200")) })
            .await;
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a manifest, as a whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let part = self.path("manifests").join(format!(".{name}.new"));
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, self.path("manifests").join(name)).unwrap();
    }

    /// What the admin port answers; `None` while nobody listens.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((self.ip, 8091)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn anchors(&self) -> Vec<CertificateDer<'static>> {
        conduit_tls::read_anchors(&std::fs::read(self.path("identity/trust-anchor.crt")).unwrap()).unwrap()
    }

    /// Asks for a certificate, without one.
    pub(crate) async fn certify(
        &self,
        token: String,
        csr_der: Vec<u8>,
        identity: &str,
    ) -> Result<CertifyResponse, Status> {
        let nobody = Credentials::new(self.anchors()).unwrap();
        let mut client = IdentityClient::new(self.channel(&nobody));
        let request = CertifyRequest { token, csr_der, identity: identity.to_owned() };
        in_time("certify", client.certify(request)).await.map(tonic::Response::into_inner)
    }

    /// What a proxy of this service account has.
    pub(crate) async fn credentials(&self, account: &str) -> Credentials {
        let identity = id(account);
        let (csr, key) = request(&[identity.as_str()]);
        let token = self.signer.sign(&claims("shop", account));
        let answer = self.certify(token, csr, identity.as_str()).await.unwrap();
        let credentials = Credentials::new(self.anchors()).unwrap();
        let time = |s| UNIX_EPOCH + Duration::from_secs(s);
        let certificate = Certificate {
            chain: answer.chain_der.into_iter().map(CertificateDer::from).collect(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            anchors: answer.trust_anchors_der.into_iter().map(CertificateDer::from).collect(),
            not_before: time(answer.not_before_unix_s),
            not_after: time(answer.not_after_unix_s),
        };
        credentials.install(certificate).unwrap();
        credentials
    }

    /// A channel to the controller; without a certificate in `credentials` none is presented.
    pub(crate) fn channel(&self, credentials: &Credentials) -> Channel {
        let controller = Identity::new("cluster.local", "conduit", "conduit-controller").unwrap();
        let tls = credentials.client_config(&controller, &[b"h2"]);
        let connector = Connector { addr: (self.ip, 8086).into(), tls };
        // Small windows, so that a client that does not read is noticed soon.
        let endpoint = Endpoint::from_static("http://controller");
        let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        endpoint.connect_with_connector_lazy(connector)
    }

    /// The operator API.
    pub(crate) async fn operator(&self) -> OperatorClient<Channel> {
        let connector = Unix(self.path("operator.sock"));
        OperatorClient::new(
            Endpoint::from_static("http://operator").connect_with_connector(connector).await.unwrap(),
        )
    }
}

/// The controller on the ports of `ip`, with everything else in `dir`.
pub(crate) fn command(dir: &Path, ip: Ipv4Addr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conduit-controller"));
    command.arg("run").arg("--manifests").arg(dir.join("manifests"));
    command.arg("--identity-dir").arg(dir.join("identity")).arg("--token-keys").arg(dir.join("jwks.json"));
    command.arg("--operator-socket").arg(dir.join("operator.sock"));
    command.arg("--grpc-addr").arg(format!("{ip}:8086")).arg("--admin-addr").arg(format!("{ip}:8091"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).arg("--log").arg("warn");
    command
}

#[derive(Clone)]
struct Connector {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
}

type Connecting<T> = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<T>>> + Send>>;

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;
    type Error = std::io::Error;
    type Future = Connecting<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self { addr, tls } = self.clone();
        Box::pin(async move {
            let socket = tokio::net::TcpStream::connect(addr).await?;
            let name = ServerName::try_from(SERVER_NAME).unwrap();
            tokio_rustls::TlsConnector::from(tls).connect(name, socket).await.map(TokioIo::new)
        })
    }
}

#[derive(Clone)]
struct Unix(PathBuf);

impl tower_service::Service<http::Uri> for Unix {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Connecting<UnixStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

/// A meshed pod of the deployment and service account `account`.
pub(crate) fn pod(account: &str, number: u8, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {account}-{number}\n  namespace: shop\n  labels: {{conduit.io/meshed: \"true\", pod-template-hash: abc}}\n  ownerReferences: [{{kind: ReplicaSet, name: {account}-abc}}]\nspec: {{serviceAccountName: {account}}}\nstatus: {{phase: Running, podIP: {ip}}}\n"
    )
}

/// A service with one port.
pub(crate) fn service(name: &str, cluster_ip: &str, port: u16, protocol: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{clusterIP: {cluster_ip}, ports: [{{name: p, port: {port}, appProtocol: {protocol}}}]}}\n"
    )
}

/// Its endpoints: addresses with the names of their pods.
pub(crate) fn slice(name: &str, port: u16, endpoints: &[(&str, &str)]) -> String {
    let endpoint = |(ip, pod): &(&str, &str)| {
        format!(
            "- {{addresses: [{ip}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: {pod}}}}}\n"
        )
    };
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-a, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\nports: [{{name: p, port: {port}}}]\nendpoints:\n{}",
        endpoints.iter().map(endpoint).collect::<String>()
    )
}
