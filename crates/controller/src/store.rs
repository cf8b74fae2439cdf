//! The model behind one door: a source's changes go in, and everyone who follows a subject gets the latest view of it. A
//! follower that is slow misses states in between, never the latest; nothing is queued.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

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
    Outbound(Option<Arc<Outbound>>),
    /// Of a pod.
    Inbound(Option<Arc<InboundPod>>),
}

/// Who follows what. Subjects that nobody follows any more are swept out when the number has doubled, so that a proxy which follows
/// ever other addresses takes no more memory than what it follows at once.
#[derive(Debug, Default)]
struct Subjects {
    followed: HashMap<Subject, watch::Sender<View>>,
    sweep_at: usize,
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
        let mut subjects = self.subjects();
        let touched = self.model.write().unwrap_or_else(PoisonError::into_inner).apply(events);
        let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
        subjects.followed.retain(|subject, view| {
            let concerned = match subject {
                Subject::Outbound(addr) => model.touches(&touched, *addr),
                Subject::Inbound(pod) => touched.pods.contains(pod),
            };
            if concerned {
                let new = look(&model, subject);
                view.send_if_modified(|old| {
                    let changed = *old != new;
                    *old = new;
                    changed
                });
            }
            view.receiver_count() > 0
        });
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// Follows a subject.
    #[must_use]
    pub fn follow(&self, subject: &Subject) -> watch::Receiver<View> {
        let mut subjects = self.subjects();
        if let Some(view) = subjects.followed.get(subject) {
            return view.subscribe();
        }
        if subjects.followed.len() >= subjects.sweep_at {
            subjects.followed.retain(|_, view| view.receiver_count() > 0);
            subjects.sweep_at = SWEEP_MIN.max(2 * subjects.followed.len());
        }
        let (sender, receiver) = watch::channel(self.read(|model| look(model, subject)));
        subjects.followed.insert(subject.clone(), sender);
        receiver
    }

    /// What cannot be understood now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn look(model: &Model, subject: &Subject) -> View {
    match subject {
        Subject::Outbound(addr) => View::Outbound(view::outbound(model, *addr).map(Arc::new)),
        Subject::Inbound(pod) => View::Inbound(view::inbound(model, pod).map(Arc::new)),
    }
}
