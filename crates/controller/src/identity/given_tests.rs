use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;

use super::super::authority::Authority;
use super::*;

/// What cert-manager writes: of a key in SEC 1 by default, in PKCS #8 where that was asked for.
fn secret(material: &Material, more: &[(&str, &str)]) -> Secret {
    let own = [("tls.crt", &*material.issuer), ("tls.key", &*material.issuer_key)];
    let entries = own.iter().chain(more);
    let data: BTreeMap<_, _> =
        entries.map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    Secret { data: Some(data), ..Secret::default() }
}

fn made() -> Material {
    Material::generate("cluster.local", SystemTime::now()).unwrap()
}

#[test]
fn anchors_come_from_the_bundle_where_there_is_one_and_else_from_the_secret() {
    let (issuing, other) = (made(), made());
    let both = format!("{}{}", other.anchors, issuing.anchors);
    let own = [("ca.crt", &*issuing.anchors)];
    assert_eq!(read(&secret(&issuing, &own), None).unwrap().anchors, issuing.anchors);
    let bundled = read(&secret(&issuing, &own), Some(both.clone())).unwrap();
    assert_eq!(bundled.anchors, both);
    let authority = Authority::new(&bundled, Duration::from_secs(60)).unwrap();
    assert_eq!(authority.anchors().len(), 2);
    // With a bundle the Secret needs no anchor; without one it does, and an empty one is none.
    assert!(read(&secret(&issuing, &[("ca.crt", "")]), Some(both)).is_ok());
    for more in [&[][..], &[("ca.crt", "\n")]] {
        let error = read(&secret(&issuing, more), None).unwrap_err().to_string();
        assert!(error.contains("--trust-bundle"), "{error}");
    }
    let error = read(&Secret::default(), Some(String::new())).unwrap_err().to_string();
    assert!(error.contains("tls.crt is missing"), "{error}");
}

#[test]
fn what_is_given_is_never_due_to_be_renewed_here() {
    let issuing = made();
    let given = read(&secret(&issuing, &[("ca.crt", &issuing.anchors)]), None).unwrap();
    let error = given.renew_issuer("cluster.local", SystemTime::now()).unwrap_err().to_string();
    assert!(error.contains("not kept here"), "{error}");
}
