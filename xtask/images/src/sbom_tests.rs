use std::collections::BTreeSet;

use super::*;

fn some() -> Vec<Component> {
    let own = Component {
        name: "conduit-proxy".to_owned(),
        version: "0.1.0".to_owned(),
        licence: "Apache-2.0".to_owned(),
        purl: "pkg:cargo/conduit-proxy@0.1.0".to_owned(),
        needs: BTreeSet::from(["libc 0.2.1+x".to_owned()]),
        ..Component::default()
    };
    let libc = Component {
        name: "libc".to_owned(),
        version: "0.2.1+x".to_owned(),
        checksum: "abc".to_owned(),
        purl: "pkg:cargo/libc@0.2.1+x".to_owned(),
        ..Component::default()
    };
    let glibc = Component {
        name: "glibc".to_owned(),
        version: "2.36".to_owned(),
        licence: "LGPL-2.1-or-later".to_owned(),
        purl: "pkg:generic/glibc@2.36".to_owned(),
        ..Component::default()
    };
    vec![own, libc, glibc]
}

#[test]
fn the_document_describes_the_binary_and_what_it_depends_on() {
    let document = document(&["conduit-proxy"], "0.1.0", &some());
    let relationships: Vec<String> = document["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            let text = |key: &str| r[key].as_str().unwrap();
            format!("{} {} {}", text("spdxElementId"), text("relationshipType"), text("relatedSpdxElement"))
        })
        .collect();
    assert_eq!(
        relationships,
        [
            "SPDXRef-DOCUMENT DESCRIBES SPDXRef-conduit-proxy-0.1.0",
            "SPDXRef-conduit-proxy-0.1.0 DEPENDS_ON SPDXRef-libc-0.2.1-x",
            "SPDXRef-conduit-proxy-0.1.0 DEPENDS_ON SPDXRef-glibc-2.36",
        ]
    );
}

#[test]
fn a_crate_of_the_registry_has_its_checksum_and_one_without_a_licence_says_nothing_of_it() {
    let document = document(&["conduit-proxy"], "0.1.0", &some());
    let libc = &document["packages"][1];
    assert_eq!(libc["checksums"][0]["checksumValue"], "abc");
    assert_eq!(libc["licenseDeclared"], "NOASSERTION");
    assert_eq!(document["packages"][2]["downloadLocation"], "NOASSERTION");
}

#[test]
fn other_components_make_another_namespace_and_the_same_ones_the_same_document() {
    let namespace = |components: &[Component]| document(&["p"], "1", components)["documentNamespace"].clone();
    assert_eq!(document(&["p"], "1", &some()), document(&["p"], "1", &some()));
    assert_ne!(namespace(&some()), namespace(&some()[..2]));
}
