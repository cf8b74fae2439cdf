//! The software bill of materials of an image: SPDX 2.3 as JSON (spdx.github.io/spdx-spec/v2.3), from the linked components. Pure: the same
//! components give the same bytes, so there is no date of today in it. Deliberately absent: vulnerabilities, which change by the day.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::linked::Component;

/// The document for these binaries, whose components begin anywhere in the list; the first one names it.
pub(crate) fn document(names: &[&str], version: &str, components: &[Component]) -> Value {
    let name = names.first().copied().unwrap_or_default();
    let ids: BTreeMap<String, String> =
        components.iter().map(|component| (component.id(), element(component))).collect();
    let own: Vec<String> = names.iter().map(|name| format!("{name} {version}")).collect();
    let packages: Vec<Value> = components.iter().map(package).collect();
    let describes = |own| {
        json!({
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": ids.get(own),
        })
    };
    let mut relationships: Vec<Value> = own.iter().map(describes).collect();
    for component in components {
        let mut needed: Vec<&String> = component.needs.iter().filter_map(|id| ids.get(id)).collect();
        if own.contains(&component.id()) {
            // What no crate asks for is linked into the whole.
            needed.extend(
                components
                    .iter()
                    .filter(|other| is_toolchain(other))
                    .filter_map(|other| ids.get(&other.id())),
            );
        }
        relationships.extend(needed.into_iter().map(|other| {
            json!({
                "spdxElementId": element(component),
                "relationshipType": "DEPENDS_ON",
                "relatedSpdxElement": other,
            })
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{name}-{version}"),
        "documentNamespace": format!("https://conduit.io/spdx/{name}-{version}-{}", fingerprint(components)),
        "creationInfo": {
            "created": "1970-01-01T00:00:00Z",
            "creators": ["Tool: cargo-xtask-images"],
            "comment": "The date is fixed, so that the same sources give the same document.",
        },
        "packages": packages,
        "relationships": relationships,
    })
}

fn package(component: &Component) -> Value {
    let licence = if component.licence.is_empty() { "NOASSERTION" } else { &component.licence };
    let registry = component.purl.starts_with("pkg:cargo/") && !component.checksum.is_empty();
    let mut package = json!({
        "SPDXID": element(component),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": if registry {
            format!("https://crates.io/api/v1/crates/{}/{}/download", component.name, component.version)
        } else {
            "NOASSERTION".to_owned()
        },
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": component.purl,
        }],
    });
    if registry {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": component.checksum }]);
    }
    package
}

fn is_toolchain(component: &Component) -> bool {
    !component.purl.starts_with("pkg:cargo/")
}

/// The element's name, of letters, digits, `.` and `-` only.
fn element(component: &Component) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    let text: String = component.id().chars().map(plain).collect();
    format!("SPDXRef-{text}")
}

fn fingerprint(components: &[Component]) -> String {
    let mut hash = Sha256::new();
    for component in components {
        hash.update(component.purl.as_bytes());
        hash.update(component.checksum.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "sbom_tests.rs"]
mod tests;
