//! What tests put in the controller's place: an authority that certifies, and any gRPC service behind mutual TLS. It decides
//! nothing; each test says what the controller answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use conduit_process::tasks::Tasks;
use conduit_tls::{Certificate, ClientAuth, Credentials};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::config::{Arguments, Command, Config};
use crate::tap::server::{Door, accept};

/// The controller's identity, as the default configuration expects it.
pub(crate) const CONTROLLER: &str = "spiffe://cluster.local/ns/conduit/sa/conduit-controller";
/// The proxy's, as [`config`] configures it.
pub(crate) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
/// Nothing in these tests takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !condition() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, holds).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// An issuer of certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A leaf for this key.
    pub(crate) fn sign(&self, identity: &str, key: &impl PublicKeyData) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity).unwrap())];
        params.signed_by(key, &self.0).unwrap().der().clone()
    }

    /// Credentials that trust this authority and have a certificate of it.
    pub(crate) fn credentials(&self, identity: &str) -> Credentials {
        let credentials = self.trust();
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate {
            chain: vec![self.sign(identity, &key)],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            anchors: Vec::new(),
            not_before: SystemTime::now(),
            not_after: SystemTime::now() + Duration::from_secs(3600),
        };
        credentials.install(certificate).unwrap();
        credentials
    }

    /// Credentials that trust this authority and have no certificate.
    pub(crate) fn trust(&self) -> Credentials {
        Credentials::new(vec![self.0.der().clone()]).unwrap()
    }
}

/// The configuration of a proxy whose controller is at `controller`.
pub(crate) fn config(controller: SocketAddr, token: &Path, more: &[&str]) -> Arc<Config> {
    let (controller, token) =
        (format!("--controller-addr={controller}"), format!("--token={}", token.display()));
    let base = [
        "conduit-proxy",
        "run",
        "--pod-namespace=shop",
        "--pod-name=web-1",
        "--service-account=web",
        "--pod-ips=10.1.0.2",
        "--trust-anchors=/none",
        &controller,
        &token,
    ];
    match Arguments::try_parse_from(base.iter().chain(more)).unwrap().command {
        Command::Run(run) => Arc::new(run.into_config().unwrap()),
        Command::Init(_) | Command::Validate(_) => panic!("not run"),
    }
}

/// Serves a gRPC service over TLS on a port of its own.
pub(crate) async fn serve<S>(
    service: S,
    credentials: &Credentials,
    auth: ClientAuth,
    tasks: &Tasks,
) -> SocketAddr
where
    S: tower_service::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (accepted, incoming) = mpsc::channel(4);
    let acceptor = TlsAcceptor::from(credentials.server_config(auth, &[b"h2"]));
    let expected = conduit_logic::words::Identity::parse(WEB).unwrap();
    let door = Door { expected, timeout: DEADLINE, acceptor };
    tasks.spawn_until_stopped("fake controller, accepting", accept(listener, door, accepted, tasks.clone()));
    tasks.spawn_until_stopped("fake controller", async move {
        let server = tonic::transport::Server::builder();
        let serving = server.serve_with_incoming(service, ReceiverStream::new(incoming));
        _ = Box::pin(serving).await;
    });
    addr
}
