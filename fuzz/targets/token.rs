//! Service account tokens: whatever is presented, none that our key has not signed proves anything.
#![no_main]

use std::sync::LazyLock;

use conduit_controller::identity::tokens::Reviewer;
use jsonwebtoken::jwk::JwkSet;
use libfuzzer_sys::fuzz_target;

/// A public key whose private half was thrown away: its x and y are those of the example in RFC 7517, appendix A.1.
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

static REVIEW: LazyLock<(Reviewer, JwkSet)> = LazyLock::new(|| {
    let keys = serde_json::from_str(KEYS).expect("the example is a set of keys");
    (Reviewer { keys: "/nonexistent".into(), trust_domain: "cluster.local".to_owned() }, keys)
});

fuzz_target!(|token: &str| {
    let (reviewer, keys) = &*REVIEW;
    assert!(reviewer.review_with(token, keys).is_err(), "a token that nobody signed is accepted");
});
