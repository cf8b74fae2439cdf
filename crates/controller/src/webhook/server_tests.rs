use std::net::SocketAddr;

use conduit_inject::settings::Settings;
use conduit_inject::{Mesh, Redirection};
use conduit_process::ready::Readiness;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::identity::authority::Authority;
use crate::webhook::namespaces;

/// Less than what silence is given anywhere, and longer than anything takes.
const DEADLINE: Duration = Duration::from_secs(8);

/// What a webhook is served with, and a client that trusts it. Its API server is nobody: these reviews need none.
struct World {
    reviewer: Arc<Reviewer>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    _identity: tempfile::TempDir,
}

fn world() -> World {
    let identity = tempfile::tempdir().unwrap();
    let authority = Authority::open(identity.path(), "cluster.local", Duration::from_secs(60)).unwrap();
    let stopped = Tasks::new();
    stopped.stop();
    let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = kube::Client::try_from(nobody).unwrap();
    let namespaces = namespaces::follow(client, DEADLINE, Readiness::new().gate("namespaces"), &stopped);
    let mesh = Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        trust_anchors: String::new(),
        cluster_networks: None,
        redirection: Redirection::Init,
        settings: Settings::of_image("conduit-proxy:1"),
    };
    let made = rcgen::generate_simple_self_signed(vec!["webhook".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    World {
        reviewer: Arc::new(Reviewer { namespaces, authority: Arc::new(authority), mesh }),
        acceptor: TlsAcceptor::from(Arc::new(server)),
        connector: TlsConnector::from(Arc::new(client)),
        _identity: identity,
    }
}

impl World {
    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> TlsStream<S> {
        self.connector.connect(ServerName::try_from("webhook").unwrap(), stream).await.unwrap()
    }

    /// Serves a connection in memory.
    async fn connected(&self, tasks: &Tasks) -> TlsStream<tokio::io::DuplexStream> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (acceptor, reviewer) = (self.acceptor.clone(), self.reviewer.clone());
        let stop = tasks.token().clone();
        tasks.spawn("connection", async move {
            connection(far, acceptor, reviewer, &stop, &stop).await;
        });
        self.handshake(near).await
    }
}

/// Posts something that is no review, and reads the answer's head.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let request = format!("POST {PATH} HTTP/1.1\r\nhost: webhook\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

/// Whether the connection has ended, in order or not.
async fn ended<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

async fn served(world: &World, tasks: &Tasks) -> SocketAddr {
    // Tests run beside each other in one process, each with hundreds of connections.
    conduit_process::limits::raise_open_files();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    serve(listener, world.acceptor.clone(), world.reviewer.clone(), tasks);
    addr
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_out_who_asks() {
    let (world, tasks) = (world(), Tasks::new());
    let addr = served(&world, &tasks).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    let late = async {
        let mut stream = world.handshake(TcpStream::connect(addr).await.unwrap()).await;
        ask(&mut stream).await
    };
    let answer = timeout(DEADLINE, late).await.expect("in time");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(timeout(DEADLINE, ended(&mut silent[0])).await.expect("the oldest gave way"));
    tasks.stop();
}

#[tokio::test]
async fn connections_that_ask_for_nothing_after_their_handshake_do_not_keep_out_who_asks() {
    let (world, tasks) = (world(), Tasks::new());
    let addr = served(&world, &tasks).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = world.handshake(TcpStream::connect(addr).await.unwrap()).await;
        // Half a head, and half a body: both would be waited for.
        let (head, body) = ("POST /inj", "POST /inject HTTP/1.1\r\nhost: w\r\ncontent-length: 9\r\n\r\n{");
        let text = if idle.len() % 2 == 0 { head } else { body };
        stream.write_all(text.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    for _ in 0..4 {
        let late = async {
            let mut stream = world.handshake(TcpStream::connect(addr).await.unwrap()).await;
            let answer = ask(&mut stream).await;
            idle.push(stream);
            answer
        };
        let answer = timeout(DEADLINE, late).await.expect("in time");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(timeout(DEADLINE, ended(&mut idle[0])).await.expect("the oldest gave way"));
    assert!(tasks.len() <= CONNECTIONS_MAX + 1, "{}", tasks.len());
    tasks.stop();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_handshake_or_a_request_is_closed() {
    let (world, tasks) = (world(), Tasks::new());
    let (mut mute, far) = tokio::io::duplex(1024);
    let (acceptor, reviewer, token) = (world.acceptor.clone(), world.reviewer.clone(), tasks.token().clone());
    tasks.spawn("connection", async move { connection(far, acceptor, reviewer, &token, &token).await });
    let began = Instant::now();
    assert!(ended(&mut mute).await);
    assert!(began.elapsed() <= READ_TIMEOUT + Duration::from_secs(1), "{:?}", began.elapsed());
    let mut silent = world.connected(&tasks).await;
    let began = Instant::now();
    assert!(ended(&mut silent).await);
    assert!(began.elapsed() <= IDLE_TIMEOUT + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(tasks.wait(DEADLINE).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_used_every_90_s_stays_until_an_answer_says_that_it_is_the_last() {
    let (world, tasks) = (world(), Tasks::new());
    let mut stream = world.connected(&tasks).await;
    let (began, mut tick) = (Instant::now(), tokio::time::interval(Duration::from_secs(90)));
    loop {
        tick.tick().await;
        let answer = ask(&mut stream).await;
        if answer.contains("connection: close") {
            break;
        }
        assert!(began.elapsed() < LAST_ANSWER_AGE, "{answer}");
    }
    assert!(began.elapsed() >= LAST_ANSWER_AGE);
    assert!(ended(&mut stream).await);
}

#[test]
fn no_connection_that_ends_between_two_reviews_is_cut_off_by_its_age() {
    assert!(LAST_ANSWER_AGE + IDLE_TIMEOUT + READ_TIMEOUT + FINISH_TIMEOUT < CONNECTION_AGE_MAX);
}
