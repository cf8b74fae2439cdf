//! Manifests: any text is read without failing, and every problem names a line that the text has.
#![no_main]

use std::path::Path;

use conduit_controller::source::files::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (_, problems) = read(Path::new("fuzz.yaml"), text);
    let lines = text.lines().count();
    for problem in problems {
        assert!(
            problem.line >= 1 && problem.line <= lines + 1,
            "line {} of {lines}: {}",
            problem.line,
            problem.reason
        );
    }
});
