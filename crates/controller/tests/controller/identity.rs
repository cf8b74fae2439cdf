//! Who gets a certificate, for what, and what keeps the authority's keys.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use conduit_api::identity::v1::WatchTrustRequest;
use conduit_api::identity::v1::identity_client::IdentityClient;
use conduit_api::operator::v1::rotate_request::What;
use conduit_api::operator::v1::{IdentityRequest, RotateRequest};
use conduit_controller::identity::directory::Directory;
use conduit_tls::{Credentials, peer_identity};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tonic::Code;

use crate::world::{Signer, World, claims, command, id, in_time, loopback, request, until};

#[tokio::test]
async fn a_certificate_is_signed_for_what_was_proven_and_for_as_long_as_configured() {
    let world = World::start_with("", &["--certificate-lifetime", "90s"]).await;
    let (csr, _) = request(&[id("web").as_str()]);
    let token = world.signer.sign(&claims("shop", "web"));
    let answer = world.certify(token, csr, id("web").as_str()).await.unwrap();
    let chain: Vec<CertificateDer<'_>> = answer.chain_der.into_iter().map(CertificateDer::from).collect();
    assert_eq!(peer_identity(&chain).unwrap(), id("web"));
    assert_eq!(answer.trust_anchors_der, world.anchors().iter().map(|der| der.to_vec()).collect::<Vec<_>>());
    let life = answer.not_after_unix_s - answer.not_before_unix_s;
    assert!((90..=120).contains(&life), "{life} s");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let end = u64::try_from(leaf.validity().not_after.timestamp()).unwrap();
    assert!(end.abs_diff(answer.not_after_unix_s) <= 1 && !leaf.is_ca());
    // That it leads to the anchor and is accepted, the controller itself says.
    world.credentials("web").await;
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused_with_a_reason() {
    let world = World::start("").await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("shop", "web");
        claims[name] = value;
        world.signer.sign(&claims)
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut forged = world.signer.sign(&claims("shop", "web"));
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for (token, word) in [
        (with("aud", json!(["other"])), "Audience"),
        (with("exp", json!(now - 60)), "Expired"),
        (with("sub", json!("system:serviceaccount:shop:admin")), "subject"),
        (with("kubernetes.io", json!({"namespace": "shop", "serviceaccount": {"name": "admin"}})), "subject"),
        (Signer::new().sign(&claims("shop", "web")), "Signature"),
        (forged, "Signature"),
        (String::new(), "token"),
    ] {
        let (csr, _) = request(&[id("web").as_str()]);
        let status = world.certify(token, csr, id("web").as_str()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{word}: {status}");
        assert!(status.message().to_lowercase().contains(&word.to_lowercase()), "{word}: {status}");
    }
}

#[tokio::test]
async fn nobody_gets_a_certificate_for_somebody_else() {
    let world = World::start("").await;
    let (web, api) = (id("web"), id("api"));
    let dns = {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["web.shop".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(web.as_str().try_into().unwrap()));
        params.serialize_request(&key).unwrap().der().to_vec()
    };
    let mut broken = request(&[web.as_str()]).0;
    let last = broken.len() - 1;
    broken[last] ^= 1;
    for (what, account, csr, asked, code) in [
        ("a token of another pod", "api", request(&[web.as_str()]).0, &web, Code::PermissionDenied),
        ("a request that names another", "web", request(&[api.as_str()]).0, &web, Code::PermissionDenied),
        (
            "a request that names two",
            "web",
            request(&[web.as_str(), api.as_str()]).0,
            &web,
            Code::PermissionDenied,
        ),
        ("a request that names none", "web", request(&[]).0, &web, Code::PermissionDenied),
        ("a request with a host name", "web", dns, &web, Code::PermissionDenied),
        ("a request signed with another key", "web", broken, &web, Code::InvalidArgument),
        ("no request", "web", vec![1, 2, 3], &web, Code::InvalidArgument),
        ("a request that is too long", "web", vec![0; 1 << 20], &web, Code::InvalidArgument),
    ] {
        let token = world.signer.sign(&claims("shop", account));
        let status = world.certify(token, csr, asked.as_str()).await.unwrap_err();
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(!status.message().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_is_no_identity_is_refused_before_anybody_judges_the_token() {
    let world = World::start("").await;
    for asked in [
        String::new(),
        "x".repeat(1 << 20),
        format!("spiffe://cluster.local/ns/shop/sa/{}", "x".repeat(2048)),
    ] {
        let status = world.certify(String::new(), Vec::new(), &asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().len() < 1000, "{}", status.message().len());
    }
}

#[tokio::test]
async fn token_keys_may_be_replaced_at_any_time() {
    let world = World::start("").await;
    let (old, new) = (world.signer.sign(&claims("shop", "web")), Signer::new());
    let ask = |token: String| {
        world.certify(token, request(&[id("web").as_str()]).0, "spiffe://cluster.local/ns/shop/sa/web")
    };
    ask(old.clone()).await.unwrap();
    new.publish(&world.path("jwks.json"));
    ask(new.sign(&claims("shop", "web"))).await.unwrap();
    assert_eq!(ask(old.clone()).await.unwrap_err().code(), Code::Unauthenticated);
    std::fs::remove_file(world.path("jwks.json")).unwrap();
    let status = ask(old).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "nothing was said of the token: {status}");
}

#[tokio::test]
async fn the_controllers_own_certificate_is_renewed_while_it_serves() {
    let world = World::start_with("", &["--certificate-lifetime", "3s"]).await;
    let serial = || {
        let (nobody, addr) = (Credentials::new(world.anchors()).unwrap(), (world.ip, 8086));
        async move {
            let controller =
                conduit_logic::words::Identity::new("cluster.local", "conduit", "conduit-controller")
                    .unwrap();
            let connector =
                tokio_rustls::TlsConnector::from(nobody.anonymous_client_config(&controller, &[b"h2"]));
            let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
            let tls = connector.connect("conduit".try_into().unwrap(), socket).await.unwrap();
            let leaf = tls.get_ref().1.peer_certificates().unwrap()[0].clone();
            let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
            leaf.raw_serial_as_string()
        }
    };
    let first = serial().await;
    // Every handshake on the way succeeds, also long after the first certificate has ended.
    let started = tokio::time::Instant::now();
    until("a third certificate", || async {
        (serial().await != first && started.elapsed() > Duration::from_secs(5)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_the_owners_alone_and_outlive_a_restart() {
    let mut world = World::start("").await;
    let anchors = world.anchors();
    for key in ["identity/trust-anchor.key", "identity/issuer.key"] {
        let mode = std::fs::metadata(world.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    world.child = command(world.dir.path(), world.ip).spawn().unwrap();
    until("ready again", || async { world.get("/ready").filter(|text| text.starts_with("HTTP/1.1 200")) })
        .await;
    assert_eq!(world.anchors(), anchors);
    world.credentials("web").await;
}

#[tokio::test]
async fn a_controller_whose_keys_others_can_read_does_not_start() {
    let mut world = World::start("").await;
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    for key in ["issuer.key", "trust-anchor.key"] {
        let path = world.path("identity").join(key);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let child = command(world.dir.path(), loopback()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let ended = in_time("the end", ended).await.unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && text.contains(key) && text.contains("chmod 600"), "{text}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn proxies_hear_of_a_new_anchor_at_once_and_the_rotation_ends_by_itself() {
    let world = World::start_with("", &["--certificate-lifetime", "2s"]).await;
    let old = world.anchors();
    let nobody = Credentials::new(old.clone()).unwrap();
    let refused = IdentityClient::new(world.channel(&nobody)).watch_trust(WatchTrustRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let web = world.credentials("web").await;
    let mut client = IdentityClient::new(world.channel(&web));
    let mut bundles = client.watch_trust(WatchTrustRequest {}).await.unwrap().into_inner();
    let mut next = async |what| in_time(what, bundles.message()).await.unwrap().unwrap().trust_anchors_der;
    let first = next("the anchors in force").await;
    assert_eq!(first, old.iter().map(|der| der.to_vec()).collect::<Vec<_>>());
    let mut operator = world.operator().await;
    let request = RotateRequest { what: What::TrustAnchor.into() };
    let state = operator.rotate(request).await.unwrap().into_inner();
    assert_eq!((state.phase.as_str(), state.trust_anchors.len()), ("publishing", 2));
    let both = next("both anchors").await;
    assert!(both.len() == 2 && both.contains(&first[0]));
    let again = operator.rotate(request).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
    let last = next("the new anchor alone").await;
    assert!(last.len() == 1 && both.contains(&last[0]) && last != first);
    let state = operator.identity(IdentityRequest {}).await.unwrap().into_inner();
    assert_eq!((state.phase.as_str(), state.trust_anchors.len(), state.rotates), ("", 1, true));
    assert_eq!(world.anchors().iter().map(|der| der.to_vec()).collect::<Vec<_>>(), last);
    world.credentials("web").await;
}

#[tokio::test]
async fn an_issuer_that_somebody_puts_into_the_directory_is_taken_up() {
    let world = World::start("").await;
    let other = tempfile::tempdir().unwrap();
    let made = Directory::new(other.path()).load_or_make("cluster.local").unwrap();
    let mut operator = world.operator().await;
    let before = operator.identity(IdentityRequest {}).await.unwrap().into_inner();
    Directory::new(&world.path("identity")).store(&made).unwrap();
    until("the other issuer", || {
        let (mut operator, before) = (operator.clone(), before.issuer.clone());
        async move {
            let now = operator.identity(IdentityRequest {}).await.unwrap().into_inner();
            (now.issuer != before).then_some(())
        }
    })
    .await;
    world.credentials("web").await;
}
