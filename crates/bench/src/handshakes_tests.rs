//! Both kinds of handshake in memory, with certificates of a test's own authority.

use conduit_tls::Certificate;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::time::SystemTime;

use super::*;

fn credentials() -> Credentials {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let anchor = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let uri = "spiffe://cluster.local/ns/default/sa/bench".try_into().unwrap();
    params.subject_alt_names = vec![SanType::URI(uri)];
    let leaf = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let credentials = Credentials::new(vec![anchor.der().clone()]).unwrap();
    credentials
        .install(Certificate {
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            anchors: Vec::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::now() + Duration::from_secs(3600),
        })
        .unwrap();
    credentials
}

#[test]
fn conduit_resumes_nothing_and_would_for_less_if_it_did() {
    let credentials = credentials();
    let client = credentials.client_config(&credentials.identity().unwrap(), &[ALPN_HTTP1]);
    let server = credentials.server_config(ClientAuth::Required, &[ALPN_HTTP1]);
    let time = Duration::from_millis(100);
    let full = in_memory(&client, &server, HandshakeKind::Full, time).unwrap();
    let (client, server) = resuming(&client, &server);
    let resumed = in_memory(&client, &server, HandshakeKind::Resumed, time).unwrap();
    assert!(0.0 < resumed && resumed < full, "{resumed} µs and {full} µs");
}
