//! `conduit inject --manual`: writes the containers into the manifests, as the webhook would into the pods, and leaves
//! all else as it is to the byte (`insert`).

use conduit_inject::settings::{Settings, image};
use conduit_inject::{Annotations, Mesh, Outcome as Injection, Redirection, names, workload};
use conduit_install::options::{REGISTRY, image_of};
use serde_json::Value;

use super::tree::Node;
use super::{Outcome, insert, text};
use crate::args::Inject;
use crate::output::Failure;

/// Injects into every workload of the stream.
pub(super) fn inject(text: &str, args: &Inject) -> Result<Outcome, Failure> {
    let mesh = mesh(args)?;
    written(text, &mesh).map_err(|what| {
        Failure::problem(
            what,
            "nothing was printed; without --manual an annotation is enough, where the webhook is installed",
        )
    })
}

/// Injects, as text: what was there stays in place to the byte, and `uninject` takes out what was added.
pub(super) fn written(text: &str, mesh: &Mesh) -> Result<Outcome, String> {
    if text.contains(text::MARK) {
        return Err(format!("it has been injected already: it has lines with `{}`", text::MARK));
    }
    let parse = |text: &str| {
        serde_saphyr::from_multiple::<Value>(text).map_err(|error| format!("it is no YAML: {error}"))
    };
    let mut before = parse(text)?;
    let (mut after, mut remarks) = (before.clone(), Vec::new());
    each_object(&mut after, |object| inject_object(object, mesh, &mut remarks));
    let (old, new) = (pods(&mut before), pods(&mut after));
    let objects = text::objects(text)?;
    let nodes = objects.iter().filter_map(|object| Some((object, pod(object.node)?)));
    let mut edits = Vec::new();
    // Where the two do not count the same pods, what comes of it is not what is wanted.
    for ((object, node), change) in nodes.zip(old.iter().zip(&new)) {
        insert::insertions(text, node, change, text::end_of_line(text), &mut edits)
            .map_err(|why| format!("{}: {why}", object.name()))?;
    }
    let changed = text::apply(text, edits);
    if parse(&changed)? != after {
        return Err("it cannot be edited safely: the change would have meant something else".to_owned());
    }
    Ok(Outcome { text: changed, remarks })
}

/// The pod in a workload, as [`workload::pod_mut`] finds it.
fn pod(object: &Node) -> Option<&Node> {
    text::pod(object).filter(|pod| matches!(pod.get("spec"), Some(Node::Mapping(_) | Node::Alias { .. })))
}

/// Every pod of the stream.
fn pods(documents: &mut [Value]) -> Vec<Value> {
    let mut pods = Vec::new();
    each_object(documents, |object| pods.extend(workload::pod_mut(object).map(|pod| pod.clone())));
    pods
}

/// The objects of the stream, those in lists too.
fn each_object(documents: &mut [Value], mut with: impl FnMut(&mut Value)) {
    for document in documents {
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.get_mut("items").and_then(Value::as_array_mut).filter(|_| is_list) {
            Some(items) => items.iter_mut().for_each(&mut with),
            None => with(document),
        }
    }
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
            let said = std::mem::replace(pod, injected.pod)["metadata"]["annotations"].take();
            // What it said itself stays in its own words.
            for (name, value) in said.as_object().into_iter().flatten() {
                pod["metadata"]["annotations"][name] = value.clone();
            }
            remarks.push(format!("{name} injected"));
            injected.problems
        }
        Injection::Skipped(skip, problems) => {
            remarks.push(format!("{name} left alone: {skip}"));
            problems
        }
    };
    remarks.extend(problems.iter().map(|problem| format!("{name}: {problem}")));
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
