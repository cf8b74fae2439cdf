//! One HTTP/1 exchange between a client and a server: the request goes on as it comes, the response goes back as it comes,
//! both at once where the server answers before the body has ended. Bodies are moved, never rebuilt. Which server, and what to
//! do when it fails, is the caller's decision.
//!
//! Source: RFC 9112 sections 6 to 9; RFC 9110 sections 7.8 (Upgrade), 10.1.1 (Expect), 15.2 (1xx).

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::framing::{Body, Progress};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::head::{BadHead, Request, Response};
use crate::tcp::pump::{Pump, PumpError};
use crate::tcp::stream::Stream;
use crate::telemetry::Reason;

/// Small bodies are sent in one write with their head: one packet, one TLS record, and all of it at hand for another server.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;
/// Many clients send the body in a packet of its own, right behind the head: it is waited for so long.
const TOGETHER_TIMEOUT: Duration = Duration::from_millis(20);

/// What may be asked of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of a head, its empty line included.
    pub bytes_max: usize,
    /// From a head's first byte to its last.
    pub timeout: Duration,
}

/// Why there is no request to serve.
#[derive(Debug)]
pub enum NoRequest {
    /// The client closed the connection, or broke it, between two requests.
    Closed,
    /// It did not send a whole head in time.
    Slow,
    /// What it sent is not accepted.
    Bad(BadHead),
}

/// Why there is no response from this server.
#[derive(Debug)]
pub enum NoResponse {
    /// The server ended the connection in order (FIN or `close_notify`) without a byte of response.
    Closed,
    /// The connection to the server broke, or ended inside a head.
    Broken(io::Error),
    /// The server's answer is not HTTP.
    Bad(BadHead),
    /// The client went away, or its body is broken.
    Client(PumpError),
}

/// How the exchange left the two connections.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the response's body.
    pub received: u64,
    /// The request's body reached its end: the client's connection is at the next request.
    pub whole_request: bool,
}

/// Why a response was not completed, and how far it came.
#[derive(Debug)]
pub struct Unfinished {
    /// What broke.
    pub error: PumpError,
    /// It was on the client's side.
    pub client_gone: bool,
    /// Bytes of the response's body that were moved.
    pub received: u64,
}

/// Reads the next request's head. Waits for its first byte as long as the connection lives.
///
/// # Errors
/// See [`NoRequest`].
pub async fn read_request(client: &mut Stream, limits: HeadLimits) -> Result<Request, NoRequest> {
    if client.ahead.is_empty() && client.more().await.map_err(|_| NoRequest::Closed)? == 0 {
        return Err(NoRequest::Closed);
    }
    let whole = async {
        loop {
            if let Some(head) = Request::parse(&client.ahead, limits.bytes_max).map_err(NoRequest::Bad)? {
                drop(client.ahead.split_to(head.length));
                if client.ahead.is_empty() {
                    client.ahead = bytes::BytesMut::new();
                }
                return Ok(head);
            }
            if client.more().await.map_err(|_| NoRequest::Closed)? == 0 {
                return Err(NoRequest::Closed);
            }
        }
    };
    tokio::time::timeout(limits.timeout, whole).await.unwrap_or(Err(NoRequest::Slow))
}

/// Waits for the next request, or for the drain while there is none.
///
/// # Errors
/// See [`NoRequest`].
pub async fn next_request(
    client: &mut Stream,
    limits: HeadLimits,
    draining: &CancellationToken,
) -> Result<Request, NoRequest> {
    if client.ahead.is_empty() {
        tokio::select! {
            biased;
            request = read_request(client, limits) => return request,
            () = draining.cancelled() => {}
        }
        if client.ahead.is_empty() {
            return Err(NoRequest::Closed);
        }
    }
    // A request of which something has come is served, also while draining.
    read_request(client, limits).await
}

