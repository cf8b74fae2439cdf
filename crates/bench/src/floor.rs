//! The least that a pair of proxies with mutual TLS can be on Conduit's own libraries: each connection has a TLS connection of its
//! own and its bytes are copied, whatever they are. No detection, no pool, no requests, no metrics, no limits: what a real
//! proxy costs is held against it. It is set up as a script in another proxy's place is.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use conduit_process::tasks::Tasks;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::subject::{CLIENT_PORT_OFFSET, READY_LINE, SERVER_PORT_OFFSET};

/// Bytes that are copied at once in each direction: some whole TLS records.
const COPY_BYTES: usize = 64 * 1024;

/// One side, of all services, until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = Tasks::new();
    runtime.block_on(async {
        let side = Side::from_env()?;
        for service in variable("PORTS")?.split_whitespace() {
            let port: u16 = service.split(':').next().unwrap_or_default().parse().context("PORTS")?;
            let side = side.clone();
            let listener = TcpListener::bind(side.listens_on(port)).await?;
            let group = tasks.clone();
            tasks.spawn("accept", async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let side = side.clone();
                    // A connection that breaks ends alone; the load counts it.
                    group.spawn("connection", async move { drop(Box::pin(side.carry(stream, port)).await) });
                }
            });
        }
        println!("{READY_LINE}");
        conduit_process::signal::terminated().await;
        Ok(())
    })
}

/// What a side does with a connection.
#[derive(Clone)]
enum Side {
    /// Plain from the application, TLS to the peer.
    Client(String, TlsConnector),
    /// TLS from the peer, plain to the application.
    Server(TlsAcceptor),
}

impl Side {
    fn from_env() -> anyhow::Result<Self> {
        let certificate: Vec<_> =
            CertificateDer::pem_file_iter(variable("CERT")?)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(variable("KEY")?)?;
        let mut anchors = RootCertStore::empty();
        for anchor in CertificateDer::pem_file_iter(variable("CA")?)? {
            anchors.add(anchor?)?;
        }
        Ok(match variable("ROLE")?.as_str() {
            "client" => {
                let config = ClientConfig::builder().with_root_certificates(anchors);
                let config = config.with_client_auth_cert(certificate, key)?;
                Self::Client(variable("PEER")?, TlsConnector::from(Arc::new(config)))
            }
            "server" => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(anchors)).build()?;
                let config = ServerConfig::builder().with_client_cert_verifier(verifier);
                let config = config.with_single_cert(certificate, key)?;
                Self::Server(TlsAcceptor::from(Arc::new(config)))
            }
            other => bail!("ROLE is client or server, not {other}"),
        })
    }

    fn listens_on(&self, port: u16) -> SocketAddr {
        match self {
            Self::Client(..) => SocketAddr::from(([127, 0, 0, 1], port + CLIENT_PORT_OFFSET)),
            Self::Server(_) => SocketAddr::from(([0, 0, 0, 0], port + SERVER_PORT_OFFSET)),
        }
    }

    async fn carry(&self, stream: TcpStream, port: u16) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        match self {
            Self::Client(peer, connector) => {
                let far = TcpStream::connect((peer.as_str(), port + SERVER_PORT_OFFSET)).await?;
                far.set_nodelay(true)?;
                let name = ServerName::try_from("bench").context("bench is a name")?;
                copy(stream, connector.connect(name, far).await?).await
            }
            Self::Server(acceptor) => {
                let near = acceptor.accept(stream).await?;
                let far = TcpStream::connect(("127.0.0.1", port)).await?;
                far.set_nodelay(true)?;
                copy(near, far).await
            }
        }
    }
}

async fn copy(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut far: impl AsyncRead + AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    copy_bidirectional_with_sizes(&mut near, &mut far, COPY_BYTES, COPY_BYTES).await?;
    Ok(())
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("the environment has no {name}"))
}
