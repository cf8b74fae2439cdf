//! The signals that end a process: the first asks for a drain, the second ends at once. Depends on tokio's signal driver.
//! Deliberately absent: SIGHUP and reloading; whatever can change is watched, not signalled.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT and returns its name. From then on a second signal ends the process at once, with status 143 or 130.
///
/// Call it once per process, from a runtime that lives until the process ends. If the handler of a signal cannot be installed
/// (which the kernel does not refuse for these two) that signal keeps its default effect, which is to end the process.
pub async fn terminated() -> &'static str {
    let mut signals = Signals::install();
    let name = signals.next().await;
    #[expect(
        clippy::disallowed_methods,
        reason = "must outlive every owner: it is what ends a drain that hangs"
    )]
    tokio::spawn(async move {
        let second = signals.next().await;
        tracing::warn!(signal = second, "a second signal: ending at once, connections are cut");
        #[expect(clippy::exit, reason = "ending at once is what the second signal asks for")]
        std::process::exit(if second == "SIGINT" { 130 } else { 143 });
    });
    name
}

/// The two handlers, kept installed between the first and the second signal so that none is lost.
struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
}

impl Signals {
    fn install() -> Self {
        Self {
            term: handler(SignalKind::terminate(), "SIGTERM"),
            int: handler(SignalKind::interrupt(), "SIGINT"),
        }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.term) => "SIGTERM",
            () = received(&mut self.int) => "SIGINT",
        }
    }
}

fn handler(kind: SignalKind, name: &'static str) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, signal = name, "cannot handle this signal; it will end the process at once")).ok()
}

async fn received(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        pending::<()>().await;
    }
}

#[cfg(test)]
#[path = "signal_tests.rs"]
mod tests;
