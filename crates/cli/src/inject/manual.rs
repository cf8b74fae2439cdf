//! `conduit inject --manual`: writes the containers into the manifests, as the webhook would into the pods. The documents are written
//! anew, so comments and layout are lost; `kubectl apply` does not mind.

use conduit_inject::settings::{Settings, image};
use conduit_inject::{Annotations, Mesh, Outcome as Injection, Redirection, names, workload};
use conduit_install::options::{REGISTRY, image_of};
use serde_json::{Value, json};

use super::Outcome;
use crate::args::Inject;
use crate::output::Failure;

/// Injects into every workload of the stream.
pub(super) fn inject(text: &str, args: &Inject) -> Result<Outcome, Failure> {
    let mesh = mesh(args)?;
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::problem(format!("it is no YAML: {error}"), "nothing was printed"))?;
    let mut remarks = Vec::new();
    for document in &mut documents {
        match document.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => items.iter_mut().for_each(|object| inject_object(object, &mesh, &mut remarks)),
            None => inject_object(document, &mesh, &mut remarks),
        }
    }
    let written: Result<Vec<String>, _> = documents.iter().map(serde_saphyr::to_string).collect();
    let written = written
        .map_err(|error| Failure::problem(format!("it cannot be written: {error}"), "nothing was printed"))?;
    Ok(Outcome { text: written.join("---\n"), remarks })
}

fn inject_object(object: &mut Value, mesh: &Mesh, remarks: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let name = format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]));
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let Some(pod) = workload::pod_mut(object) else { return };
    // Naming a file is asking for injection, unless the workload itself says otherwise.
    let asked = Annotations::from([(names::INJECT.to_owned(), "enabled".to_owned())]);
    let problems = match conduit_inject::inject(pod, &namespace, &asked, mesh) {
        Injection::Injected(injected) => {
            *pod = injected.pod;
            remarks.push(format!("{name} injected"));
            injected.problems
        }
        Injection::Skipped(skip, problems) => {
            remarks.push(format!("{name} left alone: {skip}"));
            problems
        }
    };
    remarks.extend(problems.iter().map(|problem| format!("{name}: {problem}")));
    // A template with `creationTimestamp: null`, as kubectl writes it, is fine; one that we made is none.
    if pod["metadata"].is_null() {
        pod["metadata"] = json!({});
    }
}

fn mesh(args: &Inject) -> Result<Mesh, Failure> {
    let file = args.trust_anchors.as_deref().unwrap_or_else(|| std::path::Path::new(""));
    let anchors = std::fs::read_to_string(file).map_err(|error| {
        Failure::problem(
            format!("cannot read {}: {error}", file.display()),
            "--trust-anchors takes a PEM file",
        )
    })?;
    if !anchors.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Failure::problem(
            format!("there is no certificate in {}", file.display()),
            "--trust-anchors takes the mesh's trust anchors as PEM",
        ));
    }
    let default = || image_of(REGISTRY, "conduit-proxy", env!("CARGO_PKG_VERSION"));
    let reference = image(&args.proxy_image.clone().unwrap_or_else(default))
        .map_err(|what| Failure::usage(what, "--proxy-image takes an image reference"))?;
    Ok(Mesh {
        controller_addr: args.controller_addr.clone(),
        trust_domain: args.trust_domain.clone(),
        trust_anchors: anchors,
        cluster_networks: None,
        redirection: if args.cni { Redirection::Cni } else { Redirection::Init },
        settings: Settings::of_image(&reference),
    })
}

#[cfg(test)]
#[path = "manual_tests.rs"]
mod tests;
