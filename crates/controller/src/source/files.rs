//! A directory of Kubernetes manifests in YAML, watched for changes. Each document is decoded on its own: one that cannot be
//! understood is reported with file, line and reason, and what it said before stays in force; a file that is gone takes its
//! objects with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::objects::{Key, Object};
use super::{Event, Problem};

/// A manifest larger than this is not read: the API server's own limit for an object is 1.5 MiB, and a file may hold several.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files read at the most.
const FILES_MAX: usize = 100_000;
/// A reason is cut after this many characters: it is shown in one line.
const REASON_CHARS_MAX: usize = 300;
/// A change that the kernel did not tell of (a network file system) is found within this.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Tells whether a file was written or replaced since it was read. The inode and the time of the last change of any kind are part of
/// it: two files that replace each other within one tick of the clock may have the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    objects: HashMap<Key, Object>,
    problems: Vec<Problem>,
}

/// What was read from the directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    files: HashMap<PathBuf, File>,
    /// Which files hold an object: one, unless somebody copied it. The first by name is served.
    holders: HashMap<Key, BTreeSet<PathBuf>>,
    /// Why the directory itself cannot be read now.
    unreadable: Option<String>,
}

impl Directory {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, files: HashMap::new(), holders: HashMap::new(), unreadable: None }
    }

    /// Everything that cannot be understood now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all: Vec<_> = self.files.values().flat_map(|file| file.problems.clone()).collect();
        let unreadable = self.unreadable.clone();
        all.extend(unreadable.map(|reason| Problem::in_file(self.path.clone(), 0, reason)));
        for (key, holders) in &self.holders {
            let mut holders = holders.iter();
            let Some(first) = holders.next() else { continue };
            all.extend(holders.map(|file| {
                let reason = format!(
                    "{} {}/{} is in {} too, which is used",
                    key.0.name(),
                    key.1,
                    key.2,
                    first.display()
                );
                Problem::in_file(file.clone(), 0, reason)
            }));
        }
        all.sort();
        all
    }

    /// Reads what changed since the last time.
    pub fn scan(&mut self) -> Vec<Event> {
        let mut touched = HashSet::new();
        let mut present = HashSet::new();
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                // An unreadable directory is no empty directory: what is known stays.
                tracing::error!(directory = %self.path.display(), %error, "the manifests cannot be read");
                self.unreadable = Some(error.to_string());
                return Vec::new();
            }
        };
        self.unreadable = None;
        for path in
            entries.flatten().map(|entry| entry.path()).filter(|path| is_manifest(path)).take(FILES_MAX)
        {
            // Follows symbolic links: that is how Kubernetes mounts a ConfigMap.
            let Some(metadata) = std::fs::metadata(&path).ok().filter(Metadata::is_file) else { continue };
            present.insert(path.clone());
            let stamp = Some(Stamp::of(&metadata));
            if self.files.get(&path).is_some_and(|file| file.stamp == stamp) {
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
                Ok(text) => update(file, &path, &text, &mut self.holders, &mut touched),
                Err(reason) => file.problems = vec![Problem::in_file(path, 0, reason)],
            }
        }
        let holders = &mut self.holders;
        self.files.retain(|path, file| {
            let stays = present.contains(path);
            if !stays {
                file.objects.drain().for_each(|(key, _)| let_go(key, path, holders, &mut touched));
            }
            stays
        });
        touched.into_iter().map(|key| self.event(key)).collect()
    }

    /// What became of an object: as the first file says that holds it, or gone.
    fn event(&self, key: Key) -> Event {
        let first = self.holders.get(&key).and_then(BTreeSet::first);
        let object = first.and_then(|path| self.files.get(path)?.objects.get(&key));
        object.cloned().map_or_else(|| Event::Delete(key), Event::Apply)
    }
}