/// Tells the client why its request is not served, where it can be told. Gives what to count it as.
pub async fn refuse_request(client: &mut Stream, none: NoRequest) -> Option<Reason> {
    let (reason, answer) = match none {
        NoRequest::Closed => return None,
        NoRequest::Slow => {
            let detail = "the request's head did not come in time";
            (Reason::Timeout, answer::http1(408, Reason::Timeout.as_str(), detail, false, true))
        }
        NoRequest::Bad(bad) => (Reason::Protocol, answer::bad_head(bad)),
    };
    // A client that is gone needs no answer.
    _ = client.send(&answer).await;
    Some(reason)
}

/// A request on its way to one server after another until one takes it.
#[derive(Debug)]
pub struct Outgoing {
    /// The head, and the body where all of it came with the head.
    first: Vec<u8>,
    /// Moves the rest of the body.
    rest: Pump,
    /// Bytes of body in `first`.
    in_hand: u64,
    method: String,
    /// The client wants to go on using its connection.
    persistent: bool,
}

impl Outgoing {
    /// Takes the request's head, and its body where that is small and comes at once.
    ///
    /// # Errors
    /// When the body's framing is broken.
    pub async fn new(request: &mut Request, client: &mut Stream) -> Result<Self, PumpError> {
        if let Body::Fixed(bytes) = request.body
            && (client.ahead.len() as u64) < bytes
            && bytes <= TOGETHER_BYTES_MAX as u64
            && !request.expects
        {
            // A client that breaks meanwhile is noticed by whoever reads on.
            let whole = async {
                while (client.ahead.len() as u64) < bytes && matches!(client.more().await, Ok(1..)) {}
            };
            _ = tokio::time::timeout(TOGETHER_TIMEOUT, whole).await;
        }
        let mut first = std::mem::take(&mut request.forward);
        let mut in_hand = 0;
        let mut rest = Pump::body(request.body);
        let mut progress = Progress::new(request.body);
        if request.body != Body::None && client.ahead.len() <= TOGETHER_BYTES_MAX {
            let n = progress.take(&client.ahead)?;
            if progress.is_done() {
                first.extend_from_slice(&client.ahead.split_to(n));
                in_hand = n as u64;
                rest = Pump::body(Body::None);
            }
        }
        Ok(Self { first, rest, in_hand, method: request.method.clone(), persistent: request.persistent })
    }

