use super::*;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

struct Signer {
    key: EncodingKey,
    keys: JwkSet,
}

fn signer() -> Signer {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    Signer { key, keys: JwkSet { keys: vec![jwk] } }
}

fn claims() -> serde_json::Value {
    json!({
        "iss": "local", "aud": ["conduit"], "exp": get_current_timestamp() + 60, "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": { "namespace": "shop", "pod": { "name": "web-1", "uid": "1" }, "serviceaccount": { "name": "web", "uid": "2" } },
    })
}

fn review(signer: &Signer, claims: &serde_json::Value) -> Result<Identity, Refusal> {
    let token = encode(&Header::new(Algorithm::ES256), claims, &signer.key).unwrap();
    Reviewer { keys: PathBuf::new(), trust_domain: "cluster.local".into() }.review_with(&token, &signer.keys)
}

#[test]
fn a_good_token_proves_its_service_account() {
    assert_eq!(review(&signer(), &claims()).unwrap().as_str(), "spiffe://cluster.local/ns/shop/sa/web");
}

#[test]
fn tokens_that_are_not_ours_prove_nothing() {
    let signer = signer();
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let bad = [
        with("aud", json!(["other"])),
        with("exp", json!(get_current_timestamp() - 60)),
        with("sub", json!("system:serviceaccount:shop:admin")),
        with("kubernetes.io", json!({ "namespace": "../x", "serviceaccount": { "name": "web" } })),
    ];
    for claims in bad {
        assert!(matches!(review(&signer, &claims), Err(Refusal::Token(_))), "{claims}");
    }
    let other = self::signer();
    let token = encode(&Header::new(Algorithm::ES256), &claims(), &other.key).unwrap();
    let reviewer = Reviewer { keys: PathBuf::new(), trust_domain: "cluster.local".into() };
    assert!(reviewer.review_with(&token, &signer.keys).is_err(), "signed by someone else");
    assert!(reviewer.review_with("a.b.c", &signer.keys).is_err());
}
