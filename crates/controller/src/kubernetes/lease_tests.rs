use super::*;

fn candidate() -> Candidate {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    Candidate::new(&Client::try_from(config).unwrap(), "conduit", "a".into()).0
}

fn lease(holder: &str, version: &str) -> Lease {
    let spec = LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() };
    let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
    Lease { metadata, spec: Some(spec) }
}

#[tokio::test]
async fn a_lease_is_taken_when_it_is_free_or_did_not_change_for_its_duration() {
    let (mut candidate, start) = (candidate(), Instant::now());
    assert_eq!(candidate.step(&lease("a", "1"), start), Step::Renew);
    assert_eq!(candidate.step(&lease("", "1"), start), Step::Take);
    assert_eq!(candidate.step(&lease("b", "1"), start), Step::Wait, "seen for the first time");
    assert_eq!(candidate.step(&lease("b", "1"), start + DURATION), Step::Wait);
    assert_eq!(candidate.step(&lease("b", "2"), start + 2 * DURATION), Step::Wait, "it was renewed");
    let late = start + 3 * DURATION + Duration::from_secs(1);
    assert_eq!(candidate.step(&lease("b", "2"), late), Step::Take);
}

#[tokio::test]
async fn a_renewed_lease_keeps_when_it_was_acquired_and_how_often_it_passed_on() {
    let candidate = candidate();
    let first = candidate.held(None);
    let before = LeaseSpec { lease_transitions: Some(3), ..first.clone() };
    let again = candidate.held(Some(before));
    assert_eq!((again.acquire_time, again.lease_transitions), (first.acquire_time, Some(3)));
    assert!(GIVE_UP + TIMEOUT < DURATION, "a leader gives up before another may take over");
}