/// A file that is being written has another name until it is whole, or begins with a dot.
fn is_manifest(path: &Path) -> bool {
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

type Holders = HashMap<Key, BTreeSet<PathBuf>>;

fn let_go(key: Key, path: &Path, holders: &mut Holders, touched: &mut HashSet<Key>) {
    if let Some(files) = holders.get_mut(&key) {
        files.remove(path);
        if files.is_empty() {
            holders.remove(&key);
        }
    }
    touched.insert(key);
}

/// Takes a file's new text in: notes what changed and what is gone, keeps what can no longer be understood.
fn update(file: &mut File, path: &Path, text: &str, holders: &mut Holders, touched: &mut HashSet<Key>) {
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
            touched.insert(key.clone());
        }
        holders.entry(key.clone()).or_default().insert(path.to_owned());
        file.objects.insert(key, object);
    }
    if keep_old {
        file.objects.extend(before);
    } else {
        before.into_keys().for_each(|key| let_go(key, path, holders, touched));
    }
}

/// Reads all documents of a file.
#[must_use]
pub fn read(path: &Path, text: &str) -> (Vec<Object>, Vec<Problem>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    // YAML also breaks lines at a lone CR; people count lines as their editor does, and the last is the nearest to it.
    let last_line = text.lines().count().max(1);
    for (first_line, document) in documents(text) {
        match document_to_object(&document) {
            Ok(object) => objects.extend(object),
            Err((line, reason)) => {
                let line = (first_line + line.saturating_sub(1)).min(last_line);
                problems.push(Problem::in_file(path.to_owned(), line, reason));
            }
        }
    }
    (objects, problems)
}

/// Splits at lines of `---`; each document with the number of its first line.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        // A marker at the start of a line cannot be part of a document (YAML 1.2.2, section 9.1.2).
        if matches!(line.trim_end(), "---" | "...") || line.starts_with("--- ") {
            documents.push((number + 2, String::new()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let says_something =
        |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
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
        ("v1", "Node") => Object::Node(decode(text)?),
        ("apps/v1", "ReplicaSet") => Object::ReplicaSet(decode(text)?),
        ("batch/v1", "Job") => Object::Job(decode(text)?),
        _ => return Ok(None),
    };
    object.check().map_err(|reason| (1, reason))?;
    Ok(Some(object.trimmed()))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, (usize, String)> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        let reason = error.without_snippet().to_string();
        (
            line,
            without_place(reason.lines().next().unwrap_or_default()).chars().take(REASON_CHARS_MAX).collect(),
        )
    })
}

/// The parser says where in the document; the line in the file is said already.
fn without_place(reason: &str) -> &str {
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    let after = reason.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    match (reason.rfind(" at line "), after) {
        (Some(at), _) => &reason[..at],
        (None, Some((_, reason))) => reason,
        (None, None) => reason,
    }
}

/// A scan opens and reads, and is told of that too: only what changes something may lead to the next scan.
fn is_change(event: &notify::Event) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.need_rescan() || !event.kind.is_access() || event.kind == written
}

/// Watches the directory: sends what changed, and the problems there are, whenever something did; until the receiver is gone.
///
/// # Errors
/// When the kernel gives no watch.
pub async fn follow(path: PathBuf, changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>) -> notify::Result<()> {
    // One wake-up is enough however much changed: the scan finds it all.
    let (woken, mut wake) = mpsc::channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.as_ref().map_or(true, is_change) {
            _ = woken.try_send(());
        }
    })?;
    watcher.watch(&path, RecursiveMode::NonRecursive)?;
    let mut directory = Directory::new(path);
    let mut known: Option<Vec<Problem>> = None;
    loop {
        let events = directory.scan();
        let problems = directory.problems();
        if (!events.is_empty() || known.as_ref() != Some(&problems))
            && changes.send((events, problems.clone())).await.is_err()
        {
            return Ok(());
        }
        known = Some(problems);
        _ = tokio::time::timeout(RESCAN_INTERVAL, wake.recv()).await;
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
