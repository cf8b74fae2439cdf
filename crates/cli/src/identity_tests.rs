use super::*;
use crate::output::Colour;

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 3600;

fn state(phase: &str) -> IdentityResponse {
    let anchor = |digit: &str, age_days: u64| TrustAnchor {
        sha256: digit.repeat(64),
        not_before_unix_s: NOW_S - age_days * DAY_S,
        not_after_unix_s: NOW_S + 3650 * DAY_S,
    };
    IdentityResponse {
        trust_domain: "cluster.local".into(),
        trust_anchors: vec![anchor("a", 400), anchor("b", 0)],
        issuer: Some(TrustAnchor { not_after_unix_s: NOW_S - 1, ..anchor("c", 400) }),
        certificate_lifetime_s: DAY_S,
        phase: phase.into(),
        phase_since_unix_s: NOW_S - 60,
        phase_until_unix_s: NOW_S + 3600,
        rotates: true,
        origin: "the Secret conduit/conduit-identity".into(),
    }
}

fn text(state: &IdentityResponse, format: Format) -> String {
    render(state, NOW_S, format, Paint::stdout(Colour::Never)).unwrap()
}

#[test]
fn a_rotation_is_explained_and_what_has_ended_says_so() {
    let text = text(&state("publishing"), Format::Table);
    assert!(text.contains("aaaaaaaaaaaaaaaa ") && !text.contains(&"a".repeat(17)), "{text}");
    assert!(text.contains("ended") && text.contains("due in 1h at the latest"), "{text}");
    assert!(text.contains("still signed below the old one"), "{text}");
    assert!(text.contains("\nkept in the Secret conduit/conduit-identity\n"), "{text}");
}

#[test]
fn at_rest_there_is_no_rotation_in_the_document() {
    let mut state = state("");
    let value: serde_json::Value = serde_json::from_str(&text(&state, Format::Json)).unwrap();
    assert_eq!(value["rotation"], serde_json::Value::Null);
    assert_eq!(value["trust_anchors"][1]["sha256"].as_str().unwrap().len(), 64);
    assert!(!text(&state, Format::Wide).contains("latest"));
    state.rotates = false;
    assert!(text(&state, Format::Table).contains("whoever gave anchor and issuer"), "{state:?}");
}
