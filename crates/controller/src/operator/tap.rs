//! A tap: asks every proxy of the resource, merges what they see, and adds the names that only the controller knows. A client
//! that is slow loses events, and is told how many.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conduit_api::operator::v1::{Resource, TapRequest};
use conduit_api::tap::v1::tap_client::TapClient;
use conduit_api::tap::v1::{Dropped, ObserveRequest, Peer, TapEvent, tap_event};
use conduit_logic::words::{Service, Workload};
use conduit_process::tasks::Tasks;
use conduit_tls::Credentials;
use tokio::sync::mpsc;
use tonic::Status;

use super::proxies::{self, Proxy, describe};
use super::rows::matches;
use crate::model::{Model, Name, name_of, pod_of};
use crate::source::objects::Pod;
use crate::store::Store;

/// Events on their way to one client.
pub const EVENTS_MAX: usize = 1024;
/// Proxies that one tap asks at the most: what a person can make sense of, and a bound on connections.
pub const PROXIES_MAX: usize = 200;
/// How often pods that have come are looked for, and a client is told of events that it lost.
const TICK: Duration = Duration::from_secs(1);

/// The proxies of a resource.
#[must_use]
pub fn resolve(model: &Model, resource: &Resource) -> Vec<Proxy> {
    let of_service = |pod: &Pod| {
        let pod = name_of(&pod.metadata);
        model.services_of(&pod).any(|service| {
            let (namespace, name) = name_of(&service.metadata);
            // What the caller may was judged by the service's namespace: pods of another one are not shown by it.
            let own = namespace == pod.0;
            own && matches(resource, &Workload::default(), "", Some(&Service { namespace, name, port: 0 }))
        })
    };
    let meant = |pod: &&Pod| match resource.kind.as_str() {
        "Service" => of_service(pod),
        _ => matches(resource, &model.workload_of(pod), &pod.metadata.name, None),
    };
    let mut proxies: Vec<Proxy> =
        model.pods().filter(meant).filter_map(|pod| proxies::of(model, pod)).collect();
    proxies.sort_by(|a, b| a.pod.cmp(&b.pod));
    proxies
}

/// Counts of what a tap does not show.
#[derive(Debug, Default)]
pub struct Lost {
    events: AtomicU64,
    requests: AtomicU64,
}

/// One tap.
pub struct Fanout {
    /// What there is.
    pub store: Arc<Store>,
    /// How we prove ourselves.
    pub credentials: Credentials,
    /// What was asked.
    pub request: TapRequest,
    /// Where events go.
    pub events: mpsc::Sender<Result<TapEvent, Status>>,
    /// What the client was not shown and not told of yet.
    pub lost: Lost,
}

/// How asking one proxy ended: at once, or after it had answered.
type Ended = (Name, Result<(), Status>);

impl Fanout {
    /// Begins to ask, as tasks of `tasks`, until the client is gone.
    pub fn start(self, tasks: &Tasks) {
        let own = tasks.child();
        tasks.spawn_until_stopped("tap", Box::pin(Arc::new(self).run(own)));
    }

