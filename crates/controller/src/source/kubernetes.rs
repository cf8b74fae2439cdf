//! The API server of a cluster as a source: one watch for each kind, read by one task. A watch that ends is resumed where it
//! was, one whose place is gone (410) lists again, one that is silent is opened anew, all with a pause that grows and varies.
//! Nothing is told before every kind has been listed once: half a model would send proxies to the wrong places.
//!
//! Sources: Kubernetes API concepts, "Efficient detection of changes" (lists, watches, bookmarks, 410 Gone).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lean::{Lean, Watched};
use super::objects::{EndpointSlice, Job, Key, Kind, Node, Object, Pod, ReplicaSet, Service};
use super::{Event, Place, Problem};

/// Objects of one answer to a list: large clusters are listed page by page, so that neither side holds all at once.
const PAGE_OBJECTS: u32 = 500;
/// Changes taken in at once: what comes in a burst is published once.
const BATCH_MAX: usize = 512;
/// The first pause after an error.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause between attempts: short, because new pods wait for what is missed meanwhile, and a list costs little.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Objects that cannot be understood and are told of; more than these are only counted.
const PROBLEMS_MAX: usize = 1_000;

/// What is counted of one kind's watch.
#[derive(Debug, Default)]
pub struct Watch {
    /// Changes that came.
    pub events: AtomicU64,
    /// Times that everything was listed.
    pub lists: AtomicU64,
    /// Times that the list or the watch failed.
    pub errors: AtomicU64,
    /// When something was heard last, in seconds of Unix time; 0 for never.
    pub heard_unix_s: AtomicI64,
    /// Objects that could not be understood, ever.
    pub refused: AtomicU64,
}

/// What is counted of all watches.
#[derive(Debug, Default)]
pub struct Watches(HashMap<Kind, Watch>);

