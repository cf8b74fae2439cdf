//! How many files and connections this process may have open. Depends on the kernel's own limit only. Deliberately absent: going
//! beyond what whoever started us allows (the hard limit).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lifts the limit of open files to the hardest allowed. Container runtimes start processes with a soft limit of 1024 for the sake of programs
/// that use select(2), and a hard one far above: with the soft one the 1,024th connection would not be accepted.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised; it stays as it was");
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