    /// Asks the resource's proxies, and those that come later; tells losses.
    async fn run(self: Arc<Self>, tasks: Tasks) {
        let stop = StopOnDrop(tasks);
        let (ending, mut ended) = mpsc::channel::<Ended>(PROXIES_MAX);
        let (mut followed, mut silent) = (HashSet::new(), HashSet::new());
        let mut answered = false;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.follow_new(&mut followed, &ending, &stop.0);
                    self.tell_losses();
                }
                Some((pod, outcome)) = ended.recv() => {
                    followed.remove(&pod);
                    answered |= outcome.is_ok();
                    let Err(status) = outcome else { continue };
                    if silent.insert(pod.clone()) {
                        tracing::warn!(pod = pod.1, %status, "this proxy cannot be tapped; trying again");
                    }
                    if followed.is_empty() && !answered {
                        let text = format!("no proxy answers; {}/{}: {}", pod.0, pod.1, status.message());
                        _ = self.events.send(Err(Status::unavailable(text))).await;
                        return;
                    }
                }
                () = self.events.closed() => return,
            }
        }
    }

    /// Asks proxies that are not asked yet.
    fn follow_new(
        self: &Arc<Self>,
        followed: &mut HashSet<Name>,
        ending: &mpsc::Sender<Ended>,
        tasks: &Tasks,
    ) {
        let resource = self.request.resource.clone().unwrap_or_default();
        let proxies = self.store.read(|model| resolve(model, &resource));
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let share = self.request.max_rps / proxies.len().clamp(1, PROXIES_MAX) as f64;
        for proxy in proxies {
            if followed.len() >= PROXIES_MAX || !followed.insert(proxy.pod.clone()) {
                continue;
            }
            let (tap, ending) = (self.clone(), ending.clone());
            let follow = async move {
                let pod = proxy.pod.clone();
                let outcome = tap.follow(proxy, share).await;
                // There is room for each proxy that is followed.
                _ = ending.send((pod, outcome)).await;
            };
            tasks.spawn_until_stopped("tap proxy", Box::pin(follow));
        }
    }

    async fn follow(&self, proxy: Proxy, max_rps: f64) -> Result<(), Status> {
        let observe = ObserveRequest {
            filter: self.request.filter.clone(),
            max_rps,
            sample_rate: self.request.sample_rate,
        };
        let call = async {
            let channel = proxies::open(&self.credentials, &proxy).await;
            let channel = channel.map_err(|error| Status::unavailable(describe(&error)))?;
            TapClient::new(channel).observe(observe).await
        };
        let mut stream = call.await?.into_inner();
        loop {
            match stream.message().await {
                Ok(Some(event)) => self.pass(event),
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::debug!(pod = proxy.pod.1, %status, "a tap ended");
                    return Ok(());
                }
            }
        }
    }

    fn pass(&self, mut event: TapEvent) {
        if let Some(tap_event::Event::Dropped(Dropped { events, requests })) = event.event {
            self.lost.events.fetch_add(events, Ordering::Relaxed);
            self.lost.requests.fetch_add(requests, Ordering::Relaxed);
            return;
        }
        self.store.read(|model| name(model, &mut event));
        let wanted = |resource: &Option<Resource>, peer: &Option<Peer>| match (resource, peer) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(resource), Some(peer)) => {
                let workload = peer.workload.clone().map(Workload::from).unwrap_or_default();
                let pod = peer.pod.as_ref().map(|pod| pod.name.as_str()).unwrap_or_default();
                let service = peer.service.clone().and_then(|service| Service::try_from(service).ok());
                matches(resource, &workload, pod, service.as_ref())
            }
        };
        if wanted(&self.request.to, &event.destination)
            && wanted(&self.request.from, &event.source)
            && self.events.try_send(Ok(event)).is_err()
        {
            self.lost.events.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the client what it lost; next time, if there is no room now.
    fn tell_losses(&self) {
        let events = self.lost.events.swap(0, Ordering::Relaxed);
        let requests = self.lost.requests.swap(0, Ordering::Relaxed);
        if events + requests > 0 {
            let event = Some(tap_event::Event::Dropped(Dropped { events, requests }));
            if self.events.try_send(Ok(TapEvent { event, ..TapEvent::default() })).is_err() {
                self.lost.events.fetch_add(events, Ordering::Relaxed);
                self.lost.requests.fetch_add(requests, Ordering::Relaxed);
            }
        }
    }
}

/// Ends the tasks of a tap with it.
struct StopOnDrop(Tasks);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Adds pods and workloads by address, where the proxy did not know them.
fn name(model: &Model, event: &mut TapEvent) {
    for peer in [&mut event.source, &mut event.destination].into_iter().flatten() {
        let addr = peer.address.as_ref().and_then(|addr| SocketAddr::try_from(addr).ok());
        if let Some(pod) = addr.and_then(|addr| model.pod_at(addr.ip()))
            && peer.pod.is_none()
        {
            peer.pod = Some((&pod_of(pod)).into());
            peer.workload = Some((&model.workload_of(pod)).into());
        }
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