    /// Whether the request can be sent to another server: nothing was taken from the client that is not here still.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        self.rest.moved() == 0
    }

    /// Whether the whole request was read from the client.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.rest.is_done()
    }

    /// Sends the request and waits for the final response's head; interim responses (1xx) go to the client as they come.
    ///
    /// # Errors
    /// See [`NoResponse`].
    pub async fn send(
        &mut self,
        client: &mut Stream,
        server: &mut Stream,
        head_bytes_max: usize,
    ) -> Result<Response, NoResponse> {
        server.send(&self.first).await.map_err(NoResponse::Broken)?;
        loop {
            while let Some(response) =
                Response::parse(&server.ahead, head_bytes_max, &self.method).map_err(NoResponse::Bad)?
            {
                drop(server.ahead.split_to(response.length));
                if !matches!(response.status, 100 | 102..=199) {
                    return Ok(response);
                }
                let interim = [&response.forward[..], b"\r\n"].concat();
                client.send(&interim).await.map_err(|e| NoResponse::Client(PumpError::Write(e)))?;
            }
            let read = std::future::poll_fn(|cx| {
                self.poll_client(cx, client, server).map_err(NoResponse::Client)?;
                let read = server.poll_more(cx).map_err(NoResponse::Broken)?;
                if read.is_pending() {
                    self.poll_gone(cx, client).map_err(NoResponse::Client)?;
                }
                read.map(Ok)
            })
            .await?;
            if read == 0 {
                let inside = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended inside the response's head",
                );
                return Err(if server.ahead.is_empty() {
                    NoResponse::Closed
                } else {
                    NoResponse::Broken(inside)
                });
            }
        }
    }

    /// Moves what can be moved of the request's body.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        server: &mut Stream,
    ) -> Result<(), PumpError> {
        match self.rest.poll(cx, client, &mut server.io) {
            // A server that answers early may close its side for what it does not want to read.
            Poll::Ready(Ok(()) | Err(PumpError::Write(_))) | Poll::Pending => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Looks whether a client whose request is complete is there still: it may have given up, and then nobody should work for it. One
    /// that closes its side of a connection that it wanted to keep has; any other may say that it has no more requests.
    fn poll_gone(&self, cx: &mut Context<'_>, client: &mut Stream) -> Result<(), PumpError> {
        if !self.rest.is_finished() || !client.ahead.is_empty() {
            return Ok(());
        }
        match client.poll_more(cx) {
            Poll::Ready(Ok(0)) if self.persistent => {
                Err(PumpError::Read(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Err(error)) => Err(PumpError::Read(error)),
            // Its next request.
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Sends the response's head, ended by `closing`, and moves its body; what is left of the request's body moves meanwhile.
    ///
    /// # Errors
    /// See [`Unfinished`]: the response cannot be completed, and the client must see that.
    pub async fn respond(
        &mut self,
        client: &mut Stream,
        server: &mut Stream,
        response: &Response,
        closing: &[u8],
    ) -> Result<Finished, Unfinished> {
        let mut down = Pump::body(response.body);
        let mut together = [&response.forward[..], closing, b"\r\n"].concat();
        let mut received = 0;
        let broke = |received, client_gone| move |error| Unfinished { error, client_gone, received };
        if response.body != Body::None && server.ahead.len() <= TOGETHER_BYTES_MAX {
            let mut progress = Progress::new(response.body);
            let n = progress.take(&server.ahead).map_err(PumpError::from).map_err(broke(0, false))?;
            if progress.is_done() {
                together.extend_from_slice(&server.ahead.split_to(n));
                received = n as u64;
                down = Pump::body(Body::None);
            }
        }
        client.send(&together).await.map_err(PumpError::Write).map_err(broke(0, true))?;
        std::future::poll_fn(|cx| {
            let client_broke = |error, down: &Pump| Poll::Ready(Err(broke(down.moved(), true)(error)));
            if let Err(error) = self.poll_client(cx, client, server) {
                return client_broke(error, &down);
            }
            match down.poll(cx, server, &mut client.io) {
                Poll::Ready(Err(error @ PumpError::Write(_))) => client_broke(error, &down),
                Poll::Ready(Err(error)) => Poll::Ready(Err(broke(down.moved(), false)(error))),
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Pending => match self.poll_gone(cx, client) {
                    Err(error) => client_broke(error, &down),
                    Ok(()) => Poll::Pending,
                },
            }
        })
        .await?;
        Ok(Finished {
            sent: self.in_hand + self.rest.moved(),
            received: received + down.moved(),
            whole_request: self.rest.is_finished(),
        })
    }

    /// Bytes of the request's body that were sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.in_hand + self.rest.moved()
    }
}

/// Whether the connection speaks another protocol after this response: 101, or a CONNECT that succeeded.
#[must_use]
pub fn switched(request: &Request, response: &Response) -> bool {
    response.status == 101 || (request.method == "CONNECT" && (200..300).contains(&response.status))
}

/// The header that tells the client what becomes of its connection.
#[must_use]
pub fn closing(request: &Request, response: &Response, keep: bool) -> &'static [u8] {
    match (response.status == 101, switched(request, response), keep, request.minor) {
        (true, ..) => b"Connection: Upgrade\r\n",
        (_, true, ..) => b"",
        (_, _, false, _) => b"Connection: close\r\n",
        (_, _, true, 0) => b"Connection: keep-alive\r\n",
        _ => b"",
    }
}

/// Ends a connection in order: our last bytes must reach the client before a reset caused by what it still sends can, so what
/// it sends is read and thrown away for a moment.
pub async fn close(mut client: Stream) {
    const LINGER: Duration = Duration::from_secs(1);
    if client.finish().await.is_ok() {
        let drained = async {
            while matches!(client.more().await, Ok(1..)) {
                client.ahead.clear();
            }
        };
        _ = tokio::time::timeout(LINGER, drained).await;
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
