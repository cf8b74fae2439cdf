//! Issuer and trust anchor are rotated on a live mesh, and no request notices.

use std::time::Duration;

use conduit_api::operator::v1::rotate_request::What;
use conduit_api::operator::v1::{IdentityRequest, IdentityResponse, RotateRequest};
use conduit_testbed::wait;
use conduit_testbed::world::World;
use tonic::{Code, Response};

use crate::support::{curl, idle, nginx, script};

/// A rotation waits for the longest life of a certificate once, and for proxies on a busy machine.
const ROTATED: Duration = Duration::from_secs(60);

fn state(world: &World) -> IdentityResponse {
    world.operator(|mut operator| async move { operator.identity(IdentityRequest {}).await })
}

fn rotate(world: &World, what: What) -> Result<IdentityResponse, Code> {
    let request = RotateRequest { what: what.into() };
    world.operator(|mut operator| async move {
        let answer = operator.rotate(request).await;
        Ok(Response::new(answer.map(Response::into_inner).map_err(|status| status.code())))
    })
}

fn anchors(state: &IdentityResponse) -> Vec<String> {
    state.trust_anchors.iter().map(|anchor| anchor.sha256.clone()).collect()
}

#[test]
fn issuer_and_trust_anchor_rotate_under_load_with_no_failed_request() {
    let world = World::start_with(|options| options.certificate_lifetime = "6s".to_owned());
    world.run(nginx(&world, "web", "http").replicas(2));
    world.run(idle("client"));
    let load = world.begin("client", &["python3", &script("load.py"), "http://web:8080/", "45", "4"]);
    // A pod that starts in the middle shakes hands with everybody anew.
    let reaches = |name: &str| {
        world.run(idle(name));
        assert_eq!(curl(&world, name, &["-f", "-o", "/dev/null", "http://web:8080/"]).code, 0, "{name}");
    };

    let first = state(&world);
    let second = rotate(&world, What::Issuer).unwrap();
    assert_ne!(second.issuer, first.issuer);
    assert_eq!((anchors(&second), second.phase.as_str()), (anchors(&first), ""));
    reaches("after-the-issuer");

    let published = rotate(&world, What::TrustAnchor).unwrap();
    assert_eq!((published.phase.as_str(), published.trust_anchors.len()), ("publishing", 2));
    assert_eq!(published.issuer, second.issuer, "still signed below the old one");
    for what in [What::TrustAnchor, What::Issuer] {
        assert_eq!(rotate(&world, what).err(), Some(Code::FailedPrecondition), "one after the other");
    }
    wait::until(ROTATED, || state(&world).phase == "signing");
    reaches("while-both-are-good");
    assert_ne!(state(&world).issuer, second.issuer);
    wait::until(ROTATED, || state(&world).phase.is_empty());
    let last = state(&world);
    assert_eq!(last.trust_anchors.len(), 1);
    assert!(!anchors(&first).contains(&anchors(&last)[0]), "the old anchor is gone");
    reaches("after-the-anchor");

    let result = load.wait();
    let mut figures = result.text().splitn(3, ' ');
    let (count, failed) = (figures.next().unwrap(), figures.next().unwrap());
    assert!(count.parse::<u32>().unwrap() > 200, "{count} requests only");
    assert_eq!(failed, "0", "of {count}: {}", result.stdout);
    assert!(world.edges().iter().all(|edge| edge.secured), "{:?}", world.edges());
    assert!(world.dir().identity().join("trust-anchor.crt").exists());
}
