//! The `conduit` binary as a user or a script runs it, against a controller's operator API that is served here over a real socket
//! with given answers. What the answers mean is tested where they are made; here it is what is printed, where, and the exit code.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test itself does")]

mod operator;
mod exits;
mod prints;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `conduit` with these words, in an environment without anything of Conduit's.
fn conduit(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
    command.args(words.split_whitespace()).stdin(Stdio::null()).env("TERM", "xterm");
    for name in ["CONDUIT_CONTROLLER", "CONDUIT_LOCAL_DIR", "NO_COLOR", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Runs `conduit` against the operator API in `dir`.
fn run(dir: &Path, words: &str) -> Output {
    conduit(words).env("CONDUIT_LOCAL_DIR", dir).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
