//! Discovery: one stream per proxy, which follows what the proxy uses, in one task. It first waits until there is room to send and then
//! takes the latest of a subject that changed: a slow proxy misses states in between.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use conduit_api::common::v1::PodRef;
use conduit_api::discovery::v1::{Target, Unknown, WatchRequest, WatchResponse, target, watch_response};
use conduit_logic::words::{Destination, Identity};
use conduit_process::tasks::Tasks;
use futures_util::StreamExt;
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll, abortable};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
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

/// Answers, encoded, as they are sent.
pub type Answers = ReceiverStream<Result<Bytes, Status>>;

impl Service {
    /// Answers one proxy, until it ends the stream.
    ///
    /// # Errors
    /// When the caller is not the pod that it names, or asks for what is not its own.
    pub async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Answers>, Status> {
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
            subjects: HashMap::new(),
            changes: SelectAll::new(),
        };
        followed.take(first)?;
        let open = Open::new(&self.open);
        self.tasks.spawn_until_stopped("discovery stream", async move {
            let _open = open;
            followed.run(requests, answers).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

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

/// What one proxy follows.
struct Followed {
    pod: Name,
    /// Where the pod is: a pod never moves, and its node's zone as good as never changes.
    vantage: Arc<Vantage>,
    store: Arc<Store>,
    /// What ends each of `changes`.
    subjects: HashMap<Subject, AbortHandle>,
    /// Of each subject the latest, at once and whenever it changed.
    changes: SelectAll<Abortable<BoxStream<'static, Bytes>>>,
}

impl Followed {
    async fn run(
        mut self,
        mut requests: Streaming<WatchRequest>,
        answers: mpsc::Sender<Result<Bytes, Status>>,
    ) {
        loop {
            tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else { return };
                    if let Err(status) = self.take(request) {
                        _ = answers.send(Err(status)).await;
                        return;
                    }
                }
                // Room first: what is taken then is the latest.
                (Ok(room), Some(answer)) = async { (answers.reserve().await, self.changes.next().await) } => {
                    room.send(Ok(answer));
                }
                () = answers.closed() => return,
            }
        }
    }

    fn take(&mut self, request: WatchRequest) -> Result<(), Status> {
        for target in request.unsubscribe {
            if let Some(ends) = self.subjects.remove(&self.subject(&target)?) {
                ends.abort();
            }
        }
        for target in &request.subscribe {
            let subject = self.subject(target)?;
            if self.subjects.len() >= SUBJECTS_MAX {
                return Err(Status::resource_exhausted(format!(
                    "a proxy may follow {SUBJECTS_MAX} subjects at the most"
                )));
            }
            let (view, vantage) = (WatchStream::new(self.store.follow(&subject)), self.vantage.clone());
            let followed = subject.clone();
            let (changes, ends) = abortable(view.map(move |view| answer(&followed, &view, &vantage)).boxed());
            self.changes.push(changes);
            if let Some(before) = self.subjects.insert(subject, ends) {
                before.abort();
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

/// What a proxy there is told of a subject.
fn answer(subject: &Subject, view: &View, vantage: &Vantage) -> Bytes {
    let outbound =
        |destination: &Destination| encode(subject, watch_response::State::Outbound(destination.into()));
    match view {
        View::Outbound(Some(seen)) => match seen.outbound.from(vantage) {
            Cow::Borrowed(destination) => seen.answer.get_or_init(|| outbound(destination)).clone(),
            Cow::Owned(destination) => outbound(&destination),
        },
        View::Inbound(Some(pod)) => encode(subject, watch_response::State::Inbound(pod.as_ref().into())),
        View::Outbound(None) | View::Inbound(None) => {
            encode(subject, watch_response::State::Unknown(Unknown {}))
        }
    }
}

fn encode(subject: &Subject, state: watch_response::State) -> Bytes {
    let kind = match subject {
        Subject::Outbound(addr) => target::Kind::Outbound((*addr).into()),
        Subject::Inbound((namespace, name)) => {
            target::Kind::Inbound(PodRef { namespace: namespace.clone(), name: name.clone() })
        }
    };
    WatchResponse { target: Some(Target { kind: Some(kind) }), state: Some(state) }.encode_to_vec().into()
}
