use super::*;
use crate::{Facts, facts};
use std::task::{Context, Waker};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ALPN: &[&[u8]] = &[b"h2"];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn anchor(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn issue(&self, uris: &[&str], last_year: i32) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.not_after = date_time_ymd(last_year, 1, 1);
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Certificate {
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            anchors: Vec::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::now() + Duration::from_secs(3600),
        }
    }

    fn credentials(&self, service_account: &str) -> Credentials {
        let credentials = Credentials::new(vec![self.anchor()]).unwrap();
        credentials.install(self.issue(&[id(service_account).as_str()], 4000)).unwrap();
        credentials
    }
}

fn id(service_account: &str) -> Identity {
    Identity::new("cluster.local", "shop", service_account).unwrap()
}

#[derive(Debug)]
struct Seen {
    client: Option<Identity>,
    server: Identity,
    facts: Facts,
}

/// A whole handshake and a byte each way. Errors of both sides, so that a test can say who refused whom.
async fn shake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Result<Seen, (String, String)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = Box::pin(async {
        let mut stream = TlsAcceptor::from(server).accept(near).await?;
        stream.write_all(b"s").await?;
        stream.read_u8().await?;
        let peer = stream.get_ref().1.peer_certificates().map(|certs| peer_identity(certs).unwrap());
        Ok::<_, std::io::Error>((peer, facts(stream.get_ref().1)))
    });
    let connect = Box::pin(async {
        let name = crate::SERVER_NAME.try_into().unwrap();
        let mut stream = TlsConnector::from(client).connect(name, far).await?;
        stream.read_u8().await?;
        stream.write_all(b"c").await?;
        let peer = peer_identity(stream.get_ref().1.peer_certificates().unwrap()).unwrap();
        Ok::<_, std::io::Error>((peer, facts(stream.get_ref().1)))
    });
    let both = Box::pin(async { tokio::join!(accept, connect) });
    let (server, client) =
        tokio::time::timeout(Duration::from_secs(10), both).await.expect("no handshake in time");
    match (server, client) {
        (Ok((client, facts)), Ok((server, client_facts))) => {
            assert_eq!(facts, client_facts);
            Ok(Seen { client, server, facts })
        }
        (server, client) => Err((said(server.err()), said(client.err()))),
    }
}

