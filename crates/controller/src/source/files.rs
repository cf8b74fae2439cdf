//! A directory of Kubernetes manifests in YAML, watched for changes. Each document is decoded on its own: one that cannot be
//! understood is reported with file, line and reason, and what it said before stays in force; a file that is gone takes its
//! objects with it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Event;
use super::objects::{Key, Object};

/// A manifest larger than this is not read: the API server's own limit for an object is 1.5 MiB, and a file may hold several.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files read at the most.
const FILES_MAX: usize = 100_000;
/// A change that the kernel did not tell of (a network file system) is found within this.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(5);

/// A document that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1; 0 where it is not known.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

#[derive(Debug, Default)]
struct File {
    stamp: Option<(SystemTime, u64)>,
    objects: HashMap<Key, Object>,
    problems: Vec<Problem>,
}

/// What was read from the directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    files: HashMap<PathBuf, File>,
}

impl Directory {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, files: HashMap::new() }
    }

    /// Everything that cannot be understood now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all: Vec<_> = self.files.values().flat_map(|file| file.problems.clone()).collect();
        all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        all
    }

    /// Reads what changed since the last time.
    pub fn scan(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut present = HashSet::new();
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                // An unreadable directory is no empty directory: what is known stays.
                tracing::error!(directory = %self.path.display(), %error, "the manifests cannot be read");
                return events;
            }
        };
        for entry in entries.flatten().take(FILES_MAX) {
            let path = entry.path();
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let Some(metadata) = entry.metadata().ok().filter(|m| m.is_file() && yaml) else { continue };
            present.insert(path.clone());
            let stamp = metadata.modified().ok().map(|modified| (modified, metadata.len()));
            if self.files.get(&path).is_some_and(|file| file.stamp.is_some() && file.stamp == stamp) {
                continue;
            }
            let text = if metadata.len() > FILE_BYTES_MAX {
                Err(format!("the file is larger than {FILE_BYTES_MAX} bytes"))
            } else {
                std::fs::read_to_string(&path).map_err(|error| error.to_string())
            };
            let file = self.files.entry(path.clone()).or_default();
            file.stamp = stamp;
            match text {
                Ok(text) => update(file, &path, &text, &mut events),
                Err(reason) => file.problems = vec![Problem { file: path, line: 0, reason }],
            }
        }
        self.files.retain(|path, file| {
            let stays = present.contains(path);
            if !stays {
                events.extend(file.objects.drain().map(|(key, _)| Event::Delete(key)));
            }
            stays
        });
        events
    }
}

/// Takes a file's new text in: applies what changed, deletes what is gone, keeps what can no longer be understood.
fn update(file: &mut File, path: &Path, text: &str, events: &mut Vec<Event>) {
    let (objects, problems) = read(path, text);
    for problem in &problems {
        if !file.problems.contains(problem) {
            tracing::warn!(%problem, "a manifest cannot be understood; what it said before stays in force");
        }
    }
    let keep_old = !problems.is_empty();
    file.problems = problems;
    let mut before = std::mem::take(&mut file.objects);
    for object in objects {
        let key = object.key();
        if before.remove(&key).as_ref() != Some(&object) {
            events.push(Event::Apply(object.clone()));
        }
        file.objects.insert(key, object);
    }
    if keep_old {
        file.objects.extend(before);
    } else {
        events.extend(before.into_keys().map(Event::Delete));
    }
}

/// Reads all documents of a file.
#[must_use]
pub fn read(path: &Path, text: &str) -> (Vec<Object>, Vec<Problem>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for (first_line, document) in documents(text) {
        match document_to_object(&document) {
            Ok(object) => objects.extend(object),
            Err((line, reason)) => {
                problems.push(Problem { file: path.to_owned(), line: first_line + line.saturating_sub(1), reason });
            }
        }
    }
    (objects, problems)
}

/// Splits at lines of `---`; each document with the number of its first line.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            documents.push((number + 2, String::new()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let says_something = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    documents.retain(|(_, document)| says_something(document));
    documents
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    kind: String,
}

/// One document: `None` for a kind that Conduit does not read.
fn document_to_object(text: &str) -> Result<Option<Object>, (usize, String)> {
    let head: Head = decode(text)?;
    let object = match (head.api_version.as_str(), head.kind.as_str()) {
        ("v1", "Pod") => Object::Pod(decode(text)?),
        ("v1", "Service") => Object::Service(decode(text)?),
        ("discovery.k8s.io/v1", "EndpointSlice") => Object::EndpointSlice(decode(text)?),
        _ => return Ok(None),
    };
    if object.key().2.is_empty() {
        return Err((1, format!("a {} without metadata.name", head.kind)));
    }
    Ok(Some(object))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, (usize, String)> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        let reason = error.to_string();
        (line, reason.lines().next().unwrap_or_default().to_owned())
    })
}

/// Watches the directory: sends what changed, and the problems there are, whenever something did; until the receiver is gone.
///
/// # Errors
/// When the kernel gives no watch.
pub async fn follow(path: PathBuf, changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>) -> notify::Result<()> {
    // One wake-up is enough however much changed: the scan finds it all.
    let (woken, mut wake) = mpsc::channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| _ = woken.try_send(()))?;
    watcher.watch(&path, RecursiveMode::NonRecursive)?;
    let mut directory = Directory::new(path);
    let mut known: Option<Vec<Problem>> = None;
    loop {
        let events = directory.scan();
        let problems = directory.problems();
        if (!events.is_empty() || known.as_ref() != Some(&problems)) && changes.send((events, problems.clone())).await.is_err() {
            return Ok(());
        }
        known = Some(problems);
        _ = tokio::time::timeout(RESCAN_INTERVAL, wake.recv()).await;
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
