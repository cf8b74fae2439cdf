//! Reaches the controller of a cluster, as kubectl reaches a pod: the API server forwards a stream to a ready controller pod, which
//! is the caller's right to `pods/portforward` in the namespace `conduit`. In that stream is TLS: the controller proves its identity,
//! and the caller shows what he shows to the API server, a certificate or a token, for which the controller asks the API server
//! what he may. Deliberately absent: any proof of its own, and any file of its own.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::ports;
use conduit_logic::words::Identity;
use conduit_tls::{Credentials, SERVER_NAME};
use http::header::AUTHORIZATION;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{Layer, ServiceExt, service_fn};

use crate::output::Failure;

/// A call of the API server that takes longer is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The label of the controller's pods.
const CONTROLLER_PODS: &str = "app.kubernetes.io/name=conduit-controller";
/// Where the controller publishes its trust anchors.
const TRUST_ANCHORS: &str = "conduit-trust-anchors";

/// A cluster of a kubeconfig.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The context's name, for people.
    pub name: String,
    /// The namespace that the context is in.
    pub namespace: String,
    config: Config,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}", self.name)
    }
}

impl Cluster {
    /// Whether there is a cluster without anybody naming one: a kubeconfig with a current context, or a pod's service account.
    pub(crate) fn configured() -> bool {
        let current = |config: Kubeconfig| config.current_context.is_some_and(|name| !name.is_empty());
        Kubeconfig::read().is_ok_and(current) || Config::incluster().is_ok()
    }

