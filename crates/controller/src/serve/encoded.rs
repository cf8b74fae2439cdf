//! Discovery's gRPC server: what would be generated, but for the answers, which come to it encoded, so that one that goes to thousands of
//! proxies is encoded once; and for buffers that are as small as what is in them.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use conduit_api::discovery::v1::WatchRequest;
use conduit_api::discovery::v1::discovery_server::SERVICE_NAME;
use futures_util::future::BoxFuture;
use hyper::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstDecoder;
use tower_service::Service;

use super::discovery::{self, Answers};

/// The path of the one method.
const WATCH: &str = "/conduit.discovery.v1.Discovery/Watch";
/// What a stream's buffers begin with, in bytes; they grow with what is in them, up to the second before it is sent on.
const BUFFERS: (usize, usize) = (256, 32 * 1024);

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFERS.0, BUFFERS.1)
}

/// The server. Clones are the same.
#[derive(Clone)]
pub struct DiscoveryServer(Arc<discovery::Service>);

impl DiscoveryServer {
    /// Serves this.
    #[must_use]
    pub fn new(service: discovery::Service) -> Self {
        Self(Arc::new(service))
    }
}

impl NamedService for DiscoveryServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for DiscoveryServer
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let watch = Watch(self.0.clone());
        Box::pin(async move {
            match request.uri().path() {
                WATCH => Ok(Grpc::new(Answered).streaming(watch, request).await),
                other => Ok(Status::unimplemented(format!("there is no {other}")).into_http()),
            }
        })
    }
}

struct Watch(Arc<discovery::Service>);

impl StreamingService<WatchRequest> for Watch {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.watch(request).await })
    }
}

/// Requests are read, answers are encoded already.
struct Answered;

impl Codec for Answered {
    type Encode = Bytes;
    type Decode = WatchRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<WatchRequest>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

impl Encoder for Answered {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, answer: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(answer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
