//! Bodies of HTTP/2 messages, moved frame by frame with their trailers from one connection to another. Credit is given back
//! to the sender only when the receiver took the bytes; a reset on either side reaches the other.
//!
//! Source: RFC 9113 sections 5.2 (flow control), 8.1 (message framing, trailers).

use std::collections::VecDeque;
use std::task::Poll;

use bytes::Bytes;
use conduit_process::tasks::Tasks;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::gather::Gathered;
use super::head::PROXY_ERROR;
use crate::tcp::stream::Stream;

/// The window of one HTTP/2 stream at first: what its reader may leave unread. For one that keeps up it grows.
pub const FIRST_WINDOW_BYTES: u32 = 64 * 1024;
/// The same where it does not grow: with peers and applications that are spoken to in the clear.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The window of an HTTP/2 connection: bounds what all its streams together may hold in this process.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// A frame's receiver holds a whole one, so it has no more than the protocol begins with.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// What one stream may buffer for sending.
pub const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Limits of an HTTP/2 connection that we serve.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at once.
    pub streams_max: u32,
    /// Bytes of a header block.
    pub header_bytes_max: u32,
    /// Bytes of a frame.
    pub frame_bytes_max: u32,
}

/// Accepts streams of one connection until it ends; each is a task of `tasks`, at most `streams_max` at once (the protocol
/// refuses more). When `draining` fires the client is told to open no more (GOAWAY) and what runs may finish.
pub async fn accept_streams(
    client: Stream,
    limits: Limits,
    tasks: Tasks,
    draining: CancellationToken,
    mut handle: impl FnMut(Request<RecvStream>, SendResponse<Bytes>),
) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_frame_size(limits.frame_bytes_max)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .enable_connect_protocol();
    let mut connection = match builder.handshake(Gathered::new(client)).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "an HTTP/2 connection did not begin"),
    };
    let mut told = false;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = draining.cancelled(), if !told => {
                told = true;
                connection.graceful_shutdown();
                continue;
            }
            () = tasks.token().cancelled() => return,
        };
        match accepted {
            Some(Ok((request, respond))) => handle(request, respond),
            Some(Err(error)) => return tracing::debug!(%error, "an HTTP/2 connection broke"),
            None => return,
        }
    }
}

/// The head as it is sent on: the same, but for what a proxy alone may set.
#[must_use]
pub fn outgoing(head: &Request<()>) -> Request<()> {
    let mut request = head.clone();
    request.headers_mut().remove(PROXY_ERROR);
    request
}

/// So many bytes of a request's body are kept until the response begins, so that a request that the endpoint refused can be
/// sent to another. A unary gRPC message is rarely larger.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Why a body did not reach its end.
#[derive(Debug)]
pub enum Broken {
    /// The side that sends it failed.
    From(h2::Error),
    /// The side that receives it failed or reset the stream.
    To(h2::Error),
}

impl Broken {
    /// The HTTP/2 error code to tell the other side.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let (Self::From(error) | Self::To(error)) = self;
        error.reason().unwrap_or(Reason::CANCEL)
    }

    /// Whether the sender's connection was lost, in contrast to a stream that the sender itself reset.
    fn is_lost(&self) -> bool {
        matches!(self, Self::From(error) if !error.is_reset())
    }
}

/// A request's body on its way, with what must be repeated if the first endpoint refuses it.
#[derive(Debug)]
pub struct RequestBody {
    recv: RecvStream,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// More came than is kept: the request cannot be sent again.
    overflowed: bool,
    keeping: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    moved: u64,
    /// Read from the client and not yet written to the server: one frame, or what is being sent again.
    unsent: VecDeque<Bytes>,
}

impl RequestBody {
    /// A body of which nothing was read.
    #[must_use]
    pub fn new(recv: RecvStream) -> Self {
        let ended = recv.is_end_stream();
        let keeping = true;
        Self {
            recv,
            kept: Vec::new(),
            kept_bytes: 0,
            overflowed: false,
            keeping,
            trailers: None,
            ended,
            moved: 0,
            unsent: VecDeque::new(),
        }
    }

