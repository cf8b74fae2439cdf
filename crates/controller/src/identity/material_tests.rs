use super::*;
use crate::identity::authority::Authority;

const LIFE: Duration = Duration::from_secs(60);

fn now() -> SystemTime {
    SystemTime::now()
}

fn fresh() -> Material {
    Material::generate("cluster.local", now()).unwrap()
}

fn anchors(material: &Material) -> usize {
    material.anchors.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_new_issuer_stands_below_the_same_anchor() {
    let before = fresh();
    let after = before.renew_issuer("cluster.local", now()).unwrap();
    assert_eq!((&after.anchors, &after.rotation), (&before.anchors, &None));
    assert_ne!(after.issuer, before.issuer);
    Authority::new(&after, LIFE).unwrap();
    let given = Material { anchor_key: None, ..before };
    let refused = given.renew_issuer("cluster.local", now()).unwrap_err().to_string();
    assert!(refused.contains("not kept here"), "{refused}");
    assert!(given.renew_anchor("cluster.local", now(), LIFE).is_err());
}

#[test]
fn an_anchor_is_published_signed_with_and_then_the_old_one_goes() {
    let (old, start) = (fresh(), now());
    let published = old.renew_anchor("cluster.local", start, LIFE).unwrap();
    assert_eq!((anchors(&published), &published.issuer), (2, &old.issuer), "still signed below the old one");
    assert!(published.renew_anchor("cluster.local", start, LIFE).is_err());
    assert!(published.renew_issuer("cluster.local", start).is_err());
    assert_eq!(published.advance(start + LIFE, LIFE, false), None, "somebody may still lack the new one");
    let signing = published.advance(start, LIFE, true).unwrap();
    assert!(published.advance(start + LIFE + MARGIN, LIFE, false).is_some(), "by then everybody has renewed");
    assert_eq!((anchors(&signing), signing.issuer != old.issuer), (2, true));
    assert_eq!(
        signing.advance(start + LIFE, LIFE, true),
        None,
        "certificates below the old one are still good"
    );
    let done = signing.advance(start + LIFE + MARGIN, LIFE, true).unwrap();
    assert_eq!((anchors(&done), done.rotation.is_none()), (1, true));
    assert!(!old.anchors.contains(done.anchors.trim()));
    assert_eq!(done.advance(start + 10 * LIFE, LIFE, true), None);
    for state in [&old, &published, &signing, &done] {
        Authority::new(state, LIFE).unwrap();
    }
    done.renew_issuer("cluster.local", now()).unwrap();
}

#[test]
fn a_state_survives_being_written_down_and_is_shown_without_keys() {
    let state = fresh().renew_anchor("cluster.local", now(), LIFE).unwrap();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<Material>(&text).unwrap(), state);
    assert!(!format!("{state:?}").contains("PRIVATE KEY"));
}

/// Whether someone who trusts only the anchors of `trusted` believes a certificate that `signer` signs.
fn believes(trusted: &Material, signer: &Material) -> bool {
    believes_with(trusted, signer, &[])
}

/// The same of the controller's own certificate.
fn believes_controller(trusted: &Material, signer: &Material) -> bool {
    believes_with(trusted, signer, &Authority::new(signer, LIFE).unwrap().former())
}

fn believes_with(trusted: &Material, signer: &Material, more: &[CertificateDer<'static>]) -> bool {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(conduit_tls::read_anchors(trusted.anchors.as_bytes()).unwrap());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let web = conduit_logic::words::Identity::new("cluster.local", "shop", "web").unwrap();
    let mut chain = Authority::new(signer, LIFE).unwrap().certify(&key, &web, now()).unwrap().chain;
    chain.extend_from_slice(more);
    verifier.verify_client_cert(&chain[0], &chain[1..], rustls::pki_types::UnixTime::now()).is_ok()
}

#[test]
fn at_each_step_whoever_begins_with_the_anchors_of_the_step_before_is_understood() {
    let old = fresh();
    let published = old.renew_anchor("cluster.local", now(), LIFE).unwrap();
    let signing = published.advance(now(), LIFE, true).unwrap();
    let done = signing.advance(now() + LIFE + MARGIN, LIFE, true).unwrap();
    for (trusted, signer) in
        [(&old, &published), (&old, &signing), (&published, &signing), (&signing, &done), (&done, &signing)]
    {
        assert!(believes(trusted, signer));
    }
    assert!(!believes(&old, &done), "the old anchor is gone for good");
    assert!(!believes(&done, &old) && !believes(&fresh(), &signing));
    assert_eq!((signing.issuer.matches(BEGIN).count(), done.issuer.matches(BEGIN).count()), (2, 1));
}

#[test]
fn a_pod_made_under_an_anchor_of_old_believes_the_controller_when_it_starts_again_after_rotations() {
    let rotated = |before: &Material| {
        let published = before.renew_anchor("cluster.local", now(), LIFE).unwrap();
        let signing = published.advance(now(), LIFE, true).unwrap();
        signing.advance(now() + LIFE + MARGIN, LIFE, true).unwrap()
    };
    let mut states = vec![fresh()];
    for _ in 0..=FORMER_MAX {
        states.push(rotated(states.last().unwrap()));
    }
    let (newest, before) = states.split_last().unwrap();
    let (forgotten, known) = before.split_first().unwrap();
    for old in known {
        assert!(believes_controller(old, newest));
        assert!(!believes(old, newest), "nobody but the controller leads from an anchor that is gone");
    }
    assert!(!believes_controller(forgotten, newest), "the number of certificates has a bound");
    assert!(!believes_controller(&fresh(), newest));
}
