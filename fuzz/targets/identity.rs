//! SPIFFE identities: what is accepted is made of its parts and of nothing else.
#![no_main]

use conduit_logic::words::Identity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(identity) = Identity::parse(text) else { return };
    assert_eq!(identity.as_str(), text, "an identity is taken byte for byte");
    let parts = (identity.trust_domain(), identity.namespace(), identity.service_account());
    assert_eq!(Identity::new(parts.0, parts.1, parts.2).as_ref(), Ok(&identity));
    assert!(!text.contains(['%', '?', '#', '@', ' ', '\\', '\0']));
});