    /// Whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty() && self.trailers.is_none()
    }

    /// Whether all of it that was read so far can be sent once more.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        !self.overflowed
    }

    /// Bytes read from the client.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// The response began: nothing needs to be kept any more.
    pub fn forget(&mut self) {
        self.keeping = false;
        self.overflowed = true;
        self.kept = Vec::new();
    }

    fn keep(&mut self, chunk: &Bytes) {
        self.kept_bytes += chunk.len();
        if !self.keeping || self.kept_bytes > REPLAY_BYTES_MAX {
            self.forget();
        } else {
            self.kept.push(chunk.clone());
        }
    }

    /// Sends the body from its first byte, what was kept first.
    ///
    /// # Errors
    /// Which side broke.
    pub async fn send(&mut self, to: &mut SendStream<Bytes>) -> Result<(), Broken> {
        self.unsent = self.kept.iter().cloned().collect();
        self.resume(to).await
    }

    /// Sends what has not been sent yet. Should the future be dropped while the server's window is closed, the next call goes
    /// on where it was.
    ///
    /// # Errors
    /// Which side broke.
    pub async fn resume(&mut self, to: &mut SendStream<Bytes>) -> Result<(), Broken> {
        loop {
            while let Some(chunk) = self.unsent.front_mut() {
                write(chunk, to).await?;
                self.unsent.pop_front();
            }
            if self.ended {
                return finish(self.trailers.clone(), to);
            }
            match next(&mut self.recv, to).await? {
                Some(chunk) => {
                    self.moved += chunk.len() as u64;
                    self.keep(&chunk);
                    release(&mut self.recv, chunk.len())?;
                    self.ended = self.recv.is_end_stream();
                    self.unsent.push_back(chunk);
                }
                None => {
                    self.trailers = self.recv.trailers().await.map_err(Broken::From)?;
                    self.ended = true;
                }
            }
        }
    }
}

/// A response that has begun, and what is left of its request's body to send.
pub type Answer = (Response<RecvStream>, Option<SendStream<Bytes>>);

