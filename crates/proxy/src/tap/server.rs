//! The control port: Tap and Inspect for the controller, and for nobody else. Mutual TLS; a caller that does not prove the
//! controller's identity is refused whatever it asks.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use conduit_api::tap::v1 as api;
use conduit_api::tap::v1::inspect_server::InspectServer;
use conduit_api::tap::v1::tap_server::TapServer;
use conduit_logic::tap::{Class, Filter};
use conduit_logic::words::{Identity, Workload};
use conduit_process::tasks::Tasks;
use conduit_tls::{ClientAuth, Credentials, peer_identity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tower_service::Service;

use super::hub::{Hub, Subscription};
use crate::config::Config;
use crate::tcp::listen;
use crate::telemetry::Telemetry;
use crate::telemetry::inspect::Inspect;

/// Connections of the controller at once: its replicas have one each.
const CONNECTIONS_MAX: usize = 16;
/// Connections of anybody else at once: enough to be told that this is not for them, too few to crowd the controller out.
const STRANGERS_MAX: usize = 4;
/// Handshakes at once.
const HANDSHAKES_MAX: usize = 16;
/// Calls at once on one connection.
const STREAMS_MAX: u32 = 64;
/// Connections that have shaken hands and are not yet served.
const ACCEPTED_MAX: usize = 4;
/// How often a tap is told of events that it lost.
const DROPPED_INTERVAL: Duration = Duration::from_secs(1);

/// Listens on the control port, as tasks of `tasks` on the current runtime.
///
/// # Errors
/// When the port is taken.
pub fn start(
    config: &Arc<Config>,
    credentials: &Credentials,
    hub: &Arc<Hub>,
    inspect: Inspect,
    tasks: &Tasks,
) -> Result<()> {
    let port = config.control_port;
    let listener = listen::bind(port).with_context(|| format!("listening on the control port {port}"))?;
    serve(listener, config, credentials, hub, inspect, tasks);
    Ok(())
}

fn serve(
    listener: TcpListener,
    config: &Arc<Config>,
    credentials: &Credentials,
    hub: &Arc<Hub>,
    inspect: Inspect,
    tasks: &Tasks,
) {
    let acceptor = TlsAcceptor::from(credentials.server_config(ClientAuth::Required, &[b"h2"]));
    let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
    let door = Door { expected: config.controller_identity.clone(), timeout: config.tls_timeout, acceptor };
    tasks.spawn_until_stopped("control port", accept(listener, door, accepted, tasks.clone()));
    let guard = Guard { controller: config.controller_identity.clone() };
    let services = Services {
        tap: TapServer::new(TapService {
            hub: hub.clone(),
            config: config.clone(),
            telemetry: inspect.telemetry().clone(),
            guard: guard.clone(),
        }),
        inspect: InspectServer::new(InspectService { inspect, guard }),
    };
    let token = tasks.token().clone();
    let server = Server::builder().max_concurrent_streams(STREAMS_MAX);
    tasks.spawn("tap and inspect", async move {
        let incoming = ReceiverStream::new(incoming);
        let serving = server.serve_with_incoming_shutdown(services, incoming, token.cancelled_owned());
        if let Err(error) = Box::pin(serving).await {
            tracing::error!(%error, "the control port is no longer served");
        }
    });
}

/// The two services by path; tonic's router would bring a web framework along.
#[derive(Clone)]
struct Services {
    tap: TapServer<TapService>,
    inspect: InspectServer<InspectService>,
}

impl Service<http::Request<tonic::body::Body>> for Services {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        match request.uri().path().starts_with("/conduit.tap.v1.Inspect/") {
            true => self.inspect.call(request),
            false => self.tap.call(request),
        }
    }
}

/// A connection that has shaken hands; it holds its place until it is closed.
pub(crate) struct Peer {
    tls: TlsStream<TcpStream>,
    identity: Option<Identity>,
    _place: OwnedSemaphorePermit,
}

impl Connected for Peer {
    type ConnectInfo = Option<Identity>;
    fn connect_info(&self) -> Option<Identity> {
        self.identity.clone()
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

type Accepted = mpsc::Sender<std::io::Result<Peer>>;

/// How connections are let in.
#[derive(Clone)]
pub(crate) struct Door {
    /// Who has the greater part of the places.
    pub(crate) expected: Identity,
    /// A handshake that takes longer is given up.
    pub(crate) timeout: Duration,
    /// Shakes hands.
    pub(crate) acceptor: TlsAcceptor,
}

pub(crate) async fn accept(listener: TcpListener, door: Door, accepted: Accepted, tasks: Tasks) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let places = [CONNECTIONS_MAX, STRANGERS_MAX].map(|max| Arc::new(Semaphore::new(max)));
    loop {
        let Ok(handshake) = handshakes.clone().acquire_owned().await else { return };
        let Ok((socket, peer)) = listener.accept().await else {
            tokio::time::sleep(DROPPED_INTERVAL).await;
            continue;
        };
        let (door, accepted, places) = (door.clone(), accepted.clone(), places.clone());
        tasks.spawn_until_stopped("control handshake", async move {
            match tokio::time::timeout(door.timeout, door.acceptor.accept(socket)).await {
                Ok(Ok(tls)) => match seat(tls, &door.expected, &places) {
                    Some(peer) => _ = accepted.send(Ok(peer)).await,
                    None => tracing::debug!(%peer, "too many connections to the control port"),
                },
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake on the control port failed"),
                Err(_) => tracing::debug!(%peer, "a handshake on the control port took too long"),
            }
            drop(handshake);
        });
    }
}

/// Gives a connection a place, if one is free.
fn seat(tls: TlsStream<TcpStream>, expected: &Identity, places: &[Arc<Semaphore>; 2]) -> Option<Peer> {
    let identity = peer_identity(tls.get_ref().1.peer_certificates().unwrap_or_default()).ok();
    let [controllers, strangers] = places;
    let places = if identity.as_ref() == Some(expected) { controllers } else { strangers };
    let place = places.clone().try_acquire_owned().ok()?;
    Some(Peer { tls, identity, _place: place })
}

/// Lets the controller in and nobody else.
#[derive(Debug, Clone)]
struct Guard {
    controller: Identity,
}

impl Guard {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.extensions().get::<Option<Identity>>() {
            Some(Some(peer)) if *peer == self.controller => Ok(()),
            Some(Some(peer)) => Err(Status::permission_denied(format!("{peer} is not the controller"))),
            _ => Err(Status::unauthenticated("no identity was proven")),
        }
    }
}

