//! HTTP/1 heads: what is forwarded says the same to the next reader as what came in did to us, or it is refused.
#![no_main]

use conduit_proxy::http::head::{Request, Response};
use libfuzzer_sys::fuzz_target;

/// The largest head accepted here, in bytes.
const HEAD_BYTES_MAX: usize = 2048;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(came)) = Request::parse(bytes, HEAD_BYTES_MAX) {
        assert!(came.length <= bytes.len());
        let again = Request::parse(&came.forward, HEAD_BYTES_MAX * 2).expect("what is forwarded is accepted");
        let again = again.expect("what is forwarded is a whole head");
        assert_eq!(again.length, came.forward.len(), "something follows the head that is forwarded");
        assert_eq!((&again.method, &again.target, &again.host), (&came.method, &came.target, &came.host));
        assert_eq!((again.body, again.minor, again.upgrade), (came.body, came.minor, came.upgrade));
        assert_eq!(again.forward, came.forward, "forwarding twice changes the head");
    }
    if let Ok(Some(came)) = Response::parse(bytes, HEAD_BYTES_MAX, "GET") {
        assert!(came.length <= bytes.len());
        let mut forward = came.forward.clone();
        forward.extend_from_slice(b"\r\n");
        let again =
            Response::parse(&forward, HEAD_BYTES_MAX * 2, "GET").expect("what is forwarded is accepted");
        let again = again.expect("what is forwarded is a whole head");
        assert_eq!((again.status, again.body, again.minor), (came.status, came.body, came.minor));
        assert!(again.proxy_error.is_none(), "an application cannot speak for a proxy");
    }
});
