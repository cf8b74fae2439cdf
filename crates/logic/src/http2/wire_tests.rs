//! What the proxy writes is read back by the code that follows connections, and by h2 in the tests of what passes.

use super::super::frames::{Frames, Watch};
use super::*;

#[derive(Default)]
struct Told(Vec<String>);

impl Watch for Told {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    }
    fn headers(&mut self, stream: u32, ends: bool) {
        self.0.push(format!("headers {stream} {ends}"));
    }
    fn data(&mut self, _: u32, _: usize, _: bool) {}
    fn reset(&mut self, stream: u32, code: u32) {
        self.0.push(format!("reset {stream} {code}"));
    }
    fn go_away(&mut self, last: u32) {
        self.0.push(format!("go away {last}"));
    }
}

#[test]
fn frames_say_what_they_are_to_say() {
    let long = "x".repeat(300);
    let mut bytes = Vec::new();
    settings(&[], &mut bytes);
    last_fields(5, &[(":status", "502"), ("long", &long)], &mut bytes);
    reset(7, Code::CANCEL, &mut bytes);
    go_away(STREAM_MAX, Code::NO_ERROR, &mut bytes);
    let mut told = Told::default();
    Frames::of_server(4096, 100).pass(&bytes, &mut Vec::new(), &mut told).unwrap();
    let long = format!("long={long}");
    assert_eq!(told.0, [":status=502", &long, "headers 5 true", "reset 7 8", "go away 2147483647"]);
}
