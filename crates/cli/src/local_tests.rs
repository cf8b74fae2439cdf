use clap::Parser;

use super::*;
use crate::args::{Conduit, Verb};

fn typed(line: &str) -> Spec {
    let Verb::Local(local) = Conduit::try_parse_from(line.split_whitespace()).unwrap().verb else {
        panic!("not local")
    };
    let LocalVerb::Run(run) = local.verb else { panic!("not run") };
    spec(*run)
}

#[test]
fn what_is_typed_becomes_a_workload() {
    let spec = typed(
        "conduit local run web -p 8080:http --replicas 2 --unmeshed --env CONDUIT_TEST_A=b --cwd /srv --user nobody \
         --service-account shop --skip-inbound-ports 22 --skip-outbound-ports 25 --restart --ready-after none --grace 1s -- web -v",
    );
    assert_eq!((spec.name.as_str(), spec.replicas, spec.unmeshed, spec.restart), ("web", 2, true, true));
    assert_eq!((spec.ports[0].port, spec.ports[0].protocol.as_str()), (8080, "http"));
    assert!(spec.env.contains(&("CONDUIT_TEST_A".to_owned(), "b".to_owned())));
    assert_eq!((spec.cwd.as_path(), spec.user.as_deref()), (std::path::Path::new("/srv"), Some("nobody")));
    assert_eq!(
        (spec.account(), spec.skip_inbound.as_str(), spec.skip_outbound.as_str()),
        ("shop", "22", "25")
    );
    assert_eq!((spec.ready_after, spec.grace_ms), (ReadyAfter::None, 1000));
    assert_eq!(spec.command, ["web", "-v"]);
    assert_eq!(spec.check(), Ok(()));
}

#[test]
fn a_world_that_is_not_there_is_unreachable_and_a_refusal_is_a_problem() {
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    let missing = failure(&Error::NotRunning { dir: "/d".into(), source });
    assert_eq!(missing.exit(), Exit::Unreachable);
    assert!(missing.to_string().starts_with("no local world runs in /d (`conduit local run"), "{missing}");
    assert_eq!(failure(&Error::Refused("no such pod".into())), Failure::problem("no such pod", ""));
    let not_to_be_had = Error::NotStarted { reason: "enable x".into(), exit_code: Some(3) };
    assert_eq!(failure(&not_to_be_had), Failure::unreachable("enable x", ""));
}
