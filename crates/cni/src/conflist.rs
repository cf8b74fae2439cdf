//! The text of a node's network configuration: our plugin's entry in it, as the last of the chain. Whatever else is in there stays,
//! known or not. Pure. Deliberately absent: files (`node`).

use serde_json::{Value, json};
use thiserror::Error;

use crate::plugin::{CAPABILITY, VERSIONS};

/// The plugin's name, by which the runtime finds its program.
pub(crate) const PLUGIN: &str = "conduit-cni";

/// Why a configuration is left as it is.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The text is none.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// It lacks what a configuration has.
    #[error("it has no {0}")]
    Lacks(&'static str),
    /// Our plugin would refuse every pod.
    #[error("its cniVersion `{0}` is unknown here; known are {known}", known = VERSIONS.join(", "))]
    Version(String),
}

fn entry() -> Value {
    json!({"type": PLUGIN, "capabilities": {CAPABILITY: true}})
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

/// The list with our entry; `None` when it has it.
pub(crate) fn with_entry(text: &str) -> Result<Option<String>, Unusable> {
    let mut list = parse(text)?;
    check_version(&list)?;
    let plugins = plugins(&mut list)?;
    if plugins.iter().filter(|plugin| is_ours(plugin)).eq([&entry()]) {
        return Ok(None);
    }
    plugins.retain(|plugin| !is_ours(plugin));
    if plugins.is_empty() {
        return Err(Unusable::Lacks("plugin before ours"));
    }
    plugins.push(entry());
    Ok(Some(format!("{list:#}\n")))
}

/// The list without our entry; `None` when it has none.
pub(crate) fn without_entry(text: &str) -> Result<Option<String>, Unusable> {
    let mut list = parse(text)?;
    let plugins = plugins(&mut list)?;
    let before = plugins.len();
    plugins.retain(|plugin| !is_ours(plugin));
    let changed = plugins.len() < before;
    Ok(changed.then(|| format!("{list:#}\n")))
}

/// A list of the one plugin of a configuration that is no list, and of our entry.
pub(crate) fn of_single(text: &str) -> Result<String, Unusable> {
    let single = parse(text)?;
    check_version(&single)?;
    if !single["type"].is_string() {
        return Err(Unusable::Lacks("`type`"));
    }
    let name = single.get("name").filter(|name| name.is_string()).ok_or(Unusable::Lacks("`name`"))?;
    let list = json!({"cniVersion": single["cniVersion"], "name": name, "plugins": [single, entry()]});
    Ok(format!("{list:#}\n"))
}

fn parse(text: &str) -> Result<Value, Unusable> {
    let value: Value = serde_json::from_str(text).map_err(|error| Unusable::NoJson(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(Unusable::Lacks("object")) }
}

fn check_version(configuration: &Value) -> Result<(), Unusable> {
    let version = configuration["cniVersion"].as_str().ok_or(Unusable::Lacks("`cniVersion`"))?;
    if VERSIONS.contains(&version) { Ok(()) } else { Err(Unusable::Version(version.to_owned())) }
}

fn plugins(list: &mut Value) -> Result<&mut Vec<Value>, Unusable> {
    list.get_mut("plugins").and_then(Value::as_array_mut).ok_or(Unusable::Lacks("list `plugins`"))
}

#[cfg(test)]
#[path = "conflist_tests.rs"]
mod tests;
