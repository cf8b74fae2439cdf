use conduit_api::common::v1::PodRef;
use conduit_api::operator::v1::{InfoResponse, Proxy, TrustAnchor};

use super::*;

const NOW_S: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

fn proxy(pod: &str) -> Proxy {
    Proxy {
        pod: Some(PodRef { namespace: "default".into(), name: pod.into() }),
        version: "0.1.0".into(),
        connected: true,
        certificate_not_after_unix_s: NOW_S + 3600,
        ..Proxy::default()
    }
}

fn healthy() -> Facts {
    let info = InfoResponse {
        version: "0.1.0".into(),
        uptime_s: 125,
        trust_anchors: vec![TrustAnchor {
            sha256: "ab".into(),
            not_after_unix_s: NOW_S + 3650 * DAY_S,
            not_before_unix_s: 0,
        }],
        issuer_not_after_unix_s: NOW_S + 365 * DAY_S,
        source: "files: /m".into(),
        services: 3,
        pods: 2,
        ..InfoResponse::default()
    };
    Facts {
        now_s: NOW_S,
        client_version: "0.1.0".into(),
        controller: "unix:/x".into(),
        reached: true,
        info: Ok(info),
        proxies: vec![proxy("web-1"), proxy("web-2")],
        answers: None,
    }
}

/// The verdict of the check `id` over `facts`.
fn verdict(id: &str, facts: &Facts) -> Verdict {
    let at = CHECKS.iter().position(|check| check.id == id).unwrap();
    look(&CHECKS, facts).swap_remove(at).verdict
}

#[test]
fn a_healthy_mesh_reads_as_ten_short_lines() {
    let facts = healthy();
    let expected = "\
✓ the controller answers (unix:/x, version 0.1.0, up 2m5s, 3 services, 2 pods)
✓ this command and the controller have the same version (0.1.0)
✓ every manifest is understood (files: /m)
✓ no trust anchor ends soon (ends in 3650d)
✓ the issuer does not end soon (ends in 365d)
✓ every meshed pod's proxy is connected (2 of 2 connected)
✓ every proxy reports its metrics (2 of 2 reporting)
✓ every proxy's certificate is valid (2 of 2 valid)
✓ every proxy has the controller's version (2 of 2 0.1.0)
- every proxy answers the controller (asked for by --proxy)

10 checks: 9 ok, 0 warn, 0 fail, 1 skip
";
    assert_eq!(render(&look(&CHECKS, &facts), false, Paint::NONE), expected);
}

#[test]
fn what_fails_says_why_it_matters_and_what_to_do() {
    let mut facts = healthy();
    facts.info.as_mut().unwrap().source_errors =
        vec!["web.yaml:3: no kind".into(), "b.yaml:1: not YAML".into()];
    let text = render(&look(&CHECKS, &facts), false, Paint::NONE);
    let expected = "\
× every manifest is understood (2 not understood)
    web.yaml:3: no kind
    b.yaml:1: not YAML
  why:  an object that is not understood keeps its last good state, and new ones are not served at all
  hint: correct the file at the line that is named; the controller reads it again by itself
";
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("10 checks: 8 ok, 0 warn, 1 fail, 1 skip\n"), "{text}");
}

#[test]
fn after_a_controller_that_cannot_be_reached_nothing_else_is_looked_at() {
    let facts = Facts { info: Err("no controller".into()), ..healthy() };
    let verdicts: Vec<Verdict> = look(&CHECKS, &facts).into_iter().map(|line| line.verdict).collect();
    assert_eq!(verdicts[0], Verdict::Fail("no controller".into()));
    assert!(
        verdicts[1..].iter().all(|verdict| *verdict == Verdict::Skip("needs controller-reachable".into()))
    );
}

#[test]
fn dates_are_warned_of_before_they_pass() {
    let with = |left_s: u64| {
        let mut facts = healthy();
        facts.info.as_mut().unwrap().issuer_not_after_unix_s = NOW_S + left_s;
        verdict("issuer-valid", &facts)
    };
    assert_eq!(with(61 * DAY_S), Verdict::Ok("ends in 61d".into()));
    assert_eq!(with(12 * DAY_S), Verdict::Warn("ends in 12d".into()));
    assert_eq!(with(0), Verdict::Fail("ended 0s ago".into()));
    // One of an hour, which cert-manager renews after forty minutes.
    let short = |left_s: u64| {
        let mut facts = healthy();
        let info = facts.info.as_mut().unwrap();
        (info.issuer_not_before_unix_s, info.issuer_not_after_unix_s) =
            (NOW_S + left_s - 3600, NOW_S + left_s);
        verdict("issuer-valid", &facts)
    };
    assert_eq!(short(20 * 60), Verdict::Ok("ends in 20m".into()));
    assert_eq!(short(10 * 60), Verdict::Warn("ends in 10m".into()));
    let mut facts = healthy();
    facts.info.as_mut().unwrap().trust_anchors[0].not_after_unix_s = NOW_S - 120;
    assert_eq!(verdict("trust-anchors-valid", &facts), Verdict::Fail("ended 2m ago".into()));
    facts.info.as_mut().unwrap().trust_anchors.clear();
    assert_eq!(verdict("trust-anchors-valid", &facts), Verdict::Fail("there is none".into()));
}

#[test]
fn proxies_are_named_when_something_is_wrong_with_them() {
    let mut facts = healthy();
    facts.proxies[1] = Proxy { connected: false, ..proxy("web-2") };
    assert_eq!(verdict("proxies-connected", &facts), Verdict::Fail("1 of 2 connected\ndefault/web-2".into()));
    facts.proxies[1] = Proxy { certificate_not_after_unix_s: NOW_S - 5, ..proxy("web-2") };
    assert_eq!(
        verdict("certificates-valid", &facts),
        Verdict::Fail("1 of 2 valid\ndefault/web-2: ended 5s ago".into())
    );
    facts.proxies[1] = Proxy { version: "0.0.9".into(), last_report_ms_ago: 30_000, ..proxy("web-2") };
    assert_eq!(
        verdict("proxy-versions-equal", &facts),
        Verdict::Warn("1 of 2 0.1.0\ndefault/web-2: 0.0.9".into())
    );
    assert_eq!(
        verdict("proxies-reporting", &facts),
        Verdict::Warn("1 of 2 reporting\ndefault/web-2: last report 30s ago".into())
    );
    facts.answers =
        Some(vec![("default/web-1".into(), Ok(())), ("default/web-2".into(), Err("refused".into()))]);
    assert_eq!(
        verdict("proxies-answer", &facts),
        Verdict::Fail("1 of 2 answer\ndefault/web-2: refused".into())
    );
    facts.proxies.clear();
    assert_eq!(verdict("proxies-connected", &facts), Verdict::Skip("no meshed pod".into()));
}

#[test]
fn json_has_every_check_with_its_result() {
    let facts = healthy();
    let lines = look(&CHECKS, &facts);
    let text = output::json_line(&Document::new(&lines)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["ok"], true);
    assert_eq!(value["checks"][0]["id"], "controller-reachable");
    assert_eq!(value["checks"][9]["result"], "skip");
}