/// Sends a request's body and waits for the response's head, whichever comes first.
///
/// # Errors
/// `None` when the client reset its stream or broke; else why the server gave no response.
pub async fn ask(
    response: ResponseFuture,
    mut sending: SendStream<Bytes>,
    empty: bool,
    body: &mut RequestBody,
    respond: &mut SendResponse<Bytes>,
) -> Result<Answer, Option<h2::Error>> {
    let mut response = std::pin::pin!(response);
    let mut sent = empty;
    let answered = {
        let mut send = std::pin::pin!(body.send(&mut sending));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(response.map_err(Some));
            }
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(None));
            }
            if !sent {
                match send.as_mut().poll(cx) {
                    // Should the server have reset the stream, its response says why, or that there is none.
                    Poll::Ready(Ok(()) | Err(Broken::To(_))) => sent = true,
                    Poll::Ready(Err(Broken::From(_))) => return Poll::Ready(Err(None)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await?
    };
    body.forget();
    Ok((answered, (!sent).then_some(sending)))
}

/// What became of a response.
#[derive(Debug)]
pub struct Passed {
    /// Bytes of its body.
    pub received: u64,
    /// The gRPC status, of the trailers or of a response without a body.
    pub grpc_status: Option<u32>,
    /// Which side broke, if one did; the other has been told.
    pub broken: Option<Broken>,
}

/// Passes a response on to its end, while what is left of the request's body moves the other way.
pub async fn pass(answer: Answer, body: &mut RequestBody, mut respond: SendResponse<Bytes>) -> Passed {
    let (response, sending) = answer;
    let (parts, mut from) = response.into_parts();
    let (grpc, early_status) = (answer::is_grpc(&parts.headers), answer::grpc_status(&parts.headers));
    let end = from.is_end_stream();
    let mut received = 0;
    let result = match respond.send_response(Response::from_parts(parts, ()), end) {
        Err(error) => Err(Broken::To(error)),
        Ok(_) if end => Ok(None),
        Ok(mut to) => {
            let result = both(sending, body, &mut from, &mut to, &mut received).await;
            match &result {
                // Only the client could be missing, and then there is nobody to tell.
                Err(broken) if grpc && broken.is_lost() => _ = to.send_trailers(answer::grpc_lost()),
                Err(broken) => to.send_reset(broken.reason()),
                Ok(_) => {}
            }
            result
        }
    };
    match result {
        Ok(trailers) => {
            let grpc_status = trailers.as_ref().and_then(answer::grpc_status).or(early_status);
            Passed { received, grpc_status, broken: None }
        }
        Err(broken) => Passed { received, grpc_status: None, broken: Some(broken) },
    }
}

/// Moves the response's body, and what is left of the request's, until the response has ended.
async fn both(
    sending: Option<SendStream<Bytes>>,
    body: &mut RequestBody,
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    received: &mut u64,
) -> Result<Option<HeaderMap>, Broken> {
    let Some(mut sending) = sending else { return forward(from, to, received).await };
    let mut up = std::pin::pin!(body.resume(&mut sending));
    let mut down = std::pin::pin!(forward(from, to, received));
    let mut up_done = false;
    std::future::poll_fn(|cx| {
        if !up_done {
            match up.as_mut().poll(cx) {
                // A server that stopped reading (RST_STREAM NO_ERROR) may still be answering.
                Poll::Ready(Ok(()) | Err(Broken::To(_))) => up_done = true,
                Poll::Ready(Err(Broken::From(error))) => return Poll::Ready(Err(Broken::To(error))),
                Poll::Pending => {}
            }
        }
        down.as_mut().poll(cx)
    })
    .await
}

/// Moves a response's body to its end.
///
/// # Errors
/// Which side broke.
async fn forward(
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    moved: &mut u64,
) -> Result<Option<HeaderMap>, Broken> {
    while let Some(mut chunk) = next(from, to).await? {
        let bytes = chunk.len();
        *moved += bytes as u64;
        write(&mut chunk, to).await?;
        release(from, bytes)?;
    }
    let trailers = from.trailers().await.map_err(Broken::From)?;
    finish(trailers.clone(), to)?;
    Ok(trailers)
}

fn finish(trailers: Option<HeaderMap>, to: &mut SendStream<Bytes>) -> Result<(), Broken> {
    match trailers {
        Some(trailers) => to.send_trailers(trailers).map_err(Broken::To),
        None => to.send_data(Bytes::new(), true).map_err(Broken::To),
    }
}

fn release(from: &mut RecvStream, bytes: usize) -> Result<(), Broken> {
    // After the last frame there is no stream to give credit to; the connection's part is released all the same.
    from.flow_control().release_capacity(bytes).map_err(Broken::From)
}

/// The next frame of data, unless the receiving side resets the stream first.
async fn next(from: &mut RecvStream, to: &mut SendStream<Bytes>) -> Result<Option<Bytes>, Broken> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(reset) = to.poll_reset(cx) {
            return Poll::Ready(Err(Broken::To(reset.map_or_else(|error| error, Into::into))));
        }
        from.poll_data(cx).map(|data| data.transpose().map_err(Broken::From))
    })
    .await
}

/// Writes as the receiver's window allows; what has not been written stays in `chunk`, also when the future is dropped.
async fn write(chunk: &mut Bytes, to: &mut SendStream<Bytes>) -> Result<(), Broken> {
    while !chunk.is_empty() {
        to.reserve_capacity(chunk.len());
        if to.capacity() == 0 {
            match std::future::poll_fn(|cx| to.poll_capacity(cx)).await {
                None => return Err(Broken::To(Reason::CANCEL.into())),
                Some(capacity) => _ = capacity.map_err(Broken::To)?,
            }
            continue;
        }
        let part = chunk.split_to(to.capacity().min(chunk.len()));
        to.send_data(part, false).map_err(Broken::To)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
