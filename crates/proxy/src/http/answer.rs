//! Answers that the proxy gives itself. Each carries the reason in a header (`conduit-proxy-error`), so that people and other
//! proxies can tell it from an answer of the application; a gRPC call gets a gRPC status, as its client expects.

use std::fmt::Write as _;

use bytes::Bytes;
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::hpack::Form;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::head::{BadHead, PROXY_ERROR};
use crate::failure::Failure;
use crate::telemetry::Reason;

/// The header or trailer with a gRPC call's outcome.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The bytes of an HTTP/1.1 answer. `close` tells the client that the connection ends with it.
#[must_use]
pub fn http1(status: u16, reason: &str, detail: &str, head_only: bool, close: bool) -> Vec<u8> {
    let phrase = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
    let mut text =
        format!("HTTP/1.1 {status} {phrase}\r\n{PROXY_ERROR}: {reason}\r\ncontent-type: text/plain\r\n");
    let body = format!("{detail}\n");
    // Writing to a String cannot fail.
    _ = write!(text, "content-length: {}\r\n", body.len());
    if close {
        text.push_str("connection: close\r\n");
    }
    text.push_str("\r\n");
    if !head_only {
        text.push_str(&body);
    }
    text.into_bytes()
}

/// The answer to a head that is not accepted.
#[must_use]
pub fn bad_head(error: BadHead) -> Vec<u8> {
    http1(error.status(), "protocol", &error.to_string(), false, true)
}

/// Answers one HTTP/2 request with a failure. Gives the status that was sent.
pub fn http2(respond: &mut SendResponse<Bytes>, failure: &Failure, grpc: bool) -> u16 {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(PROXY_ERROR, HeaderValue::from_static(failure.reason.as_str()));
    let status = if grpc { 200 } else { failure.status() };
    if grpc {
        grpc_headers(headers, failure);
    }
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    // The client may be gone; then there is nobody to tell.
    _ = respond.send_response(response, true);
    status
}

/// The head of an answer that tells of a failure, on HTTP/2 of our own.
#[must_use]
pub fn failed(failure: &Failure, status: u16, grpc: bool) -> Fields {
    let status = status.to_string();
    let mut head = fields(&[(":status", &status), (PROXY_ERROR, failure.reason.as_str())]);
    if grpc {
        head.push(b"content-type", b"application/grpc", Form::Plain);
        add_grpc(&mut head, failure);
    }
    head
}

/// The trailers of a gRPC response that cannot be completed; see [`grpc_lost`].
#[must_use]
pub fn grpc_failed(failure: &Failure) -> Fields {
    let mut trailers = Fields::default();
    add_grpc(&mut trailers, failure);
    trailers
}

fn add_grpc(fields: &mut Fields, failure: &Failure) {
    fields.push(b"grpc-status", failure.grpc_status().to_string().as_bytes(), Form::Plain);
    fields.push(b"grpc-message", grpc_message(failure).as_bytes(), Form::Plain);
}

/// What of a failure's detail may stand in a gRPC message as it is.
fn grpc_message(failure: &Failure) -> String {
    failure.detail.chars().filter(|c| c.is_ascii() && !c.is_ascii_control() && *c != '%').collect()
}

/// Fields that are sent in full.
#[must_use]
pub fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes(), Form::Plain);
    }
    fields
}

fn grpc_headers(headers: &mut HeaderMap, failure: &Failure) {
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(failure.grpc_status()));
    if let Ok(message) = HeaderValue::from_str(&grpc_message(failure)) {
        headers.insert("grpc-message", message);
    }
}

/// The trailers of a gRPC response that cannot be completed: to its client a lost connection is UNAVAILABLE, which it may try again,
/// while a reset stream would be told as if somebody had cancelled the call.
///
/// Source: gRPC over HTTP2, "HTTP2 Transport Mapping", errors.
#[must_use]
pub fn grpc_lost() -> HeaderMap {
    let message =
        HeaderValue::from_static("the connection to the server was lost before the end of its response");
    let status = HeaderValue::from(Failure::new(Reason::Reset, "").grpc_status());
    HeaderMap::from_iter([(GRPC_STATUS, status), (HeaderName::from_static("grpc-message"), message)])
}

/// Whether the headers are those of a gRPC call.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|value| is_grpc_type(value.as_bytes()))
}

/// Whether a `content-type` is that of a gRPC call.
#[must_use]
pub fn is_grpc_type(value: &[u8]) -> bool {
    value.starts_with(b"application/grpc")
}

/// The gRPC status in headers (of a trailers-only response) or trailers.
#[must_use]
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
