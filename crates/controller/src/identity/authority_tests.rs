use super::*;
use rcgen::PKCS_ECDSA_P256_SHA256;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn request(names: &[&str]) -> Vec<u8> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|n| SanType::URI(Ia5String::try_from(*n).unwrap())).collect();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn web() -> Identity {
    Identity::new("cluster.local", "shop", "web").unwrap()
}

fn authority(lifetime: u64) -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), "cluster.local", Duration::from_secs(lifetime)).unwrap();
    (dir, authority)
}

#[test]
fn what_was_proven_is_signed_and_nothing_else() {
    let (_dir, authority) = authority(60);
    let now = SystemTime::now();
    let signed = authority.sign(&request(&[web().as_str()]), &web(), now).unwrap();
    assert_eq!(conduit_tls::peer_identity(&signed.chain).unwrap(), web());
    assert!(signed.not_after <= now + Duration::from_secs(60));
    for names in [
        &["spiffe://cluster.local/ns/shop/sa/admin"][..],
        &[web().as_str(), "spiffe://cluster.local/ns/a/sa/b"],
        &[],
    ] {
        assert!(
            matches!(authority.sign(&request(names), &web(), now), Err(Refusal::Name { .. })),
            "{names:?}"
        );
    }
    assert!(matches!(authority.sign(b"nonsense", &web(), now), Err(Refusal::Request(_))));
    let mut forged = request(&[web().as_str()]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(authority.sign(&forged, &web(), now).is_err(), "not signed with its own key");
}

#[test]
fn a_certificate_never_outlives_the_issuer() {
    let (_dir, authority) = authority(100 * 365 * 24 * 3600);
    let signed = authority.sign(&request(&[web().as_str()]), &web(), SystemTime::now()).unwrap();
    assert_eq!(signed.not_after, authority.issuer_not_after());
    let late = authority.issuer_not_after() + Duration::from_secs(1);
    assert!(matches!(authority.sign(&request(&[web().as_str()]), &web(), late), Err(Refusal::IssuerEnded)));
}

#[test]
fn keys_are_for_the_owner_alone_and_are_kept_over_a_restart() {
    let (dir, first) = authority(60);
    for key in ["issuer.key", "trust-anchor.key"] {
        let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let again = Authority::open(dir.path(), "cluster.local", Duration::from_secs(60)).unwrap();
    assert_eq!(first.anchors(), again.anchors());
    fs::set_permissions(dir.path().join("issuer.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::open(dir.path(), "cluster.local", Duration::from_secs(60)).err().unwrap();
    assert!(error.to_string().contains("can be read by others"), "{error:#}");
}
