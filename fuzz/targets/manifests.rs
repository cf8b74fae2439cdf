//! Manifests: any text is read without failing, and every problem names a line that the text has.
#![no_main]

use std::path::Path;

use conduit_controller::source::Place;
use conduit_controller::source::files::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (_, problems) = read(Path::new("fuzz.yaml"), text);
    let lines = text.lines().count();
    for problem in problems {
        let Place::File { line, .. } = problem.place else { panic!("a file's problem is in the file") };
        assert!(line >= 1 && line <= lines + 1, "line {line} of {lines}: {}", problem.reason);
    }
});
