//! Discovery: one stream per proxy, which follows what the proxy uses. Each followed subject waits in a task of its own until
//! there is room to send, and then sends the latest: a slow proxy misses states in between.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use conduit_api::common::v1::PodRef;
use conduit_api::discovery::v1::discovery_server::Discovery;
use conduit_api::discovery::v1::{Target, Unknown, WatchRequest, WatchResponse, target, watch_response};
use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::listener::caller;
use crate::model::Name;
use crate::store::{Store, Subject, View};
use crate::view::Vantage;

/// Subjects that one proxy may follow: what its own cache holds.
const SUBJECTS_MAX: usize = 10_001;
/// Answers on their way to one proxy: few, since each that waits here may be out of date when it is sent.
const ANSWERS_MAX: usize = 8;

/// The service.
pub struct Service {
    /// What there is.
    pub store: Arc<Store>,
    /// Owns the streams.
    pub tasks: Tasks,
    /// Streams that are open.
    pub open: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Discovery for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let mut requests = request.into_inner();
        let first =
            requests.message().await?.ok_or_else(|| Status::invalid_argument("the stream ended at once"))?;
        let pod = first
            .pod
            .clone()
            .ok_or_else(|| Status::invalid_argument("the first message must name the pod"))?;
        let pod = self.prove(&caller, pod)?;
        let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
        let vantage = Arc::new(self.store.read(|model| Vantage::of(model, &pod)));
        let mut followed = Followed {
            pod,
            vantage,
            store: self.store.clone(),
            answers,
            tasks: self.tasks.child(),
            subjects: HashMap::new(),
        };
        followed.take(first)?;
        let open = Open::new(&self.open);
        self.tasks.spawn_until_stopped("discovery stream", async move {
            let _open = open;
            followed.run(requests).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

impl Service {
    /// The pod, if the caller is it.
    fn prove(&self, caller: &Identity, pod: PodRef) -> Result<Name, Status> {
        let name = (pod.namespace, pod.name);
        let identity = self.store.read(|model| model.pod(&name).map(|pod| model.identity(pod)));
        match identity {
            Some(Some(identity)) if identity == *caller => Ok(name),
            Some(_) => Err(Status::permission_denied(format!(
                "{caller} is not the identity of pod {}/{}",
                name.0, name.1
            ))),
            None => Err(Status::failed_precondition(format!("pod {}/{} is not known yet", name.0, name.1))),
        }
    }
}

/// Counts a stream as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one proxy follows. Dropping it ends the followers.
struct Followed {
    pod: Name,
    /// Where the pod is: a pod never moves, and its node's zone as good as never changes.
    vantage: Arc<Vantage>,
    store: Arc<Store>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    tasks: Tasks,
    subjects: HashMap<Subject, Tasks>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Followed {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                () = self.answers.closed() => return,
            };
            let Ok(Some(request)) = request else { return };
            if let Err(status) = self.take(request) {
                _ = self.answers.send(Err(status)).await;
                return;
            }
        }
    }

    fn take(&mut self, request: WatchRequest) -> Result<(), Status> {
        for target in request.unsubscribe {
            if let Some(tasks) = self.subjects.remove(&self.subject(&target)?) {
                tasks.stop();
            }
        }
        for target in request.subscribe {
            let subject = self.subject(&target)?;
            if self.subjects.len() >= SUBJECTS_MAX {
                return Err(Status::resource_exhausted(format!(
                    "a proxy may follow {SUBJECTS_MAX} subjects at the most"
                )));
            }
            let view = self.store.follow(&subject);
            let tasks = self.tasks.child();
            tasks.spawn_until_stopped(
                "subject",
                follow(target, view, self.vantage.clone(), self.answers.clone()),
            );
            if let Some(before) = self.subjects.insert(subject, tasks) {
                before.stop();
            }
        }
        Ok(())
    }

    fn subject(&self, target: &Target) -> Result<Subject, Status> {
        match &target.kind {
            Some(target::Kind::Outbound(addr)) => match SocketAddr::try_from(addr) {
                Ok(addr) => Ok(Subject::Outbound(addr)),
                Err(error) => Err(Status::invalid_argument(error.to_string())),
            },
            Some(target::Kind::Inbound(pod)) if pod.namespace == self.pod.0 && pod.name == self.pod.1 => {
                Ok(Subject::Inbound(self.pod.clone()))
            }
            Some(target::Kind::Inbound(_)) => {
                Err(Status::permission_denied("a proxy may follow its own pod only"))
            }
            None => Err(Status::invalid_argument("a target without kind")),
        }
    }
}

/// Sends the latest of a subject, at once and whenever it changed and there is room.
async fn follow(
    target: Target,
    mut view: watch::Receiver<View>,
    vantage: Arc<Vantage>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
) {
    loop {
        let Ok(room) = answers.reserve().await else { return };
        let state = match &*view.borrow_and_update() {
            View::Outbound(Some(seen)) => {
                watch_response::State::Outbound(seen.from(&vantage).as_ref().into())
            }
            View::Inbound(Some(pod)) => watch_response::State::Inbound(pod.as_ref().into()),
            View::Outbound(None) | View::Inbound(None) => watch_response::State::Unknown(Unknown {}),
        };
        room.send(Ok(WatchResponse { target: Some(target.clone()), state: Some(state) }));
        if view.changed().await.is_err() {
            return;
        }
    }
}
