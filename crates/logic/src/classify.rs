//! Whether a response counts as a success or a failure of the service, and which requests may be sent twice.
//! Pure tables; sources: RFC 9110 sections 9.2 and 15, the gRPC status code list.

/// Whether an HTTP response with this status counts as a failure: the server's own errors do, the client's do not.
#[must_use]
pub const fn http_failed(status: u16) -> bool {
    status >= 500
}

/// Whether a gRPC call that ended with this status counts as a failure of the server.
/// Codes that say the caller asked for something it should not have (INVALID_ARGUMENT, NOT_FOUND, …) do not, nor does a
/// call that the client cancelled.
#[must_use]
pub const fn grpc_failed(status: u32) -> bool {
    !matches!(status, 0 | 1 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 16)
}

/// RFC 9110 section 9.2.2: sending it again has the same effect as sending it once.
#[must_use]
pub fn idempotent(method: &[u8]) -> bool {
    matches!(
        method,
        b"GET"
            | b"HEAD"
            | b"OPTIONS"
            | b"TRACE"
            | b"PUT"
            | b"DELETE"
            | b"PROPFIND"
            | b"REPORT"
            | b"SEARCH"
            | b"QUERY"
    )
}

/// The name of a gRPC status code, or `None` for a number that is not one.
#[must_use]
pub fn grpc_status_name(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::try_from(status).ok()?).copied()
}