    /// The cluster that is named, else the kubeconfig's current one, else that of the pod that this runs in.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be used.
    pub(crate) async fn find(file: Option<&Path>, context: Option<&str>) -> Result<Self, Failure> {
        let unusable = |error: &dyn fmt::Display| {
            Failure::usage(
                format!("the kubeconfig cannot be used: {error}"),
                "`kubectl config get-contexts` lists what it has; --kubeconfig and --context name another",
            )
        };
        let read = match file {
            Some(file) => Kubeconfig::read_from(file).map_err(|error| unusable(&error))?,
            None => match Kubeconfig::read() {
                Ok(read) => read,
                Err(error) => return Self::of_this_pod(context).ok_or_else(|| unusable(&error)),
            },
        };
        let name = context.map(str::to_owned).or_else(|| read.current_context.clone()).unwrap_or_default();
        let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
        let config =
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| unusable(&error))?;
        Ok(Self::new(name, config))
    }

    fn of_this_pod(context: Option<&str>) -> Option<Self> {
        let config = Config::incluster().ok().filter(|_| context.is_none())?;
        Some(Self::new("of this pod".to_owned(), config))
    }

    fn new(name: String, mut config: Config) -> Self {
        config.connect_timeout = Some(CALL_TIMEOUT);
        // A tap may be silent for as long as nobody calls.
        config.read_timeout = None;
        Self { name, namespace: config.default_namespace.clone(), config }
    }

    /// A client of its API server.
    ///
    /// # Errors
    /// When the kubeconfig's proofs cannot be used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::try_from(self.config.clone()).map_err(|error| self.failed("use the kubeconfig", &error, ""))
    }

    /// Opens a stream to the controller. What is given back with it is the caller's token, where he has one.
    ///
    /// # Errors
    /// When the API server or the controller cannot be reached, or the caller may not.
    pub(crate) async fn dial(&self) -> Result<(Channel, Option<MetadataValue<Ascii>>), Failure> {
        if self.config.auth_info.impersonate.is_some() {
            return Err(Failure::problem(
                format!(
                    "the context {} impersonates another user, which the controller cannot verify",
                    self.name
                ),
                "use a context of that user himself, or `kubectl create token` for a service account",
            ));
        }
        let client = self.client()?;
        let pod = self.controller_pod(&client).await?;
        let anchors = self.anchors(&client).await?;
        let tls = self.tls(&pod, anchors)?;
        let token = self.token().await?;
        let stream = self.forward(&client, &pod.metadata.name.unwrap_or_default(), tls).await?;
        // The URI is never resolved; HTTP/2 wants one for its `:authority`.
        let endpoint = Endpoint::from_static("http://operator").connect_timeout(CALL_TIMEOUT);
        let channel = Box::pin(endpoint.connect_with_connector(Once(Some(TokioIo::new(stream))))).await;
        let channel = channel.map_err(|error| {
            Failure::unreachable(
                format!("the controller in {self} does not answer: {error}"),
                "see `conduit check`, and its log: `kubectl logs -n conduit deploy/conduit-controller`",
            )
        })?;
        Ok((channel, token))
    }

    /// A controller pod that is ready.
    async fn controller_pod(&self, client: &Client) -> Result<Pod, Failure> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
        let params = ListParams::default().labels(CONTROLLER_PODS);
        let pods = self.within("list the controller's pods", "list pods", pods.list(&params)).await?.items;
        let all = pods.len();
        let ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            pod.metadata.deletion_timestamp.is_none()
                && conditions.into_iter().any(|each| each.type_ == "Ready" && each.status == "True")
        };
        pods.into_iter().find(ready).ok_or_else(|| match all {
            0 => Failure::unreachable(
                format!("no controller runs in {self}"),
                "install one: `conduit install | kubectl apply -f -`; `conduit check` says more",
            ),
            all => Failure::unreachable(
                format!("no controller is ready in {self}: 0 of {all} pods"),
                "`conduit check` and `kubectl describe pods -n conduit` say why",
            ),
        })
    }

    /// The mesh's trust anchors.
    async fn anchors(&self, client: &Client) -> Result<String, Failure> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
        let (doing, right) = ("read the trust anchors", "get configmaps/conduit-trust-anchors");
        let map = self.within(doing, right, maps.get(TRUST_ANCHORS)).await?;
        map.data.and_then(|mut data| data.remove("ca.crt")).ok_or_else(|| {
            Failure::unreachable(
                format!("the ConfigMap conduit/{TRUST_ANCHORS} in {self} has no ca.crt"),
                "the controller writes it: see its log",
            )
        })
    }

    /// How the handshake with the controller is made.
    fn tls(&self, pod: &Pod, anchors: String) -> Result<TlsConnector, Failure> {
        let unusable = |error: &dyn fmt::Display| {
            Failure::problem(format!("no connection to the controller can be secured: {error}"), "")
        };
        let env =
            pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|each| each.env.iter().flatten());
        let trust_domain = env
            .into_iter()
            .find(|env| env.name == "CONDUIT_CONTROLLER_TRUST_DOMAIN")
            .and_then(|env| env.value.as_deref())
            .unwrap_or(ports::TRUST_DOMAIN);
        let account = ports::CONTROLLER_SERVICE_ACCOUNT;
        let expected = Identity::new(trust_domain, ports::CONTROLLER_NAMESPACE, account);
        let expected = expected.map_err(|error| unusable(&error))?;
        let anchors = conduit_tls::read_anchors(anchors.as_bytes()).map_err(|error| unusable(&error))?;
        let credentials = Credentials::new(anchors).map_err(|error| unusable(&error))?;
        let mut tls = credentials.anonymous_client_config(&expected, &[b"h2"]).as_ref().clone();
        // The certificate that the API server is shown, whether it stands in the kubeconfig or a program gives it.
        let shown = self.config.rustls_client_config().map_err(|error| unusable(&error))?;
        tls.client_auth_cert_resolver = shown.client_auth_cert_resolver;
        Ok(TlsConnector::from(Arc::new(tls)))
    }

    /// The token that the API server is shown, whether it stands in the kubeconfig, in a file, or a program gives it.
    async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Failure> {
        let unusable = |error: &dyn fmt::Display| {
            Failure::problem(
                format!("the kubeconfig's user cannot be used: {error}"),
                "see whether kubectl can",
            )
        };
        let Some(layer) = self.config.auth_layer().map_err(|error| unusable(&error))? else {
            return Ok(None);
        };
        // The layer adds the token to a request. This one goes nowhere: it is looked at.
        let look = service_fn(|request: http::Request<Body>| async move {
            Ok::<_, tower::BoxError>(http::Response::new(request.headers().get(AUTHORIZATION).cloned()))
        });
        let asked = layer.layer(look).oneshot(http::Request::new(Body::empty())).await;
        let header = asked.map_err(|error| unusable(&error))?.into_body();
        let token = header.filter(|header| header.as_bytes().starts_with(b"Bearer "));
        let token = token.map(|header| MetadataValue::try_from(header.as_bytes())).transpose();
        token.map_err(|error| unusable(&error))
    }

    /// Has the API server forward a stream to the pod, and makes the handshake in it.
    async fn forward(
        &self,
        client: &Client,
        pod: &str,
        tls: TlsConnector,
    ) -> Result<TlsStream<Forwarded>, Failure> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), ports::CONTROLLER_NAMESPACE);
        let forwarding = pods.portforward(pod, &[ports::CONTROLLER_OPERATOR]);
        let (doing, right) = ("reach the controller", "create pods/portforward");
        let mut forwarder = self.within(doing, right, forwarding).await?;
        let lost = || Failure::unreachable("the API server forwards nothing".to_owned(), "try again");
        let stream = forwarder.take_stream(ports::CONTROLLER_OPERATOR).ok_or_else(lost)?;
        let said = forwarder.take_error(ports::CONTROLLER_OPERATOR).ok_or_else(lost)?;
        let name = ServerName::try_from(SERVER_NAME).expect("a constant that is a host name");
        let stream: Forwarded = Box::new(stream);
        match tokio::time::timeout(CALL_TIMEOUT, tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                // What the kubelet says of a port that nobody listens on says more than the end of the stream.
                let said = tokio::time::timeout(SAID_TIMEOUT, said).await.ok().flatten();
                let why = said.unwrap_or_else(|| error.to_string());
                Err(Failure::unreachable(
                    format!("pod {pod} in {self} cannot be spoken to: {}", why.trim()),
                    "see whether the controller has this command's version: `conduit check`",
                ))
            }
            Err(_) => Err(Failure::unreachable(
                format!("pod {pod} in {self} does not answer"),
                "the controller is slow or stuck: see `kubectl logs -n conduit deploy/conduit-controller`",
            )),
        }
    }

    /// The answer of a call that must come in time. `right` is what a caller needs for it.
    pub(crate) async fn within<T>(
        &self,
        doing: &str,
        right: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(CALL_TIMEOUT, Box::pin(call)).await {
            Ok(answer) => answer.map_err(|error| self.failed(doing, &error, right)),
            Err(_) => Err(Failure::unreachable(
                format!("cannot {doing}: the API server of {self} does not answer"),
                "see whether kubectl reaches it",
            )),
        }
    }

    fn failed(&self, doing: &str, error: &kube::Error, right: &str) -> Failure {
        match error {
            kube::Error::Api(status) if status.code == 403 => Failure::problem(
                format!("cannot {doing} in {self}: {}", status.message),
                format!(
                    "`kubectl auth can-i {right} -n conduit` asks for it, `kubectl create rolebinding NAME -n conduit \
                     --role=conduit-operator --user=…` gives it"
                ),
            ),
            kube::Error::Api(status) if status.code == 404 => Failure::unreachable(
                format!("cannot {doing} in {self}: {}", status.message),
                "is Conduit installed there? `conduit check` says more",
            ),
            kube::Error::Api(status) => Failure::unreachable(
                format!("cannot {doing} in {self}: {}", status.message),
                "see whether kubectl reaches it",
            ),
            error => Failure::unreachable(
                format!("cannot {doing} in {self}: {}", chain(error)),
                "see whether kubectl reaches it; --kubeconfig and --context name another cluster",
            ),
        }
    }
}

/// How long the kubelet may take to say why a forwarded stream ended.
const SAID_TIMEOUT: Duration = Duration::from_secs(1);

/// An error with its causes, each told once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A stream that the API server forwards.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
type Forwarded = Box<dyn Stream>;

/// Gives the stream that there is, once: a command whose connection broke says so.
struct Once(Option<TokioIo<TlsStream<Forwarded>>>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<TlsStream<Forwarded>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take();
        let broken = || io::Error::new(io::ErrorKind::ConnectionReset, "the forwarded stream has ended");
        Box::pin(async move { stream.ok_or_else(broken) })
    }
}