fn said(error: Option<std::io::Error>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn both_ends_prove_who_they_are_with_post_quantum_key_exchange() {
    let ca = Authority::new("a");
    let (web, db) = (ca.credentials("web"), ca.credentials("db"));
    let seen = shake(db.server_config(ClientAuth::Required, ALPN), web.client_config(&id("db"), ALPN))
        .await
        .unwrap();
    assert_eq!((seen.client, seen.server), (Some(id("web")), id("db")));
    assert_eq!(seen.facts, Facts { version: "TLSv1.3", key_exchange: "X25519MLKEM768" });
}

#[tokio::test]
async fn a_server_with_another_identity_is_refused() {
    let ca = Authority::new("a");
    let (web, db) = (ca.credentials("web"), ca.credentials("db"));
    let server = db.server_config(ClientAuth::Required, ALPN);
    let (_, client) = shake(server, web.client_config(&id("cache"), ALPN)).await.unwrap_err();
    assert!(client.contains("the server is spiffe://cluster.local/ns/shop/sa/db, expected"), "{client}");
}

#[tokio::test]
async fn a_client_of_another_trust_domain_is_refused_though_our_authority_certified_it() {
    let ca = Authority::new("a");
    let db = ca.credentials("db");
    let stranger = Credentials::new(vec![ca.anchor()]).unwrap();
    stranger.install(ca.issue(&["spiffe://elsewhere.example/ns/shop/sa/web"], 4000)).unwrap();
    let server = db.server_config(ClientAuth::Required, ALPN);
    let (server, _) = shake(server, stranger.client_config(&id("db"), ALPN)).await.unwrap_err();
    assert!(server.contains("not of our trust domain cluster.local"), "{server}");
}

#[tokio::test]
async fn a_client_that_another_authority_certified_is_refused() {
    let (ca, other) = (Authority::new("a"), Authority::new("b"));
    let db = ca.credentials("db");
    // Trusts our authority, but was certified by another one.
    let stranger = Credentials::new(vec![ca.anchor()]).unwrap();
    stranger.install(other.issue(&[id("web").as_str()], 4000)).unwrap();
    let server = db.server_config(ClientAuth::Required, ALPN);
    let (server, _) = shake(server, stranger.client_config(&id("db"), ALPN)).await.unwrap_err();
    assert!(server.contains("UnknownIssuer"), "{server}");
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_required() {
    let ca = Authority::new("a");
    let db = ca.credentials("db");
    let nobody = Credentials::new(vec![ca.anchor()]).unwrap();
    let anonymous = nobody.anonymous_client_config(&id("db"), ALPN);
    let required = db.server_config(ClientAuth::Required, ALPN);
    let (server, _) = shake(required.clone(), anonymous.clone()).await.unwrap_err();
    assert!(server.contains("no certificates"), "{server}");
    assert!(shake(required, nobody.client_config(&id("db"), ALPN)).await.is_err());
    let seen = shake(db.server_config(ClientAuth::Optional, ALPN), anonymous).await.unwrap();
    assert_eq!(seen.client, None);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_either_end() {
    let ca = Authority::new("a");
    let (web, db) = (ca.credentials("web"), ca.credentials("db"));
    let old = Credentials::new(vec![ca.anchor()]).unwrap();
    old.install(ca.issue(&[id("old").as_str()], 2020)).unwrap();
    let (server, _) = shake(db.server_config(ClientAuth::Required, ALPN), old.client_config(&id("db"), ALPN))
        .await
        .unwrap_err();
    assert!(server.contains("Expired"), "{server}");
    let (_, client) =
        shake(old.server_config(ClientAuth::Required, ALPN), web.client_config(&id("old"), ALPN))
            .await
            .unwrap_err();
    assert!(client.contains("Expired"), "{client}");
}

#[tokio::test]
async fn the_next_handshake_uses_the_rotated_certificate_and_anchors() {
    let (ca, new) = (Authority::new("a"), Authority::new("b"));
    let (web, db) = (ca.credentials("web"), ca.credentials("db"));
    let (server, client) = (db.server_config(ClientAuth::Required, ALPN), web.client_config(&id("db"), ALPN));
    shake(server.clone(), client.clone()).await.unwrap();
    let mut rotated = new.issue(&[id("web").as_str()], 4000);
    rotated.anchors = vec![ca.anchor(), new.anchor()];
    web.install(rotated).unwrap();
    let (refused, _) = shake(server.clone(), client.clone()).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let mut both = ca.issue(&[id("db").as_str()], 4000);
    both.anchors = vec![ca.anchor(), new.anchor()];
    db.install(both).unwrap();
    shake(server.clone(), client.clone()).await.unwrap();
    // The old anchor goes: what it certified is no longer believed.
    let mut last = new.issue(&[id("web").as_str()], 4000);
    last.anchors = vec![new.anchor()];
    web.install(last).unwrap();
    let (_, refused) = shake(server, client).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    assert_eq!(web.anchors(), vec![new.anchor()]);
}

#[tokio::test]
async fn a_server_without_a_certificate_and_other_alpn_end_the_handshake() {
    let ca = Authority::new("a");
    let (web, empty) = (ca.credentials("web"), Credentials::new(vec![ca.anchor()]).unwrap());
    let server = empty.server_config(ClientAuth::Required, ALPN);
    assert!(shake(server, web.client_config(&id("db"), ALPN)).await.is_err());
    let db = ca.credentials("db");
    let server = db.server_config(ClientAuth::Required, ALPN);
    let (_, client) = shake(server, web.client_config(&id("db"), &[b"http/1.1"])).await.unwrap_err();
    assert!(client.contains("NoApplicationProtocol"), "{client}");
}

#[test]
fn what_does_not_fit_is_not_installed() {
    let ca = Authority::new("a");
    let credentials = Credentials::new(vec![ca.anchor()]).unwrap();
    let refused = |certificate| credentials.install(certificate).unwrap_err();
    assert!(matches!(refused(ca.issue(&[], 4000)), Error::Names(_)));
    assert!(matches!(refused(ca.issue(&[id("a").as_str(), id("b").as_str()], 4000)), Error::Names(_)));
    assert!(matches!(refused(ca.issue(&["https://a/"], 4000)), Error::Identity(_)));
    let mut swapped = ca.issue(&[id("a").as_str()], 4000);
    swapped.key = ca.issue(&[id("a").as_str()], 4000).key;
    assert!(matches!(refused(swapped), Error::Key(_)));
    let mut bad_anchor = ca.issue(&[id("a").as_str()], 4000);
    bad_anchor.anchors = vec![CertificateDer::from(vec![1, 2, 3])];
    assert!(matches!(refused(bad_anchor), Error::Certificate(_)));
    assert!(!credentials.has_certificate());
    assert_eq!(credentials.anchors(), vec![ca.anchor()]);
    assert!(matches!(Credentials::new(Vec::new()), Err(Error::NoAnchor)));
}

#[tokio::test]
async fn whoever_waits_for_a_certificate_hears_of_the_first_that_has_not_ended() {
    let ca = Authority::new("a");
    let credentials = Credentials::new(vec![ca.anchor()]).unwrap();
    let waiting = credentials.certified();
    let mut waiting = std::pin::pin!(waiting);
    let mut poll = || Future::poll(waiting.as_mut(), &mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    let mut ended = ca.issue(&[id("web").as_str()], 4000);
    ended.not_after = SystemTime::now() - Duration::from_secs(1);
    credentials.install(ended).unwrap();
    assert!(poll().is_pending());
    credentials.install(ca.issue(&[id("web").as_str()], 4000)).unwrap();
    assert!(poll().is_ready());
    credentials.certified().await;
}

#[test]
fn a_certificate_that_has_ended_counts_as_none() {
    let ca = Authority::new("a");
    let credentials = ca.credentials("web");
    assert!(credentials.has_certificate());
    let mut ended = ca.issue(&[id("web").as_str()], 4000);
    ended.not_after = SystemTime::now() - Duration::from_secs(1);
    credentials.install(ended).unwrap();
    assert!(!credentials.has_certificate());
    assert_eq!(credentials.identity(), Some(id("web")));
}

#[test]
fn anchors_are_read_from_pem() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let pem = format!("# ours\n{}{}", a.0.pem(), b.0.pem());
    assert_eq!(crate::read_anchors(pem.as_bytes()).unwrap(), vec![a.anchor(), b.anchor()]);
    assert!(matches!(crate::read_anchors(b"nothing"), Err(Error::NoAnchor)));
    assert!(matches!(crate::read_anchors(b"-----BEGIN CERTIFICATE-----\n!"), Err(Error::Pem(_))));
}

#[tokio::test]
async fn anchors_are_replaced_while_the_certificate_stays() {
    let (ca, new) = (Authority::new("a"), Authority::new("b"));
    let (web, db) = (ca.credentials("web"), new.credentials("db"));
    db.trust(vec![ca.anchor(), new.anchor()]).unwrap();
    let (server, client) = (db.server_config(ClientAuth::Required, ALPN), web.client_config(&id("db"), ALPN));
    assert!(shake(server.clone(), client.clone()).await.is_err());
    web.trust(vec![ca.anchor(), new.anchor()]).unwrap();
    shake(server, client).await.unwrap();
    assert!(matches!(web.trust(Vec::new()), Err(Error::NoAnchor)));
    assert_eq!((web.anchors().len(), web.identity()), (2, Some(id("web"))));
}
