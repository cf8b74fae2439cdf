//! What discovery has said, by address. The traffic asks here; the stream fills in. An answer is kept for as long as someone
//! uses it, and while the controller is away nothing is forgotten at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use conduit_logic::words::{Destination, InboundPod};
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use conduit_tls::Credentials;
use tokio::sync::{Notify, watch};

use super::stream;
use crate::config::Config;
use crate::telemetry::Telemetry;

/// Addresses followed at the most: an application that talks to more is a scanner or a broken client, and the controller
/// bounds them too.
pub(super) const SUBSCRIPTIONS_MAX: usize = 10_000;

/// Follows one address: `None` while the mesh knows nothing there.
pub type DestinationWatch = watch::Receiver<Option<Arc<Destination>>>;

/// What the traffic gets when it asks.
#[derive(Debug)]
pub enum Lookup {
    /// The address is known; the watch follows it.
    Known(DestinationWatch),
    /// The controller says that there is nothing of the mesh's.
    Passthrough,
    /// Nothing was heard in time.
    Unanswered,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Asked, and nothing heard.
    Waiting,
    /// Nothing of the mesh's.
    Unknown,
    /// This.
    Known(Arc<Destination>),
}

#[derive(Debug)]
struct Entry {
    answer: watch::Sender<Answer>,
    destination: watch::Sender<Option<Arc<Destination>>>,
}

/// What traffic and stream share.
#[derive(Debug)]
pub(super) struct Shared {
    // Guards the map for one lookup, insertion or sweep; never held while waiting.
    entries: Mutex<HashMap<SocketAddr, Entry>>,
    /// Wakes the stream when the set of addresses changed.
    pub(super) changed: Notify,
    inbound: ArcSwap<InboundPod>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses to be subscribed to.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.lock().keys().copied().collect()
    }

    /// Takes an answer in.
    pub(super) fn answer(&self, addr: SocketAddr, answer: Answer) {
        if let Some(entry) = self.lock().get(&addr) {
            let destination = match &answer {
                Answer::Known(destination) => Some(destination.clone()),
                Answer::Waiting | Answer::Unknown => None,
            };
            entry.destination.send_if_modified(|old| {
                let new = *old != destination;
                old.clone_from(&destination);
                new
            });
            entry.answer.send_replace(answer);
        }
    }

    /// Takes in what the controller says of our own pod.
    pub(super) fn inbound(&self, pod: InboundPod) {
        self.inbound.store(Arc::new(pod));
    }

    /// Forgets addresses that nobody follows, and says which. Called only while the controller is there, so that an outage
    /// forgets nothing.
    pub(super) fn sweep(&self) -> Vec<SocketAddr> {
        let unused = |_: &SocketAddr, entry: &mut Entry| {
            entry.destination.receiver_count() == 0 && entry.answer.receiver_count() == 0
        };
        self.lock().extract_if(unused).map(|(addr, _)| addr).collect()
    }
}

/// Asks the controller where addresses lead. Clones are the same.
#[derive(Debug, Clone)]
pub struct Discovery {
    shared: Arc<Shared>,
    timeout: Duration,
}

impl Discovery {
    /// Starts to follow the controller, as tasks of `tasks` on the current runtime.
    pub fn start(
        config: &Arc<Config>,
        credentials: &Credentials,
        tasks: &Tasks,
        readiness: &Readiness,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let shared = Arc::new(Shared {
            entries: Mutex::default(),
            changed: Notify::new(),
            inbound: ArcSwap::default(),
        });
        let gate = readiness.gate("discovery");
        telemetry.discovery_connected.store(false, Ordering::Relaxed);
        let follow = stream::Follow {
            config: config.clone(),
            credentials: credentials.clone(),
            shared: shared.clone(),
            telemetry: telemetry.clone(),
            gate,
        };
        tasks.spawn_until_stopped("discovery", Box::pin(follow.run()));
        Self { shared, timeout: config.discovery_timeout }
    }

    /// Where does this address lead? Waits for the first answer about it, within the configured time.
    pub async fn outbound(&self, addr: SocketAddr) -> Lookup {
        let (mut answer, destination) = {
            let mut entries = self.shared.lock();
            if entries.len() >= SUBSCRIPTIONS_MAX && !entries.contains_key(&addr) {
                tracing::warn!(%addr, max = SUBSCRIPTIONS_MAX, "too many destinations are followed: not asking for one more");
                return Lookup::Unanswered;
            }
            let fresh = !entries.contains_key(&addr);
            let entry = entries.entry(addr).or_insert_with(|| Entry {
                answer: watch::Sender::new(Answer::Waiting),
                destination: watch::Sender::new(None),
            });
            if fresh {
                self.shared.changed.notify_one();
            }
            (entry.answer.subscribe(), entry.destination.subscribe())
        };
        let heard = answer.wait_for(|answer| *answer != Answer::Waiting);
        match tokio::time::timeout(self.timeout, heard).await {
            Ok(Ok(answer)) => match &*answer {
                Answer::Known(_) => Lookup::Known(destination),
                Answer::Unknown | Answer::Waiting => Lookup::Passthrough,
            },
            Ok(Err(_)) | Err(_) => Lookup::Unanswered,
        }
    }

    #[cfg(test)]
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What our own pod's ports are said to speak.
    #[must_use]
    pub fn inbound(&self) -> Arc<InboundPod> {
        self.shared.inbound.load_full()
    }
}