struct TapService {
    hub: Arc<Hub>,
    config: Arc<Config>,
    telemetry: Arc<Telemetry>,
    guard: Guard,
}

#[tonic::async_trait]
impl api::tap_server::Tap for TapService {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<api::TapEvent, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<api::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        self.guard.check(&request)?;
        let request = request.into_inner();
        let filter = filter(request.filter.unwrap_or_default()).map_err(Status::invalid_argument)?;
        let subscription = self
            .hub
            .subscribe(filter, request.max_rps, request.sample_rate)
            .ok_or_else(|| Status::resource_exhausted("too many taps on this proxy"))?;
        let pod = api_pod(&self.config);
        Ok(Response::new(Box::pin(events(subscription, pod, self.telemetry.clone()))))
    }
}

fn api_pod(config: &Config) -> conduit_api::common::v1::PodRef {
    (&config.pod).into()
}

/// Events with the pod's name, and now and then how many were lost.
fn events(
    subscription: Subscription,
    pod: conduit_api::common::v1::PodRef,
    telemetry: Arc<Telemetry>,
) -> impl Stream<Item = Result<api::TapEvent, Status>> + Send {
    futures_util::stream::unfold(
        (subscription, pod, telemetry),
        |(mut subscription, pod, telemetry)| async move {
            let event = loop {
                let lost = &subscription.lost;
                let (events, requests) =
                    (lost.events.swap(0, Ordering::Relaxed), lost.requests.swap(0, Ordering::Relaxed));
                if events + requests > 0 {
                    telemetry.tap_dropped.fetch_add(events, Ordering::Relaxed);
                    let event = Some(api::tap_event::Event::Dropped(api::Dropped { events, requests }));
                    break api::TapEvent { event, ..api::TapEvent::default() };
                }
                match tokio::time::timeout(DROPPED_INTERVAL, subscription.events.recv()).await {
                    Ok(Some(event)) => break event,
                    Ok(None) => return None,
                    Err(_) => {}
                }
            };
            Some((Ok(api::TapEvent { pod: Some(pod.clone()), ..event }), (subscription, pod, telemetry)))
        },
    )
}

/// Reads a filter from the wire.
fn filter(message: api::Filter) -> Result<Filter, String> {
    let network = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error: conduit_logic::tap::InvalidNetwork| error.to_string()),
    };
    let class = match message.response_class() {
        api::ResponseClass::Unspecified => None,
        api::ResponseClass::Success => Some(Class::Success),
        api::ResponseClass::Failure => Some(Class::Failure),
        api::ResponseClass::Status1xx => Some(Class::Status(1)),
        api::ResponseClass::Status2xx => Some(Class::Status(2)),
        api::ResponseClass::Status3xx => Some(Class::Status(3)),
        api::ResponseClass::Status4xx => Some(Class::Status(4)),
        api::ResponseClass::Status5xx => Some(Class::Status(5)),
    };
    let port = u16::try_from(message.port).map_err(|_| format!("port {} is over 65535", message.port))?;
    Ok(Filter {
        direction: message.direction().word(),
        port: (port != 0).then_some(port),
        protocol: message.protocol().word(),
        source: network(&message.source_ip)?,
        destination: network(&message.destination_ip)?,
        class,
        scheme: message.scheme,
        method: message.method,
        authority: message.authority,
        path_prefix: message.path_prefix,
        workload: message.destination_workload.map(Workload::from).unwrap_or_default(),
        source_identity: message.source_identity,
        destination_identity: message.destination_identity,
        latency_us_min: message.min_latency_us,
    })
}

struct InspectService {
    inspect: Inspect,
    guard: Guard,
}

#[tonic::async_trait]
impl api::inspect_server::Inspect for InspectService {
    async fn inspect(
        &self,
        request: Request<api::InspectRequest>,
    ) -> Result<Response<api::InspectResponse>, Status> {
        self.guard.check(&request)?;
        let text = self
            .inspect
            .show(request.get_ref().kind())
            .ok_or_else(|| Status::invalid_argument("inspect what?"))?;
        Ok(Response::new(api::InspectResponse { text }))
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
