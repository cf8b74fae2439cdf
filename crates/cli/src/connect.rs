//! Speaks to the controller: over a unix socket (the local world's), plain HTTP/2, or a cluster's API server. Turns what can go wrong
//! into failures that say what to do. Deliberately absent: retries; an operator's command answers at once or says why not.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_api::operator::v1::Resource;
use conduit_api::operator::v1::operator_client::OperatorClient;
use conduit_testbed::spec::Dir;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::args::{Connection, Scope};
use crate::cluster::Cluster;
use crate::output::Failure;

/// How long to wait for a connection to the controller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer that is not a stream. Generous: an inspection crosses to a proxy and back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the controller's operator API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// `http://host:port`.
    Http(Uri),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "write unix:/path/to/operator.sock or http://host:port";
        if let Some(path) = text.strip_prefix("unix:") {
            // Both unix:/path and unix:///path are common.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(expected.to_owned()) } else { Ok(Self::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| expected.to_owned())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(_)) => Ok(Self::Http(uri)),
            _ => Err(expected.to_owned()),
        }
    }
}

/// Where the mesh is.
pub(crate) enum Mesh {
    /// Behind a controller's own socket or port.
    At(Target),
    /// In a cluster.
    Cluster(Box<Cluster>),
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(target) => target.fmt(f),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

impl Mesh {
    /// The namespace of what names none: the context's in a cluster.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Self::At(_) => None,
            Self::Cluster(cluster) => Some(&cluster.namespace),
        }
    }

    /// The resource, in the context's namespace where neither its word nor a flag says another.
    pub(crate) fn place(&self, scope: &Scope, mut resource: Resource) -> Resource {
        if let Some(namespace) = self.namespace()
            && resource.namespace.is_empty()
            && !scope.all_namespaces
        {
            namespace.clone_into(&mut resource.namespace);
        }
        resource
    }
}

impl Connection {
    /// Where the mesh is: the cluster or controller that was named, else the local world where one runs, else the kubeconfig's
    /// current cluster.
    ///
    /// # Errors
    /// When a kubeconfig is meant and cannot be used.
    pub(crate) async fn mesh(&self) -> Result<Mesh, Failure> {
        let (kubeconfig, context) = (self.kubeconfig.as_deref(), self.context.as_deref());
        if kubeconfig.is_none() && context.is_none() {
            if let Some(target) = &self.controller {
                return Ok(Mesh::At(target.clone()));
            }
            let socket = self.world().operator_socket();
            let runs = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
            if self.local_dir.is_some() || runs() || !Cluster::configured() {
                return Ok(Mesh::At(Target::Unix(socket)));
            }
        }
        Ok(Mesh::Cluster(Box::new(Box::pin(Cluster::find(kubeconfig, context)).await?)))
    }

    /// The local world.
    pub(crate) fn world(&self) -> Dir {
        Dir::or_default(self.local_dir.as_deref())
    }
}

/// Adds the caller's token to each call, where he has one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// The operator API of one controller.
pub(crate) type Controller = OperatorClient<InterceptedService<Channel, Bearer>>;

/// The longest answer accepted, in bytes: the metrics text of a busy proxy or 20,000 rows stay well below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Connects.
///
/// # Errors
/// [`Failure::unreachable`] with what to check.
pub(crate) async fn open(mesh: &Mesh) -> Result<Controller, Failure> {
    let (channel, token) = match mesh {
        Mesh::At(target) => (connect(target).await?, None),
        Mesh::Cluster(cluster) => Box::pin(cluster.dial()).await?,
    };
    Ok(OperatorClient::with_interceptor(channel, Bearer(token)).max_decoding_message_size(ANSWER_BYTES_MAX))
}

async fn connect(target: &Target) -> Result<Channel, Failure> {
    let connected = match target {
        Target::Unix(path) => {
            // The URI is never resolved; HTTP/2 wants one for its `:authority`.
            let endpoint = Endpoint::from_static("http://operator").connect_timeout(CONNECT_TIMEOUT);
            endpoint.connect_with_connector(UnixConnector(path.clone())).await
        }
        Target::Http(uri) => Endpoint::from(uri.clone()).connect_timeout(CONNECT_TIMEOUT).connect().await,
    };
    connected.map_err(|error| cannot_connect(target, &error))
}

