use std::net::SocketAddr;
use std::time::SystemTime;

use conduit_tls::{Certificate, ClientAuth, Credentials, SERVER_NAME};
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::identity::authority::Authority;

/// Longer than anything takes that is not kept out.
const DEADLINE: Duration = Duration::from_secs(4);
/// Longer than anybody stays who may not; of tokio's clock.
const LONG: Duration = Duration::from_secs(3600);

fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "conduit", account).unwrap()
}

/// A port, and those who connect to it.
struct World {
    addr: SocketAddr,
    accepted: mpsc::Receiver<io::Result<Peer>>,
    authority: Authority,
    tasks: Tasks,
    _identity: tempfile::TempDir,
}

impl World {
    async fn new(connections_max: usize, strangers_max: Option<usize>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), "cluster.local", LONG).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        let own = credentials(&authority, Some("conduit-controller"));
        let acceptor = TlsAcceptor::from(own.server_config(ClientAuth::Optional, &[b"h2"]));
        let (sender, accepted) = mpsc::channel(8);
        let acceptor = move || acceptor.clone();
        let accepting = Accepting { listener, acceptor, read: workload, connections_max, strangers_max };
        tasks.spawn_until_stopped("accept", accept(accepting, sender, tasks.clone()));
        Self { addr, accepted, authority, tasks, _identity: dir }
    }

    fn config(&self, account: Option<&str>) -> Arc<ClientConfig> {
        credentials(&self.authority, account).client_config(&identity("conduit-controller"), &[b"h2"])
    }

    /// Shakes hands, with a certificate of this account or with none.
    async fn shake(&self, account: Option<&str>) -> client::TlsStream<TcpStream> {
        let socket = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        TlsConnector::from(self.config(account)).connect(name, socket).await.unwrap()
    }

    /// Shakes hands and begins to speak.
    async fn speak(&self, account: Option<&str>) -> client::TlsStream<TcpStream> {
        let mut stream = self.shake(account).await;
        stream.write_all(PREFACE).await.unwrap();
        stream
    }

    async fn next(&mut self) -> Peer {
        timeout(DEADLINE, self.accepted.recv()).await.expect("in time").unwrap().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn credentials(authority: &Authority, account: Option<&str>) -> Credentials {
    let credentials = Credentials::new(authority.anchors().to_vec()).unwrap();
    if let Some(account) = account {
        let key = KeyPair::generate().unwrap();
        let signed = authority.certify(&key, &identity(account), SystemTime::now()).unwrap();
        let certificate = Certificate {
            chain: signed.chain,
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            anchors: Vec::new(),
            not_before: signed.not_before,
            not_after: signed.not_after,
        };
        credentials.install(certificate).unwrap();
    }
    credentials
}

/// Whether the other end has closed, in order or not.
async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn clients_that_stall_in_their_handshake_keep_nobody_waiting_and_may_still_go_on() {
    let mut world = World::new(1000, None).await;
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let config = world.config(Some("api"));
    let mut slow = pin!(TlsConnector::from(config).connect(ServerName::try_from(SERVER_NAME).unwrap(), near));
    let mut hello = vec![0; 16 * 1024];
    let n = tokio::select! {
        outcome = &mut slow => panic!("{outcome:?}"),
        n = far.read(&mut hello) => n.unwrap(),
    };
    let mut sockets = Vec::new();
    for _ in 0..2 * HANDSHAKES_MAX {
        let mut socket = TcpStream::connect(world.addr).await.unwrap();
        socket.write_all(&hello[..1]).await.unwrap();
        sockets.push(socket);
    }
    let _client = timeout(DEADLINE, world.speak(Some("web"))).await.expect("its turn came");
    assert!(matches!(world.next().await.connect_info(), Caller::Workload(it) if it == identity("web")));
    // The turn of the first has passed.
    let socket = &mut sockets[0];
    socket.write_all(&hello[1..n]).await.unwrap();
    let finish = async {
        let mut stream = slow.await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        world.next().await
    };
    tokio::select! {
        peer = finish => assert!(matches!(peer.connect_info(), Caller::Workload(it) if it == identity("api"))),
        ended = tokio::io::copy_bidirectional(&mut far, socket) => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_never_begins_to_speak_http_2_is_closed() {
    let mut world = World::new(10, Some(10)).await;
    let mut others = [world.shake(Some("web")).await, world.shake(None).await, world.shake(None).await];
    others[2].write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(timeout(DEADLINE, ended(&mut others[2])).await.expect("it speaks something else"));
    let _client = world.speak(Some("web")).await;
    let mut peer = world.next().await;
    // From here on nobody sends anything: only time passes, and at once.
    tokio::time::pause();
    for other in &mut others[..2] {
        assert!(timeout(LONG, ended(other)).await.expect("it was waited for long enough"));
    }
    let mut read = [0; PREFACE.len()];
    peer.read_exact(&mut read).await.unwrap();
    assert_eq!(read, PREFACE, "the server gets what was read for it");
    assert!(timeout(LONG, ended(&mut peer)).await.is_err(), "who has begun stays");
}

#[tokio::test]
async fn clients_without_a_certificate_have_a_share_of_the_places_and_do_not_stay() {
    let mut world = World::new(4, Some(1)).await;
    let _first = world.speak(None).await;
    let mut stranger = world.next().await;
    assert!(matches!(stranger.connect_info(), Caller::Nobody));
    let mut second = world.shake(None).await;
    assert!(timeout(DEADLINE, ended(&mut second)).await.expect("their share is taken"));
    let _known = world.speak(Some("web")).await;
    let mut known = world.next().await;
    tokio::time::pause();
    stranger.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    known.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    let began = tokio::time::Instant::now();
    let outcome = timeout(LONG, stranger.read(&mut [0; 1])).await.expect("its time is over");
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() <= STRANGER_AGE_MAX + Duration::from_secs(1));
    assert!(stranger.write(b"x").await.is_err(), "nor can it stay by not reading");
    assert!(timeout(LONG, ended(&mut known)).await.is_err(), "who has a certificate stays");
    drop(stranger);
    tokio::time::resume();
    let _third = world.speak(None).await;
    assert!(matches!(world.next().await.connect_info(), Caller::Nobody), "the share is free again");
}

#[tokio::test]
async fn where_there_is_no_share_clients_without_a_certificate_are_like_all_others() {
    let mut world = World::new(2, None).await;
    let _first = world.speak(None).await;
    let _second = world.speak(None).await;
    let (mut peer, _other) = (world.next().await, world.next().await);
    tokio::time::pause();
    peer.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    assert!(timeout(LONG, ended(&mut peer)).await.is_err());
}