impl Watches {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Kind::ALL.into_iter().map(|kind| (kind, Watch::default())).collect()))
    }

    /// Of each kind.
    pub fn all(&self) -> impl Iterator<Item = (Kind, &Watch)> {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.0.get(&kind)?)))
    }

    fn heard(&self, kind: Kind, what: impl Fn(&Watch) -> &AtomicU64) {
        self.count(kind, what);
        if let Some(watch) = self.0.get(&kind) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            watch.heard_unix_s.store(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    fn count(&self, kind: Kind, what: impl Fn(&Watch) -> &AtomicU64) {
        if let Some(watch) = self.0.get(&kind) {
            what(watch).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a watch says, whatever its kind.
enum Said {
    Begin(Kind),
    Listed(Key, Result<Object, String>),
    End(Kind),
    Now(Key, Result<Object, String>),
    Gone(Key),
    Failed(Kind, watcher::Error),
}

/// Pauses that double, each varied by half so that replicas do not come back all at once. They begin anew after a time without
/// an error.
#[derive(Debug)]
struct Pauses {
    next: Duration,
    failed: Option<Instant>,
}

/// After so long without an error, a watch is taken for well.
const WELL_AFTER: Duration = Duration::from_secs(30);

impl Pauses {
    const fn new() -> Self {
        Self { next: PAUSE_MIN, failed: None }
    }

    /// How long to wait after an error that came now.
    fn after_error(&mut self, now: Instant) -> Duration {
        if self.failed.is_some_and(|last| now.duration_since(last) > WELL_AFTER) {
            self.next = PAUSE_MIN;
        }
        self.failed = Some(now);
        let pause = self.next.mul_f64(0.5 + fastrand::f64());
        self.next = (self.next * 2).min(PAUSE_MAX);
        pause
    }
}

/// What a watch of kube's brings.
pub(crate) type Events<T> = BoxStream<'static, Result<watcher::Event<T>, watcher::Error>>;

/// Watches one kind for ever.
fn watch<T: Watched>(client: &Client, silence: Duration) -> BoxStream<'static, Said> {
    let client = client.clone();
    let begin = move || watcher(Api::<Lean<T>>::all(client.clone()), settings(silence)).boxed();
    endless(begin).map(said).boxed()
}

/// How a kind is listed and watched.
pub(crate) fn settings(silence: Duration) -> watcher::Config {
    let timeout = u32::try_from(silence.as_secs()).unwrap_or(u32::MAX);
    watcher::Config::default().page_size(PAGE_OBJECTS).timeout(timeout)
}

/// Begins again what cannot go on, with pauses.
pub(crate) fn endless<T: Send + 'static>(
    begin: impl Fn() -> Events<T> + Send + 'static,
) -> impl Stream<Item = Result<watcher::Event<T>, watcher::Error>> + Send {
    let state = (begin(), Pauses::new(), None);
    futures_util::stream::unfold((state, begin), |((mut events, mut pauses, pause), begin)| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        let mut pause = None;
        if let Err(error) = &event {
            pause = Some(pauses.after_error(Instant::now()));
            if is_lost(error) {
                events = begin();
            }
        }
        Some((event, ((events, pauses, pause), begin)))
    })
}

/// Whether the watch cannot be resumed where it was: what came was no event. An error of the API server in answer to the watch
/// itself comes this way, line by line.
fn is_lost(error: &watcher::Error) -> bool {
    let lost = |error: &kube::Error| matches!(error, kube::Error::SerdeError(_) | kube::Error::Api(_));
    match error {
        watcher::Error::WatchFailed(error) => lost(error),
        watcher::Error::NoResourceVersion => true,
        _ => false,
    }
}

fn said<T: Watched>(event: Result<watcher::Event<Lean<T>>, watcher::Error>) -> Said {
    match event {
        Ok(watcher::Event::Init) => Said::Begin(T::KIND),
        Ok(watcher::Event::InitApply(lean)) => Said::Listed(lean.key(), lean.object),
        Ok(watcher::Event::InitDone) => Said::End(T::KIND),
        Ok(watcher::Event::Apply(lean)) => Said::Now(lean.key(), lean.object),
        Ok(watcher::Event::Delete(lean)) => Said::Gone(lean.key()),
        Err(error) => Said::Failed(T::KIND, error),
    }
}

/// What is known of a kind before every kind has been listed: objects and not events, so that a kind that cannot be listed for
/// long (a right is missing) costs no more memory than the others have objects.
#[derive(Debug, Default)]
struct Held {
    objects: HashMap<Key, Object>,
    keep: HashSet<Key>,
}

/// What a list has said so far.
#[derive(Debug, Default)]
struct Listing {
    objects: Vec<Object>,
    broken: HashSet<Key>,
}

/// Turns what the watches say into events.
#[derive(Debug, Default)]
struct Reader {
    listing: HashMap<Kind, Listing>,
    /// What waits until every kind has been listed; `None` from then on.
    first: Option<HashMap<Kind, Held>>,
    problems: HashMap<Key, String>,
    watches: Arc<Watches>,
}

impl Reader {
    fn new(watches: Arc<Watches>) -> Self {
        Self { first: Some(HashMap::new()), watches, ..Self::default() }
    }

    fn take(&mut self, said: Said, events: &mut Vec<Event>) {
        match said {
            Said::Begin(kind) => _ = self.listing.insert(kind, Listing::default()),
            Said::Listed(key, object) => self.listed(key, object),
            Said::End(kind) => {
                self.watches.heard(kind, |watch| &watch.lists);
                let Listing { objects, broken } = self.listing.remove(&kind).unwrap_or_default();
                self.problems.retain(|key, _| key.0 != kind || broken.contains(key));
                tracing::info!(kind = kind.name(), objects = objects.len(), "listed");
                self.emit(Event::Replace { kind, objects, keep: broken }, events);
            }
            Said::Now(key, Ok(object)) => {
                self.watches.heard(key.0, |watch| &watch.events);
                self.problems.remove(&key);
                self.emit(Event::Apply(object), events);
            }
            Said::Now(key, Err(reason)) => {
                self.watches.heard(key.0, |watch| &watch.events);
                self.refuse(key, reason);
            }
            Said::Gone(key) => {
                self.watches.heard(key.0, |watch| &watch.events);
                self.problems.remove(&key);
                self.emit(Event::Delete(key), events);
            }
            Said::Failed(kind, error) => {
                self.watches.count(kind, |watch| &watch.errors);
                let error = chain(&error);
                tracing::warn!(
                    kind = kind.name(),
                    error,
                    "the API server cannot be watched; what is known stays, trying again"
                );
            }
        }
    }

    fn listed(&mut self, key: Key, object: Result<Object, String>) {
        match object {
            Ok(object) => {
                self.problems.remove(&key);
                self.listing.entry(key.0).or_default().objects.push(object);
            }
            Err(reason) => {
                self.listing.entry(key.0).or_default().broken.insert(key.clone());
                self.refuse(key, reason);
            }
        }
    }

    fn refuse(&mut self, key: Key, reason: String) {
        self.watches.count(key.0, |watch| &watch.refused);
        if self.problems.get(&key) != Some(&reason) {
            let (kind, namespace, name) = &key;
            let kind = kind.name();
            tracing::warn!(
                kind,
                namespace,
                name,
                reason,
                "an object cannot be understood; what it said before stays in force"
            );
        }
        if self.problems.len() < PROBLEMS_MAX || self.problems.contains_key(&key) {
            self.problems.insert(key, reason);
        }
    }

    /// Holds back until every kind has been listed: then all of it comes at once.
    fn emit(&mut self, event: Event, events: &mut Vec<Event>) {
        let Some(first) = &mut self.first else {
            events.push(event);
            return;
        };
        match event {
            Event::Replace { kind, objects, keep } => {
                let objects = objects.into_iter().map(|object| (object.key(), object)).collect();
                first.insert(kind, Held { objects, keep });
            }
            // A change comes after the list of its kind; that of a kind whose list is not through yet is in the list.
            Event::Apply(object) => {
                if let Some(held) = first.get_mut(&object.kind()) {
                    held.objects.insert(object.key(), object);
                }
            }
            Event::Delete(key) => {
                if let Some(held) = first.get_mut(&key.0) {
                    held.objects.remove(&key);
                }
            }
        }
        if Kind::ALL.iter().all(|kind| first.contains_key(kind)) {
            // Owners and nodes before what names them.
            let mut kinds: Vec<_> = self.first.take().unwrap_or_default().into_iter().collect();
            kinds.sort_by_key(|(kind, _)| std::cmp::Reverse(*kind));
            events.extend(kinds.into_iter().map(|(kind, Held { objects, keep })| Event::Replace {
                kind,
                objects: objects.into_values().collect(),
                keep,
            }));
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |(key, reason): (&Key, &String)| Problem {
            place: Place::Object(key.clone()),
            reason: reason.clone(),
        };
        let mut all: Vec<_> = self.problems.iter().map(problem).collect();
        all.sort();
        all
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Watches every kind, and sends what changed with the problems there are, until the receiver is gone.
///
/// `silence`: a watch on which nothing was heard for so long, not even a bookmark, is opened anew.
pub async fn follow(
    client: Client,
    silence: Duration,
    watches: Arc<Watches>,
    changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>,
) {
    let said: SelectAll<BoxStream<'static, Said>> = [
        watch::<Pod>(&client, silence),
        watch::<Service>(&client, silence),
        watch::<EndpointSlice>(&client, silence),
        watch::<Node>(&client, silence),
        watch::<ReplicaSet>(&client, silence),
        watch::<Job>(&client, silence),
    ]
    .into_iter()
    .collect();
    read(said, watches, changes).await;
}

async fn read(
    said: impl Stream<Item = Said> + Unpin,
    watches: Arc<Watches>,
    changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>,
) {
    let mut reader = Reader::new(watches);
    let mut told = Vec::new();
    let mut batches = said.ready_chunks(BATCH_MAX);
    while let Some(batch) = batches.next().await {
        let mut events = Vec::new();
        batch.into_iter().for_each(|said| reader.take(said, &mut events));
        let problems = reader.problems();
        let anything = !events.is_empty() || (reader.first.is_none() && problems != told);
        if anything && changes.send((events, problems.clone())).await.is_err() {
            return;
        }
        told = problems;
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
