use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_client_that_trusts_the_anchors_reaches_the_webhook_by_its_services_name() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::open(dir.path(), "cluster.local", Duration::from_secs(60)).unwrap());
    let serving = Serving::default();
    let wait = renew(&authority, &serving).unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(wait > Duration::from_secs(30) && wait < Duration::from_secs(60), "{wait:?}");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(serving));
    let mut roots = RootCertStore::empty();
    roots.add(authority.anchors()[0].clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    for (host, trusted) in [("conduit-webhook.conduit.svc", true), ("other.conduit.svc", false)] {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let connect = connector.connect(ServerName::try_from(host).unwrap(), near);
        let (client, server) = tokio::join!(connect, acceptor.accept(far));
        assert_eq!(client.is_ok(), trusted, "{host}");
        if let (Ok(mut client), Ok(mut server)) = (client, server) {
            client.write_all(b"hello").await.unwrap();
            let mut bytes = [0; 5];
            server.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hello");
        }
    }
}

#[test]
fn the_webhooks_certificate_is_no_identity_of_the_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), "cluster.local", Duration::from_secs(60)).unwrap();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let signed = authority.certify_host(&key, "conduit-webhook.conduit.svc", SystemTime::now()).unwrap();
    assert!(conduit_tls::peer_identity(&signed.chain).is_err());
}
