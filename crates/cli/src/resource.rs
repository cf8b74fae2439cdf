//! Resources as operators type them (`deploy/web`, `svc web`, `web`, `shop/deploy/web`) and as they are shown, so that what a
//! table prints can be typed back. It depends on the API's words only.

use conduit_api::common::v1::WorkloadRef;
use conduit_api::operator::v1::Resource;

use crate::output::Failure;

/// Every kind: its name in the API, the short form that is shown, and what else may be typed (lower case).
const KINDS: &[(&str, &str, &[&str])] = &[
    ("Deployment", "deploy", &["deployment", "deployments"]),
    ("StatefulSet", "sts", &["statefulset", "statefulsets"]),
    ("DaemonSet", "ds", &["daemonset", "daemonsets"]),
    ("ReplicaSet", "rs", &["replicaset", "replicasets"]),
    ("Job", "job", &["jobs"]),
    ("CronJob", "cj", &["cronjob", "cronjobs"]),
    ("Pod", "po", &["pod", "pods"]),
    ("Service", "svc", &["service", "services"]),
    ("", "workload", &["workloads", "wl"]),
    (NAMESPACE, "ns", &["namespace", "namespaces"]),
];

/// Not a kind of the API: `ns/shop` selects every workload of a namespace.
const NAMESPACE: &str = "Namespace";

/// What to write, for error messages.
const FORMS: &str = "write deploy/web, svc/web, po/web-1, web (any workload), ns/shop or shop/deploy/web";

fn kind(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    KINDS
        .iter()
        .find(|(_, short, more)| *short == word || more.contains(&word.as_str()))
        .map(|(kind, ..)| *kind)
}

/// Reads what stands on the command line after the verb: nothing, `KIND`, `NAME`, `KIND/NAME`, `KIND NAME` or
/// `NAMESPACE/KIND/NAME`. An empty `namespace` is any.
///
/// # Errors
/// [`Failure::usage`] with the forms that are understood.
pub(crate) fn parse(words: &[String], namespace: Option<&str>) -> Result<Resource, Failure> {
    let namespace = namespace.unwrap_or_default();
    match words {
        [] => Ok(Resource { namespace: namespace.to_owned(), ..Resource::default() }),
        [one] => parse_word(one, namespace),
        [first, name] => named(first, name, namespace),
        [.., last] => Err(Failure::usage(format!("`{last}` is one word too many for a resource"), FORMS)),
    }
}

/// Reads one word, as after `--to` and `--from`.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_word(word: &str, namespace: &str) -> Result<Resource, Failure> {
    let parts: Vec<&str> = word.split('/').collect();
    match parts[..] {
        [""] => Err(Failure::usage("a resource is empty", FORMS)),
        [one] => Ok(match kind(one) {
            Some(NAMESPACE) => Resource { namespace: namespace.to_owned(), ..Resource::default() },
            Some(kind) => {
                Resource { namespace: namespace.to_owned(), kind: kind.to_owned(), name: String::new() }
            }
            None => Resource { namespace: namespace.to_owned(), kind: String::new(), name: one.to_owned() },
        }),
        [kind, name] => named(kind, name, namespace),
        [own, kind, name] if own == namespace || namespace.is_empty() => named(kind, name, own),
        [own, ..] if parts.len() == 3 => Err(Failure::usage(
            format!("`{word}` names the namespace {own}, and --namespace names {namespace}"),
            "leave one of the two out",
        )),
        _ => Err(Failure::usage(format!("`{word}` is not a resource"), FORMS)),
    }
}

fn named(kind_word: &str, name: &str, namespace: &str) -> Result<Resource, Failure> {
    let Some(kind) = kind(kind_word) else {
        return Err(Failure::usage(format!("`{kind_word}` is not a kind of resource"), FORMS));
    };
    if name.is_empty() || name.contains('/') {
        return Err(Failure::usage(format!("`{kind_word}/{name}` has no proper name"), FORMS));
    }
    if kind == NAMESPACE {
        return Ok(Resource { namespace: name.to_owned(), ..Resource::default() });
    }
    Ok(Resource { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() })
}

/// `deploy/web`; a kind that is not known is shown in lower case.
pub(crate) fn short(kind: &str, name: &str) -> String {
    let word = KINDS.iter().find(|(known, ..)| *known == kind).map(|(_, short, _)| (*short).to_owned());
    let word = word.unwrap_or_else(|| kind.to_ascii_lowercase());
    if name.is_empty() { word } else { format!("{word}/{name}") }
}

/// `shop/deploy/web`, or `otherwise` where nothing is known.
pub(crate) fn full(workload: Option<&WorkloadRef>, otherwise: &str) -> String {
    match workload {
        Some(w) if !w.name.is_empty() => format!("{}/{}", w.namespace, short(&w.kind, &w.name)),
        _ => otherwise.to_owned(),
    }
}

/// For sentences: `deploy/web in namespace shop`, `any workload`.
pub(crate) fn describe(resource: &Resource) -> String {
    let what = match (resource.kind.as_str(), resource.name.as_str()) {
        ("", "") => "any workload".to_owned(),
        (kind, "") => format!("any {}", short(kind, "")),
        ("", name) => format!("workload {name}"),
        (kind, name) => short(kind, name),
    };
    if resource.namespace.is_empty() { what } else { format!("{what} in namespace {}", resource.namespace) }
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
