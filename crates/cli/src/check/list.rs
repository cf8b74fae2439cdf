//! The checks themselves, in the order they run: the controller, what it reads, its certificates, then the proxies. Pure functions
//! of the facts; a new check is one more row.

use conduit_api::operator::v1::{InfoResponse, Proxy};

use super::facts::{Facts, name};
use super::{Check, Verdict, listed};
use crate::units;

/// A trust anchor or issuer that ends sooner is worth a warning: time enough to plan a change.
const EXPIRES_SOON_S: u64 = 60 * 86_400;
/// One that lives for days or hours is renewed by whoever made it so, well before this last part of its life: the warning is that it was not.
const EXPIRES_SOON_PART: u64 = 5;
/// Proxies report every second or so; so long without one is worth a warning.
const SILENT_MS: u64 = 10_000;

/// Every check.
pub(super) const CHECKS: [Check<Facts>; 10] = [
    Check {
        id: "controller-reachable",
        title: "the controller answers",
        why: "without it new pods get no certificate and changes of endpoints do not reach the proxies",
        hint: "in a cluster: see the checks above; else start a mesh (`conduit demo`, `conduit local run`), use the one of this user, or name a controller with --controller",
        fatal: true,
        run: controller_reachable,
    },
    Check {
        id: "versions-equal",
        title: "this command and the controller have the same version",
        why: "an older one may not know what the newer one speaks of",
        hint: "upgrade the older of the two",
        fatal: false,
        run: versions_equal,
    },
    Check {
        id: "manifests-understood",
        title: "every manifest is understood",
        why: "an object that is not understood keeps its last good state, and new ones are not served at all",
        hint: "correct the file at the line that is named; the controller reads it again by itself",
        fatal: false,
        run: manifests_understood,
    },
    Check {
        id: "trust-anchors-valid",
        title: "no trust anchor ends soon",
        why: "when the last one ends, no proxy trusts another: all meshed traffic stops",
        hint: "`conduit identity rotate anchor` while the old one is valid; one that was given: whoever gave it replaces it",
        fatal: false,
        run: trust_anchors_valid,
    },
    Check {
        id: "issuer-valid",
        title: "the issuer does not end soon",
        why: "when it ends, no proxy's certificate can be renewed",
        hint: "`conduit identity rotate issuer`; one that was given: whoever gave it replaces it",
        fatal: false,
        run: issuer_valid,
    },
    Check {
        id: "proxies-connected",
        title: "every meshed pod's proxy is connected",
        why: "a proxy that is not connected serves what it knew last, and learns of no change",
        hint: "see the proxy's log (`kubectl logs POD -c conduit-proxy`, `conduit local logs --proxy POD`) and whether it can reach the controller",
        fatal: false,
        run: proxies_connected,
    },
    Check {
        id: "proxies-reporting",
        title: "every proxy reports its metrics",
        why: "`stat` and `edges` miss what is not reported",
        hint: "see `conduit diagnostics proxies -o wide` and the proxy's log",
        fatal: false,
        run: proxies_reporting,
    },
    Check {
        id: "certificates-valid",
        title: "every proxy's certificate is valid",
        why: "a proxy with an ended certificate is refused by all others",
        hint: "see the proxy's log: it says why the renewal fails; the clocks of both sides must agree",
        fatal: false,
        run: certificates_valid,
    },
    Check {
        id: "proxy-versions-equal",
        title: "every proxy has the controller's version",
        why: "an old proxy lacks what was repaired since",
        hint: "restart the pods that are named, so that they get the new proxy",
        fatal: false,
        run: proxy_versions_equal,
    },
    Check {
        id: "proxies-answer",
        title: "every proxy answers the controller",
        why: "tap and diagnostics ask the proxies over their control port",
        hint: "see whether something keeps port 4190 of the pod from the controller",
        fatal: false,
        run: proxies_answer,
    },
];

/// The controller's account; empty where there is none, which only the fatal first check sees.
fn info(facts: &Facts) -> InfoResponse {
    facts.info.clone().unwrap_or_default()
}

fn controller_reachable(facts: &Facts) -> Verdict {
    match &facts.info {
        Ok(info) => Verdict::Ok(format!(
            "{}, version {}, up {}, {} services, {} pods",
            facts.controller,
            info.version,
            units::age(info.uptime_s),
            info.services,
            info.pods
        )),
        Err(why) => Verdict::Fail(why.clone()),
    }
}

