//! The network plugin's side of a call, by the CNI specification 1.1 (containernetworking/cni, SPEC.md, section 4): it is chained behind
//! the plugins that make a pod's network, hands their result on as it is, and adds the redirect rules where the pod's annotation asks for
//! them. The runtime passes annotations to a plugin that declares the capability (containerd since 1.5, CRI-O since 1.28); where it does
//! not, no pod asks, and the agent writes the rules when the pod waits for them. Deliberately absent: the API server, and so any
//! credential on the node.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use conduit_inject::names;
use conduit_redirect::Rules;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::redirection;

/// The versions of CNI that this plugin speaks: those that chain plugins.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// What a plugin declares that wants the pod's annotations.
pub(crate) const CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";

/// A call of the container runtime, but for its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// ADD, DEL, CHECK, GC, STATUS or VERSION.
    pub(crate) command: String,
    /// The pod's network namespace.
    pub(crate) netns: Option<PathBuf>,
}

/// Why a call failed; the codes below 100 are the specification's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u32,
    message: String,
}

impl Failure {
    const VERSION: u32 = 1;
    const ENVIRONMENT: u32 = 4;
    const INPUT: u32 = 5;
    const DECODING: u32 = 6;
    const CONFIGURATION: u32 = 7;
    const RULES: u32 = 100;
    const ANNOTATION: u32 = 101;

    fn new(code: u32, message: impl fmt::Display) -> Self {
        Self { code, message: format!("conduit-cni: {message}") }
    }

    /// As the runtime reads it, in the version in which it asked.
    pub(crate) fn to_json(&self, input: &str) -> Value {
        let asked = serde_json::from_str::<Configuration>(input).map(|configuration| configuration.version);
        let version = asked.ok().filter(|version| VERSIONS.contains(&&**version));
        let version = version.unwrap_or_else(|| "1.0.0".to_owned());
        json!({"cniVersion": version, "code": self.code, "msg": self.message})
    }
}

/// Standard input could not be read.
pub(crate) fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Failure::INPUT, format_args!("the configuration on stdin cannot be read: {error}"))
}

/// What is read of the configuration.
#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(rename = "cniVersion")]
    version: String,
    #[serde(rename = "prevResult")]
    previous: Option<Value>,
    #[serde(rename = "runtimeConfig", default)]
    runtime: Runtime,
}

#[derive(Debug, Default, Deserialize)]
struct Runtime {
    /// Named by [`CAPABILITY`].
    #[serde(rename = "io.kubernetes.cri.pod-annotations", default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// What is to be done for a call.
#[derive(Debug, PartialEq)]
enum Task {
    /// Nothing; print this, if there is something.
    Print(Option<Value>),
    /// Write the rules in this namespace, then print.
    Write(PathBuf, Rules, Value),
    /// See that there are rules in this namespace.
    See(PathBuf),
}

/// Does what the runtime asks; gives what is to be printed.
pub(crate) fn answer(call: &Call, input: &str) -> Result<Option<Value>, Failure> {
    let open = |path: &Path| {
        File::open(path).with_context(|| format!("opening the network namespace {}", path.display()))
    };
    let failed = |error: anyhow::Error| Failure::new(Failure::RULES, format_args!("{error:#}"));
    match decide(call, input)? {
        Task::Print(result) => Ok(result),
        Task::Write(netns, rules, result) => {
            open(&netns).and_then(|netns| redirection::ensure(&netns, &rules)).map_err(failed)?;
            Ok(Some(result))
        }
        Task::See(netns) => {
            match open(&netns).and_then(|netns| redirection::is_installed(&netns)).map_err(failed)? {
                true => Ok(None),
                false => Err(Failure::new(Failure::RULES, "the pod's redirect rules are gone")),
            }
        }
    }
}

fn decide(call: &Call, input: &str) -> Result<Task, Failure> {
    let command = &*call.command;
    match command {
        "ADD" | "CHECK" => {}
        "VERSION" => return Ok(Task::Print(Some(versions(input)))),
        // The rules go with the network namespace. A pod's end must never hang on us.
        "DEL" | "GC" | "STATUS" => return Ok(Task::Print(None)),
        other => return Err(Failure::new(Failure::ENVIRONMENT, format_args!("CNI_COMMAND is `{other}`"))),
    }
    let configuration: Configuration = serde_json::from_str(input).map_err(|error| {
        Failure::new(Failure::DECODING, format_args!("the configuration on stdin: {error}"))
    })?;
    if !VERSIONS.contains(&&*configuration.version) {
        let text =
            format!("CNI {} is unknown here; known are {}", configuration.version, VERSIONS.join(", "));
        return Err(Failure::new(Failure::VERSION, text));
    }
    let previous = configuration.previous.ok_or_else(|| {
        let text = "there is no prevResult: this plugin stands behind the one that makes the pod's network";
        Failure::new(Failure::CONFIGURATION, text)
    })?;
    let annotations = configuration.runtime.annotations.unwrap_or_default();
    let Some(asked) = annotations.get(names::REDIRECTION) else {
        return Ok(Task::Print((command == "ADD").then_some(previous)));
    };
    let netns = call.netns.clone().filter(|netns| !netns.as_os_str().is_empty());
    let netns = netns.ok_or_else(|| Failure::new(Failure::ENVIRONMENT, "CNI_NETNS is not set"))?;
    if command == "CHECK" {
        return Ok(Task::See(netns));
    }
    let rules = redirection::rules(asked.split_ascii_whitespace()).map_err(|reason| {
        let text = format!("the pod's annotation {} cannot be meant: {reason}", names::REDIRECTION);
        Failure::new(Failure::ANNOTATION, text)
    })?;
    Ok(Task::Write(netns, rules, previous))
}

/// The versions, in the version in which they are asked for.
fn versions(input: &str) -> Value {
    let asked = serde_json::from_str::<Value>(input).unwrap_or_default();
    json!({"cniVersion": asked["cniVersion"].as_str().unwrap_or("1.0.0"), "supportedVersions": VERSIONS})
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
