//! The model behind one door: a source's changes go in, and everyone who follows a subject gets the latest view of it. A
//! follower that is slow misses states in between, never the latest; nothing is queued.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use conduit_logic::words::InboundPod;
use tokio::sync::watch;

use crate::model::{Model, Name};
use crate::source::{Event, Problem};
use crate::view::{self, Outbound};

/// What can be followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Where an address leads.
    Outbound(SocketAddr),
    /// What a pod is.
    Inbound(Name),
}

/// The latest of a subject; `None` when there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Of an address.
    Outbound(Option<Arc<Seen>>),
    /// Of a pod.
    Inbound(Option<Arc<InboundPod>>),
}

/// Where an address leads.
#[derive(Debug)]
pub struct Seen {
    /// Seen from anywhere.
    pub outbound: Outbound,
    /// The answer that tells of it, encoded, once a proxy was told for which it makes no difference where it is.
    pub answer: OnceLock<Bytes>,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.outbound == other.outbound
    }
}

impl Eq for Seen {}

/// Who follows what, by what a change is known by. Subjects that nobody follows any more are swept out when the number has doubled, so
/// that a proxy which follows ever other addresses takes no more memory than what it follows at once.
#[derive(Debug, Default)]
struct Subjects {
    outbound: HashMap<IpAddr, HashMap<u16, watch::Sender<View>>>,
    inbound: HashMap<Name, watch::Sender<View>>,
    followed: usize,
    sweep_at: usize,
}

impl Subjects {
    fn get(&self, subject: &Subject) -> Option<&watch::Sender<View>> {
        match subject {
            Subject::Outbound(addr) => self.outbound.get(&addr.ip())?.get(&addr.port()),
            Subject::Inbound(pod) => self.inbound.get(pod),
        }
    }

    fn insert(&mut self, subject: &Subject, view: watch::Sender<View>) {
        if self.followed >= self.sweep_at {
            self.sweep();
        }
        match subject {
            Subject::Outbound(addr) => {
                self.outbound.entry(addr.ip()).or_default().insert(addr.port(), view);
            }
            Subject::Inbound(pod) => _ = self.inbound.insert(pod.clone(), view),
        }
        self.followed += 1;
    }

    fn sweep(&mut self) {
        self.inbound.retain(|_, view| view.receiver_count() > 0);
        self.outbound.retain(|_, ports| {
            ports.retain(|_, view| view.receiver_count() > 0);
            !ports.is_empty()
        });
        self.followed = self.inbound.len() + self.outbound.values().map(HashMap::len).sum::<usize>();
        self.sweep_at = SWEEP_MIN.max(2 * self.followed);
    }
}

/// Fewer subjects than this are not worth a sweep.
const SWEEP_MIN: usize = 1024;

/// The model and its followers.
#[derive(Debug)]
pub struct Store {
    // Written by the source's task for one batch, read for lookups; never held while waiting.
    model: RwLock<Model>,
    // Guards the followers; also held from a model's change to its publication, so that no follower misses one.
    subjects: Mutex<Subjects>,
    // What cannot be understood now; replaced as a whole.
    problems: Mutex<Vec<Problem>>,
}

impl Store {
    /// A store with an empty model.
    #[must_use]
    pub fn new(trust_domain: &str) -> Arc<Self> {
        let model = RwLock::new(Model::new(trust_domain));
        Arc::new(Self { model, subjects: Mutex::default(), problems: Mutex::default() })
    }

    /// Reads the model; the closure must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Model) -> T) -> T {
        read(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a source's changes in and publishes what they concern.
    pub fn apply(&self, events: Vec<Event>, problems: Vec<Problem>) {
        let subjects = self.subjects();
        let touched = self.model.write().unwrap_or_else(PoisonError::into_inner).apply(events);
        let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
        for ip in model.concerned(&touched) {
            for (port, view) in subjects.outbound.get(&ip).into_iter().flatten() {
                publish(view, || look(&model, &Subject::Outbound(SocketAddr::new(ip, *port))));
            }
        }
        for pod in touched.pods {
            if let Some(view) = subjects.inbound.get(&pod) {
                publish(view, || look(&model, &Subject::Inbound(pod)));
            }
        }
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// Follows a subject.
    #[must_use]
    pub fn follow(&self, subject: &Subject) -> watch::Receiver<View> {
        let mut subjects = self.subjects();
        if let Some(view) = subjects.get(subject).filter(|view| view.receiver_count() > 0) {
            return view.subscribe();
        }
        let (sender, receiver) = watch::channel(self.read(|model| look(model, subject)));
        subjects.insert(subject, sender);
        receiver
    }

    /// What cannot be understood now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the followers, if there are any and it is another view than before. One that nobody follows is looked up anew when somebody does.
fn publish(view: &watch::Sender<View>, look: impl FnOnce() -> View) {
    if view.receiver_count() == 0 {
        return;
    }
    let new = look();
    view.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}

fn look(model: &Model, subject: &Subject) -> View {
    match subject {
        Subject::Outbound(addr) => {
            let seen = |outbound| Arc::new(Seen { outbound, answer: OnceLock::new() });
            View::Outbound(view::outbound(model, *addr).map(seen))
        }
        Subject::Inbound(pod) => View::Inbound(view::inbound(model, pod).map(Arc::new)),
    }
}