fn versions_equal(facts: &Facts) -> Verdict {
    let controller = info(facts).version;
    if controller == facts.client_version {
        return Verdict::Ok(controller);
    }
    Verdict::Warn(format!("this command {}, controller {controller}", facts.client_version))
}

fn manifests_understood(facts: &Facts) -> Verdict {
    let info = info(facts);
    match info.source_errors.len() {
        0 => Verdict::Ok(info.source),
        count => Verdict::Fail(listed(&format!("{count} not understood"), &info.source_errors)),
    }
}

fn trust_anchors_valid(facts: &Facts) -> Verdict {
    let anchors = info(facts).trust_anchors;
    match anchors.iter().max_by_key(|anchor| anchor.not_after_unix_s) {
        None => Verdict::Fail("there is none".to_owned()),
        Some(last) => ends((last.not_before_unix_s, last.not_after_unix_s), facts.now_s),
    }
}

fn issuer_valid(facts: &Facts) -> Verdict {
    let info = info(facts);
    ends((info.issuer_not_before_unix_s, info.issuer_not_after_unix_s), facts.now_s)
}

fn ends((not_before_s, not_after_s): (u64, u64), now_s: u64) -> Verdict {
    let soon = EXPIRES_SOON_S.min(not_after_s.saturating_sub(not_before_s) / EXPIRES_SOON_PART);
    match not_after_s.checked_sub(now_s) {
        None | Some(0) => Verdict::Fail(format!("ended {} ago", units::age(now_s - not_after_s))),
        Some(left) if left < soon => Verdict::Warn(format!("ends in {}", units::age(left))),
        Some(left) => Verdict::Ok(format!("ends in {}", units::age(left))),
    }
}

fn proxies_connected(facts: &Facts) -> Verdict {
    of_all(facts, "connected", Verdict::Fail, |proxy| (!proxy.connected).then(String::new))
}

fn proxies_reporting(facts: &Facts) -> Verdict {
    of_all(facts, "reporting", Verdict::Warn, |proxy| {
        let silent = proxy.connected && proxy.last_report_ms_ago > SILENT_MS;
        silent.then(|| format!("last report {} ago", units::age(proxy.last_report_ms_ago / 1000)))
    })
}

fn certificates_valid(facts: &Facts) -> Verdict {
    of_all(facts, "valid", Verdict::Fail, |proxy| match proxy.certificate_not_after_unix_s {
        0 if proxy.connected => Some("no certificate reported".to_owned()),
        end if end > 0 && end <= facts.now_s => Some(format!("ended {} ago", units::age(facts.now_s - end))),
        _ => None,
    })
}

fn proxy_versions_equal(facts: &Facts) -> Verdict {
    let controller = info(facts).version;
    of_all(facts, &controller, Verdict::Warn, |proxy| {
        let other = !proxy.version.is_empty() && proxy.version != controller;
        other.then(|| proxy.version.clone())
    })
}

fn proxies_answer(facts: &Facts) -> Verdict {
    let Some(answers) = &facts.answers else { return Verdict::Skip("asked for by --proxy".to_owned()) };
    let failed: Vec<String> = answers
        .iter()
        .filter_map(|(pod, answer)| answer.as_ref().err().map(|why| format!("{pod}: {why}")))
        .collect();
    match (answers.len(), failed.len()) {
        (0, _) => Verdict::Skip("no meshed pod".to_owned()),
        (all, 0) => Verdict::Ok(format!("{all} of {all} answer")),
        (all, bad) => Verdict::Fail(listed(&format!("{} of {all} answer", all - bad), &failed)),
    }
}

/// A verdict over every proxy; `wrong` says what is wrong with one, in words that may be empty.
fn of_all(
    facts: &Facts,
    good: &str,
    bad: fn(String) -> Verdict,
    wrong: impl Fn(&Proxy) -> Option<String>,
) -> Verdict {
    let all = facts.proxies.len();
    let named = |proxy: &Proxy| {
        wrong(proxy).map(|what| {
            let pod = proxy.pod.as_ref().map(name).unwrap_or_default();
            if what.is_empty() { pod } else { format!("{pod}: {what}") }
        })
    };
    let wrong: Vec<String> = facts.proxies.iter().filter_map(named).collect();
    match (all, wrong.len()) {
        (0, _) => Verdict::Skip("no meshed pod".to_owned()),
        (_, 0) => Verdict::Ok(format!("{all} of {all} {good}")),
        (_, count) => bad(listed(&format!("{} of {all} {good}", all - count), &wrong)),
    }
}
