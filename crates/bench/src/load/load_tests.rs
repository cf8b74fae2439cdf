//! Each kind of load against its server on loopback, and the schedule that must not wait for answers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use bytes::Bytes;
use conduit_process::tasks::Tasks;

use super::*;

/// A server of one kind on a thread of its own, for the life of the test process; returns its address.
fn server(kind: Kind) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            crate::serve::accept(kind, listener, Bytes::from_static(b"answer"), &Tasks::new()).await
        })
    });
    addr
}

fn plan(kind: Kind, to: String, rate: u32) -> Plan {
    Plan {
        kind,
        to,
        rate,
        duration: Duration::from_millis(200),
        connections: 4,
        calls: 2,
        fresh: false,
        bytes: 64,
    }
}

#[test]
fn a_fixed_rate_sends_exactly_what_is_due() {
    for kind in [Kind::Http, Kind::Http2, Kind::Grpc, Kind::Stream, Kind::Echo] {
        let outcome = run(&plan(kind, server(kind), 500)).unwrap();
        assert_eq!((outcome.succeeded, outcome.failed), (100, 0), "{kind:?}: {outcome:?}");
        assert!(outcome.p50_us > 0.0 && outcome.p50_us <= outcome.max_us, "{outcome:?}");
    }
}

#[test]
fn each_window_of_the_time_has_an_outcome_of_its_own() {
    for kind in [Kind::Http, Kind::Grpc] {
        let windows = run_windows(&plan(kind, server(kind), 500), 4).unwrap();
        let counts: Vec<_> = windows.iter().map(|window| (window.succeeded, window.failed)).collect();
        assert_eq!(counts, [(25, 0); 4], "{kind:?}");
    }
}

#[test]
fn without_a_rate_each_connection_sends_again_as_soon_as_it_can() {
    for kind in [Kind::Http, Kind::Http2, Kind::Grpc, Kind::Stream, Kind::Echo] {
        let outcome = run(&plan(kind, server(kind), 0)).unwrap();
        assert!(outcome.succeeded > 4 && outcome.failed == 0, "{kind:?}: {outcome:?}");
    }
}

#[test]
fn fresh_connections_are_one_for_each_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let accepted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        // The first connection is only the check that the server can be reached.
        for mut stream in listener.incoming().skip(1).map(Result::unwrap) {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut message = [0; 64];
            while stream.read_exact(&mut message).is_ok() {
                stream.write_all(&message).unwrap();
            }
        }
    });
    let outcome = run(&Plan { connections: 1, fresh: true, ..plan(Kind::Echo, to, 100) }).unwrap();
    assert_eq!((outcome.succeeded, outcome.failed), (20, 0), "{outcome:?}");
    assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), 20);
}

#[test]
fn bulk_counts_the_bytes_that_arrived() {
    let outcome = run(&plan(Kind::Bulk, server(Kind::Bulk), 0)).unwrap();
    assert_eq!((outcome.succeeded, outcome.failed), (4, 0), "{outcome:?}");
    assert!(outcome.bytes_per_s > 1e6, "{outcome:?}");
}

#[test]
fn a_stall_of_the_server_is_seen_by_every_request_that_was_due_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        // The first connection is only the check that the server can be reached.
        for mut stream in listener.incoming().skip(1).map(Result::unwrap) {
            let (mut message, mut first) = ([0; 64], true);
            while stream.read_exact(&mut message).is_ok() {
                if std::mem::take(&mut first) {
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                stream.write_all(&message).unwrap();
            }
        }
    });
    let outcome = run(&Plan { connections: 1, ..plan(Kind::Echo, to, 1000) }).unwrap();
    assert_eq!((outcome.succeeded, outcome.failed), (200, 0), "{outcome:?}");
    // A closed loop would have seen one slow request; here half of them were due during the stall, 50 ms late on average.
    assert!(outcome.mean_us > 20_000.0, "{outcome:?}");
}

#[test]
fn an_answer_that_is_not_200_or_that_breaks_off_is_a_failure() {
    for answer in
        ["HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 ok\r\ncontent-length: 9\r\n\r\nshort"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let outcome = run(&Plan { connections: 1, ..plan(Kind::Http, to, 20) }).unwrap();
        assert_eq!((outcome.succeeded, outcome.failed), (0, 4), "{answer:?}: {outcome:?}");
    }
}
