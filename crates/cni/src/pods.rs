//! Pods of this node that wait for their redirect rules: found by the process that waits in them, `conduit-proxy validate`, whose
//! arguments are the pod's settings; the rules are written into the network namespace of that process. So no right at the API server is
//! needed, and pods are mended while it is away. Whoever runs a process of that name gets redirect rules in its own network namespace,
//! and nothing else: the node's namespace is never touched. Deliberately absent: pods that run. Their rules were seen to work when they
//! started.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::redirection;

/// Bytes of a command line that are read: the settings of two lists of ports, and to spare.
const COMMAND_LINE_BYTES_MAX: u64 = 8 * 1024;

/// Writes the rules of all pods that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    /// What was said at the last look, so that it is said once.
    said: BTreeSet<String>,
}

impl Pods {
    /// Looks once, and mends; gives what there is to say.
    ///
    /// # Errors
    /// When processes cannot be listed.
    pub(crate) fn mend(&mut self) -> Result<Vec<String>> {
        let node =
            fs::metadata("/proc/self/ns/net").context("looking at the node's network namespace")?.ino();
        let mut lines = BTreeSet::new();
        for entry in fs::read_dir("/proc").context("listing processes")? {
            let entry = entry.context("listing processes")?;
            if entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
                lines.extend(look(&entry.path(), node));
            }
        }
        let new = lines.difference(&self.said).cloned().collect();
        self.said = lines;
        Ok(new)
    }
}

/// Mends the pod of this process, if it waits; gives what there is to say. A process that ends meanwhile is none that waits.
fn look(process: &Path, node: u64) -> Option<String> {
    // Held open, the folder is this process's even when its number is given to another.
    let held = File::open(process).ok()?;
    let place = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string());
    let mut command_line = Vec::new();
    let file = File::open(place.join("cmdline")).ok()?;
    file.take(COMMAND_LINE_BYTES_MAX).read_to_end(&mut command_line).ok()?;
    let settings = settings(&command_line)?;
    let pod = pod(&fs::read_to_string(place.join("cgroup")).ok()?);
    match mend(&place.join("ns/net"), node, settings) {
        Ok(true) => Some(format!("wrote the redirect rules of {pod}, which waited for them")),
        Ok(false) => None,
        Err(error) => Some(format!("{pod} waits for its redirect rules: {error:#}")),
    }
}

/// Writes the rules, except into the node's own namespace, and where there are some; whether it did.
fn mend(namespace: &Path, node: u64, settings: Vec<&str>) -> Result<bool> {
    let namespace = File::open(namespace).context("opening its network namespace")?;
    let number = namespace.metadata().context("looking at its network namespace")?.ino();
    if number == node {
        return Ok(false);
    }
    let rules = redirection::rules(settings).map_err(anyhow::Error::msg)?;
    redirection::ensure(&namespace, &rules)
}

/// The settings in a waiting process's command line; `None` for any other process.
pub(crate) fn settings(command_line: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(command_line).ok()?;
    let mut words = text.split_terminator('\0');
    let program = words.next()?.rsplit('/').next()?;
    (program == "conduit-proxy" && words.next()? == "validate").then(|| words.collect())
}

/// How a pod is called in messages: by its UID, which is in the name of its cgroup (`pod` and the UID, with hyphens or underscores).
fn pod(cgroup: &str) -> String {
    const UID_CHARS: usize = 36;
    let is_uid = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-_".contains(&byte));
    let uid =
        cgroup.match_indices("pod").find_map(|(at, _)| cgroup.get(at + 3..at + 3 + UID_CHARS).filter(is_uid));
    uid.map_or_else(|| "a pod".to_owned(), |uid| format!("the pod with the UID {}", uid.replace('_', "-")))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
