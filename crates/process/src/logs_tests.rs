//! Tests of log lines and of the filter that changes while they are written.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::with_default;

use super::{Error, FILTER_BYTES_MAX, Format, subscriber};

/// What was written, shared between the subscriber and the test.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>); // guards the lines written so far

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no writer panicked").clone()).expect("lines are UTF-8")
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_new_filter_holds_for_the_next_line() {
    let written = Written::default();
    let for_lines = written.clone();
    let (subscriber, level) =
        subscriber("warn", Format::Text, false, move || for_lines.clone()).expect("a filter");
    with_default(subscriber, || {
        tracing::info!("before");
        level.set("info,hyper=off").expect("a filter");
        tracing::info!(count = 3, "after");
    });
    assert!(!written.text().contains("before"));
    assert!(written.text().contains("after count=3"), "{}", written.text());
}

#[test]
fn the_filter_reads_back_as_it_was_set() {
    let (_keep, level) = subscriber("info", Format::Text, false, io::sink).expect("a filter");
    assert_eq!(level.get(), "info");
    level.set("conduit_proxy=debug,warn").expect("a filter");
    let text = level.get();
    level.set(&text).expect("what it says it accepts");
    assert_eq!(level.get(), text);
}

#[test]
fn a_refused_filter_leaves_the_old_one_in_force() {
    let (_keep, level) = subscriber("info", Format::Text, false, io::sink).expect("a filter");
    assert!(matches!(level.set("conduit=loud"), Err(Error::Filter(_))));
    assert!(matches!(level.set(&"x".repeat(FILTER_BYTES_MAX + 1)), Err(Error::TooLong(1025))));
    assert_eq!(level.get(), "info");
}

#[test]
fn a_json_line_is_one_object_with_its_fields() {
    let written = Written::default();
    let for_lines = written.clone();
    let (subscriber, _level) =
        subscriber("info", Format::Json, false, move || for_lines.clone()).expect("a filter");
    with_default(subscriber, || tracing::info!(peer = "10.1.0.2", "accepted"));
    let text = written.text();
    assert!(text.starts_with('{') && text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    assert!(text.contains(r#""peer":"10.1.0.2""#) && text.contains(r#""level":"INFO""#), "{text}");
}
