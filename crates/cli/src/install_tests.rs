use clap::Parser;

use super::*;
use crate::args::{Conduit, Verb};

fn rendered(flags: &[&str]) -> Result<String, Failure> {
    let args = Conduit::try_parse_from([&["conduit", "install"], flags].concat()).unwrap();
    let Verb::Install(install) = args.verb else { panic!("not install") };
    manifests(&install)
}

#[test]
fn what_is_installed_follows_from_the_flags_alone() {
    assert_eq!(rendered(&[]).unwrap(), render(&Options::default()).unwrap());
    assert_eq!(rendered(&["--ha"]).unwrap(), render(&Options { ha: true, ..Options::default() }).unwrap());
    let text = rendered(&["--registry", "registry.example/mesh", "--tag", "9"]).unwrap();
    assert!(text.contains("image: \"registry.example/mesh/conduit-controller:9\""), "{text}");
    assert!(text.contains("value: \"registry.example/mesh/conduit-proxy:9\""), "{text}");
}

#[test]
fn an_option_that_cannot_be_meant_is_named() {
    let failure = rendered(&["--trust-domain", "a b"]).unwrap_err();
    assert!(failure.what().contains("trustDomain"), "{failure:?}");
}