/// A request that is given up after [`ANSWER_TIMEOUT`].
pub(crate) fn ask<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// The first I/O error and the innermost text in a chain of causes.
fn innermost(error: &(dyn std::error::Error + 'static)) -> (Option<io::ErrorKind>, String) {
    let (mut kind, mut current) = (None, error);
    loop {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            kind = kind.or(Some(io.kind()));
        }
        match current.source() {
            Some(next) => current = next,
            None => return (kind, current.to_string()),
        }
    }
}

fn cannot_connect(target: &Target, error: &tonic::transport::Error) -> Failure {
    let (kind, text) = innermost(error);
    let what = format!("no controller at {target}: {text}");
    let elsewhere = "or name another controller with --controller or CONDUIT_CONTROLLER";
    let hint = match (target, kind) {
        (Target::Unix(_), Some(io::ErrorKind::NotFound)) => {
            format!(
                "no mesh runs here: start one with `conduit demo` or `conduit local run`, name a cluster with --context, {elsewhere}"
            )
        }
        (Target::Unix(_), Some(io::ErrorKind::ConnectionRefused)) => format!(
            "the socket is left from a mesh that has ended: start one with `conduit demo` or `conduit local run`, {elsewhere}"
        ),
        (Target::Unix(_), Some(io::ErrorKind::PermissionDenied)) => {
            format!("the mesh belongs to another user: run this as that user, {elsewhere}")
        }
        (Target::Unix(_), _) => format!("see whether `conduit-controller` runs, {elsewhere}"),
        (Target::Http(_), _) => {
            "see whether the address and port are right and `conduit-controller` runs there".to_owned()
        }
    };
    Failure::unreachable(what, hint)
}

/// Turns a refused or broken call into a failure. `doing` completes "cannot …". Where the controller says itself what to do, no
/// second hint is added.
pub(crate) fn refused(doing: &str, status: &Status) -> Failure {
    match explained(doing, status) {
        Failure::Told { exit, what, .. } if what.contains("`conduit ") => {
            Failure::Told { exit, what, hint: String::new() }
        }
        failure => failure,
    }
}

fn explained(doing: &str, status: &Status) -> Failure {
    // A second line is what the controller says to do.
    let (text, told) = status.message().split_once('\n').unwrap_or((status.message(), ""));
    let text = text.trim_end_matches('.');
    let what =
        format!("cannot {doing}: {}", if text.is_empty() { status.code().description() } else { text });
    match status.code() {
        Code::Unavailable | Code::Unknown if std::error::Error::source(status).is_some() => {
            let (_, text) = innermost(status);
            Failure::unreachable(
                format!("cannot {doing}: the connection to the controller broke: {text}"),
                "the controller was stopped or restarted: try again, or see `conduit check`",
            )
        }
        Code::Cancelled | Code::DeadlineExceeded => {
            Failure::unreachable(what, "the controller is slow or stuck: see `conduit check` and its log")
        }
        Code::Unimplemented => Failure::problem(
            what,
            "the controller is older than this command: `conduit version` shows both, upgrade the controller",
        ),
        Code::NotFound => {
            Failure::problem(what, "`conduit stat` and `conduit diagnostics proxies` list what there is")
        }
        Code::InvalidArgument => Failure::usage(what, "see `--help` for the values that are understood"),
        Code::Unavailable => {
            Failure::problem(what, "see `conduit diagnostics proxies` for the proxies that are connected")
        }
        Code::PermissionDenied | Code::Unauthenticated => {
            let hint = if told.is_empty() { "run this as the user that the mesh belongs to" } else { told };
            Failure::problem(what, hint)
        }
        _ => {
            let hint = "the controller's log says more; `conduit check` looks for known problems";
            Failure::problem(what, if told.is_empty() { hint } else { told })
        }
    }
}

/// Opens the unix socket, whatever URI it is given.
struct UnixConnector(PathBuf);

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
